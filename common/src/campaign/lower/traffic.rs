//! The `traffic` table.

use super::read::{Reader, Result, bad, cut};
use crate::campaign::keys::TRAFFIC;
use crate::campaign::tree::Table;
use crate::campaign::{CampaignError, ErrorKind};
use crate::traffic::{
    Bundles, Law, Layer, Marking, OnFull, Pacing, Per, Profile, Ramp, Rate, STREAMS_MOST, SizeLaw,
    StreamEnd, Traffic, Transport,
};
use crate::unit::{ByteCount, Span};

pub(super) fn traffic(table: &Table) -> Result<Traffic> {
    let reader = Reader::new(table, &TRAFFIC)?;
    let (transport, rate) = transport(&reader)?;
    let mut traffic = Traffic::new(transport, rate);
    size(&reader, &mut traffic)?;
    traffic.arrival = arrival(&reader)?;
    profile(&reader, &mut traffic)?;
    schedule(&reader, &mut traffic)?;
    let per = [
        ("flow", Per::Flow),
        ("stream", Per::Stream),
        ("sender", Per::Sender),
        ("set", Per::Set),
    ];
    traffic.per = reader.choice("per", &per, &[])?.unwrap_or_default();
    traffic.streams = reader
        .count("streams", 1..=u64::from(STREAMS_MOST))?
        .map_or(1, |count| count as u32);
    traffic.bytes = reader.quantity("bytes")?;
    traffic.packets = reader.count("packets", 1..=i64::MAX as u64)?;
    traffic.cc = congestion_control(&reader)?;
    sockets(&reader, &mut traffic)?;
    traffic.marking = marking(&reader)?;
    traffic.bind = reader.quantity("bind")?;
    traffic.port = reader
        .count("port", 1..=u64::from(u16::MAX))?
        .map(|port| port as u16);
    traffic.log_file = reader.quantity("log_file")?;
    let checked = traffic.check();
    checked.map_err(|error| {
        CampaignError::new(ErrorKind::BadValue, reader.place(error.key), error.problem)
    })?;
    Ok(traffic)
}

fn transport(reader: &Reader<'_>) -> Result<(Transport, Rate)> {
    let udp = reader.quantity::<Rate>("udp")?;
    let tcp = reader.quantity::<Rate>("tcp")?;
    match (udp, tcp) {
        (Some(rate), None) => Ok((Transport::Udp, rate)),
        (None, Some(rate)) => Ok((Transport::Tcp, rate)),
        (Some(_), Some(_)) => {
            let message = "`udp` and `tcp` exclude each other: for both at once use two flow sets";
            Err(CampaignError::new(
                ErrorKind::Conflict,
                reader.place("tcp"),
                message,
            ))
        }
        (None, None) => {
            let message =
                "traffic needs a transport: write `udp = \"10 Mbit/s\"` or `tcp = \"max\"`";
            Err(CampaignError::new(
                ErrorKind::Missing,
                &reader.table.place,
                message,
            ))
        }
    }
}

/// Sizes: a number of bytes, or a law.
fn size(reader: &Reader<'_>, traffic: &mut Traffic) -> Result<()> {
    let Some(node) = reader.node("size") else {
        return Ok(());
    };
    let text = node.scalar("size", "a number of bytes, or a law in quotes")?;
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let law = text.parse::<SizeLaw>();
        let law = law.map_err(|error| bad(&node.place, format!("`size`: {error}")))?;
        traffic.size_law = Some(law);
        return Ok(());
    }
    let size = reader.quantity::<ByteCount>("size")?;
    let size = size.map(|size| u32::try_from(size.bytes())).transpose();
    traffic.size = size.map_err(|_| {
        bad(
            &node.place,
            "`size` is the payload of one packet in bytes, at most 65507",
        )
    })?;
    Ok(())
}

fn arrival(reader: &Reader<'_>) -> Result<Law> {
    let Some(node) = reader.node("arrival") else {
        return Ok(Law::default());
    };
    let text = node.scalar("arrival", "a law in quotes, such as `exponential`")?;
    let law = text.parse::<Law>();
    law.map_err(|error| bad(&node.place, format!("`arrival`: {error}")))
}

/// A profile stands for both laws.
fn profile(reader: &Reader<'_>, traffic: &mut Traffic) -> Result<()> {
    let Some(profile) = reader.quantity::<Profile>("profile")? else {
        return Ok(());
    };
    if let Some(key) = ["size", "arrival"]
        .into_iter()
        .find(|key| reader.node(key).is_some())
    {
        let message = format!("`profile` already says `{key}`: leave one of them out");
        return Err(CampaignError::new(
            ErrorKind::Conflict,
            reader.place(key),
            message,
        ));
    }
    if traffic.rate != Rate::Arrival {
        let key = traffic.transport.as_str();
        let message = format!("`profile` has its own rate: write `{key} = \"arrival\"`");
        return Err(CampaignError::new(
            ErrorKind::Conflict,
            reader.place(key),
            message,
        ));
    }
    traffic.arrival = profile.arrival();
    traffic.size_law = Some(profile.size());
    traffic.profile = Some(profile);
    Ok(())
}

fn congestion_control(reader: &Reader<'_>) -> Result<Option<String>> {
    let Some(node) = reader.node("cc") else {
        return Ok(None);
    };
    let text = node.scalar("cc", "a congestion control in quotes, such as `cubic`")?;
    // TCP_CA_NAME_MAX of Linux is 16 with the final zero.
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > 15 || !text.chars().all(allowed) {
        let message = format!(
            "`cc`: `{}` is not a congestion control, such as `cubic` or `bbr`",
            cut(text)
        );
        return Err(bad(&node.place, message));
    }
    Ok(Some(text.to_owned()))
}

fn schedule(reader: &Reader<'_>, traffic: &mut Traffic) -> Result<()> {
    let policies = [
        ("keep-mean", Pacing::KeepMean),
        ("keep-gap", Pacing::KeepGap),
    ];
    traffic.pacing = reader.choice("pacing", &policies, &[])?.unwrap_or_default();
    traffic.spin = reader.quantity("spin")?.unwrap_or(traffic.spin);
    let layers = [
        ("payload", Layer::Payload),
        ("ip", Layer::Ip),
        ("frame", Layer::Frame),
        ("wire", Layer::Wire),
    ];
    traffic.layer = reader.choice("layer", &layers, &[])?.unwrap_or_default();
    let mut points = Vec::new();
    for (text, place) in reader.texts("ramp")?.unwrap_or_default() {
        points.push(Ramp::point(text).map_err(|error| bad(place, format!("`ramp`: {error}")))?);
    }
    let ramp = Ramp::new(points);
    traffic.ramp = ramp.map_err(|error| bad(reader.place("ramp"), format!("`ramp`: {error}")))?;
    Ok(())
}

fn sockets(reader: &Reader<'_>, traffic: &mut Traffic) -> Result<()> {
    traffic.mss = reader.count("mss", 88..=65_495)?.map(|bytes| bytes as u32);
    traffic.window = reader.quantity("window")?;
    traffic.nodelay = reader.bool("nodelay")?.unwrap_or_default();
    traffic.echo = reader.bool("echo")?.unwrap_or_default();
    traffic.verify = reader.bool("verify")?.unwrap_or_default();
    let bundles = [
        ("auto", None),
        ("on", Some(Bundles::On)),
        ("off", Some(Bundles::Off)),
    ];
    traffic.gso = reader.choice("gso", &bundles, &[])?.flatten();
    let full = [("drop", OnFull::Drop), ("wait", OnFull::Wait)];
    traffic.on_full = reader.choice("on_full", &full, &[])?.unwrap_or_default();
    if let Some(node) = reader.node("end") {
        let text = node.scalar("end", "`drain(10 s)` or `abort`")?;
        traffic.end = stream_end(text).ok_or_else(|| {
            let message = format!(
                "`end`: `{}` is neither `abort` nor `drain(TIME)` of at most 60 s, such as `drain(10 s)`",
                cut(text)
            );
            bad(&node.place, message)
        })?;
    }
    Ok(())
}

fn stream_end(text: &str) -> Option<StreamEnd> {
    if text == "abort" {
        return Some(StreamEnd::Abort);
    }
    let time = text.strip_prefix("drain(")?.strip_suffix(')')?;
    let time: Span = time.trim().parse().ok()?;
    (time <= DRAIN_MOST).then(|| StreamEnd::Drain(time.as_nanos()))
}

/// Longest drain of a stream.
const DRAIN_MOST: Span = Span::from_secs(60);

fn marking(reader: &Reader<'_>) -> Result<Marking> {
    let dscp = match reader.node("dscp") {
        None => None,
        Some(node) => {
            let text = node.scalar("dscp", "a number or a name such as `ef`")?;
            let code = text.parse().ok().filter(|code| *code < 64);
            let code = code.or_else(|| code_point(&text.to_ascii_lowercase()));
            Some(code.ok_or_else(|| {
                let message = format!(
                    "`dscp`: `{}` is neither 0 to 63 nor a name: cs0 to cs7, af11 to af43, ef, le",
                    cut(text)
                );
                bad(&node.place, message)
            })?)
        }
    };
    let ecn = [("none", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)];
    Ok(Marking {
        dscp,
        ecn: reader.choice("ecn", &ecn, &[])?,
        ttl: reader.count("ttl", 1..=255)?.map(|hops| hops as u8),
        flow_label: reader
            .count("flow_label", 0..=0xf_ffff)?
            .map(|label| label as u32),
    })
}

/// The code point of a per-hop behaviour: class selectors (RFC 2474), assured (RFC 2597) and expedited forwarding
/// (RFC 3246), lower effort (RFC 8622).
fn code_point(name: &str) -> Option<u8> {
    let digit = |at: usize, range: std::ops::RangeInclusive<u8>| {
        let digit = name.as_bytes().get(at)?.checked_sub(b'0')?;
        range.contains(&digit).then_some(digit)
    };
    match name {
        "ef" => Some(46),
        "le" => Some(1),
        _ if name.starts_with("cs") && name.len() == 3 => Some(digit(2, 0..=7)? * 8),
        _ if name.starts_with("af") && name.len() == 4 => {
            Some(digit(2, 1..=4)? * 8 + digit(3, 1..=3)? * 2)
        }
        _ => None,
    }
}
