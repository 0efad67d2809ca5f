//! Puts the two ends of a flow beside each other.

use std::collections::VecDeque;

use serde_json::{Map, Value};
use weir_common::id::FlowId;
use weir_common::record::{End, Record};

use super::{Context, column};

/// A row's place within its flow: the sum first, then the streams.
type Place = (Option<u16>, u32);

/// Joins rows that come ordered by flow, end (tx first), stream and k.
///
/// Holds the tx rows of one flow, without the columns that have no figure.
#[derive(Debug)]
pub(super) struct Joiner<'a> {
    context: &'a Context,
    flow: Option<FlowId>,
    waiting: VecDeque<(Place, Map<String, Value>)>,
}

impl<'a> Joiner<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            flow: None,
            waiting: VecDeque::new(),
        }
    }

    /// Takes the next row; gives what is complete by it.
    pub(super) fn push(&mut self, record: &Record, give: &mut dyn FnMut(Map<String, Value>)) {
        if self.flow != Some(record.flow) {
            self.finish(give);
            self.flow = Some(record.flow);
        }
        let place = (record.stream, record.k);
        match record.end {
            End::Tx => {
                let mut row = self.context.named(record);
                put(&mut row, record);
                self.waiting.push_back((place, row));
            }
            End::Rx => {
                while let Some((_, alone)) = self.take_if(|tx| tx < place) {
                    give(alone);
                }
                let mut row = match self.take_if(|tx| tx == place) {
                    Some((_, beside)) => beside,
                    None => self.context.named(record),
                };
                put(&mut row, record);
                give(row);
            }
        }
    }

    /// Takes the first tx row if its place is the right one.
    fn take_if(
        &mut self,
        right: impl FnOnce(Place) -> bool,
    ) -> Option<(Place, Map<String, Value>)> {
        let (place, _) = self.waiting.front()?;
        if right(*place) {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// No more rows of this flow: gives what has no other end.
    pub(super) fn finish(&mut self, give: &mut dyn FnMut(Map<String, Value>)) {
        for (_, alone) in self.waiting.drain(..) {
            give(alone);
        }
    }
}

fn put(row: &mut Map<String, Value>, record: &Record) {
    for column in column::TIME.iter().chain(column::FIGURES) {
        column.put(row, Some(record.end), record);
    }
}
