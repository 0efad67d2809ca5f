//! What can go wrong, each with the object and the way out.

use std::path::PathBuf;

/// Why a [`crate::Topology`] is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A name holds other characters than letters, digits, `-` and `_`.
    #[error(
        "{what} name {name:?}: use 1 to {max} letters, digits, '-' or '_', and a letter or digit first"
    )]
    BadName {
        /// What the name is for.
        what: &'static str,
        /// The name.
        name: String,
        /// The longest name allowed, in characters.
        max: usize,
    },
    /// Two nodes or exchanges share a name.
    #[error("the name {name} is used twice; names must differ")]
    DuplicateName {
        /// The full name.
        name: String,
    },
    /// An AS is declared twice.
    #[error("AS {asn} is declared twice; put all its hosts into one declaration")]
    DuplicateAs {
        /// The AS.
        asn: u32,
    },
    /// The two ends of a link are joined already.
    #[error("the link {link} is declared twice")]
    DuplicateLink {
        /// The link.
        link: String,
    },
    /// A direct link has the same router at both ends.
    #[error("a link from router {router} to itself; name two routers")]
    SelfLink {
        /// The router.
        router: String,
    },
    /// A join names an exchange that is not declared.
    #[error("router {router} joins exchange {exchange}, which is not declared; there is: {known}")]
    UnknownExchange {
        /// The router.
        router: String,
        /// The exchange.
        exchange: String,
        /// The declared exchanges.
        known: String,
    },
    /// A direct link names a router that is not declared.
    #[error("a link names router {router}, which is not declared; there is: {known}")]
    UnknownRouter {
        /// The router.
        router: String,
        /// The declared routers.
        known: String,
    },
    /// A rate or a loss names no link.
    #[error("there is no link {link}; there is: {known}")]
    UnknownLink {
        /// The link.
        link: String,
        /// The links there are.
        known: String,
    },
    /// Two routers of one AS join one exchange.
    #[error("AS {asn} joins exchange {exchange} twice; one router of an AS may join an exchange")]
    JoinedTwice {
        /// The AS.
        asn: u32,
        /// The exchange.
        exchange: String,
    },
    /// No LAN follows from the AS number.
    #[error(
        "AS {asn} has no LAN of its own (10.ASN.0.0/24 holds for 1 to 254); give it lan(\"10.x.y.0/24\")"
    )]
    NoLan {
        /// The AS.
        asn: u32,
    },
    /// No LAN follows from the exchange's name.
    #[error(
        "exchange {exchange} has no number from 1 to 254 at its end; use exchange_at(name, \"10.x.y.0/24\")"
    )]
    NoExchangeLan {
        /// The exchange.
        exchange: String,
    },
    /// A LAN is no IPv4 /24.
    #[error("the LAN {lan:?} of {owner} is no IPv4 /24 such as 10.200.1.0/24")]
    BadLan {
        /// Whose LAN.
        owner: String,
        /// As given.
        lan: String,
    },
    /// Two subnets overlap.
    #[error("{first} and {second} both use {prefix}; give one of them another LAN")]
    Overlap {
        /// Declared first.
        first: String,
        /// Declared second.
        second: String,
        /// The subnet of the second.
        prefix: String,
    },
    /// A LAN or an exchange has no address left.
    #[error("{owner} has room for {most} {what}")]
    TooMany {
        /// The AS, the exchange or the lab.
        owner: String,
        /// What there is too much of.
        what: &'static str,
        /// The most there can be.
        most: usize,
    },
    /// An AS has no path to the first one.
    #[error("AS {asn} reaches no AS {from}; join both to an exchange or link their routers")]
    Unreachable {
        /// The AS without a path.
        asn: u32,
        /// The first AS.
        from: u32,
    },
    /// A rate limit that no kernel can keep.
    #[error("the rate limit of {link}: {why}")]
    BadShape {
        /// The link.
        link: String,
        /// The flaw and the way out.
        why: String,
    },
}

/// Why a lab could not be built, used or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The topology is wrong.
    #[error("the topology is wrong")]
    Topology(#[from] TopologyError),
    /// A program is not installed.
    #[error("the program {program} is missing; install the Debian package {package}")]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program could not be started or read.
    #[error("cannot run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A step of a plan failed.
    #[error("{step} failed: {message}")]
    Step {
        /// The command and, where known, the line of its input.
        step: String,
        /// What the program said.
        message: String,
    },
    /// Neither root nor a user namespace is to be had.
    #[error("network namespaces are refused here: {why}")]
    Refused {
        /// The reason and the way out.
        why: String,
    },
    /// A node of this name is not in the lab.
    #[error("there is no host or router {name}; there is: {known}")]
    UnknownHost {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A link of this name is not in the lab.
    #[error("there is no link {name}; there is: {known}")]
    UnknownLink {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Counters were not asked for.
    #[error("nothing is counted at {host}: build the topology with count(), and ask a host")]
    NotCounted {
        /// The host asked for.
        host: String,
    },
    /// What nft printed is no list of counters.
    #[error("cannot read the counters of {host}: {why}")]
    Counters {
        /// The host.
        host: String,
        /// The reason.
        why: String,
    },
    /// A file of the system could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}
