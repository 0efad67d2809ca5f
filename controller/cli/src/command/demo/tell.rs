//! What the demo says of itself, each line with the time since its start.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_common::campaign::Campaign;
use weir_common::unit::Span;
use weir_runtime::Endpoint;

use super::network::Host;
use crate::output::figure::length;
use crate::output::text::{printable, short_path};

/// Says lines: on standard output for people, on standard error beside a document.
#[derive(Debug)]
pub(super) struct Teller {
    since: Instant,
    beside_document: bool,
}

impl Teller {
    /// Starts the clock.
    pub(super) fn new(beside_document: bool) -> Self {
        Self {
            since: Instant::now(),
            beside_document,
        }
    }

    /// A line with the time.
    pub(super) fn step(&self, line: &str) -> io::Result<()> {
        self.line(&timed(self.since.elapsed(), line))
    }

    /// A line without.
    pub(super) fn line(&self, line: &str) -> io::Result<()> {
        let line = printable(line);
        if self.beside_document {
            writeln!(io::stderr(), "{line}")
        } else {
            writeln!(io::stdout(), "{line}")
        }
    }
}

fn timed(elapsed: Duration, line: &str) -> String {
    format!("{:>5.1} s  {line}", elapsed.as_secs_f64())
}

/// What is about to happen, and how long it takes.
pub(super) fn intent(campaign: &Campaign) -> String {
    let seconds = Span::as_secs_f64(campaign.length()) + Span::as_secs_f64(campaign.linger);
    format!(
        "weir demo: a controller, and an agent in each host of a small multi-AS network; about {}",
        length(seconds + START_AND_END_S)
    )
}

/// What building and taking down add, s; rounded generously.
const START_AND_END_S: f64 = 3.0;

/// The agents that are there.
pub(super) fn agents(hosts: &[Host]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    format!("{} agents alive: {}", names.len(), names.join(", "))
}

/// How the commands below are typed: `weir` alone, once the shell knows where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    /// The directory that the shell must look in, if it does not yet.
    path: Option<PathBuf>,
}

impl Typed {
    /// For this program and the caller's PATH.
    pub(super) fn new(program: &Path, path: Option<&OsStr>) -> Self {
        let known = path.is_some_and(|path| {
            std::env::split_paths(path).any(|directory| directory.join("weir") == program)
        });
        Self {
            path: program.parent().filter(|_| !known).map(Path::to_owned),
        }
    }

    fn export(&self) -> Option<String> {
        let path = self.path.as_ref()?;
        Some(format!(
            "export PATH={}:\"$PATH\"",
            quote(&path.display().to_string())
        ))
    }
}

/// What can be typed while everything stays, in another terminal.
pub(super) fn kept(operators: &Endpoint, typed: &Typed) -> Vec<String> {
    let mut commands: Vec<String> = typed.export().into_iter().collect();
    commands.push(format!(
        "export WEIR_CONTROLLER={}",
        quote(&operators.to_string())
    ));
    commands.extend(TO_TRY.map(str::to_owned));
    let head = "controller and agents stay until Ctrl-C; in another terminal:".to_owned();
    std::iter::once(head)
        .chain(commands.into_iter().map(|command| format!("  {command}")))
        .collect()
}

/// Commands that work against the demo's hosts.
const TO_TRY: [&str; 4] = [
    "weir agents",
    "weir run --from 'asn=150' --to 'asn=162,171' --udp 10M --size 1400 --for 5s",
    "weir show",
    "weir records > r.csv",
];

/// What is left when everything else is gone.
pub(super) fn ended(root: &Path, home: Option<&str>) -> String {
    let root = short_path(&root.display().to_string(), home);
    format!(
        "agents, controller and network are gone; data and logs stay in {root} until the next demo"
    )
}

/// What to try once the first run is over.
pub(super) const NEXT: &str =
    "next: the same with --keep leaves them there, for campaigns of your own";

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_aligned() {
        assert_eq!(
            timed(Duration::from_millis(432), "lab up"),
            "  0.4 s  lab up"
        );
        assert_eq!(timed(Duration::from_secs(123), "x"), "123.0 s  x");
    }

    #[test]
    fn the_intent_names_the_time_it_takes() {
        let campaign = super::super::campaign::read(Some(Span::from_secs(5))).unwrap();
        assert!(
            intent(&campaign).ends_with("about 16 s"),
            "{}",
            intent(&campaign)
        );
    }

    #[test]
    fn commands_can_be_typed_as_they_stand() {
        let endpoint: Endpoint = "unix:/home/a b/operators.sock".parse().unwrap();
        let program = Path::new("/src/target/weir");
        let unknown = Typed::new(program, Some(OsStr::new("/bin:/usr/bin")));
        let lines = kept(&endpoint, &unknown);
        assert_eq!(lines[1], "  export PATH=/src/target:\"$PATH\"");
        assert_eq!(
            lines[2],
            "  export WEIR_CONTROLLER='unix:/home/a b/operators.sock'"
        );
        let known = Typed::new(program, Some(OsStr::new("/bin:/src/target")));
        assert_eq!(kept(&endpoint, &known).len(), lines.len() - 1);
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn the_end_says_where_the_data_stays() {
        let line = ended(Path::new("/home/u/.local/share/weir/demo"), Some("/home/u"));
        assert!(
            line.contains("stay in ~/.local/share/weir/demo until"),
            "{line}"
        );
    }
}
