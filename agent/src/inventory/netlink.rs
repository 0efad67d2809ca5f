//! Interfaces, their addresses and queueing disciplines, asked of the kernel by
//! rtnetlink(7): it answers for this network namespace, which /sys need not.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
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
}

/// Interfaces by index, filled by the answers to both questions.
type Interfaces = BTreeMap<u32, Interface>;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_OPERSTATE: u16 = 16;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const HEADER_LEN: usize = 16;
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
        ask(question, &mut interfaces)?;
    }
    Ok(interfaces.into_values().collect())
}

fn ask(question: u16, interfaces: &mut Interfaces) -> io::Result<()> {
    // Without a protocol: NETLINK_ROUTE is number 0.
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let patience = std::time::Duration::from_secs(2);
    set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
    send(&socket, &request(question), SendFlags::empty())?;
    // The kernel fills at most 32 KiB per answer of a dump.
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let (_, len) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if take_messages(&buffer[..len.min(buffer.len())], interfaces)? {
            return Ok(());
        }
    }
}

/// A dump request: header (rtnetlink(7)) and the zeroed struct of the question.
fn request(question: u16) -> [u8; HEADER_LEN + IFINFOMSG_LEN] {
    let mut bytes = [0; HEADER_LEN + IFINFOMSG_LEN];
    bytes[0..4].copy_from_slice(&((HEADER_LEN + IFINFOMSG_LEN) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&question.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes
}

/// Reads the messages of one answer; `true` after the last one of the dump.
fn take_messages(mut bytes: &[u8], interfaces: &mut Interfaces) -> io::Result<bool> {
    while let (Some(len), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let len = len as usize;
        if len < HEADER_LEN || len > bytes.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "torn netlink message",
            ));
        }
        let body = &bytes[HEADER_LEN..len];
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(body, 0).unwrap_or(0).cast_signed();
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            RTM_NEWLINK => take_link(body, interfaces),
            RTM_NEWADDR => take_address(body, interfaces),
            _ => {}
        }
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(false)
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

/// Type and value of each attribute; a torn one ends them.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const ATTRIBUTE_HEADER: usize = 4;
    /// The upper two bits are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
    const KIND_MASK: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER..len)?;
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Messages and attributes start at multiples of 4.
const fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// Text up to its closing 0.
fn c_text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
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

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&((HEADER_LEN + body.len()) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn answer() -> Vec<u8> {
        let mut link = vec![0; IFINFOMSG_LEN];
        link[4..8].copy_from_slice(&2u32.to_ne_bytes());
        link.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        link.extend(attribute(IFLA_MTU, &1500u32.to_ne_bytes()));
        link.extend(attribute(IFLA_QDISC, b"tbf\0"));
        link.extend(attribute(IFLA_OPERSTATE, &[6]));
        let mut address = vec![FAMILY_V4, 24, 0, 0];
        address.extend(2u32.to_ne_bytes());
        address.extend(attribute(IFA_ADDRESS, &[10, 0, 0, 9]));
        address.extend(attribute(IFA_LOCAL, &[10, 0, 0, 1]));
        [
            message(RTM_NEWLINK, &link),
            message(RTM_NEWADDR, &address),
            message(NLMSG_DONE, &[0; 4]),
        ]
        .concat()
    }

    #[test]
    fn an_answer_as_the_kernel_gives_it() {
        let mut interfaces = Interfaces::new();
        assert!(take_messages(&answer(), &mut interfaces).unwrap());
        let expected = Interface {
            name: "eth0".into(),
            addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
            mtu: 1500,
            qdisc: "tbf".into(),
            state: "up",
        };
        assert_eq!(interfaces.into_values().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn the_kernels_refusal_is_an_error() {
        let refusal = message(NLMSG_ERROR, &(-1i32).to_ne_bytes());
        let error = take_messages(&refusal, &mut Interfaces::new()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(1));
    }

    proptest! {
        #[test]
        fn damaged_answers_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = answer();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = take_messages(&bytes, &mut Interfaces::new());
        }
    }
}
