//! What the end-to-end suites and benches share: real controllers and agents
//! as processes, in labs or on loopback, and the command line to drive them.

pub mod account;
pub mod cluster;
pub mod eventually;
pub mod ground;
pub mod process;
pub mod quota;
pub mod time_namespace;

pub use account::{Account, Kept, KeptRow};
pub use cluster::{Cluster, Ran};
pub use eventually::eventually;
pub use ground::Ground;
pub use process::{Process, binary};
pub use quota::CpuQuota;
pub use time_namespace::TimeNamespace;
