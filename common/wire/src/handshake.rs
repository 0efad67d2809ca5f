//! The first bytes of every TCP connection of weir, and the answer to them.
//!
//! ```text
//! +---------------+---+-------------------------------+
//! | "weir"        | k | nonce u64   (k = 1) or        |
//! |               |   | tag u32     (k = 2) or        |
//! |               |   | version u16 (k = 3)           |
//! +---------------+---+-------------------------------+
//! ```
//!
//! The end that dialled sends the preamble, the end that accepted answers with
//! one byte ([`Answer`]) and closes the connection unless it accepted. On a data
//! connection the preamble and the answer are not payload.

use crate::bytes::Reader;

/// What every connection begins with.
pub const MAGIC: [u8; 4] = *b"weir";
/// Bytes of the longest preamble.
pub const MAX_LENGTH: usize = 13;

const LINK: u8 = 1;
const DATA: u8 = 2;
const MEETING: u8 = 3;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// The flow link of a pair of agents.
    Link {
        /// Drawn per link and run; both agents have it from their assignment.
        nonce: u64,
    },
    /// A TCP stream of a flow.
    Data {
        /// Drawn per stream and run; both agents have it from their assignment.
        tag: u32,
    },
    /// Two agents without a controller: what follows are frames of `weir.peer.v1`.
    Meeting {
        /// Of the frames.
        version: u16,
    },
}

/// The accepting end's answer to a preamble: one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Accepted,
    /// No stream with this tag is expected here (now).
    UnknownTag,
    /// No link with this nonce is expected here (now).
    UnknownNonce,
    /// This host's policy forbids the peer.
    Policy,
    /// This host cannot give the connection what the flow asks of it; its agent
    /// says why.
    Options,
    /// Of the connection's kind another version is spoken here.
    OtherVersion,
    /// Connections of this kind are not served at this port.
    NotServed,
    /// As many connections of this kind are served as there may be; later, perhaps.
    Busy,
}

/// Why bytes are not a preamble or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer speaks something else.
    #[error("connection does not begin as one of weir's: is another program at the other end?")]
    Magic,
    /// A kind of connection this build does not know.
    #[error("connection is of unknown kind {0}: the peer may be of a newer version")]
    UnknownKind(u8),
    /// An answer this build does not know.
    #[error("peer answered the connection with unknown status {0}: it may be of a newer version")]
    UnknownAnswer(u8),
}

impl Preamble {
    /// The bytes to send first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_LENGTH);
        out.extend(MAGIC);
        match self {
            Self::Link { nonce } => {
                out.push(LINK);
                out.extend(nonce.to_be_bytes());
            }
            Self::Data { tag } => {
                out.push(DATA);
                out.extend(tag.to_be_bytes());
            }
            Self::Meeting { version } => {
                out.push(MEETING);
                out.extend(version.to_be_bytes());
            }
        }
        out
    }

    /// Reads a preamble off the front of what has arrived so far, with its
    /// length; `None` if more bytes are needed. Says no at the first byte that
    /// cannot be right.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HandshakeError> {
        let compared = bytes.len().min(MAGIC.len());
        if bytes[..compared] != MAGIC[..compared] {
            return Err(HandshakeError::Magic);
        }
        let mut rest = Reader(&bytes[compared..]);
        let preamble = match rest.u8() {
            None => None,
            Some(LINK) => rest.u64().map(|nonce| Self::Link { nonce }),
            Some(DATA) => rest.u32().map(|tag| Self::Data { tag }),
            Some(MEETING) => rest.u16().map(|version| Self::Meeting { version }),
            Some(other) => return Err(HandshakeError::UnknownKind(other)),
        };
        Ok(preamble.map(|preamble| (preamble, bytes.len() - rest.0.len())))
    }
}

impl Answer {
    /// The byte to send.
    pub fn encode(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::UnknownTag => 1,
            Self::UnknownNonce => 2,
            Self::Policy => 3,
            Self::Options => 4,
            Self::OtherVersion => 5,
            Self::NotServed => 6,
            Self::Busy => 7,
        }
    }

    /// Reads the byte that arrived.
    pub fn decode(byte: u8) -> Result<Self, HandshakeError> {
        match byte {
            0 => Ok(Self::Accepted),
            1 => Ok(Self::UnknownTag),
            2 => Ok(Self::UnknownNonce),
            3 => Ok(Self::Policy),
            4 => Ok(Self::Options),
            5 => Ok(Self::OtherVersion),
            6 => Ok(Self::NotServed),
            7 => Ok(Self::Busy),
            other => Err(HandshakeError::UnknownAnswer(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stranger_is_refused_at_the_first_wrong_byte() {
        assert_eq!(Preamble::decode(b""), Ok(None));
        assert_eq!(Preamble::decode(b"we"), Ok(None));
        assert_eq!(Preamble::decode(b"wE"), Err(HandshakeError::Magic));
        assert_eq!(
            Preamble::decode(b"GET / HTTP/1.1"),
            Err(HandshakeError::Magic)
        );
        let refused = Preamble::decode(b"weir\x09");
        assert_eq!(refused, Err(HandshakeError::UnknownKind(9)));
    }

    #[test]
    fn answers_come_back() {
        use Answer::{
            Accepted, Busy, NotServed, Options, OtherVersion, Policy, UnknownNonce, UnknownTag,
        };
        let known = [
            Accepted,
            UnknownTag,
            UnknownNonce,
            Policy,
            Options,
            OtherVersion,
            NotServed,
            Busy,
        ];
        for answer in known {
            assert_eq!(Answer::decode(answer.encode()), Ok(answer));
        }
        assert_eq!(Answer::decode(9), Err(HandshakeError::UnknownAnswer(9)));
    }

    fn preamble() -> impl Strategy<Value = Preamble> {
        prop_oneof![
            any::<u64>().prop_map(|nonce| Preamble::Link { nonce }),
            any::<u32>().prop_map(|tag| Preamble::Data { tag }),
            any::<u16>().prop_map(|version| Preamble::Meeting { version }),
        ]
    }

    proptest! {
        #[test]
        fn every_preamble_comes_back_once_it_is_complete(
            preamble in preamble(), more in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let bytes = preamble.encode();
            prop_assert!(bytes.len() <= MAX_LENGTH);
            for length in 0..bytes.len() {
                prop_assert_eq!(Preamble::decode(&bytes[..length]), Ok(None));
            }
            let all = [bytes.clone(), more].concat();
            prop_assert_eq!(Preamble::decode(&all), Ok(Some((preamble, bytes.len()))));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20), ours: bool) {
            let bytes = if ours { [MAGIC.to_vec(), bytes].concat() } else { bytes };
            if let Ok(Some((preamble, length))) = Preamble::decode(&bytes) {
                prop_assert_eq!(preamble.encode(), &bytes[..length]);
            }
        }
    }
}
