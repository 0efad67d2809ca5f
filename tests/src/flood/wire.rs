//! HTTP/2 (RFC 9113) as bytes: frames that a client may send, and many that it
//! may not.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weir_runtime::Endpoint;

use crate::Socket;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames (RFC 9113 section 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
    /// None that is known.
    pub const UNKNOWN: u8 = 0xfa;
}

/// Flags of frames.
pub mod flag {
    /// END_STREAM.
    pub const END_STREAM: u8 = 1;
    /// END_HEADERS.
    pub const END_HEADERS: u8 = 4;
}

/// How long a write may wait for a server that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the server has sent.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Frames by their kind.
    pub frames: BTreeMap<u8, u64>,
    /// Error code of its GOAWAY.
    pub goaway: Option<u32>,
    /// When it closed the connection.
    pub closed: Option<Instant>,
}

/// A client that writes frames, with a thread that reads what comes back.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    pending: Vec<u8>,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

impl Wire {
    /// Connects, and says preface and settings.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(endpoint: &Endpoint, settings: &[(u16, u32)]) -> io::Result<Self> {
        let socket = Socket::connect(endpoint)?;
        socket.set_write_timeout(PATIENCE)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (from, into) = (socket.try_clone()?, Arc::clone(&seen));
        let reader = thread::spawn(move || read(from, &into));
        let mut wire = Self {
            socket,
            pending: PREFACE.to_vec(),
            seen,
            reader: Some(reader),
        };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        wire.frame(kind::SETTINGS, 0, 0, &payload);
        wire.flush()?;
        Ok(wire)
    }

    /// Puts a frame behind those that wait to be written.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        self.pending.extend_from_slice(&length[1..]);
        self.pending.extend_from_slice(&[kind, flags]);
        self.pending.extend_from_slice(&stream.to_be_bytes());
        self.pending.extend_from_slice(payload);
    }

    /// Writes the frames that wait.
    ///
    /// # Errors
    /// The server has closed, or does not read.
    pub fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.socket.write_all(&pending)
    }

    /// What has come back so far.
    pub fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.socket.shutdown();
        if let Some(reader) = self.reader.take() {
            // It ends with the connection.
            reader.join().ok();
        }
    }
}

/// Reads frames until the connection ends.
fn read(mut from: Socket, into: &Mutex<Seen>) {
    let note = |change: &dyn Fn(&mut Seen)| {
        change(&mut into.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let mut head = [0; 9];
    let mut payload = Vec::new();
    while from.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        payload.resize(length as usize, 0);
        if from.read_exact(&mut payload).is_err() {
            break;
        }
        let code = (head[3] == kind::GOAWAY)
            .then(|| payload.get(4..8))
            .flatten();
        let code = code
            .and_then(|code| code.try_into().ok())
            .map(u32::from_be_bytes);
        note(&|seen| {
            *seen.frames.entry(head[3]).or_default() += 1;
            seen.goaway = seen.goaway.or(code);
        });
    }
    note(&|seen| seen.closed = Some(Instant::now()));
}

/// A header block (RFC 7541) of a call: literals that enter no table.
pub fn headers(path: Option<&str>) -> Vec<u8> {
    // :method POST and :scheme http are entries 3 and 6 of the static table.
    let mut block = vec![0x83, 0x86];
    if let Some(path) = path {
        block.push(0x04);
        text(&mut block, path);
    }
    block.push(0x01);
    text(&mut block, "controller");
    header(&mut block, "content-type", "application/grpc");
    header(&mut block, "te", "trailers");
    block
}

/// One header.
pub fn header(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x00);
    text(block, name);
    text(block, value);
}

/// A string of at most 16 kB, not Huffman-coded (RFC 7541 section 5.2).
fn text(block: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}
