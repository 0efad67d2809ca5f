//! Frames over one TCP connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_proto::frame::{self, FrameError};
use weir_proto::peer::v1::Frame;
use weir_proto::peer::v1::frame::Message;

/// What may wait to be written: some hours of rows, or a peer that reads nothing.
const QUEUED_MOST: usize = 16 << 20;
/// How long closing waits for what is still to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Bytes read at once, at least.
const READ_BYTES: usize = 16 << 10;

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The network or the kernel ended it.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The peer sends what is no frame.
    #[error("the peer does not keep to the protocol")]
    Protocol(#[from] FrameError),
    /// The peer reads too slowly.
    #[error("the peer does not take what is sent to it: {QUEUED_MOST} bytes wait")]
    Full,
}

/// One connection with a peer. Writing never waits: a task of its own does.
#[derive(Debug)]
pub(super) struct Channel {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
    out: mpsc::UnboundedSender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    writer: JoinHandle<()>,
}

impl Channel {
    /// Takes a connection over behind its preamble and answer.
    pub(super) fn new(stream: TcpStream) -> Self {
        // Frames are small and few, and some of them measure the way there and back.
        let _best_effort = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let (out, frames) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let writer = tokio::spawn(write_all(write, frames, Arc::clone(&queued)));
        Self {
            read,
            buffer: Vec::new(),
            out,
            queued,
            writer,
        }
    }

    /// Sends a message, soon.
    ///
    /// # Errors
    /// It is too long, too much waits already, or the connection is gone.
    pub(super) fn send(&self, message: Message) -> Result<(), ChannelError> {
        let bytes = frame::encode(&Frame {
            message: Some(message),
        })?;
        if self.queued.load(Ordering::Relaxed) > QUEUED_MOST {
            return Err(ChannelError::Full);
        }
        self.queued.fetch_add(bytes.len(), Ordering::Relaxed);
        self.out.send(bytes).map_err(|_| ChannelError::Closed)
    }

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// The connection ended, or the peer does not keep to the protocol.
    pub(super) async fn receive(&mut self) -> Result<Message, ChannelError> {
        loop {
            if let Some((frame, length)) = frame::decode(&self.buffer)? {
                self.buffer.drain(..length);
                return frame.message.ok_or(FrameError::Message.into());
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.read.read_buf(&mut self.buffer).await;
            if read.map_err(ChannelError::Broken)? == 0 {
                return Err(ChannelError::Closed);
            }
        }
    }

    /// Writes what is left, and closes.
    pub(super) async fn close(self) {
        drop(self.out);
        let _late = tokio::time::timeout(FLUSH_LIMIT, self.writer).await;
    }
}

async fn write_all(
    mut write: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    queued: Arc<AtomicUsize>,
) {
    while let Some(bytes) = frames.recv().await {
        if write.write_all(&bytes).await.is_err() {
            // The reading side tells why.
            return;
        }
        queued.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
    let _gone = write.shutdown().await;
}
