//! Numbers and base64, as text.

use bytes::{BufMut, BytesMut};

/// The integer that a number of JSON is, if it is one: `10`, `10.0` and `1e1` are the same. None of more than 38 digits.
pub(super) fn integer(number: &str) -> Option<i128> {
    if let Ok(integer) = number.parse() {
        return Some(integer);
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let exponent: i64 = exponent.map_or(Some(0), |exponent| exponent.parse().ok())?;
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let scale = exponent
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(zeros)?;
    let scale = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
    significant.parse::<i128>().ok()?.checked_mul(sign * scale)
}

/// Appends a number so that the shortest text comes out that is read as the same one.
pub(super) fn put_f64(number: f64, out: &mut BytesMut) {
    match number.abs() {
        _ if number.is_nan() => out.put_slice(b"\"NaN\""),
        size if size.is_infinite() => put_infinity(number.is_sign_negative(), out),
        size if is_short(size) => put(format_args!("{number}"), out),
        _ => put(format_args!("{number:e}"), out),
    }
}

/// The same for a number of 32 bits, which takes fewer digits.
pub(super) fn put_f32(number: f32, out: &mut BytesMut) {
    match number.abs() {
        _ if number.is_nan() => out.put_slice(b"\"NaN\""),
        size if size.is_infinite() => put_infinity(number.is_sign_negative(), out),
        size if is_short(size.into()) => put(format_args!("{number}"), out),
        _ => put(format_args!("{number:e}"), out),
    }
}

/// Appends what is formatted.
pub(super) fn put(what: std::fmt::Arguments<'_>, out: &mut BytesMut) {
    std::fmt::Write::write_fmt(out, what).expect("a buffer grows");
}

/// Whether no exponent is needed, by the rule of ECMAScript, which the others follow.
fn is_short(size: f64) -> bool {
    size == 0.0 || (1e-6..1e21).contains(&size)
}

fn put_infinity(is_negative: bool, out: &mut BytesMut) {
    out.put_slice(if is_negative {
        b"\"-Infinity\""
    } else {
        b"\"Infinity\""
    });
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends bytes in base64, RFC 4648, with padding.
pub(super) fn put_base64(bytes: &[u8], out: &mut BytesMut) {
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = bits >> (18 - 6 * place) & 0x3f;
            let digit = STANDARD
                .get(digit as usize)
                .filter(|_| place <= chunk.len());
            out.put_u8(*digit.unwrap_or(&b'='));
        }
    }
}

/// Bytes from base64 in the standard or the URL alphabet, padded or not.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_whole = match digits.len() % 4 {
        0 => padding == 0,
        2 => padding == 0 || padding == 2,
        3 => padding <= 1,
        _ => false,
    };
    if !is_whole {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let mut bits = 0_u32;
    for (i, digit) in digits.bytes().enumerate() {
        bits = bits << 6 | digit_of(digit)?;
        if i % 4 == 3 {
            bytes.extend_from_slice(bits.to_be_bytes().get(1..)?);
            bits = 0;
        }
    }
    let [_, first, second, _] = (bits << (6 * (4 - digits.len() % 4))).to_be_bytes();
    match digits.len() % 4 {
        2 => bytes.push(first),
        3 => bytes.extend([first, second]),
        _ => {}
    }
    Some(bytes)
}

fn digit_of(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        put(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn integers_are_read_however_they_are_written() {
        for (number, integer) in [
            ("0", 0),
            ("-0", 0),
            ("-0.00e99999999999999999999", 0),
            ("12", 12),
            ("12.00", 12),
            ("1.2e1", 12),
            ("120e-1", 12),
            ("-1.5E+3", -1500),
            ("18446744073709551615", u64::MAX.into()),
            ("1.8446744073709551615e19", u64::MAX.into()),
            ("-9.223372036854775808e18", i64::MIN.into()),
        ] {
            assert_eq!(super::integer(number), Some(integer), "{number}");
        }
        for number in [
            "1.5",
            "12e-1",
            "1e-1",
            "1e99",
            "1e99999999999999999999",
            "1e-99999999999999999999",
        ] {
            assert_eq!(integer(number), None, "{number}");
        }
        assert_eq!(integer(&format!("1{}", "0".repeat(100_000))), None);
    }

    #[test]
    fn floats_are_short_and_come_back() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (-1e20, "-100000000000000000000"),
            (1e21, "1e21"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(text(|out| put_f64(number, out)), expected);
        }
        assert_eq!(text(|out| put_f32(0.1, out)), "0.1");
        assert_eq!(text(|out| put_f32(f32::MAX, out)), "3.4028235e38");
        assert_eq!(text(|out| put_f32(f32::NEG_INFINITY, out)), "\"-Infinity\"");
    }

    #[test]
    fn base64_goes_back_and_forth() {
        // RFC 4648, section 10.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(text(|out| put_base64(bytes.as_bytes(), out)), expected);
            assert_eq!(base64(expected).unwrap(), bytes.as_bytes());
            assert_eq!(
                base64(expected.trim_end_matches('=')).unwrap(),
                bytes.as_bytes()
            );
        }
        assert_eq!(base64("-_-_"), base64("+/+/"));
        assert_eq!(base64("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        for broken in [
            "Z", "Zg=", "Zm9v=", "Zm9vY", "Zg===", "=", "Zm 9v", "Zm9ä", "Z=g=",
        ] {
            assert_eq!(base64(broken), None, "{broken}");
        }
    }
}
