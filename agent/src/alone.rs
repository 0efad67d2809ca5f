//! An agent without a controller: `weir-agent receive` waits, `weir-agent
//! generate` plans a test between two hosts, leads it, and tells what it came to.
//!
//! ```text
//!  generate ── words ─► campaign ─► plan ─┬─ own share ──► engine ─┐ rows
//!                                         │                        ▼
//!                                         └─ offer ── TCP ──►  evidence ─► analysis ─► table
//!  receive ──── checks the offer ─► its share ─► engine ── rows ───┘
//! ```
//!
//! Plan, analysis and table are those of the controller (weir-experiment), so the
//! figures mean the same. The two sides speak `weir.peer.v1`.

mod agreement;
pub(crate) mod args;
mod channel;
mod clock;
mod connect;
mod evidence;
mod generate;
mod host;
mod lead;
mod lines;
mod offer;
mod receive;
mod share;
mod target;
mod words;

use std::fmt;
use std::io::{self, Write as _};

/// Exit code of a usage error.
const USAGE: u8 = 2;
/// Exit code of what cannot be done.
const INFRASTRUCTURE: u8 = 3;
/// Exit code of a test that a signal ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command ended without doing what it was asked: a sentence and an exit code.
#[derive(Debug)]
struct Error {
    exit: u8,
    text: String,
}

impl Error {
    fn usage(text: impl fmt::Display) -> Self {
        Self {
            exit: USAGE,
            text: text.to_string(),
        }
    }

    fn infrastructure(text: impl fmt::Display) -> Self {
        Self {
            exit: INFRASTRUCTURE,
            text: text.to_string(),
        }
    }

    fn interrupted(text: impl fmt::Display) -> Self {
        Self {
            exit: INTERRUPTED,
            text: text.to_string(),
        }
    }
}

/// Prints a line. A reader that has gone, such as `head`, ends nothing: what is
/// measured goes on, and the exit code tells.
fn tell(line: &str) {
    let mut out = io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
