//! What becomes of each packet, told by its sequence number; time is counted in
//! packets, so that nothing depends on the clock.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::Context;

/// Which packets leave when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    which: Which,
    /// For each copy after which later packet it leaves: 0 is at once.
    copies: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    /// One of so many.
    Place { place: u64, every: u64 },
    /// From the first to the last.
    Range { first: u64, last: u64 },
}

impl Which {
    fn has(&self, sequence: u64) -> bool {
        match *self {
            Self::Place { place, every } => sequence % every == place,
            Self::Range { first, last } => (first..=last).contains(&sequence),
        }
    }
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (which, copies) = text.split_once(':').context("WHICH:WHEN")?;
        let which = if let Some((place, every)) = which.split_once('/') {
            let (place, every) = (place.parse()?, every.parse()?);
            anyhow::ensure!(place < every, "place {place} of {every}");
            Which::Place { place, every }
        } else {
            let (first, last) = which.split_once('-').context("PLACE/EVERY or FIRST-LAST")?;
            Which::Range {
                first: first.parse()?,
                last: last.parse()?,
            }
        };
        let copies = copies.split(',').filter(|copy| !copy.is_empty());
        let copies = copies.map(|copy| Ok(copy.parse()?));
        Ok(Self {
            which,
            copies: copies.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// The packets that wait for later ones.
#[derive(Debug)]
pub(crate) struct Held {
    script: Vec<Step>,
    /// By the packet after which they leave.
    waiting: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Held {
    pub(crate) fn new(script: Vec<Step>) -> Self {
        Self {
            script,
            waiting: BTreeMap::new(),
        }
    }

    /// A packet comes; what leaves, in this order.
    pub(crate) fn pass(&mut self, sequence: u64, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut leaving = Vec::new();
        let step = self.script.iter().find(|step| step.which.has(sequence));
        for after in step.map_or(&[0][..], |step| &step.copies) {
            if *after == 0 {
                leaving.push(datagram.to_vec());
            } else {
                let due = self.waiting.entry(sequence.saturating_add(*after));
                due.or_default().push(datagram.to_vec());
            }
        }
        let later = self.waiting.split_off(&sequence.saturating_add(1));
        let due = std::mem::replace(&mut self.waiting, later);
        leaving.extend(due.into_values().flatten());
        leaving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_as_the_script_says() {
        let steps = ["1/10:", "2/10:0,0", "3/10:2", "7-8:100"];
        let script = steps.map(|step| step.parse().unwrap()).to_vec();
        let mut held = Held::new(script);
        let passed: Vec<u8> = (0..10)
            .flat_map(|sequence| held.pass(sequence, &[sequence as u8]))
            .flatten()
            .collect();
        assert_eq!(passed, [0, 2, 2, 4, 5, 3, 6, 9]);
        assert_eq!(held.pass(108, &[108]), [[108], [7], [8]]);
        for wrong in ["", "1/0:", "4:1", "5/5:0", "1/10:x"] {
            wrong.parse::<Step>().unwrap_err();
        }
    }
}
