//! The opening handshake (RFC 6455 §4) over HTTP/1.1 (RFC 9112), for both roles.
//!
//! Pure functions over a head's bytes, and one small resumable scan. Opens nothing, reads no clock, serves no path.
//! A server scans until the head is whole, parses it, proves the upgrade, and answers:
//!
//! ```text
//! bytes ──HeadScan──► head ──Request::parse──► Request ──upgrade──► Upgrade ──► encode_accept
//!            │                      │                       │
//!            └──────────────────────┴── HandshakeError ─────┴── answer ──► encode_refusal, or just close
//! ```
//!
//! | RFC | file |
//! |---|---|
//! | RFC 9112 §2.2 where a head ends | `head` |
//! | RFC 9112 §3, §6 request line, target, body length | `request` |
//! | RFC 9112 §5 header lines | `fields` |
//! | RFC 9110 §5.6 lists, tokens | `list` |
//! | RFC 6455 §4.2.1 the upgrade's proof | `upgrade` |
//! | RFC 6455 §4.2.2 key and accept; the answers | `accept`, `response` |
//! | RFC 6455 §4.1 the client's half | [`client`] |

mod accept;
pub mod client;
mod error;
mod fields;
mod head;
mod list;
mod request;
mod response;
mod upgrade;

pub use accept::accept_of;
pub use error::{Answer, HandshakeError, Status};
pub use head::{HeadLimits, HeadScan};
pub use request::{BodyLength, Request};
pub use response::{encode_accept, encode_refusal};
pub use upgrade::Upgrade;
