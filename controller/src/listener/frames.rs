//! How many HTTP/2 frames a peer may send that carry nothing: the HTTP/2 library
//! answers PING, SETTINGS and WINDOW_UPDATE, and reads past unknown frames, without end.

use std::time::{Duration, Instant};

/// What a client says first (RFC 9113 section 3.4), before any frame.
const PREFACE: usize = 24;
/// A frame's length, type, flags and stream (RFC 9113 section 4.1).
const HEAD: usize = 9;
/// Types of frames that carry calls; the library bounds those itself.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// Other frames in a second, and at once. Whoever reads 300 MB/s of records sends
/// about as many WINDOW_UPDATEs; a flood sends a million.
const FRAMES: u32 = 20_000;

/// Reads heads of frames out of the bytes of a connection, and counts.
///
/// Invariant: `have < HEAD`, the bytes of a head that is not complete.
#[derive(Debug)]
pub(super) struct FrameGuard {
    head: [u8; HEAD],
    have: usize,
    /// Bytes until the next head.
    skip: usize,
    left: u32,
    refilled: Instant,
}

impl FrameGuard {
    /// Of a connection that has said nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            head: [0; HEAD],
            have: 0,
            skip: PREFACE,
            left: FRAMES,
            refilled: now,
        }
    }

    /// Takes the next bytes; whether the peer keeps to its frames.
    pub(super) fn allows(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        self.refill(now);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD && !self.count() {
                return false;
            }
        }
        true
    }

    /// Counts the frame whose head is complete.
    fn count(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.head;
        self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.have = 0;
        if matches!(kind, DATA | HEADERS) {
            return true;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        if self.left == FRAMES || passed >= Duration::from_secs(1) {
            self.left = FRAMES;
            self.refilled = now;
            return;
        }
        let earned = (passed.as_secs_f64() * f64::from(FRAMES)) as u32;
        if earned > 0 {
            self.left = FRAMES.min(self.left + earned);
            // What is less than a frame is earned with the next.
            self.refilled += Duration::from_secs(1) * earned / FRAMES;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        let mut frame = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + length, 0xff);
        frame
    }

    fn opened(now: Instant) -> FrameGuard {
        let mut guard = FrameGuard::new(now);
        assert!(guard.allows(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now));
        guard
    }

    #[test]
    fn calls_may_be_as_many_as_they_are() {
        let now = Instant::now();
        let mut guard = opened(now);
        let call = [frame(HEADERS, 40), frame(DATA, 70_000)].concat();
        for _ in 0..FRAMES {
            assert!(guard.allows(&call, now));
        }
    }

    #[test]
    fn a_flood_ends_and_what_is_below_the_rate_does_not() {
        let now = Instant::now();
        let mut guard = opened(now);
        let ping = frame(PING, 8);
        assert!((0..FRAMES).all(|_| guard.allows(&ping, now)));
        assert!(!guard.allows(&ping, now));
        let mut guard = opened(now);
        // Ten seconds of just what is earned: 20 in each millisecond.
        for ms in 0..10_000 {
            let now = now + Duration::from_millis(ms);
            assert!(
                (0..FRAMES / 1_000).all(|_| guard.allows(&ping, now)),
                "{ms}"
            );
        }
        // Twice as many are too many before the second is over.
        let mut guard = opened(now);
        let held = (0..2_000).take_while(|ms| {
            let now = now + Duration::from_millis(*ms);
            (0..FRAMES / 500).all(|_| guard.allows(&ping, now))
        });
        let held = held.count();
        assert!((900..=1_100).contains(&held), "{held} ms");
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(
            frames in proptest::collection::vec((0_u8..12, 0_usize..300), 0..60),
            cuts in proptest::collection::vec(1_usize..80, 1..60),
        ) {
            let now = Instant::now();
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, length)| frame(*kind, *length)).collect();
            let mut pieces = opened(now);
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                prop_assert!(pieces.allows(piece, now));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let counted = frames.iter().filter(|(kind, _)| *kind > HEADERS).count() as u32;
            prop_assert_eq!(pieces.left, FRAMES - counted);
            prop_assert_eq!((pieces.have, pieces.skip), (0, 0));
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let now = Instant::now();
            opened(now).allows(&bytes, now);
        }
    }
}
