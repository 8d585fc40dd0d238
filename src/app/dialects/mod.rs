//! What a topic's messages look like to each kind of client, and what a client says: a module for each protocol, between
//! its bytes and typed values. Pure functions.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod centrifugo;
pub(crate) mod json_text;
pub(crate) mod plain;
