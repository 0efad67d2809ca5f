//! Control messages (cmsg(3)) as bytes: a checked walk over what the kernel wrote,
//! and the one message that is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `struct cmsghdr`: length (a machine word), level, type.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();

/// One control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ControlMessage<'bytes> {
    pub(super) level: i32,
    pub(super) kind: i32,
    pub(super) data: &'bytes [u8],
}

impl ControlMessage<'_> {
    /// The data as an int; TTL and TOS of IPv4 come as an int or a single byte.
    pub(super) fn int(&self) -> Option<i32> {
        match *self.data {
            [byte] => Some(i32::from(byte)),
            [a, b, c, d, ..] => Some(i32::from_ne_bytes([a, b, c, d])),
            _ => None,
        }
    }

    /// The data as a `struct timespec` of two 64-bit words, in ns.
    pub(super) fn timespec_ns(&self) -> Option<u64> {
        let word = |at: usize| -> Option<u64> {
            let bytes = self.data.get(at..at + 8)?.try_into().ok()?;
            u64::try_from(i64::from_ne_bytes(bytes)).ok()
        };
        word(0)?.checked_mul(1_000_000_000)?.checked_add(word(8)?)
    }

    /// The destination address in `struct in_pktinfo` (after the interface and the
    /// local address) or `struct in6_pktinfo` (first).
    pub(super) fn destination(&self) -> Option<IpAddr> {
        if self.level == libc::IPPROTO_IP {
            let bytes: [u8; 4] = self.data.get(8..12)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes).into())
        } else {
            let bytes: [u8; 16] = self.data.get(..16)?.try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
    }
}

/// Walks the control messages in `bytes`; ends at the first that is cut short.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = ControlMessage<'_>> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<{ size_of::<usize>() }>()?;
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, _) = rest.split_first_chunk::<4>()?;
        let length = usize::from_ne_bytes(*length);
        let data = bytes.get(HEADER..length)?;
        let message = ControlMessage {
            level: i32::from_ne_bytes(*level),
            kind: i32::from_ne_bytes(*kind),
            data,
        };
        // `get` above proved length <= bytes.len(), so rounding it up is safe.
        let next = length.next_multiple_of(size_of::<usize>());
        bytes = bytes.get(next..).unwrap_or(&[]);
        Some(message)
    })
}

/// The control message UDP_SEGMENT (udp(7)): cut what is sent every `size` bytes.
pub(super) fn udp_segment(size: u16) -> [u8; SEGMENT_CONTROL] {
    let mut bytes = [0_u8; SEGMENT_CONTROL];
    let length = HEADER + size_of::<u16>();
    let word = size_of::<usize>();
    bytes[..word].copy_from_slice(&length.to_ne_bytes());
    bytes[word..word + 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    bytes[word + 4..HEADER].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    bytes[HEADER..length].copy_from_slice(&size.to_ne_bytes());
    bytes
}

/// Header, two bytes, padding to the next word.
const SEGMENT_CONTROL: usize = HEADER + size_of::<usize>();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_built_is_read() {
        let bytes = udp_segment(1448);
        let read: Vec<_> = messages(&bytes).collect();
        let data = 1448_u16.to_ne_bytes();
        let expected = ControlMessage {
            level: libc::SOL_UDP,
            kind: libc::UDP_SEGMENT,
            data: &data,
        };
        assert_eq!(read, [expected]);
    }

    #[test]
    fn several_messages_and_a_cut_one() {
        let mut bytes = udp_segment(1).to_vec();
        bytes.extend(udp_segment(2));
        assert_eq!(messages(&bytes).count(), 2);
        bytes.truncate(udp_segment(1).len() + HEADER + 1);
        assert_eq!(messages(&bytes).count(), 1);
    }

    #[test]
    fn values_of_the_kernel() {
        fn of(data: &[u8]) -> ControlMessage<'_> {
            ControlMessage {
                level: libc::IPPROTO_IP,
                kind: 0,
                data,
            }
        }
        assert_eq!(of(&[64]).int(), Some(64));
        assert_eq!(of(&64_i32.to_ne_bytes()).int(), Some(64));
        assert_eq!(of(&[1, 2]).int(), None);
        let time = [7_i64.to_ne_bytes(), 9_i64.to_ne_bytes()].concat();
        assert_eq!(of(&time).timespec_ns(), Some(7_000_000_009));
        assert_eq!(of(&time[..9]).timespec_ns(), None);
        let info = [0, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        assert_eq!(of(&info).destination(), Some([10, 0, 0, 2].into()));
    }

    proptest! {
        #[test]
        fn walk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _values = (message.int(), message.timespec_ns(), message.destination());
            }
        }
    }
}
