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
//! connection it accepts with one byte and the run's nonce ([`Answer::consent`]): the
//! tag does not tell it, so that only who takes part in the run can. Preamble and
//! answer are not payload, and the answer is no longer than the preamble.

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

/// Bytes that accept a data connection: as many as its preamble has.
pub const CONSENT_LENGTH: usize = 9;

/// Why bytes are not a preamble or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer speaks something else.
    #[error("connection does not begin as one of weir's: is another program at the other end?")]
    Magic,
    /// A kind of connection this build does not know.
    #[error("connection is of unknown kind {0}: the peer may be of a newer version")]
    UnknownKind(u8),
    /// A data connection was accepted without the run's nonce.
    #[error(
        "peer accepted the connection, but takes no part in the run: another program listens there"
    )]
    Stranger,
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

    /// The bytes that accept a data connection of a run.
    pub fn consent(nonce: u64) -> [u8; CONSENT_LENGTH] {
        let mut bytes = [0; CONSENT_LENGTH];
        bytes[0] = Self::Accepted.encode();
        bytes[1..].copy_from_slice(&nonce.to_be_bytes());
        bytes
    }

    /// Reads the answer to the preamble of a data connection off what has arrived so
    /// far; `None` if more bytes are needed.
    pub fn decode_data(bytes: &[u8], nonce: u64) -> Result<Option<Self>, HandshakeError> {
        let Some(first) = bytes.first() else {
            return Ok(None);
        };
        let answer = Self::decode(*first)?;
        let expected = Self::consent(nonce);
        if answer != Self::Accepted {
            return Ok(Some(answer));
        }
        let compared = bytes.len().min(CONSENT_LENGTH);
        if bytes[..compared] != expected[..compared] {
            return Err(HandshakeError::Stranger);
        }
        Ok((compared == CONSENT_LENGTH).then_some(answer))
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

    #[test]
    fn only_the_nonce_is_consent() {
        let nonce = 0x0102_0304_0506_0708;
        let bytes = Answer::consent(nonce);
        assert_eq!(bytes.len(), Preamble::Data { tag: 1 }.encode().len());
        for length in 0..bytes.len() {
            assert_eq!(Answer::decode_data(&bytes[..length], nonce), Ok(None));
        }
        let accepted = Ok(Some(Answer::Accepted));
        assert_eq!(Answer::decode_data(&bytes, nonce), accepted);
        assert_eq!(
            Answer::decode_data(&bytes, nonce + 1),
            Err(HandshakeError::Stranger)
        );
        assert_eq!(
            Answer::decode_data(b"\0HTTP", nonce),
            Err(HandshakeError::Stranger)
        );
        let refused = Answer::decode_data(&[Answer::Policy.encode()], nonce);
        assert_eq!(refused, Ok(Some(Answer::Policy)));
        // What a service gets that sends back what it is sent.
        let mirrored = Answer::decode_data(&Preamble::Data { tag: 1 }.encode(), nonce);
        assert!(mirrored.is_err());
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
