//! `weir-agent generate`: from the words to the result.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use weir_common::assignment::{Assignment, Peer};
use weir_common::campaign::Campaign;
use weir_common::id::AgentName;
use weir_common::record::End;
use weir_experiment::analysis::document::Reason;
use weir_experiment::analysis::{self, ResultDocument, Surroundings};
use weir_experiment::output::result::{self, Shown, details};
use weir_experiment::output::text::{plural, printable};
use weir_experiment::plan::Plan;
use weir_experiment::planner;
use weir_proto::peer::v1 as pb;
use weir_proto::peer::v1::frame::Message;
use weir_proto::types::v1::Inventory;

use super::connect::{self, Receiver};
use super::evidence::RUN;
use super::host::{self, Host};
use super::lead::{Interrupts, Lead, Measured};
use super::lines::Lines;
use super::offer::NOT_GENERATING;
use super::words::Words;
use super::{Error, INTERRUPTED, tell};

/// Up to so many flows are told with every figure.
const DETAILED_MOST: usize = 4;

/// Measures, and tells the result; its exit code.
///
/// # Errors
/// Nothing could be measured.
pub(super) async fn run(host: &Host, words: &Words) -> Result<u8, Error> {
    let mut interrupts = Interrupts::listen()
        .map_err(|error| Error::infrastructure(format!("install signal handlers: {error}")))?;
    // A document has standard output for itself.
    let say = |line: &str| {
        if words.json {
            if io::stderr().is_terminal() && !words.quiet {
                eprintln!("{line}");
            }
        } else if !words.quiet {
            tell(line);
        }
    };
    // Names are known once the receiver is; times and addresses are known now.
    let draft = words
        .campaign(&host.name, &placeholder(&host.name))
        .map_err(Error::usage)?;
    let settle = Duration::from_nanos(draft.settle.as_nanos());
    let reached = connect::reach(&words.target, source(&draft)?, settle, host, |line| {
        say(&line);
    });
    let mut receiver = interrupts.or(reached).await?;
    let names = host::names(&host.name, &receiver.name);
    let mut campaign = words.campaign(&names.0, &names.1).map_err(Error::usage)?;
    weir_runtime::read_traces(&mut campaign, Path::new("")).map_err(|error| {
        let cause = std::error::Error::source(&error);
        Error::usage(cause.map_or(error.to_string(), |cause| format!("{error}: {cause}")))
    })?;
    let plan = plan(&campaign, host, &receiver, &names)?;
    let (ours, theirs) = shares(&plan, &names, &receiver)?;
    say(&format!(
        "{} {} -> {} {}, {}",
        names.0,
        receiver.local.ip().to_canonical(),
        names.1,
        receiver.peer.ip().to_canonical(),
        relation(host, &receiver),
    ));
    for warning in &plan.warnings {
        say(&format!("warning: {}", warning.text));
    }
    let lines = (!words.quiet).then(|| Lines::new(&plan));
    let mut lead = Lead {
        host,
        plan: &plan,
        names: names.clone(),
        clock: receiver.clock,
        channel: &mut receiver.channel,
        interrupts: &mut interrupts,
        say: &say,
        lines,
    };
    lead.offer(&theirs, &words.title()).await?;
    let measured = lead.measure(ours).await?;
    let document = judge(&campaign, &plan, &measured, host, &receiver);
    let text = serde_json::to_string(&document)
        .map_err(|error| Error::infrastructure(format!("write the result: {error}")))?;
    // The receiver shows it too, unless it is too long or gone.
    let _best_effort = receiver.channel.send(Message::Outcome(pb::Outcome {
        result_json: text.clone(),
    }));
    show(&document, &text, words.json);
    receiver.channel.close().await;
    Ok(if measured.interrupted {
        INTERRUPTED
    } else {
        document.exit
    })
}

/// A name that is not ours.
fn placeholder(ours: &AgentName) -> AgentName {
    let names = ["receiver", "generator"];
    let other = names.into_iter().find(|name| *name != ours.as_str());
    let name = other.unwrap_or("receiver").parse();
    name.expect("a plain word is a name")
}

/// The source address that all flow sets of this side agree on.
fn source(campaign: &Campaign) -> Result<Option<std::net::IpAddr>, Error> {
    let binds = campaign
        .flow_sets
        .iter()
        .filter(|set| set.dial == weir_common::campaign::Dial::From)
        .map(|set| set.traffic.bind.as_ref().and_then(|bind| bind.address));
    let mut sources: Vec<_> = binds.collect();
    sources.dedup();
    match sources.as_slice() {
        [] => Ok(None),
        [one] => Ok(*one),
        _ => Err(Error::usage(
            "--bind: the receiver serves one address of this host: give all flow sets the same",
        )),
    }
}

fn plan(
    campaign: &Campaign,
    host: &Host,
    receiver: &Receiver,
    names: &(AgentName, AgentName),
) -> Result<Plan, Error> {
    let (here, there) = (
        receiver.local.ip().to_canonical(),
        receiver.peer.ip().to_canonical(),
    );
    let mut facts = [
        host::facts(names.0.clone(), &host.inventory, here),
        host::facts(names.1.clone(), &receiver.host, there),
    ];
    if there.is_loopback() {
        // One stack: the planner dials within it at an address that both have.
        facts[0].addresses = vec![there];
    }
    let mut plan = planner::plan(campaign, &facts, draw()?)
        .map_err(|error| Error::usage(error.to_string()))?;
    for session in &mut plan.sessions {
        // Whatever the direction, the receiver waits: that passes a NAT as well.
        session.dials = if session.from == names.0 {
            End::Tx
        } else {
            End::Rx
        };
    }
    let turned = plan.sessions.iter().any(|session| session.from == names.1);
    if turned && !receiver.generates {
        return Err(Error::usage(NOT_GENERATING));
    }
    Ok(plan)
}

/// Our assignment and the receiver's.
fn shares(
    plan: &Plan,
    names: &(AgentName, AgentName),
    receiver: &Receiver,
) -> Result<(Assignment, Assignment), Error> {
    let nonce = draw()?;
    let share = |name: &AgentName, peer: std::net::SocketAddr| {
        let mut share = plan.assignment(name, RUN, nonce)?;
        for session in &mut share.sessions {
            if let Peer::Agent { addresses, .. } = &mut session.peer {
                *addresses = vec![peer.ip().to_canonical()];
            }
        }
        Some(share)
    };
    let (ours, theirs) = (
        share(&names.0, receiver.peer),
        share(&names.1, receiver.local),
    );
    ours.zip(theirs)
        .ok_or_else(|| Error::infrastructure("the plan gives a side nothing to do"))
}

/// 64 random bits.
fn draw() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::infrastructure("no random numbers from the kernel"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// How the two clocks stand, for people.
fn relation(host: &Host, receiver: &Receiver) -> String {
    let (ours, theirs) = (&host.inventory, &receiver.host);
    let error_us = receiver.clock.bound_ns as f64 / 1e3;
    if !ours.clock_domain.is_empty() && ours.clock_domain == theirs.clock_domain {
        "one kernel".to_owned()
    } else if !ours.kernel_boot_id.is_empty() && ours.kernel_boot_id == theirs.kernel_boot_id {
        format!("one kernel, clocks of other namespaces, T0 to {error_us:.0} us")
    } else {
        format!("two kernels, T0 to {error_us:.0} us")
    }
}

fn judge(
    campaign: &Campaign,
    plan: &Plan,
    measured: &Measured,
    host: &Host,
    receiver: &Receiver,
) -> ResultDocument {
    let reasons = measured
        .stopped
        .iter()
        .map(|why| Reason::of_run("stopped", format!("the run was stopped: {why}")))
        .collect();
    let warnings = plan.warnings.iter();
    let mut document = analysis::analyse(analysis::Input {
        run: RUN,
        campaign,
        plan,
        t0_unix_ns: measured.t0_unix_ns,
        evidence: measured.evidence.flows(),
        surroundings: &measured.surroundings,
        gaps: &[],
        reasons,
        warnings: warnings
            .map(|warning| Reason::of_run(&warning.code, warning.text.clone()))
            .collect(),
        provenance: provenance(campaign, plan, &measured.surroundings, host, receiver),
    });
    let skew = &mut document.time.start_skew_us;
    if skew.max.is_some() && receiver.clock.bound_ns > 0 {
        skew.bound = Some(receiver.clock.bound_ns as f64 / 1e3);
    }
    document
}

fn provenance(
    campaign: &Campaign,
    plan: &Plan,
    surroundings: &Surroundings,
    host: &Host,
    receiver: &Receiver,
) -> Value {
    let mut boot_ids = vec![
        &host.inventory.kernel_boot_id,
        &receiver.host.kernel_boot_id,
    ];
    boot_ids.dedup();
    let kernels = boot_ids.into_iter().map(|boot_id| {
        let phases = surroundings.kernel_summary(boot_id, plan);
        json!({ "boot_id": boot_id, "phases": phases })
    });
    let argv: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let hosts = plan.hosts.iter().map(|planned| {
        let inventory: &Inventory = if planned
            .addresses
            .contains(&receiver.peer.ip().to_canonical())
            && planned.name != host.name
        {
            &receiver.host
        } else {
            &host.inventory
        };
        json!({
            "name": planned.name,
            "version": inventory.version,
            "kernel_boot_id": inventory.kernel_boot_id,
            "kernel": inventory.kernel,
            "machine": inventory.machine,
            "cores": inventory.cores,
            "cpu_quota_milli": inventory.cpu_quota_milli,
            "capabilities": inventory.capabilities,
            "time_namespace": inventory.time_namespace,
            "clock_domain": inventory.clock_domain,
            "tcp_congestion_control": inventory.congestion_control,
            "interfaces": inventory.interfaces.iter().map(|interface| json!({
                "name": interface.name,
                "addresses": interface.addresses,
                "mtu": interface.mtu,
                "qdisc": interface.qdisc,
            })).collect::<Vec<_>>(),
        })
    });
    json!({
        "weir": { "version": env!("CARGO_PKG_VERSION"), "controller": null },
        "campaign": { "text": weir_common::campaign::render(campaign), "argv": argv },
        "rng": { "seed": plan.seed },
        "kernels": kernels.collect::<Vec<_>>(),
        "agents": hosts.collect::<Vec<_>>(),
        "observers": surroundings.observers(),
        "methods": {
            "linger_s": plan.linger_ns as f64 / 1e9,
            "interval_s": plan.interval_ns as f64 / 1e9,
            "histogram": "log-linear, 16 steps per octave, 0.1 us to 1000 s",
            "histogram_error": weir_common::stats::histogram::RELATIVE_ERROR,
        },
    })
}

fn show(document: &ResultDocument, text: &str, as_json: bool) {
    if as_json {
        let indented = io::stdout()
            .is_terminal()
            .then(|| serde_json::to_string_pretty(document).ok())
            .flatten();
        tell(indented.as_deref().unwrap_or(text));
        return;
    }
    for line in result::lines(document, Shown::default()) {
        tell(&line);
    }
    if document.flows.len() <= DETAILED_MOST {
        for line in details(document) {
            tell(&line);
        }
    } else {
        tell(&printable(&format!(
            "{}: --json has every figure",
            plural(document.flows.len(), "flow")
        )));
    }
}
