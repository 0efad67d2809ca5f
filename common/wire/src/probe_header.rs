//! The head of every UDP payload of weir.
//!
//! ```text
//!  0               4               8              12      16      20
//! +---------------+---+---------------------------+---------------+
//! | tag           | k | sequence (56 bits)        | send time, ns |
//! +---------------+---+---------------------------+---------------+
//! ```
//!
//! The tag is drawn per stream and run and agreed before T0; nothing else on
//! the wire tells whose packet it is. The kind (k) is a cohort number for data,
//! or has its high bit set for control packets. The send time is the sender's
//! monotonic clock. Payloads of 12 to 19 bytes have no send time; shorter ones
//! cannot be told apart and are refused.

use crate::bytes::Reader;

/// Bytes of the header with a send time.
pub const LENGTH: usize = 20;
/// Bytes of the header in payloads too short for a send time: the least payload.
pub const SHORT_LENGTH: usize = 12;
/// Greatest sequence number.
pub const MAX_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
/// Greatest cohort number.
pub const MAX_COHORT: u8 = CONTROL - 1;

const SEQUENCE_BITS: u32 = 56;
/// High bit of the kind: not data.
const CONTROL: u8 = 0x80;
const HELLO: u8 = CONTROL;
const HELLO_ACK: u8 = CONTROL | 1;
const ECHO: u8 = CONTROL | 2;

/// What a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// Payload of the flow, counted with this cohort (at most [`MAX_COHORT`]).
    Data {
        /// Cohort number: `2 * i` is the warm-up of segment i, `2 * i + 1` its
        /// measured window.
        cohort: u8,
    },
    /// A generator asks before T0 whether the path works. The sequence counts
    /// the attempts.
    Hello,
    /// The answer to a hello, with its sequence, and in the place of the send time the
    /// run's nonce: the hello does not tell it, so that only who takes part in the run can.
    HelloAck,
    /// A packet that the receiver sent back, with the sequence and the send time
    /// of the one it answers.
    Echo,
}

/// The head of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeHeader {
    /// Which stream of which run.
    pub tag: u32,
    /// Data or control.
    pub kind: ProbeKind,
    /// Number of the packet in its flow, from 0, at most [`MAX_SEQUENCE`].
    pub sequence: u64,
    /// Send time in nanoseconds of the sender's monotonic clock; `None` in
    /// payloads below [`LENGTH`].
    pub send_ns: Option<u64>,
}

/// Why a payload has no header, or a header does not fit one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeHeaderError {
    /// The payload is shorter than [`SHORT_LENGTH`].
    #[error(
        "UDP payload of {0} bytes is too small for a probe header, give it at least {SHORT_LENGTH}"
    )]
    TooShort(usize),
    /// A control packet of a kind this build does not know.
    #[error("probe header has unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// The cohort to encode is above [`MAX_COHORT`].
    #[error("cohort {0} does not fit a probe header, at most {MAX_COHORT} do")]
    CohortTooLarge(u8),
    /// The sequence number to encode is above [`MAX_SEQUENCE`].
    #[error("sequence number {0} does not fit the 56 bits of a probe header")]
    SequenceTooLarge(u64),
}

impl ProbeHeader {
    /// Writes the header to the front of a payload and returns its length: with
    /// the send time (0 if there is none) if the payload has [`LENGTH`] bytes,
    /// without it if it has [`SHORT_LENGTH`].
    #[inline]
    pub fn encode(&self, payload: &mut [u8]) -> Result<usize, ProbeHeaderError> {
        let length = payload.len();
        if self.sequence > MAX_SEQUENCE {
            return Err(ProbeHeaderError::SequenceTooLarge(self.sequence));
        }
        let kind = u64::from(self.kind.to_byte()?);
        let word = kind << SEQUENCE_BITS | self.sequence;
        if let Some(head) = payload.first_chunk_mut::<LENGTH>() {
            head[..4].copy_from_slice(&self.tag.to_be_bytes());
            head[4..12].copy_from_slice(&word.to_be_bytes());
            head[12..].copy_from_slice(&self.send_ns.unwrap_or(0).to_be_bytes());
            Ok(LENGTH)
        } else if let Some(head) = payload.first_chunk_mut::<SHORT_LENGTH>() {
            head[..4].copy_from_slice(&self.tag.to_be_bytes());
            head[4..].copy_from_slice(&word.to_be_bytes());
            Ok(SHORT_LENGTH)
        } else {
            Err(ProbeHeaderError::TooShort(length))
        }
    }

    /// Reads the header of a whole UDP payload, whose length tells its form.
    #[inline]
    pub fn decode(payload: &[u8]) -> Result<Self, ProbeHeaderError> {
        let mut reader = Reader(payload);
        let (Some(tag), Some(word)) = (reader.u32(), reader.u64()) else {
            return Err(ProbeHeaderError::TooShort(payload.len()));
        };
        Ok(Self {
            tag,
            kind: ProbeKind::from_byte((word >> SEQUENCE_BITS) as u8)?,
            sequence: word & MAX_SEQUENCE,
            send_ns: reader.u64(),
        })
    }
}

impl ProbeKind {
    #[inline]
    fn to_byte(self) -> Result<u8, ProbeHeaderError> {
        match self {
            Self::Data { cohort } if cohort > MAX_COHORT => {
                Err(ProbeHeaderError::CohortTooLarge(cohort))
            }
            Self::Data { cohort } => Ok(cohort),
            Self::Hello => Ok(HELLO),
            Self::HelloAck => Ok(HELLO_ACK),
            Self::Echo => Ok(ECHO),
        }
    }

    #[inline]
    fn from_byte(byte: u8) -> Result<Self, ProbeHeaderError> {
        match byte {
            cohort if cohort <= MAX_COHORT => Ok(Self::Data { cohort }),
            HELLO => Ok(Self::Hello),
            HELLO_ACK => Ok(Self::HelloAck),
            ECHO => Ok(Self::Echo),
            other => Err(ProbeHeaderError::UnknownKind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: ProbeHeader = ProbeHeader {
        tag: 0x0102_0304,
        kind: ProbeKind::Data { cohort: 3 },
        sequence: 0x0a_0b0c,
        send_ns: Some(0x1122),
    };

    #[test]
    fn bytes_are_where_the_diagram_puts_them() {
        let mut payload = [0xee; 24];
        assert_eq!(EXAMPLE.encode(&mut payload), Ok(LENGTH));
        let expected = [
            1, 2, 3, 4, 3, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0xee, 0xee,
            0xee, 0xee,
        ];
        assert_eq!(payload, expected);
    }

    #[test]
    fn small_payloads_carry_no_send_time_and_smaller_ones_nothing() {
        for length in 0..=LENGTH {
            let mut payload = vec![0; length];
            let encoded = EXAMPLE.encode(&mut payload);
            let decoded = ProbeHeader::decode(&payload);
            if length < SHORT_LENGTH {
                assert_eq!(encoded, Err(ProbeHeaderError::TooShort(length)));
                assert_eq!(decoded, Err(ProbeHeaderError::TooShort(length)));
            } else {
                let send_ns = EXAMPLE.send_ns.filter(|_| length >= LENGTH);
                assert_eq!(decoded, Ok(ProbeHeader { send_ns, ..EXAMPLE }));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let kind = ProbeKind::Data { cohort: 128 };
        let header = ProbeHeader { kind, ..EXAMPLE };
        let refused = header.encode(&mut [0; 20]);
        assert_eq!(refused, Err(ProbeHeaderError::CohortTooLarge(128)));
        let sequence = MAX_SEQUENCE + 1;
        let header = ProbeHeader {
            sequence,
            ..EXAMPLE
        };
        let refused = header.encode(&mut [0; 20]);
        assert_eq!(refused, Err(ProbeHeaderError::SequenceTooLarge(sequence)));
        let mut unknown = [0; 20];
        unknown[4] = 0xff;
        let refused = ProbeHeader::decode(&unknown);
        assert_eq!(refused, Err(ProbeHeaderError::UnknownKind(0xff)));
    }

    fn kind() -> impl Strategy<Value = ProbeKind> {
        prop_oneof![
            (0..=MAX_COHORT).prop_map(|cohort| ProbeKind::Data { cohort }),
            Just(ProbeKind::Hello),
            Just(ProbeKind::HelloAck),
            Just(ProbeKind::Echo),
        ]
    }

    proptest! {
        #[test]
        fn every_header_comes_back(tag: u32, kind in kind(), sequence in 0..=MAX_SEQUENCE, send_ns: u64) {
            let header = ProbeHeader { tag, kind, sequence, send_ns: Some(send_ns) };
            let mut payload = [0; 64];
            prop_assert_eq!(header.encode(&mut payload), Ok(LENGTH));
            prop_assert_eq!(ProbeHeader::decode(&payload), Ok(header));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(header) = ProbeHeader::decode(&bytes) {
                let mut again = bytes.clone();
                header.encode(&mut again).unwrap();
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
