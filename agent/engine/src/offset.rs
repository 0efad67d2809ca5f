//! How the peer's monotonic clock stands to ours, where both are not the same one:
//! from questions and answers over the flow link. Pure: `now` and answers in.
//!
//! ```text
//!  ours     t1 ──────┐                ┌──────► t4
//!  peer's            └──► t2 ... t3 ──┘
//! ```
//!
//! 1. The question was heard after it was asked: the peer's clock is ahead of ours
//!    by at most t2 - t1. The answer returned after it was given: by at least
//!    t3 - t4. The middle is the estimate (RFC 5905 section 8), and half of what
//!    lies between bounds its error, however unequal the two ways are.
//! 2. Of a survey's exchanges the one with the least time on the way counts.
//! 3. Two clocks drift apart. Until there is a second estimate they are taken to do
//!    so by no more than [`DRIFT`]; with it, what lies between both is covered.

/// Two quartz clocks of 50 parts in a million each: nanoseconds in which they may
/// drift apart by one.
const DRIFT: u64 = 10_000;

/// Exchanges of a survey. Sixteen are enough for one that neither a queue nor a busy
/// CPU holds up.
const EXCHANGES: u8 = 16;

/// After so long no further question is asked.
const ENOUGH_NS: u64 = 500_000_000;

/// How long a question waits for its answer.
const PATIENCE_NS: u64 = 1_500_000_000;

/// Longest time that a survey takes.
pub(crate) const SURVEY_MAX_NS: u64 = ENOUGH_NS + PATIENCE_NS;

/// One question and its answer, each by the clock of the end where it was, ns.
#[expect(
    clippy::struct_field_names,
    reason = "the last word of a name is its unit"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// When we asked (t1).
    pub(crate) asked_ns: u64,
    /// When the peer heard it (t2).
    pub(crate) heard_ns: u64,
    /// When the peer answered (t3).
    pub(crate) answered_ns: u64,
    /// When the answer came (t4).
    pub(crate) returned_ns: u64,
}

/// An estimate of the peer's clock less ours.
#[expect(
    clippy::struct_field_names,
    reason = "the last word of a name is its unit"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    /// The estimate, ns.
    pub(crate) ahead_ns: i64,
    /// It is off by at most this, ns; at least 1, since it is not exact.
    pub(crate) bound_ns: u64,
    /// When it was made, by our clock, ns.
    pub(crate) at_ns: u64,
}

impl Offset {
    /// From one exchange; `None` if its times cannot be, as those of a clock that
    /// was suspended or of a peer that makes them up.
    pub(crate) fn of(exchange: &Exchange) -> Option<Self> {
        let Exchange {
            asked_ns,
            heard_ns,
            answered_ns,
            returned_ns,
        } = *exchange;
        if returned_ns < asked_ns || answered_ns < heard_ns {
            return None;
        }
        let most = i128::from(heard_ns) - i128::from(asked_ns);
        let least = i128::from(answered_ns) - i128::from(returned_ns);
        let width = u64::try_from(most - least).ok()?;
        Some(Self {
            ahead_ns: i64::try_from(least + i128::from(width / 2)).ok()?,
            bound_ns: width.div_ceil(2).max(1),
            at_ns: returned_ns,
        })
    }

    /// By how much the estimate may be off at `at_ns` of our clock, as far as quartz
    /// clocks drift, ns.
    #[inline]
    pub(crate) fn bound_at_ns(&self, at_ns: u64) -> u64 {
        self.bound_ns
            .saturating_add(at_ns.abs_diff(self.at_ns) / DRIFT)
    }

    /// By how much this estimate may be off at any time until `later` was made, ns.
    pub(crate) fn bound_until_ns(&self, later: &Self) -> u64 {
        let moved_ns = self.ahead_ns.abs_diff(later.ahead_ns);
        self.bound_ns.max(moved_ns.saturating_add(later.bound_ns))
    }
}

/// What becomes of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next question leaves now.
    Ask,
    /// It waits for an answer.
    Wait,
    /// It is over.
    Over,
}

/// Some exchanges in a row.
#[derive(Debug)]
pub(crate) struct Survey {
    begun_ns: u64,
    asked_ns: u64,
    left: u8,
    best: Option<Offset>,
}

impl Survey {
    /// Begins at `now_ns`, when the first question leaves.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            begun_ns: now_ns,
            asked_ns: now_ns,
            left: EXCHANGES - 1,
            best: None,
        }
    }

    /// An answer has come; one to no question of ours counts for nothing.
    pub(crate) fn answered(&mut self, exchange: &Exchange) -> Step {
        if exchange.asked_ns != self.asked_ns {
            return Step::Wait;
        }
        if let Some(offset) = Offset::of(exchange)
            && self.best.is_none_or(|best| offset.bound_ns < best.bound_ns)
        {
            self.best = Some(offset);
        }
        let now_ns = exchange.returned_ns;
        if self.left == 0 || now_ns.saturating_sub(self.begun_ns) >= ENOUGH_NS {
            return Step::Over;
        }
        self.left -= 1;
        // A question is known by its time: no two have the same.
        self.asked_ns = now_ns.max(self.asked_ns.saturating_add(1));
        Step::Ask
    }

    /// When the question under way left, ns.
    pub(crate) fn asked_ns(&self) -> u64 {
        self.asked_ns
    }

    /// Until when its answer is waited for, ns.
    pub(crate) fn until_ns(&self) -> u64 {
        self.asked_ns.saturating_add(PATIENCE_NS)
    }

    /// The best estimate so far.
    pub(crate) fn best(&self) -> Option<Offset> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// A peer whose clock is ahead by `ahead_ns`, and drifts by `ppm` from the
    /// instant 0 of ours on.
    #[derive(Debug, Clone, Copy)]
    struct Peer {
        ahead_ns: i64,
        ppm: i64,
    }

    impl Peer {
        fn ahead_at(&self, ours_ns: u64) -> i64 {
            self.ahead_ns + (i128::from(ours_ns) * i128::from(self.ppm) / 1_000_000) as i64
        }

        /// An exchange that begins at `at_ns`, with so long there, held, and back.
        fn exchange(&self, at_ns: u64, (there, held, back): (u64, u64, u64)) -> Exchange {
            let read = |ours_ns: u64| ours_ns.saturating_add_signed(self.ahead_at(ours_ns));
            Exchange {
                asked_ns: at_ns,
                heard_ns: read(at_ns + there),
                answered_ns: read(at_ns + there + held),
                returned_ns: at_ns + there + held + back,
            }
        }

        fn survey(&self, begun_ns: u64, ways: &[(u64, u64, u64)]) -> Option<Offset> {
            let mut survey = Survey::new(begun_ns);
            for way in ways.iter().cycle() {
                let exchange = self.exchange(survey.asked_ns(), *way);
                if survey.answered(&exchange) == Step::Over {
                    break;
                }
            }
            survey.best()
        }
    }

    #[test]
    fn the_quickest_exchange_counts() {
        let peer = Peer {
            ahead_ns: -86_400_000_000_000,
            ppm: 0,
        };
        let ways = [(900, 50, 100), (40, 10_000, 60), (500, 0, 500)];
        let offset = peer.survey(90_000_000 * MS, &ways).unwrap();
        // Half of 100 ns on the way; 10 ns off, since back took 20 ns longer.
        assert_eq!(offset.bound_ns, 50);
        assert_eq!(offset.ahead_ns, peer.ahead_ns - 10);
    }

    #[test]
    fn no_estimate_is_exact() {
        let peer = Peer {
            ahead_ns: 5,
            ppm: 0,
        };
        let offset = Offset::of(&peer.exchange(100, (0, 0, 0))).unwrap();
        assert_eq!((offset.ahead_ns, offset.bound_ns), (5, 1));
    }

    #[test]
    fn a_slow_path_is_not_asked_for_long() {
        let peer = Peer {
            ahead_ns: 0,
            ppm: 0,
        };
        let mut survey = Survey::new(0);
        let mut asked = 1;
        while survey.answered(&peer.exchange(survey.asked_ns(), (100 * MS, 0, 100 * MS)))
            == Step::Ask
        {
            asked += 1;
        }
        assert_eq!(asked, 3, "600 ms");
        assert_eq!(survey.best().unwrap().bound_ns, 100 * MS);
    }

    #[test]
    fn answers_to_other_questions_are_no_answers() {
        let peer = Peer {
            ahead_ns: 0,
            ppm: 0,
        };
        let mut survey = Survey::new(1_000);
        let first = peer.exchange(1_000, (10, 0, 10));
        assert_eq!(survey.answered(&peer.exchange(999, (1, 0, 1))), Step::Wait);
        assert_eq!(survey.best(), None);
        assert_eq!(survey.answered(&first), Step::Ask);
        assert_eq!(survey.answered(&first), Step::Wait, "a copy");
    }

    #[test]
    fn times_that_cannot_be_give_no_estimate() {
        let possible = Exchange {
            asked_ns: 100,
            heard_ns: 5_000,
            answered_ns: 5_010,
            returned_ns: 120,
        };
        assert!(Offset::of(&possible).is_some());
        for impossible in [
            Exchange {
                returned_ns: 99,
                ..possible
            },
            Exchange {
                answered_ns: 4_999,
                ..possible
            },
            Exchange {
                answered_ns: 5_021,
                ..possible
            },
        ] {
            assert_eq!(Offset::of(&impossible), None, "{impossible:?}");
        }
    }

    fn way() -> impl Strategy<Value = (u64, u64, u64)> {
        // From no time at all to a queue of seconds, each way for itself.
        let leg = || prop_oneof![0_u64..1_000, 0..MS, 0..3_000 * MS];
        (leg(), 0_u64..MS, leg())
    }

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_bound(
            ahead_ns in -1_i64 << 50..1 << 50,
            ways in proptest::collection::vec(way(), 1..20),
        ) {
            let peer = Peer { ahead_ns, ppm: 0 };
            let offset = peer.survey(1 << 51, &ways).unwrap();
            prop_assert!(offset.ahead_ns.abs_diff(ahead_ns) <= offset.bound_ns);
        }

        /// Of clocks that drift, even by more than quartz clocks do, the second
        /// estimate tells how wrong the first became.
        #[test]
        fn the_second_estimate_covers_the_drift(
            ahead_ns in -1_i64 << 50..1 << 50,
            ppm in -800_i64..800,
            before in proptest::collection::vec(way(), 16),
            after in proptest::collection::vec(way(), 16),
            flow_ms in 0_u64..600_000,
            part in 0.0_f64..1.0,
        ) {
            let peer = Peer { ahead_ns, ppm };
            let begun_ns = 1_u64 << 51;
            let first = peer.survey(begun_ns, &before).unwrap();
            let second = peer.survey(first.at_ns + flow_ms * MS, &after).unwrap();
            let at_ns = first.at_ns + ((second.at_ns - first.at_ns) as f64 * part) as u64;
            let error_ns = first.ahead_ns.abs_diff(peer.ahead_at(at_ns));
            // An exchange is over in seconds, in which clocks drift as well.
            let within = 2 + (first.bound_ns + second.bound_ns) * 2 * ppm.unsigned_abs() / 1_000_000;
            prop_assert!(
                error_ns <= first.bound_until_ns(&second) + within,
                "{error_ns} {first:?} {second:?}"
            );
        }

        #[test]
        fn quartz_clocks_stay_within_the_bound_that_grows(
            ppm in -100_i64..=100, way in way(), later_ms in 0_u64..3_600_000,
        ) {
            let peer = Peer { ahead_ns: 77, ppm };
            let first = peer.survey(0, &[way]).unwrap();
            let at_ns = first.at_ns + later_ms * MS;
            let error_ns = first.ahead_ns.abs_diff(peer.ahead_at(at_ns));
            let within = 2 + first.bound_ns * 2 * ppm.unsigned_abs() / 1_000_000;
            prop_assert!(error_ns <= first.bound_at_ns(at_ns) + within);
        }

        #[test]
        fn absurd_times_never_panic(times: [u64; 4], now_ns: u64) {
            let exchange = Exchange {
                asked_ns: times[0],
                heard_ns: times[1],
                answered_ns: times[2],
                returned_ns: times[3],
            };
            let mut survey = Survey::new(times[0]);
            let _step = survey.answered(&exchange);
            let _until_ns = survey.until_ns();
            if let Some(offset) = Offset::of(&exchange) {
                let _bound_ns = offset.bound_at_ns(now_ns).max(offset.bound_until_ns(&offset));
            }
        }
    }
}
