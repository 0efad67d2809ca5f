//! Figures for reading: measured values with three or so significant digits. Quantities that must read back
//! exactly are printed by `weir_common::unit`.

use weir_common::campaign::expect::{Measure, Metric};

/// One unit for a whole column of rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateUnit {
    name: &'static str,
    bps: f64,
}

const RATE_UNITS: [RateUnit; 4] = [
    RateUnit {
        name: "bit/s",
        bps: 1.0,
    },
    RateUnit {
        name: "kbit/s",
        bps: 1e3,
    },
    RateUnit {
        name: "Mbit/s",
        bps: 1e6,
    },
    RateUnit {
        name: "Gbit/s",
        bps: 1e9,
    },
];

impl RateUnit {
    /// The unit for rates that stand together: the largest in which the largest rate is at least 1, or a smaller
    /// one for the sake of rates below a tenth of it, as long as the largest stays below a million. Mbit/s
    /// without rates.
    pub fn fitting(rates: impl IntoIterator<Item = f64>) -> Self {
        let rates: Vec<f64> = rates.into_iter().filter(|&rate| rate > 0.0).collect();
        let largest = rates.iter().copied().fold(0.0, f64::max);
        let smallest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        if rates.is_empty() {
            return RATE_UNITS[2];
        }
        let fits = RATE_UNITS
            .iter()
            .rposition(|unit| largest >= unit.bps)
            .unwrap_or(0);
        let is_small = |index: &usize| smallest < 0.1 * RATE_UNITS[index + 1].bps;
        let is_readable = |index: &usize| largest < 1e6 * RATE_UNITS[*index].bps;
        let below = (0..fits)
            .rev()
            .take_while(|index| is_small(index) && is_readable(index))
            .last();
        RATE_UNITS[below.unwrap_or(fits)]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// A rate in this unit.
    pub fn show(self, bps: f64) -> String {
        number(bps / self.bps)
    }
}

/// A rate with the unit that fits it.
pub fn rate(bps: f64) -> String {
    let unit = RateUnit::fitting([bps]);
    format!("{} {}", unit.show(bps), unit.name)
}

/// A number with two decimals, and with as many as three significant digits need below 1. Never 0 for what is not.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = if size == 0.0 || size >= 0.995 {
        2
    } else {
        // 0.0123 has its first digit at the second place.
        (2 - size.log10().floor() as i32).clamp(2, 9) as usize
    };
    format!("{value:.decimals$}")
}

/// A share of 0 to 1 in per cent, without the sign. Only nothing is `0`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0".to_owned()
    } else if percent.abs() < 0.0005 {
        "<0.001".to_owned()
    } else if percent.abs() < 10.0 {
        format!("{percent:.3}")
    } else {
        format!("{percent:.2}")
    }
}

/// A share with its sign: `0.002 %`.
pub fn share(share: f64) -> String {
    format!("{} %", percent(share))
}

/// The unit for times of this size in microseconds, and how many of them it has.
pub fn time_unit(us: f64) -> (&'static str, f64) {
    match us {
        us if us >= 10_000_000.0 => ("s", 1e6),
        us if us >= 10_000.0 => ("ms", 1e3),
        _ => ("us", 1.0),
    }
}

/// A time in microseconds as whole units, with one decimal below 10.
pub fn time_in(us: f64, unit: f64) -> String {
    let value = us / unit;
    if value.abs() < 9.95 && value != 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A measured time with the unit that fits it.
pub fn time(us: f64) -> String {
    let (name, unit) = time_unit(us);
    format!("{} {name}", time_in(us, unit))
}

/// A length of the experiment: `2 min 3 s`, `1 h 5 min`, `0.5 s`.
pub fn length(seconds: f64) -> String {
    if seconds < 60.0 {
        let tenths = (seconds * 10.0).round();
        return if tenths % 10.0 == 0.0 {
            format!("{} s", tenths / 10.0)
        } else {
            format!("{:.1} s", tenths / 10.0)
        };
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3_600, whole / 60 % 60, whole % 60);
    let mut parts = Vec::new();
    for (value, unit) in [(hours, "h"), (minutes, "min"), (rest, "s")] {
        if value > 0 {
            parts.push(format!("{value} {unit}"));
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

/// A clock for progress: `0:07`, `12:34`, `1:02:03`.
pub fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (hours, minutes, rest) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{minutes}:{rest:02}")
    }
}

/// Bytes with an SI prefix.
pub fn bytes(count: u64) -> String {
    let size = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", size / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size / 1e6),
        _ => format!("{:.2} GB", size / 1e9),
    }
}

/// An instant of the wall clock in UTC: `Mon Nov 23 14:58:00 UTC 2026`; `None` outside of the calendar.
pub fn date(unix_ns: i64) -> Option<String> {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).ok()?;
    Some(instant.strftime("%a %b %e %H:%M:%S UTC %Y").to_string())
}

/// A measured value of an expectation's metric, in the metric's unit.
pub fn measured(that: &str, value: f64) -> String {
    let name = that.split_whitespace().next().unwrap_or(that);
    match Metric::from_name(name).map(Metric::measure) {
        Some(Measure::Share) => share(value),
        Some(Measure::Rate) => rate(value),
        Some(Measure::Time) => time(value * 1e6),
        Some(Measure::Count) | None => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_fits_the_largest_and_hides_no_small_one() {
        let unit = RateUnit::fitting([3_000.0, 12_288_000.0]);
        assert_eq!(unit.name(), "kbit/s");
        assert_eq!(unit.show(12_288_000.0), "12288.00");
        assert_eq!(unit.show(3_000.0), "3.00");
        assert_eq!(RateUnit::fitting([9.9e9, 47.8e6, 10e6]).name(), "Mbit/s");
        assert_eq!(RateUnit::fitting([9.9e9, 1.2e9]).name(), "Gbit/s");
        assert_eq!(RateUnit::fitting([9.9e9, 3e3]).show(3e3), "0.00300");
        assert_eq!(unit.show(0.0), "0.00");
        assert_eq!(RateUnit::fitting([]).name(), "Mbit/s");
        assert_eq!(RateUnit::fitting([999.0]).name(), "bit/s");
        assert_eq!(rate(9.6e9), "9.60 Gbit/s");
        assert_eq!(number(0.999), "1.00");
    }

    #[test]
    fn a_loss_is_never_shown_as_none() {
        assert_eq!(percent(0.0), "0");
        assert_eq!(percent(1e-9), "<0.001");
        assert_eq!(percent(0.0405), "4.050");
        assert_eq!(percent(1.0), "100.00");
    }

    #[test]
    fn times_and_lengths_read_well() {
        assert_eq!(time(88.0), "88 us");
        assert_eq!(time(3.25), "3.2 us");
        assert_eq!(time(12_345.0), "12 ms");
        assert_eq!(length(123.0), "2 min 3 s");
        assert_eq!(length(60.0), "1 min");
        assert_eq!(length(5.0), "5 s");
        assert_eq!(length(0.5), "0.5 s");
        assert_eq!(length(3_900.0), "1 h 5 min");
        assert_eq!(clock(67.9), "1:07");
        assert_eq!(clock(3_723.0), "1:02:03");
        assert_eq!(bytes(1_500_000), "1.5 MB");
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(
            date(1_795_445_880_000_000_000).as_deref(),
            Some("Mon Nov 23 14:58:00 UTC 2026")
        );
    }

    #[test]
    fn a_measured_value_has_its_metrics_unit() {
        assert_eq!(measured("loss <= 1 %", 0.0405), "4.050 %");
        assert_eq!(measured("rate >= 9 Mbit/s", 9.5e6), "9.50 Mbit/s");
        assert_eq!(measured("delay.p99 <= 5 ms", 0.0005), "500 us");
        assert_eq!(measured("retransmits <= 3", 4.0), "4");
    }
}
