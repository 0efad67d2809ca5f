//! What has to be true at the end, by a ledger that is kept beside the way of the records.

use std::collections::BTreeMap;

use weir_common::id::{AgentName, BootId};
use weir_common::record::{Entry, GapCause};

use super::controller::Database;

/// One boot of an agent.
#[derive(Debug, Default)]
pub(super) struct Boot {
    /// Whose.
    pub(super) agent: Option<AgentName>,
    /// What was made, in the order of its sequence.
    pub(super) emitted: Vec<Entry>,
    /// Up to here nothing may be missing: it was on disk when the agent was killed, or
    /// was synced when the power went.
    pub(super) floor: Option<u64>,
    /// Up to here everything was synced.
    pub(super) durable: u64,
    /// A sync has failed: nothing later is known to be durable.
    pub(super) unsynced: bool,
    /// The power went, or a write was cut.
    pub(super) harmed: bool,
    /// The highest acknowledgement that the agent took.
    pub(super) acked: u64,
    /// The highest watermark there ever was.
    pub(super) stored: u64,
    /// The lowest watermark that was put back.
    pub(super) put_back: Option<u64>,
    /// The highest sequence sent.
    pub(super) sent: u64,
}

impl Boot {
    /// Whether a gap may stand at a sequence.
    fn allows(&self, seq: u64, cause: GapCause) -> bool {
        let rewound = self.put_back.is_some_and(|kept| seq > kept);
        // What was delivered while the disk took nothing is nowhere else.
        let forgotten = rewound && seq <= self.acked;
        match cause {
            GapCause::Ended => forgotten || self.floor.is_some_and(|floor| seq > floor),
            GapCause::Damaged => forgotten || self.harmed && (seq > self.durable || rewound),
            GapCause::Forgotten => forgotten,
        }
    }
}

/// All boots.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) boots: BTreeMap<BootId, Boot>,
}

/// Gaps that were found.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    pub(super) ended: u64,
    pub(super) damaged: u64,
    pub(super) forgotten: u64,
}

impl Oracle {
    /// Compares what is stored with what was made.
    ///
    /// # Panics
    /// When something is lost, altered or made up.
    pub(super) fn judge(&self, database: &Database) -> Gaps {
        let mut gaps = Gaps::default();
        for (id, boot) in &self.boots {
            let Some(agent) = &boot.agent else { continue };
            let key = (agent.clone(), *id);
            let none = BTreeMap::new();
            let stored = database.entries.get(&key).unwrap_or(&none);
            let acked = database.watermark(agent, *id);
            assert_eq!(stored.len() as u64, acked, "{agent} {id}: not contiguous");
            for (seq, entry) in stored {
                if let Entry::Gap(gap) = entry {
                    assert!(
                        boot.allows(*seq, gap.cause),
                        "{agent} {id}: {:?} at {seq}: floor {:?}, durable {}, acknowledged {}, put back {:?}",
                        gap.cause,
                        boot.floor,
                        boot.durable,
                        boot.acked,
                        boot.put_back
                    );
                    match gap.cause {
                        GapCause::Ended => gaps.ended += 1,
                        GapCause::Damaged => gaps.damaged += 1,
                        GapCause::Forgotten => gaps.forgotten += 1,
                    }
                    continue;
                }
                let made = boot.emitted.get(*seq as usize - 1).cloned();
                let plain = |entry: Entry| match entry {
                    Entry::Closed(mut closed) => {
                        // The spool may have added that the disk took nothing.
                        closed.warnings.clear();
                        Entry::Closed(closed)
                    }
                    entry => entry,
                };
                assert_eq!(
                    Some(plain(entry.clone())),
                    made.map(plain),
                    "{agent} {id}: {seq} is another"
                );
            }
            let floor = boot.floor.unwrap_or(boot.emitted.len() as u64);
            // A boot that was wholly delivered has left nothing that could come again.
            let gone = boot.put_back.is_some() && boot.stored >= floor && boot.floor.is_some();
            assert!(
                acked >= floor || gone,
                "{agent} {id}: {acked} of {floor} are stored"
            );
        }
        gaps
    }
}
