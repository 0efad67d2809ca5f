//! A run from now to its end: events of the controller, Ctrl-C, and a controller that goes away and comes back.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Code, Status, Streaming};
use weir_proto::controller::v1::watch_response::Event;
use weir_proto::controller::v1::{StopResponse, WatchResponse};

use crate::client::Client;
use crate::failure::Failure;
use crate::interrupt::{Action, Interrupts, Policy, Presses};
use crate::output::screen::Screen;

/// How long a controller may be gone: one that is started again is back within seconds.
const GONE_MOST: Duration = Duration::from_secs(30);
/// Time between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(500);

/// Who is told what happens.
pub(crate) trait Watcher {
    /// The run that is followed; once, before its first event.
    fn begin(&mut self, run: &str);
    /// Something happened. After a lost connection the run is told from its beginning again.
    fn event(&mut self, run: &str, event: &Event) -> io::Result<()>;
    /// Something of this end is to be told.
    fn say(&mut self, line: &str) -> io::Result<()>;
}

impl Watcher for Screen {
    fn begin(&mut self, run: &str) {
        Screen::begin(self, run);
    }

    fn event(&mut self, _run: &str, event: &Event) -> io::Result<()> {
        Screen::event(self, event)
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        Screen::say(self, line)
    }
}

/// A run that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Its result document.
    pub(crate) document: String,
    /// It was ended by Ctrl-C.
    pub(crate) interrupted: bool,
}

/// What wakes the loop.
enum Wake {
    Pressed,
    Stopped(Result<StopResponse, Failure>),
    Told(Result<Option<WatchResponse>, Status>),
}

type Stopping = Pin<Box<dyn Future<Output = Result<StopResponse, Failure>>>>;

/// A followed run.
pub(crate) struct Follow<'a> {
    client: Client,
    run: String,
    begun: bool,
    presses: Presses,
    stopping: Option<Stopping>,
    watcher: &'a mut dyn Watcher,
    interrupts: &'a mut Interrupts,
}

impl std::fmt::Debug for Follow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl<'a> Follow<'a> {
    /// Follows a run; empty = the last one.
    pub(crate) fn new(
        client: Client,
        run: &str,
        policy: Policy,
        watcher: &'a mut dyn Watcher,
        interrupts: &'a mut Interrupts,
    ) -> Self {
        let presses = Presses::new(policy);
        Self {
            client,
            run: run.to_owned(),
            begun: false,
            presses,
            stopping: None,
            watcher,
            interrupts,
        }
    }

    /// As if Ctrl-C had been pressed already.
    pub(crate) fn pressed(mut self) -> Result<Self, Failure> {
        self.press()?;
        Ok(self)
    }

    /// Follows to the end.
    ///
    /// # Errors
    /// The controller refuses, or stays away; Ctrl-C left the run.
    pub(crate) async fn until_closed(mut self) -> Result<Closed, Failure> {
        let mut events = self.open().await?;
        loop {
            let stopping = self.stopping.as_mut();
            let wake = tokio::select! {
                biased;
                () = self.interrupts.next() => Wake::Pressed,
                stopped = async { stopping.expect("the branch is enabled only with one").await },
                    if stopping.is_some() => Wake::Stopped(stopped),
                told = events.message() => Wake::Told(told),
            };
            match wake {
                Wake::Pressed => self.press()?,
                Wake::Stopped(stopped) => {
                    self.stopping = None;
                    // A controller that is gone ends the stream as well, and is asked again when it is back.
                    if let Err(failure) = stopped {
                        self.watcher.say(&failure.to_string())?;
                    }
                }
                Wake::Told(Ok(Some(told))) => {
                    if let Some(document) = self.told(told)? {
                        return Ok(Closed {
                            document,
                            interrupted: self.presses.any(),
                        });
                    }
                }
                Wake::Told(Ok(None)) => events = self.again().await?,
                Wake::Told(Err(status)) if is_gone(&status) => events = self.again().await?,
                Wake::Told(Err(status)) => return Err(self.refused(&status)),
            }
        }
    }

    async fn open(&mut self) -> Result<Streaming<WatchResponse>, Failure> {
        self.client
            .watch(&self.run)
            .await
            .map_err(|status| self.refused(&status))
    }

    fn refused(&self, status: &Status) -> Failure {
        Failure::status(
            &format!("watch run {}", self.name()),
            self.client.endpoint(),
            status,
        )
    }

    fn name(&self) -> &str {
        if self.run.is_empty() {
            "last"
        } else {
            &self.run
        }
    }

    /// Passes an event on; the result when it was the last one.
    fn told(&mut self, told: WatchResponse) -> Result<Option<String>, Failure> {
        if !self.begun {
            self.begun = true;
            if !told.run.is_empty() {
                self.run = told.run;
            }
            self.watcher.begin(&self.run);
        }
        let Some(event) = told.event else {
            return Ok(None);
        };
        self.watcher.event(&self.run, &event)?;
        Ok(match event {
            Event::Closed(closed) => Some(closed.result_json),
            _ => None,
        })
    }

    fn press(&mut self) -> Result<(), Failure> {
        match self.presses.press(true) {
            Action::Stop => {
                let line = format!(
                    "stopping {}; its result follows (Ctrl-C again leaves at once)",
                    self.name()
                );
                self.watcher.say(&line)?;
                self.order_stop();
                Ok(())
            }
            Action::Leave => Err(self.left()),
        }
    }

    fn order_stop(&mut self) {
        let (client, run) = (self.client.clone(), self.run.clone());
        self.stopping = Some(Box::pin(
            async move { client.stop(&run, "interrupted").await },
        ));
    }

    fn left(&self) -> Failure {
        let run = self.name();
        Failure::interrupted(if self.presses.any() && self.stopping.is_none() {
            format!(
                "left {run}: `weir show {run}` shows its result, `weir stop {run}` ends it if it goes on"
            )
        } else {
            format!(
                "left {run} before its end: `weir watch {run}` follows it, `weir stop {run}` ends it"
            )
        })
    }

    /// Waits for the controller to come back, and follows again.
    async fn again(&mut self) -> Result<Streaming<WatchResponse>, Failure> {
        let endpoint = self.client.endpoint().clone();
        let lost = format!(
            "the controller at {endpoint} is gone; {} goes on in its agents; trying again for {} s",
            self.name(),
            GONE_MOST.as_secs()
        );
        self.watcher.say(&lost)?;
        let until = Instant::now() + GONE_MOST;
        loop {
            let attempt = async {
                sleep(RETRY).await;
                let client = Client::connect(endpoint.clone()).await.ok()?;
                let events = client.watch(&self.run).await;
                Some((client, events))
            };
            let attempt = tokio::select! {
                biased;
                () = self.interrupts.next() => {
                    self.presses.press(false);
                    return Err(self.left());
                }
                attempt = attempt => attempt,
            };
            match attempt {
                Some((client, Ok(events))) => {
                    self.client = client;
                    if self.presses.any() {
                        self.order_stop();
                    }
                    self.watcher.say("the controller is back")?;
                    return Ok(events);
                }
                Some((_, Err(status))) if !is_gone(&status) => return Err(self.refused(&status)),
                Some(_) | None if Instant::now() >= until => {
                    let run = self.name();
                    return Err(Failure::unreachable(
                        &endpoint,
                        format!(
                            "gone for {} s (`weir watch {run}` follows the run once it is back)",
                            GONE_MOST.as_secs()
                        ),
                    ));
                }
                Some(_) | None => {}
            }
        }
    }
}

/// Whether the connection broke, in contrast to a controller that answered.
fn is_gone(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}
