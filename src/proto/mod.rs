//! RFC 6455, RFC 7692 and the HTTP/1.1 head of the opening handshake, as pure functions and state machines over byte slices.
//!
//! Opens nothing, reads no clock, does not know that sockets exist ("sans-IO"). Both roles: a server uses it
//! through `crate::net`, a client (the load generator) directly.
//!
//! | RFC 6455 | file |
//! |---|---|
//! | §4 opening handshake, and its HTTP/1.1 | [`handshake`] |
//! | §5.2 frame header | [`header`] |
//! | §5.3 masking | [`mask`] |
//! | §5.4 fragments, §5.5 control frames, §5.6 messages | [`inbound`], [`message`] |
//! | §5, sending | [`outbound`] |
//! | §5.5.1, §7.4 closing, status codes | [`close`] |
//! | §8.1 UTF-8 | [`utf8`] |
//! | §11.8 opcodes | [`opcode`] |
//! | RFC 7692 permessage-deflate | [`deflate`] |
//!
//! [`proxy_protocol`] is what a proxy may say before all of that.
//!
//! Every number here is a stranger's until it was checked, so arithmetic that may wrap is denied; where it is expected all the same,
//! the reason says what bounds it.

#![deny(clippy::arithmetic_side_effects)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod body;
pub mod close;
pub mod deflate;
pub mod error;
pub mod handshake;
pub mod header;
pub mod http;
pub mod inbound;
pub mod mask;
pub mod message;
pub mod opcode;
pub mod outbound;
pub mod parsed;
pub(crate) mod placement;
pub mod proxy_protocol;
pub mod utf8;
