//! Which sessions can start: what the two ends of each have said.

use std::collections::BTreeMap;

use weir_common::id::SessionId;

/// One of the two sides of a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// This process.
    Here,
    /// The peer.
    There,
}

impl Side {
    /// The opposite side.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Here => Self::There,
            Self::There => Self::Here,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    #[default]
    Open,
    Ready,
    Failed,
}

/// How all sessions stand.
///
/// ```text
/// Open ──ready──► Ready
///   └───failed──► Failed, and the other end is excluded
/// ```
#[derive(Debug)]
pub(super) struct Agreement {
    /// Ours, the peer's.
    sessions: BTreeMap<SessionId, (Standing, Standing)>,
}

impl Agreement {
    /// Nothing said yet.
    pub(super) fn new(sessions: impl IntoIterator<Item = SessionId>) -> Self {
        Self {
            sessions: sessions
                .into_iter()
                .map(|session| (session, Default::default()))
                .collect(),
        }
    }

    /// An end is ready. A session that is not known is ignored, as is a second word.
    pub(super) fn ready(&mut self, side: Side, session: SessionId) {
        self.set(side, session, Standing::Ready);
    }

    /// An end cannot start: whether the other end has to be told.
    pub(super) fn failed(&mut self, side: Side, session: SessionId) -> bool {
        self.set(side, session, Standing::Failed)
            && self.get(side.other(), session) != Some(Standing::Failed)
    }

    /// Whether no session is undecided: all ready at both ends, or failed at both.
    pub(super) fn is_decided(&self) -> bool {
        self.sessions
            .values()
            .all(|(here, there)| *here != Standing::Open && *there != Standing::Open)
    }

    /// Sessions that can start.
    pub(super) fn ready_count(&self) -> usize {
        let ready = |ends: &&(Standing, Standing)| **ends == (Standing::Ready, Standing::Ready);
        self.sessions.values().filter(ready).count()
    }

    fn get(&self, side: Side, session: SessionId) -> Option<Standing> {
        let (here, there) = self.sessions.get(&session)?;
        Some(match side {
            Side::Here => *here,
            Side::There => *there,
        })
    }

    /// Whether it was news. A session that was ready may still fail.
    fn set(&mut self, side: Side, session: SessionId, to: Standing) -> bool {
        let Some((here, there)) = self.sessions.get_mut(&session) else {
            return false;
        };
        let standing = match side {
            Side::Here => here,
            Side::There => there,
        };
        let is_news = *standing != to && *standing != Standing::Failed;
        if is_news {
            *standing = to;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(1);
    const TWO: SessionId = SessionId(2);

    #[test]
    fn all_have_to_be_decided_at_both_ends() {
        let mut agreement = Agreement::new([ONE, TWO]);
        agreement.ready(Side::Here, ONE);
        agreement.ready(Side::There, ONE);
        assert!(!agreement.is_decided());
        assert!(
            agreement.failed(Side::There, TWO),
            "the other end is to be told"
        );
        assert!(!agreement.is_decided(), "and has to answer");
        assert!(!agreement.failed(Side::Here, TWO));
        assert!(agreement.is_decided());
        assert_eq!(agreement.ready_count(), 1);
    }

    #[test]
    fn one_that_was_ready_may_fail_and_never_recovers() {
        let mut agreement = Agreement::new([ONE]);
        agreement.ready(Side::Here, ONE);
        agreement.ready(Side::There, ONE);
        assert!(agreement.failed(Side::There, ONE));
        agreement.ready(Side::There, ONE);
        assert_eq!(agreement.ready_count(), 0);
    }

    #[test]
    fn strange_sessions_and_repeated_words_change_nothing() {
        let mut agreement = Agreement::new([ONE]);
        assert!(!agreement.failed(Side::There, TWO));
        assert!(agreement.failed(Side::There, ONE));
        assert!(!agreement.failed(Side::There, ONE));
    }
}
