//! Ctrl-C: the first one asks a run to end, the second one leaves at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Requests of a person or the system to end. Each call of [`next`](Self::next) takes one.
#[derive(Debug)]
pub(crate) struct Interrupts(Source);

#[derive(Debug)]
enum Source {
    Signals {
        interrupt: Signal,
        terminate: Signal,
    },
    #[cfg(test)]
    Channel(tokio::sync::mpsc::UnboundedReceiver<()>),
}

impl Interrupts {
    /// SIGINT and SIGTERM of this process, from now on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failure =
            |error| Failure::infrastructure(format!("install the signal handlers: {error}"));
        Ok(Self(Source::Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(failure)?,
            terminate: signal(SignalKind::terminate()).map_err(failure)?,
        }))
    }

    /// Those that a test sends.
    #[cfg(test)]
    pub(crate) fn channel() -> (tokio::sync::mpsc::UnboundedSender<()>, Self) {
        let (press, source) = tokio::sync::mpsc::unbounded_channel();
        (press, Self(Source::Channel(source)))
    }

    /// Waits for the next one. Cancel-safe: none is lost.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Source::Signals {
                interrupt,
                terminate,
            } => {
                let ended = tokio::select! {
                    ended = interrupt.recv() => ended,
                    ended = terminate.recv() => ended,
                };
                if ended.is_none() {
                    std::future::pending::<()>().await;
                }
            }
            #[cfg(test)]
            Source::Channel(source) => {
                if source.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// What an interrupt means to somebody who follows a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Who started the run stops it and waits for its result.
    Stop,
    /// Who only watches leaves; the run goes on.
    Leave,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Order the run to stop, and go on following it.
    Stop,
    /// End.
    Leave,
}

/// Counts interrupts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presses {
    policy: Policy,
    count: u32,
}

impl Presses {
    /// None yet.
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, count: 0 }
    }

    /// One more. Without a controller there is nobody to order, so the first one ends as well.
    pub(crate) fn press(&mut self, controller: bool) -> Action {
        self.count += 1;
        match self.policy {
            Policy::Stop if self.count == 1 && controller => Action::Stop,
            Policy::Stop | Policy::Leave => Action::Leave,
        }
    }

    /// Whether there was one.
    pub(crate) fn any(self) -> bool {
        self.count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stops_and_the_second_leaves() {
        let mut presses = Presses::new(Policy::Stop);
        assert!(!presses.any());
        assert_eq!(presses.press(true), Action::Stop);
        assert_eq!(presses.press(true), Action::Leave);
        assert!(presses.any());
    }

    #[test]
    fn who_watches_and_who_has_no_controller_leaves() {
        assert_eq!(Presses::new(Policy::Leave).press(true), Action::Leave);
        assert_eq!(Presses::new(Policy::Stop).press(false), Action::Leave);
    }
}
