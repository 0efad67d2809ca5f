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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use weir_wire::link::LinkDecoder;

    use super::*;
    use crate::socket::{DirectProvider, SocketProvider, StreamRequest, TcpConnection, TcpOptions};

    /// Longer than a survey may take.
    const LATER_NS: u64 = 10_000_000_000;

    /// A link, and the peer's end of its connection.
    fn link() -> (FlowLink, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        let request = StreamRequest {
            remote,
            local: None,
            interface: None,
        };
        let fd = DirectProvider.tcp_stream(&request).unwrap();
        let mut connecting = TcpConnection::begin(fd, remote, &TcpOptions::default()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        loop {
            match connecting.finish().unwrap() {
                Ok(connection) => return (FlowLink::new(connection), peer),
                Err(again) => connecting = again,
            }
        }
    }

    /// The next message at the peer's end.
    fn next(peer: &mut TcpStream, decoder: &mut LinkDecoder) -> LinkMessage {
        loop {
            if let Some(message) = decoder.next_message().unwrap() {
                return message;
            }
            let mut byte = [0];
            assert_eq!(peer.read(&mut byte).unwrap(), 1, "the link ended");
            decoder.push(&byte);
        }
    }

    fn is_silent(peer: &TcpStream) -> bool {
        peer.set_nonblocking(true).unwrap();
        let silent = peer.peek(&mut [0]).is_err();
        peer.set_nonblocking(false).unwrap();
        silent
    }

    #[test]
    fn sessions_share_a_survey_and_its_estimate() {
        let (link, mut peer) = link();
        let mut decoder = LinkDecoder::new();
        let first = link.ask_clock(0, 1_000);
        let second = link.ask_clock(500, 1_100);
        assert_eq!(link.finding(first), Finding::Waits);
        let mut now_ns = 1_000;
        loop {
            let LinkMessage::ClockQuestion { asked_ns } = next(&mut peer, &mut decoder) else {
                panic!("no question");
            };
            now_ns += 100;
            let answer = ClockAnswer {
                asked_ns,
                heard_ns: asked_ns + 7_050,
                answered_ns: asked_ns + 7_050,
            };
            assert!(is_silent(&peer), "one question at a time");
            if link.clock_answered(&answer, now_ns) {
                break;
            }
        }
        for inquiry in [first, second, link.ask_clock(1_000, now_ns)] {
            let Finding::Found(offset) = link.finding(inquiry) else {
                panic!("{inquiry:?}: {:?}", link.finding(inquiry));
            };
            assert_eq!((offset.ahead_ns, offset.bound_ns), (7_000, 50));
        }
        assert!(is_silent(&peer), "a fresh estimate is not asked for again");
        let fresher = link.ask_clock(now_ns + 1, now_ns + 1);
        assert_eq!(link.finding(fresher), Finding::Waits);
    }

    #[test]
    fn a_peer_that_does_not_answer_is_not_waited_for() {
        let (link, _peer) = link();
        let inquiry = link.ask_clock(0, 1_000);
        let until_ns = link.survey_until_ns().unwrap();
        assert!(!link.expire_survey(until_ns - 1));
        assert_eq!(link.finding(inquiry), Finding::Waits);
        assert!(link.expire_survey(until_ns));
        assert_eq!(link.finding(inquiry), Finding::Nothing);
        assert_eq!(link.survey_until_ns(), None);
        let stray = ClockAnswer {
            asked_ns: 1_000,
            heard_ns: 5,
            answered_ns: 5,
        };
        assert!(!link.clock_answered(&stray, until_ns + 1), "too late");
        assert_eq!(link.finding(inquiry), Finding::Nothing);
        let again = link.ask_clock(LATER_NS, LATER_NS);
        assert_eq!(link.finding(again), Finding::Waits, "another survey");
    }

    #[test]
    fn questions_of_a_peer_that_reads_nothing_go_unanswered_in_the_end() {
        let (link, _peer) = link();
        let mut rounds = 0_u32;
        while !link.is_full() {
            for _ in 0..1_000 {
                link.answer_clock(1, 2, || 3);
            }
            rounds += 1;
            assert!(rounds < 100_000, "the queue never fills");
        }
        let waits = link.lock().bytes.len();
        link.answer_clock(1, 2, || 3);
        assert_eq!(link.lock().bytes.len(), waits);
    }
}
