//! Whole runs over loopback: two engines in one process, real sockets.

mod pair;
mod tcp;
mod udp;
