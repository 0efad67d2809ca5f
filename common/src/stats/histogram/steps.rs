//! The counters of a histogram, in as little memory as its samples need.

use super::STEPS;

/// Samples recorded one by one after which every step has its counter: a fast flow
/// then pays an increment for each, and has searched for no more than these.
const FEW_SAMPLES: u64 = 4_096;
/// Most steps that are listed: with their counts they take a quarter of the memory
/// of counters for all.
const FEW_STEPS: usize = 128;

/// The counters, in the first form that holds them; they only go on to later ones.
#[derive(Debug, Clone, Default)]
pub(super) enum Steps {
    #[default]
    Empty,
    /// The occupied steps, ascending: what a row of a slow flow has.
    Few(Vec<Occupied>),
    /// 32 bits each.
    Narrow(Box<[u32; STEPS]>),
    /// What histograms merged over hours may need.
    Wide(Box<[u64; STEPS]>),
}

/// A step that holds samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occupied {
    step: u16,
    count: u16,
}

impl Steps {
    /// Adds the `recorded`-th sample.
    #[inline]
    pub(super) fn record(&mut self, index: usize, recorded: u64) {
        if let Self::Narrow(counters) = self
            && let Some(sum) = counters[index].checked_add(1)
        {
            counters[index] = sum;
            return;
        }
        if recorded > FEW_SAMPLES {
            self.spread();
        }
        self.add(index, 1);
    }

    /// Adds to a step.
    pub(super) fn add(&mut self, index: usize, count: u64) {
        loop {
            match self {
                Self::Empty => *self = Self::Few(Vec::new()),
                Self::Few(list) => {
                    if add_to_list(list, index, count) {
                        return;
                    }
                    self.spread();
                }
                Self::Narrow(counters) => {
                    let sum = u64::from(counters[index]).saturating_add(count);
                    if let Ok(sum) = u32::try_from(sum) {
                        counters[index] = sum;
                        return;
                    }
                    let mut wide = Box::new([0; STEPS]);
                    for (to, from) in wide.iter_mut().zip(counters.iter()) {
                        *to = u64::from(*from);
                    }
                    *self = Self::Wide(wide);
                }
                Self::Wide(counters) => {
                    counters[index] = counters[index].saturating_add(count);
                    return;
                }
            }
        }
    }

    /// Gives every step its counter.
    #[cold]
    fn spread(&mut self) {
        if let Self::Empty | Self::Few(_) = self {
            let mut counters = Box::new([0; STEPS]);
            for (index, count) in self.occupied() {
                counters[index] = count as u32; // of 16 bits
            }
            *self = Self::Narrow(counters);
        }
    }

    /// (index, count) of each step that holds samples, ascending.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let (few, narrow, wide): (&[Occupied], &[u32], &[u64]) = match self {
            Self::Empty => (&[], &[], &[]),
            Self::Few(list) => (list, &[], &[]),
            Self::Narrow(counters) => (&[], &counters[..], &[]),
            Self::Wide(counters) => (&[], &[], &counters[..]),
        };
        let few = few
            .iter()
            .map(|each| (usize::from(each.step), u64::from(each.count)));
        let narrow = narrow.iter().map(|count| u64::from(*count));
        let all = narrow.chain(wide.iter().copied()).enumerate();
        few.chain(all.filter(|(_, count)| *count > 0))
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Few(list) => list.capacity() * size_of::<Occupied>(),
            Self::Narrow(_) => size_of::<[u32; STEPS]>(),
            Self::Wide(_) => size_of::<[u64; STEPS]>(),
        }
    }
}

/// Whether the list could take it: a count may be too large, or the list full.
fn add_to_list(list: &mut Vec<Occupied>, index: usize, count: u64) -> bool {
    let step = index as u16; // STEPS is far below 2^16
    match list.binary_search_by_key(&step, |each| each.step) {
        Ok(at) => {
            let sum = u64::from(list[at].count).saturating_add(count);
            let Ok(sum) = u16::try_from(sum) else {
                return false;
            };
            list[at].count = sum;
        }
        Err(at) => {
            let Ok(count) = u16::try_from(count) else {
                return false;
            };
            if list.len() == FEW_STEPS {
                return false;
            }
            list.insert(at, Occupied { step, count });
        }
    }
    true
}
