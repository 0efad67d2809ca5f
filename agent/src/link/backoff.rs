//! When to try again. Pure: takes random bits, answers with a wait.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(250);
/// Each failed attempt waits this much longer than the one before.
const FACTOR: f64 = 1.6;
/// A wait is up to this share shorter or longer, so that the agents of a
/// restarted controller do not come back in step.
const JITTER: f64 = 0.3;
/// Longest wait while traffic runs or records wait.
const CAP_BUSY: Duration = Duration::from_secs(5);
/// Longest wait of an idle agent: with its jitter, and an attempt that was under way when
/// a network healed, it is back within 10 s.
const CAP_IDLE: Duration = Duration::from_secs(6);
/// Longest wait of an idle agent that was refused for good.
const CAP_REFUSED: Duration = Duration::from_secs(30);
/// Longest wait for a controller of the same host: an attempt costs a system call.
const CAP_LOCAL: Duration = Duration::from_secs(2);
/// A session that lasted this long was healthy: the next wait is the first again.
const HEALTHY: Duration = Duration::from_secs(10);

/// The waits between attempts.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    local: bool,
    refused: bool,
}

impl Backoff {
    /// `local`: the controller is reached through a unix socket.
    pub(crate) fn new(local: bool) -> Self {
        Self {
            next: FIRST,
            local,
            refused: false,
        }
    }

    /// A session has ended after `lasted`.
    pub(crate) fn session_ended(&mut self, lasted: Duration) {
        if lasted >= HEALTHY {
            self.next = FIRST;
        }
    }

    /// The controller has refused for good: trying soon is no use.
    pub(crate) fn refused(&mut self) {
        self.next = CAP_REFUSED;
        self.refused = true;
    }

    /// How long to wait now, from uniformly random bits. `busy`: traffic runs
    /// or records wait.
    pub(crate) fn wait(&mut self, busy: bool, random: u64) -> Duration {
        let cap = match (self.local, busy) {
            (true, _) => CAP_LOCAL,
            (false, true) => CAP_BUSY,
            (false, false) if self.refused => CAP_REFUSED,
            (false, false) => CAP_IDLE,
        };
        self.refused = false;
        let base = self.next.min(cap);
        self.next = self.next.mul_f64(FACTOR).min(CAP_REFUSED);
        let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
        base.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Random bits that make the jitter nought.
    const MIDDLE: u64 = 1 << 63;

    #[test]
    fn waits_grow_to_their_cap() {
        let mut backoff = Backoff::new(false);
        let waits: Vec<u128> = (0..4)
            .map(|_| backoff.wait(false, MIDDLE).as_millis())
            .collect();
        assert_eq!(waits, [250, 400, 640, 1024]);
        for _ in 0..20 {
            backoff.wait(false, MIDDLE);
        }
        assert_eq!(backoff.wait(true, MIDDLE), CAP_BUSY);
        assert_eq!(backoff.wait(false, MIDDLE), CAP_IDLE);
        backoff.session_ended(Duration::from_secs(9));
        assert_eq!(backoff.wait(false, MIDDLE), CAP_IDLE);
        backoff.session_ended(HEALTHY);
        assert_eq!(backoff.wait(false, MIDDLE), FIRST);
        backoff.refused();
        assert_eq!(backoff.wait(false, MIDDLE), CAP_REFUSED);
        // Out of reach after that: it may be another controller that comes back.
        assert_eq!(backoff.wait(false, MIDDLE), CAP_IDLE);
    }

    #[test]
    fn a_local_controller_is_tried_often() {
        let mut backoff = Backoff::new(true);
        backoff.refused();
        assert_eq!(backoff.wait(false, MIDDLE), CAP_LOCAL);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(busy: bool, randoms in prop::collection::vec(any::<u64>(), 1..30)) {
            let mut backoff = Backoff::new(false);
            let mut plain = Backoff::new(false);
            for random in randoms {
                let (wait, base) = (backoff.wait(busy, random), plain.wait(busy, MIDDLE));
                prop_assert!(wait >= base.mul_f64(0.699) && wait <= base.mul_f64(1.301));
            }
        }
    }
}
