//! The plan as a document for `weir plan`: what would happen, without what only the agents need.

use serde_json::{Value, json};
use weir_common::record::End;
use weir_common::traffic::Law;

use super::{HostLoad, KernelLoad, Peak, Plan, PlannedFlow};

/// Name of the document's schema.
pub const SCHEMA: &str = "weir.plan/1";

impl Plan {
    /// The document of schema [`SCHEMA`]. Absent = not applicable, null = not known; times in s.
    ///
    /// Tags stay out of it: they differ from run to run, the document of a campaign does not.
    pub fn document(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "campaign": self.name,
            "question": self.question,
            "seed": self.seed,
            "interval_s": seconds(self.interval_ns),
            "linger_s": seconds(self.linger_ns),
            "settle_s": seconds(self.settle_ns),
            "lost_agent": self.lost_agent,
            "duration_s": seconds(self.end_ns),
            "wall_s": { "least": seconds(self.end_ns + self.linger_ns), "most": seconds(self.end_ns + self.linger_ns + self.settle_ns) },
            "records": { "expected": self.records_expected, "at_most": self.records_at_most },
            "phases": self.phases.iter().map(|phase| json!({
                "phase": phase.name,
                "start_s": seconds(phase.start_ns),
                "for_s": seconds(phase.length_ns),
                "warmup_s": seconds(phase.warmup_ns),
                "flows": self.flows.iter().filter(|flow| flow.phase == phase.index).count(),
            })).collect::<Vec<_>>(),
            "hosts": self.hosts.iter().map(|host| json!({
                "host": host.name,
                "labels": host.labels,
                "addresses": host.addresses,
                "kernel": host.kernel,
                "sessions": host.sessions,
            })).collect::<Vec<_>>(),
            "flows": self.flows.iter().map(|flow| self.flow_document(flow)).collect::<Vec<_>>(),
            "load": {
                "hosts": self.load.hosts.iter().map(host).collect::<Vec<_>>(),
                "kernels": self.load.kernels.iter().map(kernel).collect::<Vec<_>>(),
                "total": peak(&self.load.total),
            },
            "warnings": self.warnings,
        })
    }

    fn flow_document(&self, flow: &PlannedFlow) -> Value {
        let mut document = json!({
            "flow": flow.id,
            "session": flow.session,
            "set": flow.set,
            "key": flow.key,
            "phase": self.phase(flow.phase).map(|phase| &phase.name),
            "repeat": flow.repeat,
            "from": flow.from,
            "to": flow.to,
            "from_asn": flow.from_asn,
            "to_asn": flow.to_asn,
            "transport": flow.transport,
            "dial": self.session(flow.session).map(|session| match session.dials {
                End::Tx => "from",
                End::Rx => "to",
            }),
            "streams": flow.streams,
            "start_s": seconds(flow.start_ns),
            "for_s": seconds(flow.length_ns),
            "warmup_s": seconds(flow.warmup_ns),
            "rate_bps": flow.offered_bps.map_or(json!("max"), |rate| json!(rate)),
            "rows_per_end": flow.rows_per_end,
        });
        let mut add = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                document[key] = value;
            }
        };
        add("rate_pps", flow.offered_pps().map(|rate| json!(rate)));
        add("size", (flow.size > 0).then(|| json!(flow.size)));
        if let Some(session) = self.session(flow.session) {
            let traffic = &session.traffic;
            let arrival = Some(&traffic.arrival).filter(|law| **law != Law::Constant);
            add("arrival", arrival.map(|law| json!(law)));
            add("size_law", traffic.size_law.as_ref().map(|law| json!(law)));
        }
        add("reverse_of", flow.reverse_of.map(|flow| json!(flow)));
        document
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn peak(peak: &Peak) -> Value {
    json!({
        "bps": peak.bps,
        "pps": peak.milli_pps as f64 / 1_000.0,
        "flows": peak.flows,
        "unlimited": peak.unlimited,
    })
}

fn host(load: &HostLoad) -> Value {
    json!({ "host": load.agent, "tx": peak(&load.tx), "rx": peak(&load.rx) })
}

fn kernel(load: &KernelLoad) -> Value {
    json!({ "kernel": load.kernel, "hosts": load.agents, "cores": load.cores, "peak": peak(&load.peak) })
}
