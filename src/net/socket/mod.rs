//! Kernel objects, one a file: sockets of every kind, TLS between them and everything above, signals, the clock, and who is trusted to speak for others.

pub(crate) mod clock;
pub mod link;
pub(crate) mod listener;
pub(crate) mod readiness;
pub(crate) mod signals;
pub(crate) mod tls;
pub(crate) mod trust;
pub(crate) mod unix_socket;
