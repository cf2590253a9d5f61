//! [`LargeField`]: what of a message need not be copied to be sent.
//!
//! A message that is written as protobuf is copied field by field into the buffer of the body. For a field that holds many
//! bytes, that is most of what a call costs. So generated code says how the largest field is taken out of a message of each
//! type, and the body consists of two pieces: the rest of the message, and what the field held
//! (`benches/benches/compare.rs`, 1 MiB).

use std::any::Any;
use std::mem;

use bytes::{Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::MessageType;

/// What is shorter than this is copied: a piece of its own costs as much as that.
pub(crate) const LARGE_FIELD_MIN: usize = 16 * 1024;

/// Takes the largest field of text or bytes out of a message of the one type that it is for, if it is large enough.
pub type TakeLarge = fn(&mut dyn Any) -> Option<LargeField>;

/// A field that has been taken out of a message.
#[derive(Debug)]
pub struct LargeField {
    number: u32,
    pub(crate) content: Bytes,
}

impl LargeField {
    /// Writes what precedes the content of the field in protobuf.
    pub(crate) fn put_head(&self, out: &mut BytesMut) {
        encode_key(self.number, WireType::LengthDelimited, out);
        encode_varint(self.content.len() as u64, out);
    }
}

impl MessageType {
    /// Takes what is large out of `message`, if that is such a message, and it has something large in it.
    pub(crate) fn take_large_field(&self, message: &mut dyn Any) -> Option<LargeField> {
        self.large.and_then(|take| take(message))
    }
}

/// A field of text or bytes, as prost can have it.
pub trait Field: sealed::Sealed {
    /// How many bytes it holds.
    fn size(&self) -> usize;

    /// What it holds, and leaves it without.
    fn take(&mut self) -> Bytes;
}

impl Field for Bytes {
    fn size(&self) -> usize {
        self.len()
    }

    fn take(&mut self) -> Bytes {
        mem::take(self)
    }
}

impl Field for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn take(&mut self) -> Bytes {
        mem::take(self).into()
    }
}

impl Field for String {
    fn size(&self) -> usize {
        self.len()
    }

    fn take(&mut self) -> Bytes {
        mem::take(self).into()
    }
}

impl<F: Field> Field for Option<F> {
    fn size(&self) -> usize {
        self.as_ref().map_or(0, F::size)
    }

    fn take(&mut self) -> Bytes {
        self.take().map_or_else(Bytes::new, |mut it| it.take())
    }
}

/// Takes the largest of the `fields` of a message, each with its number, out of it. For generated code.
pub fn take_largest<M: Any, const N: usize>(
    message: &mut dyn Any,
    fields: impl FnOnce(&mut M) -> [(u32, &mut dyn Field); N],
) -> Option<LargeField> {
    let fields = fields(message.downcast_mut()?).into_iter();
    let (number, field) = fields.max_by_key(|(_, field)| field.size())?;
    (field.size() >= LARGE_FIELD_MIN).then(|| LargeField {
        number,
        content: field.take(),
    })
}

mod sealed {
    #[expect(unnameable_types, reason = "so nobody else implements it")]
    pub trait Sealed {}
    impl Sealed for bytes::Bytes {}
    impl Sealed for Vec<u8> {}
    impl Sealed for String {}
    impl<F: super::Field> Sealed for Option<F> {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Message as _, message};

    #[derive(Clone, PartialEq, prost::Message)]
    struct Page {
        #[prost(string, tag = "1")]
        title: String,
        #[prost(bytes = "vec", optional, tag = "300")]
        picture: Option<Vec<u8>>,
        #[prost(bytes = "bytes", tag = "3")]
        sound: Bytes,
        #[prost(uint32, tag = "4")]
        number: u32,
    }

    const PAGE: MessageType = MessageType {
        large: Some(|it| {
            take_largest(it, |it: &mut Page| {
                [
                    (1, &mut it.title),
                    (300, &mut it.picture),
                    (3, &mut it.sound),
                ]
            })
        }),
        ..MessageType::UNKNOWN
    };

    fn page(title: usize, picture: Option<usize>, sound: usize) -> Page {
        Page {
            title: "t".repeat(title),
            picture: picture.map(|bytes| vec![1; bytes]),
            sound: vec![2; sound].into(),
            number: 9,
        }
    }

    /// How many bytes of the message were copied.
    fn copied(page: &Page) -> usize {
        let body = message::into_body(page.clone(), &PAGE).unwrap();
        let front = body.front().len();
        assert_eq!(body.len(), page.encoded_len(Format::Protobuf));
        let read = Page::decode(Format::Protobuf, body.into_bytes()).unwrap();
        assert_eq!(read, *page);
        front
    }

    #[test]
    fn what_is_large_is_not_copied_and_comes_last() {
        for page in [
            page(100_000, None, 0),
            page(10, Some(100_000), 100),
            page(0, None, LARGE_FIELD_MIN),
        ] {
            assert!(copied(&page) < 200, "{} bytes", copied(&page));
        }
        assert!(copied(&page(20_000, Some(30_000), 25_000)) < 45_100);
    }

    #[test]
    fn what_is_small_is_copied() {
        for page in [
            page(0, None, 0),
            page(9_000, Some(9_000), LARGE_FIELD_MIN - 1),
        ] {
            assert_eq!(copied(&page), page.encoded_len(Format::Protobuf));
        }
    }

    #[test]
    fn a_message_of_another_type_stays_whole() {
        let mut text = "t".repeat(100_000);
        assert!(PAGE.take_large_field(&mut text).is_none());
        assert_eq!(text.len(), 100_000);
    }

    #[test]
    fn the_content_is_where_it_was() {
        let page = page(0, None, 50_000);
        let address = page.sound.as_ptr();
        let body = message::into_body(page, &PAGE).unwrap();
        assert_eq!(body.back().unwrap().as_ptr(), address);
    }
}
