//! From a request that asks for a topic to a subscription: which form its messages get, over which transport.
//!
//! Decides nothing about who may. What a form looks like is `plain`'s and `centrifugo`'s.

use wsfast::proto::handshake::{Request, Status, Upgrade};
use wsfast::{Answer, Context, Form, Lag, Response, StatusCode, TopicError};

use crate::app::centrifugo::sessions;
use crate::app::hub::peer::Peer;
use crate::app::hub::plain;
use crate::app::hub::presence::Transport;
use crate::app::hub::route::{self, Target};

/// A topic's messages without WebSocket, over the transport that is asked for, in responses with these further `headers`; `state`
/// makes what is kept for a stream.
pub(crate) fn stream(
    request: &Request<'_>,
    target: Target,
    mut headers: Vec<(&'static str, String)>,
    wait_ms_max: u64,
    state: impl FnOnce(Target, Form) -> Peer,
) -> Answer<Peer> {
    let (form, media_type) = match route::transport(request) {
        route::Transport::Events => (plain::EVENTS, "text/event-stream"),
        route::Transport::Lines => (plain::LINES, "application/x-ndjson"),
        route::Transport::Poll { wait_ms } => {
            let Target { topic, since, .. } = target;
            let wait_ms = wait_ms.min(wait_ms_max);
            return Answer::Wait { topic, form: plain::POLL, since, wait_ms, headers };
        }
    };
    headers.push(("X-Accel-Buffering", "no".to_owned()));
    let mut response = Response::new(Status::Ok, media_type, plain::keep_alive(form));
    response.headers.extend(headers);
    let keep_alive = plain::keep_alive(form);
    Answer::Stream { response, state: state(target, form), keep_alive }
}

/// Has the peer that `cx` is for listen to its topic, and tells it what it asked for and is gone; whether it listens.
pub(crate) fn subscribe(target: &Target, form: Form, cx: &mut Context<'_>) -> bool {
    let Target { topic, since, mutes_own } = target;
    let position = match cx.subscribe(topic, form, *mutes_own, *since) {
        Ok(position) => position,
        Err(error) => {
            cx.close(close_code_of(error), reason_of(error).1);
            return false;
        }
    };
    if let Some(gap) = position.gap {
        let mut notice = Vec::new();
        match plain::encode_gap(form, gap, &mut notice) {
            Lag::Told(kind) | Lag::Ended(kind) => {
                let _sent = cx.send_notice(kind, &notice);
            }
            Lag::Untold => {}
            Lag::Close(code, reason) => cx.close(code, &reason),
        }
    }
    true
}

/// The form of a WebSocket's messages, and the subprotocol that it is known by.
pub(crate) fn form_of(upgrade: &Upgrade<'_>) -> (Form, Option<&'static str>) {
    match upgrade.subprotocols().any(|name| name == META) {
        true => (plain::META, Some(META)),
        false => (plain::BARE, None),
    }
}

pub(crate) const fn transport_of(form: Form) -> Transport {
    match form {
        plain::META => Transport::Meta,
        plain::EVENTS => Transport::Sse,
        plain::LINES => Transport::Ndjson,
        sessions::PUSHES => Transport::Centrifugo,
        _ => Transport::WebSocket,
    }
}

/// What who publishes or subscribes is told.
pub(crate) const fn reason_of(error: TopicError) -> (Status, &'static str) {
    match error {
        TopicError::MessageTooBig => {
            (Status::ContentTooLarge, "the message is larger than topic-bytes")
        }
        TopicError::NameTooLong => (Status::BadRequest, NAME_TOO_LONG),
        TopicError::OutOfMemory => {
            (Status::ServiceUnavailable, "the server is out of memory (memory-limit)")
        }
        TopicError::TooManyTopicsOfOwner => (
            Status::TooManyRequests,
            "too many topics of one owner (max-topics-per-owner), and all are listened to",
        ),
        // `TopicError` is non-exhaustive; the others are about how many there are.
        _ => (Status::ServiceUnavailable, "there are as many topics as there may be"),
    }
}

/// The Close of a WebSocket that gets this error: whether it may try again soon.
pub(crate) const fn close_code_of(error: TopicError) -> StatusCode {
    match error {
        TopicError::TooManyTopicsOfOwner => StatusCode::POLICY_VIOLATION,
        _ => StatusCode::TRY_AGAIN_LATER,
    }
}

pub(crate) const NAME_TOO_LONG: &str = "the topic's name is longer than max-topic-name-bytes";

/// The subprotocol in which each message is preceded by its name.
const META: &str = "wsfast.meta";
