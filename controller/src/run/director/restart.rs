//! After a restart: runs that an earlier controller left open.

use std::sync::Arc;

use weir_experiment::analysis::document::Reason;
use weir_proto::controller::v1::watch_response;

use super::{Active, Director, blocking, kernels};
use crate::run::closing::Beside;
use crate::run::error::RunError;
use crate::run::machine::Event;
use crate::run::news::News;

impl Director {
    /// Takes up the runs that an earlier controller left open: those with a T0
    /// go on, the others are closed, since some of their agents may have
    /// prepared and some not.
    pub(super) async fn take_up(&mut self) -> Result<(), RunError> {
        let store = Arc::clone(&self.store);
        let open = blocking(move || Ok(store.open_runs()?)).await?;
        for run in open {
            let store = Arc::clone(&self.store);
            let loaded = blocking(move || crate::run::resume::load(store.as_ref(), run)).await;
            let loaded = match loaded {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::error!(%run, %error, "an open run cannot be taken up");
                    continue;
                }
            };
            tracing::info!(%run, "taking up an open run");
            let kernels = kernels(&loaded.plan);
            self.ingest.open_run(run, &loaded.plan);
            let campaign = loaded.campaign.clone();
            let (machine, close_now) = loaded.machine(self.clock.now_ns());
            let mut news = News::new(run.to_string());
            let text = "the controller was restarted in mid-run".to_owned();
            news.tell(watch_response::Event::Note(text.clone()));
            let beside = Beside {
                warnings: vec![Reason::of_run("controller-restart", text)],
                ..Beside::default()
            };
            let active = Active {
                campaign,
                machine,
                news,
                beside,
                kernels,
                queued: false,
                closing: false,
                unkept: false,
            };
            self.runs.insert(run, active);
            self.publish_all(run);
            if let Some(reason) = close_now {
                // One that cannot be stopped must not keep the others from going on.
                if let Err(error) = self.stop(run, reason).await {
                    tracing::error!(%run, %error, "stopping an open run failed");
                }
            } else {
                // Everything may be stored already.
                self.event(run, Event::Tick).await;
            }
        }
        Ok(())
    }
}
