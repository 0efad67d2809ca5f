//! Programs that outlive their lab.
//!
//! A namespace lives as long as a process in it, whatever becomes of its name.
//! [`crate::Lab::command`] marks what it starts in the environment, which
//! children inherit, so that it can be found without knowing any process id.

use std::process::Command;

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
fn marked(is_over: impl Fn(&str) -> bool) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let prefix = format!("{MARKER}=");
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .filter_map(|entry| entry.strip_prefix(prefix.as_bytes()))
                .any(|lab| std::str::from_utf8(lab).is_ok_and(&is_over))
        })
        .collect();
    found.sort_unstable();
    found
}
