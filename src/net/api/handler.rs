//! The trait that an application implements, and what it answers an opening handshake with.
//!
//! Everything here is called from the loop's one thread. A handler that waits makes every peer wait.

use crate::net::api::context::Context;
use crate::net::phase::http::Answer;
use crate::net::terms::arrival::Arrival;
use crate::net::terms::closed::Closed;
use crate::net::terms::cursor::{Gap, MessageId};
use crate::net::terms::peer_id::PeerId;
use crate::net::terms::refusal::Refusal;
use crate::net::terms::topic::{Form, TopicMessage};
use crate::proto::close::StatusCode;
use crate::proto::handshake::{HandshakeError, Request, Status, Upgrade};
use crate::proto::http::Response;
use crate::proto::message::{Kind, Message};
use crate::state::{Corrupt, Reader, Writer};

/// What a server does with its peers.
///
/// For each peer: `on_upgrade`, then `on_open`, any number of `on_message` and `on_drain`, then `on_close` exactly
/// once. Handlers never run inside handlers: what a handler does to another peer takes effect later in the turn.
pub trait Handler {
    /// What the application keeps for each open peer. An idle peer costs this and about 180 bytes.
    type State;

    /// Decides on an opening handshake that is in order (RFC 6455 §4.2): take the peer in, or refuse it.
    ///
    /// The place for checks of path, Origin (§10.2) and credentials. If it is taken in, the next call is its `on_open`, unless
    /// [`Side::Admin`](crate::Side::Admin) has as many as may stay.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that the client gets as its HTTP response.
    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        from: Arrival,
    ) -> Result<Accept<Self::State>, Refusal>;

    /// The connection is open; what is sent here follows the handshake at once.
    fn on_open(&mut self, _state: &mut Self::State, _cx: &mut Context<'_>) {}

    /// A whole message came. It is a borrow of the loop's buffer: copy what must outlive the call.
    fn on_message(&mut self, state: &mut Self::State, message: Message<'_>, cx: &mut Context<'_>);

    /// The peer's queued output, after it had passed the soft bound, is below it again.
    fn on_drain(&mut self, _state: &mut Self::State, _cx: &mut Context<'_>) {}

    /// Answers a request that is no opening handshake; its body came whole. If the answer is a stream, the next call is its
    /// `on_open`, but for the answer to HEAD, which has none, and where [`Side::Admin`](crate::Side::Admin) has as many as may stay.
    fn on_request(
        &mut self,
        _request: &Request<'_>,
        _body: &[u8],
        _from: Arrival,
        _cx: &mut Context<'_>,
    ) -> Answer<Self::State> {
        let reason = HandshakeError::UpgradeMissing.reason();
        Answer::Refuse(Refusal { status: Status::UpgradeRequired, reason })
    }

    /// Further header lines of the error that a request, which is no opening handshake, is refused with, be it by the handler or by
    /// the server: those that let a page of another origin read it, say. One of a name that the status comes with by itself
    /// (Allow, WWW-Authenticate, Retry-After) takes its place.
    fn refusal_headers(
        &self,
        _request: &Request<'_>,
        _status: Status,
    ) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Makes the head of the response to an [`Answer::Wait`]; its body, the messages in their form, follows by itself. `last`: the
    /// last of them, or where the topic stands, if there is such a topic.
    fn respond(&self, _form: Form, _last: Option<MessageId>, found: Found) -> Response {
        match found {
            Found::Nothing => Response::empty(Status::NoContent),
            Found::Messages => Response::new(Status::Ok, "application/octet-stream", ""),
        }
    }

    /// Writes a topic's message in one of the forms that peers subscribed with; called once for all of them.
    ///
    /// Whether it is text or binary in that form, where it is a WebSocket message.
    fn encode(&self, _form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
        out.extend_from_slice(message.payload);
        message.kind
    }

    /// Writes a part of a long message, for a stream or a response, or of any message of an [`Excerpt`](crate::Excerpt): what comes of the payload from byte `at` on, about 16 KiB as
    /// they are written, with what precedes the first part and follows the last. Where the next part begins; the length of the payload: that
    /// was the last. Called for each reader, so that none keeps the whole of it.
    fn encode_part(
        &self,
        form: Form,
        message: TopicMessage<'_>,
        _at: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        self.encode(form, message, out);
        message.payload.len()
    }

    /// The form that a message of an [`Excerpt`](crate::Excerpt) is written in, of which `form` is the excerpt's. Asked once for each
    /// message, so that what is known only once it was looked at as a whole need not be found out for each part.
    fn excerpt_form(&self, form: Form, _message: TopicMessage<'_>) -> Form {
        form
    }

    /// How many bytes [`Handler::encode`] writes, at most about. Asked before it is called, where memory is limited.
    fn encoded_len(&self, _form: Form, message: TopicMessage<'_>) -> usize {
        message.payload.len() + 64
    }

    /// A subscriber was too slow for its topic's history, or is given the newest message alone: what to tell it before it goes
    /// on behind the gap, written to `out`, or with what to end its connection.
    fn on_gap(&self, _form: Form, _topic: &str, gap: Gap, _out: &mut Vec<u8>) -> Lag {
        Lag::Close(StatusCode::TRY_AGAIN_LATER, format!("too slow; go on from {}", gap.from))
    }

    /// Whether a slow subscriber in this form may be given the newest message alone, where
    /// [`LagPolicy::Latest`](crate::LagPolicy::Latest) says so.
    fn conflates(&self, _form: Form) -> bool {
        true
    }

    /// What a peer that has been silent for the ping interval is sent, as a text message, in place of a Ping, where its protocol
    /// has something of its own for that.
    fn ping(&self, _state: &Self::State) -> Option<&'static [u8]> {
        None
    }

    /// When `on_wake` is to be called, in milliseconds on the clock of [`Context::now_ms`]; `None`: not for now. Asked twice a
    /// turn, so it is to be known without a search.
    fn wake_at_ms(&self) -> Option<u64> {
        None
    }

    /// The time that `wake_at_ms` told has come: never early, and late by no more than a turn. It is called for no peer, so what
    /// it does, it does to peers by name, to all, or to topics. A time that stays in the past has it called each turn.
    fn on_wake(&mut self, _cx: &mut Context<'_>) {}

    /// A few seconds have passed since peers or messages went: a moment to give back memory that was needed then and is not
    /// now. Not called while nothing happens.
    fn on_trim(&mut self) {}

    /// The limits are those of [`Context::limits`] from here on: [`Remote::set_limits`](crate::Remote::set_limits) was called. It
    /// is called for no peer, as `on_wake` is.
    fn on_limits(&mut self, _cx: &mut Context<'_>) {}

    /// Whether another image of the program can go on with this peer ([`crate::Server::take_over`]). A peer of which that is not
    /// true is told to come back (1012) before the server is handed over.
    fn moves(&self, _state: &Self::State) -> bool {
        false
    }

    /// Writes what [`Handler::restore`] needs, but for the peers.
    fn save(&self, _out: &mut Writer) {}

    /// Writes what [`Handler::restore_peer`] needs; only of peers that move.
    fn save_peer(&self, _state: &Self::State, _out: &mut Writer) {}

    /// Goes on where another image of the program ended: reads what its `save` wrote. The peers follow, each by `restore_peer`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`]: it is not that.
    fn restore(&mut self, _from: &mut Reader<'_>) -> Result<(), Corrupt> {
        Ok(())
    }

    /// Goes on with a peer: reads what `save_peer` wrote. Its `on_open` was in another image of the program; its name, its
    /// subscriptions and the clock are as they were.
    ///
    /// # Errors
    ///
    /// [`Corrupt`]: it is not that.
    fn restore_peer(
        &mut self,
        _peer: PeerId,
        _now_ms: u64,
        _from: &mut Reader<'_>,
    ) -> Result<Self::State, Corrupt> {
        Err(Corrupt)
    }

    /// What a stream that was restored is sent when nothing else was for a while (`Answer::Stream`).
    fn keep_alive(&self, _state: &Self::State) -> &'static [u8] {
        b""
    }

    /// The connection is over; nothing more can be sent to it.
    fn on_close(&mut self, _state: Self::State, _closed: Closed, _cx: &mut Context<'_>) {}
}

/// Whether a request that waited has messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There are some, or a notice of those that are gone.
    Messages,
    /// There were none in time.
    Nothing,
}

/// What becomes of a subscriber that lost messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lag {
    /// It is told, and goes on. Whether the notice is text or binary, where it is a WebSocket message.
    Told(Kind),
    /// It goes on, and is told nothing.
    Untold,
    /// It is told, and gets nothing more of this topic until it subscribes anew.
    Ended(Kind),
    /// Its connection ends with this status code and reason.
    Close(StatusCode, String),
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
