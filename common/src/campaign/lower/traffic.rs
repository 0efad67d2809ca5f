//! The `traffic` table.

use super::read::{Reader, Result, bad, cut};
use crate::campaign::keys::{TRAFFIC, not_yet};
use crate::campaign::tree::Table;
use crate::campaign::{CampaignError, ErrorKind};
use crate::traffic::{Law, LawError, Pacing, Per, Rate, STREAMS_MOST, Traffic, Transport};
use crate::unit::ByteCount;
use std::net::IpAddr;

pub(super) fn traffic(table: &Table) -> Result<Traffic> {
    let reader = Reader::new(table, &TRAFFIC)?;
    let (transport, rate) = transport(&reader)?;
    let mut traffic = Traffic::new(transport, rate);
    traffic.size = size(&reader)?;
    traffic.arrival = arrival(&reader)?;
    traffic.pacing = reader
        .choice("pacing", &[("keep-mean", Pacing::KeepMean)], &["keep-gap"])?
        .unwrap_or_default();
    let per = [("flow", Per::Flow), ("stream", Per::Stream)];
    traffic.per = reader
        .choice("per", &per, &["sender", "set"])?
        .unwrap_or_default();
    traffic.streams = reader
        .count("streams", 1..=u64::from(STREAMS_MOST))?
        .map_or(1, |count| count as u32);
    traffic.bytes = reader.quantity("bytes")?;
    traffic.packets = reader.count("packets", 1..=i64::MAX as u64)?;
    traffic.cc = congestion_control(&reader)?;
    traffic.bind = bind(&reader)?;
    traffic.port = reader
        .count("port", 1..=u64::from(u16::MAX))?
        .map(|port| port as u16);
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

/// A fixed size; a law of sizes is of a later version.
fn size(reader: &Reader<'_>) -> Result<Option<u32>> {
    if let Some(node) = reader.node("size") {
        let text = node.scalar("size", "a number of bytes")?;
        if text.contains('(') && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let message = not_yet(&format!("size = \"{}\"", cut(text)));
            return Err(CampaignError::new(
                ErrorKind::NotAvailable,
                &node.place,
                message,
            ));
        }
    }
    let Some(size) = reader.quantity::<ByteCount>("size")? else {
        return Ok(None);
    };
    let size = u32::try_from(size.bytes());
    size.map(Some).map_err(|_| {
        bad(
            reader.place("size"),
            "`size` is the payload of one packet in bytes, at most 65507",
        )
    })
}

fn arrival(reader: &Reader<'_>) -> Result<Law> {
    let Some(node) = reader.node("arrival") else {
        return Ok(Law::default());
    };
    let text = node.scalar("arrival", "a law in quotes, such as `exponential`")?;
    text.parse().map_err(|error: LawError| {
        let kind = match error {
            LawError::NotYet { .. } => ErrorKind::NotAvailable,
            _ => ErrorKind::BadValue,
        };
        CampaignError::new(kind, &node.place, format!("`arrival`: {error}"))
    })
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

fn bind(reader: &Reader<'_>) -> Result<Option<IpAddr>> {
    let Some(node) = reader.node("bind") else {
        return Ok(None);
    };
    let text = node.scalar("bind", "a source address in quotes")?;
    let parsed = text.parse();
    parsed.map(Some).map_err(|_| {
        bad(
            &node.place,
            format!(
                "`bind`: `{}` is not an address of the sending host, such as `10.150.0.71`",
                cut(text)
            ),
        )
    })
}
