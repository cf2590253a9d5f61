//! The checks themselves. The client of tRPC-Go brings its own, see [`crate::go::Go::client`].

mod asked;
pub mod bytes;
pub mod calls;
pub mod carried;
pub mod ends;
pub mod formats;
pub mod java_calls;
pub mod java_ends;
pub mod java_quirks;
pub mod java_streams;
pub mod networks;
pub mod quirks;
pub mod streams;

/// `length` bytes without a short period, different for each `seed`.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
