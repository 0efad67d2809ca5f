//! Closing a run: evidence from the store, analysis, verdict. Blocking; run it
//! off the async threads.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use weir_common::campaign::Campaign;
use weir_common::id::{AgentName, FlowId, RunId};
use weir_common::record::End;
use weir_experiment::analysis::document::Reason;
use weir_experiment::analysis::{self, Failure, FlowEvidence, ResultDocument, Surroundings};
use weir_experiment::plan::Plan;

use super::floor;
use super::provenance::Provenance;
use crate::store::{RecordQuery, RunRow, SessionState, Store, StoreError, Streams};

/// What is known beside the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    /// Agents from which nothing more comes, and why.
    pub(super) silences: BTreeMap<AgentName, String>,
    /// Things to know of the run as a whole.
    pub(super) warnings: Vec<Reason>,
}

/// Makes the result document of a run from what is stored now.
pub(super) fn result(
    store: &dyn Store,
    row: &RunRow,
    campaign: &Campaign,
    plan: &Plan,
    beside: &Beside,
    provenance: &Provenance,
) -> Result<ResultDocument, StoreError> {
    let evidence = gather(store, row.run, plan, &beside.silences)?;
    let surroundings = surroundings(store, row.run, plan)?;
    let gaps = store.gaps(row.run)?;
    let reasons = row
        .stop_reason
        .iter()
        .map(|why| Reason::of_run("stopped", format!("the run was stopped: {why}")))
        .collect();
    let mut warnings = beside.warnings.clone();
    warnings.extend(
        plan.warnings
            .iter()
            .map(|w| Reason::of_run(&w.code, w.text.clone())),
    );
    Ok(analysis::analyse(analysis::Input {
        run: row.run,
        campaign,
        plan,
        t0_unix_ns: row.start.as_ref().map(|start| start.unix_ns),
        evidence: &evidence,
        surroundings: &surroundings,
        gaps: &gaps,
        reasons,
        warnings,
        provenance: provenance.of_run(
            row,
            plan,
            &surroundings,
            &floor::of_pairs(floor::recent(store), plan),
        ),
    }))
}

/// Reads what agents saw beside the flows.
fn surroundings(store: &dyn Store, run: RunId, plan: &Plan) -> Result<Surroundings, StoreError> {
    let mut surroundings = Surroundings::new(plan);
    store.kernels(run, &mut |rows| {
        for row in rows {
            surroundings.kernel_row(&row);
        }
        ControlFlow::Continue(())
    })?;
    store.links(run, &mut |rows| {
        for row in &rows {
            surroundings.link_row(&row.agent, &row.row);
        }
        ControlFlow::Continue(())
    })?;
    for row in store.observations(run)? {
        surroundings.observed(row.agent, row.observed);
    }
    Ok(surroundings)
}

/// Reads rows, manifests and failures of a run.
fn gather(
    store: &dyn Store,
    run: RunId,
    plan: &Plan,
    silences: &BTreeMap<AgentName, String>,
) -> Result<BTreeMap<FlowId, FlowEvidence>, StoreError> {
    let mut evidence: BTreeMap<FlowId, FlowEvidence> = plan
        .flows
        .iter()
        .map(|flow| (flow.id, FlowEvidence::default()))
        .collect();
    let query = RecordQuery {
        streams: Streams::All,
        ..RecordQuery::default()
    };
    store.records(run, &query, &mut |rows| {
        for record in rows {
            let flow = evidence.entry(record.flow).or_default();
            flow.end_mut(record.end).take(&record);
        }
        ControlFlow::Continue(())
    })?;
    for manifest in store.manifests(run)? {
        let flow = evidence.entry(manifest.closed.flow).or_default();
        let side = flow.end_mut(manifest.closed.end);
        // The first manifest stands: a flow is never run twice.
        side.closed.get_or_insert(manifest.closed);
    }
    for session in store.sessions(run)? {
        let SessionState::Failed { code, reason } = session.state else {
            continue;
        };
        let Some(planned) = plan.session(session.session) else {
            continue;
        };
        for segment in &planned.segments {
            let failure = Failure {
                end: session.end,
                code: code.clone(),
                reason: reason.clone(),
            };
            evidence
                .entry(segment.flow)
                .or_default()
                .failure
                .get_or_insert(failure);
        }
    }
    for flow in &plan.flows {
        let entry = evidence.entry(flow.id).or_default();
        for (end, agent) in [(End::Tx, &flow.from), (End::Rx, &flow.to)] {
            entry.end_mut(end).silence = silences.get(agent).cloned();
        }
    }
    Ok(evidence)
}
