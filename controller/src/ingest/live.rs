//! How a run goes, from its committed rows. Pure.

use std::collections::BTreeMap;

use weir_common::id::FlowId;
use weir_common::record::{End, Record, add_counts};

use crate::store::RowCount;

/// Figures of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowFigures {
    /// Payload sent in the generator's newest row, bit/s.
    pub tx_bps: u64,
    /// Payload received in the receiver's newest row, bit/s.
    pub rx_bps: u64,
    /// Packets lost so far; `None` where nothing tells (TCP).
    pub lost_packets: Option<u64>,
}

/// The newest figures of a run.
///
/// Takes rows in any order, each once. Rows that were stored before it began
/// are told by [`LiveView::found`].
#[derive(Debug, Clone, Default)]
pub struct LiveView {
    expected: u64,
    flows: BTreeMap<FlowId, FlowFigures>,
    ends: BTreeMap<(FlowId, End), EndRows>,
}

/// Rows of one end of one flow.
///
/// Both counts are lower bounds of the truth, so the larger one is taken:
/// `k` rises by one from 0 in each stream, so the highest one tells how many
/// there are, also of those that came before a restart of the controller.
#[derive(Debug, Clone, Default)]
struct EndRows {
    found: u64,
    next_k: BTreeMap<Option<u16>, u64>,
}

impl EndRows {
    fn rows(&self) -> u64 {
        self.found.max(self.next_k.values().sum())
    }
}

impl LiveView {
    /// Of a run that is planned to give so many rows.
    pub fn new(expected: u64) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// A row was committed.
    pub fn stored_row(&mut self, record: &Record) {
        let rows = self.ends.entry((record.flow, record.end)).or_default();
        let next = rows.next_k.entry(record.stream).or_default();
        let newest = u64::from(record.k) >= *next;
        *next = (*next).max(u64::from(record.k) + 1);
        if record.stream.is_some() {
            return;
        }
        let figures = self.flows.entry(record.flow).or_default();
        figures.lost_packets = add_counts(figures.lost_packets, record.counters.lost_packets);
        if newest {
            match record.end {
                End::Tx => figures.tx_bps = rate(record.counters.tx_bytes, record.length_ns),
                End::Rx => figures.rx_bps = rate(record.counters.rx_bytes, record.length_ns),
            }
        }
    }

    /// So many rows were found in the store.
    pub fn found(&mut self, counts: &[RowCount]) {
        for count in counts {
            let rows = self.ends.entry((count.flow, count.end)).or_default();
            rows.found = rows.found.max(count.rows);
        }
    }

    /// Figures of a flow that has any.
    pub fn flow(&self, flow: FlowId) -> Option<FlowFigures> {
        self.flows.get(&flow).copied()
    }

    /// Rows stored.
    pub fn stored(&self) -> u64 {
        self.ends.values().map(EndRows::rows).sum()
    }

    /// Rows planned.
    pub fn expected(&self) -> u64 {
        self.expected
    }
}

/// Bits per second of so many bytes in so many ns, rounded down.
fn rate(bytes: Option<u64>, length_ns: u64) -> u64 {
    let bits = u128::from(bytes.unwrap_or(0)) * 8_000_000_000;
    bits.checked_div(u128::from(length_ns))
        .map_or(0, |bps| u64::try_from(bps).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use weir_common::id::RunId;

    use super::*;
    use crate::store::samples::row;

    #[test]
    fn the_newest_row_gives_the_rate_and_losses_add_up() {
        let mut live = LiveView::new(40);
        assert_eq!(live.flow(FlowId(1)), None);
        for k in [0, 2, 1] {
            for end in [End::Tx, End::Rx] {
                let mut record = row(RunId(1), 1, end, k);
                record.length_ns = u64::from(k + 1) * 1_000_000_000;
                live.stored_row(&record);
                record.stream = Some(0);
                live.stored_row(&record);
            }
        }
        let figures = live.flow(FlowId(1)).unwrap();
        assert_eq!(figures.tx_bps, 140_000 * 8 / 3);
        assert_eq!(figures.rx_bps, 137_200 * 8 / 3);
        assert_eq!(figures.lost_packets, Some(6));
        assert_eq!((live.stored(), live.expected()), (12, 40));
    }

    #[test]
    fn rows_from_before_count_once() {
        let mut live = LiveView::new(40);
        let count = |flow, rows| RowCount {
            flow: FlowId(flow),
            end: End::Tx,
            rows,
        };
        live.stored_row(&row(RunId(1), 1, End::Tx, 7));
        assert_eq!(live.stored(), 8);
        // The count may or may not have seen that row.
        live.found(&[count(1, 7), count(2, 10)]);
        assert_eq!(live.stored(), 18);
        live.stored_row(&row(RunId(1), 1, End::Tx, 8));
        assert_eq!(live.stored(), 19);
    }

    #[test]
    fn absurd_rows_do_not_overflow() {
        let mut live = LiveView::new(0);
        let mut record = row(RunId(1), 1, End::Tx, u32::MAX);
        record.counters.tx_bytes = Some(u64::MAX);
        record.counters.lost_packets = Some(u64::MAX);
        for length_ns in [0, 1] {
            record.length_ns = length_ns;
            live.stored_row(&record);
        }
        assert_eq!(live.flow(FlowId(1)).unwrap().lost_packets, Some(u64::MAX));
    }
}
