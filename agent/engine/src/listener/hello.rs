//! Hellos, as the listening end hears them.

use std::net::{IpAddr, SocketAddr};

use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind};

use crate::socket::{Datagram, ReceiveBatch, UdpSocket};

/// A hello, out of the batch that it came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) tag: u32,
    pub(super) sequence: u64,
    pub(super) source: SocketAddr,
    /// The address it was sent to.
    pub(super) to: IpAddr,
}

impl Heard {
    /// The hello in a datagram that came to the address `to`.
    pub(super) fn of(datagram: &Datagram<'_>, to: IpAddr) -> Option<Self> {
        let header = ProbeHeader::decode(datagram.payload).ok()?;
        let source = datagram.source?;
        (header.kind == ProbeKind::Hello).then_some(Self {
            tag: header.tag,
            sequence: header.sequence,
            source,
            to,
        })
    }
}

/// The hellos in the queue of a socket that has just been connected: those of its
/// own peer, and those of others that came between bind() and connect().
pub(super) fn waiting_at(child: &UdpSocket, to: IpAddr) -> Vec<Heard> {
    let mut batch = ReceiveBatch::new(16, LENGTH);
    let mut found = Vec::new();
    while let Ok(1..) = batch.receive(child) {
        found.extend(
            batch
                .datagrams()
                .filter_map(|datagram| Heard::of(&datagram, to)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::socket::{DirectProvider, SendOutcome, SocketProvider, UdpRequest};

    fn socket(local: SocketAddr) -> UdpSocket {
        let request = UdpRequest {
            local,
            reuse: true,
            interface: None,
        };
        UdpSocket::from_fd(DirectProvider.udp(&request).unwrap()).unwrap()
    }

    /// Eight generators that say hello at once lost one of their hellos to the
    /// socket of another stream: answered late, and counted nowhere.
    #[test]
    fn a_hello_between_bind_and_connect_is_not_lost() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (listening, own_peer, other) = (socket(any), socket(any), socket(any));
        let port = listening.local_addr();
        let child = socket(port);
        other.connect(port).unwrap();
        let mut payload = [0; LENGTH];
        let hello = ProbeHeader {
            tag: 7,
            kind: ProbeKind::Hello,
            sequence: 3,
            send_ns: Some(1),
        };
        hello.encode(&mut payload).unwrap();
        assert_eq!(other.send(&payload), SendOutcome::Sent);
        child.connect(own_peer.local_addr()).unwrap();
        let found = waiting_at(&child, port.ip());
        assert_eq!(found.len(), 1, "the kernel gave it to the child");
        assert_eq!((found[0].tag, found[0].source), (7, other.local_addr()));
        assert!(waiting_at(&child, port.ip()).is_empty());
    }
}
