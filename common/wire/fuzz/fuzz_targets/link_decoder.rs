//! A list of operations on the decoder of a flow link: bytes, well framed or not,
//! cut at any place, and messages asked for at any time.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use weir_wire_fuzz::invariants::{Operation, link_decoder};

#[derive(Debug, Arbitrary)]
enum Step {
    /// Bytes of any kind.
    Bytes(Vec<u8>),
    /// A frame of this version and this body.
    Frame {
        type_: u8,
        fields: Vec<u8>,
    },
    Next,
    Drain,
}

#[derive(Debug, Arbitrary)]
struct Script {
    steps: Vec<Step>,
    /// Lengths of the pieces in which each push arrives, over and over.
    pieces: Vec<u8>,
}

fuzz_target!(|script: Script| {
    let mut pieces = script
        .pieces
        .iter()
        .map(|length| 1 + usize::from(*length))
        .cycle();
    let mut operations = Vec::new();
    for step in script.steps {
        let bytes = match step {
            Step::Bytes(bytes) => bytes,
            Step::Frame { type_, fields } => {
                let length = fields.len() as u32 + 2;
                [&length.to_be_bytes()[..], &[1, type_ % 6], &fields].concat()
            }
            Step::Next => {
                operations.push(Operation::Next);
                continue;
            }
            Step::Drain => {
                operations.push(Operation::Drain);
                continue;
            }
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = pieces.next().unwrap_or(rest.len()).min(rest.len());
            let (piece, after) = rest.split_at(length);
            operations.push(Operation::Push(piece.to_vec()));
            rest = after;
        }
    }
    link_decoder(&operations);
});
