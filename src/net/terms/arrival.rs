//! Where a request comes in: through which side, and from whom.

use crate::net::terms::addr::PeerAddr;
use crate::net::terms::peer_id::PeerId;

/// Whom a listener is for. What is served where is the handler's; the server itself makes two differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Side {
    /// Clients.
    #[default]
    Public,
    /// Who watches over the server: 16 connections at most, which take no client's place; 12 of them may be WebSockets, streams and
    /// requests that wait, past which there is a 503. Past 16 the next takes the place of one that asks for nothing, be it
    /// after 250 ms. Served while the server drains, until the last client is gone.
    Admin,
}

saved!(enum Side { 0 => Public, 1 => Admin });

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Arrival {
    /// What the connection is known by until it ends.
    pub id: PeerId,
    /// The other end, as a proxy that is trusted names it (`Listen::proxy`).
    pub peer: PeerAddr,
    /// Whom the listener is for that it came in by.
    pub side: Side,
}

saved!(struct Arrival { id, peer, side });
