//! Bytes as they stand in case files, and as they are shown and compared.
//!
//! | JSON | bytes |
//! | --- | --- |
//! | `"text"` | the text in UTF-8 |
//! | `{"hex": "00ff"}` | these |
//! | `{"fill": 1024}` | so many of the sequence that [`fill`] makes |
//! | `{"repeat": "ab", "times": 3}` | `ababab` |

use serde_json::{Value, json};

/// Longer ones are shown and compared by their length and checksum.
const SHOWN_MAX: usize = 256;

/// Reads bytes from a case file.
///
/// # Errors
///
/// When `value` is none of the forms above.
pub fn read(value: &Value) -> Result<Vec<u8>, String> {
    let wrong = || format!("{value} is no form of bytes: use a text, hex, fill or repeat");
    if let Some(text) = value.as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    if let Some(hex) = value.get("hex").and_then(Value::as_str) {
        return unhex(hex);
    }
    if let Some(length) = value.get("fill").and_then(Value::as_u64) {
        return Ok(fill(usize::try_from(length).map_err(|_| wrong())?));
    }
    let text = value.get("repeat").and_then(Value::as_str);
    let times = value.get("times").and_then(Value::as_u64);
    match (text, times.and_then(|times| usize::try_from(times).ok())) {
        (Some(text), Some(times)) => Ok(text.as_bytes().repeat(times)),
        _ => Err(wrong()),
    }
}

/// How bytes are shown in decoded frames: as text or in hex, and long ones by length and CRC-32.
pub fn show(bytes: &[u8]) -> Value {
    if bytes.len() > SHOWN_MAX {
        return json!({"size": bytes.len(), "crc32": format!("{:08x}", crc32(bytes))});
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => json!(text),
        _ => json!({"hex": hex(bytes)}),
    }
}

/// Makes `length` bytes that every codec can shrink, though none to less than a tenth: words of four letters, drawn by
/// the generator `x = x * 1103515245 + 12345 mod 2^31` from `x = 1`; bits 16 to 19 of `x` are the first letter from `a`
/// on, the next two letters are its successors, and a space follows.
pub fn fill(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 4);
    let mut state: u32 = 1;
    while bytes.len() < length {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        let letter = b'a' + u8::try_from((state >> 16) & 15).expect("four bits");
        bytes.extend_from_slice(&[letter, letter + 1, letter + 2, b' ']);
    }
    bytes.truncate(length);
    bytes
}

/// The CRC-32 of Ethernet, gzip and PNG.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Bytes in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).expect("four bits");
    let pairs = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    pairs.collect()
}

/// Reads hexadecimal digits, between which there may be spaces.
///
/// # Errors
///
/// When there is something else, or half a byte.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| letter.to_digit(16))
        .collect();
    let digits = digits.ok_or_else(|| format!("{text:?} is not hexadecimal"))?;
    if digits.len() % 2 == 1 {
        return Err(format!("{text:?} ends in half a byte"));
    }
    let bytes = digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]);
    Ok(bytes
        .map(|byte| u8::try_from(byte).expect("two digits"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(read(&json!("ab")), Ok(b"ab".to_vec()));
        assert_eq!(read(&json!({"hex": "00 Ff"})), Ok(vec![0, 255]));
        let twice = read(&json!({"repeat": "ab", "times": 2}));
        assert_eq!(twice, Ok(b"abab".to_vec()));
        assert_eq!(read(&json!({"fill": 5})), Ok(fill(5)));
        for wrong in [json!(1), json!({"hex": "0"}), json!({"hex": "zz"})] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_fill_is_what_its_description_says() {
        assert_eq!(fill(10), b"ghi opq bc");
        assert_eq!(fill(0), b"");
    }

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn long_bytes_are_shown_by_length_and_checksum() {
        assert_eq!(show(b"ab"), json!("ab"));
        assert_eq!(show(&[1]), json!({"hex": "01"}));
        assert_eq!(show(&[b'a'; 300])["size"], json!(300));
    }
}
