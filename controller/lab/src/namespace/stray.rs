//! Programs that outlive their lab.
//!
//! A namespace lives as long as a process in it, whatever becomes of its name.
//! [`crate::Lab::command`] marks what it starts in the environment, which
//! children inherit, so that it can be found without knowing any process id.

use std::process::Command;
use std::time::Duration;

use crate::program::{feed, find};

/// The environment variable with the prefix of the lab.
pub(super) const MARKER: &str = "WEIR_LAB_INSTANCE";

/// Ends the programs of the labs (by prefix) that `is_over` names. Programs of
/// other users cannot be looked at and are left alone.
pub(super) fn end(is_over: impl Fn(&str) -> bool) {
    let strays = marked(is_over);
    if strays.is_empty() {
        return;
    }
    tracing::debug!(?strays, "ending programs that outlived their lab");
    // Some may have ended by themselves meanwhile, so kill's complaints say
    // nothing.
    let list: Vec<String> = strays.iter().map(u32::to_string).collect();
    let killed = find("sh").and_then(|shell| {
        feed(
            Command::new(shell),
            &format!("kill -KILL {} 2>/dev/null\n", list.join(" ")),
        )
    });
    if let Err(error) = killed {
        tracing::warn!(%error, ?strays, "cannot end programs that outlived their lab");
    }
}

/// The processes with the marker of a lab that is over, except this one.
///
/// While a program replaces itself by another (`ip netns exec` does, and the
/// call that starts it returns just then) the kernel shows no environment, so
/// processes without one are looked at again.
fn marked(is_over: impl Fn(&str) -> bool) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut open: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .collect();
    let mut found = Vec::new();
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        open.retain(|pid| match lab_of(*pid) {
            Marker::Lab(lab) if is_over(&lab) => {
                found.push(*pid);
                false
            }
            Marker::Lab(_) | Marker::None => false,
            Marker::NotShown => true,
        });
        if open.is_empty() {
            break;
        }
    }
    found.sort_unstable();
    found
}

/// What the environment of a process says.
enum Marker {
    Lab(String),
    None,
    NotShown,
}

fn lab_of(pid: u32) -> Marker {
    // Other users' processes cannot be read, and threads of the kernel and
    // zombies run no program.
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
        return Marker::None;
    };
    if environment.is_empty() && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
        return Marker::NotShown;
    }
    let prefix = format!("{MARKER}=");
    environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(prefix.as_bytes()))
        .and_then(|lab| std::str::from_utf8(lab).ok())
        .map_or(Marker::None, |lab| Marker::Lab(lab.to_owned()))
}

/// A busy machine takes some milliseconds to load a program; one that was
/// started without any environment is given up after 100 ms.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
