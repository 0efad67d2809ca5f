//! Interfaces, their addresses and queueing disciplines, asked of the kernel by
//! rtnetlink(7): it answers for this network namespace, which /sys need not.

pub mod bucket;
pub mod counters;
mod message;
pub mod offloads;
pub mod route;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use self::counters::Qdisc;
use self::message::{Extent, ask, attributes, c_text, u32_at};

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Index within the network namespace.
    pub index: u32,
    /// Name, such as `eth0`.
    pub name: String,
    /// Addresses with the length of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// Root queueing discipline, such as `fq_codel`.
    pub qdisc: String,
    /// Operational state of RFC 2863, such as `up`.
    pub state: &'static str,
    /// Kind of a virtual interface such as `veth`, else the name of the driver;
    /// empty where neither is known.
    pub driver: String,
    /// All queueing disciplines, the root first.
    pub qdiscs: Vec<Qdisc>,
}

/// Interfaces by index, filled by the answers to both questions.
type Interfaces = BTreeMap<u32, Interface>;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFINFOMSG_LEN: usize = 16;
const IFADDRMSG_LEN: usize = 8;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;

/// Lists the interfaces of this network namespace, by index.
///
/// # Errors
/// The kernel refuses the socket or the question, or does not answer.
pub fn read() -> io::Result<Vec<Interface>> {
    let mut interfaces = Interfaces::new();
    for question in [RTM_GETLINK, RTM_GETADDR] {
        let mut take = |kind, body: &[u8]| take_message(kind, body, &mut interfaces);
        ask(None, question, Extent::All, &[0; IFINFOMSG_LEN], &mut take)?;
    }
    // Without the right to see them there are none.
    let mut qdiscs = counters::qdiscs().unwrap_or_default();
    for (index, interface) in &mut interfaces {
        interface.index = *index;
        interface.qdiscs = qdiscs.remove(index).unwrap_or_default();
        if interface.driver.is_empty() {
            interface.driver = driver(&interface.name).unwrap_or_default();
        }
    }
    Ok(interfaces.into_values().collect())
}

/// The driver of a device that is not virtual, by sysfs.
fn driver(name: &str) -> Option<String> {
    let link = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

fn take_message(kind: u16, body: &[u8], interfaces: &mut Interfaces) {
    match kind {
        RTM_NEWLINK => take_link(body, interfaces),
        RTM_NEWADDR => take_address(body, interfaces),
        _ => {}
    }
}

fn take_link(body: &[u8], interfaces: &mut Interfaces) {
    let Some(index) = u32_at(body, 4) else { return };
    let interface = interfaces.entry(index).or_default();
    for (kind, value) in attributes(body.get(IFINFOMSG_LEN..).unwrap_or_default()) {
        match kind {
            IFLA_IFNAME => interface.name = c_text(value),
            IFLA_MTU => interface.mtu = u32_at(value, 0).unwrap_or(0),
            IFLA_QDISC => interface.qdisc = c_text(value),
            IFLA_OPERSTATE => interface.state = state(value.first().copied()),
            IFLA_LINKINFO => {
                let mut about = attributes(value);
                if let Some((_, kind)) = about.find(|(about, _)| *about == IFLA_INFO_KIND) {
                    interface.driver = c_text(kind);
                }
            }
            _ => {}
        }
    }
}

fn take_address(body: &[u8], interfaces: &mut Interfaces) {
    let (Some(&family), Some(&len), Some(index)) = (body.first(), body.get(1), u32_at(body, 4))
    else {
        return;
    };
    // On point-to-point interfaces IFA_ADDRESS is the other side; IFA_LOCAL is ours.
    let mut local = None;
    for (kind, value) in attributes(body.get(IFADDRMSG_LEN..).unwrap_or_default()) {
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && local.is_none()) {
            local = ip(family, value).or(local);
        }
    }
    if let (Some(ip), Some(interface)) = (local, interfaces.get_mut(&index)) {
        interface.addresses.push((ip, len));
    }
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        FAMILY_V4 => <[u8; 4]>::try_from(value)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        FAMILY_V6 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// Operational states of RFC 2863, as ip(8) prints them.
fn state(value: Option<u8>) -> &'static str {
    match value {
        Some(1) => "notpresent",
        Some(2) => "down",
        Some(3) => "lowerlayerdown",
        Some(4) => "testing",
        Some(5) => "dormant",
        Some(6) => "up",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::message::{attribute, message, take_messages};
    use super::*;

    const DONE: u16 = 3;

    fn take(bytes: &[u8], interfaces: &mut Interfaces) -> io::Result<bool> {
        take_messages(bytes, &mut |kind, body| {
            take_message(kind, body, interfaces);
        })
    }

    fn answer() -> Vec<u8> {
        let mut link = vec![0; IFINFOMSG_LEN];
        link[4..8].copy_from_slice(&2u32.to_ne_bytes());
        link.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        link.extend(attribute(IFLA_MTU, &1500u32.to_ne_bytes()));
        link.extend(attribute(IFLA_QDISC, b"tbf\0"));
        link.extend(attribute(IFLA_OPERSTATE, &[6]));
        let kind = attribute(IFLA_INFO_KIND, b"veth\0");
        link.extend(attribute(IFLA_LINKINFO, &kind));
        let mut address = vec![FAMILY_V4, 24, 0, 0];
        address.extend(2u32.to_ne_bytes());
        address.extend(attribute(IFA_ADDRESS, &[10, 0, 0, 9]));
        address.extend(attribute(IFA_LOCAL, &[10, 0, 0, 1]));
        [
            message(RTM_NEWLINK, &link),
            message(RTM_NEWADDR, &address),
            message(DONE, &[0; 4]),
        ]
        .concat()
    }

    #[test]
    fn an_answer_as_the_kernel_gives_it() {
        let mut interfaces = Interfaces::new();
        assert!(take(&answer(), &mut interfaces).unwrap());
        let expected = Interface {
            index: 0,
            name: "eth0".into(),
            addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
            mtu: 1500,
            qdisc: "tbf".into(),
            state: "up",
            driver: "veth".into(),
            qdiscs: Vec::new(),
        };
        assert_eq!(interfaces.into_values().collect::<Vec<_>>(), [expected]);
    }

    proptest! {
        #[test]
        fn damaged_answers_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = answer();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = take(&bytes, &mut Interfaces::new());
        }
    }
}
