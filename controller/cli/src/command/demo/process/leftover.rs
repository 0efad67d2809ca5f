//! Processes of a demo that was killed before it could end them.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

/// How often it is looked whether a process is gone: it is no child, so nothing says so.
const LOOK: Duration = Duration::from_millis(20);

/// A process, told from a later one of the same id by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    pid: u32,
    /// Clock ticks after boot (proc(5), `/proc/PID/stat` field 22).
    started: u64,
}

impl Trace {
    /// A process that lives now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            pid,
            started: started(&stat)?,
        })
    }

    /// Those of a file; other lines are passed over.
    pub(super) fn read_all(text: &str) -> Vec<Self> {
        let trace = |line: &str| {
            let (pid, started) = line.split_once(' ')?;
            Some(Self {
                pid: pid.parse().ok()?,
                started: started.parse().ok()?,
            })
        };
        text.lines().filter_map(trace).collect()
    }

    /// The file of these.
    pub(super) fn write_all(traces: &[Self]) -> String {
        traces.iter().fold(String::new(), |mut text, trace| {
            // Writing to a string cannot fail.
            writeln!(text, "{} {}", trace.pid, trace.started).ok();
            text
        })
    }

    fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Ends processes: SIGTERM, and SIGKILL for what is still there after the grace. Those of other users stay.
pub(super) async fn end(traces: &[Trace], grace: Duration) {
    for order in [Signal::TERM, Signal::KILL] {
        let living: Vec<Trace> = traces
            .iter()
            .copied()
            .filter(|trace| trace.lives())
            .collect();
        for trace in &living {
            super::signal(Some(trace.pid), order);
        }
        let deadline = Instant::now() + grace;
        while living.iter().any(|trace| trace.lives()) && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The start time in `/proc/PID/stat`; `None` for a process that only awaits burial.
fn started(stat: &str) -> Option<u64> {
    // The name in brackets may hold anything, brackets and blanks included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // Field 22; the state was field 3.
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_read_back_and_other_lines_are_passed_over() {
        let traces = [
            Trace {
                pid: 7,
                started: 12,
            },
            Trace {
                pid: 8,
                started: 99,
            },
        ];
        assert_eq!(Trace::read_all(&Trace::write_all(&traces)), traces);
        assert_eq!(
            Trace::read_all("x\n7\n-1 2\n7 y\n9 1"),
            [Trace { pid: 9, started: 1 }]
        );
    }

    #[test]
    fn a_later_process_of_the_same_id_is_another() {
        let mut own = Trace::of(std::process::id()).unwrap();
        assert!(own.lives());
        own.started += 1;
        assert!(!own.lives());
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 5551212 0";
        assert_eq!(started(stat), Some(5_551_212));
        assert_eq!(started(&stat.replace(" S ", " Z ")), None);
        assert_eq!(started(""), None);
    }
}
