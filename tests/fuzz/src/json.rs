//! The Centrifugo protocol: what is JSON is what serde_json takes for the text of a value, what a command or a body says is what a
//! naive reading by serde_json says, data byte for byte; and whatever a payload is, what goes out is one JSON value on one line
//! that stands for it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wsfast::Kind;

use super::centrifugo::api::{self, ApiRequest, Ending, Payload};
use super::centrifugo::codes::ReplyError;
use super::centrifugo::command::{
    Command, Connect, Fault, History, Malformed, Request, next_line, parse,
};
use super::centrifugo::data::Data;
use super::centrifugo::json::{JsonLimits, Reader};
use super::centrifugo::{Position, Publication, push};
use super::naive_json::{self, Pairs, Refusal};

/// Checks it: as a message of commands, as a body of each method of the API, and as a payload.
pub fn check(bytes: &[u8]) {
    let mut reader = Reader::new(JsonLimits::default());
    let mut at = 0;
    let mut lines = bytes.split(|&byte| byte == b'\n').filter(|it| !it.trim_ascii().is_empty());
    while let Some(line) = next_line(bytes, &mut at) {
        assert_eq!(lines.next(), Some(line));
        command_agrees(&mut reader, line);
    }
    assert_eq!(lines.next(), None);
    data_is_found(&mut reader, bytes);
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
    let twin = value_of(line);
    let said = parse(reader, line).map(|Command { id, request }| {
        let (name, members) = told(&request);
        (id, name, members)
    });
    let said = said.map_err(|fault| match fault {
        Fault::Malformed(malformed) => Refusal::Malformed(malformed),
        Fault::Refused { id, error } => Refusal::Answered(id, error),
    });
    let Some(text) = twin else {
        return assert_eq!(said, Err(Refusal::Malformed(Malformed::NotJson)));
    };
    let mut read = match Pairs::of(line) {
        Some(members) => naive_json::command(&members),
        None => Err(Refusal::Malformed(Malformed::NotAnObject)),
    };
    // What is too deep is refused under its id, if it has one.
    if depth(text) > 64
        && let Ok((id @ 1.., ..)) | Err(Refusal::Answered(id, _)) = read
    {
        read = Err(Refusal::Answered(id, ReplyError::BadRequest));
    }
    assert_eq!(said, read);
}

/// Whatever is JSON is some command's data, as it is.
fn data_is_found(reader: &mut Reader, bytes: &[u8]) {
    let line = [br#"{"publish":{"data":"#, bytes, br#","channel":"c"},"id":1}"#].concat();
    let parsed = parse(reader, &line);
    let Some(text) = value_of(bytes) else { return };
    if depth(text) + 2 > 64 {
        assert_eq!(parsed, Err(Fault::Refused { id: 1, error: ReplyError::BadRequest }));
    } else {
        let request = Request::Publish { channel: "c", data: text.as_bytes() };
        assert_eq!(parsed, Ok(Command { id: 1, request }));
    }
}

/// The text of a value, without white space around it; `None`: it is not JSON.
fn value_of(bytes: &[u8]) -> Option<&str> {
    serde_json::from_slice::<&RawValue>(bytes).ok().map(RawValue::get)
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
    let parsed = api::parse(reader, method, body);
    if value_of(body).is_some_and(|text| depth(text) <= 64) {
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
    data.encode_part(0..data.len(), &mut out);
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let end = data.len().min(at + 3);
        data.encode_part(at..end, &mut parts);
        at = end;
    }
    assert!(data.len() == 0 || parts == out, "parts come to the whole");
    assert!(!out.contains(&b'\n'));
    let value = value_of(&out).expect("it is written as JSON");
    let string = || serde_json::from_str::<String>(value).ok();
    match data {
        Data::Json(_) => {
            // Line feeds are white space, and other white space then.
            let text = value_of(payload).expect("it is JSON");
            assert_eq!(value, text.replace('\n', " "));
        }
        Data::Text(_) => {
            assert_eq!(string().as_deref().map(str::as_bytes), Some(payload));
            assert!(value_of(payload).is_none_or(|text| depth(text) > 64), "it is JSON");
        }
        Data::Binary(_) => {
            let string = string();
            let text = string.as_ref().and_then(|text| text.split_once(";base64,"));
            let bytes = text.map(|(_, text)| BASE64_STANDARD.decode(text));
            assert_eq!(bytes, Some(Ok(payload.to_vec())));
        }
    }
    let mut pushed = Vec::new();
    push::publish(&mut pushed, "a\"\u{e9}", Publication { data, offset: u64::MAX });
    let publication = format!(r#"{{"data":{},"offset":{}}}"#, text(&out), u64::MAX);
    let expected = format!(r#"{{"push":{{"channel":"a\"é","pub":{publication}}}}}"#);
    assert_eq!(text(&pushed), expected);
    assert!(value_of(&pushed).is_some());
}

/// Arrays and objects inside of each other, of a text that is JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0, 0);
    let (mut is_in_string, mut is_escaped) = (false, false);
    for character in text.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_in_string = !is_in_string,
            '[' | '{' if !is_in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ']' | '}' if !is_in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}
