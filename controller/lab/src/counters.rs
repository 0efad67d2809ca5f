//! Packets and bytes as the kernel counted them at a host, apart from any
//! program's own figures.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::plan::{COUNT_TABLE, MISSED_COUNTER};

/// Where a packet was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// At the sender, after the socket and before the interface's queue; a
    /// packet counted here may still be dropped by the host's own queue.
    Output,
    /// At the receiver, before the socket's buffer; a packet counted here may
    /// still find that buffer full.
    Input,
}

/// The transport protocol of counted packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Header bytes of a datagram beyond IP; TCP's vary and are not known here.
    const UDP_HEADER_BYTES: u64 = 8;
}

/// The count of one 5-tuple at one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Where.
    pub hook: Hook,
    /// What.
    pub protocol: Protocol,
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
    /// Packets. A GSO bundle is one packet here: see [`Counter::udp_payload_bytes`].
    pub packets: u64,
    /// Bytes with IP header, without Ethernet's.
    pub bytes: u64,
}

impl Counter {
    /// Payload bytes of a UDP counter: bytes without IP and UDP headers. It is
    /// exact also for GSO bundles, which have one header each; divided by the
    /// datagram size it gives the datagrams. 0 for TCP.
    pub fn udp_payload_bytes(&self) -> u64 {
        let ip = if self.source.is_ipv4() { 20 } else { 40 };
        match self.protocol {
            Protocol::Udp => {
                let headers = (ip + Protocol::UDP_HEADER_BYTES).saturating_mul(self.packets);
                self.bytes.saturating_sub(headers)
            }
            Protocol::Tcp => 0,
        }
    }
}

/// The counters of one host at one moment, sorted; filters narrow them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(Vec<Counter>);

impl Counters {
    /// Only what the host sent.
    #[must_use]
    pub fn output(self) -> Self {
        self.only(|counter| counter.hook == Hook::Output)
    }

    /// Only what arrived at the host.
    #[must_use]
    pub fn input(self) -> Self {
        self.only(|counter| counter.hook == Hook::Input)
    }

    /// Only UDP.
    #[must_use]
    pub fn udp(self) -> Self {
        self.only(|counter| counter.protocol == Protocol::Udp)
    }

    /// Only TCP.
    #[must_use]
    pub fn tcp(self) -> Self {
        self.only(|counter| counter.protocol == Protocol::Tcp)
    }

    /// Only what comes from this address.
    #[must_use]
    pub fn from(self, source: impl Into<IpAddr>) -> Self {
        let source = source.into();
        self.only(|counter| counter.source.ip() == source)
    }

    /// Only what goes to this address.
    #[must_use]
    pub fn to(self, destination: impl Into<IpAddr>) -> Self {
        let destination = destination.into();
        self.only(|counter| counter.destination.ip() == destination)
    }

    /// Only what goes to this port.
    #[must_use]
    pub fn to_port(self, port: u16) -> Self {
        self.only(|counter| counter.destination.port() == port)
    }

    /// The sum of packets.
    pub fn packets(&self) -> u64 {
        self.0.iter().map(|counter| counter.packets).sum()
    }

    /// The sum of bytes, with IP headers.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|counter| counter.bytes).sum()
    }

    /// The sum of UDP payload bytes.
    pub fn udp_payload_bytes(&self) -> u64 {
        self.0.iter().map(Counter::udp_payload_bytes).sum()
    }

    /// Each counter.
    pub fn iter(&self) -> std::slice::Iter<'_, Counter> {
        self.0.iter()
    }

    /// Only what `keep` says.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&Counter) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// Reads what `nft -j -n list table inet weir` printed.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let objects = document["nftables"]
            .as_array()
            .ok_or("no list of objects")?;
        let mut counters = Vec::new();
        for object in objects {
            if object["counter"]["name"] == MISSED_COUNTER
                && object["counter"]["packets"].as_u64() != Some(0)
            {
                return Err("more than 65,535 5-tuples: some packets were not counted".to_owned());
            }
            let set = &object["set"];
            let (Some(name), COUNT_TABLE) = (
                set["name"].as_str(),
                set["table"].as_str().unwrap_or_default(),
            ) else {
                continue;
            };
            let hook = if name.starts_with("output") {
                Hook::Output
            } else {
                Hook::Input
            };
            for element in set["elem"].as_array().into_iter().flatten() {
                let counter = counter(hook, &element["elem"])
                    .ok_or_else(|| format!("unexpected element {element}"))?;
                counters.push(counter);
            }
        }
        counters.sort_unstable();
        Ok(Self(counters))
    }
}

impl<'a> IntoIterator for &'a Counters {
    type Item = &'a Counter;
    type IntoIter = std::slice::Iter<'a, Counter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One element: `{"val": {"concat": [from, to, protocol, port, port]}, "counter": {...}}`.
fn counter(hook: Hook, element: &Value) -> Option<Counter> {
    let key = &element["val"]["concat"];
    let address = |index: usize| -> Option<IpAddr> { key[index].as_str()?.parse().ok() };
    let port = |index: usize| -> Option<u16> { u16::try_from(key[index].as_u64()?).ok() };
    let protocol = match (key[2].as_u64(), key[2].as_str()) {
        (Some(6), _) | (_, Some("tcp")) => Protocol::Tcp,
        (Some(17), _) | (_, Some("udp")) => Protocol::Udp,
        _ => return None,
    };
    Some(Counter {
        hook,
        protocol,
        source: SocketAddr::new(address(0)?, port(3)?),
        destination: SocketAddr::new(address(1)?, port(4)?),
        packets: element["counter"]["packets"].as_u64()?,
        bytes: element["counter"]["bytes"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(elements: &str, missed: u64) -> String {
        format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}},
            {{"counter": {{"family": "inet", "name": "missed", "table": "weir", "packets": {missed}, "bytes": 0}}}},
            {{"set": {{"family": "inet", "name": "output4", "table": "weir", "elem": [{elements}]}}}},
            {{"set": {{"family": "inet", "name": "input4", "table": "weir"}}}}]}}"#
        )
    }

    const UDP: &str = r#"{"elem": {"val": {"concat": ["10.150.0.71", "10.162.0.71", 17, 40000, 5201]}, "counter": {"packets": 7, "bytes": 896}}}"#;
    const TCP: &str = r#"{"elem": {"val": {"concat": ["10.150.0.71", "10.171.0.71", "tcp", 40001, 5201]}, "counter": {"packets": 2, "bytes": 120}}}"#;

    #[test]
    fn reads_and_filters() {
        let counters = Counters::parse(&document(&format!("{UDP}, {TCP}"), 0)).unwrap();
        assert_eq!(counters.packets(), 9);
        assert_eq!(counters.clone().input().packets(), 0);
        let udp = counters.clone().output().udp().to_port(5201);
        assert_eq!(
            (udp.packets(), udp.bytes(), udp.udp_payload_bytes()),
            (7, 896, 700)
        );
        assert_eq!(counters.clone().to([10, 171, 0, 71]).packets(), 2);
        assert_eq!(counters.tcp().from([10, 150, 0, 71]).bytes(), 120);
    }

    #[test]
    fn says_when_counters_are_not_whole() {
        assert!(
            Counters::parse(&document(UDP, 3))
                .unwrap_err()
                .contains("not counted")
        );
        assert!(Counters::parse(&document(r#"{"elem": {"val": 5}}"#, 0)).is_err());
        assert!(Counters::parse("").is_err());
        assert!(Counters::parse("{}").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), element in "[\\[\\]{}\":,a-z0-9]{0,60}") {
            let _ = Counters::parse(&text);
            let _ = Counters::parse(&document(&element, 0));
        }
    }
}
