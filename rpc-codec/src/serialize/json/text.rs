//! JSON text, RFC 8259, piece by piece: what comes next is asked for, and is there or is a fault.

use std::borrow::Cow;

use super::{Fault, LEVELS_MAX};

/// How deep objects and arrays may be nested in each other: each message may be in a list, and have one of its own.
pub(super) const DEPTH_MAX: usize = 2 * LEVELS_MAX + 1;

/// What a value begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// Takes values off the front of a text.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Whether the object or array that was begun last has had nothing yet.
    is_first: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            is_first: false,
        }
    }

    /// What comes next. It may yet be nonsense: taking it tells.
    pub(super) fn peek(&mut self) -> Result<Kind, Fault> {
        match self.skip_space() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    pub(super) fn begin_object(&mut self) -> Result<(), Fault> {
        self.begin(b'{', "an object")
    }

    pub(super) fn begin_array(&mut self) -> Result<(), Fault> {
        self.begin(b'[', "an array")
    }

    /// The next name in an object; its value is to be taken then. `None` is the end of the object.
    pub(super) fn next_name(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        if !self.goes_on(b'}')? {
            return Ok(None);
        }
        let name = self.string()?;
        self.take(b':', "a colon")?;
        Ok(Some(name))
    }

    /// Whether there is one more in an array, which is to be taken then.
    pub(super) fn next_element(&mut self) -> Result<bool, Fault> {
        self.goes_on(b']')
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.take(b'"', "a string")?;
        let plain = self.plain();
        if self.peek_byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut string = plain.to_owned();
        loop {
            match self.peek_byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(string));
                }
                Some(b'\\') => {
                    self.at += 1;
                    string.push(self.escaped()?);
                }
                Some(_) => return Err(self.fault("a control character in a string: escape it")),
                None => return Err(self.unexpected("the end of the string")),
            }
            string.push_str(self.plain());
        }
    }

    /// A number as it is written.
    pub(super) fn number(&mut self) -> Result<&'a str, Fault> {
        self.skip_space();
        let start = self.at;
        self.eat(b'-');
        // No zeros before the first digit, as nobody agrees on what they mean.
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Fault> {
        self.skip_space();
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.unexpected("true or false"))
        }
    }

    pub(super) fn null(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.word("null") {
            Ok(())
        } else {
            Err(self.unexpected("null"))
        }
    }

    /// Steps over a value, whatever it is. It recurses as deep as things may be nested.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            Kind::Object => {
                self.begin_object()?;
                while self.next_name()?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            Kind::Array => {
                self.begin_array()?;
                while self.next_element()? {
                    self.skip()?;
                }
                Ok(())
            }
            Kind::String => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Bool => self.boolean().map(drop),
            Kind::Null => self.null(),
        }
    }

    /// Says that nothing may follow.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.skip_space() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("nothing more")),
        }
    }

    /// What is wrong here.
    pub(super) fn fault(&self, text: impl Into<String>) -> Fault {
        Fault::at(self.at, text)
    }

    /// What is wrong here if `expected` should have been.
    pub(super) fn unexpected(&self, expected: &str) -> Fault {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match rest.chars().next() {
            Some(found) => self.fault(format!("expected {expected} and found {found:?}")),
            None => self.fault(format!("expected {expected} and found the end")),
        }
    }

    /// Where the next value begins.
    pub(super) fn position(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    fn begin(&mut self, bracket: u8, what: &str) -> Result<(), Fault> {
        self.take(bracket, what)?;
        if self.depth == DEPTH_MAX {
            let text = format!("nested deeper than the {DEPTH_MAX} levels that are allowed");
            return Err(self.fault(text));
        }
        self.depth += 1;
        self.is_first = true;
        Ok(())
    }

    /// Whether there is more before the closing bracket, which is taken if not.
    fn goes_on(&mut self, bracket: u8) -> Result<bool, Fault> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if self.skip_space() == Some(bracket) {
            self.at += 1;
            self.depth = self.depth.saturating_sub(1);
            return Ok(false);
        }
        if !is_first {
            self.take(b',', "a comma or the end of it")?;
        }
        Ok(true)
    }

    fn escaped(&mut self) -> Result<char, Fault> {
        let start = self.at;
        let byte = self.peek_byte();
        self.at += usize::from(byte.is_some_and(|byte| byte.is_ascii()));
        Ok(match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let text =
                    "no such character: half of a surrogate pair, or not four hexadecimal digits";
                return self.unicode().ok_or_else(|| Fault::at(start, text));
            }
            _ => return Err(Fault::at(start, "no such escape in a string")),
        })
    }

    /// What follows `\u`. Characters beyond the first 65,536 are written as two.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if !(0xd800..=0xdbff).contains(&first) {
            return char::from_u32(first);
        }
        if !(self.eat(b'\\') && self.eat(b'u')) {
            return None;
        }
        let second = self.four_digits()?.checked_sub(0xdc00)?;
        let code = 0x1_0000 + ((first - 0xd800) << 10) + second;
        if second < 0x400 {
            char::from_u32(code)
        } else {
            None
        }
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at.checked_add(4)?)?;
        let code = digits.iter().try_fold(0, |code, &digit| {
            char::from(digit)
                .to_digit(16)
                .map(|digit| code << 4 | digit)
        })?;
        self.at += 4;
        Some(code)
    }

    /// As much of a string as stands for itself.
    fn plain(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let length = rest
            .bytes()
            .position(|byte| ends(&byte))
            .unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek_byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.unexpected("a digit"));
        }
        Ok(())
    }

    fn take(&mut self, byte: u8, what: &str) -> Result<(), Fault> {
        if self.skip_space() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(what))
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek_byte() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_there = rest.starts_with(word);
        self.at += if is_there { word.len() } else { 0 };
        is_there
    }

    /// The next byte that is not white space.
    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek_byte() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn peek_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<String> {
        let mut reader = Reader::new(text);
        let string = reader.string().ok()?.into_owned();
        reader.end().ok().map(|()| string)
    }

    fn number(text: &str) -> Option<&str> {
        let mut reader = Reader::new(text);
        let number = reader.number().ok()?;
        reader.end().ok().map(|()| number)
    }

    fn is_sound(text: &str) -> bool {
        let mut reader = Reader::new(text);
        reader.skip().and_then(|()| reader.end()).is_ok()
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(string(r#" "plain" "#).unwrap(), "plain");
        assert_eq!(
            string(r#""\"\\\/\b\f\n\r\t""#).unwrap(),
            "\"\\/\u{8}\u{c}\n\r\t"
        );
        assert_eq!(string(r#""a\u00e4\u20ACb""#).unwrap(), "aä€b");
        assert_eq!(string(r#""\ud83d\ude00 ä""#).unwrap(), "\u{1f600} ä");
        for broken in [
            r#"""#,
            r#""\"#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d""#,
            "\"\n\"",
            r#""\ä""#,
            r#""\+123""#,
        ] {
            assert_eq!(string(broken), None, "{broken}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_standard() {
        for sound in ["0", "-0", "10", "1.50", "-1.5e+7", "1E-7", "0e0"] {
            assert_eq!(number(sound), Some(sound));
        }
        for broken in [
            "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "Infinity", "--1",
        ] {
            assert_eq!(number(broken), None, "{broken}");
        }
    }

    #[test]
    fn brackets_and_commas_are_where_they_belong() {
        for sound in [
            "{}",
            "[]",
            " [ 1 , [ ] , { \"a\" : null , \"b\" : true } ] ",
            "false",
        ] {
            assert!(is_sound(sound), "{sound}");
        }
        for broken in [
            "",
            "{",
            "[",
            "{]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "nul",
            "truE",
            "[] []",
            "{\"a\":1 \"b\":2}",
            "\u{feff}{}",
        ] {
            assert!(!is_sound(broken), "{broken}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_sound(&nested(DEPTH_MAX)));
        assert!(!is_sound(&nested(DEPTH_MAX + 1)));
        assert!(
            is_sound(&format!("[{}]", ["[[]]"; 500].join(","))),
            "siblings are not deep"
        );
        assert!(!is_sound(&"[".repeat(1_000_000)));
    }

    #[test]
    fn a_fault_says_where() {
        let fault = Reader::new("[1, x]").skip().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "at byte 4: expected a value and found 'x'"
        );
    }
}
