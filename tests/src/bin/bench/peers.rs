//! The other programs, as Debian packages them: how each is started, and where it
//! says what arrived.

pub(crate) mod ditg;
pub(crate) mod iperf3;
pub(crate) mod mgen;
pub(crate) mod nuttcp;

use std::collections::BTreeSet;
use std::env;

/// Each program and the package that has it.
const PROGRAMS: [(&str, &str); 7] = [
    ("iperf3", "iperf3"),
    ("ITGSend", "d-itg"),
    ("ITGRecv", "d-itg"),
    ("ITGDec", "d-itg"),
    ("nuttcp", "nuttcp"),
    ("mgen", "mgen"),
    ("tcpdump", "tcpdump"),
];

/// The packages.
pub(crate) fn packages() -> BTreeSet<&'static str> {
    PROGRAMS.iter().map(|(_, package)| *package).collect()
}

/// Those whose programs are not here.
pub(crate) fn missing_packages() -> BTreeSet<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_here = |program: &str| env::split_paths(&path).any(|at| at.join(program).is_file());
    let missing = PROGRAMS.iter().filter(|(program, _)| !is_here(program));
    missing.map(|(_, package)| *package).collect()
}

/// What traffic a paced flow of a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One datagram a packet.
    Udp,
    /// One message a packet.
    Tcp,
}
