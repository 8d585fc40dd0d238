//! Centrifugo's clients and its HTTP API: the protocol between bytes and typed values, sessions, and replays.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod protocol;
pub(crate) mod replay;
pub(crate) mod sessions;
