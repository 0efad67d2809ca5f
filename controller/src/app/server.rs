//! What every HTTP/2 connection is held to. tonic's defaults leave most of it
//! open; see RFC 9113 section 10.5 for what an open door lets in.

use std::time::Duration;

use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};
use weir_runtime::endpoint::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};

use crate::audit::Audit;
use crate::grpc::Access;

/// Streams of one connection at once (RFC 9113 section 5.1.2): an agent has
/// one, an experimenter a few, beside health and reflection.
const STREAMS: u32 = 8;
/// Streams that a connection may have reset before we have taken them up:
/// hyper's own bound (CVE-2023-44487), stated so that it cannot be lost.
const PENDING_RESETS: usize = 20;
/// Streams that a connection may have reset by our own errors; tonic's default
/// lifts hyper's bound (RUSTSEC-2024-0003).
const ERROR_RESETS: usize = 1_024;
/// Headers of one request, bytes, as RFC 9113 section 6.5.2 counts them.
const HEADER_LIST_BYTES: u32 = 8 * 1024;
/// Bytes of one frame: the smallest that HTTP/2 allows to ask for.
const FRAME_BYTES: u32 = 16 * 1024;
/// A silent connection is asked after this, and closed after the next.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_WAIT: Duration = Duration::from_secs(5);

/// A server with these limits, behind the table of methods and roles.
pub(super) fn bounded(audit: Audit) -> Server<Stack<Access, Identity>> {
    Server::builder()
        .max_concurrent_streams(STREAMS)
        // Calls beyond them are refused at once rather than kept waiting.
        .concurrency_limit_per_connection(STREAMS as usize)
        .load_shed(true)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(ERROR_RESETS))
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_WAIT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .layer(Access::new(audit))
}
