//! The trait that an application implements, and what it answers an opening handshake with.
//!
//! Everything here is called from the loop's one thread. A handler that waits makes every peer wait.

use crate::net::addr::PeerAddr;
use crate::net::context::Context;
use crate::proto::close::StatusCode;
use crate::proto::error::ProtocolError;
use crate::proto::handshake::{Request, Status, Upgrade};
use crate::proto::message::Message;

/// What a server does with its peers.
///
/// For each peer: `on_upgrade`, then `on_open`, any number of `on_message` and `on_drain`, then `on_close` exactly
/// once. Handlers never run inside handlers: what a handler does to another peer takes effect later in the turn.
pub trait Handler {
    /// What the application keeps for each open peer. An idle peer costs this and about 150 bytes.
    type State;

    /// Decides on an opening handshake that is in order (RFC 6455 §4.2): take the peer in, or refuse it.
    ///
    /// The place for checks of path, Origin (§10.2) and credentials. `peer` is the other end's address, as a proxy
    /// that is trusted names it (`Listen::proxy`).
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that the client gets as its HTTP response.
    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        peer: PeerAddr,
    ) -> Result<Accept<Self::State>, Refusal>;

    /// The connection is open; what is sent here follows the handshake at once.
    fn on_open(&mut self, _state: &mut Self::State, _cx: &mut Context<'_>) {}

    /// A whole message came. It is a borrow of the loop's buffer: copy what must outlive the call.
    fn on_message(&mut self, state: &mut Self::State, message: Message<'_>, cx: &mut Context<'_>);

    /// The peer's queued output, after it had passed the soft bound, is below it again.
    fn on_drain(&mut self, _state: &mut Self::State, _cx: &mut Context<'_>) {}

    /// The connection is over; nothing more can be sent to it.
    fn on_close(&mut self, _state: Self::State, _closed: Closed, _cx: &mut Context<'_>) {}
}

/// An opening handshake that the application accepts.
#[derive(Clone, Copy, Debug)]
pub struct Accept<S> {
    /// The application's state for this peer.
    pub state: S,
    /// The subprotocol chosen among those that the client offered, if any (RFC 6455 §1.9).
    pub subprotocol: Option<&'static str>,
}

impl<S> Accept<S> {
    /// Accepts without a subprotocol.
    pub const fn new(state: S) -> Self {
        Self { state, subprotocol: None }
    }
}

/// An opening handshake that the application refuses.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// The HTTP status of the response.
    pub status: Status,
    /// The response's body, one line: what was wrong, and what would be right.
    pub reason: &'static str,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The peer sent a Close, with this status code if any (RFC 6455 §7.1.5).
    ByPeer(Option<StatusCode>),
    /// We sent a Close first, with this status code.
    ByUs(StatusCode),
    /// The peer broke the protocol and was sent the error's status code.
    Failed(ProtocolError),
    /// The TCP connection ended or broke without a Close (what a browser shows as 1006).
    Lost,
    /// The server's run ended, stopped or at its drain deadline, and the connection was cut.
    Cut,
    /// The peer was silent for longer than the ping interval and the pong timeout together.
    Silent,
}
