//! `weir check`: the noise floor of pairs of hosts, each measured by an ordinary
//! run, so that agents' policies and the store see it like any other.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use weir_common::campaign::file;
use weir_common::selector::Selector;
use weir_common::unit::Span;
use weir_experiment::analysis::ResultDocument;
use weir_experiment::analysis::floor;
use weir_proto::controller::v1::{Agent, CampaignSource, RunRequest};

use super::run::{argv, execute_quietly};
use super::{Common, is_read, write_lines};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupts;
use crate::output::screen::Screen;
use crate::output::{check, json, result};

/// Length of each of the phases of a check, at most.
const PHASE_MOST: Duration = Duration::from_secs(60);

/// Arguments of `weir check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    common: Common,
    /// Only these hosts: 'asn=150,151 role=host'; of two, each towards the other
    #[arg(value_name = "SELECTOR")]
    selector: Vec<String>,
    /// Most pairs to measure, each host with the next one, one pair after the other
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Length of each of the seven phases of a pair's check, and of each of at most six
    /// that narrow down its largest rate without loss: 100ms to 60s
    #[arg(long = "for", value_name = "TIME", default_value = "1s")]
    length: String,
}

/// Measures pair after pair and shows what was found.
pub(crate) async fn run(args: CheckArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let selector = args.selector.join(" ");
    if !selector.trim().is_empty() {
        selector.parse::<Selector>().map_err(Failure::usage)?;
    }
    let seconds = seconds(&args.length)?;
    let client = common.connect().await?;
    let agents = client.agents(selector).await?;
    let pairs = pairs(&agents, args.pairs as usize)?;
    let mut measuring = Measuring {
        client: &client,
        json: common.json,
        interrupts: Interrupts::listen()?,
        documents: Vec::new(),
        exit: Exit::Pass,
    };
    for (from, to) in &pairs {
        measuring.pair(from, to, seconds).await?;
        if measuring.exit == Exit::Interrupted {
            break;
        }
    }
    let (documents, exit) = (&measuring.documents, measuring.exit);
    // Once more: an agent tells its interfaces anew when a run begins.
    let involved = involved(documents);
    let mut agents = client.agents(String::new()).await?;
    agents.retain(|agent| involved.contains(&agent.name));
    let found = check::Found {
        floors: floor::of(documents),
        agents,
    };
    let mut out = io::stdout();
    if common.json {
        json::write(&mut out, &check::document(&found), is_read())?;
        out.flush()?;
    } else {
        write_lines(&mut out, &check::lines(&found))?;
    }
    Ok(exit)
}

/// The runs of a check, as they are made.
struct Measuring<'a> {
    client: &'a Client,
    json: bool,
    interrupts: Interrupts,
    documents: Vec<ResultDocument>,
    exit: Exit,
}

impl Measuring<'_> {
    /// The rates of a pair, and then those between the largest that held and the next.
    async fn pair(&mut self, from: &str, to: &str, seconds: f64) -> Result<(), Failure> {
        let mut campaign = floor::campaign(from, to, seconds);
        for _ in 0..=floor::REFINEMENTS_MOST {
            self.execute(campaign).await?;
            let floors = floor::of(&self.documents);
            let of_pair = floors
                .iter()
                .find(|each| each.from == from && each.to == to);
            let next = of_pair.and_then(floor::next_rate);
            let (Some(pps), Exit::Pass) = (next, self.exit) else {
                break;
            };
            campaign = floor::refinement(from, to, seconds, pps);
        }
        Ok(())
    }

    async fn execute(&mut self, toml: String) -> Result<(), Failure> {
        // A slip of ours is told as one, not as the controller's.
        file::parse(&toml, "check").map_err(Failure::infrastructure)?;
        let request = RunRequest {
            campaign: Some(CampaignSource {
                toml,
                file: String::new(),
                argv: argv(),
                files: Vec::new(),
            }),
            queue: true,
            share: false,
        };
        let mut screen = Screen::fitting(self.json, false);
        let closed =
            execute_quietly(self.client, request, &mut screen, &mut self.interrupts).await?;
        let document = result::parse(&closed.document).map_err(Failure::infrastructure)?;
        if document.time.t0_unix_ns.is_none() {
            self.exit = Exit::Infrastructure;
        }
        if closed.interrupted {
            self.exit = Exit::Interrupted;
        }
        self.documents.push(document);
        Ok(())
    }
}

/// The agents that took part in these runs: hosts, and routers that watched.
fn involved(documents: &[ResultDocument]) -> BTreeSet<String> {
    let agents = documents
        .iter()
        .filter_map(|document| document.provenance.get("agents")?.as_array());
    let names = agents
        .flatten()
        .filter_map(|agent| agent.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

fn seconds(text: &str) -> Result<f64, Failure> {
    let span: Span = text
        .parse()
        .map_err(|error| Failure::usage(format!("--for: {error}")))?;
    let length = Duration::from_nanos(span.as_nanos());
    if length < Duration::from_millis(100) || length > PHASE_MOST {
        return Err(Failure::usage(format!(
            "--for {text}: a phase of a check takes 100ms to 60s"
        )));
    }
    Ok(length.as_secs_f64())
}

/// Each connected host with the next one, in the order of names, the last with
/// the first: every host sends once and receives once.
fn pairs(agents: &[Agent], most: usize) -> Result<Vec<(String, String)>, Failure> {
    let mut names: Vec<&str> = agents
        .iter()
        .filter(|agent| agent.state == "alive")
        .map(|agent| agent.name.as_str())
        .collect();
    names.sort_unstable();
    if names.len() < 2 {
        return Err(Failure::usage(format!(
            "{} connected: a check needs two hosts (`weir agents` lists them)",
            crate::output::text::plural(names.len(), "host")
        )));
    }
    let next = names.iter().cycle().skip(1);
    Ok(names
        .iter()
        .zip(next)
        .take(most)
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, state: &str) -> Agent {
        Agent {
            name: name.to_owned(),
            state: state.to_owned(),
            ..Agent::default()
        }
    }

    #[test]
    fn every_host_sends_once_and_receives_once() {
        let agents = [
            agent("c", "alive"),
            agent("a", "alive"),
            agent("x", "lost"),
            agent("b", "alive"),
        ];
        let told = |most| -> Vec<String> {
            let pairs = pairs(&agents, most).unwrap();
            pairs.iter().map(|(a, b)| format!("{a}>{b}")).collect()
        };
        assert_eq!(told(9), ["a>b", "b>c", "c>a"]);
        assert_eq!(told(1), ["a>b"]);
        assert_eq!(pairs(&agents[..1], 9).unwrap_err().exit().code(), 2);
    }

    #[test]
    fn phases_have_a_sane_length() {
        assert_eq!(seconds("500ms").ok(), Some(0.5));
        for text in ["10ms", "2min", "x", "1"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
