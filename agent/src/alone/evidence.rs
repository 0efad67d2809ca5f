//! What both sides of a test have told of its flows.

use std::collections::BTreeMap;

use weir_common::id::{AgentName, FlowId, RunId, SessionId};
use weir_common::record::{End, Entry, Record};
use weir_experiment::analysis::{Failure, FlowEvidence};
use weir_experiment::plan::Plan;

/// The only run that there is: nobody else counts them.
pub(super) const RUN: RunId = RunId(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Evidence {
    flows: BTreeMap<FlowId, FlowEvidence>,
}

impl Evidence {
    /// Nothing yet, of the flows of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            flows: plan
                .flows
                .iter()
                .map(|flow| (flow.id, FlowEvidence::default()))
                .collect(),
        }
    }

    /// Takes what an agent says of its own ends; gives a row back for display.
    ///
    /// # Errors
    /// It is not an end of that agent, or not a flow of the plan.
    pub(super) fn take(
        &mut self,
        plan: &Plan,
        agent: &AgentName,
        entry: Entry,
    ) -> Result<Option<Box<Record>>, String> {
        let (run, flow, end) = match &entry {
            Entry::Record(record) => (record.run, record.flow, record.end),
            Entry::Closed(closed) => (closed.run, closed.flow, closed.end),
            // Not of a flow.
            Entry::Link(_)
            | Entry::Kernel(_)
            | Entry::Observed(_)
            | Entry::Gap(_)
            | Entry::Artifact(_) => {
                return Ok(None);
            }
        };
        let planned = plan.flow(flow).filter(|planned| {
            let at_end = match end {
                End::Tx => &planned.from,
                End::Rx => &planned.to,
            };
            run == RUN && at_end == agent
        });
        let (Some(_), Some(evidence)) = (planned, self.flows.get_mut(&flow)) else {
            return Err(format!(
                "a record of {run}, flow {flow}, end {} is not one of {agent}",
                end.as_str()
            ));
        };
        let side = evidence.end_mut(end);
        match entry {
            Entry::Record(record) => {
                side.take(&record);
                Ok(Some(record))
            }
            Entry::Closed(closed) => {
                side.closed.get_or_insert(*closed);
                Ok(None)
            }
            Entry::Link(_)
            | Entry::Kernel(_)
            | Entry::Observed(_)
            | Entry::Gap(_)
            | Entry::Artifact(_) => Ok(None),
        }
    }

    /// A session could not start at an end; the first reason stands.
    pub(super) fn failed(&mut self, plan: &Plan, session: SessionId, failure: &Failure) {
        let segments = plan
            .session(session)
            .into_iter()
            .flat_map(|session| &session.segments);
        for segment in segments {
            if let Some(flow) = self.flows.get_mut(&segment.flow) {
                flow.failure.get_or_insert(failure.clone());
            }
        }
    }

    /// Nothing more comes from an agent.
    pub(super) fn silent(&mut self, plan: &Plan, agent: &AgentName, why: &str) {
        for flow in &plan.flows {
            let Some(evidence) = self.flows.get_mut(&flow.id) else {
                continue;
            };
            for (end, at_end) in [(End::Tx, &flow.from), (End::Rx, &flow.to)] {
                if at_end == agent {
                    evidence.end_mut(end).silence = Some(why.to_owned());
                }
            }
        }
    }

    /// For the analysis.
    pub(super) fn flows(&self) -> &BTreeMap<FlowId, FlowEvidence> {
        &self.flows
    }
}

#[cfg(test)]
mod tests {
    use weir_common::campaign::flags;
    use weir_common::record::{Counters, Flags, Source};
    use weir_experiment::planner;
    use weir_proto::types::v1::Inventory;

    use super::*;

    fn plan() -> Plan {
        let words = "--from a --to b --udp 10M --for 5s --both";
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let campaign = flags::parse(&words).unwrap();
        let facts = |name: &str, address: &str| {
            let name = name.parse().unwrap();
            super::super::host::facts(name, &Inventory::default(), address.parse().unwrap())
        };
        let hosts = [facts("a", "10.0.0.1"), facts("b", "10.0.0.2")];
        planner::plan(&campaign, &hosts, 1).unwrap()
    }

    fn row(flow: u32, end: End) -> Entry {
        Entry::Record(Box::new(Record {
            run: RUN,
            flow: FlowId(flow),
            stream: None,
            end,
            k: 0,
            source: Source::Measured,
            start_ns: 0,
            length_ns: 1_000_000_000,
            flags: Flags::default(),
            counters: Counters::default(),
            delay: None,
            tcp: None,
            more: None,
        }))
    }

    #[test]
    fn an_agent_speaks_only_of_its_own_ends() {
        let plan = plan();
        let mut evidence = Evidence::new(&plan);
        let (a, b): (AgentName, AgentName) = ("a".parse().unwrap(), "b".parse().unwrap());
        // Flow 1 goes from a to b, flow 2 back.
        assert!(evidence.take(&plan, &a, row(1, End::Tx)).is_ok());
        assert!(evidence.take(&plan, &b, row(1, End::Rx)).is_ok());
        assert!(evidence.take(&plan, &b, row(2, End::Tx)).is_ok());
        for (agent, entry) in [
            (&b, row(1, End::Tx)),
            (&a, row(1, End::Rx)),
            (&a, row(3, End::Tx)),
            (&a, row(0, End::Tx)),
        ] {
            assert!(evidence.take(&plan, agent, entry).is_err());
        }
        assert_eq!(evidence.flows()[&FlowId(1)].tx.rows, 1);
        assert_eq!(evidence.flows()[&FlowId(1)].rx.rows, 1);
    }

    #[test]
    fn silence_is_said_of_every_end_of_an_agent() {
        let plan = plan();
        let mut evidence = Evidence::new(&plan);
        evidence.silent(&plan, &"b".parse().unwrap(), "gone");
        let flows = evidence.flows();
        assert_eq!(flows[&FlowId(1)].rx.silence.as_deref(), Some("gone"));
        assert_eq!(flows[&FlowId(2)].tx.silence.as_deref(), Some("gone"));
        assert_eq!(flows[&FlowId(1)].tx.silence, None);
    }
}
