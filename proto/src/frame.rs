//! Frames of `weir.peer.v1` on a byte stream: the length of the message as 4
//! bytes, the highest first, and the message.

use prost::Message as _;

use crate::peer::v1::Frame;

/// Version of the messages; a peer of another one is told so and left.
pub const VERSION: u16 = 1;
/// Longest message, bytes: an assignment of some thousand sessions.
pub const LENGTH_MAX: usize = 1 << 20;

const HEAD: usize = 4;

/// Why bytes are no frame, or a message does not become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It would be longer than [`LENGTH_MAX`].
    #[error("a message of {0} bytes is longer than the {LENGTH_MAX} that a frame holds")]
    Length(usize),
    /// The bytes are no message.
    #[error("a frame holds no message that this version knows")]
    Message,
}

/// The bytes of a frame.
///
/// # Errors
/// The message is longer than a frame may be.
pub fn encode(frame: &Frame) -> Result<Vec<u8>, FrameError> {
    let length = frame.encoded_len();
    if length > LENGTH_MAX {
        return Err(FrameError::Length(length));
    }
    let mut bytes = Vec::with_capacity(HEAD + length);
    bytes.extend((length as u32).to_be_bytes());
    frame
        .encode(&mut bytes)
        .expect("a vector has room for what it was made for");
    Ok(bytes)
}

/// Reads a frame off the front of what has arrived so far, with the bytes that
/// it took; `None` if more are needed.
///
/// # Errors
/// The length is out of bounds, which is said before the frame is there, or the
/// bytes are no message, or one without a kind that this version knows.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*head) as usize;
    if length > LENGTH_MAX {
        return Err(FrameError::Length(length));
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    match Frame::decode(body) {
        Ok(frame) if frame.message.is_some() => Ok(Some((frame, HEAD + length))),
        Ok(_) | Err(_) => Err(FrameError::Message),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::v1 as pb;
    use crate::peer::v1::frame::Message;

    fn frame(message: Message) -> Frame {
        Frame {
            message: Some(message),
        }
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let session = (any::<u32>(), any::<u32>());
        prop_oneof![
            (".{0,40}", any::<bool>()).prop_map(|(name, generates)| Message::Hello(pb::Hello {
                name,
                generates,
                ..pb::Hello::default()
            })),
            any::<u64>().prop_map(|mono_ns| Message::Start(pb::Start { mono_ns })),
            ".{0,40}".prop_map(|reason| Message::Stop(pb::Stop { reason })),
            session.prop_map(|(session, port)| Message::Session(pb::SessionNews {
                session,
                state: Some(pb::session_news::State::ListeningPort(port)),
            })),
            Just(Message::Finished(pb::Finished {})),
        ]
        .prop_map(frame)
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_the_frame_is_there() {
        let length = (LENGTH_MAX as u32 + 1).to_be_bytes();
        assert_eq!(decode(&length), Err(FrameError::Length(LENGTH_MAX + 1)));
        let long = frame(Message::Outcome(pb::Outcome {
            result_json: "x".repeat(LENGTH_MAX),
        }));
        assert!(matches!(encode(&long), Err(FrameError::Length(_))));
    }

    #[test]
    fn an_empty_message_or_one_of_another_kind_is_refused() {
        assert_eq!(decode(&[0, 0, 0, 0]), Err(FrameError::Message));
        // Field 99, a length-delimited one of no bytes.
        assert_eq!(
            decode(&[0, 0, 0, 3, 0x9a, 0x06, 0]),
            Err(FrameError::Message)
        );
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_once_it_is_complete(
            frame in any_frame(), more in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let bytes = encode(&frame).unwrap();
            for length in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..length]), Ok(None));
            }
            let all = [bytes.clone(), more].concat();
            prop_assert_eq!(decode(&all), Ok(Some((frame, bytes.len()))));
        }

        #[test]
        fn changed_and_random_bytes_never_panic(
            frame in any_frame(), at: prop::sample::Index, byte: u8,
            random in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = encode(&frame).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for bytes in [bytes, random] {
                if let Ok(Some((_, length))) = decode(&bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
        }
    }
}
