//! Topics' messages in the forms without a library: each can be read back, by the rules of its own format, as what it was.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wsfast::{Kind, MessageId, TopicMessage};

use super::plain_dialect::{BARE, EVENTS, LINES, META, POLL, encode};

/// Checks it: as binary, and as text if it is.
pub fn check(bytes: &[u8]) {
    comes_back(Kind::Binary, bytes);
    if std::str::from_utf8(bytes).is_ok() {
        comes_back(Kind::Text, bytes);
    }
}

fn comes_back(kind: Kind, payload: &[u8]) {
    let id = MessageId { epoch: 14, offset: 7 };
    let message = TopicMessage { topic: "topic", id, kind, payload };
    for form in [BARE, META, EVENTS, LINES, POLL] {
        let mut out = b"before".to_vec();
        let sent_as = encode(form, message, &mut out);
        let out = out.strip_prefix(b"before").expect("it is kept");
        match form {
            BARE => assert_eq!((sent_as, out), (kind, payload)),
            META => assert_eq!((sent_as, out.strip_prefix(b"id: e:7\n\n")), (kind, Some(payload))),
            EVENTS => {
                let read = event(std::str::from_utf8(out).expect("events are text"));
                assert_eq!(
                    read,
                    (if kind == Kind::Text { "" } else { "binary" }, meant(kind, payload))
                );
            }
            _ => {
                let line = out.strip_suffix(b"\n").expect("a line");
                assert!(!line.contains(&b'\n'));
                let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
                assert_eq!(value["id"], "e:7");
                match kind {
                    Kind::Text => {
                        assert_eq!(value["text"].as_str().map(str::as_bytes), Some(payload));
                    }
                    Kind::Binary => {
                        let read =
                            value["base64"].as_str().map(|text| BASE64_STANDARD.decode(text));
                        assert_eq!(read, Some(Ok(payload.to_vec())));
                    }
                }
            }
        }
    }
}

/// What a reader of events makes of a message: lines end with line feeds, whatever ended them before.
fn meant(kind: Kind, payload: &[u8]) -> String {
    match kind {
        Kind::Text => String::from_utf8_lossy(payload).replace("\r\n", "\n").replace('\r', "\n"),
        Kind::Binary => BASE64_STANDARD.encode(payload),
    }
}

/// One event, as HTML §9.2.6 has it: its name and its data.
fn event(stream: &str) -> (&str, String) {
    let (mut name, mut data, mut ended) = ("", Vec::new(), false);
    for line in stream.strip_suffix('\n').expect("it ends with a line").split('\n') {
        assert!(!ended && !line.contains('\r'));
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        match field {
            "" => ended = true,
            "id" => assert_eq!(value, "e:7"),
            "event" => name = value,
            "data" => data.push(value),
            _ => panic!("{line:?}"),
        }
    }
    assert!(ended);
    (name, data.join("\n"))
}
