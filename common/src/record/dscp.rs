use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// DSCP values (RFC 2474): which of the 64 were seen.
///
/// Written as their numbers, ascending: `0 46` in columns, `[0, 46]` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub struct DscpSet(u64);

/// A text or list that names no set of DSCP values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no DSCP: they are 0 to 63")]
pub struct DscpError(String);

impl DscpSet {
    /// The set of which bit n says whether value n is in it.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit n says whether value n is in the set.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether nothing was seen.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds the value in the upper six bits of a TOS or traffic-class byte.
    #[inline]
    pub fn insert_tos(&mut self, tos: u8) {
        self.0 |= 1 << (tos >> 2);
    }

    /// Adds all values of another set.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The values, ascending.
    pub fn values(self) -> impl Iterator<Item = u8> {
        (0..64_u8).filter(move |value| self.0 >> value & 1 == 1)
    }
}

impl fmt::Display for DscpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.values().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{value}")?;
        }
        Ok(())
    }
}

impl FromStr for DscpSet {
    type Err = DscpError;

    fn from_str(text: &str) -> Result<Self, DscpError> {
        let error = |word: &str| DscpError(word.chars().take(20).collect());
        let values: Result<Vec<u8>, DscpError> = text
            .split_ascii_whitespace()
            .map(|word| word.parse().map_err(|_| error(word)))
            .collect();
        Self::try_from(values?)
    }
}

impl From<DscpSet> for Vec<u8> {
    fn from(set: DscpSet) -> Self {
        set.values().collect()
    }
}

impl TryFrom<Vec<u8>> for DscpSet {
    type Error = DscpError;

    fn try_from(values: Vec<u8>) -> Result<Self, DscpError> {
        let mut bits = 0;
        for value in values {
            if value > 63 {
                return Err(DscpError(value.to_string()));
            }
            bits |= 1 << value;
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tos_byte_has_its_dscp_in_the_upper_bits() {
        let mut set = DscpSet::default();
        set.insert_tos(0xb8 | 0b11); // EF, CE
        set.insert_tos(0);
        assert_eq!(set.to_string(), "0 46");
        assert_eq!(Vec::from(set), [0, 46]);
        assert!("0 64".parse::<DscpSet>().is_err());
        assert!("x".parse::<DscpSet>().is_err());
    }

    proptest! {
        #[test]
        fn every_set_comes_back(bits: u64) {
            let set = DscpSet::from_bits(bits);
            prop_assert_eq!(set.to_string().parse(), Ok(set));
            prop_assert_eq!(DscpSet::try_from(Vec::from(set)), Ok(set));
        }
    }
}
