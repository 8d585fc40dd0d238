//! The HTTP API: the bodies of `POST /api/…`, and the results that only it has.
//!
//! Paths, keys and statuses are the hub's: whatever this module says goes out as 200. What it shares with commands is in
//! [`super::reply`], addressed to [`super::reply::To::Api`].
//!
//! A publish that wants what topics do not keep (tags, versions, idempotency) is refused as not available: silently left
//! out, they would be missed where it is too late.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::codes::ReplyError;
use super::command::{History, checked, history, only_channel};
use super::json::{JsonLimits, Members, Reader, Value};
use super::reply::{To, error_member, list, open, position_members};
use super::{Position, write};

/// What can be asked for: the last segment of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Say something on one channel.
    Publish,
    /// Say the same on several.
    Broadcast,
    /// Who hears a channel.
    Presence,
    /// How many do.
    PresenceStats,
    /// What was said.
    History,
    /// Forget it.
    HistoryRemove,
    /// End connections.
    Disconnect,
    /// How the server is.
    Info,
}

impl Method {
    /// The method of `/api/` and `name`, or none of ours.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "publish" => Self::Publish,
            "broadcast" => Self::Broadcast,
            "presence" => Self::Presence,
            "presence_stats" => Self::PresenceStats,
            "history" => Self::History,
            "history_remove" => Self::HistoryRemove,
            "disconnect" => Self::Disconnect,
            "info" => Self::Info,
            _ => return None,
        })
    }
}

/// What is asked for. Channels have a topic's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiRequest<'d> {
    /// Say something on one channel.
    Publish {
        /// Which.
        channel: &'d str,
        /// What.
        message: Posted<'d>,
    },
    /// Say the same on several.
    Broadcast {
        /// Which, in order; as many as [`JsonLimits::channels_max`] at most.
        channels: Vec<&'d str>,
        /// What.
        message: Posted<'d>,
    },
    /// Who hears a channel.
    Presence {
        /// Which.
        channel: &'d str,
    },
    /// How many do.
    PresenceStats {
        /// Which.
        channel: &'d str,
    },
    /// What was said.
    History(History<'d>),
    /// Forget it.
    HistoryRemove {
        /// Where.
        channel: &'d str,
    },
    /// End connections.
    Disconnect(Ending<'d>),
    /// How the server is.
    Info,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted<'d> {
    /// Its payload.
    pub(crate) payload: Payload<'d>,
    /// Whether it goes to those who listen now, and is not kept (true), or is kept as well (false).
    pub(crate) skip_history: bool,
}

/// A payload to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'d> {
    /// `data`: text, byte for byte as it came.
    Json(&'d [u8]),
    /// `b64data`: what the base64 stands for, a binary message.
    Binary(Vec<u8>),
}

impl Payload<'_> {
    /// How many bytes it has.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Which connections to end, and what to tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending<'d> {
    /// Whose; empty for those that belong to nobody.
    pub(crate) user: &'d str,
    /// This one alone.
    pub(crate) client: Option<&'d str>,
    /// Not these.
    pub(crate) spared: Vec<&'d str>,
    /// Status code (3000 to 4999) and reason (up to 123 bytes) for the Close frame; the hub's own if there are none.
    pub(crate) close: Option<(u16, &'d str)>,
}

/// Reads the body of a request.
pub(crate) fn parse<'d>(
    reader: &'d mut Reader,
    method: Method,
    body: &'d [u8],
) -> Result<ApiRequest<'d>, ReplyError> {
    let limits = reader.limits();
    let document = reader.read(body).map_err(|_| ReplyError::BadRequest)?;
    if document.is_too_deep() {
        return Err(ReplyError::BadRequest);
    }
    let members = document.root().members()?.ok_or(ReplyError::BadRequest)?;
    Ok(match method {
        Method::Publish => publish(members)?,
        Method::Broadcast => broadcast(members, limits)?,
        Method::Presence => ApiRequest::Presence { channel: only_channel(members)? },
        Method::PresenceStats => ApiRequest::PresenceStats { channel: only_channel(members)? },
        Method::History => ApiRequest::History(history(members)?),
        Method::HistoryRemove => ApiRequest::HistoryRemove { channel: only_channel(members)? },
        Method::Disconnect => ApiRequest::Disconnect(disconnect(members, limits)?),
        Method::Info => ApiRequest::Info,
    })
}

/// Answers a publish: where the message stands now.
pub(crate) fn published(out: &mut Vec<u8>, position: Position<'_>) {
    open(out, To::Api, "publish");
    out.push(b'{');
    position_members(out, position);
    out.extend_from_slice(b"}}");
}

/// Answers a broadcast: for each channel, in order, where the message stands or why it does not.
pub(crate) fn broadcast_done<'m>(
    out: &mut Vec<u8>,
    outcomes: impl IntoIterator<Item = Result<Position<'m>, ReplyError>>,
) {
    open(out, To::Api, "broadcast");
    out.extend_from_slice(b"{\"responses\":[");
    list(out, outcomes, |out, outcome| match outcome {
        Ok(position) => published(out, position),
        Err(error) => {
            out.push(b'{');
            error_member(out, error);
            out.push(b'}');
        }
    });
    out.extend_from_slice(b"]}}");
}

/// Answers a disconnect, or a history_remove.
pub(crate) fn done(out: &mut Vec<u8>) {
    open(out, To::Api, "");
    out.extend_from_slice(b"{}}");
}

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    /// A name for this run of the server.
    pub(crate) uid: &'a str,
    /// The server's name.
    pub(crate) name: &'a str,
    /// Its version.
    pub(crate) version: &'a str,
    /// Connections.
    pub(crate) clients: u64,
    /// Users that they belong to.
    pub(crate) users: u64,
    /// Topics that someone hears.
    pub(crate) channels: u64,
    /// Subscriptions.
    pub(crate) subscriptions: u64,
    /// Since the start.
    pub(crate) uptime_s: u64,
}

/// Answers an info request.
pub(crate) fn info(out: &mut Vec<u8>, node: &Node<'_>) {
    open(out, To::Api, "info");
    out.extend_from_slice(b"{\"nodes\":[{\"uid\":");
    write::string(out, node.uid.as_bytes());
    out.extend_from_slice(b",\"name\":");
    write::string(out, node.name.as_bytes());
    out.extend_from_slice(b",\"version\":");
    write::string(out, node.version.as_bytes());
    for (name, value) in [
        ("num_clients", node.clients),
        ("num_users", node.users),
        ("num_channels", node.channels),
        ("num_subs", node.subscriptions),
        ("uptime", node.uptime_s),
    ] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write::number(out, value);
    }
    out.extend_from_slice(b"}]}}");
}

fn publish<'d>(body: Members<'_, 'd>) -> Result<ApiRequest<'d>, ReplyError> {
    let mut channel = "";
    let mut draft = Draft::default();
    for (name, value) in body {
        match name {
            "channel" => channel = value.string()?.unwrap_or_default(),
            _ => draft.take(name, value)?,
        }
    }
    Ok(ApiRequest::Publish { channel: checked(channel)?, message: draft.finish()? })
}

fn broadcast<'d>(body: Members<'_, 'd>, limits: JsonLimits) -> Result<ApiRequest<'d>, ReplyError> {
    let mut channels = Vec::new();
    let mut draft = Draft::default();
    for (name, value) in body {
        match name {
            "channels" => channels = strings(value, limits)?,
            _ => draft.take(name, value)?,
        }
    }
    if channels.is_empty() {
        return Err(ReplyError::BadRequest);
    }
    for channel in &channels {
        checked(channel)?;
    }
    Ok(ApiRequest::Broadcast { channels, message: draft.finish()? })
}

/// What publish and broadcast have in common.
#[derive(Default)]
struct Draft<'d> {
    data: Option<&'d [u8]>,
    base64: Option<&'d str>,
    skip_history: bool,
}

impl<'d> Draft<'d> {
    fn take(&mut self, name: &str, value: Value<'_, 'd>) -> Result<(), ReplyError> {
        match name {
            "data" => self.data = Some(value.raw()),
            "b64data" => self.base64 = value.string()?.filter(|base64| !base64.is_empty()),
            "skip_history" => self.skip_history = value.flag()?,
            "tags" | "idempotency_key" | "version" | "version_epoch" if !value.is_default() => {
                return Err(ReplyError::NotAvailable);
            }
            // `delta` asks for less to be sent where that can be done.
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Posted<'d>, ReplyError> {
        let payload = match (self.data, self.base64) {
            (Some(data), None) => Payload::Json(data),
            (None, Some(base64)) => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(|_| ReplyError::BadRequest)?;
                Payload::Binary(bytes)
            }
            // Nothing, or two messages.
            (None, None) | (Some(_), Some(_)) => return Err(ReplyError::BadRequest),
        };
        Ok(Posted { payload, skip_history: self.skip_history })
    }
}

fn disconnect<'d>(body: Members<'_, 'd>, limits: JsonLimits) -> Result<Ending<'d>, ReplyError> {
    let mut ending = Ending { user: "", client: None, spared: Vec::new(), close: None };
    let mut user = None;
    for (name, value) in body {
        match name {
            "user" => user = value.string()?,
            "client" => ending.client = value.string()?.filter(|client| !client.is_empty()),
            "whitelist" => ending.spared = strings(value, limits)?,
            "disconnect" => ending.close = close(value)?,
            // Sessions are no part of what connections get.
            "session" if !value.is_default() => return Err(ReplyError::NotAvailable),
            _ => {}
        }
    }
    // Nobody in particular is not everybody.
    if user.is_none() && ending.client.is_none() {
        return Err(ReplyError::BadRequest);
    }
    ending.user = user.unwrap_or_default();
    Ok(ending)
}

fn close<'d>(value: Value<'_, 'd>) -> Result<Option<(u16, &'d str)>, ReplyError> {
    let Some(members) = value.members()? else { return Ok(None) };
    let mut code = None;
    let mut reason = "";
    for (name, value) in members {
        match name {
            "code" => code = value.unsigned()?.filter(|&code| code != 0),
            "reason" => reason = value.string()?.unwrap_or_default(),
            _ => {}
        }
    }
    let Some(code) = code else { return Ok(None) };
    match u16::try_from(code) {
        Ok(code @ 3000..=4999) if reason.len() <= REASON_BYTES_MAX => Ok(Some((code, reason))),
        _ => Err(ReplyError::BadRequest),
    }
}

/// A list of names, as many as one request may have.
fn strings<'d>(value: Value<'_, 'd>, limits: JsonLimits) -> Result<Vec<&'d str>, ReplyError> {
    let Some(elements) = value.elements()? else { return Ok(Vec::new()) };
    if elements.clone().nth(limits.channels_max).is_some() {
        return Err(ReplyError::LimitExceeded);
    }
    elements.map(|element| element.string()?.ok_or(ReplyError::BadRequest)).collect()
}

/// What a Close frame has room for (RFC 6455 §5.5, §5.5.1).
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        use ReplyError::{BadRequest, LimitExceeded, NotAvailable};
        let json = |data| Posted { payload: Payload::Json(data), skip_history: false };
        let names = |count: usize| {
            format!(r#"{{"channels":["c"{}],"data":1}}"#, r#","c""#.repeat(count - 1))
        };
        let (most, too_many) = (names(128), names(129));
        let long = |len| format!(r#"{{"channel":"{}"}}"#, "c".repeat(len));
        let (longest, too_long) = (long(255), long(256));
        let name = "c".repeat(255);
        let close = |len| {
            format!(r#"{{"user":"u","disconnect":{{"code":4999,"reason":"{}"}}}}"#, "r".repeat(len))
        };
        let (longest_reason, too_long_reason) = (close(123), close(124));
        let reason = "r".repeat(123);
        let ending = |user, client| Ending { user, client, spared: Vec::new(), close: None };
        use Method as M;
        let table: Vec<(Method, &str, Result<ApiRequest<'_>, ReplyError>)> = vec![
            (
                M::Publish,
                "{\"channel\":\"news\",\n \"data\": {\n \"n\": 1.50e+3 } \n}\n",
                Ok(ApiRequest::Publish { channel: "news", message: json(b"{\n \"n\": 1.50e+3 }") }),
            ),
            (
                M::Publish,
                r#"{"skip_history":true,"b64data":"AP/+","channel":"\u00fc","tags":{},"version":0}"#,
                Ok(ApiRequest::Publish {
                    channel: "ü",
                    message: Posted {
                        payload: Payload::Binary(vec![0, 255, 254]),
                        skip_history: true,
                    },
                }),
            ),
            (M::Publish, r#"{"channel":"c","b64data":"AP/"}"#, Err(BadRequest)),
            (M::Publish, r#"{"channel":"c","b64data":"AP/+","data":1}"#, Err(BadRequest)),
            (M::Publish, r#"{"channel":"c"}"#, Err(BadRequest)),
            (M::Publish, r#"{"channel":"","data":1}"#, Err(BadRequest)),
            (M::Publish, r#"{"channel":7,"data":1}"#, Err(BadRequest)),
            (M::Publish, r#"{"channel":"c","data":1,"tags":{"a":"b"}}"#, Err(NotAvailable)),
            (M::Publish, r#"{"channel":"c","data":1,"idempotency_key":"k"}"#, Err(NotAvailable)),
            (M::Publish, r#"{"channel":"c","data":1,"version":1}"#, Err(NotAvailable)),
            (M::Publish, "", Err(BadRequest)),
            (M::Publish, "[]", Err(BadRequest)),
            (M::Publish, "null", Err(BadRequest)),
            (M::Publish, "{} {}", Err(BadRequest)),
            (
                M::Broadcast,
                r#"{"channels":["a","b"],"data":null}"#,
                Ok(ApiRequest::Broadcast { channels: vec!["a", "b"], message: json(b"null") }),
            ),
            (
                M::Broadcast,
                &most,
                Ok(ApiRequest::Broadcast { channels: vec!["c"; 128], message: json(b"1") }),
            ),
            (M::Broadcast, &too_many, Err(LimitExceeded)),
            (M::Broadcast, r#"{"channels":[],"data":1}"#, Err(BadRequest)),
            (M::Broadcast, r#"{"data":1}"#, Err(BadRequest)),
            (M::Broadcast, r#"{"channels":["a",""],"data":1}"#, Err(BadRequest)),
            (M::Broadcast, r#"{"channels":["a",null],"data":1}"#, Err(BadRequest)),
            (M::Presence, r#"{"channel":"c"}"#, Ok(ApiRequest::Presence { channel: "c" })),
            (M::Presence, &longest, Ok(ApiRequest::Presence { channel: &name })),
            (M::Presence, &too_long, Err(BadRequest)),
            (
                M::PresenceStats,
                r#"{"channel":"c"}"#,
                Ok(ApiRequest::PresenceStats { channel: "c" }),
            ),
            (
                M::HistoryRemove,
                r#"{"channel":"c"}"#,
                Ok(ApiRequest::HistoryRemove { channel: "c" }),
            ),
            (
                M::History,
                r#"{"channel":"c","limit":10,"since":{"offset":3,"epoch":"e"},"reverse":true}"#,
                Ok(ApiRequest::History(History {
                    channel: "c",
                    limit: Some(10),
                    since: Some(Position { epoch: "e", offset: 3 }),
                    reverse: true,
                })),
            ),
            (M::Disconnect, r#"{"user":"u"}"#, Ok(ApiRequest::Disconnect(ending("u", None)))),
            (M::Disconnect, r#"{"user":""}"#, Ok(ApiRequest::Disconnect(ending("", None)))),
            (M::Disconnect, r#"{"client":"c"}"#, Ok(ApiRequest::Disconnect(ending("", Some("c"))))),
            (
                M::Disconnect,
                r#"{"user":"u","whitelist":["c1","c2"],"disconnect":{"code":3503,"reason":"bye"}}"#,
                Ok(ApiRequest::Disconnect(Ending {
                    spared: vec!["c1", "c2"],
                    close: Some((3503, "bye")),
                    ..ending("u", None)
                })),
            ),
            (
                M::Disconnect,
                &longest_reason,
                Ok(ApiRequest::Disconnect(Ending {
                    close: Some((4999, &reason)),
                    ..ending("u", None)
                })),
            ),
            (M::Disconnect, &too_long_reason, Err(BadRequest)),
            (M::Disconnect, r#"{"user":"u","disconnect":{"code":2999}}"#, Err(BadRequest)),
            (M::Disconnect, r#"{"user":"u","disconnect":{"code":5000}}"#, Err(BadRequest)),
            (M::Disconnect, r#"{"user":"u","disconnect":{"code":68536}}"#, Err(BadRequest)),
            (M::Disconnect, r#"{"user":"u","session":"s"}"#, Err(NotAvailable)),
            (M::Disconnect, "{}", Err(BadRequest)),
            (M::Info, "{}", Ok(ApiRequest::Info)),
        ];
        let mut reader = Reader::new(JsonLimits::default());
        for (method, body, expected) in table {
            assert_eq!(parse(&mut reader, method, body.as_bytes()), expected, "{method:?} {body}");
        }
    }

    #[test]
    fn results_are_written() {
        let at = |offset| Position { epoch: "e1", offset };
        let node = Node {
            uid: "u",
            name: "wsfast",
            version: "0.1.0",
            clients: 1,
            users: 2,
            channels: 3,
            subscriptions: 4,
            uptime_s: 5,
        };
        let encoded: [(Vec<u8>, &str); 4] = [
            (with(|out| published(out, at(7))), r#"{"result":{"epoch":"e1","offset":7}}"#),
            (
                with(|out| broadcast_done(out, [Ok(at(1)), Err(ReplyError::PermissionDenied)])),
                concat!(
                    r#"{"result":{"responses":[{"result":{"epoch":"e1","offset":1}},"#,
                    r#"{"error":{"code":103,"message":"permission denied"}}]}}"#
                ),
            ),
            (with(done), r#"{"result":{}}"#),
            (
                with(|out| info(out, &node)),
                concat!(
                    r#"{"result":{"nodes":[{"uid":"u","name":"wsfast","version":"0.1.0","num_clients":1,"#,
                    r#""num_users":2,"num_channels":3,"num_subs":4,"uptime":5}]}}"#
                ),
            ),
        ];
        for (encoded, expected) in encoded {
            assert_eq!(String::from_utf8(encoded).unwrap(), expected);
        }
    }

    #[test]
    fn methods_go_by_their_paths() {
        let names = [
            ("publish", Method::Publish),
            ("broadcast", Method::Broadcast),
            ("presence", Method::Presence),
            ("presence_stats", Method::PresenceStats),
            ("history", Method::History),
            ("history_remove", Method::HistoryRemove),
            ("disconnect", Method::Disconnect),
            ("info", Method::Info),
        ];
        for (name, method) in names {
            assert_eq!(Method::named(name), Some(method));
        }
        for other in ["", "Publish", "publish/", "rpc", "channels"] {
            assert_eq!(Method::named(other), None, "{other}");
        }
    }

    fn with(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out);
        out
    }
}
