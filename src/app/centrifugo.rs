//! Centrifugo's clients at `/connection/websocket`: many topics over one connection, and what is answered to each command.
//!
//! What commands and replies look like is `dialects::centrifugo`'s, delivery, history and slow clients are `wsfast`'s topics.
//! A channel is the topic of the same name, so that these clients, bare WebSockets and curl hear each other. Presence counts
//! those who came this way.

mod replay;

use std::cell::RefCell;
use std::collections::HashMap;

use wsfast::{Context, Form, Framing, Kind, MessageId, PeerId, Since, StatusCode, TopicError};

use crate::app::centrifugo::replay::Share;
use crate::app::dialects::centrifugo::api::{self, ApiRequest, Method, Node, Payload, Posted};
use crate::app::dialects::centrifugo::codes::{Disconnect, ReplyError, Unsubscribe};
use crate::app::dialects::centrifugo::command::{self, Fault, Request, Subscribe};
use crate::app::dialects::centrifugo::json::{JsonLimits, Reader};
use crate::app::dialects::centrifugo::reply::{self, Connected, Recovery, Subscribed, To};
use crate::app::dialects::centrifugo::{ClientInfo, Position, push};
use crate::app::gate::{BadToken, Caller, Gate, Via};

/// A topic's messages as this protocol's pushes.
pub(crate) const PUSHES: Form = Form { id: 5, framing: Framing::Message };

/// What all connections of this protocol share.
pub(crate) struct Centrifugo {
    /// Reads commands.
    commands: Reader,
    /// Tells whether payloads are JSON.
    payloads: RefCell<Reader>,
    /// Who hears each topic.
    presence: HashMap<String, Vec<Member>>,
    /// Everyone who has said connect: the names of connection and user.
    connected: HashMap<PeerId, (String, String)>,
    ping_s: u32,
}

/// Someone who hears a topic.
#[derive(Debug)]
struct Member {
    peer: PeerId,
    client: String,
    user: String,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    caller: Caller,
    /// Its name, once it has said connect.
    client: Option<String>,
    /// When it is to have said so, in milliseconds of the loop.
    connect_by_ms: u64,
    channels: Vec<String>,
    share: Share,
}

impl std::fmt::Debug for Centrifugo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Centrifugo").field("presence", &self.presence).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) const fn new(caller: Caller) -> Self {
        let share = Share::new(0);
        Self { caller, client: None, connect_by_ms: u64::MAX, channels: Vec::new(), share }
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
    pub(crate) fn new(ping_s: u32) -> Self {
        let reader = || Reader::new(JsonLimits::default());
        Self {
            commands: reader(),
            payloads: RefCell::new(reader()),
            presence: HashMap::new(),
            connected: HashMap::new(),
            ping_s,
        }
    }

    /// Acts on a message, which may hold several commands; all their replies leave in one. `now_s` tells the time in seconds
    /// since 1970, where a token asks for it.
    pub(crate) fn on_message(
        &mut self,
        session: &mut Session,
        gate: &Gate,
        message: &[u8],
        now_s: fn() -> u64,
        cx: &mut Context<'_>,
    ) {
        session.share.renew(cx.now_ms());
        let Ok(lines) = command::lines(message, JsonLimits::default()) else {
            return end(cx, cx.id(), Disconnect::BadRequest);
        };
        let mut replies = Vec::new();
        for line in lines {
            let ended = self.on_command(session, gate, line, &mut replies, now_s, cx);
            if let Err(disconnect) = ended {
                send(cx, &replies);
                return end(cx, cx.id(), disconnect);
            }
        }
        send(cx, &replies);
    }

    fn on_command(
        &mut self,
        session: &mut Session,
        gate: &Gate,
        line: &[u8],
        out: &mut Vec<u8>,
        now_s: fn() -> u64,
        cx: &mut Context<'_>,
    ) -> Result<(), Disconnect> {
        let Self { commands, payloads, presence, connected, ping_s } = self;
        let command = match command::parse(commands, line) {
            Ok(command) => command,
            Err(Fault::Malformed(_)) => return Err(Disconnect::BadRequest),
            Err(Fault::Refused { id, error }) => {
                reply::next_line(out);
                reply::error(out, To::Command(id), error);
                return Ok(());
            }
        };
        let id = command.id;
        if matches!(command.request, Request::Pong) {
            return Ok(());
        }
        reply::next_line(out);
        let is_connect = matches!(command.request, Request::Connect(_));
        if session.client.is_some() == is_connect {
            // Connect comes first, and once.
            return Err(Disconnect::BadRequest);
        }
        let answered = match command.request {
            Request::Connect(asked) => 'connect: {
                if let Some(token) = asked.token {
                    match gate.with_token(&session.caller, token, now_s()) {
                        Ok(caller) => session.caller = caller,
                        Err(BadToken::Expired) => break 'connect Err(ReplyError::TokenExpired),
                        Err(_) => return Err(Disconnect::InvalidToken),
                    }
                }
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
                leave(presence, session, channel, cx.id());
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
                let members = presence.get(channel).map_or(&[][..], Vec::as_slice);
                session.share.pay(members.len() * MEMBER_BYTES)?;
                reply::presence(out, To::Command(id), members.iter().map(Member::info));
                Ok(())
            }),
            Request::PresenceStats { channel } => may_hear(gate, session, channel).and_then(|()| {
                let members = presence.get(channel).map_or(&[][..], Vec::as_slice);
                // Counting users takes a while.
                session.share.pay((members.len() * MEMBER_BYTES).min(STATS_BYTES_MAX))?;
                let (clients, users) = stats_of(members);
                reply::presence_stats(out, To::Command(id), clients, users);
                Ok(())
            }),
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
    pub(crate) fn on_close(&mut self, session: &Session, peer: PeerId) {
        self.connected.remove(&peer);
        for channel in &session.channels {
            forget(&mut self.presence, channel, peer);
        }
    }

    /// Answers a request to the HTTP API; `None`: it has no such method.
    pub(crate) fn on_api(
        &mut self,
        method: &str,
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<Vec<u8>> {
        let method = Method::named(method)?;
        let mut out = Vec::new();
        let mut share = Share::new(cx.now_ms());
        let Self { commands, payloads, presence, connected, .. } = self;
        let answered = api::parse(commands, method, body).and_then(|request| {
            let members = |channel: &str| presence.get(channel).map_or(&[][..], Vec::as_slice);
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
                    share.pay(members(channel).len() * MEMBER_BYTES)?;
                    reply::presence(&mut out, To::Api, members(channel).iter().map(Member::info));
                }
                ApiRequest::PresenceStats { channel } => {
                    let (clients, users) = stats_of(members(channel));
                    reply::presence_stats(&mut out, To::Api, clients, users);
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
                        channels: presence.len() as u64,
                        subscriptions: presence.values().map(|it| it.len() as u64).sum(),
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
    presence: &mut HashMap<String, Vec<Member>>,
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
        leave(presence, session, channel, cx.id());
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
    let member = Member {
        peer: cx.id(),
        client: session.client.clone().unwrap_or_default(),
        user: session.user().to_owned(),
    };
    presence.entry(channel.to_owned()).or_default().push(member);
    session.channels.push(channel.to_owned());
    Ok(())
}

fn may_hear(gate: &Gate, session: &Session, channel: &str) -> Result<(), ReplyError> {
    gate.may_subscribe(&session.caller, channel).map_err(|_| ReplyError::PermissionDenied)
}

fn leave(
    presence: &mut HashMap<String, Vec<Member>>,
    session: &mut Session,
    channel: &str,
    peer: PeerId,
) {
    session.channels.retain(|it| it != channel);
    forget(presence, channel, peer);
}

fn forget(presence: &mut HashMap<String, Vec<Member>>, channel: &str, peer: PeerId) {
    if let Some(members) = presence.get_mut(channel) {
        members.retain(|member| member.peer != peer);
        if members.is_empty() {
            presence.remove(channel);
        }
    }
}

impl Member {
    fn info(&self) -> ClientInfo<'_> {
        ClientInfo { client: &self.client, user: &self.user }
    }
}

fn stats_of(members: &[Member]) -> (u64, u64) {
    let mut users: Vec<&str> = members.iter().map(|member| &*member.user).collect();
    users.sort_unstable();
    users.dedup();
    (members.len() as u64, users.len() as u64)
}

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

/// What one of a topic's listeners takes in a reply: `"12.3":{"client":"12.3","user":"anna"},`
const MEMBER_BYTES: usize = 64;

/// The most that counting them is paid for with, so that it can always be had.
const STATS_BYTES_MAX: usize = 1 << 18;
