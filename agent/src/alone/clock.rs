//! How the peer's clock stands to ours: the best of some exchanges.

/// One question for the peer's clock and its answer, all ns.
#[expect(
    clippy::struct_field_names,
    reason = "the last word of a name is its unit"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    /// By our clock when the question left.
    pub(super) asked_ns: u64,
    /// By the peer's clock when it was read there.
    pub(super) told_ns: u64,
    /// By our clock when the answer came.
    pub(super) heard_ns: u64,
}

/// What to add to our clock to get the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Relation {
    /// The peer's clock less ours, ns.
    pub(super) offset_ns: i64,
    /// The error is at most this, ns; 0 on one kernel.
    pub(super) bound_ns: u64,
}

impl Exchange {
    fn round_trip_ns(&self) -> u64 {
        self.heard_ns.saturating_sub(self.asked_ns)
    }
}

impl Relation {
    /// From the exchange with the shortest way there and back, whose half is the
    /// bound (as in NTP, RFC 5905 section 8); `None` without exchanges.
    pub(super) fn of(exchanges: &[Exchange]) -> Option<Self> {
        let best = exchanges.iter().min_by_key(|each| each.round_trip_ns())?;
        let middle_ns = best.asked_ns + best.round_trip_ns() / 2;
        Some(Self {
            offset_ns: best.told_ns.wrapping_sub(middle_ns) as i64,
            bound_ns: best.round_trip_ns().div_ceil(2),
        })
    }

    /// An instant of our clock by the peer's.
    pub(super) fn at_peer(&self, ours_ns: u64) -> u64 {
        ours_ns.saturating_add_signed(self.offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_exchange_counts() {
        let long = Exchange {
            asked_ns: 1_000,
            told_ns: 50_900,
            heard_ns: 2_000,
        };
        let short = Exchange {
            asked_ns: 3_000,
            told_ns: 52_020,
            heard_ns: 3_100,
        };
        let relation = Relation::of(&[long, short]).unwrap();
        assert_eq!(
            relation,
            Relation {
                offset_ns: 48_970,
                bound_ns: 50
            }
        );
        assert_eq!(relation.at_peer(10_000), 58_970);
        assert_eq!(Relation::of(&[]), None);
    }

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_bound(
            offset in -1_000_000_000_i64..1_000_000_000, there in 0_u64..1_000_000, back in 0_u64..1_000_000,
        ) {
            let asked_ns = 5_000_000_000_u64;
            let exchange = Exchange {
                asked_ns,
                told_ns: (asked_ns + there).saturating_add_signed(offset),
                heard_ns: asked_ns + there + back,
            };
            let relation = Relation::of(&[exchange]).unwrap();
            prop_assert!(relation.offset_ns.abs_diff(offset) <= relation.bound_ns);
        }

        #[test]
        fn absurd_clocks_never_panic(asked_ns: u64, told_ns: u64, heard_ns: u64, now: u64) {
            let exchange = Exchange { asked_ns: asked_ns / 2, told_ns, heard_ns };
            if let Some(relation) = Relation::of(&[exchange]) {
                relation.at_peer(now);
            }
        }
    }
}
