//! What holds for whatever bytes a parser is given; a violation panics.
//!
//! The property tests beside this file and the fuzz targets in `fuzz/` share it.

use weir_wire::link::{MAX_BODY_BYTES, MAX_COHORTS, MAX_DOMAIN_BYTES};
use weir_wire::{
    Answer, LinkDecoder, LinkError, LinkMessage, Preamble, ProbeHeader, handshake, probe_header,
};

/// Bytes of the length before a message.
const PREFIX_BYTES: usize = 4;

/// A header that can be read is written as it was, and no other byte matters.
pub fn probe_header(payload: &[u8]) {
    let Ok(header) = ProbeHeader::decode(payload) else {
        return;
    };
    let head = if payload.len() < probe_header::LENGTH {
        probe_header::SHORT_LENGTH
    } else {
        probe_header::LENGTH
    };
    assert_eq!(header.send_ns.is_some(), head == probe_header::LENGTH);
    assert!(header.sequence <= probe_header::MAX_SEQUENCE);
    let mut written = payload.to_vec();
    written[..head].fill(0);
    assert_eq!(header.encode(&mut written), Ok(head));
    assert_eq!(written, payload);
}

/// A preamble that can be read is written as it was; what was asked to be waited
/// for, or refused, does not depend on how much of it has come.
pub fn handshake(bytes: &[u8]) {
    for byte in bytes {
        if let Ok(answer) = Answer::decode(*byte) {
            assert_eq!(answer.encode(), *byte);
        }
    }
    let whole = Preamble::decode(bytes);
    if let Ok(Some((preamble, length))) = whole {
        assert!(length <= handshake::MAX_LENGTH);
        assert_eq!(preamble.encode(), &bytes[..length]);
    }
    for come in 0..bytes.len().min(2 * handshake::MAX_LENGTH) {
        let said = Preamble::decode(&bytes[..come]);
        assert!(said == Ok(None) || said == whole, "{said:?} then {whole:?}");
    }
}

/// A message that can be read is within its bounds and is written as it was.
pub fn link_message(bytes: &[u8]) {
    let Ok(Some((message, length))) = LinkMessage::decode(bytes) else {
        return;
    };
    assert!(length <= PREFIX_BYTES + MAX_BODY_BYTES);
    within_bounds(&message);
    let mut written = Vec::new();
    assert_eq!(message.encode(&mut written), Ok(()));
    assert_eq!(written, &bytes[..length]);
}

fn within_bounds(message: &LinkMessage) {
    match message {
        LinkMessage::Final(last) => {
            assert!(last.cohorts.len() <= MAX_COHORTS);
            // A vector may have twice the room that it needs.
            assert!(last.cohorts.capacity() <= 2 * MAX_COHORTS);
        }
        LinkMessage::Attach(attach) => assert!(attach.domain.capacity() <= MAX_DOMAIN_BYTES),
        LinkMessage::Totals(_)
        | LinkMessage::ClockQuestion { .. }
        | LinkMessage::ClockAnswer(_)
        | LinkMessage::Bye => {}
    }
}

/// What is done to a decoder.
#[derive(Debug, Clone)]
pub enum Operation {
    /// These bytes arrive.
    Push(Vec<u8>),
    /// One message is asked for.
    Next,
    /// Messages are asked for until there is none.
    Drain,
}

/// However the stream is cut and whenever it is read, the same messages come out
/// of it as when it is read whole, and then the same error.
pub fn link_decoder(operations: &[Operation]) {
    let mut decoder = LinkDecoder::new();
    let mut stream = Vec::new();
    let mut decoded = Vec::new();
    let mut failed = None;
    for operation in operations {
        match operation {
            Operation::Push(bytes) => {
                decoder.push(bytes);
                stream.extend_from_slice(bytes);
            }
            Operation::Next => {
                next(&mut decoder, &mut decoded, &mut failed);
            }
            Operation::Drain => while next(&mut decoder, &mut decoded, &mut failed) {},
        }
    }
    while next(&mut decoder, &mut decoded, &mut failed) {}
    let (messages, rest) = read_whole(&stream);
    assert_eq!(decoded, messages);
    assert_eq!(failed, rest.err());
    assert_eq!(decoder.is_mid_message(), rest.is_ok_and(|left| left > 0));
}

/// Asks for a message; an error is the same for ever.
fn next(
    decoder: &mut LinkDecoder,
    decoded: &mut Vec<LinkMessage>,
    failed: &mut Option<LinkError>,
) -> bool {
    match decoder.next_message() {
        Ok(message) => {
            assert_eq!(*failed, None, "no message after an error");
            let more = message.is_some();
            decoded.extend(message);
            more
        }
        Err(error) => {
            assert!(failed.is_none_or(|before| before == error));
            *failed = Some(error);
            false
        }
    }
}

/// The messages of a stream, and how many bytes of an unfinished one follow.
fn read_whole(stream: &[u8]) -> (Vec<LinkMessage>, Result<usize, LinkError>) {
    let (mut rest, mut messages) = (stream, Vec::new());
    loop {
        match LinkMessage::decode(rest) {
            Ok(Some((message, length))) => {
                assert!(length > PREFIX_BYTES, "every message takes bytes");
                messages.push(message);
                rest = &rest[length..];
            }
            Ok(None) => return (messages, Ok(rest.len())),
            Err(error) => return (messages, Err(error)),
        }
    }
}
