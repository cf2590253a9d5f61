//! Types of `google.protobuf` whose JSON has a form of its own.

use prost_reflect::MessageDescriptor;

use super::{Fault, shown};

/// A type whose JSON is not an object with its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Any,
    Duration,
    /// An object with its fields, of which there are none; but not inside of an `Any`.
    Empty,
    FieldMask,
    ListValue,
    Struct,
    Timestamp,
    Value,
    /// `Int64Value` and its like: what they wrap.
    Wrapper,
}

impl Known {
    pub(super) fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(
            match message.full_name().strip_prefix("google.protobuf.")? {
                "Any" => Self::Any,
                "Duration" => Self::Duration,
                "Empty" => Self::Empty,
                "FieldMask" => Self::FieldMask,
                "ListValue" => Self::ListValue,
                "Struct" => Self::Struct,
                "Timestamp" => Self::Timestamp,
                "Value" => Self::Value,
                "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value"
                | "Int64Value" | "StringValue" | "UInt32Value" | "UInt64Value" => Self::Wrapper,
                _ => return None,
            },
        )
    }
}

/// The type that the URL in an `Any` names: what follows the last slash.
pub(super) fn type_of_url(
    url: &str,
    near: &MessageDescriptor,
) -> Result<MessageDescriptor, String> {
    let name = url.rsplit_once('/').map_or("", |(_, name)| name);
    near.parent_pool().get_message_by_name(name).ok_or_else(|| {
        format!(
            "the type {:?} of an Any is not known: import its file where the service is described",
            shown(url)
        )
    })
}

/// Seconds since 1970 and nanoseconds, as protobuf has points in time and lengths of it.
pub(super) type Time = (i64, i32);

/// The first second of the year 1, and the last of the year 9999.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Some 10,000 years.
const DURATION_MAX: i64 = 315_576_000_000;
const NANOS: i32 = 1_000_000_000;
const DAY: i64 = 86_400;

/// `1972-01-01T10:00:20.021Z`, or with an offset such as `+02:00`; RFC 3339 with capital letters.
pub(super) fn timestamp(text: &str) -> Option<Time> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.split_at_checked(9)?;
    let date = date.as_bytes();
    let [_, _, _, _, b'-', _, _, b'-', _, _] = date else {
        return None;
    };
    let [b'T', _, _, b':', _, _, b':', _, _] = time.as_bytes() else {
        return None;
    };
    let [year, month, day] = [
        digits(date, 0..4)?,
        digits(date, 5..7)?,
        digits(date, 8..10)?,
    ];
    let time = time.as_bytes();
    let [hour, minute, second] = [
        digits(time, 1..3)?,
        digits(time, 4..6)?,
        digits(time, 7..9)?,
    ];
    let is_there = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_there || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, rest) = fraction(rest)?;
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(rest)?;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos))
}

pub(super) fn timestamp_text((seconds, nanos): Time) -> Result<String, Fault> {
    if !TIMESTAMPS.contains(&seconds) || !(0..NANOS).contains(&nanos) {
        let text = format!("no timestamp between the years 1 and 9999: {seconds} s, {nanos} ns");
        return Err(Fault::of(text));
    }
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    Ok(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        fraction_text(nanos)
    ))
}

/// `-1.5s`.
pub(super) fn duration(text: &str) -> Option<Time> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at_checked(length)?;
    let seconds: i64 = whole.parse().ok()?;
    let (nanos, rest) = fraction(rest)?;
    let is_whole = rest.is_empty() && seconds <= DURATION_MAX;
    is_whole.then_some((i64::from(sign) * seconds, sign * nanos))
}

pub(super) fn duration_text((seconds, nanos): Time) -> Result<String, Fault> {
    let is_negative = seconds < 0 || nanos < 0;
    let is_torn = is_negative && (seconds > 0 || nanos > 0);
    if is_torn
        || seconds.unsigned_abs() > DURATION_MAX.unsigned_abs()
        || nanos.unsigned_abs() >= NANOS.unsigned_abs()
    {
        let text = format!("no duration of at most 10,000 years: {seconds} s, {nanos} ns");
        return Err(Fault::of(text));
    }
    let sign = if is_negative { "-" } else { "" };
    let fraction = fraction_text(nanos.abs());
    Ok(format!("{sign}{}{fraction}s", seconds.unsigned_abs()))
}

/// The paths in `user.displayName,photo`, as they are in the .proto file.
pub(super) fn field_mask(text: &str) -> Option<Vec<String>> {
    let paths = text.split(',').filter(|_| !text.is_empty());
    paths.map(snake_case).collect()
}

pub(super) fn field_mask_path(path: &str) -> Result<String, Fault> {
    let mut camel = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(char) = chars.next() {
        match char {
            '_' => camel.extend(
                chars
                    .next()
                    .filter(char::is_ascii_lowercase)
                    .map(|next| next.to_ascii_uppercase()),
            ),
            other => camel.push(other),
        }
    }
    match snake_case(&camel) {
        Some(back) if back == path => Ok(camel),
        _ => Err(Fault::of(format!(
            "the path {path:?} of a field mask is not in snake_case, so it would come back as another"
        ))),
    }
}

/// `None` for what is no path: names of letters and digits with dots between them.
fn snake_case(path: &str) -> Option<String> {
    let is_name = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic());
    if !path.split('.').all(is_name) {
        return None;
    }
    let mut snake = String::with_capacity(path.len() + 4);
    for char in path.chars() {
        match char {
            'A'..='Z' => snake.extend(['_', char.to_ascii_lowercase()]),
            'a'..='z' | '0'..='9' | '.' => snake.push(char),
            _ => return None,
        }
    }
    Some(snake)
}

/// The number of two or four digits at that place.
fn digits(bytes: &[u8], place: std::ops::Range<usize>) -> Option<i64> {
    bytes.get(place)?.iter().try_fold(0, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(number * 10 + i64::from(digit))
    })
}

/// Nanoseconds from `.5`, or none, and what follows.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = rest.split_at_checked(length)?;
    if !(1..=9).contains(&length) {
        return None;
    }
    Some((format!("{digits:0<9}").parse().ok()?, rest))
}

/// As many digits as are needed, in groups of three.
fn fraction_text(nanos: i32) -> String {
    match nanos {
        0 => String::new(),
        _ if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        _ if nanos % 1000 == 0 => format!(".{:06}", nanos / 1000),
        _ => format!(".{nanos:09}"),
    }
}

/// Seconds to the east of Greenwich, from `Z` or `+02:00`.
fn offset(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let sign = match bytes {
        b"Z" => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(bytes, 1..3)?, digits(bytes, 4..6)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 by Howard Hinnant's `days_from_civil`: years begin in March, so that the odd day comes last, and are
/// counted in eras of 400.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// And back.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_go_back_and_forth() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", (0, 0)),
            ("2000-02-29T23:59:59.500Z", (951_868_799, 500_000_000)),
            ("1969-12-31T23:59:59.000000001Z", (-1, 1)),
            ("2026-11-21T18:30:12.000120Z", (1_795_285_812, 120_000)),
            ("0001-01-01T00:00:00Z", (-62_135_596_800, 0)),
            (
                "9999-12-31T23:59:59.999999999Z",
                (253_402_300_799, 999_999_999),
            ),
        ] {
            assert_eq!(timestamp(text), Some(time), "{text}");
            assert_eq!(timestamp_text(time).unwrap(), text);
        }
        assert_eq!(
            timestamp("1970-01-01T02:00:00.5+02:00"),
            Some((0, 500_000_000))
        );
        assert_eq!(timestamp("1969-12-31T22:29:00-01:31"), Some((0, 0)));
    }

    #[test]
    fn every_day_of_eight_hundred_years_is_found_again() {
        for day in -146_097..146_097 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
            assert!((1..=days_of(year, month)).contains(&of_month));
        }
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-13-01T00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.0000000001Z",
            "1970-01-01T00:00:00+2:00",
            "1970-01-01T00:00:00+24:00",
            "+970-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "197ä-01-01T00:00:00Z",
            "1970-01-01T00:00:00ZZ",
            "1970-01-01ä",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
        for time in [(253_402_300_800, 0), (0, -1), (0, NANOS), (i64::MIN, 0)] {
            assert!(timestamp_text(time).is_err());
        }
    }

    #[test]
    fn durations_go_back_and_forth() {
        for (text, time) in [
            ("0s", (0, 0)),
            ("1.500s", (1, 500_000_000)),
            ("-0.000000001s", (0, -1)),
            ("-1.000001s", (-1, -1000)),
            ("315576000000s", (DURATION_MAX, 0)),
        ] {
            assert_eq!(duration(text), Some(time), "{text}");
            assert_eq!(duration_text(time).unwrap(), text);
        }
        for text in [
            "",
            "s",
            "1",
            "1.s",
            ".5s",
            "--1s",
            "+1s",
            "1.0000000001s",
            "315576000001s",
            "1 s",
            "1e3s",
            "ä",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        for time in [
            (1, -1),
            (-1, 1),
            (0, NANOS),
            (0, i32::MIN),
            (i64::MIN, 0),
            (DURATION_MAX + 1, 0),
        ] {
            assert!(duration_text(time).is_err());
        }
    }

    #[test]
    fn field_masks_go_back_and_forth() {
        let paths = field_mask("user.displayName,photo").unwrap();
        assert_eq!(paths, ["user.display_name", "photo"]);
        assert_eq!(field_mask(""), Some(Vec::new()));
        for text in [
            "display_name",
            "a,",
            "a,,b",
            ".",
            "a.",
            "1a",
            "a;b",
            "a b",
            "ä",
        ] {
            assert_eq!(field_mask(text), None, "{text}");
        }
        assert_eq!(
            field_mask_path("user.display_name").unwrap(),
            "user.displayName"
        );
        for path in ["displayName", "a_", "a__b", "a_1", "_A"] {
            assert!(field_mask_path(path).is_err(), "{path}");
        }
    }
}
