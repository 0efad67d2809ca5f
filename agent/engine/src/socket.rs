//! Sockets as the generators and receivers need them, and every `unsafe` block of
//! the project.
//!
//! All system calls that the standard library and socket2 do not offer are made in
//! [`sys`], one small function each, with the reason it is sound. The rest of the
//! module is safe code on top:
//!
//! - [`UdpSocket`]: sends that never block and say what became of each datagram,
//!   the error queue, bundles (GSO), drops; [`ReceiveBatch`]: many datagrams per
//!   call with kernel stamps, split back into datagrams where the kernel bundled
//!   them (GRO).
//! - [`TcpConnection`], [`TcpListener`], [`TcpInfo`]; [`PatternWriter`]: filling a
//!   connection without copying where the kernel can.
//! - [`poll`], [`Waker`]: waiting, and ending a wait. [`Epoll`],
//!   [`Bell`]: the same for many sockets on one thread.
//! - [`SocketProvider`]: where sockets come from, so that a privileged helper can
//!   hand them in.
//!
//! What a kernel lacks degrades: without UDP_SEGMENT bundles are sent one by one,
//! without UDP_GRO datagrams arrive one by one, without a large pipe or splice TCP
//! is written with copies, a short `struct tcp_info` leaves
//! its newer fields `None`.

mod buffer;
mod control;
mod epoll;
mod error;
mod marks;
mod pattern;
mod poll;
mod privilege;
mod probe;
mod provider;
mod receive;
mod sys;
mod tcp;
mod tcp_info;
mod thread;
mod udp;
mod writer;

pub use self::buffer::BufferSize;
pub use self::epoll::{Bell, Epoll, Interest, Tokens};
pub use self::error::SocketError;
pub use self::pattern::{PATTERN_BYTES, WRITE_BYTES, mismatches};
pub use self::poll::{PollFd, Waker, Woke, poll};
pub use self::probe::{BundleSupport, bundle_support, congestion_controls};
pub use self::provider::{
    DirectProvider, ListenRequest, SocketProvider, StreamRequest, UdpRequest,
};
pub use self::receive::{BUNDLE_BYTES, Datagram, ReceiveBatch, ReceiveDetails};
pub use self::sys::{lend_to_pipe, monotonic_ns, realtime_ns, sleep_until_monotonic};
pub use self::tcp::{Connecting, TcpConnection, TcpListener, TcpOptions, Transfer};
pub use self::tcp_info::TcpInfo;
pub use self::thread::{
    parse_run_queue_wait, pin_thread, raise_descriptor_limit, run_queue_wait_ns,
    set_timer_slack_ns, thread_cpu_ns, thread_cpus,
};
pub use self::udp::{MAX_SEGMENTS, QueuedErrors, Refusal, SendOutcome, UdpSocket, max_bundle};
pub use self::writer::{PatternWriter, Written};

#[cfg(test)]
mod tests;
