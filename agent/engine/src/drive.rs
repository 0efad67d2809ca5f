//! Who calls whom while traffic flows.
//!
//! A stream ([`Stream`]) is a state machine that never waits: a *step* does what
//! can be done now and says what it waits for ([`Next`]). A driver calls it again
//! then. [`alone`] drives one stream on the calling thread, a [`crew`] of a few
//! threads many, with whatever else waits for sockets and instants ([`Task`]).
//!
//! ```text
//!            ┌── Again ──┐
//!            ▼           │
//!  driver ─ step(now) ───┼── At(t) ─────── until the clock reads t ──┐
//!            ▲           ├── Readable(t), Writable(t) ─ or the socket ┤
//!            │           └── Done ─ the stream is dropped             │
//!            └────────────────── or the run is stopped ◄──────────────┘
//! ```

mod agenda;
mod crew;

use std::os::fd::BorrowedFd;

use weir_wire::probe_header::LENGTH;

pub(crate) use self::crew::{Alarm, Crew, CrewError, Task};
use crate::clock::Clock;
use crate::meter::host::HostMeter;
use crate::pacer::{EarlyWake, Precision};
use crate::run::Run;
use crate::socket::{BUNDLE_BYTES, ReceiveBatch};
use crate::wait::{approach, wait_readable, wait_until, wait_writable};

/// What a stream waits for. Instants are host monotonic nanoseconds.
///
/// Whatever it is, a stop of the run ends the wait, and a driver may step too
/// early: a step that finds nothing to do says again what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: there is more to do at once.
    Again,
    /// The instant.
    At(u64),
    /// Something to read, at most until the instant.
    Readable(u64),
    /// Room to write, at most until the instant.
    Writable(u64),
    /// Any of a task's sockets as [`Task::sockets`] lists them, at most until the
    /// instant.
    Sockets(u64),
    /// Everything is sent, counted and closed; no step follows.
    Done,
}

/// One end of one stream.
pub(crate) trait Stream: Send {
    /// Does what is due at `now_ns` (host monotonic) without waiting, in bounded
    /// time: one call's worth of datagrams or one write, one row.
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next;

    /// The socket that [`Next::Readable`] and [`Next::Writable`] speak of.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Where the CPU time of its steps is counted.
    fn host(&mut self) -> &mut HostMeter;

    /// How [`Next::At`] is waited for by a driver that has no other stream.
    fn precision(&self) -> Precision {
        Precision::Sleep
    }
}

/// Memory that a step uses and leaves to the next, of whichever stream.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    datagrams: Option<ReceiveBatch>,
    bundles: Option<ReceiveBatch>,
    payload: Vec<u8>,
}

/// Datagrams a call: enough to share its cost, few enough to keep them in cache.
const SLOTS: usize = 64;

/// Bundles a call; each holds up to 64 datagrams.
const BUNDLE_SLOTS: usize = 8;

/// Fits the cache of a core, and shares a call's cost among many segments.
const PAYLOAD_BYTES: usize = 256 << 10;

impl Scratch {
    /// Where datagrams are received, bundled (GRO) or not, and how many fit a call.
    pub(crate) fn batch(&mut self, gro: bool) -> (&mut ReceiveBatch, usize) {
        let (batch, slots, bytes) = if gro {
            (&mut self.bundles, BUNDLE_SLOTS, BUNDLE_BYTES)
        } else {
            (&mut self.datagrams, SLOTS, LENGTH)
        };
        let batch = batch.get_or_insert_with(|| ReceiveBatch::new(slots, bytes));
        (batch, slots)
    }

    /// Where payload is read to be looked at.
    pub(crate) fn payload(&mut self) -> &mut [u8] {
        self.payload.resize(PAYLOAD_BYTES, 0);
        &mut self.payload
    }
}

/// Drives a stream to its end on the calling thread.
pub(crate) fn alone(run: &Run, stream: &mut impl Stream) {
    let clock: &dyn Clock = &*run.config.clock;
    let mut scratch = Scratch::default();
    let mut early = EarlyWake::new(stream.precision());
    loop {
        let next = stream.step(clock.now_ns(), &mut scratch);
        // After a stop the waker stays readable: only the clock counts then.
        let stop = (!run.is_stopped()).then_some(&run.stop);
        match (next, stop) {
            (Next::Again, _) => {}
            (Next::At(at_ns), Some(stop)) => {
                wait_until(clock, stop, at_ns, &mut early);
            }
            (Next::At(at_ns), None) => approach(clock, at_ns, &mut early),
            (Next::Readable(until_ns) | Next::Sockets(until_ns), stop) => {
                wait_readable(clock, &stream.socket(), stop, until_ns);
            }
            (Next::Writable(until_ns), stop) => {
                wait_writable(clock, &stream.socket(), stop, until_ns);
            }
            (Next::Done, _) => return,
        }
    }
}
