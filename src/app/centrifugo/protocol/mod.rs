//! The Centrifugo JSON protocol, as far as its stock clients need it, and the requests of its HTTP API.
//!
//! A codec: bytes to [`command::Request`]s, and replies and pushes to bytes. No sockets, no topics, no decision about who may do
//! what; those are the hub's. Names only its own modules, `app::terms` and `wsfast`, so that a bench can include it.
//!
//! One WebSocket text message carries lines of JSON ([`command::next_line`]), a command or a reply in each. `data`, the payload of a message,
//! is never decoded: it goes on byte for byte as it came ([`Data`] says what becomes of payloads that are not JSON).
//!
//! | file | idea |
//! |---|---|
//! | `json.rs` `json/` | JSON checked along the marks of simd-json's first stage, with each value's place in the text |
//! | `command.rs` | what clients send |
//! | `reply.rs` `push.rs` | what they get |
//! | `data.rs` | payloads inside of JSON |
//! | `api.rs` | the HTTP API's requests and what is answered only there |
//! | `codes.rs` | the protocol's numbers: errors, disconnects, unsubscribes |
//! | `write.rs` | strings and numbers as JSON |

pub(crate) mod api;
pub(crate) mod codes;
pub(crate) mod command;
pub(crate) mod data;
pub(crate) mod json;
pub(crate) mod push;
pub(crate) mod reply;
mod write;

use data::Data;

/// A place in a topic's stream. Offsets count from 1 within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position<'a> {
    /// Which life of the topic `offset` counts in. Empty from a client that names none.
    pub(crate) epoch: &'a str,
    /// The last message that was seen.
    pub(crate) offset: u64,
}

/// A connection, as presence names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientInfo<'a> {
    /// The connection's id, as its connect reply said.
    pub(crate) client: &'a str,
    /// The user that it belongs to; empty if nobody said.
    pub(crate) user: &'a str,
}

/// A message of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication<'a> {
    /// Its payload.
    pub(crate) data: Data<'a>,
    /// Its place in the topic.
    pub(crate) offset: u64,
}
