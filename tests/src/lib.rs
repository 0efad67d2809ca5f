//! What the end-to-end suites and benches share: real controllers and agents
//! as processes, in labs or on loopback, and the command line to drive them.

pub mod account;
pub mod background;
pub mod cancel;
pub mod cluster;
pub mod crowd;
pub mod eventually;
pub mod flood;
pub mod ground;
pub mod ledger;
pub mod mutants;
pub mod pretender;
pub mod process;
pub mod proxy;
pub mod quota;
pub mod report;
pub mod small_disk;
pub mod socket;
pub mod time_namespace;
pub mod usage;

pub use account::{Account, Kept, KeptRow};
pub use background::Background;
pub use cluster::{Cluster, Doors, Ran};
pub use crowd::Crowd;
pub use eventually::eventually;
pub use ground::Ground;
pub use process::{Process, binary};
pub use proxy::Proxy;
pub use quota::CpuQuota;
pub use small_disk::SmallDisk;
pub use socket::Socket;
pub use time_namespace::TimeNamespace;
pub use usage::Usage;
