//! What idle agents cost the controller, and how soon all are back after its restart.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::report::{Figure, Spread, Target};
use weir_tests::{Cluster, Crowd, Usage};

use crate::Settings;

/// How long agents are left alone before they are looked at.
const IDLE: Duration = Duration::from_secs(5);

/// The figures.
pub(crate) fn measure(settings: Settings) -> anyhow::Result<Vec<Figure>> {
    let count = settings.or_quick(200, 40);
    let mut cluster = Cluster::new();
    let memory = |cluster: &Cluster| {
        let usage = Usage::of(cluster.controller().id()).context("the controller has ended")?;
        anyhow::Ok(usage.anonymous_kib as f64)
    };
    let before = memory(&cluster)?;
    let _crowd = Crowd::join(&cluster, count);
    sleep(IDLE);
    let each = (memory(&cluster)? - before) / count as f64;
    cluster.kill_controller();
    let begun = Instant::now();
    cluster.start_controller();
    cluster.await_agents(count);
    let back = begun.elapsed().as_secs_f64();
    let clear = "over unix sockets, without TLS";
    Ok(vec![
        Figure::new(format!(
            "controller's memory (RssAnon) per idle agent, of {count}, KiB"
        ))
        .ours(Some(Spread::one(each)))
        .target(Target::AtMost(128.0))
        .note(clear),
        Figure::new(format!(
            "{count} agents back after kill -9 and start of the controller, s"
        ))
        .ours(Some(Spread::one(back)))
        .target(Target::AtMost(15.0))
        .note(clear),
    ])
}
