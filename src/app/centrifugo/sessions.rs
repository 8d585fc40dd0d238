//! Centrifugo's clients at `/connection/websocket`: many topics over one connection, and what is answered to each command.
//!
//! What commands and replies look like is `protocol`'s, delivery, history and slow clients are `wsfast`'s topics.
//! A channel is the topic of the same name, so that these clients, bare WebSockets and curl hear each other, and presence
//! counts them all.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use wsfast::{
    Context, Excerpt, Form, Framing, Kind, Message, MessageId, PeerId, Since, StatusCode,
    TopicError, saved,
};

use crate::app::centrifugo::protocol::api::{self, ApiRequest, Method, Node, Payload, Posted};
use crate::app::centrifugo::protocol::codes::{Disconnect, ReplyError, Unsubscribe};
use crate::app::centrifugo::protocol::command::{self, Command, Fault, Request, Subscribe};
use crate::app::centrifugo::protocol::json::{JsonLimits, Reader};
use crate::app::centrifugo::protocol::reply::{self, Connected, Recovery, Subscribed, To};
use crate::app::centrifugo::protocol::{ClientInfo, Position, push};
use crate::app::centrifugo::replay;
use crate::app::gate::{BadToken, Caller, Gate, Via};
use crate::app::hub::presence::{Presence, Stats, Transport};
use crate::app::terms::json_text::escaped_len;
use crate::app::terms::wall_clock;

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
    /// What it listens to, and how many bytes it takes to say so again.
    channels: Vec<(String, usize)>,
    /// The same for all of them, and for connect: a client that comes back says it in one message.
    comeback_bytes: usize,
}

impl std::fmt::Debug for Centrifugo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Centrifugo").field("connected", &self.connected).finish_non_exhaustive()
    }
}

saved!(struct Session { caller, client, connect_by_ms, was_refused, member, channels, comeback_bytes });

impl Session {
    pub(crate) fn new(caller: Caller) -> Self {
        let member = caller.subject().map(Rc::from);
        let (client, connect_by_ms, was_refused) = (None, u64::MAX, false);
        let (channels, comeback_bytes) = (Vec::new(), 0);
        Self { caller, client, connect_by_ms, was_refused, member, channels, comeback_bytes }
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

    /// Acts on a message, which may hold several commands; the replies of those that are acted on now leave in one.
    ///
    /// The others come again: once there is work left, and once the client takes what it has been answered.
    pub(crate) fn on_message(
        &mut self,
        session: &mut Session,
        gate: &Gate,
        presence: &mut Presence,
        message: Message<'_>,
        cx: &mut Context<'_>,
    ) {
        let (kind, message) = (message.kind(), message.payload());
        if message.trim_ascii().is_empty() {
            return end(cx, cx.id(), Disconnect::BadRequest);
        }
        let mut replies = Vec::new();
        let mut outcome = Ok(Progress::Done);
        let (mut at, mut begin) = (0, 0);
        while outcome == Ok(Progress::Done) {
            let is_first = at == 0;
            begin = at;
            let Some(line) = command::next_line(message, &mut at) else { break };
            let is_behind = replies.len() >= REPLY_BYTES || cx.is_behind();
            let comes_later = is_behind || !is_first && !cx.has_work_left();
            outcome = if comes_later {
                Ok(Progress::Later)
            } else {
                self.on_command(session, gate, presence, line, is_first, &mut replies, cx)
            };
        }
        send(cx, &replies);
        match outcome {
            Ok(Progress::Done) => {}
            Ok(Progress::Later) => {
                cx.put_back(kind, message.get(begin..).unwrap_or_default());
            }
            Err(disconnect) => end(cx, cx.id(), disconnect),
        }
    }

    /// Acts on one command, and appends its reply, unless there is no work left for it. The first of a message is acted on all
    /// the same if it costs what an echo costs.
    ///
    /// # Errors
    ///
    /// The connection ends: nothing says what the reply would be for.
    #[expect(clippy::too_many_arguments, reason = "the parts of one command, borrowed apart")]
    fn on_command(
        &mut self,
        session: &mut Session,
        gate: &Gate,
        presence: &mut Presence,
        line: &[u8],
        is_first: bool,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Result<Progress, Disconnect> {
        let Self { commands, payloads, connected, ping_s } = self;
        let out_len = out.len();
        let command = match command::parse(commands, line) {
            Ok(command) => command,
            Err(Fault::Malformed(_)) => return Err(Disconnect::BadRequest),
            Err(Fault::Refused { id, error }) => {
                session.was_refused |= session.client.is_none();
                reply::next_line(out);
                reply::error(out, To::Command(id), error);
                if !is_first {
                    cx.spend_work(line.len().saturating_add(COMMAND_UNITS));
                }
                return Ok(Progress::Done);
            }
        };
        let Command { id, request } = command;
        if matches!(request, Request::Pong) {
            return Ok(Progress::Done);
        }
        let extra_units = request_units(&request);
        let comes_later = match request {
            Request::Publish { channel, .. } => cx.is_fanning_out(channel),
            _ => extra_units > 0 && !cx.has_work_left(),
        };
        if comes_later {
            return Ok(Progress::Later);
        }
        let is_connect = matches!(request, Request::Connect(_));
        // Connect comes first, and once; what comes behind a refused one is refused with it.
        let is_out_of_place = session.client.is_some() == is_connect;
        if is_out_of_place && (is_connect || !session.was_refused || id == 0) {
            return Err(Disconnect::BadRequest);
        }
        if matches!(request, Request::Send) {
            return Err(Disconnect::NotAvailable);
        }
        reply::next_line(out);
        let refused = if !cx.take_message() {
            // Clients repeat what may be repeated; nothing was done, so that this is all it costs.
            Some(ReplyError::TooManyRequests)
        } else {
            is_out_of_place.then_some(ReplyError::Unauthorized)
        };
        if let Some(error) = refused {
            session.was_refused |= is_connect;
            reply::error(out, To::Command(id), error);
            if !is_first {
                cx.spend_work(line.len().saturating_add(COMMAND_UNITS));
            }
            return Ok(Progress::Done);
        }
        let answered = match request {
            Request::Connect(asked) => 'connect: {
                if let Some(token) = asked.token {
                    match gate.with_token(&session.caller, token, wall_clock::now_s()) {
                        Ok(caller) => {
                            session.show(caller);
                            cx.set_owner(gate.owner(&session.caller));
                        }
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
                session.comeback_bytes = line.len();
                Ok(())
            }
            Request::Subscribe(asked) => {
                let len = line.len();
                subscribe(presence, payloads, session, gate, id, &asked, len, out, cx)
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
            Request::Presence { channel } => may_hear(gate, session, channel)
                .and_then(|()| members(presence, To::Command(id), channel, out, cx)),
            Request::PresenceStats { channel } => may_hear(gate, session, channel)
                .map(|()| stats(presence, To::Command(id), channel, out)),
            Request::History(asked) => may_hear(gate, session, asked.channel)
                .and_then(|()| replay::history(payloads, To::Command(id), &asked, out, cx))
                .map(|excerpt| {
                    let Some(excerpt) = excerpt else { return };
                    // It is a message of its own, behind one of what was answered before.
                    out.truncate(out_len);
                    send(cx, out);
                    out.clear();
                    let _sent = cx.send_excerpt(Kind::Text, excerpt);
                }),
            Request::Ping => {
                reply::ping(out, id);
                Ok(())
            }
            Request::Rpc | Request::Refresh { .. } | Request::SubRefresh { .. } => {
                Err(ReplyError::NotAvailable)
            }
            Request::Unknown => Err(ReplyError::MethodNotFound),
            Request::Send | Request::Pong => Ok(()),
        };
        if let Err(error) = answered {
            session.was_refused |= is_connect;
            reply::error(out, To::Command(id), error);
        }
        if extra_units > 0 || !is_first {
            let written = out.len().saturating_sub(out_len);
            let bytes = line.len().saturating_add(written.saturating_mul(UNITS_PER_BYTE));
            cx.spend_work(bytes.saturating_add(COMMAND_UNITS).saturating_add(extra_units));
        }
        Ok(Progress::Done)
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
        for (channel, _) in &session.channels {
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
    ) -> Option<Answered> {
        let method = Method::named(method)?;
        let (mut out, mut excerpt) = (Vec::new(), None);
        let mut units = body.len().saturating_add(COMMAND_UNITS);
        let Self { commands, payloads, connected, .. } = self;
        let parsed = api::parse(commands, method, body);
        if parsed.as_ref().is_ok_and(|request| publishes_later(request, cx)) {
            cx.spend_work(units);
            return Some(Answered::Later);
        }
        let answered = parsed.and_then(|request| {
            match request {
                ApiRequest::Publish { channel, message } => {
                    let id = publish(channel, &message, cx)?;
                    let epoch = format!("{:x}", id.epoch);
                    api::published(&mut out, Position { epoch: &epoch, offset: id.offset });
                }
                ApiRequest::Broadcast { channels, message } => {
                    let each = message.payload.len();
                    if channels.len().saturating_mul(each) > BROADCAST_BYTES_MAX {
                        return Err(ReplyError::LimitExceeded);
                    }
                    let each = each.saturating_add(PUBLISH_UNITS);
                    units = units.saturating_add(channels.len().saturating_mul(each));
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
                    members(presence, To::Api, channel, &mut out, cx)?;
                }
                ApiRequest::PresenceStats { channel } => {
                    stats(presence, To::Api, channel, &mut out);
                }
                ApiRequest::History(asked) => {
                    excerpt = replay::history(payloads, To::Api, &asked, &mut out, cx)?;
                }
                ApiRequest::HistoryRemove { channel } => {
                    cx.clear_topic(channel);
                    api::done(&mut out);
                }
                ApiRequest::Disconnect(ending) => {
                    let spared: HashSet<&str> = ending.spared.iter().copied().collect();
                    units = units.saturating_add(connected.len().saturating_mul(ENTRY_UNITS));
                    for (&peer, (client, user)) in &*connected {
                        let is_meant = user == ending.user
                            && ending.client.is_none_or(|it| it == client)
                            && !spared.contains(&**client);
                        if is_meant {
                            end_peer(cx, peer, ending.close);
                        }
                    }
                    api::done(&mut out);
                }
                ApiRequest::Info => {
                    // They are sorted.
                    let each = 4_usize.saturating_mul(ENTRY_UNITS);
                    units = units.saturating_add(connected.len().saturating_mul(each));
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
        cx.spend_work(units.saturating_add(out.len().saturating_mul(UNITS_PER_BYTE)));
        Some(excerpt.map_or(Answered::Whole(out), Answered::Excerpt))
    }

    /// The form that a message of a history is written in.
    pub(crate) fn form_in_history(&self, message: wsfast::TopicMessage<'_>) -> Form {
        replay::form_in_history(&self.payloads, message)
    }
}

/// Whether a request publishes to what has to be given to others first.
fn publishes_later(request: &ApiRequest<'_>, cx: &Context<'_>) -> bool {
    match request {
        ApiRequest::Publish { channel, .. } => cx.is_fanning_out(channel),
        ApiRequest::Broadcast { channels, .. } => channels.iter().any(|it| cx.is_fanning_out(it)),
        _ => false,
    }
}

/// What an API request is answered with.
#[derive(Debug)]
pub(crate) enum Answered {
    /// This.
    Whole(Vec<u8>),
    /// What a topic keeps.
    Excerpt(Excerpt),
    /// In a later turn.
    Later,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It was answered.
    Done,
    /// It comes again.
    Later,
}

/// What a request costs beside its bytes; 0: no more than an echo, which waits for nobody.
const fn request_units(request: &Request<'_>) -> usize {
    match request {
        Request::Subscribe(_) | Request::Unsubscribe { .. } => SUBSCRIPTION_UNITS,
        Request::Presence { .. } | Request::History(_) => CALL_UNITS,
        Request::Connect(_)
        | Request::Publish { .. }
        | Request::PresenceStats { .. }
        | Request::Send
        | Request::Rpc
        | Request::Refresh { .. }
        | Request::SubRefresh { .. }
        | Request::Ping
        | Request::Pong
        | Request::Unknown => 0,
    }
}

/// Past so many bytes of replies a client has to take them before the rest of its commands is looked at.
const REPLY_BYTES: usize = 64 << 10;

/// What a broadcast writes at most: its payload, once for each channel.
const BROADCAST_BYTES_MAX: usize = 16 << 20;

// Units of work (`Context::spend_work`), each about a nanosecond.

/// What a command costs beside its bytes: to be read, and to be answered.
const COMMAND_UNITS: usize = 1 << 10;
/// What listening to a topic costs to begin and to end, beside what presence makes of it.
const SUBSCRIPTION_UNITS: usize = 2 << 10;
/// What it costs to look for what is listed.
const CALL_UNITS: usize = 1 << 10;
/// What a message costs beside its bytes.
const PUBLISH_UNITS: usize = 1 << 10;
/// What a look at an entry costs.
const ENTRY_UNITS: usize = 64;
/// A byte of a reply is looked at, written and copied.
const UNITS_PER_BYTE: usize = 2;

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
    asked_len: usize,
    out: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Result<(), ReplyError> {
    let channel = asked.channel;
    may_hear(gate, session, channel)?;
    if cx.has_lost_track(channel) {
        cx.unsubscribe(channel);
        leave(presence, session, channel, cx);
    }
    // What it could not come back with would end it for good (1009), and again each time.
    let again_bytes = asked_len.saturating_add(RECOVER_BYTES);
    let comeback_bytes = session.comeback_bytes.saturating_add(again_bytes);
    if comeback_bytes > cx.limits().message_bytes_max {
        return Err(ReplyError::LimitExceeded);
    }
    let from = asked.recover.and_then(|from| replay::place(channel, from, cx));
    let recovery = match (asked.recover, from) {
        (None, _) => Recovery::NotAsked,
        (Some(_), None) => Recovery::Failed,
        (Some(_), Some(_)) => Recovery::Complete,
    };
    if recovery == Recovery::Failed && asked.refuse_unrecovered {
        return Err(ReplyError::UnrecoverablePosition);
    }
    // The reply has the first of what it missed. What is more than that follows as what is said from now on does: as pushes, made
    // as the client takes them.
    let room = MISSED_BYTES.saturating_sub(out.len());
    let told = from.map(|from| replay::last_that_fits(payloads, channel, from, room, cx));
    let since = told.map_or(Since::Now, Since::Id);
    let last = cx.subscribe(channel, PUSHES, false, since).map_err(error_of)?.last;
    let epoch = format!("{:x}", last.epoch);
    // Who recovers goes on from where it was, and moves with each message that it missed.
    let offset = from.map_or(last.offset, |from| from.offset);
    let here = Position { epoch: &epoch, offset };
    let missed =
        from.zip(told).map(|(from, told)| replay::between(payloads, channel, from, told, cx));
    let missed = missed.into_iter().flatten();
    reply::subscribe(out, id, &Subscribed { position: here, recovery }, missed);
    presence.join(channel, session.member.as_ref(), Transport::Centrifugo, cx);
    session.channels.push((channel.to_owned(), again_bytes));
    session.comeback_bytes = comeback_bytes;
    Ok(())
}

fn may_hear(gate: &Gate, session: &Session, channel: &str) -> Result<(), ReplyError> {
    gate.may_subscribe(&session.caller, channel).map_err(|_| ReplyError::PermissionDenied)
}

fn leave(presence: &mut Presence, session: &mut Session, channel: &str, cx: &mut Context<'_>) {
    if let Some(at) = session.channels.iter().position(|(name, _)| name == channel) {
        let (_, bytes) = session.channels.swap_remove(at);
        session.comeback_bytes = session.comeback_bytes.saturating_sub(bytes);
    }
    presence.leave(channel, Transport::Centrifugo, cx);
}

/// Lists who hears a topic, unless that is more than one answer may be: a list that is cut would pass for the whole.
fn members(
    presence: &Presence,
    to: To,
    channel: &str,
    out: &mut Vec<u8>,
    cx: &Context<'_>,
) -> Result<(), ReplyError> {
    if !cx.has_room_for(PRESENCE_BYTES_MAX.saturating_mul(3)) {
        return Err(ReplyError::TooManyRequests);
    }
    list_members(presence, to, channel, out)
}

fn list_members(
    presence: &Presence,
    to: To,
    channel: &str,
    out: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    // What each has at least is known before anybody is looked at.
    let least = presence.stats(channel).clients.saturating_mul(MEMBER_BYTES);
    if least > PRESENCE_BYTES_MAX {
        return Err(ReplyError::LimitExceeded);
    }
    let mut room = PRESENCE_BYTES_MAX;
    let mut listed = Vec::new();
    for (peer, user) in presence.members(channel) {
        let client = peer.to_string();
        let names = client.len().saturating_mul(2).saturating_add(user.len());
        let len = names.saturating_add(MEMBER_BYTES);
        room = room.checked_sub(len).ok_or(ReplyError::LimitExceeded)?;
        listed.push((client, user));
    }
    let clients = listed.iter().map(|(client, user)| ClientInfo { client, user });
    reply::presence(out, to, clients);
    Ok(())
}

fn stats(presence: &Presence, to: To, channel: &str, out: &mut Vec<u8>) {
    let Stats { clients, users } = presence.stats(channel);
    reply::presence_stats(out, to, clients as u64, users as u64);
}

/// What a subscribe command has more in it when its client comes back: `,"recover":true`, epoch, offset, a longer id.
const RECOVER_BYTES: usize = 100;

/// What a reply has of the messages that a client missed, together with the replies before it.
const MISSED_BYTES: usize = 16 << 10;

/// The largest answer that lists who hears a topic: about 5,000 connections without a user.
const PRESENCE_BYTES_MAX: usize = 256 << 10;

/// What an entry of that list has beside the names.
const MEMBER_BYTES: usize = 28;

fn error_of(error: TopicError) -> ReplyError {
    match error {
        TopicError::Subscribed => ReplyError::AlreadySubscribed,
        TopicError::TooManySubscriptions
        | TopicError::TooManyTopicsOfOwner
        | TopicError::MessageTooBig => ReplyError::LimitExceeded,
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
        let members = |presence: &Presence, channel: &str| {
            let mut out = Vec::new();
            list_members(presence, To::Api, channel, &mut out)
                .map(|()| String::from_utf8(out).unwrap())
        };
        for number in 0..4000 {
            let peer = format!("{number}.{number}").parse().unwrap();
            assert!(presence.add("t", peer, None));
        }
        let listed = members(&presence, "t").unwrap();
        assert_eq!(listed.matches(r#""client":""#).count(), 4000);
        assert!(listed.len() < PRESENCE_BYTES_MAX);
        assert_eq!(members(&presence, "none"), Ok(r#"{"result":{"presence":{}}}"#.into()));

        // One user's name is as long as a token may make it.
        let user = "x".repeat(PRESENCE_BYTES_MAX - listed.len());
        assert!(presence.add("t", "4000.1".parse().unwrap(), Some(user.into())));
        assert_eq!(members(&presence, "t"), Err(ReplyError::LimitExceeded));
        assert_eq!(presence.stats("t"), Stats { clients: 4001, users: 2 });

        // So many that nobody is looked at.
        for number in 5000..20_000 {
            assert!(presence.add("t", format!("{number}.1").parse().unwrap(), None));
        }
        assert_eq!(members(&presence, "t"), Err(ReplyError::LimitExceeded));
    }
}
