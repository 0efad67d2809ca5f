//! How an end of a link learns where the peer's clock stands: surveys, one at a time,
//! whichever sessions wait for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_wire::link::{ClockAnswer, LinkMessage};

use super::FlowLink;
use crate::offset::{Exchange, Offset, Step, Survey};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LinkClock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Surveys begun so far.
    surveys: u32,
    under_way: Option<Survey>,
    /// The newest estimate.
    latest: Option<Offset>,
}

impl State {
    fn end_survey(&mut self) {
        if let Some(survey) = self.under_way.take() {
            self.latest = survey.best().or(self.latest);
        }
    }
}

impl LinkClock {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements that hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session waits for: an estimate that is not older than it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inquiry {
    survey: u32,
    since_ns: u64,
}

/// What became of an inquiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is under way.
    Waits,
    /// The estimate.
    Found(Offset),
    /// Nothing was answered, or will be.
    Nothing,
}

impl FlowLink {
    /// Asks for an estimate of the peer's clock made at `since_ns` or later: one that
    /// is there will do, else that of a survey under way, else one begins. Rouses
    /// every task of the run when it is over.
    pub(crate) fn ask_clock(&self, since_ns: u64, now_ns: u64) -> Inquiry {
        let mut clock = self.clock.lock();
        let known = clock.latest.is_some_and(|offset| offset.at_ns >= since_ns);
        let begins = !known && clock.under_way.is_none();
        if begins {
            clock.surveys += 1;
            clock.under_way = Some(Survey::new(now_ns));
        }
        let survey = clock.surveys;
        drop(clock);
        if begins {
            self.send(&LinkMessage::ClockQuestion { asked_ns: now_ns });
            // Its task waits for the answer no longer than it should.
            if let Some(alarm) = self.alarm.get() {
                alarm.ring();
            }
        }
        Inquiry { survey, since_ns }
    }

    /// What became of an inquiry.
    pub(crate) fn finding(&self, inquiry: Inquiry) -> Finding {
        let clock = self.clock.lock();
        let found = clock
            .latest
            .filter(|offset| offset.at_ns >= inquiry.since_ns);
        let waits = clock.under_way.is_some() && clock.surveys == inquiry.survey;
        match found {
            Some(offset) => Finding::Found(offset),
            None if waits && !self.is_broken() => Finding::Waits,
            None => Finding::Nothing,
        }
    }

    /// Answers the peer's question, unless the peer reads no answers.
    pub(super) fn answer_clock(&self, asked_ns: u64, heard_ns: u64, now: impl Fn() -> u64) {
        if self.is_full() {
            return;
        }
        self.send(&LinkMessage::ClockAnswer(ClockAnswer {
            asked_ns,
            heard_ns,
            answered_ns: now(),
        }));
    }

    /// The peer's answer has come; whether the survey is over with it.
    pub(super) fn clock_answered(&self, answer: &ClockAnswer, now_ns: u64) -> bool {
        let mut clock = self.clock.lock();
        let Some(survey) = &mut clock.under_way else {
            return false;
        };
        let step = survey.answered(&Exchange {
            asked_ns: answer.asked_ns,
            heard_ns: answer.heard_ns,
            answered_ns: answer.answered_ns,
            returned_ns: now_ns,
        });
        let asked_ns = survey.asked_ns();
        if step == Step::Over {
            clock.end_survey();
        }
        drop(clock);
        if step == Step::Ask {
            self.send(&LinkMessage::ClockQuestion { asked_ns });
        }
        step == Step::Over
    }

    /// Until when the survey under way waits for an answer.
    pub(super) fn survey_until_ns(&self) -> Option<u64> {
        self.clock.lock().under_way.as_ref().map(Survey::until_ns)
    }

    /// Ends a survey that has waited too long for an answer; whether it did.
    pub(super) fn expire_survey(&self, now_ns: u64) -> bool {
        let mut clock = self.clock.lock();
        let expired = clock
            .under_way
            .as_ref()
            .is_some_and(|survey| now_ns >= survey.until_ns());
        if expired {
            clock.end_survey();
        }
        expired
    }
}
