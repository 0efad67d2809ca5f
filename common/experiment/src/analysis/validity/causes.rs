//! Causes: what may have made figures wrong. They decide only where the
//! campaign says so, are told above their limits, and are named beside a
//! decision.

use weir_common::campaign::{self, Valid};
use weir_common::id::AgentName;
use weir_common::observation::Observer;
use weir_common::record::{End, FlowClosed};

use super::{Subject, reason, role};
use crate::analysis::document::Reason;
use crate::analysis::evidence::FlowEvidence;
use crate::analysis::surroundings::Surroundings;
use crate::plan::{Plan, PlannedFlow};

/// Captures that a sentence names.
const NAMED_MOST: usize = 3;

/// One cause.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) reason: Reason,
    /// The campaign says that it makes a flow invalid.
    pub(super) decides: bool,
    /// Its words beside a decision, such as `throttled 93 % of the time`;
    /// `None` for what makes no CPU late.
    pub(super) short: Option<String>,
}

/// Where a flow's ends are, and what is known of these places.
#[derive(Debug, Clone, Copy)]
pub(in crate::analysis) struct At<'a> {
    pub(in crate::analysis) flow: &'a PlannedFlow,
    pub(in crate::analysis) plan: &'a Plan,
    pub(in crate::analysis) surroundings: &'a Surroundings,
}

impl<'a> At<'a> {
    fn agent(self, end: End) -> &'a AgentName {
        match end {
            End::Tx => &self.flow.from,
            End::Rx => &self.flow.to,
        }
    }

    fn kernel(self, end: End) -> &'a str {
        self.plan.kernel_of(self.agent(end)).unwrap_or_default()
    }
}

/// Everything that is above its limit.
pub(super) fn of(
    subject: Subject,
    evidence: &FlowEvidence,
    at: At<'_>,
    valid: &Valid,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    for end in [End::Tx, End::Rx] {
        if let Some(closed) = &evidence.end(end).closed {
            causes.extend(of_cpu(subject, end, closed, valid));
        }
    }
    for end in [End::Tx, End::Rx] {
        // Both ends on one kernel: told once.
        if end == End::Rx && at.kernel(End::Tx) == at.kernel(End::Rx) {
            break;
        }
        causes.extend(of_kernel(subject, end, at, valid));
    }
    causes.extend(observed(subject, at, valid));
    causes
}

/// Share of the window for which an end's control group was throttled, at most
/// the whole: its counter is summed over CPUs.
pub(in crate::analysis) fn throttled(closed: &FlowClosed, seconds: f64) -> Option<f64> {
    let throttled_us = closed.window.throttled_us.filter(|_| seconds > 0.0)?;
    Some((throttled_us as f64 / 1e6 / seconds).min(1.0))
}

/// A cause that is a share, if it is above its limit.
fn above(
    subject: Subject,
    end: End,
    code: &str,
    share: f64,
    limit: campaign::Cause,
    text: String,
) -> Option<Cause> {
    let campaign::Cause { above, decides } = limit;
    (share > above.value()).then(|| Cause {
        reason: reason(
            subject,
            code,
            Some(end),
            (share, above.value()),
            format!("{text}; above {above} is told"),
        ),
        decides,
        short: None,
    })
}

/// What the host's CPU did to an end.
fn of_cpu(
    subject: Subject,
    end: End,
    closed: &FlowClosed,
    valid: &Valid,
) -> impl Iterator<Item = Cause> {
    let throttled = throttled(closed, subject.seconds).and_then(|share| {
        let short = format!("throttled {:.0} % of the time", share * 100.0);
        let text = format!(
            "the {}'s control group was {short}: it has used up its CPU quota",
            role(end)
        );
        let cause = above(subject, end, "throttled", share, valid.throttled, text)?;
        Some(Cause {
            short: Some(short),
            ..cause
        })
    });
    let waited_us = closed.window.runq_wait_us.filter(|_| subject.seconds > 0.0);
    let runq = waited_us.and_then(|waited_us| {
        let share = waited_us as f64 / 1e6 / subject.seconds / f64::from(subject.streams.max(1));
        let short = format!("waited {:.0} % of the time for a CPU", share * 100.0);
        let text = format!("the {}'s threads {short}", role(end));
        let cause = above(subject, end, "runq", share, valid.runq, text)?;
        Some(Cause {
            short: Some(short),
            ..cause
        })
    });
    throttled.into_iter().chain(runq)
}

/// What an end's kernel went through in the flow's phase.
fn of_kernel(subject: Subject, end: End, at: At<'_>, valid: &Valid) -> impl Iterator<Item = Cause> {
    let kernel = at.surroundings.kernel(at.kernel(end), at.flow.phase);
    let steal = kernel.and_then(|kernel| kernel.steal()).and_then(|share| {
        let short = format!("{:.1} % of the CPU time was stolen", share * 100.0);
        let text = format!("{short} from the {}'s kernel by its hypervisor", role(end));
        let cause = above(subject, end, "steal", share, valid.steal, text)?;
        Some(Cause {
            short: Some(short),
            ..cause
        })
    });
    let softnet = kernel
        .and_then(|kernel| kernel.softnet_drops())
        .and_then(|(dropped, share)| {
            let text = format!(
                "the {}'s kernel dropped {dropped} packets ({:.4} %) before its stack saw them",
                role(end),
                share * 100.0
            );
            above(
                subject,
                end,
                "softnet_drops",
                share,
                valid.softnet_drops,
                text,
            )
        });
    steal.into_iter().chain(softnet)
}

/// Somebody captured packets at a host of the flow, or elsewhere on its kernels.
fn observed(subject: Subject, at: At<'_>, valid: &Valid) -> Option<Cause> {
    let kernels = [at.kernel(End::Tx), at.kernel(End::Rx)];
    let mut seen: Vec<(&AgentName, &Observer)> = Vec::new();
    for (agent, observed) in at.surroundings.observations() {
        let own = *agent == at.flow.from || *agent == at.flow.to;
        let shared = at
            .plan
            .kernel_of(agent)
            .is_some_and(|kernel| !kernel.is_empty() && kernels.contains(&kernel));
        if own || shared {
            seen.extend(observed.observers.iter().map(|observer| (agent, observer)));
        }
    }
    // The same process is told as one of its own host and as one of the kernel:
    // the nearer view is kept.
    let near: Vec<(&str, Option<u32>)> = seen
        .iter()
        .filter(|(_, observer)| observer.here)
        .map(|(_, observer)| (observer.who.as_str(), observer.pid))
        .collect();
    seen.retain(|(_, observer)| {
        observer.here || !near.contains(&(observer.who.as_str(), observer.pid))
    });
    if seen.is_empty() {
        return None;
    }
    let named: Vec<String> = seen
        .iter()
        .take(NAMED_MOST)
        .map(|(agent, observer)| name(agent, observer))
        .collect();
    let more = seen.len().saturating_sub(NAMED_MOST);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let text = format!(
        "packets were captured meanwhile, which takes CPU from what is measured: {}{more}",
        named.join(", ")
    );
    Some(Cause {
        reason: reason(subject, "observed", None, (seen.len() as f64, 0.0), text),
        decides: valid.observers,
        short: None,
    })
}

fn name(agent: &AgentName, observer: &Observer) -> String {
    let pid = observer
        .pid
        .map_or(String::new(), |pid| format!(" (pid {pid})"));
    let interface = observer
        .interface
        .as_deref()
        .map_or(String::new(), |interface| format!(" {interface}"));
    let place = if observer.here {
        format!("at {agent}{interface}")
    } else {
        format!("on the kernel of {agent}")
    };
    format!("{}{pid} {place}", observer.who)
}
