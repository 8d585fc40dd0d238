//! Every file descriptor, every buffer and the clock: the event loop between sockets and a [`Handler`].
//!
//! Knows no opcode but what `proto` tells it, and no path, topic or policy: those are the application's.

pub mod addr;
pub mod context;
pub mod handler;
pub mod listener;
pub mod remote;
pub mod server;
pub mod tls;
pub mod trust;

// Public for `benches/outqueue.rs` alone.
#[doc(hidden)]
pub mod link;
#[doc(hidden)]
pub mod outqueue;

mod addresses;
mod admins;
mod clock;
mod compressors;
mod cursor;
mod excerpt;
mod fan_out;
mod handover;
mod handshakes;
mod http;
mod in_place;
mod memory;
mod names;
mod opening;
mod owners;
mod partial;
mod peers;
mod prepared;
mod proxied;
mod publication;
mod rates;
mod readiness;
mod reply;
mod retention;
mod rx;
mod scratch;
mod signals;
#[cfg(test)]
mod simulation;
mod timers;
mod topics;
mod turn;
mod tx;
mod unix_socket;
mod work;

pub use addr::{LocalAddr, LocalSocket, PeerAddr, Scheme};
pub use context::{Context, Sent};
pub use excerpt::{Excerpt, Order};
pub use handler::{Accept, Closed, Found, Handler, Lag, Refusal};
pub use handover::{Ending, HandOver, TakenOver};
pub use http::Answer;
pub use listener::{Arrival, Listen, ListenAt, ListenError, Over, Side};
pub use owners::Owner;
pub use peers::{BadPeerId, PeerId};
pub use publication::{FannedOut, MessageBatch, Receipt};
pub use remote::Remote;
pub use server::{Ended, Error, Server};
pub use tls::{PemContent, TlsConfig, TlsError};
pub use topics::{
    BadMessageId, Form, Framing, Gap, Kept, MessageId, Position, Published, Since, TopicError,
    TopicInfo, TopicMessage,
};
pub use trust::{BadCidr, Cidr, ProxyProtocol};
pub use turn::{Counters, FAULT};
pub use unix_socket::MadeFile;
