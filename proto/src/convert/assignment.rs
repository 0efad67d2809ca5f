//! Desired state.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use weir_common::assignment::{
    Assignment, Desired, Family, Kind, Observe, OnControllerLoss, Order, Peer, Segment,
    SessionSpec, Snapshot, SocketTraffic, StartAt, Target, bounds,
};
use weir_common::id::{AgentName, SessionId};
use weir_common::traffic::{Trace, TraceOf};

use super::{ConvertError, clip, count, end, flow, limits, owned, required, run, session, text};
use crate::types::v1 as pb;

/// A kernel's boot id is a UUID of 36 characters.
const KERNEL_BOOT_ID_LEN: usize = 64;

owned! {
    pb::Snapshot => Snapshot,
    pb::Desired => Desired,
    pb::Assignment => Assignment,
    pb::SessionSpec => SessionSpec,
}

fn port(field: &str, value: u32) -> Result<u16, ConvertError> {
    u16::try_from(value).map_err(|_| ConvertError::new(field, format!("{value} is above 65535")))
}

fn address(field: &str, value: &str) -> Result<IpAddr, ConvertError> {
    value.parse().map_err(|_| {
        ConvertError::new(field, format!("`{}` is not an IP address", clip(value, 80)))
    })
}

impl TryFrom<&pb::session_spec::Peer> for Peer {
    type Error = ConvertError;

    fn try_from(message: &pb::session_spec::Peer) -> Result<Self, ConvertError> {
        match message {
            pb::session_spec::Peer::Agent(agent) => {
                let name: AgentName = agent
                    .name
                    .parse()
                    .map_err(|error| ConvertError::new("agent.name", format!("{error}")))?;
                let addresses = agent.addresses.iter().enumerate();
                let addresses: Result<_, _> = addresses
                    .map(|(i, a)| address(&format!("agent.addresses[{i}]"), a))
                    .collect();
                Ok(Self::Agent {
                    name,
                    addresses: addresses?,
                })
            }
            pb::session_spec::Peer::Address(peer) => {
                let address: SocketAddr = peer.address.parse().map_err(|_| {
                    let problem = format!(
                        "`{}` is not an address with a port",
                        clip(&peer.address, 80)
                    );
                    ConvertError::new("address.address", problem)
                })?;
                let speaks = text("address.speaks", &peer.speaks, limits::WORD)?;
                Ok(Self::Address { address, speaks })
            }
        }
    }
}

impl From<&Peer> for pb::session_spec::Peer {
    fn from(value: &Peer) -> Self {
        match value {
            Peer::Agent { name, addresses } => Self::Agent(pb::AgentPeer {
                name: name.to_string(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
            }),
            Peer::Address { address, speaks } => Self::Address(pb::AddressPeer {
                address: address.to_string(),
                speaks: speaks.clone(),
            }),
        }
    }
}

impl TryFrom<&pb::SessionSpec> for SessionSpec {
    type Error = ConvertError;

    fn try_from(message: &pb::SessionSpec) -> Result<Self, ConvertError> {
        let family = match pb::Family::try_from(message.family) {
            Ok(pb::Family::Unspecified) => Family::Any,
            Ok(pb::Family::V4) => Family::V4,
            Ok(pb::Family::V6) => Family::V6,
            Err(_) => {
                let problem = format!("{} is none of 0 (any), 1 (IPv4), 2 (IPv6)", message.family);
                return Err(ConvertError::new("family", problem));
            }
        };
        let kind = message.kind.as_ref();
        let kind =
            kind.ok_or_else(|| ConvertError::new("kind", "is missing or of an unknown kind"))?;
        let pb::session_spec::Kind::Socket(traffic) = kind;
        let traffic = SocketTraffic::try_from(traffic).map_err(|error| error.within("socket"))?;
        let segments: Result<_, ConvertError> = message
            .segments
            .iter()
            .enumerate()
            .map(|(i, s)| segment(i, *s))
            .collect();
        Ok(Self {
            session: session(message.session)?,
            end: end(message.end)?,
            dials: message.dials,
            kind: Kind::Socket(traffic),
            peer: required("peer", message.peer.as_ref())?
                .try_into()
                .map_err(|error: ConvertError| error.within("peer"))?,
            tags: message.tags.clone(),
            segments: segments?,
            family,
            source_address: message
                .source_address
                .as_deref()
                .map(|value| address("source_address", value))
                .transpose()?,
            source_interface: message
                .source_interface
                .as_deref()
                .map(|name| text("source_interface", name, bounds::INTERFACE_LEN))
                .transpose()?,
            source_port: Some(port("source_port", message.source_port)?).filter(|port| *port > 0),
            port: port("port", message.port)?,
        })
    }
}

fn segment(index: usize, message: pb::Segment) -> Result<Segment, ConvertError> {
    Ok(Segment {
        flow: flow(message.flow)
            .map_err(|error| error.within(format_args!("segments[{index}]")))?,
        start_ns: message.start_ns,
        length_ns: message.length_ns,
        warmup_ns: message.warmup_ns,
    })
}

impl From<&SessionSpec> for pb::SessionSpec {
    fn from(value: &SessionSpec) -> Self {
        let Kind::Socket(traffic) = &value.kind;
        let family = match value.family {
            Family::Any => pb::Family::Unspecified,
            Family::V4 => pb::Family::V4,
            Family::V6 => pb::Family::V6,
        };
        let segments = value.segments.iter().map(|segment| pb::Segment {
            flow: segment.flow.0,
            start_ns: segment.start_ns,
            length_ns: segment.length_ns,
            warmup_ns: segment.warmup_ns,
        });
        Self {
            session: value.session.0,
            end: pb::End::from(value.end).into(),
            dials: value.dials,
            tags: value.tags.clone(),
            segments: segments.collect(),
            family: family.into(),
            source_address: value.source_address.map(|address| address.to_string()),
            port: value.port.into(),
            source_interface: value.source_interface.clone(),
            source_port: value.source_port.unwrap_or(0).into(),
            kind: Some(pb::session_spec::Kind::Socket(traffic.into())),
            peer: Some((&value.peer).into()),
        }
    }
}

impl TryFrom<&pb::Assignment> for Assignment {
    type Error = ConvertError;

    /// Checked with [`Assignment::check`], and against two sessions of one
    /// number at the same end.
    fn try_from(message: &pb::Assignment) -> Result<Self, ConvertError> {
        let mut sessions = Vec::with_capacity(message.sessions.len());
        let mut seen = BTreeSet::new();
        for (i, spec) in message.sessions.iter().enumerate() {
            let spec = SessionSpec::try_from(spec)
                .map_err(|error| error.within(format_args!("sessions[{i}]")))?;
            if !seen.insert((spec.session, spec.end as u8)) {
                let field = format!("sessions[{i}].session");
                let problem = format!("{} appears twice at the same end", spec.session);
                return Err(ConvertError::new(field, problem));
            }
            sessions.push(spec);
        }
        let mut traces = Vec::with_capacity(message.traces.len().min(limits::ITEMS));
        for (i, trace) in message.traces.iter().enumerate() {
            let file = text(&format!("traces[{i}].file"), &trace.file, limits::REASON)?;
            traces.push(Trace {
                file,
                of: if trace.sizes {
                    TraceOf::Size
                } else {
                    TraceOf::Arrival
                },
                values: trace.values.as_slice().into(),
                sha256: String::new(),
            });
        }
        let assignment = Self {
            run: run(message.run)?,
            nonce: message.nonce,
            seed: message.seed,
            interval_ns: message.interval_ns,
            linger_ns: message.linger_ns,
            settle_ns: message.settle_ns,
            end_ns: message.end_ns,
            on_controller_loss: message
                .stop_after_controller_loss_ns
                .map_or(OnControllerLoss::RunToEnd, OnControllerLoss::StopAfter),
            sessions,
            observe: message
                .observe
                .map_or(Observe::default(), |observe| Observe {
                    links: observe.links,
                    kernel: observe.kernel,
                }),
            traces,
        };
        assignment.check()?;
        Ok(assignment)
    }
}

impl From<&Assignment> for pb::Assignment {
    fn from(value: &Assignment) -> Self {
        Self {
            run: value.run.0,
            nonce: value.nonce,
            seed: value.seed,
            interval_ns: value.interval_ns,
            linger_ns: value.linger_ns,
            settle_ns: value.settle_ns,
            end_ns: value.end_ns,
            stop_after_controller_loss_ns: match value.on_controller_loss {
                OnControllerLoss::RunToEnd => None,
                OnControllerLoss::StopAfter(ns) => Some(ns),
            },
            sessions: value.sessions.iter().map(Into::into).collect(),
            observe: value.observe.is_any().then_some(pb::Observe {
                links: value.observe.links,
                kernel: value.observe.kernel,
            }),
            traces: value
                .traces
                .iter()
                .map(|trace| pb::Trace {
                    file: trace.file.clone(),
                    sizes: trace.of == TraceOf::Size,
                    values: trace.values.to_vec(),
                })
                .collect(),
        }
    }
}

impl TryFrom<&pb::Desired> for Desired {
    type Error = ConvertError;

    /// Targets and exclusions must name sessions of the assignment.
    fn try_from(message: &pb::Desired) -> Result<Self, ConvertError> {
        let assignment: Assignment = required("assignment", message.assignment.as_ref())?
            .try_into()
            .map_err(|error: ConvertError| error.within("assignment"))?;
        let known: BTreeSet<SessionId> = assignment.sessions.iter().map(|s| s.session).collect();
        let named = |field: &str, number: u32| {
            let number = SessionId(number);
            if known.contains(&number) {
                return Ok(number);
            }
            Err(ConvertError::new(
                field,
                format!("{number} is no session of the assignment"),
            ))
        };
        let target = |(i, target): (usize, &pb::Target)| {
            let session = named(&format!("targets[{i}].session"), target.session)?;
            let field = format!("targets[{i}].port");
            match port(&field, target.port)? {
                0 => Err(ConvertError::new(field, "0 is no port to dial")),
                port => Ok(Target { session, port }),
            }
        };
        let targets: Result<_, _> = message.targets.iter().enumerate().map(target).collect();
        let excluded = message.excluded_sessions.iter().enumerate();
        let excluded: Result<_, _> = excluded
            .map(|(i, n)| named(&format!("excluded_sessions[{i}]"), *n))
            .collect();
        Ok(Self {
            targets: targets?,
            excluded: excluded?,
            order: order(message.order.as_ref())?,
            assignment,
        })
    }
}

fn order(message: Option<&pb::desired::Order>) -> Result<Order, ConvertError> {
    match message {
        Some(pb::desired::Order::Prepare(true)) => Ok(Order::Prepare),
        Some(pb::desired::Order::Start(start)) => start_at(start)
            .map(Order::Start)
            .map_err(|error| error.within("start")),
        Some(pb::desired::Order::Stop(reason)) => Ok(Order::Stop {
            reason: text("stop", reason, limits::REASON)?,
        }),
        Some(pb::desired::Order::Prepare(false)) => {
            Err(ConvertError::new("prepare", "must be true"))
        }
        None => Err(ConvertError::new(
            "order",
            "is missing or of an unknown kind",
        )),
    }
}

fn start_at(message: &pb::StartAt) -> Result<StartAt, ConvertError> {
    if message.unix_ns <= 0 {
        let problem = format!("{} is not after 1970-01-01T00:00:00Z", message.unix_ns);
        return Err(ConvertError::new("unix_ns", problem));
    }
    Ok(StartAt {
        unix_ns: message.unix_ns,
        mono_ns: count("mono_ns", message.mono_ns)?,
        kernel_boot_id: text(
            "kernel_boot_id",
            &message.kernel_boot_id,
            KERNEL_BOOT_ID_LEN,
        )?,
    })
}

impl From<&Desired> for pb::Desired {
    fn from(value: &Desired) -> Self {
        let targets = value.targets.iter();
        let order = match &value.order {
            Order::Prepare => pb::desired::Order::Prepare(true),
            Order::Start(start) => pb::desired::Order::Start(pb::StartAt {
                unix_ns: start.unix_ns,
                mono_ns: start.mono_ns,
                kernel_boot_id: start.kernel_boot_id.clone(),
            }),
            Order::Stop { reason } => pb::desired::Order::Stop(clip(reason, limits::REASON)),
        };
        Self {
            assignment: Some((&value.assignment).into()),
            targets: targets
                .map(|target| pb::Target {
                    session: target.session.0,
                    port: target.port.into(),
                })
                .collect(),
            excluded_sessions: value.excluded.iter().map(|session| session.0).collect(),
            order: Some(order),
        }
    }
}

impl TryFrom<&pb::Snapshot> for Snapshot {
    type Error = ConvertError;

    /// Stops at the first bad item; an agent that answers item by item converts
    /// each [`Desired`] itself.
    fn try_from(message: &pb::Snapshot) -> Result<Self, ConvertError> {
        if message.items.len() > limits::ITEMS {
            let problem = format!("{} are more than {}", message.items.len(), limits::ITEMS);
            return Err(ConvertError::new("items", problem));
        }
        let item = |(i, item): (usize, &pb::Desired)| {
            Desired::try_from(item)
                .map_err(|error: ConvertError| error.within(format_args!("items[{i}]")))
        };
        let items: Result<_, ConvertError> = message.items.iter().enumerate().map(item).collect();
        Ok(Self {
            epoch: message.epoch,
            version: message.version,
            items: items?,
        })
    }
}

impl From<&Snapshot> for pb::Snapshot {
    fn from(value: &Snapshot) -> Self {
        Self {
            epoch: value.epoch,
            version: value.version,
            items: value.items.iter().map(Into::into).collect(),
        }
    }
}
