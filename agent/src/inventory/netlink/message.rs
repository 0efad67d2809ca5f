//! Netlink messages: questions, answers, attributes (netlink(7)). Pure but for
//! [`ask`].

use std::io;
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send,
    socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
pub(super) const HEADER_LEN: usize = 16;

/// How long the kernel has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything there is of it: many messages.
    All,
    /// What the body names: one message.
    One,
}

/// Asks the kernel, and gives each message of the answer to `take` by its kind.
///
/// # Errors
/// The kernel refuses the socket or the question, or does not answer.
pub(super) fn ask(
    protocol: Option<Protocol>,
    question: u16,
    extent: Extent,
    body: &[u8],
    take: &mut dyn FnMut(u16, &[u8]),
) -> io::Result<()> {
    // Without a protocol: NETLINK_ROUTE is number 0.
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(
        &socket,
        &request(question, extent, body),
        SendFlags::empty(),
    )?;
    // The kernel fills at most 32 KiB per answer of a dump.
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let (_, len) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let answer = &buffer[..len.min(buffer.len())];
        if take_messages(answer, take)? || extent == Extent::One {
            return Ok(());
        }
    }
}

/// A question: header and body.
fn request(question: u16, extent: Extent, body: &[u8]) -> Vec<u8> {
    let flags = match extent {
        Extent::All => NLM_F_REQUEST | NLM_F_DUMP,
        Extent::One => NLM_F_REQUEST,
    };
    let mut bytes = vec![0; HEADER_LEN];
    bytes[0..4].copy_from_slice(&((HEADER_LEN + body.len()) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&question.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Reads the messages of one answer; `true` after the last one of a dump.
pub(super) fn take_messages(
    mut bytes: &[u8],
    take: &mut dyn FnMut(u16, &[u8]),
) -> io::Result<bool> {
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
            kind => take(kind, body),
        }
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(false)
}

/// Type and value of each attribute; a torn one ends them.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
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
pub(super) const fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// Text up to its closing 0.
pub(super) fn c_text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at + 8)?
        .try_into()
        .ok()
        .map(u64::from_ne_bytes)
}

/// An attribute, with the padding that follows it.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(aligned(4 + value.len()));
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

/// A message as the kernel sends it.
#[cfg(test)]
pub(super) fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[0..4].copy_from_slice(&((HEADER_LEN + body.len()) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_refusal_is_an_error() {
        let refusal = message(NLMSG_ERROR, &(-1i32).to_ne_bytes());
        let error = take_messages(&refusal, &mut |_, _| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(1));
    }

    #[test]
    fn a_dump_ends_with_its_last_message() {
        let answer = [message(16, &[1; 5]), message(NLMSG_DONE, &[0; 4])].concat();
        let mut seen = Vec::new();
        let mut take = |kind, body: &[u8]| seen.push((kind, body.len()));
        assert!(take_messages(&answer, &mut take).unwrap());
        assert!(!take_messages(&answer[..24], &mut take).unwrap());
        assert!(take_messages(&answer[..30], &mut take).is_err());
        assert_eq!(seen[0], (16, 5));
    }
}
