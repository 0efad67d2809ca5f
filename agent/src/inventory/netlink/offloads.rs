//! Offloads of the interfaces, asked of the kernel's ethtool family
//! (generic netlink, Linux 5.7 or later).

use std::collections::BTreeMap;
use std::io;

use rustix::net::netlink::GENERIC;

use super::message::{Extent, ask, attribute, attributes, c_text, u16_at, u32_at};

/// The family that tells numbers of families, and its question.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
/// `struct genlmsghdr`: command, version, two bytes of nothing.
const GENLMSG_LEN: usize = 4;

/// Beginnings of the names that change what a packet is on its way.
const TOLD: [&str; 8] = [
    "tx-udp-segmentation",
    "tx-tcp",
    "tx-generic-segmentation",
    "tx-gso",
    "tx-checksum",
    "rx-checksum",
    "rx-gro",
    "rx-udp-gro",
];

/// Offloads that are on, by the index of the interface. A kernel without the
/// family tells none.
///
/// # Errors
/// The kernel refuses the socket or a question, or does not answer.
pub fn read() -> io::Result<BTreeMap<u32, Vec<String>>> {
    let mut family = None;
    let mut named = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    named.extend(attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0"));
    ask(
        Some(GENERIC),
        GENL_ID_CTRL,
        Extent::One,
        &named,
        &mut |_, body| family = family_id(body),
    )?;
    let Some(family) = family else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut found = BTreeMap::new();
    let question = [ETHTOOL_MSG_FEATURES_GET, 1, 0, 0];
    ask(
        Some(GENERIC),
        family,
        Extent::All,
        &question,
        &mut |kind, body| {
            if kind == family {
                found.extend(features(body));
            }
        },
    )?;
    Ok(found)
}

/// The number of a family out of the answer to its name.
fn family_id(body: &[u8]) -> Option<u16> {
    let mut told = attributes(body.get(GENLMSG_LEN..)?);
    let (_, id) = told.find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?;
    u16_at(id, 0)
}

/// The index of an interface and its active features.
fn features(body: &[u8]) -> Option<(u32, Vec<String>)> {
    let (mut index, mut active) = (None, Vec::new());
    for (kind, value) in attributes(body.get(GENLMSG_LEN..)?) {
        match kind {
            ETHTOOL_A_FEATURES_HEADER => {
                let mut header = attributes(value);
                let device = header.find(|(kind, _)| *kind == ETHTOOL_A_HEADER_DEV_INDEX);
                index = device.and_then(|(_, value)| u32_at(value, 0));
            }
            ETHTOOL_A_FEATURES_ACTIVE => active = names(value),
            _ => {}
        }
    }
    active.retain(|name| TOLD.iter().any(|told| name.starts_with(told)));
    active.sort_unstable();
    Some((index?, active))
}

/// The names of a set's bits; in a set without a mask each is on.
fn names(set: &[u8]) -> Vec<String> {
    let bits = attributes(set).filter(|(kind, _)| *kind == ETHTOOL_A_BITSET_BITS);
    bits.flat_map(|(_, bits)| attributes(bits))
        .filter_map(|(_, bit)| attributes(bit).find(|(kind, _)| *kind == ETHTOOL_A_BITSET_BIT_NAME))
        .map(|(_, name)| c_text(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(name: &str) -> Vec<u8> {
        let name = attribute(ETHTOOL_A_BITSET_BIT_NAME, format!("{name}\0").as_bytes());
        attribute(1, &name)
    }

    #[test]
    fn an_answer_as_the_kernel_gives_it() {
        let bits = [bit("rx-gro"), bit("highdma"), bit("tx-udp-segmentation")].concat();
        let set = attribute(ETHTOOL_A_BITSET_BITS, &bits);
        let device = attribute(ETHTOOL_A_HEADER_DEV_INDEX, &7u32.to_ne_bytes());
        let mut body = vec![0; GENLMSG_LEN];
        body.extend(attribute(ETHTOOL_A_FEATURES_HEADER, &device));
        body.extend(attribute(ETHTOOL_A_FEATURES_ACTIVE, &set));
        let (index, active) = features(&body).unwrap();
        assert_eq!(index, 7);
        assert_eq!(active, ["rx-gro", "tx-udp-segmentation"]);
        for cut in 0..body.len() {
            features(&body[..cut]);
        }
    }

    #[test]
    fn this_host_can_be_read() {
        // A kernel without the family says so; with it, loopback bundles datagrams.
        if let Ok(found) = read() {
            assert!(found.contains_key(&1), "{found:?}");
        }
    }
}
