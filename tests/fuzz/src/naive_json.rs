//! The Centrifugo protocol's requests as tables of what each member may be, read with serde_json: what a body says, as JSON.
//!
//! All members are looked at, in order; of those with one name the last counts. A name that is not Unicode is nobody's.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::centrifugo::codes::ReplyError;
use super::centrifugo::command::Malformed;
use super::topic_name::is_topic_name;

/// The members of an object, in order, with the text of their values.
pub(crate) struct Pairs<'a>(pub(crate) Vec<(String, &'a RawValue)>);

/// What a member may be. Null stands for what is not there, except in `Text` and in lists.
#[derive(Clone, Copy)]
enum Type {
    String,
    /// A string, of which the empty one is as good as none.
    Name,
    Unsigned,
    Signed,
    Flag,
    /// Anything: its text.
    Text,
    /// Anything but null: its text.
    TextOrNull,
    Names,
    Object(&'static [(&'static str, Type)]),
    /// Code and reason of a close.
    Close,
    /// What this server does not have: nothing that says anything.
    Nothing,
}

use Type::{Close, Flag, Name, Names, Nothing, Object, Signed, Text, TextOrNull, Unsigned};

type Table = &'static [(&'static str, Type)];

const CHANNEL: (&str, Type) = ("channel", Type::String);
const POSITION: Table = &[("epoch", Type::String), ("offset", Unsigned)];
const CONNECT: Table =
    &[("token", Name), ("data", TextOrNull), ("name", Type::String), ("version", Type::String)];
const SUBSCRIBE: Table = &[
    CHANNEL,
    ("token", Name),
    ("data", TextOrNull),
    ("recover", Flag),
    ("epoch", Type::String),
    ("offset", Unsigned),
    ("positioned", Flag),
    ("recoverable", Flag),
    ("join_leave", Flag),
    ("flag", Signed),
    ("tf", Nothing),
    ("type", Nothing),
    ("phase", Nothing),
    ("cursor", Nothing),
];
const PUBLISH: Table =
    &[CHANNEL, ("data", Text), ("type", Nothing), ("key", Nothing), ("removed", Nothing)];
const HISTORY: Table =
    &[CHANNEL, ("limit", Signed), ("since", Object(POSITION)), ("reverse", Flag)];
const TOKEN: Table = &[CHANNEL, ("token", Name)];
const CLOSE: Table = &[("code", Unsigned), ("reason", Type::String)];
const POST: Table = &[
    CHANNEL,
    ("data", Text),
    ("b64data", Name),
    ("skip_history", Flag),
    ("tags", Nothing),
    ("idempotency_key", Nothing),
    ("version", Nothing),
    ("version_epoch", Nothing),
];
const POST_TO_MANY: Table = &[
    ("channels", Names),
    ("data", Text),
    ("b64data", Name),
    ("skip_history", Flag),
    ("tags", Nothing),
    ("idempotency_key", Nothing),
    ("version", Nothing),
    ("version_epoch", Nothing),
];
const DISCONNECT: Table = &[
    ("user", Type::String),
    ("client", Name),
    ("whitelist", Names),
    ("disconnect", Close),
    ("session", Nothing),
];

/// The most names.
const COUNT_MAX: usize = 128;

/// What a command says: its id, its method and that method's members.
pub(crate) type Said = (u32, &'static str, Value);

/// Why it is not taken: as a whole, or with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed(Malformed),
    Answered(u32, ReplyError),
}

/// The command in an object.
pub(crate) fn command(members: &Pairs<'_>) -> Result<Said, Refusal> {
    let mut id = None;
    let mut asked: Vec<(&'static str, Table, &RawValue)> = Vec::new();
    for (name, value) in &members.0 {
        if name == "id" {
            id = Some(value);
        } else if let Some((name, table)) = method(name).filter(|_| value.get() != "null") {
            asked.retain(|(other, ..)| *other != name);
            asked.push((name, table, value));
        }
    }
    let id: Option<Option<u32>> =
        id.map(|id| said(id)).transpose().map_err(|_| Refusal::Malformed(Malformed::BadId))?;
    let id = id.flatten().unwrap_or_default();
    let no_id = || Refusal::Malformed(Malformed::NoId);
    let answered = |error| if id == 0 { no_id() } else { Refusal::Answered(id, error) };
    match asked[..] {
        [] if members.0.is_empty() => Ok((0, "pong", Value::Null)),
        [] if id == 0 => Err(no_id()),
        [] => Ok((id, "unknown", Value::Null)),
        [(name, table, value)] => {
            let body: Pairs<'_> =
                serde_json::from_str(value.get()).map_err(|_| answered(ReplyError::BadRequest))?;
            if (id == 0) != (name == "send") {
                return Err(answered(ReplyError::NotAvailable));
            }
            let said = read(&body, table).and_then(|said| judged(name, said));
            Ok((id, name, said.map_err(answered)?))
        }
        _ => Err(answered(ReplyError::BadRequest)),
    }
}

fn method(name: &str) -> Option<(&'static str, Table)> {
    const METHODS: [(&str, Table); 12] = [
        ("connect", CONNECT),
        ("subscribe", SUBSCRIBE),
        ("unsubscribe", &[CHANNEL]),
        ("publish", PUBLISH),
        ("presence", &[CHANNEL]),
        ("presence_stats", &[CHANNEL]),
        ("history", HISTORY),
        ("ping", &[]),
        ("send", &[]),
        ("rpc", &[]),
        ("refresh", TOKEN),
        ("sub_refresh", TOKEN),
    ];
    METHODS.into_iter().find(|(other, _)| *other == name)
}

/// What the body of a request to the API says.
pub(crate) fn api(method: &str, members: &Pairs<'_>) -> Result<Value, ReplyError> {
    let table = match method {
        "publish" => POST,
        "broadcast" => POST_TO_MANY,
        "history" => HISTORY,
        "disconnect" => DISCONNECT,
        "info" => &[],
        _ => &[CHANNEL],
    };
    let mut said = read(members, table)?;
    if let "publish" | "broadcast" = method {
        let bytes = match (&said["data"], said["b64data"].as_str()) {
            (Value::String(_), None) => Value::Null,
            (Value::Null, Some(text)) => {
                json!(BASE64_STANDARD.decode(text).map_err(|_| ReplyError::BadRequest)?)
            }
            _ => return Err(ReplyError::BadRequest),
        };
        said["b64data"] = bytes;
    }
    match method {
        "info" => Ok(said),
        "disconnect" if said["user"].is_null() && said["client"].is_null() => {
            Err(ReplyError::BadRequest)
        }
        "disconnect" => {
            said["user"] = or_empty(&said["user"]);
            Ok(said)
        }
        "broadcast" => {
            let names = said["channels"].as_array().map(Vec::as_slice).unwrap_or_default();
            let are_names = names.iter().all(|name| name.as_str().is_some_and(is_topic_name));
            if !names.is_empty() && are_names { Ok(said) } else { Err(ReplyError::BadRequest) }
        }
        method => judged(method, said),
    }
}

/// What is to be said of members together, and what stands for those that are not there.
fn judged(method: &str, mut said: Value) -> Result<Value, ReplyError> {
    let needs_channel = !["connect", "ping", "send", "rpc", "refresh"].contains(&method);
    if needs_channel && !said["channel"].as_str().is_some_and(is_topic_name) {
        return Err(ReplyError::BadRequest);
    }
    match method {
        "publish" if said["data"].is_null() && said["b64data"].is_null() => {
            return Err(ReplyError::BadRequest);
        }
        "connect" => {
            said["name"] = or_empty(&said["name"]);
            said["version"] = or_empty(&said["version"]);
        }
        "subscribe" => {
            let position = json!({
                "epoch": or_empty(&said["epoch"]),
                "offset": said["offset"].as_u64().unwrap_or_default(),
            });
            said["recover"] = if said["recover"] == true { position } else { Value::Null };
            // The second bit.
            said["flag"] = json!(said["flag"].as_i64().unwrap_or_default().rem_euclid(4) >= 2);
            remove(&mut said, &["epoch", "offset"]);
        }
        "history" => {
            said["limit"] = match said["limit"].as_i64().unwrap_or_default() {
                limit @ 0.. => json!(limit.min(u32::MAX.into())),
                ..0 => Value::Null,
            };
            if !said["since"].is_null() {
                said["since"] = json!({
                    "epoch": or_empty(&said["since"]["epoch"]),
                    "offset": said["since"]["offset"].as_u64().unwrap_or_default(),
                });
            }
        }
        "refresh" => remove(&mut said, &["channel"]),
        _ => {}
    }
    Ok(said)
}

fn remove(said: &mut Value, names: &[&str]) {
    if let Value::Object(members) = said {
        members.retain(|name, _| !names.contains(&&**name));
    }
}

fn or_empty(value: &Value) -> Value {
    if value.is_null() { json!("") } else { value.clone() }
}

/// Each member of the table as it was said last, or null; a flag is false then, a list empty, and what may not be said does not show.
fn read(members: &Pairs<'_>, table: Table) -> Result<Value, ReplyError> {
    let mut map = Map::new();
    for (name, kind) in table {
        let unsaid = match kind {
            Flag => json!(false),
            Names => json!([]),
            _ => Value::Null,
        };
        if !matches!(kind, Nothing) {
            map.insert((*name).to_owned(), unsaid);
        }
    }
    for (name, value) in &members.0 {
        if let Some((_, kind)) = table.iter().find(|(other, _)| other == name) {
            let value = typed(value, *kind)?;
            if !matches!(kind, Nothing) {
                map.insert(name.clone(), value);
            }
        }
    }
    Ok(Value::Object(map))
}

fn typed(value: &RawValue, kind: Type) -> Result<Value, ReplyError> {
    Ok(match kind {
        Type::String => json!(said::<Option<String>>(value)?),
        Name => json!(said::<Option<String>>(value)?.filter(|name| !name.is_empty())),
        Unsigned => json!(said::<Option<u64>>(value)?),
        // A float for serde_json.
        Signed if value.get() == "-0" => json!(0),
        Signed => json!(said::<Option<i64>>(value)?),
        Flag => json!(said::<Option<bool>>(value)?.unwrap_or_default()),
        Text => json!(value.get()),
        TextOrNull => json!(Some(value.get()).filter(|text| *text != "null")),
        Names => {
            let names: Option<Vec<&RawValue>> = said(value)?;
            let names = names.unwrap_or_default();
            if names.len() > COUNT_MAX {
                return Err(ReplyError::LimitExceeded);
            }
            let names: Result<Vec<String>, _> = names.into_iter().map(said).collect();
            json!(names?)
        }
        Object(table) => match said::<Option<Pairs<'_>>>(value)? {
            Some(members) => read(&members, table)?,
            None => Value::Null,
        },
        Close => {
            let close = typed(value, Object(CLOSE))?;
            let reason = or_empty(&close["reason"]);
            match close["code"].as_u64() {
                None | Some(0) => Value::Null,
                Some(code @ 3000..5000) if reason.as_str().is_some_and(|it| it.len() < 124) => {
                    json!([code, reason])
                }
                Some(_) => return Err(ReplyError::BadRequest),
            }
        }
        Nothing => {
            // What no `Value` can hold says something.
            let value: Option<Value> = said(value).ok();
            let says_nothing =
                [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})];
            if !value.is_some_and(|value| says_nothing.contains(&value)) {
                return Err(ReplyError::NotAvailable);
            }
            Value::Null
        }
    })
}

/// A value of the type that is asked for.
fn said<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, ReplyError> {
    serde_json::from_str(value.get()).map_err(|_| ReplyError::BadRequest)
}

impl Pairs<'_> {
    /// Those of a text that is an object.
    pub(crate) fn of(text: &[u8]) -> Option<Pairs<'_>> {
        serde_json::from_slice(text).ok()
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
                while let Some((name, value)) = map.next_entry::<&RawValue, _>()? {
                    let name = said(name).unwrap_or_else(|_| "\u{fffd}".to_owned());
                    pairs.push((name, value));
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Collect).map(Pairs)
    }
}
