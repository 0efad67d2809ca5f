//! How the clock of a session's sender stands to its receiver's.

use weir_common::assignment::Transport;
use weir_common::record::{End, FlowClosed};
use weir_wire::probe_header::LENGTH;

use super::{Session, State};
use crate::link::{Finding, Inquiry};
use crate::meter::datagrams::SenderClock;
use crate::offset::Offset;
use crate::run::Run;

/// How old an estimate may be that a session takes over from another one.
const FRESH_NS: u64 = 5_000_000_000;

/// What is known of the peer's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PeerClock {
    /// Nothing.
    #[default]
    Unknown,
    /// It is ours.
    Same,
    /// It is being asked for.
    Asked(Inquiry),
    /// It was asked for.
    Estimated(Offset),
}

impl PeerClock {
    pub(super) fn is_asked(self) -> bool {
        matches!(self, Self::Asked(_))
    }
}

impl Session {
    /// Whether this end makes delays out of the peer's stamps.
    fn reads_stamps(&self) -> bool {
        let traffic = self.traffic();
        self.spec.end == End::Rx
            && traffic.transport == Transport::Udp
            && traffic.size as usize >= LENGTH
    }

    /// The link is there: what is known of its other end's clock, or a question for
    /// it. After T0 nothing is asked, since only payload may travel.
    pub(super) fn meet_clock(&self, run: &Run, state: &State, same_clock: bool) -> PeerClock {
        match &state.link {
            _ if same_clock => PeerClock::Same,
            Some(link) if self.reads_stamps() && !run.is_past_t0() => {
                let now_ns = run.config.clock.now_ns();
                PeerClock::Asked(link.ask_clock(now_ns.saturating_sub(FRESH_NS), now_ns))
            }
            _ => PeerClock::Unknown,
        }
    }

    /// Whether the answer of the peer's clock is still to come.
    pub(super) fn awaits_clock(state: &mut State) -> bool {
        if let (PeerClock::Asked(inquiry), Some(link)) = (state.clock, &state.link) {
            state.clock = match link.finding(inquiry) {
                Finding::Waits => state.clock,
                Finding::Found(offset) => PeerClock::Estimated(offset),
                Finding::Nothing => PeerClock::Unknown,
            };
        }
        state.clock.is_asked()
    }

    /// The clock by which this end's receivers make delays.
    pub(crate) fn sender_clock(&self) -> SenderClock {
        match self.lock().clock {
            PeerClock::Same if self.reads_stamps() => SenderClock::Same,
            PeerClock::Estimated(offset) => SenderClock::Estimated(offset),
            _ => SenderClock::Relative { offset_ns: None },
        }
    }

    /// A flow has ended, at `end_ns` from T0 at the latest, whose delays go by an
    /// estimate: asks for another one. One that was made for a flow that ended just
    /// before will do.
    pub(super) fn ask_again(
        run: &Run,
        state: &State,
        end_ns: u64,
        closed: &FlowClosed,
    ) -> Option<Inquiry> {
        let link = state.link.as_ref().filter(|link| !link.is_broken())?;
        let estimated = matches!(state.clock, PeerClock::Estimated(_));
        let now_ns = run.config.clock.now_ns();
        (estimated && closed.window.delay.is_some())
            .then(|| link.ask_clock(now_ns.min(end_ns + run.t0_ns().unwrap_or(0)), now_ns))
    }

    /// The bound of a flow's delays, once the second estimate is there: what lies
    /// between both. Without it, the rows' own.
    pub(super) fn bound_delay(state: &State, inquiry: Option<Inquiry>, closed: &mut FlowClosed) {
        if let (PeerClock::Estimated(first), Some(inquiry)) = (state.clock, inquiry)
            && let Some(link) = &state.link
            && let Finding::Found(second) = link.finding(inquiry)
        {
            closed.window.delay_bound_ns = Some(first.bound_until_ns(&second));
        }
    }
}
