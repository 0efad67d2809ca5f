//! What the agent asks of the engine, as narrow as tests need it.

use std::fmt;
use std::sync::Arc;

use weir_common::assignment::Assignment;
use weir_common::id::SessionId;
use weir_engine::engine::{Engine, RunHandle, Sink};

/// Turns assignments into traffic.
pub trait Traffic: Send + Sync {
    /// Binds and resolves, and starts to reach peers. May block; events of the
    /// run go to `sink` until `Finished`.
    ///
    /// # Errors
    /// A sentence: why nothing of the assignment can be prepared.
    fn prepare(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, String>;
}

/// One assignment within the engine. No call blocks.
pub trait Running: Send + Sync {
    /// The listening peer of a session was found at this port.
    fn set_target(&self, session: SessionId, port: u16);
    /// This session will not start.
    fn exclude(&self, session: SessionId);
    /// T0 by the host's monotonic clock, ns; may be past.
    fn start(&self, t0_mono_ns: u64);
    /// End now; idempotent.
    fn stop(&self, reason: &str);
    /// Whether `Finished` was or is about to be reported.
    fn is_finished(&self) -> bool;
}

impl fmt::Debug for dyn Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traffic")
    }
}

impl fmt::Debug for dyn Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl Traffic for Engine {
    fn prepare(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, String> {
        match Engine::prepare(self, assignment, sink) {
            Ok(run) => Ok(Box::new(run)),
            Err(error) => Err(crate::supervisor::chain(&error)),
        }
    }
}

impl Running for RunHandle {
    fn set_target(&self, session: SessionId, port: u16) {
        RunHandle::set_target(self, session, port);
    }

    fn exclude(&self, session: SessionId) {
        RunHandle::exclude(self, session);
    }

    fn start(&self, t0_mono_ns: u64) {
        RunHandle::start(self, t0_mono_ns);
    }

    fn stop(&self, reason: &str) {
        RunHandle::stop(self, reason);
    }

    fn is_finished(&self) -> bool {
        RunHandle::is_finished(self)
    }
}
