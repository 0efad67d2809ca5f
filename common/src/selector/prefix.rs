use super::SelectorError;
use std::{fmt, net::IpAddr, str::FromStr};

/// A network, such as `10.150.0.0/24`. Bits behind the mask are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network of `address` with `length` bits; `None` if the family has fewer bits.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        let network = match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
            _ => return None,
        };
        Some(Prefix { network, length })
    }

    /// True if `address` is of this family and inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4()
            && Prefix::new(address, self.length) == Some(*self)
    }
}

impl FromStr for Prefix {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Prefix, SelectorError> {
        let parse = || {
            let (address, length) = text.trim().split_once('/')?;
            Prefix::new(address.parse().ok()?, length.parse().ok()?)
        };
        parse().ok_or_else(|| SelectorError::Prefix {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_its_addresses() {
        let net: Prefix = "10.150.0.7/24".parse().unwrap();
        assert_eq!(net.to_string(), "10.150.0.0/24");
        assert!(net.contains("10.150.0.71".parse().unwrap()));
        assert!(!net.contains("10.151.0.71".parse().unwrap()));
        assert!(!net.contains("fd00::1".parse().unwrap()));
        let all: Prefix = "::/0".parse().unwrap();
        assert!(all.contains("fd00::1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
        assert!("10.0.0.0".parse::<Prefix>().is_err());
    }
}
