//! Filling a TCP connection with the pattern, the fastest way that the kernel has.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;

use super::error::SocketError;
use super::pattern::{Slices, WRITE_BYTES};
use super::sys;
use super::tcp::{TcpConnection, Transfer};

/// Writes the pattern to one connection and knows how far it is.
///
/// Two ways: `write` copies the pattern; `splice` lends its pages to a pipe
/// (vmsplice) and moves them on to the socket, so that nothing is copied. The kernel
/// reads lent pages until the peer has acknowledged them: they are constant, and so
/// never change under it.
#[derive(Debug)]
pub struct PatternWriter {
    position: u64,
    pipe: Option<Pipe>,
}

/// How a write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// What the connection took.
    pub bytes: u64,
    /// Whether it took all it had room for: wait before the next write.
    pub is_full: bool,
}

impl PatternWriter {
    /// A writer that copies.
    pub fn copying() -> Self {
        Self {
            position: 0,
            pipe: None,
        }
    }

    /// Lends pages from now on, if the host gives a pipe large enough to gain by it;
    /// whether it does. A kernel that cannot splice to the socket shows at the next
    /// write, which then copies, and so do all after it.
    pub fn lend(&mut self) -> bool {
        if self.pipe.is_none() {
            self.pipe = Pipe::new().ok().flatten();
        }
        self.pipe.is_some()
    }

    /// Copies from now on. What the pipe still holds was never part of the stream.
    pub fn copy(&mut self) {
        self.pipe = None;
    }

    /// Bytes that the connection took so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The way in use: `splice` or `write`.
    pub fn call(&self) -> &'static str {
        if self.pipe.is_some() {
            "splice"
        } else {
            "write"
        }
    }

    /// Writes up to `most` bytes, which is not 0, as far as the connection has room;
    /// at most [`WRITE_BYTES`] at once.
    pub fn write(&mut self, connection: &TcpConnection, most: u64) -> Result<Written, SocketError> {
        let most = usize::try_from(most).map_or(WRITE_BYTES, |most| most.min(WRITE_BYTES));
        let (moved, asked) = if let Some(result) = self.splice(connection, most) {
            result?
        } else {
            self.copy();
            let slices = Slices::new(self.position, most);
            (connection.write_vectored(slices.as_slice())?, most)
        };
        let bytes = match moved {
            Transfer::Moved(count) => count,
            Transfer::WouldBlock | Transfer::Closed => 0,
        };
        self.position += bytes as u64;
        Ok(Written {
            bytes: bytes as u64,
            is_full: bytes < asked,
        })
    }

    /// Lends and moves; how that went and how much was to be moved. `None` where it
    /// cannot be done.
    fn splice(
        &mut self,
        connection: &TcpConnection,
        most: usize,
    ) -> Option<Result<(Transfer, usize), SocketError>> {
        let pipe = self.pipe.as_mut()?;
        let asked = pipe.fill(self.position, most).ok()?;
        match connection.splice(&pipe.reader, asked) {
            Ok(moved) => {
                if let Transfer::Moved(count) = moved {
                    pipe.holds -= count;
                }
                Some(Ok((moved, asked)))
            }
            Err(error) => match error.errno() {
                Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => None,
                _ => Some(Err(error)),
            },
        }
    }
}

/// The pattern from the writer's position on, as far as it is lent already.
#[derive(Debug)]
struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
    /// Bytes that it can hold in whole pages.
    size: usize,
    /// Bytes that it holds.
    holds: usize,
}

impl Pipe {
    /// `None` where pipes are too small.
    fn new() -> io::Result<Option<Self>> {
        let (reader, writer) = io::pipe()?;
        let largest = WRITE_BYTES as i32;
        let size = sys::set_pipe_size(writer.as_fd(), largest)
            .or_else(|_| sys::set_pipe_size(writer.as_fd(), SMALLEST_PIPE as i32))?;
        let pipe = Self {
            reader,
            writer,
            size,
            holds: 0,
        };
        Ok((size >= SMALLEST_PIPE).then_some(pipe))
    }

    /// Lends more, so that the pipe holds `most` bytes or as much as it can; how
    /// much of them can be moved.
    fn fill(&mut self, position: u64, most: usize) -> io::Result<usize> {
        let wanted = most.min(self.size);
        if self.holds < wanted {
            let mut lend = wanted - self.holds;
            let from = position + self.holds as u64;
            // Whole pages take one slot of the pipe each. The last ones of a number
            // of bytes need not be whole.
            let over = (from as usize + lend) % PAGE;
            if most == WRITE_BYTES && lend > over {
                lend -= over;
            }
            let slices = Slices::new(from, lend);
            match sys::lend(self.writer.as_fd(), slices.as_slice()) {
                Ok(count) => self.holds += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.holds > 0 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.holds.min(most))
    }
}

/// Below it a pipe costs more calls than copying.
const SMALLEST_PIPE: usize = 256 << 10;

const PAGE: usize = 4096;
