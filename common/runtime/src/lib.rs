//! What both daemons and the command line need of the operating system:
//! logging, shutdown, endpoints, TLS, data directories, and the host's clock.
#![forbid(unsafe_code)]

pub mod directory;
pub mod endpoint;
pub mod host;
pub mod log;
pub mod privilege;
pub mod shutdown;
pub mod tls;
pub mod trace;

pub use directory::{DataDir, DirectoryError};
pub use endpoint::{ConnectError, Endpoint, EndpointError};
pub use host::HostClock;
pub use shutdown::Shutdown;
pub use trace::{TraceFileError, read_traces};
