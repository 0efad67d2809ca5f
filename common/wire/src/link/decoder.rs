//! Messages out of a byte stream that arrives in pieces.

use super::{LinkError, LinkMessage};

/// Collects the bytes of a flow link and yields its messages.
///
/// Call [`push`](Self::push) with what was read, then
/// [`next_message`](Self::next_message) until it yields none: then at most one
/// unfinished message is kept, so memory is bounded by the largest message and
/// one read. After an error every further call gives the same error.
#[derive(Debug, Clone, Default)]
pub struct LinkDecoder {
    bytes: Vec<u8>,
    /// Bytes at the front that were yielded already.
    used: usize,
    failed: Option<LinkError>,
}

impl LinkDecoder {
    /// Holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes from the connection; drops them after an error.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.bytes.drain(..self.used);
            self.used = 0;
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The next whole message; `None` if more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<LinkMessage>, LinkError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match LinkMessage::decode(&self.bytes[self.used..]) {
            Ok(Some((message, length))) => {
                self.used += length;
                Ok(Some(message))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.bytes = Vec::new();
                self.used = 0;
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Whether a message has begun that is not complete: an end of the stream
    /// now would cut it.
    pub fn is_mid_message(&self) -> bool {
        self.used < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_BODY_BYTES;
    use super::*;

    #[test]
    fn no_more_is_held_than_a_message_and_a_read() {
        const READ: usize = 1_000;
        const MOST: usize = MAX_BODY_BYTES + 4 + READ;
        let bye = [0, 0, 0, 2, 1, 3];
        // The longest frame that may be announced, of a type that there is not.
        let mut long = (MAX_BODY_BYTES as u32).to_be_bytes().to_vec();
        long.extend([1, 9]);
        long.resize(4 + MAX_BODY_BYTES, 0);
        let stream = [bye.repeat(20_000), long].concat();
        let mut decoder = LinkDecoder::new();
        let (mut messages, mut refused) = (0, 0);
        for piece in stream.chunks(READ) {
            decoder.push(piece);
            while let Some(message) = decoder.next_message().unwrap_or_else(|error| {
                assert_eq!(error, LinkError::UnknownType(9));
                refused += 1;
                None
            }) {
                assert_eq!(message, LinkMessage::Bye);
                messages += 1;
            }
            // A vector may have twice the room that it needs.
            let room = decoder.bytes.capacity();
            assert!(room <= 2 * MOST, "{room} bytes held");
        }
        assert_eq!((messages, refused), (20_000, 1));
        decoder.push(&stream);
        assert_eq!(
            decoder.bytes.capacity(),
            0,
            "nothing is held after an error"
        );
    }
}
