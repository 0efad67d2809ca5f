//! What a generator over plain sockets sends.

use weir_common::assignment::{
    Bundles, Layer, Marking, OnFull, Pacing, RampPoint, Rate, SocketTraffic, StreamEnd, Transport,
};
use weir_common::traffic::law::Quantity;
use weir_common::traffic::{Law, LogFile};

use super::{ConvertError, clip, limits, text};
use crate::types::v1 as pb;

/// Longest name of a congestion control that Linux takes (`TCP_CA_NAME_MAX` less its 0 byte).
const CONGESTION_CONTROL_LEN: usize = 15;

impl TryFrom<&pb::SocketTraffic> for SocketTraffic {
    type Error = ConvertError;

    fn try_from(message: &pb::SocketTraffic) -> Result<Self, ConvertError> {
        let transport = match pb::Transport::try_from(message.transport) {
            Ok(pb::Transport::Tcp) => Transport::Tcp,
            Ok(pb::Transport::Udp) => Transport::Udp,
            Ok(pb::Transport::Unspecified) | Err(_) => {
                let problem = format!("{} is neither 1 (TCP) nor 2 (UDP)", message.transport);
                return Err(ConvertError::new("transport", problem));
            }
        };
        let congestion_control = message
            .congestion_control
            .as_deref()
            .map(congestion_control)
            .transpose()?;
        let ramp = message.ramp.iter().map(|point| RampPoint {
            at_ns: point.at_ns,
            rate: point.rate,
        });
        Ok(Self {
            rate: rate(message)?,
            layer: layer(message.layer)?,
            ramp: ramp.collect(),
            arrival: law("arrival", &message.arrival)?,
            size_law: match message.size_law.as_str() {
                "" => None,
                size => Some(law("size_law", size)?),
            },
            pacing: pacing(message.pacing)?,
            spin_ns: message.spin_ns,
            bytes: message.bytes,
            packets: message.packets,
            echo: message.echo,
            verify: message.verify,
            bundles: bundles(message)?,
            on_full: on_full(message.on_full)?,
            end: message.drain_ns.map_or(StreamEnd::Abort, StreamEnd::Drain),
            congestion_control,
            mss: message.mss_bytes,
            nodelay: message.nodelay,
            window: message.window_bytes,
            marking: Marking {
                dscp: octet("dscp", message.dscp)?,
                ecn: octet("ecn", message.ecn)?,
                ttl: octet("ttl", message.ttl)?,
                flow_label: message.flow_label,
            },
            log_file: log_file(&message.log_file)?,
            ..Self::new(transport, Rate::Max, message.size_bytes)
        })
    }
}

fn log_file(name: &str) -> Result<Option<LogFile>, ConvertError> {
    if name.is_empty() {
        return Ok(None);
    }
    let name = name.parse::<LogFile>();
    name.map(Some)
        .map_err(|error| ConvertError::new("log_file", error.to_string()))
}

fn rate(message: &pb::SocketTraffic) -> Result<Rate, ConvertError> {
    use pb::socket_traffic::Rate as PbRate;
    match message.rate {
        Some(PbRate::Max(true)) => Ok(Rate::Max),
        Some(PbRate::BitsPerSecond(rate)) => Ok(Rate::BitsPerSecond(rate)),
        Some(PbRate::MilliPacketsPerSecond(rate)) => Ok(Rate::MilliPacketsPerSecond(rate)),
        Some(PbRate::ByArrival(true)) => Ok(Rate::Arrival),
        Some(PbRate::Max(false) | PbRate::ByArrival(false)) | None => {
            Err(ConvertError::new("rate", "is missing, or max is not true"))
        }
    }
}

fn law<Q: Quantity>(field: &str, value: &str) -> Result<Law<Q>, ConvertError> {
    let value = text(field, value, limits::LAW)?;
    let law = value.parse::<Law<Q>>();
    law.map_err(|error| ConvertError::new(field, format!("{error}")))
}

fn unknown(field: &str, value: i32) -> ConvertError {
    ConvertError::new(field, format!("{value} is no value of it"))
}

fn layer(value: i32) -> Result<Layer, ConvertError> {
    match pb::Layer::try_from(value) {
        Ok(pb::Layer::Unspecified | pb::Layer::Payload) => Ok(Layer::Payload),
        Ok(pb::Layer::Ip) => Ok(Layer::Ip),
        Ok(pb::Layer::Frame) => Ok(Layer::Frame),
        Ok(pb::Layer::Wire) => Ok(Layer::Wire),
        Err(_) => Err(unknown("layer", value)),
    }
}

fn pacing(value: i32) -> Result<Pacing, ConvertError> {
    match pb::Pacing::try_from(value) {
        Ok(pb::Pacing::Unspecified | pb::Pacing::KeepMean) => Ok(Pacing::KeepMean),
        Ok(pb::Pacing::KeepGap) => Ok(Pacing::KeepGap),
        Err(_) => Err(unknown("pacing", value)),
    }
}

fn bundles(message: &pb::SocketTraffic) -> Result<Bundles, ConvertError> {
    match pb::Bundles::try_from(message.bundles) {
        Ok(pb::Bundles::Auto) => Ok(Bundles::Auto {
            single_below_milli_pps: message.single_below_milli_pps,
        }),
        Ok(pb::Bundles::On) => Ok(Bundles::On),
        Ok(pb::Bundles::Off) => Ok(Bundles::Off),
        Ok(pb::Bundles::Unspecified) | Err(_) => Err(unknown("bundles", message.bundles)),
    }
}

fn on_full(value: i32) -> Result<OnFull, ConvertError> {
    match pb::OnFull::try_from(value) {
        Ok(pb::OnFull::Unspecified | pb::OnFull::Drop) => Ok(OnFull::Drop),
        Ok(pb::OnFull::Wait) => Ok(OnFull::Wait),
        Err(_) => Err(unknown("on_full", value)),
    }
}

fn octet(field: &str, value: Option<u32>) -> Result<Option<u8>, ConvertError> {
    let octet = value.map(u8::try_from).transpose();
    octet.map_err(|_| ConvertError::new(field, "is above 255"))
}

fn congestion_control(name: &str) -> Result<String, ConvertError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=CONGESTION_CONTROL_LEN).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    let problem = format!("`{}` is not a name such as cubic", clip(name, 40));
    Err(ConvertError::new("congestion_control", problem))
}

impl From<&SocketTraffic> for pb::SocketTraffic {
    fn from(value: &SocketTraffic) -> Self {
        use pb::socket_traffic::Rate as PbRate;
        let transport = match value.transport {
            Transport::Tcp => pb::Transport::Tcp,
            Transport::Udp => pb::Transport::Udp,
        };
        let layer = match value.layer {
            Layer::Payload => pb::Layer::Payload,
            Layer::Ip => pb::Layer::Ip,
            Layer::Frame => pb::Layer::Frame,
            Layer::Wire => pb::Layer::Wire,
        };
        let pacing = match value.pacing {
            Pacing::KeepMean => pb::Pacing::KeepMean,
            Pacing::KeepGap => pb::Pacing::KeepGap,
        };
        let (bundles, single_below_milli_pps) = match value.bundles {
            Bundles::Auto {
                single_below_milli_pps,
            } => (pb::Bundles::Auto, single_below_milli_pps),
            Bundles::On => (pb::Bundles::On, 0),
            Bundles::Off => (pb::Bundles::Off, 0),
        };
        let on_full = match value.on_full {
            OnFull::Drop => pb::OnFull::Drop,
            OnFull::Wait => pb::OnFull::Wait,
        };
        let ramp = value.ramp.iter().map(|point| pb::RampPoint {
            at_ns: point.at_ns,
            rate: point.rate,
        });
        let marking = &value.marking;
        Self {
            transport: transport.into(),
            arrival: value.arrival.to_string(),
            size_bytes: value.size,
            size_law: value
                .size_law
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            bytes: value.bytes,
            packets: value.packets,
            congestion_control: value.congestion_control.clone(),
            layer: layer.into(),
            ramp: ramp.collect(),
            pacing: pacing.into(),
            spin_ns: value.spin_ns,
            echo: value.echo,
            verify: value.verify,
            bundles: bundles.into(),
            single_below_milli_pps,
            on_full: on_full.into(),
            drain_ns: match value.end {
                StreamEnd::Drain(ns) => Some(ns),
                StreamEnd::Abort => None,
            },
            mss_bytes: value.mss,
            nodelay: value.nodelay,
            window_bytes: value.window,
            dscp: marking.dscp.map(u32::from),
            ecn: marking.ecn.map(u32::from),
            ttl: marking.ttl.map(u32::from),
            flow_label: marking.flow_label,
            log_file: value
                .log_file
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            rate: Some(match value.rate {
                Rate::Max => PbRate::Max(true),
                Rate::Arrival => PbRate::ByArrival(true),
                Rate::BitsPerSecond(rate) => PbRate::BitsPerSecond(rate),
                Rate::MilliPacketsPerSecond(rate) => PbRate::MilliPacketsPerSecond(rate),
            }),
        }
    }
}
