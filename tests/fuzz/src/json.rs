//! The Centrifugo protocol: what is JSON is what serde_json takes, what a command or a body says is what a naive reading by
//! serde_json says, data byte for byte; and whatever a payload is, what goes out is one JSON value on one line that stands for it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use wsfast::Kind;

use super::centrifugo::api::{self, ApiRequest, Ending, Payload};
use super::centrifugo::codes::ReplyError;
use super::centrifugo::command::{
    Command, Connect, Fault, History, Malformed, Request, lines, parse,
};
use super::centrifugo::data::Data;
use super::centrifugo::json::{JsonLimits, Reader};
use super::centrifugo::{Position, Publication, push};
use super::naive_json::{self, Pairs, Refusal};

/// Checks it: as a message of commands, as a body of each method of the API, and as a payload.
pub fn check(bytes: &[u8]) {
    let limits = JsonLimits::default();
    let mut reader = Reader::new(limits);
    match lines(bytes, limits) {
        Ok(lines) => lines.for_each(|line| command_agrees(&mut reader, line)),
        Err(malformed) => {
            let count = bytes
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.trim_ascii().is_empty())
                .count();
            assert_eq!(malformed == Malformed::NoCommand, count == 0);
            assert!(count == 0 || count > limits.commands_max);
        }
    }
    for name in
        ["publish", "broadcast", "presence", "history", "disconnect", "history_remove", "info"]
    {
        body_agrees(&mut reader, name, bytes);
    }
    payload_comes_back(&mut reader, Kind::Binary, bytes);
    if std::str::from_utf8(bytes).is_ok() {
        payload_comes_back(&mut reader, Kind::Text, bytes);
    }
}

fn command_agrees(reader: &mut Reader, line: &[u8]) {
    let twin: Result<Value, _> = serde_json::from_slice(line);
    match parse(reader, line) {
        Err(Fault::Malformed(Malformed::NotJson)) => assert!(twin.is_err(), "it is JSON"),
        Err(Fault::Malformed(Malformed::TooDeep)) => {
            assert!(twin.is_err() || twin.is_ok_and(|value| depth(&value) > 64));
        }
        parsed => {
            let value = twin.expect("serde_json takes it");
            assert!(depth(&value) <= 64);
            let read = match Pairs::of(line) {
                Some(members) => naive_json::command(&members),
                None => Err(Refusal::Malformed(Malformed::NotAnObject)),
            };
            let said = parsed.map(|Command { id, request }| {
                let (name, members) = told(&request);
                (id, name, members)
            });
            let said = said.map_err(|fault| match fault {
                Fault::Malformed(malformed) => Refusal::Malformed(malformed),
                Fault::Refused { id, error } => Refusal::Answered(id, error),
            });
            assert_eq!(said, read);
        }
    }
}

/// A command as the naive reader has it.
fn told(request: &Request<'_>) -> (&'static str, Value) {
    match *request {
        Request::Connect(Connect { token, data, name, version }) => (
            "connect",
            json!({"token": token, "data": data.map(text), "name": name, "version": version}),
        ),
        Request::Subscribe(asked) => (
            "subscribe",
            json!({
                "channel": asked.channel, "token": asked.token, "data": asked.data.map(text),
                "recover": asked.recover.map(place), "positioned": asked.positioned,
                "recoverable": asked.recoverable, "join_leave": asked.join_leave,
                "flag": asked.refuse_unrecovered,
            }),
        ),
        Request::Unsubscribe { channel } => ("unsubscribe", json!({"channel": channel})),
        Request::Publish { channel, data } => {
            ("publish", json!({"channel": channel, "data": text(data)}))
        }
        Request::Presence { channel } => ("presence", json!({"channel": channel})),
        Request::PresenceStats { channel } => ("presence_stats", json!({"channel": channel})),
        Request::History(asked) => ("history", told_history(&asked)),
        Request::Refresh { token } => ("refresh", json!({"token": token})),
        Request::SubRefresh { channel, token } => {
            ("sub_refresh", json!({"channel": channel, "token": token}))
        }
        Request::Send => ("send", json!({})),
        Request::Rpc => ("rpc", json!({})),
        Request::Ping => ("ping", json!({})),
        Request::Pong => ("pong", Value::Null),
        Request::Unknown => ("unknown", Value::Null),
    }
}

fn told_history(asked: &History<'_>) -> Value {
    let History { channel, limit, since, reverse } = *asked;
    json!({"channel": channel, "limit": limit, "since": since.map(place), "reverse": reverse})
}

fn body_agrees(reader: &mut Reader, name: &str, body: &[u8]) {
    let method = api::Method::named(name).expect("a method");
    let twin: Result<Value, _> = serde_json::from_slice(body);
    let parsed = api::parse(reader, method, body);
    if twin.is_ok_and(|value| depth(&value) <= 64) {
        let read = match Pairs::of(body) {
            Some(members) => naive_json::api(name, &members),
            None => Err(ReplyError::BadRequest),
        };
        assert_eq!(parsed.map(|request| told_to_api(&request)), read);
    } else {
        assert_eq!(parsed, Err(ReplyError::BadRequest));
    }
}

/// A request to the API as the naive reader has it.
fn told_to_api(request: &ApiRequest<'_>) -> Value {
    let (name, value, message) = match request {
        ApiRequest::Publish { channel, message } => ("channel", json!(channel), message),
        ApiRequest::Broadcast { channels, message } => ("channels", json!(channels), message),
        ApiRequest::Presence { channel }
        | ApiRequest::PresenceStats { channel }
        | ApiRequest::HistoryRemove { channel } => return json!({"channel": channel}),
        ApiRequest::History(asked) => return told_history(asked),
        ApiRequest::Disconnect(Ending { user, client, spared, close }) => {
            return json!({
                "user": user, "client": client, "whitelist": spared, "disconnect": close,
            });
        }
        ApiRequest::Info => return json!({}),
    };
    let (data, bytes) = match &message.payload {
        Payload::Json(data) => (Some(text(data)), None),
        Payload::Binary(bytes) => (None, Some(bytes)),
    };
    json!({name: value, "data": data, "b64data": bytes, "skip_history": message.skip_history})
}

fn place(position: Position<'_>) -> Value {
    json!({"epoch": position.epoch, "offset": position.offset})
}

fn text(json: &[u8]) -> &str {
    std::str::from_utf8(json).expect("JSON is text")
}

fn payload_comes_back(reader: &mut Reader, kind: Kind, payload: &[u8]) {
    let data = Data::of(kind, payload, reader);
    let mut out = Vec::new();
    data.encode(&mut out);
    assert!(!out.contains(&b'\n'));
    let value: Value = serde_json::from_slice(&out).expect("it is written as JSON");
    let parsed: Result<Value, _> = serde_json::from_slice(payload);
    match data {
        Data::Json(_) => assert_eq!(Some(value), parsed.ok()),
        Data::Text(_) => {
            assert_eq!(value.as_str().map(str::as_bytes), Some(payload));
            assert!(parsed.is_err() || parsed.is_ok_and(|value| depth(&value) > 64), "it is JSON");
        }
        Data::Binary(_) => {
            let text = value.as_str().and_then(|text| text.split_once(";base64,"));
            let bytes = text.map(|(_, text)| BASE64_STANDARD.decode(text));
            assert_eq!(bytes, Some(Ok(payload.to_vec())));
        }
    }
    let mut pushed = Vec::new();
    push::publish(&mut pushed, "a\"\u{e9}", Publication { data, offset: u64::MAX });
    let pushed: Value = serde_json::from_slice(&pushed).expect("it is written as JSON");
    let value: Value = serde_json::from_slice(&out).expect("it was read before");
    assert_eq!(
        (&pushed["push"]["channel"], &pushed["push"]["pub"]["data"]),
        (&"a\"\u{e9}".into(), &value)
    );
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
