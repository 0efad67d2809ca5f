//! What a link does to packets: a rate with its queue, and random loss.

use std::fmt;

/// A line rate in bit/s, as `tc` counts it: with the Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// So many bit/s.
    pub const fn bits(bits_per_second: u64) -> Self {
        Self(bits_per_second)
    }

    /// So many kbit/s (1,000 bit/s).
    pub const fn kbit(kilobits_per_second: u64) -> Self {
        Self(kilobits_per_second.saturating_mul(1_000))
    }

    /// So many Mbit/s (1,000,000 bit/s).
    pub const fn mbit(megabits_per_second: u64) -> Self {
        Self(megabits_per_second.saturating_mul(1_000_000))
    }

    /// The rate in bit/s.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Bytes that pass in so many milliseconds.
    const fn bytes_in_ms(self, milliseconds: u64) -> u64 {
        (self.0 / 8_000).saturating_mul(milliseconds)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit/s", self.0)
    }
}

/// Which way over a link, seen from the host or the AS that it serves.
///
/// For a direct link, "outward" is from the router named first to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Away from the host or AS.
    Out,
    /// Towards the host or AS.
    In,
    /// Each way for itself.
    Both,
}

impl Direction {
    /// Whether packets that leave the host or AS are meant.
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    /// Whether packets towards the host or AS are meant.
    pub const fn is_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }
}

/// The queueing discipline that keeps a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// Token bucket filter; cuts GSO bundles that are larger than the bucket.
    Tbf,
    /// Hierarchical token bucket with one class over a byte FIFO; GSO bundles
    /// pass whole.
    Htb,
}

/// A rate limit: rate, discipline, direction, bucket and queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    rate: Rate,
    discipline: Discipline,
    direction: Direction,
    burst_bytes: Option<u64>,
    limit_bytes: Option<u64>,
}

impl Shape {
    /// Limits both directions, each to `rate`, with a token bucket filter.
    pub const fn new(rate: Rate) -> Self {
        Self {
            rate,
            discipline: Discipline::Tbf,
            direction: Direction::Both,
            burst_bytes: None,
            limit_bytes: None,
        }
    }

    /// [`Shape::new`] with a rate in Mbit/s.
    pub const fn mbit(megabits_per_second: u64) -> Self {
        Self::new(Rate::mbit(megabits_per_second))
    }

    /// Uses htb instead of tbf.
    #[must_use]
    pub const fn htb(mut self) -> Self {
        self.discipline = Discipline::Htb;
        self
    }

    /// Limits only this direction.
    #[must_use]
    pub const fn towards(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Sets the bucket, in bytes: what may pass at once after a silence.
    #[must_use]
    pub const fn burst(mut self, bytes: u64) -> Self {
        self.burst_bytes = Some(bytes);
        self
    }

    /// Sets the queue in front of the rate, in bytes.
    #[must_use]
    pub const fn limit(mut self, bytes: u64) -> Self {
        self.limit_bytes = Some(bytes);
        self
    }

    /// The rate.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The discipline.
    pub const fn discipline(&self) -> Discipline {
        self.discipline
    }

    /// The limited direction.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The bucket in bytes: as set, or 5 ms of the rate and never less than
    /// five full packets.
    pub fn burst_bytes(&self) -> u64 {
        self.burst_bytes
            .unwrap_or_else(|| self.rate.bytes_in_ms(5).max(MIN_DEFAULT_BURST_BYTES))
    }

    /// The queue in bytes: as set, or 50 ms of the rate and never less than
    /// 32 full packets.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
            .unwrap_or_else(|| self.rate.bytes_in_ms(50).max(MIN_DEFAULT_LIMIT_BYTES))
    }

    /// Why no kernel could keep this shape, if so.
    pub(crate) fn flaw(&self) -> Option<String> {
        let bytes = |name: &str, value: u64| {
            if value < MIN_BYTES {
                Some(format!(
                    "its {name} of {value} B would drop every full packet; give at least {MIN_BYTES} B"
                ))
            } else if value > u64::from(u32::MAX) {
                Some(format!("its {name} of {value} B exceeds the 4 GiB of tc"))
            } else {
                None
            }
        };
        if self.rate.0 < MIN_RATE.0 {
            return Some(format!("its rate of {} is below {MIN_RATE}", self.rate));
        }
        bytes("burst", self.burst_bytes()).or_else(|| bytes("limit", self.limit_bytes()))
    }
}

/// Random loss of IP packets, each by itself; ARP always passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    per_10_000: u16,
    direction: Direction,
}

impl Loss {
    /// Loses so many packets of 10,000, in both directions; more than 10,000
    /// counts as all.
    pub const fn per_10_000(packets: u16) -> Self {
        Self {
            per_10_000: if packets > 10_000 { 10_000 } else { packets },
            direction: Direction::Both,
        }
    }

    /// Loses so many percent of the packets, in both directions.
    pub const fn percent(percent: u8) -> Self {
        Self::per_10_000(percent as u16 * 100)
    }

    /// Loses packets of this direction only.
    #[must_use]
    pub const fn towards(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Lost packets of 10,000.
    pub const fn parts(&self) -> u16 {
        self.per_10_000
    }

    /// The direction that loses.
    pub const fn direction(&self) -> Direction {
        self.direction
    }
}

/// Five full Ethernet frames. tbf turns bytes into clock ticks and back, so a
/// bucket of exactly one frame may come out a byte short and pass nothing.
const MIN_DEFAULT_BURST_BYTES: u64 = 5 * 1_514;

/// 32 full Ethernet frames, so that slow links queue as many packets as a
/// small hardware ring would.
const MIN_DEFAULT_LIMIT_BYTES: u64 = 32 * 1_514;

/// One full Ethernet frame and room for the rounding of tbf.
const MIN_BYTES: u64 = 1_600;

/// Below this one full packet takes more than ten seconds.
const MIN_RATE: Rate = Rate::kbit(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_full_packets_at_every_rate() {
        for bits in [1_000, 64_000, 5_000_000, 50_000_000, 10_000_000_000] {
            let shape = Shape::new(Rate::bits(bits));
            assert_eq!(shape.flaw(), None, "{bits}");
            assert!(shape.burst_bytes() >= 1_514);
            assert!(shape.limit_bytes() >= shape.burst_bytes());
        }
        assert_eq!(Shape::mbit(50).burst_bytes(), 31_250);
        assert_eq!(Shape::mbit(50).limit_bytes(), 312_500);
    }

    #[test]
    fn names_what_is_wrong_with_a_shape() {
        let flaw = |shape: Shape| shape.flaw().unwrap();
        assert!(flaw(Shape::mbit(0)).contains("rate of 0 bit/s"));
        assert!(flaw(Shape::mbit(5).burst(1_000)).contains("burst of 1000 B"));
        assert!(flaw(Shape::mbit(5).limit(1_000)).contains("limit of 1000 B"));
        assert!(flaw(Shape::mbit(5).limit(1 << 40)).contains("4 GiB"));
    }

    #[test]
    fn loss_is_at_most_everything() {
        assert_eq!(Loss::per_10_000(20_000).parts(), 10_000);
        assert_eq!(Loss::percent(255).parts(), 10_000);
        assert_eq!(Loss::percent(1).parts(), 100);
    }
}
