//! A way between an agent and its controller that goes wrong when told to: it holds
//! what travels, slows it down, flips a bit, ends connections, or ends them within a
//! message.
//!
//! It passes bytes on, over unix sockets or over TCP, and knows nothing of what they
//! mean: TLS goes through it from end to end. What a silent partition does to TCP,
//! holding does here: neither end hears anything, not even that the other has closed.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use weir_runtime::Endpoint;

use crate::Socket;

/// Bytes taken at once, and chunks between reader and writer of one direction.
const CHUNK: usize = 2_048;
const QUEUE: usize = 32;
/// Between two looks for a connection.
const LOOK: Duration = Duration::from_millis(5);

/// What happens to one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Way {
    /// Nothing is read and nothing is passed on.
    pub hold: bool,
    /// Bytes a second of all connections together.
    pub bytes_per_s: Option<u64>,
    /// How long each chunk is under way.
    pub delay: Duration,
    /// Up to so much longer, a time of its own for each chunk; the order stays.
    pub jitter: Duration,
}

/// What happens to the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// From the agent to the controller.
    pub up: Way,
    /// From the controller to the agent.
    pub down: Way,
    /// Every connection is ended, and every new one at once.
    pub reset: bool,
}

impl Fault {
    /// Nothing passes, and nobody is told.
    pub fn partition() -> Self {
        let way = Way {
            hold: true,
            ..Way::default()
        };
        Self {
            up: way,
            down: way,
            reset: false,
        }
    }
}

/// What has passed and what was done, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Connections taken.
    pub connections: u64,
    /// Of them, those that were ended at once.
    pub refused: u64,
    /// Bytes from agents.
    pub up_bytes: u64,
    /// Bytes to agents.
    pub down_bytes: u64,
    /// How often all connections were ended in mid-message.
    pub cuts: u64,
    /// Bits flipped.
    pub flips: u64,
}

/// A faulty way to a socket. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    endpoint: String,
}

#[derive(Debug)]
enum Listening {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listening {
    /// A connection, if one waits.
    fn accept(&self) -> Option<Socket> {
        match self {
            Self::Unix(listener) => Some(Socket::Unix(listener.accept().ok()?.0)),
            Self::Tcp(listener) => Some(Socket::Tcp(listener.accept().ok()?.0)),
        }
    }
}

#[derive(Debug)]
struct Shared {
    target: Endpoint,
    fault: Mutex<Fault>,
    changed: Condvar,
    /// Bytes from agents that still pass before everything is cut.
    budget: Mutex<Option<u64>>,
    /// Bytes that still pass before a bit is flipped: up, down.
    flip: [Mutex<Option<u64>>; 2],
    sockets: Mutex<Vec<Socket>>,
    /// When a direction of limited rate is free again: up, down.
    free: [Mutex<Instant>; 2],
    passed: [AtomicU64; 2],
    connections: AtomicU64,
    refused: AtomicU64,
    cuts: AtomicU64,
    flips: AtomicU64,
    ended: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens at `path` and passes everything on to the unix socket `target`.
    ///
    /// # Panics
    /// When it cannot listen there.
    pub fn start(path: &Path, target: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket of our own");
        listener.set_nonblocking(true).expect("a socket");
        let endpoint = format!("unix:{}", path.display());
        let target = Endpoint::Unix(target.to_owned());
        Self::of(Listening::Unix(listener), endpoint, target)
    }

    /// Listens on loopback, for who speaks TLS, and passes everything on to `target`.
    ///
    /// # Panics
    /// When it cannot listen there.
    pub fn start_tls(target: &Endpoint) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("a bound socket").port();
        let endpoint = format!("tls://127.0.0.1:{port}");
        Self::of(Listening::Tcp(listener), endpoint, target.clone())
    }

    fn of(listener: Listening, endpoint: String, target: Endpoint) -> Self {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            target,
            fault: Mutex::default(),
            changed: Condvar::new(),
            budget: Mutex::default(),
            flip: Default::default(),
            sockets: Mutex::default(),
            free: [Mutex::new(now), Mutex::new(now)],
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            flips: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let taking = Arc::clone(&shared);
        thread::spawn(move || taking.take(&listener));
        Self { shared, endpoint }
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// What happens to the link from now on.
    pub fn set(&self, fault: Fault) {
        *locked(&self.shared.fault) = fault;
        self.shared.changed.notify_all();
        if fault.reset {
            self.shared.cut();
        }
    }

    /// All is well again.
    pub fn heal(&self) {
        self.set(Fault::default());
    }

    /// After so many bytes more from the agents all connections are ended.
    pub fn cut_after(&self, bytes: u64) {
        *locked(&self.shared.budget) = Some(bytes);
    }

    /// After so many bytes more of one direction, from agents if `up`, a bit of the
    /// next one is flipped.
    pub fn flip_after(&self, bytes: u64, up: bool) {
        *locked(&self.shared.flip[usize::from(!up)]) = Some(bytes);
    }

    /// What has passed.
    pub fn passed(&self) -> Passed {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Passed {
            connections: count(&shared.connections),
            refused: count(&shared.refused),
            up_bytes: count(&shared.passed[0]),
            down_bytes: count(&shared.passed[1]),
            cuts: count(&shared.cuts),
            flips: count(&shared.flips),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        self.shared.cut();
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn way(&self, up: bool) -> Way {
        let fault = locked(&self.fault);
        if up { fault.up } else { fault.down }
    }

    /// Waits while the direction is held; `false` at the end.
    fn gate(&self, up: bool) -> bool {
        let is_held = |fault: &mut Fault| {
            let way = if up { fault.up } else { fault.down };
            way.hold && !self.has_ended()
        };
        drop(self.changed.wait_while(locked(&self.fault), is_held));
        !self.has_ended()
    }

    fn cut(&self) {
        for socket in locked(&self.sockets).drain(..) {
            socket.shutdown();
        }
    }

    fn take(self: Arc<Self>, listener: &Listening) {
        while !self.has_ended() {
            // During a partition the kernel keeps those that come.
            let held = self.way(true).hold && self.way(false).hold;
            let Some(agent) = (!held).then(|| listener.accept()).flatten() else {
                thread::sleep(LOOK);
                continue;
            };
            self.connections.fetch_add(1, Ordering::Relaxed);
            if locked(&self.fault).reset {
                self.refused.fetch_add(1, Ordering::Relaxed);
            } else if let Err(error) = self.join(agent) {
                // The controller is not there; the agent hears an end of its connection.
                debug_assert_ne!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            }
        }
    }

    fn join(self: &Arc<Self>, agent: Socket) -> io::Result<()> {
        agent.set_blocking()?;
        let controller = Socket::connect(&self.target)?;
        {
            let mut sockets = locked(&self.sockets);
            sockets.push(agent.try_clone()?);
            sockets.push(controller.try_clone()?);
        }
        self.pump(agent.try_clone()?, controller.try_clone()?, true);
        self.pump(controller, agent, false);
        Ok(())
    }

    /// One direction of one connection, on two threads.
    fn pump(self: &Arc<Self>, mut from: Socket, to: Socket, up: bool) {
        let (pass, chunks) = mpsc::sync_channel(QUEUE);
        let (reading, writing) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || reading.read(&mut from, &pass, up));
        thread::spawn(move || writing.write(&chunks, to, up));
    }

    fn read(&self, from: &mut Socket, pass: &SyncSender<(Instant, Vec<u8>)>, up: bool) {
        let mut dice = self.connections.load(Ordering::Relaxed);
        loop {
            let mut chunk = vec![0; CHUNK];
            if !self.gate(up) {
                return;
            }
            let read = from.read(&mut chunk).unwrap_or(0);
            let way = self.way(up);
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let share = (dice >> 40) as f64 / (1_u64 << 24) as f64;
            let due = Instant::now() + way.delay + way.jitter.mul_f64(share);
            chunk.truncate(read);
            // An end travels as the bytes before it do.
            if pass.send((due, chunk)).is_err() || read == 0 {
                return;
            }
        }
    }

    fn write(&self, chunks: &Receiver<(Instant, Vec<u8>)>, mut to: Socket, up: bool) {
        while let Ok((due, mut chunk)) = chunks.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if !self.gate(up) {
                break;
            }
            if chunk.is_empty() {
                to.shutdown();
                return;
            }
            self.wait_for_rate(chunk.len(), up);
            self.flip(&mut chunk, up);
            let cut = up && self.spend(&mut chunk);
            if to.write_all(&chunk).is_ok() {
                self.passed[usize::from(!up)].fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            if cut {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                self.cut();
            }
        }
    }

    /// Keeps a direction to its rate: all its connections wait for one another.
    fn wait_for_rate(&self, bytes: usize, up: bool) {
        let Some(rate) = self.way(up).bytes_per_s else {
            return;
        };
        let due = {
            let mut free = locked(&self.free[usize::from(!up)]);
            let begins = (*free).max(Instant::now());
            *free = begins + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            *free
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    /// Flips the bit that is due in this chunk, if one is.
    fn flip(&self, chunk: &mut [u8], up: bool) {
        let mut due = locked(&self.flip[usize::from(!up)]);
        let Some(left) = *due else {
            return;
        };
        if let Some(byte) = chunk.get_mut(left as usize) {
            *byte ^= 1;
            *due = None;
            self.flips.fetch_add(1, Ordering::Relaxed);
        } else {
            *due = Some(left - chunk.len() as u64);
        }
    }

    /// Shortens a chunk to what may still pass; whether that is the end.
    fn spend(&self, chunk: &mut Vec<u8>) -> bool {
        let mut budget = locked(&self.budget);
        let Some(left) = *budget else {
            return false;
        };
        let length = chunk.len() as u64;
        if length < left {
            *budget = Some(left - length);
            return false;
        }
        chunk.truncate(left as usize);
        *budget = None;
        true
    }
}

#[cfg(test)]
mod tests;
