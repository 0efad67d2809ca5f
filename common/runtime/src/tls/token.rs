//! Join tokens: `v1.PIN.ID.SECRET`. The pin lets an agent know the controller
//! before the secret leaves it; the id lets the controller find what it knows
//! of the token, which is a hash of the secret.

use std::str::FromStr;

use super::{Secret, hex};

/// Bytes of a token's id.
pub const TOKEN_ID_BYTES: usize = 8;
/// Bytes of a token's secret.
pub const TOKEN_SECRET_BYTES: usize = 32;

/// A token. Its `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct JoinToken {
    /// SHA-256 of the authority's key ([`super::spki_sha256`]).
    pub pin: [u8; 32],
    /// Which token, hexadecimal.
    pub id: String,
    /// What proves it.
    pub secret: Secret,
}

/// The text is no token. It is not repeated: it may be one with a slip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a token: one line of `weir token create`, four parts with dots between them, the first of them v1"
)]
pub struct TokenError;

impl JoinToken {
    /// The text that `weir token create` prints.
    pub fn reveal(&self) -> Secret {
        let (pin, secret) = (hex(&self.pin), hex(self.secret.expose()));
        Secret::new(format!("v1.{pin}.{}.{secret}", self.id).into_bytes())
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some("v1"), Some(pin), Some(id), Some(secret), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TokenError);
        };
        let secret: [u8; TOKEN_SECRET_BYTES] = digits(secret).ok_or(TokenError)?;
        Ok(Self {
            pin: digits(pin).ok_or(TokenError)?,
            id: hex(&digits::<TOKEN_ID_BYTES>(id).ok_or(TokenError)?),
            secret: Secret::new(secret.to_vec()),
        })
    }
}

/// So many bytes of hexadecimal digits.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            pin: [0xab; 32],
            id: "0011223344556677".to_owned(),
            secret: Secret::new(vec![0xc4; 32]),
        }
    }

    fn text() -> String {
        String::from_utf8(token().reveal().expose().to_vec()).unwrap()
    }

    #[test]
    fn tokens_parse_as_they_print() {
        let read: JoinToken = format!("{}\n", text()).parse().unwrap();
        assert_eq!(
            (read.pin, read.id.as_str()),
            ([0xab; 32], "0011223344556677")
        );
        assert_eq!(read.secret.expose(), [0xc4; 32]);
        assert!(!format!("{read:?}").contains("c4"), "{read:?}");
        assert!(!format!("{read:?}").contains("196"), "{read:?}");
    }

    #[test]
    fn what_is_no_token_is_not_repeated() {
        let whole = text();
        for wrong in [
            String::new(),
            whole[1..].to_owned(),
            whole[..whole.len() - 1].to_owned(),
            format!("{whole}.00"),
            whole.replace("v1", "v2"),
            whole.replace('c', "g"),
        ] {
            let error = wrong.parse::<JoinToken>().unwrap_err();
            assert!(!error.to_string().contains("c4"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(v1\\.|)[0-9a-f.\\PC]{0,160}") {
            let _read = text.parse::<JoinToken>().is_ok();
        }
    }
}
