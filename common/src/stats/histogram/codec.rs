//! The bytes of a histogram, as records carry them.
//!
//! An empty histogram is no bytes at all. Otherwise: layout version (1 byte),
//! then LEB128 varints: samples below and above the range, minimum, maximum
//! less minimum, sum, sum of squares, and for each occupied step in ascending
//! order the distance from the previous one and its count. The steps run to the
//! end of the bytes; the sample count is their sum.

use super::{HIGHEST_NS, Histogram, LOWEST_NS, STEPS, step};

/// Version of the layout: another number of steps or range means another one.
const VERSION: u8 = 1;

/// No valid encoding is longer: header and every step with the largest varints.
pub const MAX_ENCODED_BYTES: usize = 1 + 4 * 10 + 2 * 19 + STEPS * (2 + 10);

/// Why bytes are not a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// The layout version is not the one this build knows.
    #[error("histogram has layout version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// The bytes end inside a number, or a step has no count.
    #[error("histogram ends early")]
    Truncated,
    /// A number does not fit its field.
    #[error("histogram holds a number that is too large for its field")]
    Overflow,
    /// A step outside the range, or one without samples.
    #[error("histogram names a step outside its range")]
    Step,
    /// More bytes than any histogram has.
    #[error("histogram is longer than {MAX_ENCODED_BYTES} bytes")]
    TooLong,
    /// Sums or limits that no samples in those steps can have.
    #[error("histogram's sums and limits do not agree with its steps")]
    Inconsistent,
}

impl Histogram {
    /// The sparse bytes of this histogram; empty without samples.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.count == 0 {
            return out;
        }
        out.push(VERSION);
        put_varint(&mut out, u128::from(self.below));
        put_varint(&mut out, u128::from(self.above));
        put_varint(&mut out, u128::from(self.min_ns));
        put_varint(&mut out, u128::from(self.max_ns - self.min_ns));
        put_varint(&mut out, self.sum_ns);
        put_varint(&mut out, self.sum_of_squares);
        let mut next = 0;
        for (index, count) in self.steps.occupied() {
            put_varint(&mut out, (index - next) as u128);
            put_varint(&mut out, u128::from(count));
            next = index + 1;
        }
        out
    }

    /// Reads what [`Histogram::encode`] wrote. Any bytes may be given: what is
    /// accepted keeps all invariants, what is not is named by the error.
    pub fn decode(bytes: &[u8]) -> Result<Self, HistogramError> {
        let mut histogram = Self::new();
        let Some((&version, mut rest)) = bytes.split_first() else {
            return Ok(histogram);
        };
        if version != VERSION {
            return Err(HistogramError::Version(version));
        }
        if bytes.len() > MAX_ENCODED_BYTES {
            return Err(HistogramError::TooLong);
        }
        let input = &mut rest;
        histogram.below = take_u64(input)?;
        histogram.above = take_u64(input)?;
        histogram.min_ns = take_u64(input)?;
        histogram.max_ns = take_u64(input)?
            .checked_add(histogram.min_ns)
            .ok_or(HistogramError::Overflow)?;
        histogram.sum_ns = take_varint(input)?;
        histogram.sum_of_squares = take_varint(input)?;
        let mut next = 0usize;
        while !input.is_empty() {
            let skipped = take_u64(input)?.min(STEPS as u64) as usize;
            let index = next + skipped;
            let count = take_u64(input)?;
            if index >= STEPS || count == 0 {
                return Err(HistogramError::Step);
            }
            histogram.count = histogram
                .count
                .checked_add(count)
                .ok_or(HistogramError::Overflow)?;
            histogram.steps.add(index, count);
            next = index + 1;
        }
        histogram.check()?;
        Ok(histogram)
    }

    /// Whether samples with these figures can exist, as far as that is cheap.
    ///
    /// 1. Minimum and maximum lie in the first and the last occupied step.
    /// 2. Samples outside the range are where they count.
    /// 3. The sums lie between count times the least and the greatest value.
    fn check(&self) -> Result<(), HistogramError> {
        let first = self.steps.occupied().next();
        let last = self.steps.occupied().last();
        let (Some((first, in_first)), Some((last, in_last))) = (first, last) else {
            return Err(HistogramError::Truncated);
        };
        let in_limits = self.min_ns <= self.max_ns
            && self.max_ns <= HIGHEST_NS
            && step(self.min_ns) == first
            && step(self.max_ns) == last;
        let below_fits =
            self.below == 0 || (self.min_ns < LOWEST_NS && first == 0 && self.below <= in_first);
        let above_fits = self.above == 0
            || (self.max_ns == HIGHEST_NS && last == STEPS - 1 && self.above <= in_last);
        let (n, min, max) = (
            u128::from(self.count),
            u128::from(self.min_ns),
            u128::from(self.max_ns),
        );
        // count * HIGHEST_NS fits 128 bits; its square may not.
        let squares_fit = n
            .checked_mul(min * min)
            .is_some_and(|least| least <= self.sum_of_squares)
            && n.checked_mul(max * max)
                .is_none_or(|most| self.sum_of_squares <= most);
        let sums_fit = n * min <= self.sum_ns && self.sum_ns <= n * max && squares_fit;
        if in_limits && below_fits && above_fits && sums_fit {
            Ok(())
        } else {
            Err(HistogramError::Inconsistent)
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(input: &mut &[u8]) -> Result<u128, HistogramError> {
    let mut value = 0u128;
    let mut shift = 0u32;
    loop {
        let (&byte, rest) = input.split_first().ok_or(HistogramError::Truncated)?;
        *input = rest;
        let bits = u128::from(byte & 0x7f);
        // 18 groups fill 126 bits; the 19th has room for two.
        if shift > 126 || (shift == 126 && bits > 3) {
            return Err(HistogramError::Overflow);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        shift += 7;
    }
}

fn take_u64(input: &mut &[u8]) -> Result<u64, HistogramError> {
    u64::try_from(take_varint(input)?).map_err(|_| HistogramError::Overflow)
}
