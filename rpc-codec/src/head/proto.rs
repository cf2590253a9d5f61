//! As much of protobuf's wire format as heads need.
//!
//! ```text
//!  message  fields, one after the other, in any order
//!  field    tag, value
//!  tag      varint: number << 3 | wire type
//!  value    0 varint  1 eight bytes  2 varint length, then bytes  3 fields until 4  4 the end of 3  5 four bytes
//!  varint   seven bits a byte, lowest first, the top bit set in all but the last; ten bytes at most
//! ```

use bytes::BufMut;

use crate::HeadError;

/// How deep groups may be nested in a head. The protobuf library draws the line there too.
pub(crate) const LEVELS: usize = 100;

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const BYTES: u32 = 2;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
const FOUR_BYTES: u32 = 5;

/// What stands before a value: the number of its field, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    const fn new(field: u32, wire_type: u32) -> Self {
        Self(field << 3 | wire_type)
    }

    #[inline]
    pub(crate) const fn field(self) -> u32 {
        self.0 >> 3
    }

    #[inline]
    const fn wire_type(self) -> u32 {
        self.0 & 7
    }
}

/// Takes fields off the front of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next tag, or `None` where the message ends. It may yet be nonsense: reading its value tells.
    #[inline]
    pub(crate) fn next_tag(&mut self) -> Result<Option<Tag>, HeadError> {
        match *self.rest {
            [] => Ok(None),
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(Some(Tag(byte.into())))
            }
            _ => {
                let (tag, rest) = long_varint(self.rest)?;
                self.rest = rest;
                let tag = u32::try_from(tag).map_err(|_| HeadError::FieldNumber)?;
                Ok(Some(Tag(tag)))
            }
        }
    }

    /// A number of 32 bits. What does not fit is cut off, as everywhere in protobuf.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "protobuf keeps the low bits"
    )]
    pub(crate) fn uint32(&mut self, tag: Tag) -> Result<u32, HeadError> {
        expect(tag, VARINT)?;
        Ok(self.varint()? as u32)
    }

    /// A signed number of 32 bits, in the low bits of a longer one.
    #[inline]
    pub(crate) fn int32(&mut self, tag: Tag) -> Result<i32, HeadError> {
        Ok(i32::from_ne_bytes(self.uint32(tag)?.to_ne_bytes()))
    }

    /// Bytes after their length.
    #[inline]
    pub(crate) fn bytes(&mut self, tag: Tag) -> Result<&'a [u8], HeadError> {
        expect(tag, BYTES)?;
        self.delimited()
    }

    /// Steps over the value that `tag` announces, whatever it is; groups no deeper than `levels`, at most [`LEVELS`].
    #[inline]
    pub(crate) fn skip(&mut self, tag: Tag, levels: usize) -> Result<(), HeadError> {
        *self = self.behind(tag, levels)?;
        Ok(())
    }

    /// What is behind the value that `tag` announces. From hand to hand: fields that a call may change have to lie in memory,
    /// however seldom it is made, and that costs those who have nothing to skip.
    #[inline(never)]
    fn behind(mut self, tag: Tag, levels: usize) -> Result<Self, HeadError> {
        match (tag.field(), tag.wire_type()) {
            (0, _) => return Err(HeadError::FieldNumber),
            (_, VARINT) => {
                self.varint()?;
            }
            (_, EIGHT_BYTES) => {
                self.take(8)?;
            }
            (_, BYTES) => {
                self.delimited()?;
            }
            (_, GROUP) => self.skip_group(tag, levels)?,
            (_, GROUP_END) => return Err(HeadError::UnbalancedGroup),
            (_, FOUR_BYTES) => {
                self.take(4)?;
            }
            (_, found) => return Err(HeadError::WireType { found }),
        }
        Ok(self)
    }

    /// Steps over a group that has begun. Nobody writes groups any more, so this is a peer's invention; it goes without
    /// recursion, so that its depth costs us nothing.
    #[cold]
    fn skip_group(&mut self, begin: Tag, levels: usize) -> Result<(), HeadError> {
        let mut open = [0; LEVELS];
        let mut depth = 0_usize;
        let mut tag = begin;
        loop {
            match tag.wire_type() {
                GROUP_END => {
                    depth = depth.checked_sub(1).ok_or(HeadError::UnbalancedGroup)?;
                    if open.get(depth) != Some(&tag.field()) {
                        return Err(HeadError::UnbalancedGroup);
                    }
                }
                _ if depth >= levels => return Err(HeadError::TooDeep),
                GROUP if tag.field() != 0 => {
                    *open.get_mut(depth).ok_or(HeadError::TooDeep)? = tag.field();
                    depth += 1;
                }
                // No groups are left to this call, so it does not come back here.
                _ => self.skip(tag, levels)?,
            }
            if depth == 0 {
                return Ok(());
            }
            tag = self.next_tag()?.ok_or(HeadError::Truncated)?;
        }
    }

    /// Numbers of one byte are most: tags, and lengths of names. They are read in place, and so are those of two, as ids and
    /// times are; the others by a call.
    #[inline]
    fn varint(&mut self) -> Result<u64, HeadError> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => {
                let (value, rest) = long_varint(self.rest)?;
                self.rest = rest;
                Ok(value)
            }
        }
    }

    #[inline]
    fn delimited(&mut self) -> Result<&'a [u8], HeadError> {
        let length = usize::try_from(self.varint()?).map_err(|_| HeadError::Truncated)?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], HeadError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(HeadError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// A number of any length, and what is behind it: from hand to hand like [`Fields::behind`].
#[inline(never)]
fn long_varint(mut rest: &[u8]) -> Result<(u64, &[u8]), HeadError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first().ok_or(HeadError::Truncated)?;
        rest = behind;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value, rest));
        }
    }
    Err(HeadError::VarintTooLong)
}

#[inline]
fn expect(tag: Tag, wire_type: u32) -> Result<(), HeadError> {
    if tag.wire_type() == wire_type {
        Ok(())
    } else {
        Err(HeadError::WrongWireType { field: tag.field() })
    }
}

/// What is written into a message, or only measured: both go through the same list of fields.
pub(crate) trait Sink {
    /// A number; 0 is not written.
    fn number(&mut self, field: u32, value: u32);
    /// A signed number; 0 is not written.
    fn signed(&mut self, field: u32, value: i32);
    /// Bytes; none are not written.
    fn bytes(&mut self, field: u32, value: &[u8]);
    /// One entry of a map, written even if both are empty.
    fn entry(&mut self, field: u32, key: &[u8], value: &[u8]);
    /// What stands before a message of `length` bytes, written even if that has none.
    fn message(&mut self, field: u32, length: usize);
}

/// Measures.
#[derive(Debug, Default)]
pub(crate) struct Length(pub(crate) usize);

impl Sink for Length {
    fn number(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.0 += tag_len(field) + varint_len(value.into());
        }
    }

    fn signed(&mut self, field: u32, value: i32) {
        if value != 0 {
            self.0 += tag_len(field) + varint_len(extended(value));
        }
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.0 += delimited_len(field, value.len());
        }
    }

    fn entry(&mut self, field: u32, key: &[u8], value: &[u8]) {
        self.0 += delimited_len(field, entry_len(key, value));
    }

    fn message(&mut self, field: u32, length: usize) {
        self.0 += tag_len(field) + varint_len(length as u64);
    }
}

/// Writes.
#[derive(Debug)]
pub(crate) struct Writer<'a, B>(pub(crate) &'a mut B);

impl<B: BufMut> Sink for Writer<'_, B> {
    fn number(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.pair(Tag::new(field, VARINT), value.into());
        }
    }

    fn signed(&mut self, field: u32, value: i32) {
        if value != 0 {
            self.pair(Tag::new(field, VARINT), extended(value));
        }
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.pair(Tag::new(field, BYTES), value.len() as u64);
            self.0.put_slice(value);
        }
    }

    fn entry(&mut self, field: u32, key: &[u8], value: &[u8]) {
        self.pair(Tag::new(field, BYTES), entry_len(key, value) as u64);
        self.bytes(ENTRY_KEY, key);
        self.bytes(ENTRY_VALUE, value);
    }

    fn message(&mut self, field: u32, length: usize) {
        self.pair(Tag::new(field, BYTES), length as u64);
    }
}

/// A number in one of the first fifteen fields as [`Sink::number`] writes it, and how many of the bytes count. It takes no
/// loop: all groups of seven bits move at once, each as many bits up as there are groups before it.
#[inline]
pub(crate) fn short_number(field: u32, value: u32) -> ([u8; 8], usize) {
    debug_assert!(field < 16, "its tag takes one byte");
    if value == 0 {
        return ([0; 8], 0);
    }
    let value = u64::from(value);
    let groups = (0..5).fold(0, |groups, place| {
        groups | (value << place) & (0x7f << (8 * place))
    });
    let length = varint_len(value);
    // All bytes but the last say that another follows.
    let before_last = (1 << (8 * (length - 1))) - 1;
    let bytes = groups | 0x80_80_80_80 & before_last;
    let tag = u64::from(Tag::new(field, VARINT).0);
    ((bytes << 8 | tag).to_le_bytes(), 1 + length)
}

impl<B: BufMut> Writer<'_, B> {
    /// A tag and what follows it: a number, or the length of bytes. Short ones are appended at once, because each
    /// append to a buffer that grows costs a look at its room.
    fn pair(&mut self, tag: Tag, value: u64) {
        let [short_tag, ..] = tag.0.to_le_bytes();
        let [low, ..] = value.to_le_bytes();
        let [high, ..] = (value >> 7).to_le_bytes();
        match value {
            ..0x80 if tag.0 < 0x80 => self.0.put_slice(&[short_tag, low]),
            ..0x4000 if tag.0 < 0x80 => self.0.put_slice(&[short_tag, low | 0x80, high]),
            _ => {
                self.varint(tag.0.into());
                self.varint(value);
            }
        }
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.put_u8(low);
            }
            self.0.put_u8(low | 0x80);
        }
    }
}

/// The field of a map entry that holds its key.
pub(crate) const ENTRY_KEY: u32 = 1;
/// The field of a map entry that holds its value.
pub(crate) const ENTRY_VALUE: u32 = 2;

fn entry_len(key: &[u8], value: &[u8]) -> usize {
    let mut length = Length::default();
    length.bytes(ENTRY_KEY, key);
    length.bytes(ENTRY_VALUE, value);
    length.0
}

fn delimited_len(field: u32, length: usize) -> usize {
    tag_len(field) + varint_len(length as u64) + length
}

fn tag_len(field: u32) -> usize {
    varint_len(Tag::new(field, VARINT).0.into())
}

fn varint_len(value: u64) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
}

/// A negative number takes ten bytes: it is written as the 64-bit number of the same value.
#[expect(clippy::cast_sign_loss, reason = "the bits are what is written")]
fn extended(value: i32) -> u64 {
    i64::from(value) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, HeadError> {
        let mut fields = Fields::new(bytes);
        let value = fields.varint()?;
        assert!(fields.rest.is_empty());
        Ok(value)
    }

    #[test]
    fn numbers_of_every_length_survive_the_way_there_and_back() {
        for bits in 0..64 {
            for value in [1_u64 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let mut bytes = Vec::new();
                Writer(&mut bytes).varint(value);
                assert_eq!(varint(&bytes), Ok(value));
                assert_eq!(bytes.len(), varint_len(value));
            }
        }
    }

    #[test]
    fn a_number_on_the_stack_is_the_number_that_is_written() {
        for bits in 0..32 {
            for value in [1_u32 << bits, (1 << bits) - 1, u32::MAX >> bits] {
                let mut written = Vec::new();
                Writer(&mut written).number(3, value);
                let (bytes, length) = short_number(3, value);
                assert_eq!(bytes[..length], written);
            }
        }
    }

    #[test]
    fn refuses_a_number_of_more_than_64_bits() {
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(varint(&bytes), Ok(u64::MAX));
        bytes[9] = 2;
        assert_eq!(varint(&bytes), Err(HeadError::VarintTooLong));
        bytes[9] = 0x81;
        assert_eq!(varint(&bytes), Err(HeadError::VarintTooLong));
    }

    #[test]
    fn refuses_a_number_without_an_end() {
        for length in 0..10 {
            assert_eq!(varint(&vec![0x80; length]), Err(HeadError::Truncated));
        }
    }

    fn skip(bytes: &[u8]) -> Result<(), HeadError> {
        let mut fields = Fields::new(bytes);
        let tag = fields.next_tag()?.ok_or(HeadError::Truncated)?;
        fields.skip(tag, LEVELS)?;
        assert!(fields.rest.is_empty());
        Ok(())
    }

    #[test]
    fn steps_over_values_of_every_wire_type() {
        assert_eq!(skip(&[0x78, 0x96, 0x01]), Ok(()));
        assert_eq!(skip(&[0x79, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(()));
        assert_eq!(skip(&[0x7a, 2, 1, 2]), Ok(()));
        assert_eq!(skip(&[0x7b, 0x78, 1, 0x7b, 0x7c, 0x7c]), Ok(()));
        assert_eq!(skip(&[0x7d, 1, 2, 3, 4]), Ok(()));
    }

    #[test]
    fn refuses_what_is_not_a_field() {
        assert_eq!(skip(&[0x00, 1]), Err(HeadError::FieldNumber));
        assert_eq!(skip(&[0x7e]), Err(HeadError::WireType { found: 6 }));
        assert_eq!(skip(&[0x7c]), Err(HeadError::UnbalancedGroup));
        assert_eq!(skip(&[0x7b, 0x74]), Err(HeadError::UnbalancedGroup));
        assert_eq!(skip(&[0x7b]), Err(HeadError::Truncated));
        assert_eq!(skip(&[0x7a, 3, 1, 2]), Err(HeadError::Truncated));
    }

    #[test]
    fn groups_may_be_nested_a_hundred_deep() {
        let nested = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
        assert_eq!(skip(&nested(100)), Ok(()));
        assert_eq!(skip(&nested(101)), Err(HeadError::TooDeep));
    }
}
