//! The protobuf heads of unary frames, read in place.
//!
//! A head is read once per call, before anybody knows whether the call is worth more work. So it is written by hand: a
//! head that was read borrows from the bytes it was read from, costs no allocation, and leaves its metadata unread.
//! Everything is checked all the same, the metadata too, so that reading it later cannot fail
//! (`benches/benches/micro.rs`, `head`).
//!
//! What is accepted and what is refused is what the protobuf library accepts and refuses (`tests/head_oracle.rs`),
//! with one exception: a request without a head calls nothing.

pub(crate) mod metadata;
pub(crate) mod proto;
mod request;
mod response;

pub use request::RequestHead;
pub use response::ResponseHead;

use crate::HeadError;

/// What an attachment of `size` bytes leaves of what follows a head.
fn body_len(size: u32, after_head: usize) -> Result<usize, HeadError> {
    usize::try_from(size)
        .ok()
        .and_then(|size| after_head.checked_sub(size))
        .ok_or(HeadError::AttachmentPastFrame {
            size,
            left: after_head,
        })
}
