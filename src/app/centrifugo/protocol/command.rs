//! What clients send: one command in each line of a text message.
//!
//! Once a command's id is known, what is wrong with the rest is answered under that id and the connection goes on
//! ([`Fault::Refused`]); without, nobody could tell which command was meant, and the connection ends ([`Malformed`]).
//! How many commands a message has is no question here: its bytes are bounded, and [`next_line`] goes on wherever it was left.
//!
//! Members that nobody asked about are skipped, as the protocol wants. Those that would change what a request means, and that
//! this server cannot fulfil (filters, keyed topics), are refused as not available: a client that asks for less than all
//! messages must not get all. Two things that clients offer and servers may leave are left: numbers in place of
//! channel names, and deltas.

use super::Position;
use super::codes::ReplyError;
use super::json::{Members, Mistyped, NotJson, Reader, Value};
use crate::app::terms::topic_name::is_topic_name;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command<'d> {
    /// What its reply refers to. Zero only for those that have none: [`Request::Pong`] and [`Request::Send`].
    pub(crate) id: u32,
    /// What is asked for.
    pub(crate) request: Request<'d>,
}

/// What a client asks for. Channels have a topic's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'d> {
    /// The first command of a connection.
    Connect(Connect<'d>),
    /// Hear a channel.
    Subscribe(Subscribe<'d>),
    /// Hear it no longer.
    Unsubscribe {
        /// Which.
        channel: &'d str,
    },
    /// Say something.
    Publish {
        /// Where.
        channel: &'d str,
        /// What: JSON, byte for byte as it came.
        data: &'d [u8],
    },
    /// Who hears a channel.
    Presence {
        /// Which.
        channel: &'d str,
    },
    /// How many hear it.
    PresenceStats {
        /// Which.
        channel: &'d str,
    },
    /// What was said.
    History(History<'d>),
    /// A message to the server, without an id; not available here.
    Send,
    /// A call; not available here.
    Rpc,
    /// A new token for the connection.
    Refresh {
        /// The token.
        token: Option<&'d str>,
    },
    /// A new token for a subscription.
    SubRefresh {
        /// The subscription's channel.
        channel: &'d str,
        /// The token.
        token: Option<&'d str>,
    },
    /// A ping of a client's own, which older ones send.
    Ping,
    /// The answer to the server's ping: `{}`.
    Pong,
    /// A kind of request that is not of this protocol, under an id that can be answered.
    Unknown,
}

/// What a client says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connect<'d> {
    /// Who it is, as a JWT.
    pub(crate) token: Option<&'d str>,
    /// Data for the application, as raw JSON.
    pub(crate) data: Option<&'d [u8]>,
    /// The client's kind ("js"); may be empty.
    pub(crate) name: &'d str,
    /// The application's version; may be empty.
    pub(crate) version: &'d str,
}

/// How a channel is to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe<'d> {
    /// Which channel.
    pub(crate) channel: &'d str,
    /// The right to, as a JWT.
    pub(crate) token: Option<&'d str>,
    /// Data for the application, as raw JSON.
    pub(crate) data: Option<&'d [u8]>,
    /// Where the client left off, if it wants what came since. The epoch may be empty.
    pub(crate) recover: Option<Position<'d>>,
    /// Whether a client whose place is lost gets [`ReplyError::UnrecoverablePosition`] and no subscription (true), or is
    /// subscribed from now on (false).
    pub(crate) refuse_unrecovered: bool,
    /// Whether it asked for a place in the stream that the server watches over.
    pub(crate) positioned: bool,
    /// Whether it asked to be able to recover.
    pub(crate) recoverable: bool,
    /// Whether it asked for joins and leaves of others.
    pub(crate) join_leave: bool,
}

/// Which of a channel's messages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History<'d> {
    /// Which channel.
    pub(crate) channel: &'d str,
    /// How many at most. Zero asks for the channel's position alone, `None` for all that there are.
    pub(crate) limit: Option<u32>,
    /// Those behind this place only (in front of it, if reverse).
    pub(crate) since: Option<Position<'d>>,
    /// Whether the newest comes first (true) or the oldest (false).
    pub(crate) reverse: bool,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends, with [`Disconnect::BadRequest`](super::codes::Disconnect::BadRequest).
    Malformed(Malformed),
    /// The command is answered with an error, and the connection goes on.
    Refused {
        /// Of the command.
        id: u32,
        /// What to answer.
        error: ReplyError,
    },
}

/// What makes bytes not the protocol; for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not JSON, or not UTF-8.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// An id that is no integer of 32 bits.
    BadId,
    /// A command that needs a reply, and has no id.
    NoId,
}

/// The next line of a message that has a command in it, from `at` on, which moves behind it.
pub(crate) fn next_line<'m>(message: &'m [u8], at: &mut usize) -> Option<&'m [u8]> {
    loop {
        let rest = message.get(*at..).filter(|rest| !rest.is_empty())?;
        let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        *at = at.saturating_add(len).saturating_add(1);
        let line = &rest[..len];
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
}

/// The command in one line. What it holds is borrowed from the reader, `data` from the line.
pub(crate) fn parse<'d>(reader: &'d mut Reader, line: &'d [u8]) -> Result<Command<'d>, Fault> {
    let document = reader.read(line)?;
    let Ok(Some(members)) = document.root().members() else {
        return Err(Malformed::NotAnObject.into());
    };
    let Outline { id, asked, is_empty } = outline(members)?;
    let request = match (id, asked) {
        (0, Asked::Once(Method::Send, _)) => Ok(Request::Send),
        (0, Asked::Nothing) if is_empty => Ok(Request::Pong),
        (0, _) => return Err(Malformed::NoId.into()),
        _ if document.is_too_deep() => Err(ReplyError::BadRequest),
        (_, Asked::Once(Method::Send, _)) => Err(ReplyError::NotAvailable),
        (_, Asked::Once(method, body)) => request(method, body),
        (_, Asked::Nothing) => Ok(Request::Unknown),
        (_, Asked::MoreThanOnce) => Err(ReplyError::BadRequest),
    };
    match request {
        Ok(request) => Ok(Command { id, request }),
        Err(error) => Err(Fault::Refused { id, error }),
    }
}

impl From<NotJson> for Fault {
    fn from(_: NotJson) -> Self {
        Self::Malformed(Malformed::NotJson)
    }
}

impl From<Mistyped> for ReplyError {
    fn from(_: Mistyped) -> Self {
        Self::BadRequest
    }
}

/// The members of a command, before the request itself is read: its id often comes last.
struct Outline<'t, 'd> {
    id: u32,
    asked: Asked<'t, 'd>,
    /// Whether it had no member at all.
    is_empty: bool,
}

enum Asked<'t, 'd> {
    Nothing,
    Once(Method, Members<'t, 'd>),
    MoreThanOnce,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Presence,
    PresenceStats,
    History,
    Ping,
    Send,
    Rpc,
    Refresh,
    SubRefresh,
}

impl Method {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "connect" => Self::Connect,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "publish" => Self::Publish,
            "presence" => Self::Presence,
            "presence_stats" => Self::PresenceStats,
            "history" => Self::History,
            "ping" => Self::Ping,
            "send" => Self::Send,
            "rpc" => Self::Rpc,
            "refresh" => Self::Refresh,
            "sub_refresh" => Self::SubRefresh,
            _ => return None,
        })
    }
}

fn outline<'t, 'd>(members: Members<'t, 'd>) -> Result<Outline<'t, 'd>, Fault> {
    let mut id = None;
    let mut is_empty = true;
    let mut found: Option<(Method, Value<'t, 'd>)> = None;
    let mut methods = 0_u8;
    for (name, value) in members {
        is_empty = false;
        if name == "id" {
            id = Some(value);
        } else if let Some(method) = Method::named(name)
            && !value.is_null()
        {
            // The same name again replaces what it said before.
            if found.is_none_or(|(before, _)| before != method) {
                methods = methods.saturating_add(1);
            }
            found = Some((method, value));
        }
    }
    let id = id.map_or(Ok(None), Value::unsigned).map_err(|_| Malformed::BadId)?;
    let id = u32::try_from(id.unwrap_or_default()).map_err(|_| Malformed::BadId)?;
    let asked = match found {
        None => Asked::Nothing,
        Some(_) if methods > 1 => Asked::MoreThanOnce,
        Some((method, value)) => match value.members() {
            Ok(Some(body)) => Asked::Once(method, body),
            _ if id == 0 => return Err(Malformed::NoId.into()),
            _ => return Err(Fault::Refused { id, error: ReplyError::BadRequest }),
        },
    };
    Ok(Outline { id, asked, is_empty })
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

fn request<'d>(method: Method, body: Members<'_, 'd>) -> Result<Request<'d>, ReplyError> {
    Ok(match method {
        Method::Connect => Request::Connect(connect(body)?),
        Method::Subscribe => Request::Subscribe(subscribe(body)?),
        Method::Unsubscribe => Request::Unsubscribe { channel: only_channel(body)? },
        Method::Publish => publish(body)?,
        Method::Presence => Request::Presence { channel: only_channel(body)? },
        Method::PresenceStats => Request::PresenceStats { channel: only_channel(body)? },
        Method::History => Request::History(history(body)?),
        Method::Ping => Request::Ping,
        Method::Send => Request::Send,
        Method::Rpc => Request::Rpc,
        Method::Refresh => Request::Refresh { token: token_of(body)?.1 },
        Method::SubRefresh => sub_refresh(body)?,
    })
}

fn connect<'d>(body: Members<'_, 'd>) -> Result<Connect<'d>, ReplyError> {
    let mut connect = Connect { token: None, data: None, name: "", version: "" };
    for (name, value) in body {
        match name {
            "token" => connect.token = non_empty(value)?,
            "data" => connect.data = non_null(value),
            "name" => connect.name = value.string()?.unwrap_or_default(),
            "version" => connect.version = value.string()?.unwrap_or_default(),
            // `subs` are those that a server made; `headers` stand in for HTTP's; `flag` offers. This server takes none.
            _ => {}
        }
    }
    Ok(connect)
}

fn subscribe<'d>(body: Members<'_, 'd>) -> Result<Subscribe<'d>, ReplyError> {
    let mut subscribe = Subscribe {
        channel: "",
        token: None,
        data: None,
        recover: None,
        refuse_unrecovered: false,
        positioned: false,
        recoverable: false,
        join_leave: false,
    };
    let mut recovers = false;
    let mut position = Position { epoch: "", offset: 0 };
    for (name, value) in body {
        match name {
            "channel" => subscribe.channel = value.string()?.unwrap_or_default(),
            "token" => subscribe.token = non_empty(value)?,
            "data" => subscribe.data = non_null(value),
            "recover" => recovers = value.flag()?,
            "epoch" => position.epoch = value.string()?.unwrap_or_default(),
            "offset" => position.offset = value.unsigned()?.unwrap_or_default(),
            "positioned" => subscribe.positioned = value.flag()?,
            "recoverable" => subscribe.recoverable = value.flag()?,
            "join_leave" => subscribe.join_leave = value.flag()?,
            "flag" => {
                let flags = value.signed()?.unwrap_or_default();
                subscribe.refuse_unrecovered = flags & REFUSE_UNRECOVERED != 0;
            }
            // A filter on tags; kinds of subscriptions that are no streams.
            "tf" | "type" | "phase" | "cursor" if !value.is_default() => {
                return Err(ReplyError::NotAvailable);
            }
            _ => {}
        }
    }
    subscribe.channel = checked(subscribe.channel)?;
    subscribe.recover = recovers.then_some(position);
    Ok(subscribe)
}

fn publish<'d>(body: Members<'_, 'd>) -> Result<Request<'d>, ReplyError> {
    let mut channel = "";
    let mut data = None;
    for (name, value) in body {
        match name {
            "channel" => channel = value.string()?.unwrap_or_default(),
            // Null is a message like any other.
            "data" => data = Some(value.raw()),
            // Topics that are maps.
            "type" | "key" | "removed" if !value.is_default() => {
                return Err(ReplyError::NotAvailable);
            }
            _ => {}
        }
    }
    let data = data.ok_or(ReplyError::BadRequest)?;
    Ok(Request::Publish { channel: checked(channel)?, data })
}

fn sub_refresh<'d>(body: Members<'_, 'd>) -> Result<Request<'d>, ReplyError> {
    let (channel, token) = token_of(body)?;
    Ok(Request::SubRefresh { channel: checked(channel)?, token })
}

fn token_of<'d>(body: Members<'_, 'd>) -> Result<(&'d str, Option<&'d str>), ReplyError> {
    let mut channel = "";
    let mut token = None;
    for (name, value) in body {
        match name {
            "channel" => channel = value.string()?.unwrap_or_default(),
            "token" => token = non_empty(value)?,
            _ => {}
        }
    }
    Ok((channel, token))
}

/// What a history request says, in both of its homes.
pub(super) fn history<'d>(body: Members<'_, 'd>) -> Result<History<'d>, ReplyError> {
    let mut history = History { channel: "", limit: Some(0), since: None, reverse: false };
    for (name, value) in body {
        match name {
            "channel" => history.channel = value.string()?.unwrap_or_default(),
            "limit" => history.limit = limit(value.signed()?.unwrap_or_default()),
            "since" => history.since = position(value)?,
            "reverse" => history.reverse = value.flag()?,
            _ => {}
        }
    }
    history.channel = checked(history.channel)?;
    Ok(history)
}

/// The channel of a request that says nothing else.
pub(super) fn only_channel<'d>(body: Members<'_, 'd>) -> Result<&'d str, ReplyError> {
    let mut channel = "";
    for (name, value) in body {
        if name == "channel" {
            channel = value.string()?.unwrap_or_default();
        }
    }
    checked(channel)
}

/// A channel's name, if it is one.
pub(super) fn checked(channel: &str) -> Result<&str, ReplyError> {
    if is_topic_name(channel) { Ok(channel) } else { Err(ReplyError::BadRequest) }
}

fn position<'d>(value: Value<'_, 'd>) -> Result<Option<Position<'d>>, ReplyError> {
    let Some(members) = value.members()? else { return Ok(None) };
    let mut position = Position { epoch: "", offset: 0 };
    for (name, value) in members {
        match name {
            "epoch" => position.epoch = value.string()?.unwrap_or_default(),
            "offset" => position.offset = value.unsigned()?.unwrap_or_default(),
            _ => {}
        }
    }
    Ok(Some(position))
}

/// Below zero is no limit.
fn limit(limit: i64) -> Option<u32> {
    u64::try_from(limit).ok().map(|limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

fn non_empty<'d>(value: Value<'_, 'd>) -> Result<Option<&'d str>, Mistyped> {
    Ok(value.string()?.filter(|string| !string.is_empty()))
}

fn non_null<'d>(value: Value<'_, 'd>) -> Option<&'d [u8]> {
    if value.is_null() { None } else { Some(value.raw()) }
}

/// The bit of `flag` for [`Subscribe::refuse_unrecovered`].
const REFUSE_UNRECOVERED: i64 = 2;

#[cfg(test)]
mod tests;
