//! The checksums of snappy's stream and of lz4's frame: CRC-32C and xxHash32.
//!
//! Both are short, and what the crates for them are made of beyond these lines (instructions of one processor, states
//! that are fed piece by piece) is of no use here, where the bytes lie in one piece.

/// The polynomial of CRC-32C (Castagnoli), bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// Row `k` has what a byte does to the checksum when `k` more bytes come after it, so that eight bytes are looked up
/// at once.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (CASTAGNOLI * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut row = 1;
    while row < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[row - 1][byte];
            tables[row][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        row += 1;
    }
    tables
}

/// CRC-32C of `bytes` (RFC 3720, appendix B.4).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    // A table has an entry for each byte, so looking one up cannot fail.
    let look_up = |table: &[u32; 256], byte: u8| table[usize::from(byte)];
    let mut words = bytes.chunks_exact(8);
    let mut crc = !0;
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes")) ^ u64::from(crc);
        let bytes = word.to_le_bytes();
        let rows = TABLES.iter().rev().zip(bytes);
        crc = rows.fold(0, |crc, (table, byte)| crc ^ look_up(table, byte));
    }
    for byte in words.remainder() {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ look_up(&TABLES[0], low ^ byte);
    }
    !crc
}

const PRIME_1: u32 = 0x9e37_79b1;
const PRIME_2: u32 = 0x85eb_ca77;
const PRIME_3: u32 = 0xc2b2_ae3d;
const PRIME_4: u32 = 0x27d4_eb2f;
const PRIME_5: u32 = 0x1656_67b1;

/// xxHash32 of `bytes` with seed 0 (the specification in Cyan4973/xxHash).
pub(super) fn xxh32(bytes: &[u8]) -> u32 {
    let mut stripes = bytes.chunks_exact(16);
    let mut hash = if bytes.len() < 16 {
        PRIME_5
    } else {
        let mut lanes = [
            PRIME_1.wrapping_add(PRIME_2),
            PRIME_2,
            0,
            0_u32.wrapping_sub(PRIME_1),
        ];
        for stripe in &mut stripes {
            for (lane, word) in lanes.iter_mut().zip(words(stripe)) {
                let sum = lane.wrapping_add(word.wrapping_mul(PRIME_2));
                *lane = sum.rotate_left(13).wrapping_mul(PRIME_1);
            }
        }
        let turned = lanes.iter().zip([1, 7, 12, 18]);
        turned.fold(0, |hash: u32, (lane, by)| {
            hash.wrapping_add(lane.rotate_left(by))
        })
    };
    // The length counts modulo 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "the specification says so")]
    let length = bytes.len() as u32;
    hash = hash.wrapping_add(length);
    let rest = stripes.remainder();
    for word in words(rest) {
        let sum = hash.wrapping_add(word.wrapping_mul(PRIME_3));
        hash = sum.rotate_left(17).wrapping_mul(PRIME_4);
    }
    for &byte in rest.chunks_exact(4).remainder() {
        let sum = hash.wrapping_add(u32::from(byte).wrapping_mul(PRIME_5));
        hash = sum.rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 16)
}

/// The whole little-endian words in `bytes`.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let words = bytes.chunks_exact(4);
    words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_what_its_standard_shows() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }

    #[test]
    fn xxh32_is_what_others_compute() {
        let rising: Vec<u8> = (0..=255).collect();
        // As Python's `xxhash` says, which is the reference code.
        for (length, hash) in [
            (0, 0x02cc_5d05),
            (3, 0x663e_9a55),
            (4, 0x8069_1e66),
            (15, 0x57c0_1ece),
            (16, 0xb728_37f4),
            (17, 0x7c77_adc2),
            (31, 0xef24_f709),
            (32, 0x8307_41c1),
            (255, 0xb4d5_8730),
            (256, 0x5944_1253),
        ] {
            assert_eq!(xxh32(&rising[..length]), hash, "{length} bytes");
        }
    }
}
