//! Reaching a receiver: the connection, who is there, and how its clock stands.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use weir_common::id::AgentName;
use weir_proto::frame::VERSION;
use weir_proto::peer::v1 as pb;
use weir_proto::peer::v1::frame::Message;
use weir_proto::types::v1::Inventory;
use weir_wire::handshake::{Answer, Preamble};

use super::Error;
use super::channel::{Channel, ChannelError};
use super::clock::{Exchange, Relation};
use super::host::Host;
use super::target::Target;
use crate::supervisor::chain;

/// Time for one attempt to connect, and for each answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(200);
/// Questions for the clock: the quickest of so many is rarely delayed.
const PROBES: u32 = 16;

/// A receiver that has said who it is.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) channel: Channel,
    /// Our address towards it.
    pub(super) local: SocketAddr,
    /// Its address.
    pub(super) peer: SocketAddr,
    pub(super) name: AgentName,
    pub(super) host: Inventory,
    pub(super) generates: bool,
    pub(super) clock: Relation,
}

/// Connects and asks who is there; tries again for `settle` while the host does
/// not answer or refuses. `say` is told once when it has to wait.
///
/// # Errors
/// What is there instead, and what to do.
pub(super) async fn reach(
    target: &Target,
    bind: Option<IpAddr>,
    settle: Duration,
    host: &Host,
    say: impl Fn(String),
) -> Result<Receiver, Error> {
    let until = Instant::now() + settle;
    let mut told = false;
    loop {
        let why = match connect(target, bind, host).await {
            Ok(stream) => return meet(stream, target, host).await,
            Err(Reached::Never(error)) => return Err(error),
            Err(Reached::NotYet(why)) => why,
        };
        if Instant::now() + RETRY > until {
            return Err(Error::infrastructure(format!(
                "{target} cannot be reached: {why}: is `weir-agent receive` running there? (tried for {} s; --settle TIME)",
                settle.as_secs_f64()
            )));
        }
        if !told {
            told = true;
            say(format!(
                "{target}: {why}; trying again for {} s",
                settle.as_secs_f64()
            ));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Why there is no connection.
enum Reached {
    /// It may come.
    NotYet(String),
    /// It will not.
    Never(Error),
}

async fn connect(target: &Target, bind: Option<IpAddr>, host: &Host) -> Result<TcpStream, Reached> {
    let addresses = target
        .resolve()
        .await
        .map_err(|error| Reached::NotYet(format!("its name is not known: {error}")))?;
    let family = |address: &SocketAddr| bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
    let mut why = Reached::Never(Error::usage(format!(
        "{target} has no address of the family of --bind"
    )));
    for address in addresses.into_iter().filter(family) {
        if let Err(rule) = host.policy(address.ip()).destination(address.ip(), None) {
            why = Reached::Never(Error::infrastructure(rule));
            continue;
        }
        let attempt = async {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(bind) = bind {
                socket.bind(SocketAddr::new(bind, 0))?;
            }
            socket.connect(address).await
        };
        match timeout(ANSWER_LIMIT, attempt).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                why = Reached::Never(Error::usage(format!(
                    "--bind: this host has no such address: {error}"
                )));
            }
            Ok(Err(error)) => why = Reached::NotYet(error.to_string()),
            Err(_) => why = Reached::NotYet("no answer".to_owned()),
        }
    }
    Err(why)
}

/// Preamble, names, clock.
async fn meet(mut stream: TcpStream, target: &Target, host: &Host) -> Result<Receiver, Error> {
    let addresses = stream
        .local_addr()
        .and_then(|local| Ok((local, stream.peer_addr()?)));
    let (local, peer) =
        addresses.map_err(|error| Error::infrastructure(format!("{target}: {error}")))?;
    let met = timeout(ANSWER_LIMIT, async {
        greet(&mut stream).await?;
        let mut channel = Channel::new(stream);
        let hello = hello(&mut channel, host).await?;
        let clock = clock(&mut channel, host, &hello).await?;
        Ok::<_, String>((channel, hello, clock))
    });
    let (channel, hello, clock) = met
        .await
        .unwrap_or_else(|_| {
            Err(
                "it accepted the connection and did not answer: is it `weir-agent receive`?"
                    .to_owned(),
            )
        })
        .map_err(|why| Error::infrastructure(format!("{target}: {why}")))?;
    let name = hello.name.parse().map_err(|error| {
        Error::infrastructure(format!("{target} has no name that can be used: {error}"))
    })?;
    Ok(Receiver {
        channel,
        local,
        peer,
        name,
        host: hello.host.unwrap_or_default(),
        generates: hello.generates,
        clock,
    })
}

async fn greet(stream: &mut TcpStream) -> Result<(), String> {
    let broken = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
            "it closed the connection: is it `weir-agent receive`, and not another program?"
                .to_owned()
        }
        _ => format!("the connection broke: {error}"),
    };
    let preamble = Preamble::Meeting { version: VERSION };
    stream.write_all(&preamble.encode()).await.map_err(broken)?;
    let answer = stream.read_u8().await.map_err(broken)?;
    match Answer::decode(answer).map_err(|error| error.to_string())? {
        Answer::Accepted => Ok(()),
        Answer::OtherVersion => Err(format!(
            "the receiver does not speak version {VERSION} of the protocol: use the same weir-agent at both ends"
        )),
        Answer::Policy => Err("the receiver's policy forbids this host".to_owned()),
        Answer::Busy => {
            Err("the receiver serves as many generators as it can: try again later".to_owned())
        }
        Answer::NotServed => Err(
            "an agent of a controller listens there, within a run: start `weir-agent receive` at another port"
                .to_owned(),
        ),
        other => Err(format!("the receiver answered {other:?}")),
    }
}

async fn hello(channel: &mut Channel, host: &Host) -> Result<pb::Hello, String> {
    let hello = Message::Hello(pb::Hello {
        name: host.name.to_string(),
        host: Some(host.inventory.clone()),
        generates: false,
    });
    channel.send(hello).map_err(|error| chain(&error))?;
    match channel.receive().await {
        Ok(Message::Hello(hello)) => Ok(hello),
        Ok(other) => Err(unexpected(other)),
        Err(error) => Err(chain(&error)),
    }
}

/// Two processes that know the kernel's clock read the same one; else the quickest of some
/// exchanges says how the other's stands.
async fn clock(channel: &mut Channel, host: &Host, hello: &pb::Hello) -> Result<Relation, String> {
    let ours = &host.inventory.clock_domain;
    let theirs = hello.host.as_ref().map(|host| &host.clock_domain);
    if !ours.is_empty() && Some(ours) == theirs {
        return Ok(Relation::default());
    }
    let mut exchanges = Vec::new();
    for number in 0..PROBES {
        let asked_ns = host.clock.now_ns();
        let probe = Message::ClockProbe(pb::ClockProbe { number });
        channel.send(probe).map_err(|error| chain(&error))?;
        match channel.receive().await {
            Ok(Message::ClockReply(reply)) if reply.number == number => {
                exchanges.push(Exchange {
                    asked_ns,
                    told_ns: reply.mono_ns,
                    heard_ns: host.clock.now_ns(),
                });
            }
            Ok(other) => return Err(unexpected(other)),
            Err(error) => return Err(chain(&error)),
        }
    }
    Ok(Relation::of(&exchanges).unwrap_or_default())
}

/// A receiver that does not keep to the order, or says why it does not go on.
pub(super) fn unexpected(message: Message) -> String {
    match message {
        Message::Refused(refused) => weir_experiment::output::text::printable(&refused.reason),
        _ => "it does not keep to the order of the protocol".to_owned(),
    }
}

/// A connection that is of no more use, as a sentence.
pub(super) fn broken(error: &ChannelError) -> String {
    format!("the connection to the receiver is gone: {}", chain(error))
}
