//! The Centrifugo protocol: what is JSON is what serde_json takes, a payload's place in a command is where serde_json finds it, and
//! whatever a payload is, what goes out is one JSON value on one line that stands for it.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use wsfast::Kind;

use super::centrifugo::api::{self, ApiRequest, Payload};
use super::centrifugo::command::{Command, Fault, Malformed, Request, lines, parse};
use super::centrifugo::data::Data;
use super::centrifugo::json::{JsonLimits, Reader};
use super::centrifugo::{Publication, push};

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
    for name in ["publish", "broadcast", "presence", "history", "disconnect", "info"] {
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
        Err(Fault::Malformed(Malformed::NotAnObject)) => {
            assert!(twin.is_ok_and(|value| !value.is_object()));
        }
        Err(_) => assert!(twin.is_ok_and(|value| value.is_object()), "it is no JSON object"),
        Ok(Command { id, request }) => {
            let value = twin.expect("serde_json takes it");
            assert!(depth(&value) <= 64);
            let number = value["id"].as_u64().unwrap_or_default();
            assert_eq!(u64::from(id), number);
            if let Request::Publish { channel, data } = request {
                let command: Pairs<'_> = serde_json::from_slice(line).expect("an object");
                let body = command.last_but_null("publish").expect("a body");
                is_where_it_is_said(data, body);
                let body: Pairs<'_> = serde_json::from_str(body).expect("an object");
                let name = body.last("channel").map(serde_json::from_str::<String>);
                assert_eq!(name.and_then(Result::ok).as_deref(), Some(channel));
            }
        }
    }
}

fn body_agrees(reader: &mut Reader, name: &str, body: &[u8]) {
    let method = api::Method::named(name).expect("a method");
    let Ok(request) = api::parse(reader, method, body) else { return };
    let twin: Value = serde_json::from_slice(body).expect("serde_json takes it");
    if let ApiRequest::Publish { message, .. } | ApiRequest::Broadcast { message, .. } = request {
        match message.payload {
            Payload::Json(data) => {
                is_where_it_is_said(data, std::str::from_utf8(body).expect("JSON"));
            }
            Payload::Binary(data) => {
                assert_eq!(twin["b64data"], BASE64_STANDARD.encode(data));
            }
        }
    }
}

/// `data` is the value of the last member of that name in the object `body`.
fn is_where_it_is_said(data: &[u8], body: &str) {
    let body: Pairs<'_> = serde_json::from_str(body).expect("an object");
    assert_eq!(Some(data), body.last("data").map(str::as_bytes));
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

/// The members of an object, in order, with the text of their values.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Pairs<'a> {
    fn last(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rfind(|(other, _)| other == name).map(|(_, value)| value.get())
    }

    fn last_but_null(&self, name: &str) -> Option<&'a str> {
        let said = self.0.iter().rfind(|(other, value)| other == name && value.get() != "null");
        said.map(|(_, value)| value.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Collect).map(Pairs)
    }
}
