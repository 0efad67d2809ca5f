//! Standard error as the log writes it: a line at a time, escaped, and not
//! faster than a disk can bear.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing_subscriber::fmt::MakeWriter;
use weir_common::text::printable;

/// Lines that may come at once.
const BURST: u64 = 5_000;
/// Lines a second, on average.
const RATE: u64 = 20;

/// Writers of lines.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    /// `None`: as fast as they come.
    budget: Option<Arc<Mutex<Budget>>>,
}

impl Lines {
    /// Bounded or not.
    pub(super) fn new(is_bounded: bool) -> Self {
        Self {
            budget: is_bounded.then(|| Arc::new(Mutex::new(Budget::new(Instant::now())))),
        }
    }

    fn pay(&self) -> Paid {
        let Some(budget) = &self.budget else {
            return Paid::Line { left_out: 0 };
        };
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.pay(Instant::now())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    /// The subscriber writes an event at once, with the end of its line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Paid::Line { left_out } = self.pay() {
            let mut text = String::new();
            if left_out > 0 {
                text = format!("({left_out} lines are left out here: they came too fast)\n");
            }
            text.push_str(&harmless(line));
            io::stderr().lock().write_all(text.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// A line that neither drives a terminal nor looks like two.
fn harmless(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    match text.strip_suffix('\n') {
        Some(text) => printable(text) + "\n",
        None => printable(&text),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Paid {
    /// A line may be written, and so many before it were not.
    Line {
        left_out: u64,
    },
    Nothing,
}

/// How many lines may still be written.
#[derive(Debug)]
struct Budget {
    lines: u64,
    refilled: Instant,
    left_out: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            lines: BURST,
            refilled: now,
            left_out: 0,
        }
    }

    fn pay(&mut self, now: Instant) -> Paid {
        let elapsed = now.saturating_duration_since(self.refilled);
        let more = elapsed.as_secs().saturating_mul(RATE);
        if more > 0 {
            self.lines = self.lines.saturating_add(more).min(BURST);
            self.refilled = now;
        }
        if self.lines == 0 {
            self.left_out += 1;
            return Paid::Nothing;
        }
        self.lines -= 1;
        let left_out = std::mem::take(&mut self.left_out);
        Paid::Line { left_out }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let line = b"refused reason=\x1b[2J\nINFO all is well\xff\n";
        assert_eq!(
            harmless(line),
            "refused reason=\\u{1b}[2J\\nINFO all is well\u{fffd}\n"
        );
    }

    #[test]
    fn lines_that_come_too_fast_are_counted() {
        let begun = Instant::now();
        let mut budget = Budget::new(begun);
        for _ in 0..BURST {
            assert_eq!(budget.pay(begun), Paid::Line { left_out: 0 });
        }
        for _ in 0..7 {
            assert_eq!(budget.pay(begun), Paid::Nothing);
        }
        let later = begun + Duration::from_secs(2);
        assert_eq!(budget.pay(later), Paid::Line { left_out: 7 });
        let written = (0..100).filter(|_| budget.pay(later) != Paid::Nothing);
        assert_eq!(written.count() as u64, 2 * RATE - 1);
    }
}
