//! News of a run for those who watch it: everything that matters from the
//! beginning, and progress as it comes.

use tokio::sync::broadcast;
use weir_proto::controller::v1::{WatchResponse, watch_response::Event};

/// Progress messages a slow watcher may fall behind before it misses some.
const BACKLOG: usize = 256;

/// The news of one run.
#[derive(Debug)]
pub(super) struct News {
    run: String,
    past: Vec<WatchResponse>,
    live: broadcast::Sender<WatchResponse>,
}

/// What a watcher gets: the past, then what comes.
#[derive(Debug)]
pub struct Watch {
    /// Everything that mattered so far, in order.
    pub past: Vec<WatchResponse>,
    /// What comes; closed after the last event.
    pub live: Option<broadcast::Receiver<WatchResponse>>,
}

impl News {
    pub(super) fn new(run: String) -> Self {
        let (live, _) = broadcast::channel(BACKLOG);
        Self {
            run,
            past: Vec::new(),
            live,
        }
    }

    /// Tells something that a later watcher must hear too.
    pub(super) fn tell(&mut self, event: Event) {
        let message = self.message(event);
        self.past.push(message.clone());
        // Nobody may be watching.
        self.live.send(message).ok();
    }

    /// Tells something that is of interest now only.
    pub(super) fn tell_now(&self, event: Event) {
        self.live.send(self.message(event)).ok();
    }

    /// Whether anybody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.live.receiver_count() > 0
    }

    pub(super) fn watch(&self) -> Watch {
        Watch {
            past: self.past.clone(),
            live: Some(self.live.subscribe()),
        }
    }

    fn message(&self, event: Event) -> WatchResponse {
        WatchResponse {
            run: self.run.clone(),
            event: Some(event),
        }
    }
}
