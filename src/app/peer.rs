//! What the hub keeps for each of its peers, and when a peer is ended.
//!
//! An idle one of the most frequent kinds costs two words here. Acts on no message.

use wsfast::{Context, Form, PeerId, StatusCode, saved};

use crate::app::centrifugo::{self, Session};
use crate::app::dialects::centrifugo::codes::Disconnect;
use crate::app::expiry::Until;
use crate::app::gate::Caller;
use crate::app::route::Target;

/// What is kept for a peer.
#[derive(Debug)]
pub(crate) enum Peer {
    /// Nothing: it only wants its echo.
    Echo,
    /// One topic.
    Listener(Box<Listener>),
    /// As many as it says.
    Session(Box<Session>),
    /// The server's own events, by `--admin`.
    Watcher(Box<Watcher>),
}

/// Someone who listens to who comes and goes.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) target: Target,
    pub(crate) form: Form,
}

/// Someone who listens to a topic.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) target: Target,
    pub(crate) form: Form,
    pub(crate) caller: Caller,
}

/// Who is ended at a time of its own, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guest {
    Listener(PeerId),
    Session(PeerId),
}

saved!(enum Peer { 0 => Echo, 1 => Listener(listener), 2 => Session(session), 3 => Watcher(watcher) });
saved!(struct Listener { target, form, caller });
saved!(struct Watcher { target, form });

impl Peer {
    /// When it is ended, as things stand.
    pub(crate) fn untils(&self) -> [Option<Until>; 2] {
        let (caller, connect) = match self {
            Self::Echo | Self::Watcher(_) => (None, None),
            Self::Listener(listener) => (Some(&listener.caller), None),
            Self::Session(session) => (Some(session.caller()), session.connect_by_ms()),
        };
        [caller.and_then(Caller::ends_at_s).map(Until::TokenEnds), connect.map(Until::Spoken)]
    }

    pub(crate) const fn guest(&self, id: PeerId) -> Guest {
        match self {
            Self::Echo | Self::Listener(_) | Self::Watcher(_) => Guest::Listener(id),
            Self::Session(_) => Guest::Session(id),
        }
    }
}

impl Guest {
    /// Ends the connection since it is `until`.
    pub(crate) fn end(self, until: Until, cx: &mut Context<'_>) {
        let (id, why) = match (self, until) {
            (Self::Listener(id), _) => {
                return cx.close_peer(id, StatusCode::POLICY_VIOLATION, TOKEN_ENDED);
            }
            (Self::Session(id), Until::TokenEnds(_)) => (id, Disconnect::Expired),
            (Self::Session(id), Until::Spoken(_)) => (id, Disconnect::Stale),
        };
        centrifugo::end(cx, id, why);
    }
}

const TOKEN_ENDED: &str = "the token is no longer valid";
