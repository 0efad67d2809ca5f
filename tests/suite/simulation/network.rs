//! Connections: what is sent arrives in order, later, or not any more.

use std::collections::VecDeque;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe<T> {
    on_the_way: VecDeque<(u64, T)>,
    last_ms: u64,
}

impl<T> Default for Pipe<T> {
    fn default() -> Self {
        Self {
            on_the_way: VecDeque::new(),
            last_ms: 0,
        }
    }
}

impl<T> Pipe<T> {
    /// Sends; it arrives then, or after what was sent before.
    pub(super) fn send(&mut self, at_ms: u64, message: T) {
        self.last_ms = self.last_ms.max(at_ms);
        self.on_the_way.push_back((self.last_ms, message));
    }

    /// What has arrived.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<T> {
        let due = self
            .on_the_way
            .front()
            .is_some_and(|(at_ms, _)| *at_ms <= now_ms);
        if !due {
            return None;
        }
        self.on_the_way.pop_front().map(|(_, message)| message)
    }

    /// All but the first messages are lost.
    pub(super) fn cut(&mut self, kept: usize) {
        self.on_the_way.truncate(kept);
    }

    /// Messages on their way.
    pub(super) fn len(&self) -> usize {
        self.on_the_way.len()
    }
}
