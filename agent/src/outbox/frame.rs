//! Bytes of a segment. Pure.
//!
//! A segment is frames one after the other; a frame is a batch of consecutive
//! entries behind a head of 32 bytes, numbers in little endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `WSP1` |
//! | 4 | 4 | CRC-32C of the head from byte 8 on |
//! | 8 | 4 | CRC-32C of the body |
//! | 12 | 4 | chain: CRC of the body of the frame before; 0 = none is known |
//! | 16 | 4 | length of the body |
//! | 20 | 4 | entries in it |
//! | 24 | 8 | sequence of the first |
//!
//! The body holds the entries, each after its length in 4 bytes. The head has a
//! check of its own so that a damaged or torn body still tells which sequences
//! it held.

use std::ops::Range;

use super::crc::crc32c;

const MAGIC: [u8; 4] = *b"WSP1";
/// Bytes of a head.
pub(super) const HEAD: usize = 32;

/// A frame of a segment as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Sequence of its first entry.
    pub(super) first: u64,
    /// Sequence of its last entry.
    pub(super) last: u64,
    /// Where the body is; meaningless unless it is intact.
    body: Range<usize>,
    /// Whether its entries can be read.
    pub(super) intact: bool,
}

impl Frame {
    /// The entries of an intact frame with their sequences.
    pub(super) fn entries<'a>(&self, segment: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
        let body = segment.get(self.body.clone()).unwrap_or_default();
        (self.first..).zip(Entries(body))
    }
}

/// Splits a body.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(entry)
    }
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Frames whose head is intact, ascending and without overlap, except that
    /// one with a damaged body may be followed by another try of the same.
    pub(super) frames: Vec<Frame>,
    /// The end of the last of them; what follows is torn or damaged.
    pub(super) end: usize,
    /// Chain value for the frame that follows the last one; 0 when that one is damaged.
    pub(super) chain: u32,
}

/// Builds a frame of `count` entries that were put with [`put_entry`].
pub(super) fn frame(first: u64, count: u32, body: &[u8], chain: u32) -> (Vec<u8>, u32) {
    let check = crc32c(body);
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend(MAGIC);
    bytes.extend([0; 4]);
    bytes.extend(check.to_le_bytes());
    bytes.extend(chain.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(first.to_le_bytes());
    let head_check = crc32c(&bytes[8..HEAD]);
    bytes[4..8].copy_from_slice(&head_check.to_le_bytes());
    bytes.extend(body);
    (bytes, check)
}

/// Adds an entry to a body.
pub(super) fn put_entry(body: &mut Vec<u8>, entry: &[u8]) {
    body.extend((entry.len() as u32).to_le_bytes());
    body.extend(entry);
}

/// Finds all frames of a segment, past damage of any kind. `chain` is the
/// value expected of the first one; 0 = not known.
pub(super) fn scan(segment: &[u8], chain: u32) -> Scan {
    let mut found = Scan {
        chain,
        ..Scan::default()
    };
    let mut at = 0;
    while let Some(rest) = segment.get(at..).filter(|rest| rest.len() >= HEAD) {
        let Some(head) = Head::parse(rest).filter(|head| head.follows(&found)) else {
            // Damage: the next frame begins where a head is right.
            at += 1 + next_magic(&rest[1..]);
            found.chain = 0;
            continue;
        };
        let start = at + HEAD;
        let end = start.saturating_add(head.length as usize);
        let body = segment.get(start..end);
        let chained = head.chain == 0 || found.chain == 0 || head.chain == found.chain;
        let intact = chained
            && body.is_some_and(|body| {
                crc32c(body) == head.check && Entries(body).count() == head.count as usize
            });
        found.frames.push(Frame {
            first: head.first,
            last: head.last,
            body: start..end,
            intact,
        });
        found.end = end.min(segment.len());
        found.chain = if intact { head.check } else { 0 };
        // A torn body may be followed by another try, within the length it claims.
        at = if intact { end } else { start };
    }
    found
}

/// Bytes up to the next place where a frame may begin.
fn next_magic(bytes: &[u8]) -> usize {
    bytes
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
        .unwrap_or(bytes.len())
}

struct Head {
    check: u32,
    chain: u32,
    length: u32,
    count: u32,
    first: u64,
    last: u64,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD>()?;
        let word = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            u32::from_le_bytes(bytes)
        };
        if head[..4] != MAGIC || word(4) != crc32c(&head[8..]) {
            return None;
        }
        let count = word(20);
        let first = u64::from(word(24)) | u64::from(word(28)) << 32;
        Some(Self {
            check: word(8),
            chain: word(12),
            length: word(16),
            count,
            first,
            last: first.checked_add(u64::from(count))?.checked_sub(1)?,
        })
        .filter(|head| head.first > 0 && head.count > 0)
    }

    /// Whether it may stand after what was found: sequences only rise, but a
    /// damaged frame may be told again.
    fn follows(&self, found: &Scan) -> bool {
        found
            .frames
            .last()
            .is_none_or(|last| self.first > last.last || (!last.intact && self.first >= last.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two frames of three and two entries, and one of one.
    fn segment() -> (Vec<u8>, [usize; 3]) {
        let mut bytes = Vec::new();
        let mut chain = 0;
        let mut ends = [0; 3];
        for (i, seqs) in [1..=3u64, 4..=5, 6..=6].into_iter().enumerate() {
            let mut body = Vec::new();
            for seq in seqs.clone() {
                put_entry(&mut body, format!("entry {seq}").as_bytes());
            }
            let count = seqs.clone().count() as u32;
            let (made, check) = frame(*seqs.start(), count, &body, chain);
            bytes.extend(made);
            chain = check;
            ends[i] = bytes.len();
        }
        (bytes, ends)
    }

    fn readable(segment: &[u8], found: &Scan) -> Vec<u64> {
        let frames = found.frames.iter().filter(|frame| frame.intact);
        frames
            .flat_map(|frame| frame.entries(segment))
            .map(|(seq, entry)| {
                assert_eq!(entry, format!("entry {seq}").as_bytes());
                seq
            })
            .collect()
    }

    #[test]
    fn what_was_written_is_found() {
        let (bytes, ends) = segment();
        let found = scan(&bytes, 0);
        assert_eq!(readable(&bytes, &found), [1, 2, 3, 4, 5, 6]);
        assert_eq!(found.end, ends[2]);
        assert_eq!(scan(&[], 0), Scan::default());
    }

    #[test]
    fn a_cut_at_any_byte_leaves_the_frames_before_it() {
        let (bytes, ends) = segment();
        for cut in 0..bytes.len() {
            let found = scan(&bytes[..cut], 0);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let expected = [0, 3, 5, 6][whole];
            let seqs: Vec<u64> = (1..=expected).collect();
            assert_eq!(readable(&bytes[..cut], &found), seqs, "cut at {cut}");
            // A torn frame whose head is there tells what it held.
            let start = [0, ends[0], ends[1], ends[2]][whole];
            let torn: Vec<_> = found.frames.iter().filter(|frame| !frame.intact).collect();
            assert_eq!(torn.len(), usize::from(cut >= start + HEAD), "cut at {cut}");
        }
    }

    #[test]
    fn a_flip_of_any_bit_damages_its_own_frame_only() {
        let (bytes, ends) = segment();
        let held = [vec![1, 2, 3], vec![4, 5], vec![6]];
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let found = scan(&damaged, 0);
                let hit = ends.iter().filter(|end| **end <= at).count();
                let others = held.iter().enumerate().filter(|(i, _)| *i != hit);
                let expected: Vec<u64> = others.flat_map(|(_, seqs)| seqs.clone()).collect();
                assert_eq!(readable(&damaged, &found), expected, "bit {bit} of {at}");
            }
        }
    }

    #[test]
    fn a_frame_is_told_again_after_a_torn_one() {
        let mut body = Vec::new();
        put_entry(&mut body, b"entry 1");
        let (whole, _) = frame(1, 1, &body, 0);
        for cut in 0..whole.len() {
            let bytes = [&whole[..cut], &whole].concat();
            assert_eq!(readable(&bytes, &scan(&bytes, 0)), [1], "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_of_another_history_does_not_count() {
        let mut body = Vec::new();
        put_entry(&mut body, b"entry 1");
        let (first, check) = frame(1, 1, &body, 0);
        let (other, _) = frame(2, 1, &body, check ^ 1);
        let bytes = [first, other].concat();
        let found = scan(&bytes, 0);
        assert_eq!(
            found.frames.iter().map(|f| f.intact).collect::<Vec<_>>(),
            [true, false]
        );
    }
}
