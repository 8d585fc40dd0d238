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

pub use api::context::Context;
pub use api::handler::{Accept, Found, Handler, Lag};
pub use api::remote::Remote;
pub use handover::{Ending, HandOver, TakenOver};
pub use phase::http::Answer;
pub use phase::publication::{FannedOut, MessageBatch, Receipt};
pub use server::{Ended, Error, Server};
pub use socket::listener::{Listen, ListenAt, ListenError, Over};
pub use socket::tls::{PemContent, TlsConfig, TlsError};
pub use socket::trust::{BadCidr, Cidr, ProxyProtocol};
pub use socket::unix_socket::MadeFile;
pub use terms::addr::{LocalAddr, LocalSocket, PeerAddr, Scheme};
pub use terms::arrival::{Arrival, Side};
pub use terms::closed::Closed;
pub use terms::counters::Counters;
pub use terms::cursor::{BadMessageId, Gap, Kept, MessageId, Position, Since};
pub use terms::peer_id::{BadPeerId, PeerId};
pub use terms::refusal::Refusal;
pub use terms::sent::Sent;
pub use terms::topic::{Form, Framing, Published, TopicError, TopicInfo, TopicMessage};
pub use topics::excerpt::{Excerpt, Order};
pub use topics::owners::Owner;
pub use turn::FAULT;
