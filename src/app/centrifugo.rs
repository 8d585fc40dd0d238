//! Centrifugo's clients at `/connection/websocket`: many topics over one connection, and what is answered to each command.
//!
//! What commands and replies look like is `dialects::centrifugo`'s, delivery, history and slow clients are `wsfast`'s topics.
//! A channel is the topic of the same name, so that these clients, bare WebSockets and curl hear each other, and presence
//! counts them all.

#![deny(clippy::arithmetic_side_effects)]

mod replay;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use wsfast::{
    Context, Form, Framing, Kind, MessageId, PeerId, Since, StatusCode, TopicError, saved,
};

use crate::app::centrifugo::replay::Share;
use crate::app::dialects::centrifugo::api::{self, ApiRequest, Method, Node, Payload, Posted};
use crate::app::dialects::centrifugo::codes::{Disconnect, ReplyError, Unsubscribe};
use crate::app::dialects::centrifugo::command::{self, Command, Fault, Request, Subscribe};
use crate::app::dialects::centrifugo::json::{JsonLimits, Reader};
use crate::app::dialects::centrifugo::reply::{self, Connected, Recovery, Subscribed, To};
use crate::app::dialects::centrifugo::{ClientInfo, Position, push};
use crate::app::dialects::json_text::escaped_len;
use crate::app::gate::{BadToken, Caller, Gate, Via};
use crate::app::presence::{Presence, Stats, Transport};
use crate::app::wall;

/// A topic's messages as this protocol's pushes.
pub(crate) const PUSHES: Form = Form { id: 5, framing: Framing::Message };

/// What all connections of this protocol share.
pub(crate) struct Centrifugo {
    /// Reads commands.
    commands: Reader,
    /// Tells whether payloads are JSON.
    payloads: RefCell<Reader>,
    /// Everyone who has said connect: the names of connection and user.
    connected: HashMap<PeerId, (String, String)>,
    ping_s: u32,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    caller: Caller,
    /// Its name, once it has said connect.
    client: Option<String>,
    /// When it is to have said so, in milliseconds of the loop.
    connect_by_ms: u64,
    /// Whether it has tried to, and was refused (true): what it sent along has done nothing wrong.
    was_refused: bool,
    /// Whose it is, for presence; shared by all its channels.
    member: Option<Rc<str>>,
    channels: Vec<String>,
    share: Share,
}

impl std::fmt::Debug for Centrifugo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Centrifugo").field("connected", &self.connected).finish_non_exhaustive()
    }
}

saved!(struct Session { caller, client, connect_by_ms, was_refused, member, channels, share });

impl Session {
    pub(crate) fn new(caller: Caller) -> Self {
        let member = caller.subject().map(Rc::from);
        let (channels, share) = (Vec::new(), Share::new(0));
        let (client, connect_by_ms, was_refused) = (None, u64::MAX, false);
        Self { caller, client, connect_by_ms, was_refused, member, channels, share }
    }

    /// A token was shown behind the opening handshake.
    fn show(&mut self, caller: Caller) {
        self.member = caller.subject().map(Rc::from);
        self.caller = caller;
    }

    /// It is open, and is to say connect by then.
    pub(crate) const fn await_connect(&mut self, by_ms: u64) {
        self.connect_by_ms = by_ms;
    }

    /// By when it is to say connect, unless it has.
    pub(crate) fn connect_by_ms(&self) -> Option<u64> {
        self.client.is_none().then_some(self.connect_by_ms)
    }

    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    fn user(&self) -> &str {
        self.caller.subject().unwrap_or_default()
    }
}

impl Centrifugo {
    pub(crate) fn new(ping_s: u32, json: JsonLimits) -> Self {
        let reader = || Reader::new(json);
        Self {
            commands: reader(),
            payloads: RefCell::new(reader()),
            connected: HashMap::new(),
            ping_s,
        }
    }

    /// Goes on with a connection of an earlier image of this program.
    pub(crate) fn restore(&mut self, peer: PeerId, session: &Session) {
        if let Some(client) = &session.client {
            self.connected.insert(peer, (client.clone(), session.user().to_owned()));
        }
    }

    /// Acts on a message, which may hold several commands; all their replies leave in one.
    pub(crate) fn on_message(
        &mut self,
        session: &mut Session,
        gate: &Gate,
        presence: &mut Presence,
        message: &[u8],
        cx: &mut Context<'_>,
    ) {
        session.share.renew(cx.now_ms());
        if message.trim_ascii().is_empty() {
            return end(cx, cx.id(), Disconnect::BadRequest);
        }
        let mut replies = Vec::new();
        let mut outcome = Ok(());
        let mut at = 0;
        while outcome.is_ok()
            && let Some(line) = command::next_line(message, &mut at)
        {
            outcome = self.on_command(session, gate, presence, line, &mut replies, cx);
        }
        send(cx, &replies);
        if let Err(disconnect) = outcome {
            end(cx, cx.id(), disconnect);
        }
    }

    /// Acts on one command, and appends its reply.
    ///
    /// # Errors
    ///
    /// The connection ends: nothing says what the reply would be for.
    fn on_command(
        &mut self,
        session: &mut Session,
        gate: &Gate,
        presence: &mut Presence,
        line: &[u8],
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Result<(), Disconnect> {
        let Self { commands, payloads, connected, ping_s } = self;
        let command = match command::parse(commands, line) {
            Ok(command) => command,
            Err(Fault::Malformed(_)) => return Err(Disconnect::BadRequest),
            Err(Fault::Refused { id, error }) => {
                session.was_refused |= session.client.is_none();
                reply::next_line(out);
                reply::error(out, To::Command(id), error);
                return Ok(());
            }
        };
        let Command { id, request } = command;
        if matches!(request, Request::Pong) {
            return Ok(());
        }
        let is_connect = matches!(request, Request::Connect(_));
        if session.client.is_some() == is_connect {
            // Connect comes first, and once; what comes behind a refused one is refused with it.
            if is_connect || !session.was_refused || id == 0 {
                return Err(Disconnect::BadRequest);
            }
            reply::next_line(out);
            reply::error(out, To::Command(id), ReplyError::Unauthorized);
            return Ok(());
        }
        reply::next_line(out);
        let answered = match request {
            Request::Connect(asked) => 'connect: {
                if let Some(token) = asked.token {
                    match gate.with_token(&session.caller, token, wall::now_s()) {
                        Ok(caller) => session.show(caller),
                        Err(BadToken::Expired) => break 'connect Err(ReplyError::TokenExpired),
                        Err(BadToken::NotYetValid) => break 'connect Err(ReplyError::Unauthorized),
                        Err(_) => return Err(Disconnect::InvalidToken),
                    }
                }
                gate.may_stay(&session.caller).map_err(|_| Disconnect::InvalidToken)?;
                let client = cx.id().to_string();
                let version = env!("CARGO_PKG_VERSION");
                reply::connect(out, id, &Connected { client: &client, version, ping_s: *ping_s });
                let user = session.user().to_owned();
                connected.insert(cx.id(), (client.clone(), user));
                session.client = Some(client);
                Ok(())
            }
            Request::Subscribe(asked) => {
                subscribe(presence, payloads, session, gate, id, &asked, out, cx)
            }
            Request::Unsubscribe { channel } => {
                cx.unsubscribe(channel);
                leave(presence, session, channel, cx);
                reply::unsubscribe(out, id);
                Ok(())
            }
            Request::Publish { channel, data } => {
                let may = gate.may_publish(&session.caller, channel, Via::ClientMessage);
                may.map_err(|_| ReplyError::PermissionDenied).and_then(|()| {
                    cx.publish(channel, Kind::Text, data).map_err(error_of)?;
                    reply::publish(out, id);
                    Ok(())
                })
            }
            Request::Presence { channel } => may_hear(gate, session, channel).and_then(|()| {
                members(presence, To::Command(id), channel, &mut session.share, out)
            }),
            Request::PresenceStats { channel } => may_hear(gate, session, channel)
                .map(|()| stats(presence, To::Command(id), channel, out)),
            Request::History(asked) => may_hear(gate, session, asked.channel).and_then(|()| {
                let share = &mut session.share;
                replay::history(payloads, To::Command(id), &asked, share, out, cx)
            }),
            Request::Ping => {
                reply::ping(out, id);
                Ok(())
            }
            Request::Rpc | Request::Refresh { .. } | Request::SubRefresh { .. } => {
                Err(ReplyError::NotAvailable)
            }
            Request::Unknown => Err(ReplyError::MethodNotFound),
            Request::Send => return Err(Disconnect::NotAvailable),
            Request::Pong => Ok(()),
        };
        if let Err(error) = answered {
            session.was_refused |= is_connect;
            reply::error(out, To::Command(id), error);
        }
        Ok(())
    }

    /// Writes a topic's message as a push.
    pub(crate) fn encode(&self, message: wsfast::TopicMessage<'_>, out: &mut Vec<u8>) {
        push::publish(out, message.topic, replay::publication(&self.payloads, message));
    }

    /// Tells a subscriber that it must recover: stock clients do so by themselves.
    pub(crate) fn encode_gap(topic: &str, out: &mut Vec<u8>) {
        push::unsubscribe(out, topic, Unsubscribe::InsufficientState);
    }

    /// The connection is over.
    pub(crate) fn on_close(
        &mut self,
        session: &Session,
        presence: &mut Presence,
        cx: &mut Context<'_>,
    ) {
        self.connected.remove(&cx.id());
        for channel in &session.channels {
            presence.leave(channel, Transport::Centrifugo, cx);
        }
    }

    /// Answers a request to the HTTP API; `None`: it has no such method.
    pub(crate) fn on_api(
        &mut self,
        method: &str,
        body: &[u8],
        presence: &Presence,
        cx: &mut Context<'_>,
    ) -> Option<Vec<u8>> {
        let method = Method::named(method)?;
        let mut out = Vec::new();
        let mut share = Share::new(cx.now_ms());
        let Self { commands, payloads, connected, .. } = self;
        let answered = api::parse(commands, method, body).and_then(|request| {
            match request {
                ApiRequest::Publish { channel, message } => {
                    let id = publish(channel, &message, cx)?;
                    let epoch = format!("{:x}", id.epoch);
                    api::published(&mut out, Position { epoch: &epoch, offset: id.offset });
                }
                ApiRequest::Broadcast { channels, message } => {
                    let done: Vec<_> = channels
                        .into_iter()
                        .map(|channel| publish(channel, &message, cx))
                        .map(|done| done.map(|id| (format!("{:x}", id.epoch), id.offset)))
                        .collect();
                    let outcomes = done.iter().map(|done| match done {
                        Ok((epoch, offset)) => Ok(Position { epoch, offset: *offset }),
                        Err(error) => Err(*error),
                    });
                    api::broadcast_done(&mut out, outcomes);
                }
                ApiRequest::Presence { channel } => {
                    members(presence, To::Api, channel, &mut share, &mut out)?;
                }
                ApiRequest::PresenceStats { channel } => {
                    stats(presence, To::Api, channel, &mut out);
                }
                ApiRequest::History(asked) => {
                    replay::history(payloads, To::Api, &asked, &mut share, &mut out, cx)?;
                }
                ApiRequest::HistoryRemove { channel } => {
                    cx.clear_topic(channel);
                    api::done(&mut out);
                }
                ApiRequest::Disconnect(ending) => {
                    for (&peer, (client, user)) in &*connected {
                        let is_meant = user == ending.user
                            && ending.client.is_none_or(|it| it == client)
                            && !ending.spared.contains(&&**client);
                        if is_meant {
                            end_peer(cx, peer, ending.close);
                        }
                    }
                    api::done(&mut out);
                }
                ApiRequest::Info => {
                    let mut users: Vec<_> = connected.values().map(|(_, user)| user).collect();
                    users.sort_unstable();
                    users.dedup();
                    let node = Node {
                        uid: "wsfast",
                        name: "wsfast",
                        version: env!("CARGO_PKG_VERSION"),
                        clients: connected.len() as u64,
                        users: users.len() as u64,
                        channels: presence.topic_count() as u64,
                        subscriptions: presence.listener_count() as u64,
                        uptime_s: cx.now_ms() / 1000,
                    };
                    api::info(&mut out, &node);
                }
            }
            Ok(())
        });
        if let Err(error) = answered {
            out.clear();
            reply::error(&mut out, To::Api, error);
        }
        Some(out)
    }
}

/// How many bytes a message takes as a push, at most about.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
pub(crate) fn encoded_len(message: wsfast::TopicMessage<'_>) -> usize {
    let data = match message.kind {
        // As it is, or as a string.
        Kind::Text => escaped_len(message.payload),
        Kind::Binary => message.payload.len().div_ceil(3) * 4,
    };
    data + message.topic.len() + PUSH_BYTES
}

/// What a push has beside topic and data.
const PUSH_BYTES: usize = 128;

fn publish(
    channel: &str,
    message: &Posted<'_>,
    cx: &mut Context<'_>,
) -> Result<MessageId, ReplyError> {
    if message.skip_history {
        return Err(ReplyError::NotAvailable);
    }
    let (kind, payload) = match &message.payload {
        Payload::Json(json) => (Kind::Text, *json),
        Payload::Binary(bytes) => (Kind::Binary, &bytes[..]),
    };
    cx.publish(channel, kind, payload).map(|published| published.id).map_err(error_of)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one command, borrowed apart")]
fn subscribe(
    presence: &mut Presence,
    payloads: &RefCell<Reader>,
    session: &mut Session,
    gate: &Gate,
    id: u32,
    asked: &Subscribe<'_>,
    out: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Result<(), ReplyError> {
    let channel = asked.channel;
    may_hear(gate, session, channel)?;
    if cx.has_lost_track(channel) {
        cx.unsubscribe(channel);
        leave(presence, session, channel, cx);
    }
    let recovery = match asked.recover {
        None => Recovery::NotAsked,
        Some(from) => replay::recovery(channel, from, &mut session.share, cx)?,
    };
    if recovery == Recovery::Failed && asked.refuse_unrecovered {
        return Err(ReplyError::UnrecoverablePosition);
    }
    let last = cx.subscribe(channel, PUSHES, false, Since::Now).map_err(error_of)?.last;
    let epoch = format!("{:x}", last.epoch);
    let from = asked.recover.filter(|_| recovery == Recovery::Complete);
    // Who recovers goes on from where it was, and moves with each message that it missed.
    let offset = from.map_or(last.offset, |from| from.offset);
    let here = Position { epoch: &epoch, offset };
    let missed = replay::missed(payloads, channel, from, last, cx);
    reply::subscribe(out, id, &Subscribed { position: here, recovery }, missed);
    presence.join(channel, session.member.as_ref(), Transport::Centrifugo, cx);
    session.channels.push(channel.to_owned());
    Ok(())
}

fn may_hear(gate: &Gate, session: &Session, channel: &str) -> Result<(), ReplyError> {
    gate.may_subscribe(&session.caller, channel).map_err(|_| ReplyError::PermissionDenied)
}

fn leave(presence: &mut Presence, session: &mut Session, channel: &str, cx: &mut Context<'_>) {
    session.channels.retain(|it| it != channel);
    presence.leave(channel, Transport::Centrifugo, cx);
}

/// Lists who hears a topic, unless that is more than one answer may be: a list that is cut would pass for the whole.
fn members(
    presence: &Presence,
    to: To,
    channel: &str,
    share: &mut Share,
    out: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    // What each has at least is paid before anybody is looked at.
    share.pay(presence.stats(channel).clients.saturating_mul(MEMBER_BYTES))?;
    let mut room = PRESENCE_BYTES_MAX;
    let mut names_bytes = 0_usize;
    let mut listed = Vec::new();
    for (peer, user) in presence.members(channel) {
        let client = peer.to_string();
        let names = client.len().saturating_mul(2).saturating_add(user.len());
        let len = names.saturating_add(MEMBER_BYTES);
        room = room.checked_sub(len).ok_or(ReplyError::LimitExceeded)?;
        names_bytes = names.saturating_add(names_bytes);
        listed.push((client, user));
    }
    share.pay(names_bytes)?;
    let clients = listed.iter().map(|(client, user)| ClientInfo { client, user });
    reply::presence(out, to, clients);
    Ok(())
}

fn stats(presence: &Presence, to: To, channel: &str, out: &mut Vec<u8>) {
    let Stats { clients, users } = presence.stats(channel);
    reply::presence_stats(out, to, clients as u64, users as u64);
}

/// The largest answer that lists who hears a topic: about 5,000 connections without a user.
const PRESENCE_BYTES_MAX: usize = 256 << 10;

/// What an entry of that list has beside the names.
const MEMBER_BYTES: usize = 28;

fn error_of(error: TopicError) -> ReplyError {
    match error {
        TopicError::Subscribed => ReplyError::AlreadySubscribed,
        TopicError::TooManySubscriptions | TopicError::MessageTooBig => ReplyError::LimitExceeded,
        TopicError::TooManyTopics | TopicError::OutOfMemory => ReplyError::TooManyRequests,
        TopicError::NameTooLong => ReplyError::BadRequest,
        // `TopicError` is non-exhaustive.
        _ => ReplyError::Internal,
    }
}

fn send(cx: &mut Context<'_>, replies: &[u8]) {
    if !replies.is_empty() {
        // A client that takes nothing is paused, and in the end closed by the server.
        let _sent = cx.send(Kind::Text, replies);
    }
}

/// Ends a connection as an operator asks.
fn end_peer(cx: &mut Context<'_>, peer: PeerId, close: Option<(u16, &str)>) {
    let usual = Disconnect::ForceNoReconnect;
    let (code, reason) = close.unwrap_or((usual.code(), usual.reason()));
    let code = StatusCode::from_wire(code).unwrap_or(StatusCode::POLICY_VIOLATION);
    cx.close_peer(peer, code, reason);
}

/// Ends a connection with the protocol's code; clients come back by themselves from those below 3500.
pub(crate) fn end(cx: &mut Context<'_>, peer: PeerId, why: Disconnect) {
    let code = StatusCode::from_wire(why.code()).unwrap_or(StatusCode::POLICY_VIOLATION);
    cx.close_peer(peer, code, why.reason());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list that is cut would pass for the whole.
    #[test]
    fn a_list_of_listeners_is_whole_or_refused() {
        let mut presence = Presence::default();
        let members = |presence: &Presence, channel: &str, share: &mut Share| {
            let mut out = Vec::new();
            members(presence, To::Api, channel, share, &mut out)
                .map(|()| String::from_utf8(out).unwrap())
        };
        for number in 0..4000 {
            let peer = format!("{number}.{number}").parse().unwrap();
            assert!(presence.add("t", peer, None));
        }
        let mut share = Share::new(1);
        let listed = members(&presence, "t", &mut share).unwrap();
        assert_eq!(listed.matches(r#""client":""#).count(), 4000);
        assert!(listed.len() < PRESENCE_BYTES_MAX);
        // The turn's share has room for a few such lists, and for smaller ones then.
        let lists = (1..100).take_while(|_| members(&presence, "t", &mut share).is_ok()).count();
        assert!((4..8).contains(&(lists + 1)), "{lists}");
        assert_eq!(members(&presence, "t", &mut share), Err(ReplyError::TooManyRequests));
        assert_eq!(
            members(&presence, "none", &mut share),
            Ok(r#"{"result":{"presence":{}}}"#.into())
        );

        // One user's name is as long as a token may make it.
        let user = "x".repeat(PRESENCE_BYTES_MAX - listed.len());
        assert!(presence.add("t", "4000.1".parse().unwrap(), Some(user.into())));
        let refused = members(&presence, "t", &mut Share::new(1));
        assert_eq!(refused, Err(ReplyError::LimitExceeded));
        assert_eq!(presence.stats("t"), Stats { clients: 4001, users: 2 });
    }

    /// What names take is paid for, too.
    #[test]
    fn long_names_use_up_a_share() {
        let mut presence = Presence::default();
        assert!(presence.add("t", "0.1".parse().unwrap(), Some("x".repeat(100_000).into())));
        let (mut share, mut out) = (Share::new(1), Vec::new());
        for _ in 0..10 {
            assert_eq!(members(&presence, To::Api, "t", &mut share, &mut out), Ok(()));
        }
        let eleventh = members(&presence, To::Api, "t", &mut share, &mut out);
        assert_eq!((eleventh, out.len() > 1_000_000), (Err(ReplyError::TooManyRequests), true));
    }
}
