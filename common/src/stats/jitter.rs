//! Jitter: the words hide several figures; these are the two that compare
//! neighbouring packets.
//!
//! - RFC 3550 section 6.4.1: `J += (|D| - J) / 16`, with D the difference of
//!   the transit times of two packets in their order of arrival; reported as
//!   its last value and as its mean over the packets of a window.
//! - The mean of |D| itself (RFC 3393 ipdv of neighbours; D-ITG calls this
//!   jitter).
//!
//! Only differences are used, so clocks need not agree; they need to run alike.

/// Weight of a new difference in the average (RFC 3550 appendix A.8).
const GAIN: f64 = 1.0 / 16.0;

/// Running jitter of one stream of packets.
///
/// Feed every packet that counts as received, once, in order of arrival:
/// duplicates and late packets are left out.
#[derive(Debug, Clone, Default)]
pub struct Jitter {
    previous_transit_ns: Option<i64>,
    average_ns: f64,
    window: JitterWindow,
}

/// What [`Jitter`] saw in a window; windows of one stream can be merged.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JitterWindow {
    /// Differences in the window: packets that had a predecessor.
    pub count: u64,
    /// RFC 3550 jitter after the last packet of the window, in nanoseconds.
    pub last_ns: f64,
    /// Sum of the RFC 3550 jitter after each packet, in nanoseconds.
    pub jitter_sum_ns: f64,
    /// Sum of |D|, in nanoseconds.
    pub ipdv_abs_sum_ns: u128,
}

impl Jitter {
    /// Nothing seen yet; the first packet only sets the reference.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a packet with its send time on the sender's clock and its
    /// arrival on the receiver's, both in nanoseconds.
    #[inline]
    pub fn record(&mut self, send_ns: u64, arrival_ns: u64) {
        // Wrapping, as the clocks' origins differ by any amount.
        let transit_ns = arrival_ns.wrapping_sub(send_ns) as i64;
        if let Some(previous) = self.previous_transit_ns.replace(transit_ns) {
            let difference_ns = transit_ns.wrapping_sub(previous).unsigned_abs();
            self.average_ns += (difference_ns as f64 - self.average_ns) * GAIN;
            self.window.count += 1;
            self.window.last_ns = self.average_ns;
            self.window.jitter_sum_ns += self.average_ns;
            self.window.ipdv_abs_sum_ns += u128::from(difference_ns);
        }
    }

    /// RFC 3550 jitter after the last packet, in nanoseconds; 0 before the
    /// second one.
    pub fn current_ns(&self) -> f64 {
        self.average_ns
    }

    /// The figures since the last call, and starts the next window. The running
    /// average goes on.
    pub fn take_window(&mut self) -> JitterWindow {
        std::mem::take(&mut self.window)
    }
}

impl JitterWindow {
    /// Mean RFC 3550 jitter over the window's packets, in nanoseconds.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count > 0).then(|| self.jitter_sum_ns / self.count as f64)
    }

    /// Mean |ipdv| in nanoseconds (D-ITG's jitter).
    pub fn ipdv_mean_abs_ns(&self) -> Option<f64> {
        (self.count > 0).then(|| self.ipdv_abs_sum_ns as f64 / self.count as f64)
    }

    /// Appends a later window of the same stream.
    pub fn merge(&mut self, later: &Self) {
        if later.count > 0 {
            self.last_ns = later.last_ns;
        }
        self.count = self.count.saturating_add(later.count);
        self.jitter_sum_ns += later.jitter_sum_ns;
        self.ipdv_abs_sum_ns = self.ipdv_abs_sum_ns.saturating_add(later.ipdv_abs_sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn follows_the_formula_of_rfc_3550() {
        let mut jitter = Jitter::new();
        // Transit times 100, 116, 100, 100: D = 16, 16, 0.
        for (send, arrival) in [(0, 100), (10, 126), (20, 120), (30, 130)] {
            jitter.record(send, arrival);
        }
        let expected = [1.0, 1.0 + 15.0 / 16.0, (1.0 + 15.0 / 16.0) * 15.0 / 16.0];
        assert_eq!(jitter.current_ns(), expected[2]);
        let window = jitter.take_window();
        assert_eq!(window.count, 3);
        assert_eq!(window.last_ns, expected[2]);
        assert_eq!(window.mean_ns(), Some(expected.iter().sum::<f64>() / 3.0));
        assert_eq!(window.ipdv_mean_abs_ns(), Some(32.0 / 3.0));
    }

    #[test]
    fn one_packet_has_no_jitter() {
        let mut jitter = Jitter::new();
        jitter.record(5, 10);
        assert_eq!(jitter.take_window(), JitterWindow::default());
        assert_eq!(JitterWindow::default().mean_ns(), None);
        assert_eq!(JitterWindow::default().ipdv_mean_abs_ns(), None);
    }

    #[test]
    fn a_constant_transit_has_none_whatever_the_clocks_say() {
        let mut jitter = Jitter::new();
        for i in 0..1_000u64 {
            jitter.record(u64::MAX - 500 + i.min(500), i.min(500));
        }
        assert_eq!(jitter.current_ns(), 0.0);
    }

    proptest! {
        #[test]
        fn any_stamps_are_taken(stamps in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..50)) {
            let mut jitter = Jitter::new();
            for (send, arrival) in stamps {
                jitter.record(send, arrival);
            }
            prop_assert!(jitter.current_ns() >= 0.0);
        }

        #[test]
        fn windows_merge_to_the_whole(
            stamps in proptest::collection::vec((0u64..1_000_000, 0u64..1_000_000), 2..60),
            at: prop::sample::Index,
        ) {
            let (mut parts, mut whole) = (Jitter::new(), Jitter::new());
            let cut = at.index(stamps.len());
            let mut merged = JitterWindow::default();
            for (i, (send, arrival)) in stamps.into_iter().enumerate() {
                if i == cut {
                    merged.merge(&parts.take_window());
                }
                parts.record(send, arrival);
                whole.record(send, arrival);
            }
            merged.merge(&parts.take_window());
            let whole = whole.take_window();
            prop_assert_eq!(merged.count, whole.count);
            prop_assert_eq!(merged.last_ns, whole.last_ns);
            prop_assert_eq!(merged.ipdv_abs_sum_ns, whole.ipdv_abs_sum_ns);
            prop_assert!((merged.jitter_sum_ns - whole.jitter_sum_ns).abs() <= whole.jitter_sum_ns * 1e-9);
        }
    }
}
