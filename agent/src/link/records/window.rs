//! How far records may be sent. Pure.

/// What is sent, stored, and allowed in flight.
///
/// Invariant: `acked < next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    next: u64,
    acked: u64,
    credit: u64,
}

impl Window {
    /// The controller has stored up to `acked` and takes `credit` entries beyond it.
    pub(super) fn new(acked: u64, credit: u32) -> Self {
        Self {
            next: acked.saturating_add(1),
            acked,
            credit: credit.into(),
        }
    }

    /// The sequence to send next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many entries up to `last` may be sent now.
    pub(super) fn room(&self, last: u64) -> usize {
        let until = last.min(self.acked.saturating_add(self.credit));
        usize::try_from((until + 1).saturating_sub(self.next)).unwrap_or(usize::MAX)
    }

    /// So many entries were sent.
    pub(super) fn sent(&mut self, entries: usize) {
        self.next += entries as u64;
    }

    /// An acknowledgement; one older than another changes the credit only.
    pub(super) fn acked(&mut self, acked: u64, credit: u32) {
        self.acked = self.acked.max(acked);
        self.next = self.next.max(self.acked.saturating_add(1));
        self.credit = credit.into();
    }

    /// A nack: sends again from `expected`.
    pub(super) fn go_back(&mut self, expected: u64) {
        self.next = expected.max(self.acked + 1).min(self.next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credit_bounds_what_is_in_flight() {
        let mut window = Window::new(10, 4);
        assert_eq!(
            (window.next(), window.room(100), window.room(12)),
            (11, 4, 2)
        );
        window.sent(4);
        assert_eq!(window.room(100), 0);
        window.acked(12, 4);
        assert_eq!((window.next(), window.room(100)), (15, 2));
        window.go_back(13);
        assert_eq!((window.next(), window.room(100)), (13, 4));
        window.acked(11, 0);
        assert_eq!(window.room(100), 0);
    }

    proptest! {
        /// A receiver that takes only what continues, and loses some batches,
        /// gets every entry once and in order.
        #[test]
        fn go_back_n_delivers_everything(
            total in 1u64..200, credit in 1u32..50, losses in prop::collection::vec(any::<bool>(), 400)
        ) {
            let mut window = Window::new(0, credit);
            let mut stored = 0u64;
            let mut losses = losses.into_iter().chain(std::iter::repeat(false));
            for _ in 0..2000 {
                if stored == total {
                    break;
                }
                let room = window.room(total).min(7);
                if room == 0 {
                    // A time-out of the controller: it says where it stands.
                    window.acked(stored, credit);
                    window.go_back(stored + 1);
                    continue;
                }
                let first = window.next();
                window.sent(room);
                prop_assert!(window.next() - 1 <= stored + u64::from(credit));
                if losses.next() == Some(true) {
                    continue;
                }
                if first == stored + 1 {
                    stored += room as u64;
                    window.acked(stored, credit);
                } else {
                    window.go_back(stored + 1);
                }
            }
            prop_assert_eq!(stored, total);
        }
    }
}
