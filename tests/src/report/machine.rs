//! Where and when figures were made.

use std::fs;
use std::process::Command;

/// Processor, cores, kernel.
pub fn machine() -> String {
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("processor of unknown model");
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let virtual_machine = if cpu.contains("hypervisor") {
        " (a virtual machine)"
    } else {
        ""
    };
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores of {model}{virtual_machine}, Linux {}",
        kernel.trim()
    )
}

/// The load of the last minute.
pub fn load() -> String {
    let load = read("/proc/loadavg");
    load.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The day and minute, UTC.
pub fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}

/// The Debian package of a peer with its version, as far as dpkg knows it.
pub fn package_version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", package])
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !version.is_empty()).then(|| format!("{package} {version}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
