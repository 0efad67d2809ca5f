//! What this host and its kernel went through while a run went on: counters of
//! interfaces and of the kernel by interval, who captured packets, routes.
//!
//! One thread per run, from T0 to the end of the run; it reads, and hands its rows
//! to whoever began it, who delivers them beside those of the flows. Parsers
//! ([`proc`]) and rows ([`rows`]) are pure.

mod captures;
mod proc;
mod rows;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use weir_common::assignment::{Assignment, Peer};
use weir_common::id::RunId;
use weir_common::observation::{KernelCounters, Observed, Route};
use weir_common::record::Entry;
use weir_runtime::HostClock;

use self::captures::Captures;
use self::rows::{KernelReading, Readings, Rows};
use crate::inventory::netlink::{counters, route};

/// How often all processes are looked through for known captures.
const EVERYWHERE_NS: u64 = 10_000_000_000;

/// Targets whose routes are told.
const ROUTES_MOST: usize = 64;

/// Reading counters needs little more than the answer's buffer, which is on the heap.
const STACK_BYTES: usize = 256 << 10;

/// An observation that goes on; dropping it ends it, with what was seen until then.
#[derive(Debug)]
pub(crate) struct Observation {
    stop: Option<mpsc::Sender<()>>,
}

impl Observation {
    /// Ends it; what was seen until then still comes.
    pub(crate) fn end(&mut self) {
        self.stop = None;
    }
}

/// Begins to observe for an assignment whose T0 is known, on a thread of its own.
/// `take` gets every row, and last of all an [`Entry::Observed`], then is dropped.
///
/// # Errors
/// There is no thread left.
pub(crate) fn begin(
    clock: HostClock,
    kernel_boot_id: String,
    assignment: Arc<Assignment>,
    t0_ns: u64,
    take: impl FnMut(Entry) + Send + 'static,
) -> io::Result<Observation> {
    let (stop, stopped) = mpsc::channel();
    thread::Builder::new()
        .name("weir-observe".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let watch = Watch {
                clock,
                assignment,
                t0_ns,
                stopped,
            };
            watch.run(kernel_boot_id, take);
        })?;
    Ok(Observation { stop: Some(stop) })
}

/// The thread's view of its run.
struct Watch {
    clock: HostClock,
    assignment: Arc<Assignment>,
    t0_ns: u64,
    stopped: mpsc::Receiver<()>,
}

impl Watch {
    fn run(self, kernel_boot_id: String, mut take: impl FnMut(Entry)) {
        let going = self.wait_until(0);
        let targets = targets(&self.assignment);
        let mut state = State {
            rows: Rows::begin(
                self.assignment.run,
                kernel_boot_id,
                self.assignment.interval_ns,
                self.now_ns(),
                self.read(),
            ),
            captures: Captures::default(),
            load_milli: None,
            everywhere_ns: None,
        };
        let at_start = routes(&targets);
        self.look(&mut state);
        // Cancelled before it began: nothing was seen.
        let mut going = going;
        while going {
            let cut_ns = state.rows.next_cut_ns().min(self.assignment.end_ns);
            going = self.wait_until(cut_ns);
            for entry in state.rows.cut(self.now_ns(), self.read()) {
                take(entry);
            }
            self.look(&mut state);
            going = going && self.now_ns() < self.assignment.end_ns;
        }
        let observed = self.observed(state, &targets, at_start);
        take(Entry::Observed(Box::new(observed)));
    }

    fn observed(
        &self,
        state: State,
        targets: &[IpAddr],
        at_start: Vec<Option<String>>,
    ) -> Observed {
        let ends = at_start.into_iter().zip(routes(targets));
        let routes = targets.iter().zip(ends);
        Observed {
            run: self.assignment.run,
            links: state.rows.links,
            kernels: state.rows.kernels,
            interfaces_left_out: state.rows.left_out,
            load_milli: state.load_milli,
            observers: state.captures.into_observers(),
            routes: routes
                .map(|(target, (at_start, at_end))| Route {
                    target: target.to_string(),
                    at_start,
                    at_end,
                })
                .collect(),
        }
    }

    /// Now from T0; 0 before it.
    fn now_ns(&self) -> u64 {
        self.clock.now_ns().saturating_sub(self.t0_ns)
    }

    /// Waits until an instant from T0; `false` when it was told to end.
    fn wait_until(&self, from_t0_ns: u64) -> bool {
        let at_ns = self.t0_ns.saturating_add(from_t0_ns);
        loop {
            let left_ns = at_ns.saturating_sub(self.clock.now_ns());
            match self.stopped.recv_timeout(Duration::from_nanos(left_ns)) {
                Err(RecvTimeoutError::Timeout) if self.clock.now_ns() >= at_ns => {
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn read(&self) -> Readings {
        let observe = self.assignment.observe;
        let links = observe.links.then(|| counters::read().unwrap_or_default());
        Readings {
            links: links.unwrap_or_default(),
            kernel: observe.kernel.then(kernel).flatten(),
        }
    }

    /// Looks at who captures and, for the kernel, at everybody and at the load.
    fn look(&self, state: &mut State) {
        state.captures.look_here(interface_name);
        if !self.assignment.observe.kernel {
            return;
        }
        state.load_milli = state
            .load_milli
            .max(proc::load_milli(&text("/proc/loadavg")));
        let now_ns = self.now_ns();
        let last = state.everywhere_ns;
        if last.is_none_or(|last| now_ns.saturating_sub(last) >= EVERYWHERE_NS) {
            state.everywhere_ns = Some(now_ns);
            state.captures.look_everywhere();
        }
    }
}

/// What an observation has come to.
struct State {
    rows: Rows,
    captures: Captures,
    load_milli: Option<u64>,
    everywhere_ns: Option<u64>,
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The kernel's counters since boot.
fn kernel() -> Option<KernelReading> {
    let time = proc::cpu_time(&text("/proc/stat"))?;
    let softnet = proc::softnet(&text("/proc/net/softnet_stat"));
    Some(KernelReading {
        cores: time.cores,
        counters: KernelCounters {
            cpu_us: Some(time.busy_us),
            steal_us: Some(time.steal_us),
            softnet_processed: softnet.map(|softnet| softnet.processed),
            softnet_dropped: softnet.map(|softnet| softnet.dropped),
            softnet_squeezed: softnet.map(|softnet| softnet.squeezed),
            psi_cpu_some_us: proc::pressure_some_us(&text("/proc/pressure/cpu")),
        },
    })
}

/// The best address of each peer.
fn targets(assignment: &Assignment) -> Vec<IpAddr> {
    let mut targets = Vec::new();
    for session in &assignment.sessions {
        let target = match &session.peer {
            Peer::Agent { addresses, .. } => addresses.first().copied(),
            Peer::Address { address, .. } => Some(address.ip()),
        };
        if let Some(target) = target.filter(|target| !targets.contains(target)) {
            targets.push(target);
            if targets.len() == ROUTES_MOST {
                break;
            }
        }
    }
    targets
}

/// The routes to these targets as they are now.
fn routes(targets: &[IpAddr]) -> Vec<Option<String>> {
    let route = |target: &IpAddr| Some(route::to(*target).ok()?.describe(interface_name));
    targets.iter().map(route).collect()
}

/// The name of an interface of this network namespace.
fn interface_name(index: u32) -> Option<String> {
    let readings = counters::read().ok()?;
    Some(readings.get(&index)?.name.clone())
}

/// What the supervisor has going, by run.
pub(crate) type Observations = std::collections::BTreeMap<RunId, Observation>;
