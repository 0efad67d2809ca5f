//! What an interface itself does to the packets that are measured through it.
//!
//! An emulated link is meant to shape; said is what then belongs to the link and not
//! to the hosts, and what is hardly meant: a token bucket that no packet fits.

use serde::Serialize;

/// Header of an Ethernet frame, bytes: queueing disciplines count it.
const FRAME_HEADER_BYTES: u64 = 14;
/// The largest bundle of datagrams (UDP segmentation offload), bytes, with its headers.
const BUNDLE_BYTES: u64 = 65_535 + FRAME_HEADER_BYTES;
/// Queueing disciplines that give out less than they are given, or later.
const SHAPING: [&str; 8] = [
    "tbf", "htb", "hfsc", "cake", "cbq", "red", "codel", "police",
];
/// The one that imitates a path: delay, loss, order.
const IMITATING: &str = "netem";
/// Offloads without which bundles are cut before they leave, by their ethtool names.
const CUTTING: [(&str, &str); 2] = [
    ("tx-udp-segmentation", "UDP"),
    ("tx-tcp-segmentation", "TCP"),
];
/// The offload that puts received datagrams together again. A veth needs none: what
/// was sent in a bundle arrives in it.
const GATHERING: &str = "rx-gro";

/// A token bucket filter (tbf).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBucket {
    /// Its interface.
    pub interface: String,
    /// Handle and where it is attached, such as `1: root`.
    pub place: String,
    /// Rate, bytes a second.
    pub rate_bytes: u64,
    /// Size of the bucket, bytes, as the kernel tells it.
    pub burst_bytes: u64,
    /// Size of the queue, bytes.
    pub limit_bytes: u64,
}

impl TokenBucket {
    /// Whether it drops every packet of this length (with its Ethernet header), because
    /// it is greater than the bucket or than the queue.
    ///
    /// The kernel tells the burst as a time, which tc(8) rounds down to 1 us: what may
    /// fit is not called too great.
    pub fn drops_all_of(&self, frame_bytes: u64) -> bool {
        let most = self.burst_bytes.saturating_add(self.rate_bytes / 1_000_000);
        most < frame_bytes || self.limit_bytes < frame_bytes
    }
}

/// The length of a frame with a packet of this size.
pub fn frame_bytes(packet_bytes: u64) -> u64 {
    packet_bytes.saturating_add(FRAME_HEADER_BYTES)
}

/// An interface as its host's agent tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Maximum transmission unit, bytes; 0 = not known.
    pub mtu: u32,
    /// Driver or kind, such as `veth`.
    pub driver: String,
    /// Queueing disciplines, as tc(8) begins their lines: `netem 10: parent 1:1`.
    pub qdiscs: Vec<String>,
    /// Those of them that are token buckets.
    pub buckets: Vec<TokenBucket>,
    /// Offloads that are on; empty = not known.
    pub offloads: Vec<String>,
}

/// Something that an interface does to figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Distortion {
    /// The host.
    pub host: String,
    /// Its interface.
    pub interface: String,
    /// What it is, for programs.
    pub code: &'static str,
    /// What does what to which figure.
    pub text: String,
    /// What would end it.
    pub fix: String,
}

/// What an interface of a host does to what is measured through it.
pub fn of(host: &str, link: &Link) -> Vec<Distortion> {
    let found = buckets(link)
        .into_iter()
        .chain(link.qdiscs.iter().filter_map(|line| qdisc(link, line)))
        .chain(offloads(link));
    found
        .map(|(code, text, fix)| Distortion {
            host: host.to_owned(),
            interface: link.name.clone(),
            code,
            text,
            fix,
        })
        .collect()
}

/// Code, text and fix.
type Told = (&'static str, String, String);

/// Token buckets in which what is sent does not fit.
fn buckets(link: &Link) -> Vec<Told> {
    let frame = frame_bytes(link.mtu.into());
    let mut found = Vec::new();
    for bucket in link.buckets.iter().filter(|_| link.mtu > 0) {
        let TokenBucket {
            place,
            burst_bytes,
            limit_bytes,
            ..
        } = bucket;
        if bucket.drops_all_of(frame) {
            found.push((
                "tbf-below-packet",
                format!(
                    "tbf {place} has a burst of {burst_bytes} B and a queue of {limit_bytes} B, a full packet is {frame} B (MTU {} and Ethernet's header): it drops every packet that does not fit, at any rate, which reads as loss in `egress`",
                    link.mtu
                ),
                format!("give it `burst` and `limit` of at least {frame} B (tc qdisc change)"),
            ));
        } else if *burst_bytes < BUNDLE_BYTES {
            found.push((
                "tbf-below-bundle",
                format!(
                    "tbf {place} cuts bundles above its burst of {burst_bytes} B; smaller ones pass as one packet: loss and delay of flows in bundles come in lumps of up to that much"
                ),
                "`gso = \"off\"` for flows whose loss or delay is measured".to_owned(),
            ));
        }
    }
    found
}

/// A queueing discipline that gives out less than it is given, or later.
fn qdisc(link: &Link, line: &str) -> Option<Told> {
    // The first word of a line is the kind.
    let (kind, place) = line.split_once(' ').unwrap_or((line, ""));
    let (code, text) = if kind == IMITATING {
        (
            "netem",
            format!(
                "netem ({place}) imitates a path: delay, jitter, loss and order of what leaves here are its own, and a bundle is one packet to it"
            ),
        )
    } else if SHAPING.contains(&kind) {
        (
            "shaped",
            format!(
                "{kind} ({place}) shapes what leaves here: rates above its own are cut to it, delay holds its queue, loss is in `egress` or `path`"
            ),
        )
    } else {
        return None;
    };
    let fix = format!(
        "if it is not what you measure: tc qdisc del dev {}",
        link.name
    );
    Some((code, text, fix))
}

/// Offloads that are off.
fn offloads(link: &Link) -> Vec<Told> {
    let mut found = Vec::new();
    if link.offloads.is_empty() {
        return found;
    }
    let on = |name: &str| link.offloads.iter().any(|offload| offload == name);
    for (name, transport) in CUTTING.iter().filter(|(name, _)| !on(name)) {
        found.push((
            "offload-off",
            format!(
                "{name} is off: {transport} bundles are cut before they leave, so that packets are lost and counted singly, and rates without limit are lower"
            ),
            format!("for higher rates: ethtool -K {} {name} on", link.name),
        ));
    }
    if link.driver != "veth" && !on(GATHERING) {
        found.push((
            "offload-off",
            format!(
                "{GATHERING} is off: each datagram is received singly, so that loss in the receiver's socket begins at lower rates"
            ),
            format!("for higher rates: ethtool -K {} gro on", link.name),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            name: "eth0".to_owned(),
            mtu: 1_500,
            driver: "veth".to_owned(),
            qdiscs: vec!["noqueue 0: root".to_owned()],
            buckets: Vec::new(),
            offloads: ["tx-udp-segmentation", "tx-tcp-segmentation"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    fn tbf(burst_bytes: u64, limit_bytes: u64) -> Link {
        let bucket = TokenBucket {
            interface: "eth0".to_owned(),
            place: "1: root".to_owned(),
            rate_bytes: 1_250_000,
            burst_bytes,
            limit_bytes,
        };
        Link {
            qdiscs: vec!["tbf 1: root rate 10000000bit".to_owned()],
            buckets: vec![bucket],
            ..link()
        }
    }

    fn codes(link: &Link) -> Vec<&'static str> {
        of("a", link).iter().map(|each| each.code).collect()
    }

    #[test]
    fn each_thing_is_named() {
        let table = [
            (link(), &[][..]),
            (tbf(1_000, 30_000), &["tbf-below-packet", "shaped"]),
            (tbf(30_000, 1_000), &["tbf-below-packet", "shaped"]),
            // Rounded down by tc: 1,514 B fit.
            (tbf(1_513, 30_000), &["tbf-below-bundle", "shaped"]),
            (tbf(1_512, 30_000), &["tbf-below-packet", "shaped"]),
            (tbf(70_000, 300_000), &["shaped"]),
        ];
        for (link, expected) in table {
            assert_eq!(codes(&link), expected, "{link:?}");
        }
        let netem = Link {
            qdiscs: vec!["tbf 1: root".to_owned(), "netem 10: parent 1:1".to_owned()],
            ..link()
        };
        assert_eq!(codes(&netem), ["shaped", "netem"]);
        let physical = Link {
            driver: "e1000".to_owned(),
            offloads: vec!["tx-tcp-segmentation".to_owned()],
            ..link()
        };
        assert_eq!(codes(&physical), ["offload-off", "offload-off"]);
        let unknown = Link {
            offloads: Vec::new(),
            mtu: 0,
            ..tbf(1, 1)
        };
        assert_eq!(codes(&unknown), ["shaped"], "what is not known is not told");
    }

    #[test]
    fn host_interface_effect_and_fix_are_told() {
        let found = &of("150-host", &tbf(1_000, 30_000))[0];
        assert_eq!(
            (found.host.as_str(), found.interface.as_str()),
            ("150-host", "eth0")
        );
        for word in ["tbf 1: root", "1000 B", "1514 B", "egress"] {
            assert!(found.text.contains(word), "{found:?}");
        }
        assert!(found.fix.contains("at least 1514 B"), "{found:?}");
    }
}
