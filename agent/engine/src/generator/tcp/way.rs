//! Which way of writing is faster here: copying, or lending pages.
//!
//! It differs from host to host: copying a pattern that stays in the cache can cost
//! less than the kernel's bookkeeping of lent pages, or more. So a fast stream without
//! a schedule tries both, early and for a moment, and keeps the better one. A stream
//! that a slower link holds back copies: there is nothing to gain.
//!
//! ```text
//!  Settling ──slow──► Decided(copy)
//!     │ fast
//!     ▼
//!  Trying copy ◄──turns──► Trying lend ──each tried TURNS times──► Decided(either)
//! ```

/// A way to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Copy,
    Lend,
}

/// When a stream's rate is first looked at, and for how long: past slow start.
const SETTLE_NS: u64 = 100_000_000;

/// Length of a turn. Buffers hold less than a millisecond of a stream so fast.
const TURN_NS: u64 = 20_000_000;

/// Turns of each way. Their medians are compared, so one stalled turn does not count.
const TURNS: usize = 3;

/// Below so many bytes a second no host is short of CPU for copying.
const FAST_BYTES_PER_S: u64 = 500_000_000;

/// Lending has to be faster by a tenth: it takes a pipe and more calls.
const GAIN: (u128, u128) = (11, 10);

/// A trial of both ways by one stream. Times are by one clock and never go back;
/// bytes are those the stream has written since it began.
#[derive(Debug)]
pub(super) struct WayTrial {
    state: State,
    /// When the current state, or turn, began, ns, and the bytes written until then.
    since: Option<(u64, u64)>,
}

#[derive(Debug)]
enum State {
    /// Looked at twice: first for the start to pass, then for the rate.
    Settling {
        looked: bool,
    },
    /// Bytes a second of the turns that are over, copying and lending in turn.
    Trying {
        turns: usize,
        rates: [[u64; TURNS]; 2],
    },
    Decided,
}

impl WayTrial {
    /// Before the first write, which copies.
    pub(super) const fn new() -> Self {
        Self {
            state: State::Settling { looked: false },
            since: None,
        }
    }

    /// Before a write at `now_ns`, with `written` bytes so far: the way to change to,
    /// if it is to change.
    pub(super) fn turn(&mut self, now_ns: u64, written: u64) -> Option<Way> {
        if matches!(self.state, State::Decided) {
            return None;
        }
        let (since_ns, before) = *self.since.get_or_insert((now_ns, written));
        let lasted_ns = now_ns.saturating_sub(since_ns);
        let length_ns = match self.state {
            State::Settling { .. } => SETTLE_NS,
            _ => TURN_NS,
        };
        if lasted_ns < length_ns {
            return None;
        }
        self.since = Some((now_ns, written));
        self.ended(per_second(written.saturating_sub(before), lasted_ns))
    }

    /// A state or turn ended, in which so many bytes a second were written.
    fn ended(&mut self, rate: u64) -> Option<Way> {
        match &mut self.state {
            State::Settling { looked } if !*looked => {
                *looked = true;
                None
            }
            State::Settling { .. } if rate < FAST_BYTES_PER_S => {
                self.state = State::Decided;
                None
            }
            State::Settling { .. } => {
                self.state = State::Trying {
                    turns: 0,
                    rates: [[0; TURNS]; 2],
                };
                None
            }
            State::Trying { turns, rates } => {
                rates[*turns % 2][*turns / 2] = rate;
                *turns += 1;
                if *turns < 2 * TURNS {
                    return Some([Way::Copy, Way::Lend][*turns % 2]);
                }
                let [copying, lending] = rates.map(median);
                self.state = State::Decided;
                // The last turn lent.
                let lend = u128::from(lending) * GAIN.1 >= u128::from(copying) * GAIN.0;
                (!lend).then_some(Way::Copy)
            }
            State::Decided => None,
        }
    }

    /// Lending cannot be had: copying it is.
    pub(super) fn give_up(&mut self) {
        self.state = State::Decided;
    }
}

fn per_second(bytes: u64, ns: u64) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / u128::from(ns.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn median(mut rates: [u64; TURNS]) -> u64 {
    rates.sort_unstable();
    rates[TURNS / 2]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// A stream that writes so many bytes a ms by each way, for a second; the ways
    /// that it was told, and when.
    fn told(copying: u64, lending: u64, stalls: &[u64]) -> Vec<(u64, Way)> {
        let (mut trial, mut written, mut way) = (WayTrial::new(), 0, Way::Copy);
        let mut told = Vec::new();
        for ms in 0..1_000 {
            if let Some(next) = trial.turn(7 + ms * MS, written) {
                told.push((ms, next));
                way = next;
            }
            if !stalls.contains(&ms) {
                written += if way == Way::Copy { copying } else { lending };
            }
        }
        told
    }

    #[test]
    fn the_faster_way_stays() {
        let turns = [Way::Lend, Way::Copy, Way::Lend, Way::Copy, Way::Lend];
        let ways = |told: Vec<(u64, Way)>| told.into_iter().map(|(_, way)| way).collect::<Vec<_>>();
        assert_eq!(ways(told(6_000_000, 8_000_000, &[])), turns);
        let back = [&turns[..], &[Way::Copy]].concat();
        assert_eq!(ways(told(8_000_000, 6_000_000, &[])), back);
        // Equal, or nearly: nothing is worth a pipe.
        assert_eq!(ways(told(8_000_000, 8_500_000, &[])), back);
    }

    #[test]
    fn the_trial_is_short() {
        let told = told(8_000_000, 6_000_000, &[]);
        let last = SETTLE_NS / MS * 2 + TURN_NS / MS * (2 * TURNS as u64);
        assert_eq!(told.last(), Some(&(last, Way::Copy)));
    }

    #[test]
    fn a_stream_that_the_link_holds_back_only_copies() {
        assert_eq!(told(499_000, 8_000_000, &[]), []);
    }

    #[test]
    fn one_stalled_turn_decides_nothing() {
        // All of the second turn that lends.
        let stalled: Vec<u64> = (260..280).collect();
        assert_eq!(
            told(6_000_000, 8_000_000, &stalled)
                .last()
                .map(|told| told.1),
            Some(Way::Lend)
        );
    }

    proptest! {
        #[test]
        fn it_always_comes_to_an_end(
            steps in proptest::collection::vec((0_u64..2 << 30, 0_u64..1 << 40), 0..400),
        ) {
            let (mut trial, mut now_ns, mut written, mut told) = (WayTrial::new(), 0, 0, 0);
            for (ns, bytes) in steps {
                (now_ns, written) = (now_ns + ns, written + bytes);
                told += usize::from(trial.turn(now_ns, written).is_some());
            }
            prop_assert!(told <= 2 * TURNS);
        }
    }
}
