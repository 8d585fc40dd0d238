//! Every file descriptor, every buffer and the clock: the event loop between sockets and a [`Handler`].
//!
//! Knows no opcode but what `proto` tells it, and no path, topic or policy: those are the application's.

// Public for `benches/outqueue.rs` alone.
#[doc(hidden)]
pub mod peer;
#[doc(hidden)]
pub mod socket;

mod api;
mod handover;
mod phase;
mod server;
#[cfg(test)]
mod simulation;
mod terms;
mod topics;
mod turn;

pub use api::context::{Context, Sent};
pub use api::handler::{Accept, Closed, Found, Handler, Lag, Refusal};
pub use api::remote::Remote;
pub use handover::{Ending, HandOver, TakenOver};
pub use peer::peers::{BadPeerId, PeerId};
pub use phase::http::Answer;
pub use phase::publication::{FannedOut, MessageBatch, Receipt};
pub use server::{Ended, Error, Server};
pub use socket::listener::{Arrival, Listen, ListenAt, ListenError, Over, Side};
pub use socket::tls::{PemContent, TlsConfig, TlsError};
pub use socket::trust::{BadCidr, Cidr, ProxyProtocol};
pub use socket::unix_socket::MadeFile;
pub use terms::addr::{LocalAddr, LocalSocket, PeerAddr, Scheme};
pub use topics::excerpt::{Excerpt, Order};
pub use topics::owners::Owner;
pub use topics::{
    BadMessageId, Form, Framing, Gap, Kept, MessageId, Position, Published, Since, TopicError,
    TopicInfo, TopicMessage,
};
pub use turn::{Counters, FAULT};
