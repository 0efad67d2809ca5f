//! Rows of interfaces and kernels.

use std::ops::ControlFlow;

use serde_json::{Map, Value};
use weir_common::id::RunId;
use weir_common::observation::{KernelCounters, LinkCounters};

use super::{text, unix_ns};
use crate::store::{Store, StoreError};

/// Takes the names of the columns, then rows.
type Each<'a> = &'a mut dyn FnMut(Vec<String>, Vec<String>) -> ControlFlow<()>;

/// Columns of time, in the order in which they are printed.
const TIME: [&str; 3] = ["start_ns", "length_ns", "unix_ns"];

/// A row of these names and values; what is not known is left out.
fn row(values: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
    let known = values.into_iter().filter(|(_, value)| !value.is_null());
    known
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn times(t0: Option<i64>, start_ns: u64, length_ns: u64) -> [(&'static str, Value); 3] {
    let values = [
        start_ns.into(),
        length_ns.into(),
        unix_ns(t0, start_ns).into(),
    ];
    let mut values = values.into_iter();
    TIME.map(|name| (name, values.next().unwrap_or_default()))
}

fn figures(
    columns: impl IntoIterator<Item = (&'static str, Option<u64>)>,
) -> impl Iterator<Item = (&'static str, Value)> {
    columns
        .into_iter()
        .map(|(name, value)| (name, value.into()))
}

/// Names of the columns in order.
fn names(
    before: &[&'static str],
    figures: impl IntoIterator<Item = &'static str>,
    after: &[&'static str],
) -> Vec<String> {
    let before = before.iter().copied().chain(TIME);
    let names = before.chain(figures).chain(after.iter().copied());
    names.map(str::to_owned).collect()
}

/// Rows of interfaces, see [`Store::links`].
pub(super) fn links(
    store: &dyn Store,
    run: RunId,
    t0: Option<i64>,
    each: Each<'_>,
) -> Result<(), StoreError> {
    let columns = LinkCounters::default().columns();
    let columns = names(
        &["run", "agent", "interface", "k"],
        columns.into_iter().map(|(name, _)| name),
        &["qdisc", "qdisc_backlog_bytes"],
    );
    if each(columns, Vec::new()).is_break() {
        return Ok(());
    }
    store.links(run, &mut |rows| {
        let lines = rows.into_iter().map(|found| {
            let link = found.row;
            let keys = [
                ("run", run.to_string().into()),
                ("agent", found.agent.as_str().into()),
                ("interface", link.interface.into()),
                ("k", link.k.into()),
            ];
            let last = [
                ("qdisc", link.qdisc.into()),
                ("qdisc_backlog_bytes", link.qdisc_backlog_bytes.into()),
            ];
            text(row(keys
                .into_iter()
                .chain(times(t0, link.start_ns, link.length_ns))
                .chain(figures(link.counters.columns()))
                .chain(last)))
        });
        each(Vec::new(), lines.collect())
    })
}

/// Rows of kernels, see [`Store::kernels`].
pub(super) fn kernels(
    store: &dyn Store,
    run: RunId,
    t0: Option<i64>,
    each: Each<'_>,
) -> Result<(), StoreError> {
    let columns = KernelCounters::default().columns();
    let columns = names(
        &["run", "kernel_boot_id", "k"],
        std::iter::once("cores").chain(columns.into_iter().map(|(name, _)| name)),
        &[],
    );
    if each(columns, Vec::new()).is_break() {
        return Ok(());
    }
    store.kernels(run, &mut |rows| {
        let lines = rows.into_iter().map(|kernel| {
            let keys = [
                ("run", run.to_string().into()),
                ("kernel_boot_id", kernel.kernel_boot_id.into()),
                ("k", kernel.k.into()),
                ("cores", kernel.cores.into()),
            ];
            text(row(keys
                .into_iter()
                .chain(times(t0, kernel.start_ns, kernel.length_ns))
                .chain(figures(kernel.counters.columns()))))
        });
        each(Vec::new(), lines.collect())
    })
}
