//! Valid bytes, damaged: every parser answers, within its bounds, and what it
//! still takes is what was there.

pub mod invariants;
#[path = "../../src/link/tests/strategies.rs"]
mod strategies;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_wire::link::{Attach, ClockAnswer, MAX_BODY_BYTES, MAX_COHORTS};
use weir_wire::{
    CohortSpan, LinkMessage, Preamble, ProbeHeader, ProbeKind, SegmentFinal, SegmentTotals,
    probe_header,
};

use self::invariants::Operation;
use self::strategies::message;

/// One damage.
#[derive(Debug, Clone)]
enum Mutation {
    /// A bit is turned over.
    Flip(Index, u8),
    /// A byte becomes one of those at which codecs decide.
    Edge(Index, u8),
    /// Two bytes, such as a count, become a number.
    Number16(Index, u16),
    /// Four bytes, such as a length, become a number.
    Number32(Index, u32),
    /// The end is missing.
    Truncate(Index),
    /// A piece is missing.
    Cut(Index, Index),
    /// A piece is there twice.
    Repeat(Index, Index),
    /// Bytes came in between.
    Insert(Index, Vec<u8>),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let write = |bytes: &mut Vec<u8>, at: &Index, value: &[u8]| {
            let at = at.index(length);
            let end = length.min(at + value.len());
            bytes[at..end].copy_from_slice(&value[..end - at]);
        };
        let range = |a: &Index, b: &Index| {
            let (a, b) = (a.index(length), b.index(length));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << (bit % 8),
            Self::Edge(at, byte) => write(bytes, at, &[*byte]),
            Self::Number16(at, number) => write(bytes, at, &number.to_be_bytes()),
            Self::Number32(at, number) => write(bytes, at, &number.to_be_bytes()),
            Self::Truncate(at) => bytes.truncate(at.index(length)),
            Self::Cut(a, b) => drop(bytes.drain(range(a, b))),
            Self::Repeat(a, b) => {
                let piece = bytes[range(a, b)].to_vec();
                bytes.extend(piece);
            }
            Self::Insert(at, piece) => {
                let at = at.index(length);
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
        }
    }
}

fn damaged(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        mutation.apply(&mut bytes);
    }
    bytes
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let lengths = prop_oneof![
        0_u32..300,
        (MAX_BODY_BYTES as u32 - 2)..(MAX_BODY_BYTES as u32 + 3),
        Just(u32::MAX),
        any::<u32>(),
    ];
    let counts = prop_oneof![0_u16..5, 126_u16..131, Just(u16::MAX)];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (
            at(),
            prop::sample::select(vec![0, 1, 2, 3, 4, 5, 64, 65, 0x7f, 0x80, 0x83, 0xff])
        )
            .prop_map(|(at, byte)| Mutation::Edge(at, byte)),
        (at(), counts).prop_map(|(at, number)| Mutation::Number16(at, number)),
        (at(), lengths).prop_map(|(at, number)| Mutation::Number32(at, number)),
        at().prop_map(Mutation::Truncate),
        (at(), at()).prop_map(|(a, b)| Mutation::Cut(a, b)),
        (at(), at()).prop_map(|(a, b)| Mutation::Repeat(a, b)),
        (at(), vec(any::<u8>(), 0..9)).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
    ]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    vec(mutation(), 0..4)
}

fn header() -> impl Strategy<Value = (ProbeHeader, usize)> {
    let kind = prop_oneof![
        (0..=probe_header::MAX_COHORT).prop_map(|cohort| ProbeKind::Data { cohort }),
        Just(ProbeKind::Hello),
        Just(ProbeKind::HelloAck),
        Just(ProbeKind::Echo),
    ];
    let fields = (
        any::<u32>(),
        kind,
        0..=probe_header::MAX_SEQUENCE,
        any::<u64>(),
    );
    (fields, probe_header::SHORT_LENGTH..40).prop_map(|((tag, kind, sequence, ns), size)| {
        let header = ProbeHeader {
            tag,
            kind,
            sequence,
            send_ns: Some(ns),
        };
        (header, size)
    })
}

fn preamble() -> impl Strategy<Value = Preamble> {
    prop_oneof![
        any::<u64>().prop_map(|nonce| Preamble::Link { nonce }),
        any::<u32>().prop_map(|tag| Preamble::Data { tag }),
        any::<u16>().prop_map(|version| Preamble::Meeting { version }),
    ]
}

fn framed(message: &LinkMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message
        .encode(&mut bytes)
        .expect("the strategy keeps to the bounds");
    bytes
}

/// The stream in pieces of these lengths, the last one as long as it takes.
fn cut(stream: &[u8], pieces: &[(usize, u8)]) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut rest = stream;
    for (length, then) in pieces {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        operations.push(Operation::Push(piece.to_vec()));
        match then {
            0 => {}
            1 => operations.push(Operation::Next),
            _ => operations.push(Operation::Drain),
        }
        rest = after;
    }
    operations.push(Operation::Push(rest.to_vec()));
    operations
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn damaged_probe_headers((header, size) in header(), mutations in mutations()) {
        let mut payload = vec![0xa5; size];
        header.encode(&mut payload).expect("there is room");
        invariants::probe_header(&payload);
        invariants::probe_header(&damaged(&payload, &mutations));
    }

    #[test]
    fn damaged_preambles(preamble in preamble(), mutations in mutations()) {
        let bytes = preamble.encode();
        invariants::handshake(&bytes);
        invariants::handshake(&damaged(&bytes, &mutations));
    }

    #[test]
    fn damaged_messages(message in message(), mutations in mutations()) {
        let bytes = framed(&message);
        invariants::link_message(&bytes);
        invariants::link_message(&damaged(&bytes, &mutations));
    }

    #[test]
    fn damaged_streams_in_pieces(
        messages in vec(message(), 0..5),
        mutations in mutations(),
        pieces in vec((0_usize..400, 0_u8..3), 0..12),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(framed).collect();
        invariants::link_decoder(&cut(&stream, &pieces));
        invariants::link_decoder(&cut(&damaged(&stream, &mutations), &pieces));
    }
}
