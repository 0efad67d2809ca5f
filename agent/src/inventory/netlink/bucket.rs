//! The parameters of a token bucket filter (tbf), as the kernel dumps them
//! (`linux/pkt_sched.h`). Pure.

use super::message::{attributes, u32_at, u64_at};

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
/// `struct tc_ratespec`: its last field is the rate, bytes a second.
const RATESPEC_LEN: usize = 12;
/// `struct tc_tbf_qopt`: two rates, then limit, buffer and mtu.
const LIMIT_AT: usize = 2 * RATESPEC_LEN;
const BUFFER_AT: usize = LIMIT_AT + 4;
/// Nanoseconds of a tick of the packet scheduler's clock (`PSCHED_SHIFT` is 6).
const TICK_NS: u64 = 64;

/// What a tbf lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Rate, bytes a second.
    pub rate_bytes: u64,
    /// Size of the bucket, bytes: no greater packet passes.
    pub burst_bytes: u64,
    /// Size of the queue, bytes.
    pub limit_bytes: u32,
}

/// Reads the options of a tbf. The kernel keeps the burst as the time that it takes
/// at the rate, in ticks, so it is known to within the bytes of a tick.
pub(super) fn bucket(options: &[u8]) -> Option<Bucket> {
    let (mut parameters, mut rate64) = (None, None);
    for (kind, value) in attributes(options) {
        match kind {
            TCA_TBF_PARMS => parameters = Some(value),
            TCA_TBF_RATE64 => rate64 = u64_at(value, 0),
            _ => {}
        }
    }
    let parameters = parameters?;
    let rate = u32_at(parameters, RATESPEC_LEN - 4)?;
    let rate_bytes = rate64.unwrap_or_else(|| rate.into());
    let ticks = u32_at(parameters, BUFFER_AT)?;
    let burst = u128::from(rate_bytes) * u128::from(u64::from(ticks) * TICK_NS);
    Some(Bucket {
        rate_bytes,
        burst_bytes: u64::try_from(burst.div_ceil(1_000_000_000)).ok()?,
        limit_bytes: u32_at(parameters, LIMIT_AT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::attribute;
    use super::*;

    /// 50 Mbit/s with a burst of 31,250 B: 5 ms, 78,125 ticks.
    fn options() -> Vec<u8> {
        let mut parameters = vec![0; 2 * RATESPEC_LEN];
        parameters[8..12].copy_from_slice(&6_250_000_u32.to_ne_bytes());
        for field in [312_500_u32, 78_125, 0] {
            parameters.extend(field.to_ne_bytes());
        }
        attribute(TCA_TBF_PARMS, &parameters)
    }

    #[test]
    fn options_as_the_kernel_gives_them() {
        let expected = Bucket {
            rate_bytes: 6_250_000,
            burst_bytes: 31_250,
            limit_bytes: 312_500,
        };
        assert_eq!(bucket(&options()), Some(expected));
        // Above 2^32 bytes a second the rate stands apart.
        let fast = attribute(TCA_TBF_RATE64, &6_250_000_000_u64.to_ne_bytes());
        let fast = bucket(&[options(), fast].concat()).unwrap();
        assert_eq!(fast.rate_bytes, 6_250_000_000);
        assert_eq!(fast.burst_bytes, 31_250_000);
    }

    #[test]
    fn cut_options_are_none() {
        let whole = options();
        for cut in 0..whole.len() - 4 {
            assert_eq!(bucket(&whole[..cut]), None, "{cut}");
        }
        let most = attribute(TCA_TBF_RATE64, &u64::MAX.to_ne_bytes());
        bucket(&[options(), most].concat());
    }
}
