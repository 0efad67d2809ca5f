//! What TCP streams carry: bytes that tell their position, so that a receiver can
//! compare them.

use std::io::IoSlice;

/// Bytes after which the pattern repeats: short enough that writing it stays in the
/// cache, a whole number of pages so that pages can be lent.
pub const PATTERN_BYTES: usize = 1 << 16;

/// The most bytes that one write takes. More gains nothing.
pub const WRITE_BYTES: usize = 1 << 20;

/// Slices of the pattern that a write begun anywhere in it needs.
const SLICES: usize = WRITE_BYTES / PATTERN_BYTES + 1;

/// Aligned so that lending whole pages of it to a pipe takes one slot each.
#[repr(C, align(4096))]
struct Pages([u8; PATTERN_BYTES]);

/// Constant: what was lent to the kernel must never change.
static PATTERN: Pages = Pages(pattern());

/// The byte at position p is the top byte of p x 2654435769 (2^32 divided by the
/// golden ratio), which neighbours and displaced pages do not share.
#[expect(
    clippy::large_stack_arrays,
    reason = "evaluated by the compiler, never on a stack"
)]
const fn pattern() -> [u8; PATTERN_BYTES] {
    let mut bytes = [0; PATTERN_BYTES];
    let mut at = 0;
    while at < PATTERN_BYTES {
        bytes[at] = ((at as u32).wrapping_mul(2_654_435_769) >> 24) as u8;
        at += 1;
    }
    bytes
}

/// The pattern from a position of the stream on, in slices; `length` is cut to
/// [`WRITE_BYTES`].
pub(super) struct Slices {
    slices: [IoSlice<'static>; SLICES],
    used: usize,
}

impl Slices {
    pub(super) fn new(position: u64, length: usize) -> Self {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut left = length.min(WRITE_BYTES);
        let mut from = offset(position);
        let mut used = 0;
        while left > 0 {
            let piece = left.min(PATTERN_BYTES - from);
            slices[used] = IoSlice::new(&PATTERN.0[from..from + piece]);
            (used, from, left) = (used + 1, 0, left - piece);
        }
        Self { slices, used }
    }

    pub(super) fn as_slice(&self) -> &[IoSlice<'static>] {
        &self.slices[..self.used]
    }
}

/// How many of `bytes`, which were read at `position` of a stream, are not what was
/// written there.
pub fn mismatches(position: u64, bytes: &[u8]) -> u64 {
    let mut from = offset(position);
    let mut wrong = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(PATTERN_BYTES - from));
        let expected = &PATTERN.0[from..from + piece.len()];
        if piece != expected {
            let pairs = piece.iter().zip(expected);
            wrong += pairs.filter(|(got, sent)| got != sent).count() as u64;
        }
        (rest, from) = (after, 0);
    }
    wrong
}

fn offset(position: u64) -> usize {
    (position % PATTERN_BYTES as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(position: u64, length: usize) -> Vec<u8> {
        let slices = Slices::new(position, length);
        slices
            .as_slice()
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn a_flipped_bit_and_a_displaced_page_are_seen() {
        let mut bytes = written(7, 200_000);
        assert_eq!(mismatches(7, &bytes), 0);
        bytes[150_000] ^= 1;
        assert_eq!(mismatches(7, &bytes), 1);
        for displaced in [1, 8, 1448, 4096, 32_768] {
            let wrong = mismatches(7 + displaced, &written(7, 4096));
            assert!(wrong > 4096 / 2, "by {displaced}: {wrong} of 4096 differ");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_in_any_pieces_is_what_is_expected(
            start in any::<u32>(), lengths in proptest::collection::vec(1_usize..=2 << 20, 1..4),
        ) {
            let mut position = u64::from(start);
            for length in lengths {
                let bytes = written(position, length);
                prop_assert_eq!(bytes.len(), length.min(WRITE_BYTES));
                prop_assert_eq!(mismatches(position, &bytes), 0);
                position += bytes.len() as u64;
            }
        }
    }
}
