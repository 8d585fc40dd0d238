//! What the hub keeps for each of its peers, and when a peer is ended.
//!
//! An idle one of the most frequent kinds costs two words here. Acts on no message.

use wsfast::{Context, Form, PeerId, StatusCode, saved};

use crate::app::centrifugo::protocol::codes::Disconnect;
use crate::app::centrifugo::sessions::{self, Session};
use crate::app::gate::Caller;
use crate::app::hub::deadlines::Until;
use crate::app::hub::route::Target;

/// What is kept for a peer.
#[derive(Debug)]
pub(crate) enum Peer {
    /// Nearly nothing: it only wants its echo.
    Echo {
        /// When its token ends, in seconds since 1970; `u64::MAX`: it has none, or one without end.
        ends_at_s: u64,
    },
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

saved!(enum Peer { 0 => Echo { ends_at_s }, 1 => Listener(listener), 2 => Session(session), 3 => Watcher(watcher) });
saved!(struct Listener { target, form, caller });
saved!(struct Watcher { target, form });

impl Peer {
    /// An echo for `caller`.
    pub(crate) fn echo(caller: &Caller) -> Self {
        Self::Echo { ends_at_s: caller.ends_at_s().unwrap_or(u64::MAX) }
    }

    /// When it is ended, as things stand.
    pub(crate) fn untils(&self) -> [Option<Until>; 2] {
        let (token, connect) = match self {
            Self::Watcher(_) => (None, None),
            Self::Echo { ends_at_s } => (Some(*ends_at_s).filter(|&it| it != u64::MAX), None),
            Self::Listener(listener) => (listener.caller.ends_at_s(), None),
            Self::Session(session) => (session.caller().ends_at_s(), session.connect_by_ms()),
        };
        [token.map(Until::TokenEnds), connect.map(Until::Spoken)]
    }

    pub(crate) const fn guest(&self, id: PeerId) -> Guest {
        match self {
            Self::Echo { .. } | Self::Listener(_) | Self::Watcher(_) => Guest::Listener(id),
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
        sessions::end(cx, id, why);
    }
}

const TOKEN_ENDED: &str = "the token is no longer valid";
