//! D-ITG's application profiles, as laws of arrival and size.
//!
//! They imitate packet sizes and spacing of applications, not their protocols. The values are those of D-ITG 2.8.1.

use super::law::{Bytes, Law, Number, SizeLaw};
use crate::nearest::nearest;
use crate::unit::Span;
use std::{fmt, str::FromStr};

/// A profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Voice over IP.
    Voip {
        /// The codec and its samples a packet.
        codec: Codec,
        /// Compressed RTP headers: 2 bytes instead of 12.
        compressed: bool,
        /// Voice activity detection, which makes packets smaller by 35 %.
        activity: bool,
    },
    /// Queries of names.
    Dns,
    /// Keystrokes of a remote terminal.
    Telnet,
    /// Quake III Arena, from a client to the server.
    Quake3,
    /// Counter-Strike, a playing client.
    CsActive,
    /// Counter-Strike, a client that only looks on.
    CsInactive,
}

/// A voice codec and its samples a packet, as D-ITG names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711, one sample a packet.
    G711One,
    /// G.711, two samples.
    G711Two,
    /// G.729, two samples.
    G729Two,
    /// G.729, three samples.
    G729Three,
    /// G.723.1, one sample.
    G723One,
}

const CODECS: [(&str, Codec); 5] = [
    ("voip-g711-1", Codec::G711One),
    ("voip-g711-2", Codec::G711Two),
    ("voip-g729-2", Codec::G729Two),
    ("voip-g729-3", Codec::G729Three),
    ("voip-g723-1", Codec::G723One),
];

const OTHERS: [(&str, Profile); 5] = [
    ("dns", Profile::Dns),
    ("telnet", Profile::Telnet),
    ("quake3", Profile::Quake3),
    ("cs-active", Profile::CsActive),
    ("cs-inactive", Profile::CsInactive),
];

/// A name that is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile `{text}`{}; profiles: {}", meant(.near.as_deref()), names().join(", "))]
pub struct ProfileError {
    /// The name as given.
    pub text: String,
    /// The profile that was meant, if one is near.
    pub near: Option<String>,
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"))
}

fn names() -> Vec<&'static str> {
    let voip = CODECS.iter().map(|(name, _)| *name);
    let others = OTHERS.iter().map(|(name, _)| *name);
    voip.chain(others)
        .chain(["(voip ones also with -crtp, -vad or -crtp-vad)"])
        .collect()
}

impl Profile {
    /// The spacing of its packets.
    pub fn arrival(self) -> Law {
        let fixed = |ns| Law::Fixed {
            value: Span::from_nanos(ns),
        };
        match self {
            // Packets a second: 100, 50, 50, 33, 26.
            Profile::Voip { codec, .. } => fixed(match codec {
                Codec::G711One => 10_000_000,
                Codec::G711Two | Codec::G729Two => 20_000_000,
                Codec::G729Three => 30_303_030,
                Codec::G723One => 38_461_538,
            }),
            // 0.56 a second.
            Profile::Dns => fixed(1_785_714_286),
            Profile::Telnet => Law::Pareto {
                shape: billionths(950_000_000),
                scale: Some(Span::from_nanos(1_100_000)),
            },
            Profile::Quake3 => Law::Mixture(vec![
                (
                    billionths(600_000_000),
                    Law::Exponential {
                        mean: Some(Span::from_nanos(4_290_000)),
                    },
                ),
                (billionths(400_000_000), fixed(10_750_000)),
            ]),
            Profile::CsActive => student(41_699_400, 104_821, 704_073_000),
            Profile::CsInactive => student(41_685_800, 69_439, 1_083_410_000),
        }
    }

    /// The payload of its packets.
    pub fn size(self) -> SizeLaw {
        let fixed = |bytes| Law::Fixed {
            value: Bytes::whole(bytes),
        };
        match self {
            Profile::Voip {
                codec,
                compressed,
                activity,
            } => {
                let voice = match codec {
                    Codec::G711One => 80,
                    Codec::G711Two => 160,
                    Codec::G729Two => 20,
                    Codec::G729Three | Codec::G723One => 30,
                };
                let voice = if activity { voice * 65 / 100 } else { voice };
                fixed(voice + if compressed { 2 } else { 12 })
            }
            Profile::Dns => Law::Uniform {
                range: Some((Bytes::whole(100), Bytes::whole(320))),
            },
            // 20 bytes of D-ITG's own header and one keystroke, and a few more now and then.
            Profile::Telnet => discrete(
                21,
                &[650, 130, 70, 50, 30, 10, 10, 10, 10, 5, 5, 5, 5, 5, 5],
            ),
            Profile::Quake3 => normal(64_150, 3_200),
            Profile::CsActive => Law::Mixture(vec![
                (billionths(373_200_000), normal(34_840, 4_390)),
                (billionths(626_800_000), normal(49_490, 3_620)),
            ]),
            Profile::CsInactive => Law::Discrete(
                [8_312, 18, 453, 195, 879, 24, 106, 13]
                    .into_iter()
                    .zip(27..)
                    .map(|(share, bytes)| (Bytes::whole(bytes), billionths(share * 100_000)))
                    .collect(),
            ),
        }
    }
}

fn billionths(value: u64) -> Number {
    Number::from_billionths(value)
}

fn student(location_ns: u64, scale_ns: u64, nu: u64) -> Law {
    Law::Student {
        location: Some(Span::from_nanos(location_ns)),
        scale: Span::from_nanos(scale_ns),
        nu: billionths(nu),
    }
}

fn normal(mean_thousandths: u64, sd_thousandths: u64) -> SizeLaw {
    let bytes = |thousandths: u64| Bytes::new(billionths(thousandths * 1_000_000));
    Law::Normal {
        mean: Some(bytes(mean_thousandths)),
        sd: bytes(sd_thousandths),
    }
}

/// Sizes from `least` on, with their weights in thousandths.
fn discrete(least: u32, weights: &[u64]) -> SizeLaw {
    let items = weights.iter().zip(least..);
    let items = items.map(|(weight, bytes)| (Bytes::whole(bytes), billionths(weight * 1_000_000)));
    Law::Discrete(items.collect())
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Profile, ProfileError> {
        let text = text.trim();
        if let Some((_, profile)) = OTHERS.iter().find(|(name, _)| *name == text) {
            return Ok(*profile);
        }
        for (name, codec) in CODECS {
            let (compressed, activity) = match text.strip_prefix(name) {
                Some("") => (false, false),
                Some("-crtp") => (true, false),
                Some("-vad") => (false, true),
                Some("-crtp-vad") => (true, true),
                _ => continue,
            };
            return Ok(Profile::Voip {
                codec,
                compressed,
                activity,
            });
        }
        let text: String = text.chars().take(60).collect();
        let near = nearest(&text, names()).map(str::to_owned);
        Err(ProfileError { text, near })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile::Voip {
            codec,
            compressed,
            activity,
        } = self
        else {
            let name = OTHERS.iter().find(|(_, profile)| profile == self);
            return f.pad(name.map_or("", |(name, _)| name));
        };
        let name = CODECS.iter().find(|(_, known)| known == codec);
        let header = if *compressed { "-crtp" } else { "" };
        let voice = if *activity { "-vad" } else { "" };
        f.pad(&format!(
            "{}{header}{voice}",
            name.map_or("", |(name, _)| name)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_back_and_is_drawable() {
        let mut all: Vec<String> = OTHERS.iter().map(|(name, _)| (*name).to_owned()).collect();
        for (name, _) in CODECS {
            all.extend(["", "-crtp", "-vad", "-crtp-vad"].map(|more| format!("{name}{more}")));
        }
        for name in all {
            let profile: Profile = name.parse().unwrap();
            assert_eq!(profile.to_string(), name);
            assert_eq!(profile.arrival().to_string().parse(), Ok(profile.arrival()));
            assert_eq!(profile.size().to_string().parse(), Ok(profile.size()));
            profile.arrival().conditioned(None).unwrap();
            profile.size().conditioned(12).unwrap();
        }
        let error = "voip-g711".parse::<Profile>().unwrap_err().to_string();
        assert!(error.contains("did you mean `voip-g711-1`?"), "{error}");
        assert!("voip-g711-1-vad-crtp".parse::<Profile>().is_err());
    }

    #[test]
    fn means_of_the_profiles() {
        let size = |name: &str| {
            let profile: Profile = name.parse().unwrap();
            profile.size().conditioned(12).unwrap().mean
        };
        assert_eq!(size("voip-g711-1"), 92.0);
        assert_eq!(size("voip-g729-3-vad"), 31.0);
        assert_eq!(size("voip-g711-2-crtp-vad"), 106.0);
        assert!((size("quake3") - 64.15).abs() < 1e-9);
        assert!((size("cs-active") - (0.3732 * 34.84 + 0.6268 * 49.49)).abs() < 1e-3);
        let gap_ms = |profile: Profile| profile.arrival().conditioned(None).unwrap().mean / 1e6;
        assert!((gap_ms(Profile::Quake3) - (0.6 * 4.29 + 0.4 * 10.75)).abs() < 1e-9);
        assert!((gap_ms(Profile::Dns) - 1_785.714_286).abs() < 1e-6);
    }
}
