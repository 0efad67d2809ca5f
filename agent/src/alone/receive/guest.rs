//! A generator that has dialled: greeted, measured with, told the result.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use weir_common::assignment::Assignment;
use weir_common::record::{End, FlowClosed};
use weir_engine::engine::Event;
use weir_experiment::output::figure::bytes;
use weir_experiment::output::text::{plural, printable};
use weir_proto::convert::{clip, limits};
use weir_proto::frame::VERSION;
use weir_proto::peer::v1 as pb;
use weir_proto::peer::v1::frame::Message;
use weir_wire::handshake::{Answer, MAX_LENGTH, Preamble};

use super::super::channel::{Channel, ChannelError};
use super::super::offer::{self, Terms};
use super::super::share::{self, Share, Told};
use super::{Context, GUESTS_MOST, Served};

/// Time for a connection to say what it is.
const PREAMBLE_LIMIT: Duration = Duration::from_secs(5);
/// Time for a generator to make its offer.
const OFFER_LIMIT: Duration = Duration::from_secs(30);
/// How much longer than its settle time a generator may wait with T0.
const START_GRACE: Duration = Duration::from_secs(60);
/// The farthest that T0 may be, ns.
const LEAD_MOST_NS: u64 = 60_000_000_000;
/// Time for the generator to say what the whole came to.
const OUTCOME_LIMIT: Duration = Duration::from_secs(60);
/// Entries sent in one message, at most.
const ENTRIES_AT_ONCE: usize = 64;

/// One connection from its first byte to its last.
pub(super) async fn guest(
    context: Arc<Context>,
    mut stream: TcpStream,
    peer: SocketAddr,
    busy: bool,
) -> Served {
    let address = peer.ip().to_canonical();
    let shown = SocketAddr::new(address, peer.port());
    if let Err(why) = welcome(&context, &mut stream, address, busy).await {
        context.say(format!("{shown} turned away: {}", printable(&why)));
        return Served::Nothing;
    }
    let mut channel = Channel::new(stream);
    let met = timeout(OFFER_LIMIT, meet(&context, &mut channel, address)).await;
    let (assignment, title, name) = match met {
        Ok(Ok(Some(offered))) => offered,
        // It had a look, and left.
        Ok(Ok(None)) => return Served::Nothing,
        Ok(Err(why)) => {
            context.say(format!("{shown} turned away: {}", printable(&why)));
            let _gone = channel.send(Message::Refused(pb::Refused {
                reason: clip(&why, limits::REASON),
            }));
            channel.close().await;
            return Served::Nothing;
        }
        Err(_) => {
            context.say(format!("{shown} turned away: it made no offer"));
            return Served::Nothing;
        }
    };
    let streams = offer::streams(&assignment);
    context.streams_in_use.fetch_add(streams, Ordering::Relaxed);
    context.say(format!(
        "{shown} {}: {}",
        printable(&name),
        printable(&title)
    ));
    let served = test(&context, &mut channel, address, assignment).await;
    context.streams_in_use.fetch_sub(streams, Ordering::Relaxed);
    let exit = match served {
        Ok(Some(document)) => context.show(&document),
        Ok(None) => {
            context.say(format!("{shown} did not say what its test came to"));
            3
        }
        Err(broken) => {
            context.say(format!("{shown} {broken}"));
            3
        }
    };
    channel.close().await;
    Served::Test(exit)
}

/// Reads the preamble and answers it.
async fn welcome(
    context: &Context,
    stream: &mut TcpStream,
    peer: IpAddr,
    busy: bool,
) -> Result<(), String> {
    let mut bytes = Vec::with_capacity(MAX_LENGTH);
    let preamble = async {
        loop {
            match Preamble::decode(&bytes) {
                Ok(Some((preamble, _))) => return Ok(preamble),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            // One byte at a time: what follows the preamble is not ours to read here.
            match stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(error) => return Err(format!("it closed the connection ({error})")),
            }
        }
    };
    let preamble = timeout(PREAMBLE_LIMIT, preamble)
        .await
        .map_err(|_| "it did not say what it wants".to_owned())??;
    let (answer, refusal) = match preamble {
        Preamble::Meeting { version } if version != VERSION => (
            Answer::OtherVersion,
            Some(format!(
                "it speaks version {version} of the protocol, this side {VERSION}"
            )),
        ),
        Preamble::Meeting { .. } => match context.host.policy(peer).destination(peer, None) {
            Err(rule) => (Answer::Policy, Some(rule)),
            Ok(()) if busy => (
                Answer::Busy,
                Some(format!("{GUESTS_MOST} generators are served already")),
            ),
            Ok(()) => (Answer::Accepted, None),
        },
        Preamble::Link { .. } | Preamble::Data { .. } => (
            Answer::NotServed,
            Some("it belongs to an agent's run: no agent of a controller listens here".to_owned()),
        ),
    };
    let written = stream.write_all(&[answer.encode()]).await;
    refusal.map_or(Ok(()), Err)?;
    written.map_err(|error| format!("it closed the connection ({error})"))
}

/// Until the offer: assignment, title and name of the peer. `None` if it leaves.
async fn meet(
    context: &Context,
    channel: &mut Channel,
    peer: IpAddr,
) -> Result<Option<(Assignment, String, String)>, String> {
    let mut name = None;
    loop {
        let message = match channel.receive().await {
            Ok(message) => message,
            Err(ChannelError::Closed) => return Ok(None),
            Err(error) => return Err(crate::supervisor::chain(&error)),
        };
        let sent = match (message, &name) {
            (Message::Hello(hello), None) => {
                name = Some(clip(&hello.name, limits::WORD));
                channel.send(Message::Hello(pb::Hello {
                    name: context.host.name.to_string(),
                    host: Some(context.host.inventory.clone()),
                    generates: context.options.generates,
                }))
            }
            (Message::ClockProbe(probe), Some(_)) => {
                channel.send(Message::ClockReply(pb::ClockReply {
                    number: probe.number,
                    mono_ns: context.host.clock.now_ns(),
                }))
            }
            (Message::Offer(offered), Some(name)) => {
                let offer = offered.assignment.ok_or("an offer without an assignment")?;
                let in_use = context.streams_in_use.load(Ordering::Relaxed);
                let terms = Terms {
                    generates: context.options.generates,
                    policy: context.host.policy(peer),
                    free_streams: (context.host.inventory.max_sessions as usize)
                        .saturating_sub(in_use),
                };
                let assignment = offer::admit(&offer, peer, &terms)?;
                let title = clip(&offered.title, limits::WORD);
                return Ok(Some((assignment, title, name.clone())));
            }
            _ => return Err("it does not keep to the order of the protocol".to_owned()),
        };
        sent.map_err(|error| error.to_string())?;
    }
}

/// A connection that ended before its test did, and what had been counted.
struct Broken {
    why: String,
    closed: Vec<FlowClosed>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {}", printable(&self.why))?;
        for closed in self.closed.iter().filter(|closed| closed.end == End::Rx) {
            write!(
                f,
                "; flow {} received {}",
                closed.flow,
                bytes(closed.total.rx_bytes.unwrap_or(0))
            )?;
            if let Some(packets) = closed.total.rx_packets {
                write!(f, " in {}", plural(packets as usize, "packet"))?;
            }
        }
        Ok(())
    }
}

/// Does this side's share of a test; the result document that the generator made
/// of both.
async fn test(
    context: &Context,
    channel: &mut Channel,
    peer: IpAddr,
    assignment: Assignment,
) -> Result<Option<String>, Broken> {
    let settle = Duration::from_nanos(assignment.settle_ns);
    let mut share = match Share::begin(&context.host, peer, assignment) {
        Ok(share) => share,
        Err(why) => {
            let reason = clip(&why, limits::REASON);
            let _gone = channel.send(Message::Refused(pb::Refused { reason }));
            return Err(Broken {
                why,
                closed: Vec::new(),
            });
        }
    };
    let mut closed = Vec::new();
    let served = serve_share(context, channel, &mut share, settle, &mut closed).await;
    let Err(why) = served else {
        return Ok(outcome(channel).await);
    };
    // What was begun ends, so that its ports and threads are free again.
    share.engine().stop(&why);
    let mut told = Vec::new();
    while !told.iter().any(Told::is_last) {
        share.tell(&mut told, ENTRIES_AT_ONCE).await;
    }
    closed.extend(told.into_iter().filter_map(|told| match told {
        Told::Engine(Event::Closed(flow)) => Some(*flow),
        _ => None,
    }));
    Err(Broken { why, closed })
}

/// Both ways until the share is finished.
async fn serve_share(
    context: &Context,
    channel: &mut Channel,
    share: &mut Share,
    settle: Duration,
    closed: &mut Vec<FlowClosed>,
) -> Result<(), String> {
    let broken = |error: ChannelError| crate::supervisor::chain(&error);
    channel
        .send(Message::Accepted(pb::Accepted {}))
        .map_err(broken)?;
    let start_by = Instant::now() + settle + START_GRACE;
    let mut started = false;
    let mut ending = false;
    let mut told = Vec::new();
    loop {
        tokio::select! {
            () = share.tell(&mut told, ENTRIES_AT_ONCE) => {
                let entries: Vec<_> = told.iter().filter_map(share::entry).collect();
                if !entries.is_empty() {
                    channel.send(share::rows(&entries)).map_err(broken)?;
                }
                for event in told.drain(..).filter_map(Told::engine) {
                    if let Some(news) = share::news(&event) {
                        channel.send(news).map_err(broken)?;
                    }
                    match event {
                        Event::Closed(flow) => closed.push(*flow),
                        Event::Finished => {
                            return channel.send(Message::Finished(pb::Finished {})).map_err(broken);
                        }
                        _ => {}
                    }
                }
            }
            message = channel.receive() => match message.map_err(broken)? {
                Message::Excluded(excluded) => {
                    share.engine().exclude(weir_common::id::SessionId(excluded.session));
                }
                Message::Start(start) => {
                    let ahead_ns = start.mono_ns.saturating_sub(context.host.clock.now_ns());
                    if ahead_ns > LEAD_MOST_NS {
                        return Err("its T0 is farther than a minute".to_owned());
                    }
                    started = true;
                    share.start(start.mono_ns);
                }
                Message::Stop(stop) => {
                    share.engine().stop(&clip(&stop.reason, limits::REASON));
                }
                _ => return Err("it does not keep to the order of the protocol".to_owned()),
            },
            () = tokio::time::sleep_until(start_by), if !started => {
                return Err("it did not start its test".to_owned());
            }
            () = context.shutdown.requested(), if !ending => {
                ending = true;
                let reason = "the receiver was ended";
                share.engine().stop(reason);
                let stop = Message::Stop(pb::Stop { reason: reason.to_owned() });
                channel.send(stop).map_err(broken)?;
            }
        }
    }
}

/// The result document, if the generator sends it.
async fn outcome(channel: &mut Channel) -> Option<String> {
    let receive = async {
        loop {
            match channel.receive().await {
                Ok(Message::Outcome(outcome)) => return Some(outcome.result_json),
                // It may have been sent while the share came to its end.
                Ok(Message::Stop(_) | Message::Excluded(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    };
    timeout(OUTCOME_LIMIT, receive).await.ok().flatten()
}
