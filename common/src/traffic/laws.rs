//! What the laws of a flow's traffic must have, and what they mean for its rate.

use super::law::{Law, LawError, SizeLaw};
use super::trace::{Trace, TraceOf};
use super::{
    Bundles, Per, Rate, Traffic, TrafficError, Transport, UDP_SIZE_LEAST, UDP_STAMPED_LEAST,
};

/// Mean spacing and size of a stream's packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Means {
    /// Payload bytes; `None` for TCP with adapted writes.
    pub bytes: Option<f64>,
    /// Time between packets, ns; `None` where it is the rate's, or nobody's.
    pub spacing_ns: Option<f64>,
}

/// What one stream is offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offered {
    /// Without a schedule.
    Unlimited,
    /// As the law of arrival says.
    ByLaw,
    /// Bits in a second.
    Bits(f64),
    /// Packets in a second.
    Packets(f64),
}

/// The least size that is drawn from a law, in bytes: what its headers need.
pub(crate) fn size_least(transport: Transport, echo: bool) -> u32 {
    match transport {
        Transport::Tcp => 1,
        Transport::Udp if echo => UDP_STAMPED_LEAST,
        Transport::Udp => UDP_SIZE_LEAST,
    }
}

/// Mean spacing and size of a stream by its laws of arrival and size; `fixed` bytes where there is none of size, else at least
/// `least`, and `overhead` more that a bit rate counts. Traces among `traces` are counted in.
pub(crate) fn means(
    (arrival, size): (&Law, Option<&SizeLaw>),
    (fixed, least, overhead): (Option<f64>, u32, u32),
    offered: Offered,
    traces: &[Trace],
) -> Result<Means, (&'static str, LawError)> {
    let trace = |of: TraceOf, file: &str| {
        let found = traces
            .iter()
            .find(|trace| trace.file == file && trace.of == of);
        found.map(Trace::mean)
    };
    let bytes = match size {
        None => fixed,
        Some(Law::Trace { file, .. }) => trace(TraceOf::Size, file),
        Some(law) => {
            let drawn = law.conditioned(least).map_err(|error| ("size", error))?;
            Some(drawn.mean)
        }
    };
    let rate_ns = match offered {
        Offered::Unlimited => {
            return Ok(Means {
                bytes,
                spacing_ns: None,
            });
        }
        Offered::ByLaw => None,
        Offered::Bits(rate) => bytes.map(|bytes| (bytes + f64::from(overhead)) * 8e9 / rate),
        Offered::Packets(rate) => Some(1e9 / rate),
    };
    let trace_ns = arrival
        .trace()
        .and_then(|file| trace(TraceOf::Arrival, file));
    let spacing_ns = arrival.mean_spacing(rate_ns, trace_ns);
    Ok(Means {
        bytes,
        spacing_ns: spacing_ns.map_err(|error| ("arrival", error))?,
    })
}

fn fail<T>(key: &'static str, problem: impl Into<String>) -> Result<T, TrafficError> {
    Err(TrafficError {
        key,
        problem: problem.into(),
    })
}

fn of_law(key: &'static str) -> impl Fn(LawError) -> TrafficError {
    move |error| TrafficError {
        key,
        problem: format!("`{key}`: {error}"),
    }
}

impl Traffic {
    /// The least size that is drawn from a law, in bytes: what its headers need.
    pub fn size_least(&self) -> u32 {
        size_least(self.transport, self.echo)
    }

    /// Mean spacing and size of each stream, with the rate shared among them as `per` says; the traces among `traces`
    /// are counted in.
    pub fn means(&self, traces: &[Trace]) -> Result<Means, TrafficError> {
        let streams = match self.per {
            Per::Stream => 1.0,
            Per::Flow | Per::Sender | Per::Set => f64::from(self.streams),
        };
        let offered = match self.rate {
            Rate::Max => Offered::Unlimited,
            Rate::Arrival => Offered::ByLaw,
            Rate::Bits(rate) => Offered::Bits(rate.bits_per_second() as f64 / streams),
            Rate::Packets(rate) => Offered::Packets(rate.packets_per_second() / streams),
        };
        let least = size_least(self.transport, self.echo);
        let laws = (&self.arrival, self.size_law.as_ref());
        let fixed = self.packet_size().map(f64::from);
        means(laws, (fixed, least, 0), offered, traces).map_err(|(key, error)| of_law(key)(error))
    }

    /// The law of sizes: what goes with it.
    pub(super) fn check_size_law(&self) -> Result<(), TrafficError> {
        let Some(law) = &self.size_law else {
            return Ok(());
        };
        law.check().map_err(of_law("size"))?;
        if self.size.is_some() {
            return fail("size", "`size` is a number of bytes or a law, not both");
        }
        if self.rate == Rate::Max {
            return fail(
                "size",
                "`size` as a law needs a schedule: give a rate, not `max`",
            );
        }
        if self.gso == Some(Bundles::On) {
            return fail(
                "gso",
                "`gso = \"on\"` needs packets of one size, not a law of sizes",
            );
        }
        match law {
            Law::Trace { .. } => Ok(()),
            law => {
                let least = size_least(self.transport, self.echo);
                law.conditioned(least).map(|_| ()).map_err(of_law("size"))
            }
        }
    }

    /// The law of arrival, and what of it the rate says.
    pub(super) fn check_arrival(&self) -> Result<(), TrafficError> {
        let key = self.transport.as_str();
        let law = &self.arrival;
        law.check().map_err(of_law("arrival"))?;
        match self.rate {
            Rate::Max if *law != Law::Constant => {
                return fail(
                    "arrival",
                    format!(
                        "`{key} = \"max\"` leaves no spacing to a law: give a rate, or leave `arrival` out"
                    ),
                );
            }
            Rate::Max => return Ok(()),
            Rate::Bits(_) | Rate::Packets(_) if !law.is_open() => {
                return fail("arrival", self.closed_law());
            }
            Rate::Arrival if law.is_open() => {
                return fail(
                    "arrival",
                    format!(
                        "`{key} = \"arrival\"` takes the rate from the law: give one with all its parameters, such as `exponential(mean = 1 ms)`"
                    ),
                );
            }
            Rate::Arrival if self.per != Per::Stream && self.streams > 1 => {
                return fail(
                    "per",
                    format!(
                        "`{key} = \"arrival\"` is the spacing of each stream: write `per = \"stream\"`"
                    ),
                );
            }
            Rate::Arrival if matches!(self.per, Per::Sender | Per::Set) => {
                return fail(
                    "per",
                    format!("`{key} = \"arrival\"` cannot be divided among flows: leave `per` out"),
                );
            }
            _ => {}
        }
        if self.transport == Transport::Tcp
            && self.rate == Rate::Arrival
            && self.size.is_none()
            && self.size_law.is_none()
        {
            return fail("size", "`tcp = \"arrival\"` needs the `size` of its writes");
        }
        if !self.ramp.is_empty() && matches!(law.uncapped().0, Law::OnOff { .. }) {
            return fail(
                "ramp",
                "`ramp` would stretch the periods of an on/off law: use phases for one of them",
            );
        }
        let means = self.means(&[])?;
        if means.spacing_ns.is_some_and(|ns| ns < 1.0) {
            return fail(
                "arrival",
                "`arrival`: a mean spacing below 1 ns is more than a flow may offer",
            );
        }
        Ok(())
    }

    fn closed_law(&self) -> String {
        let key = self.transport.as_str();
        match self.arrival.uncapped().0 {
            Law::Exponential { .. } | Law::Poisson { .. } | Law::Normal { .. } => {
                let name = self.arrival.name();
                format!(
                    "the rate already gives the mean: write `{name}` without `mean`, or `{key} = \"arrival\"` and the mean"
                )
            }
            law => format!(
                "`{}` has its own spacing here, beside that of the rate: write `{key} = \"arrival\"`, or leave the rate a parameter to set",
                law.name()
            ),
        }
    }
}
