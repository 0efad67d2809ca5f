//! The messages on a flow link: the closing exchange of the two ends.
//!
//! Each message is framed by its length (u32, at most [`MAX_BODY_BYTES`]),
//! followed by the codec's version (1 byte), the message's type (1 byte) and its
//! fields in the order they are declared here, fixed width, big-endian; the list
//! of cohorts has a u16 count before it.
//!
//! Order: before T0 the end that dialled sends [`LinkMessage::Attach`] for each
//! session that the link is to carry, and the other answers it with its own. Ends
//! that read different clocks ask each other for theirs
//! ([`LinkMessage::ClockQuestion`], answered at once) before T0 and after the end of
//! a segment. A generator sends [`LinkMessage::Final`] for each stream of each segment it
//! ended; the receiver answers with one [`LinkMessage::Totals`] for the segment
//! as soon as nothing more can arrive, at the latest when the linger is over.
//! Segments may overlap. Either end sends [`LinkMessage::Bye`] last.

mod decoder;
#[cfg(test)]
mod tests;

use crate::bytes::Reader;
pub use decoder::LinkDecoder;

/// The largest length that is accepted, so a stranger cannot make us allocate.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// Cohorts in one message: as many as a probe header can tell apart.
pub const MAX_COHORTS: usize = 128;

/// Longest name of a clock domain in [`Attach`], bytes.
pub const MAX_DOMAIN_BYTES: usize = 64;

/// Version of the messages. Fields are never reinterpreted: a change is another
/// version, which both ends agree on beforehand.
const VERSION: u8 = 1;
const FINAL: u8 = 1;
const TOTALS: u8 = 2;
const BYE: u8 = 3;
const ATTACH: u8 = 4;
const CLOCK_QUESTION: u8 = 5;
const CLOCK_ANSWER: u8 = 6;
const PREFIX_BYTES: usize = 4;

/// What a generator sent of one cohort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CohortSpan {
    /// Cohort number: `2 * i` is the warm-up of segment i, `2 * i + 1` its
    /// measured window.
    pub cohort: u8,
    /// Sequence number of the first packet; the others follow without holes.
    pub first_seq: u64,
    /// Packets sent.
    pub packets: u64,
    /// Payload bytes sent.
    pub bytes: u64,
}

/// A message between the two ends of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkMessage {
    /// Generator to receiver: a segment has ended, this was sent.
    Final(SegmentFinal),
    /// Receiver to generator: what became of it.
    Totals(SegmentTotals),
    /// This link carries a session.
    Attach(Attach),
    /// What does your clock read?
    ClockQuestion {
        /// What the sender's monotonic clock read when it asked, ns.
        asked_ns: u64,
    },
    /// The answer to a question.
    ClockAnswer(ClockAnswer),
    /// Nothing more comes from this end.
    Bye,
}

/// Says that a link carries a session, and which clock its end reads. Each end
/// answers the other's with its own, so that both can tell whether their clocks
/// are the same one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attach {
    /// The session, by the number that both ends have for it.
    pub session: u32,
    /// What the sender's monotonic clock reads now, ns.
    pub clock_ns: u64,
    /// Name of that clock: the kernel's boot id; empty if not known. At most
    /// [`MAX_DOMAIN_BYTES`].
    pub domain: String,
}

/// What the clock of the end that was asked read, ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockAnswer {
    /// From the question: when it was asked, by the clock of the end that asked.
    pub asked_ns: u64,
    /// When the question was read.
    pub heard_ns: u64,
    /// When the answer was written.
    pub answered_ns: u64,
}

/// A generator's final count of one stream of one segment of a session.
///
/// Over TCP a cohort has no packets, and its `first_seq` is the position of its
/// first byte in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentFinal {
    /// Which flow, by the number that both ends have for it.
    pub session: u32,
    /// Which segment of it, from 0.
    pub segment: u8,
    /// Which stream of it, from 0.
    pub stream: u16,
    /// When the last of it was sent, from T0, ns: the segment's end, or earlier
    /// when its bytes or packets were used up or it was stopped.
    pub ended_ns: u64,
    /// Of the packets sent, how many the sender's own queue dropped (ENOBUFS).
    pub egress_packets: u64,
    /// The packets sent, ascending, without holes; at most [`MAX_COHORTS`].
    pub cohorts: Vec<CohortSpan>,
}

/// A receiver's totals of one segment, warm-up and measured window together.
/// Counters that do not apply to the transport are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentTotals {
    /// Which flow, by the number that both ends have for it.
    pub session: u32,
    /// Which segment of it, from 0.
    pub segment: u8,
    /// Unique packets received in time.
    pub rx_packets: u64,
    /// Their payload bytes; TCP: bytes read by the end of the window.
    pub rx_bytes: u64,
    /// Packets declared lost.
    pub lost_packets: u64,
    /// Packets that arrived after that.
    pub late: u64,
    /// Further copies of packets.
    pub duplicate: u64,
    /// Packets after a greater sequence number (RFC 4737).
    pub reordered: u64,
    /// Packets the receiving socket dropped for want of room.
    pub socket_drops: u64,
    /// TCP: bytes read after the end of the window.
    pub drained_bytes: u64,
    /// TCP: bytes never read.
    pub unread_bytes: u64,
}

/// Why bytes are not a message. The stream cannot be read on after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The announced length is over [`MAX_BODY_BYTES`].
    #[error("flow link announces a message of {0} bytes, at most {MAX_BODY_BYTES} are accepted")]
    TooLong(u32),
    /// The peer speaks another version.
    #[error(
        "flow link speaks version {0}, this build speaks {VERSION}: use one version of weir at both ends"
    )]
    Version(u8),
    /// A message type this version does not have.
    #[error("flow link carries a message of unknown type {0}")]
    UnknownType(u8),
    /// The message is shorter than its fields.
    #[error("flow link carries a message that is shorter than its fields")]
    Truncated,
    /// The message is longer than its fields.
    #[error("flow link carries a message with {0} bytes after its last field")]
    Trailing(usize),
    /// A final count of more than [`MAX_COHORTS`] cohorts.
    #[error("final count names {0} cohorts, at most {MAX_COHORTS} exist")]
    TooManyCohorts(usize),
    /// A clock domain that is too long or not text.
    #[error("clock domain of {0} bytes is not text of at most {MAX_DOMAIN_BYTES}")]
    Domain(usize),
}

impl LinkMessage {
    /// Appends the framed message. Fails only for too many cohorts or too long a
    /// domain, and then appends nothing.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), LinkError> {
        let mut body = vec![VERSION];
        match self {
            Self::Final(message) => message.encode(&mut body)?,
            Self::Totals(message) => message.encode(&mut body),
            Self::Attach(message) => message.encode(&mut body)?,
            Self::ClockQuestion { asked_ns } => {
                body.push(CLOCK_QUESTION);
                body.extend(asked_ns.to_be_bytes());
            }
            Self::ClockAnswer(message) => message.encode(&mut body),
            Self::Bye => body.push(BYE),
        }
        out.extend((body.len() as u32).to_be_bytes());
        out.append(&mut body);
        Ok(())
    }

    /// Reads a framed message off the front of what has arrived so far, with
    /// its length; `None` if more bytes are needed.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LinkError> {
        let mut reader = Reader(bytes);
        let Some(announced) = reader.u32() else {
            return Ok(None);
        };
        let length = announced as usize;
        if length > MAX_BODY_BYTES {
            return Err(LinkError::TooLong(announced));
        }
        let Some(body) = reader.0.get(..length) else {
            return Ok(None);
        };
        Ok(Some((Self::decode_body(body)?, PREFIX_BYTES + length)))
    }

    fn decode_body(body: &[u8]) -> Result<Self, LinkError> {
        let mut reader = Reader(body);
        let version = reader.u8().ok_or(LinkError::Truncated)?;
        if version != VERSION {
            return Err(LinkError::Version(version));
        }
        let message = match reader.u8().ok_or(LinkError::Truncated)? {
            FINAL => Self::Final(SegmentFinal::decode(&mut reader)?),
            TOTALS => SegmentTotals::decode(&mut reader)
                .map(Self::Totals)
                .ok_or(LinkError::Truncated)?,
            ATTACH => Self::Attach(Attach::decode(&mut reader)?),
            CLOCK_QUESTION => Self::ClockQuestion {
                asked_ns: reader.u64().ok_or(LinkError::Truncated)?,
            },
            CLOCK_ANSWER => ClockAnswer::decode(&mut reader)
                .map(Self::ClockAnswer)
                .ok_or(LinkError::Truncated)?,
            BYE => Self::Bye,
            other => return Err(LinkError::UnknownType(other)),
        };
        match reader.0.len() {
            0 => Ok(message),
            trailing => Err(LinkError::Trailing(trailing)),
        }
    }
}

impl Attach {
    fn encode(&self, body: &mut Vec<u8>) -> Result<(), LinkError> {
        let length = self.domain.len();
        let short = u8::try_from(length)
            .ok()
            .filter(|_| length <= MAX_DOMAIN_BYTES);
        body.push(ATTACH);
        body.extend(self.session.to_be_bytes());
        body.extend(self.clock_ns.to_be_bytes());
        body.push(short.ok_or(LinkError::Domain(length))?);
        body.extend(self.domain.as_bytes());
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, LinkError> {
        let session = reader.u32().ok_or(LinkError::Truncated)?;
        let clock_ns = reader.u64().ok_or(LinkError::Truncated)?;
        let length = usize::from(reader.u8().ok_or(LinkError::Truncated)?);
        if length > MAX_DOMAIN_BYTES {
            return Err(LinkError::Domain(length));
        }
        let (domain, rest) = reader
            .0
            .split_at_checked(length)
            .ok_or(LinkError::Truncated)?;
        let domain = std::str::from_utf8(domain).map_err(|_| LinkError::Domain(length))?;
        let domain = domain.to_owned();
        reader.0 = rest;
        Ok(Self {
            session,
            clock_ns,
            domain,
        })
    }
}

impl ClockAnswer {
    fn encode(&self, body: &mut Vec<u8>) {
        body.push(CLOCK_ANSWER);
        for field in [self.asked_ns, self.heard_ns, self.answered_ns] {
            body.extend(field.to_be_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            asked_ns: reader.u64()?,
            heard_ns: reader.u64()?,
            answered_ns: reader.u64()?,
        })
    }
}

impl SegmentFinal {
    /// Packets sent, all cohorts; saturating, since the numbers are foreign.
    pub fn packets(&self) -> u64 {
        self.cohorts
            .iter()
            .fold(0, |sum, span| sum.saturating_add(span.packets))
    }

    /// Payload bytes sent, all cohorts; saturating.
    pub fn bytes(&self) -> u64 {
        self.cohorts
            .iter()
            .fold(0, |sum, span| sum.saturating_add(span.bytes))
    }

    fn encode(&self, body: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.cohorts.len() > MAX_COHORTS {
            return Err(LinkError::TooManyCohorts(self.cohorts.len()));
        }
        body.push(FINAL);
        body.extend(self.session.to_be_bytes());
        body.push(self.segment);
        body.extend(self.stream.to_be_bytes());
        body.extend(self.ended_ns.to_be_bytes());
        body.extend(self.egress_packets.to_be_bytes());
        body.extend((self.cohorts.len() as u16).to_be_bytes());
        for span in &self.cohorts {
            body.push(span.cohort);
            for field in [span.first_seq, span.packets, span.bytes] {
                body.extend(field.to_be_bytes());
            }
        }
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, LinkError> {
        let mut message = Self {
            session: reader.u32().ok_or(LinkError::Truncated)?,
            segment: reader.u8().ok_or(LinkError::Truncated)?,
            stream: reader.u16().ok_or(LinkError::Truncated)?,
            ended_ns: reader.u64().ok_or(LinkError::Truncated)?,
            egress_packets: reader.u64().ok_or(LinkError::Truncated)?,
            cohorts: Vec::new(),
        };
        let count = usize::from(reader.u16().ok_or(LinkError::Truncated)?);
        if count > MAX_COHORTS {
            return Err(LinkError::TooManyCohorts(count));
        }
        for _ in 0..count {
            let span = CohortSpan::decode(reader).ok_or(LinkError::Truncated)?;
            message.cohorts.push(span);
        }
        Ok(message)
    }
}

impl CohortSpan {
    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            cohort: reader.u8()?,
            first_seq: reader.u64()?,
            packets: reader.u64()?,
            bytes: reader.u64()?,
        })
    }
}

impl SegmentTotals {
    fn encode(&self, body: &mut Vec<u8>) {
        body.push(TOTALS);
        body.extend(self.session.to_be_bytes());
        body.push(self.segment);
        for field in [
            self.rx_packets,
            self.rx_bytes,
            self.lost_packets,
            self.late,
            self.duplicate,
            self.reordered,
            self.socket_drops,
            self.drained_bytes,
            self.unread_bytes,
        ] {
            body.extend(field.to_be_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            session: reader.u32()?,
            segment: reader.u8()?,
            rx_packets: reader.u64()?,
            rx_bytes: reader.u64()?,
            lost_packets: reader.u64()?,
            late: reader.u64()?,
            duplicate: reader.u64()?,
            reordered: reader.u64()?,
            socket_drops: reader.u64()?,
            drained_bytes: reader.u64()?,
            unread_bytes: reader.u64()?,
        })
    }
}
