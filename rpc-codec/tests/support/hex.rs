//! Hexadecimal, for vectors.

/// The bytes that pairs of digits stand for.
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    assert!(digits.len() % 2 == 0, "digits come in pairs: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a hexadecimal digit"))
        .collect()
}
