//! Protocol definitions of weir, their committed bindings, and conversions to
//! and from the vocabulary of `weir-common`.
//!
//! The `.proto` files under `proto/weir/` are the source; `src/gen/` is made
//! from them by the test `generated`, so that building needs no protoc.
#![forbid(unsafe_code)]

pub mod codec;
pub mod convert;
pub mod frame;

/// Types that both services share.
pub mod types {
    /// Package `weir.types.v1`.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        include!("gen/weir.types.v1.rs");
    }
}

/// What agents speak with the controller.
pub mod agent {
    /// Package `weir.agent.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    pub mod v1 {
        include!("gen/weir.agent.v1.rs");
    }
}

/// What experimenters' tools speak with the controller.
pub mod controller {
    /// Package `weir.controller.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    pub mod v1 {
        include!("gen/weir.controller.v1.rs");

        impl std::fmt::Debug for CreateTokenResponse {
            /// Without the token.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("CreateTokenResponse")
                    .field("expires_unix_s", &self.expires_unix_s)
                    .finish_non_exhaustive()
            }
        }
    }
}

/// What a host without a certificate speaks with the controller.
pub mod enrol {
    /// Package `weir.enrol.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    pub mod v1 {
        include!("gen/weir.enrol.v1.rs");

        impl std::fmt::Debug for EnrolRequest {
            /// Without the secret.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("EnrolRequest")
                    .field("token_id", &self.token_id)
                    .field("name", &self.name)
                    .finish_non_exhaustive()
            }
        }
    }
}

/// What two agents without a controller speak.
pub mod peer {
    /// Package `weir.peer.v1`.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        include!("gen/weir.peer.v1.rs");
    }
}

/// Encoded file descriptor set of all packages, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/weir.fds");
