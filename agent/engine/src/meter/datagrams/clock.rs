//! How the sender's clock stands to the receiver's.

/// What is known of the clock that packets are stamped by. Instants are ns of one
/// end's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SenderClock {
    /// Both ends read one clock.
    Same,
    /// Nothing is known: the least transit so far is taken for no delay at all.
    Relative {
        /// Sender's less receiver's in the packet of least transit, ns; `None`
        /// before the first.
        offset_ns: Option<i64>,
    },
}

impl SenderClock {
    /// Whether an instant of the sender can be told on the receiver's clock.
    pub(crate) fn is_comparable(self) -> bool {
        !matches!(self, Self::Relative { .. })
    }

    /// Bound of the error of a delay, ns; `None` when it may be anything.
    pub(crate) fn bound_ns(self) -> Option<u64> {
        match self {
            Self::Same => Some(0),
            Self::Relative { .. } => None,
        }
    }

    /// Delay of a packet, ns.
    #[inline]
    pub(crate) fn delay_ns(&mut self, send_ns: u64, arrival_ns: u64) -> u64 {
        let offset_ns = match self {
            Self::Same => 0,
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
        assert_eq!(clock.bound_ns(), None);
    }

    proptest! {
        #[test]
        fn absurd_stamps_never_panic(stamps in proptest::collection::vec(any::<(u64, u64)>(), 0..20)) {
            let mut clocks = [
                SenderClock::Same,
                SenderClock::Relative { offset_ns: None },
            ];
            for (send, arrival) in stamps {
                for clock in &mut clocks {
                    clock.delay_ns(send, arrival);
                    clock.sender_ns(arrival);
                }
            }
        }
    }
}
