use crate::nearest::nearest;
use crate::unit::{BitRate, PacketRate, UnitError};
use std::{fmt, str::FromStr};

/// How much a flow offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Payload bits per second.
    Bits(BitRate),
    /// Packets per second.
    Packets(PacketRate),
    /// As much as the hosts and the network allow.
    Max,
    /// What the law of `arrival` says.
    Arrival,
}

/// Why a text is not a rate of traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// A number with a wrong unit or value.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A word that is no rate.
    #[error("`{text}` is not a rate{}; write bit/s (`10 Mbit/s`, `10M`), pkt/s (`3000 pkt/s`) or `max`", meant(.near.as_ref()))]
    Word {
        /// The text as given.
        text: String,
        /// The word that was meant, if one is near.
        near: Option<String>,
    },
}

fn meant(near: Option<&String>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"))
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let text = text.trim();
        match text {
            "max" => return Ok(Rate::Max),
            "arrival" => return Ok(Rate::Arrival),
            _ => {}
        }
        if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') {
            let text: String = text.chars().take(60).collect();
            let near = nearest(&text, ["max", "arrival"]).map(str::to_owned);
            return Err(RateError::Word { text, near });
        }
        // Only what counts packets is one; every other unit is answered with the units of bit rates.
        let lower = text.to_ascii_lowercase();
        if ["pkt", "pps", "packet", "p/s"]
            .iter()
            .any(|word| lower.contains(word))
        {
            Ok(Rate::Packets(text.parse()?))
        } else {
            Ok(Rate::Bits(text.parse()?))
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Bits(rate) => rate.fmt(f),
            Rate::Packets(rate) => rate.fmt(f),
            Rate::Max => f.pad("max"),
            Rate::Arrival => f.pad("arrival"),
        }
    }
}
