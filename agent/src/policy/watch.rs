//! Follows the policy file while the agent runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Rules;
use super::file::Version;
use crate::agent::Shared;
use crate::supervisor::{Message, chain};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at the file every second and on SIGHUP, and has a new policy followed, until
/// the end. What cannot be followed leaves the last policy in force.
pub(crate) async fn watch(shared: &Arc<Shared>, path: &Path, end: &CancellationToken) {
    // Without a handler the file is looked at all the same.
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut known = Version::now(path);
    let mut missing = known.is_none();
    loop {
        let asked = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(EVERY) => false,
            _ = asked => true,
        };
        let owned = path.to_owned();
        let looked = tokio::task::spawn_blocking(move || look(owned, known, asked)).await;
        let (version, read) = looked.expect("looking at a file neither panics nor is aborted");
        if version.is_none() && (!missing || asked) {
            tracing::error!(
                path = %path.display(),
                "the policy file is gone: the last policy holds until the agent is started again"
            );
        }
        (known, missing) = (version, version.is_none());
        match read {
            None => {}
            Some(Ok(rules)) => {
                tracing::info!(path = %path.display(), "the policy file was read anew");
                shared.policy.set_rules(rules);
                shared.tell(Message::PolicyChanged);
            }
            Some(Err(problem)) => {
                tracing::error!(problem, "the last policy holds");
            }
        }
    }
}

type Looked = (Option<Version>, Option<Result<Rules, String>>);

fn look(path: PathBuf, known: Option<Version>, asked: bool) -> Looked {
    let version = Version::now(&path);
    if version.is_none() || (version == known && !asked) {
        return (version, None);
    }
    match Rules::read_version(&path) {
        // What was read, should the file have changed since.
        Ok((rules, version)) => (Some(version), Some(Ok(rules))),
        Err(error) => (version, Some(Err(chain(&error)))),
    }
}
