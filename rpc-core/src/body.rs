//! [`Body`]: the bytes of a message on their way.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// The bytes of a message, as they are written in a format and perhaps packed.
///
/// They are in one piece, or in two: what a large field of a message holds need not be copied behind the rest of it to
/// be sent. Whoever wants to look at them asks for one piece, which copies only if there are two.
#[derive(Clone, Default)]
pub struct Body {
    front: Bytes,
    /// Behind a pointer, as hardly a body has it and all are moved with it.
    back: Option<Box<Bytes>>,
}

impl Body {
    /// No bytes.
    pub const fn new() -> Self {
        Self {
            front: Bytes::new(),
            back: None,
        }
    }

    /// The bytes of `front` and, behind them, those of `back`.
    pub fn in_pieces(front: Bytes, back: Bytes) -> Self {
        match (front.is_empty(), back.is_empty()) {
            (_, true) => front.into(),
            (true, false) => back.into(),
            (false, false) => Self {
                front,
                back: Some(Box::new(back)),
            },
        }
    }

    /// The first piece, mostly all there is.
    #[inline]
    pub fn front(&self) -> &Bytes {
        &self.front
    }

    /// The second piece, if there is one.
    #[inline]
    pub fn back(&self) -> Option<&Bytes> {
        self.back.as_deref()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        let back = self.back.as_ref().map_or(0, |back| back.len());
        self.front.len().saturating_add(back)
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    /// All bytes in one piece.
    pub fn into_bytes(self) -> Bytes {
        match self.back {
            None => self.front,
            Some(back) => joined(&self.front, &back),
        }
    }

    /// All bytes in one piece, to look at.
    pub fn to_bytes(&self) -> Bytes {
        self.clone().into_bytes()
    }
}

#[cold]
fn joined(front: &Bytes, back: &Bytes) -> Bytes {
    let mut whole = BytesMut::with_capacity(front.len().saturating_add(back.len()));
    whole.extend_from_slice(front);
    whole.extend_from_slice(back);
    whole.freeze()
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            front: bytes,
            back: None,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

/// The same bytes, in however many pieces.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self == &other.to_bytes()[..]
    }
}

impl Eq for Body {}

impl PartialEq<[u8]> for Body {
    fn eq(&self, other: &[u8]) -> bool {
        let back = self.back().map_or(&[][..], |back| &back[..]);
        other.strip_prefix(&self.front[..]) == Some(back)
    }
}

impl PartialEq<str> for Body {
    fn eq(&self, other: &str) -> bool {
        self == other.as_bytes()
    }
}

impl PartialEq<Bytes> for Body {
    fn eq(&self, other: &Bytes) -> bool {
        self == &other[..]
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pieces_are_the_same_body_as_one() {
        let two = Body::in_pieces(Bytes::from_static(b"ab"), Bytes::from_static(b"cd"));
        let one = Body::from("abcd");
        assert_eq!(two, one);
        assert_eq!(one, two);
        assert_eq!(two.len(), 4);
        assert_eq!(two.into_bytes(), "abcd");
        for other in ["abc", "abcde", "abdc", "", "a"] {
            assert_ne!(one, Body::from(other));
        }
    }

    #[test]
    fn a_body_is_empty_if_no_piece_has_bytes() {
        assert!(Body::new().is_empty());
        assert!(Body::in_pieces(Bytes::new(), Bytes::new()).is_empty());
        assert!(!Body::in_pieces(Bytes::new(), Bytes::from_static(b"x")).is_empty());
    }

    #[test]
    fn one_piece_is_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        let body = Body::in_pieces(bytes.clone(), Bytes::new());
        assert_eq!(body.to_bytes().as_ptr(), bytes.as_ptr());
        let body = Body::in_pieces(Bytes::new(), bytes.clone());
        assert_eq!(body.into_bytes().as_ptr(), bytes.as_ptr());
    }
}
