//! How the sender's clock stands to the receiver's.

use crate::offset::Offset;

/// What is known of the clock that packets are stamped by. Instants are ns of one
/// end's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SenderClock {
    /// Both ends read one clock.
    Same,
    /// The sender's clock less the receiver's was estimated before T0.
    Estimated(Offset),
    /// Nothing is known: the least transit so far is taken for no delay at all.
    Relative {
        /// Sender's less receiver's in the packet of least transit, ns; `None`
        /// before the first.
        offset_ns: Option<i64>,
    },
}

impl SenderClock {
    /// Whether both ends mean the same by an instant from T0: only then can what
    /// arrived be counted in the interval in which it was sent.
    pub(crate) fn is_comparable(self) -> bool {
        matches!(self, Self::Same)
    }

    /// Bound of the error of the delay of a packet that arrives at `arrival_ns`, ns;
    /// `None` when it may be anything.
    #[inline]
    pub(crate) fn bound_ns(self, arrival_ns: u64) -> Option<u64> {
        match self {
            Self::Same => Some(0),
            Self::Estimated(offset) => Some(offset.bound_at_ns(arrival_ns)),
            Self::Relative { .. } => None,
        }
    }

    /// Delay of a packet, ns.
    #[inline]
    pub(crate) fn delay_ns(&mut self, send_ns: u64, arrival_ns: u64) -> u64 {
        let offset_ns = match self {
            Self::Same => 0,
            Self::Estimated(offset) => offset.ahead_ns,
            Self::Relative { offset_ns } => {
                let ahead_ns = send_ns.wrapping_sub(arrival_ns) as i64;
                let most_ns = offset_ns.map_or(ahead_ns, |known| known.max(ahead_ns));
                *offset_ns = Some(most_ns);
                most_ns
            }
        };
        arrival_ns.saturating_sub(send_ns.saturating_add_signed(offset_ns.saturating_neg()))
    }

    /// What the sender's clock reads when the receiver's reads `own_ns`, as far as
    /// is known.
    pub(crate) fn sender_ns(self, own_ns: u64) -> u64 {
        let offset_ns = match self {
            Self::Same => 0,
            Self::Estimated(offset) => offset.ahead_ns,
            Self::Relative { offset_ns } => offset_ns.unwrap_or(0),
        };
        own_ns.saturating_add_signed(offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_relative_clock_counts_from_the_least_transit() {
        let mut clock = SenderClock::Relative { offset_ns: None };
        assert_eq!(clock.delay_ns(1_000, 50), 0);
        assert_eq!(clock.delay_ns(2_000, 1_080), 30);
        assert_eq!(clock.delay_ns(3_000, 2_040), 0, "a shorter transit");
        assert_eq!(clock.delay_ns(4_000, 3_080), 40);
        assert_eq!(clock.bound_ns(3_080), None);
    }

    #[test]
    fn an_estimate_is_taken_out_and_its_bound_grows() {
        let mut clock = SenderClock::Estimated(Offset {
            ahead_ns: -500,
            bound_ns: 20,
            at_ns: 1_000,
        });
        assert_eq!(clock.delay_ns(9_600, 10_130), 30);
        assert_eq!(clock.delay_ns(9_660, 10_130), 0, "within the bound of none");
        assert_eq!(clock.bound_ns(1_000), Some(20));
        assert_eq!(
            clock.bound_ns(1_000 + 1_000_000),
            Some(120),
            "100 us a second"
        );
        assert_eq!(clock.sender_ns(2_000), 1_500);
        assert!(!clock.is_comparable(), "T0 may differ");
    }

    proptest! {
        #[test]
        fn absurd_stamps_never_panic(stamps in proptest::collection::vec(any::<(u64, u64)>(), 0..20)) {
            let mut clocks = [
                SenderClock::Same,
                SenderClock::Estimated(Offset {
                    ahead_ns: i64::MIN,
                    bound_ns: u64::MAX,
                    at_ns: 1,
                }),
                SenderClock::Relative { offset_ns: None },
            ];
            for (send, arrival) in stamps {
                for clock in &mut clocks {
                    clock.delay_ns(send, arrival);
                    clock.sender_ns(arrival);
                    clock.bound_ns(arrival);
                }
            }
        }
    }
}
