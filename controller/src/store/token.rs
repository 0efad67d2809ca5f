//! Tokens and certificates as the store keeps them.

use std::fmt;

use weir_common::id::AgentName;

/// A token. Of its secret only a hash is known here.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Which one, hexadecimal.
    pub id: String,
    /// SHA-256 of its secret, which is random and needs no salt.
    pub secret_sha256: [u8; 32],
    /// How many certificates it is still good for.
    pub uses_left: u32,
    /// Last instant of its life, s since the Unix epoch.
    pub expires_unix_s: u64,
    /// Names that it is good for; empty = any.
    pub name_pattern: String,
    /// When it was taken back, s since the Unix epoch.
    pub revoked_unix_s: Option<u64>,
}

impl TokenRow {
    /// How it is, in one word: valid, used, expired or revoked.
    pub fn state(&self, now_unix_s: u64) -> &'static str {
        if self.revoked_unix_s.is_some() {
            "revoked"
        } else if now_unix_s > self.expires_unix_s {
            "expired"
        } else if self.uses_left == 0 {
            "used"
        } else {
            "valid"
        }
    }
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRow")
            .field("id", &self.id)
            .field("uses_left", &self.uses_left)
            .field("expires_unix_s", &self.expires_unix_s)
            .field("name_pattern", &self.name_pattern)
            .field("revoked_unix_s", &self.revoked_unix_s)
            .finish_non_exhaustive()
    }
}

/// A certificate of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// Whom it names.
    pub name: AgentName,
    /// Last instant of its life, s since the Unix epoch.
    pub not_after_unix_s: u64,
}

/// A token that was shown for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Id of the token.
    pub token: String,
    /// SHA-256 of the secret that was shown.
    pub secret_sha256: [u8; 32],
    /// Key that the agent has proven, Ed25519.
    pub public_key: Vec<u8>,
    /// Now, s since the Unix epoch.
    pub now_unix_s: u64,
    /// What is to be given out.
    pub certificate: CertificateRow,
}

/// Why a token is refused. Whoever does not know its secret learns nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No such id, or another secret.
    #[error("token not known: make one with weir token create")]
    Unknown,
    /// Too late.
    #[error("token expired {} ago: make one with weir token create", ago(*ago_s))]
    Expired {
        /// How late, s.
        ago_s: u64,
    },
    /// An operator has taken it back.
    #[error("token revoked {} ago: ask who did, or make one with weir token create", ago(*ago_s))]
    Revoked {
        /// How long ago, s.
        ago_s: u64,
    },
    /// Nothing is left of it.
    #[error("token used up: make one with weir token create, for several agents with --uses N")]
    Used,
    /// The same agent has asked too often.
    #[error(
        "token was used by this agent {} times: keep its data directory, or make a token with weir token create",
        Self::REPEATS
    )]
    Repeated,
    /// It is for others.
    #[error(
        "token is for names like {pattern}, not {name}: start the agent with such a --name, or make a token with weir token create"
    )]
    Name {
        /// Whom it is for.
        pattern: String,
        /// Who asked.
        name: AgentName,
    },
}

impl TokenRefusal {
    /// Certificates of one agent for one use: answers are lost, but not as often.
    pub const REPEATS: u32 = 16;
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}
