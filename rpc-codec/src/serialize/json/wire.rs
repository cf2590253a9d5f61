//! Protobuf, as much of it as has to be written.

/// How a value is written after its tag.
#[derive(Debug, Clone, Copy)]
pub(super) enum WireType {
    Varint = 0,
    EightBytes = 1,
    Delimited = 2,
    Group = 3,
    GroupEnd = 4,
    FourBytes = 5,
}

pub(super) fn put_tag(field: u32, wire_type: WireType, out: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3 | wire_type as u64, out);
}

pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

pub(super) fn put_delimited(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(field, WireType::Delimited, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Begins what is to have its length before it. The result goes to [`end_delimited`].
pub(super) fn begin_delimited(field: u32, out: &mut Vec<u8>) -> usize {
    put_tag(field, WireType::Delimited, out);
    // The length of most takes one byte; what is longer is moved once for each level it is in.
    out.push(0);
    out.len()
}

pub(super) fn end_delimited(start: usize, out: &mut Vec<u8>) {
    let length = out.len().saturating_sub(start);
    let mut prefix = Vec::with_capacity(10);
    put_varint(length as u64, &mut prefix);
    out.splice(start.saturating_sub(1)..start, prefix);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_put_before_what_they_are_of() {
        for length in [0, 1, 127, 128, 20_000] {
            let mut out = b"before".to_vec();
            let start = begin_delimited(17, &mut out);
            out.extend(vec![7; length]);
            end_delimited(start, &mut out);
            let mut expected = b"before".to_vec();
            put_delimited(17, &vec![7; length], &mut expected);
            assert_eq!(out, expected);
        }
    }
}
