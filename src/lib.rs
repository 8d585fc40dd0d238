//! A WebSocket server at the cost of the kernel: one thread, one epoll loop, no copy that can be avoided.
//!
//! Implement [`Handler`], bind a [`Server`], run it. The loop calls the handler with borrowed messages and a
//! [`Context`] to answer with; what is sent while one event is handled leaves in one write.
//!
//! ```
//! use std::net::SocketAddr;
//! use wsfast::proto::handshake::{Request, Upgrade};
//! use wsfast::{Accept, Arrival, Closed, Context, Ended, Handler, Kind, Limits, Message, Refusal, Server};
//!
//! /// Tells everyone what anyone says, with a number in front.
//! struct Chat {
//!     said: u64,
//! }
//!
//! impl Handler for Chat {
//!     /// The name that a peer goes by.
//!     type State = String;
//!
//!     fn on_upgrade(
//!         &mut self,
//!         request: &Request<'_>,
//!         _upgrade: &Upgrade<'_>,
//!         _from: Arrival,
//!     ) -> Result<Accept<String>, Refusal> {
//!         Ok(Accept::new(request.path().trim_start_matches('/').to_owned()))
//!     }
//!
//!     fn on_message(&mut self, name: &mut String, message: Message<'_>, cx: &mut Context<'_>) {
//!         self.said += 1;
//!         if let Message::Text(text) = message {
//!             cx.broadcast(Kind::Text, format!("{} {name}: {}", self.said, text.as_str()).as_bytes());
//!         }
//!     }
//!
//!     fn on_close(&mut self, name: String, closed: Closed, cx: &mut Context<'_>) {
//!         cx.broadcast(Kind::Text, format!("{name} left: {}", closed.reason()).as_bytes());
//!     }
//! }
//!
//! # fn main() -> Result<(), wsfast::Error> {
//! let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
//! let mut server = Server::bind(&[any_port], Limits::default(), Chat { said: 0 })?;
//! println!("listening on {}", server.local_addrs()[0]);
//! let remote = server.remote();
//! std::thread::spawn(move || remote.drain()); // Another thread may send, broadcast, drain and stop.
//! assert_eq!(server.run()?, Ended::Drained);
//! # Ok(())
//! # }
//! ```
//!
//! [`proto`] is the protocol alone, without sockets, for both roles: what a client or another loop can be built on.
//! Leave out what only the standalone server needs with `default-features = false`.

#[macro_use]
pub mod state;

pub mod config;
pub mod net;
pub mod proto;

pub use config::{
    Compression, CompressionMode, ConfigError, LagPolicy, Limits, MemoryLimit, Rate, TopicLimits,
};
pub use net::{
    Accept, Answer, Arrival, BadCidr, BadMessageId, BadPeerId, Cidr, Closed, Context, Counters,
    Ended, Ending, Error, Excerpt, FAULT, FannedOut, Form, Found, Framing, Gap, HandOver, Handler,
    Kept, Lag, Listen, ListenAt, ListenError, LocalAddr, LocalSocket, MadeFile, MessageBatch,
    MessageId, Order, Over, Owner, PeerAddr, PeerId, PemContent, Position, ProxyProtocol,
    Published, Receipt, Refusal, Remote, Scheme, Sent, Server, Side, Since, TakenOver, TlsConfig,
    TlsError, TopicError, TopicInfo, TopicMessage,
};
pub use proto::close::StatusCode;
pub use proto::http::Response;
pub use proto::message::{Kind, Message, Text};
