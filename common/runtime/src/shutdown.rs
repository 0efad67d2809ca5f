//! One way to end: a request that every task sees, and a wait for them all
//! that has an end of its own.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request to end and the tasks that have to.
///
/// Clones share both. Order: [`spawn`](Self::spawn) any number of tasks, then
/// [`request`](Self::request), then [`finish`](Self::finish).
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Not requested, without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests the end when the process gets SIGINT or SIGTERM.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = self.token.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                () = token.cancelled() => return,
            };
            tracing::info!(signal = name, "ending");
            token.cancel();
        });
        Ok(())
    }

    /// Runs a task that [`finish`](Self::finish) waits for. It ends by itself
    /// once the end is requested.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Requests the end; idempotent.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether the end is requested.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for the request. Cancel-safe.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The token itself, for code that takes one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Requests the end and waits for all tasks, at most `grace`. Returns
    /// whether all have ended.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn finish_waits_for_tasks_that_listen() {
        block_on(async {
            let shutdown = Shutdown::new();
            let listener = shutdown.clone();
            shutdown.spawn(async move { listener.requested().await });
            assert!(!shutdown.is_requested());
            assert!(shutdown.finish(Duration::from_secs(60)).await);
        });
    }

    #[test]
    fn finish_ends_when_a_task_does_not() {
        block_on(async {
            let shutdown = Shutdown::new();
            shutdown.spawn(std::future::pending::<()>());
            assert!(!shutdown.finish(Duration::from_millis(10)).await);
        });
    }
}
