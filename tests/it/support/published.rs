//! What a topic holds, and what each transport must make of it, byte for byte; written from the README, not with the server's code.
//!
//! Publishes nothing by itself but what it is told to, and asks for nothing.

use std::net::SocketAddr;

use super::client::RawClient;

/// Text messages of one topic, from offset 1 on, and the end that each form of them comes to.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) topic: String,
    pub(crate) epoch: String,
    pub(crate) texts: Vec<Vec<u8>>,
}

/// How a topic's messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Of a WebSocket: the payload alone.
    Bare,
    /// Of `wsfast.meta`.
    Meta,
    /// A server-sent event.
    Event,
    /// A JSON line, streamed or as an answer to a long-poll.
    Line,
    /// What Centrifugo's clients get in replies, without what stands around it.
    Publication,
}

impl Published {
    /// Publishes `texts` to a topic that is new.
    pub(crate) fn new(addr: SocketAddr, topic: &str, texts: Vec<Vec<u8>>) -> Self {
        let mut this = Self { topic: topic.to_owned(), epoch: String::new(), texts: Vec::new() };
        let mut client = RawClient::connect(addr);
        for text in texts {
            client.send(this.post(&text));
            this.was_published(&client.response().body, text);
        }
        client.reset();
        this
    }

    /// None yet: the epoch is not known.
    pub(crate) fn none(topic: &str) -> Self {
        Self { topic: topic.to_owned(), epoch: String::new(), texts: Vec::new() }
    }

    /// The request that publishes `text`.
    pub(crate) fn post(&self, text: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST /{} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            self.topic,
            text.len()
        );
        [head.as_bytes(), text].concat()
    }

    /// `text` was published, as `answer` says.
    pub(crate) fn was_published(&mut self, answer: &str, text: Vec<u8>) {
        let id = answer.strip_prefix(r#"{"id":""#).unwrap_or_else(|| panic!("refused: {answer}"));
        let (epoch, rest) = id.split_once(':').unwrap();
        self.texts.push(text);
        assert!(rest.starts_with(&format!("{}\"", self.texts.len())), "not the next: {answer}");
        epoch.clone_into(&mut self.epoch);
    }

    /// The message at `offset`, as a form has it.
    pub(crate) fn message(&self, offset: usize, form: Form) -> Vec<u8> {
        let (epoch, text) = (&self.epoch, &self.texts[offset - 1]);
        match form {
            Form::Bare => text.clone(),
            Form::Meta => [format!("id: {epoch}:{offset}\n\n").as_bytes(), text].concat(),
            Form::Event => {
                // A line feed ends a line of data; carriage returns, which do as well, are in none of these texts.
                let lines = text.split(|&byte| byte == b'\n');
                let lines = lines.flat_map(|line| [b"data: ", line, b"\n"].concat());
                let head = format!("id: {epoch}:{offset}\n").into_bytes();
                head.into_iter().chain(lines).chain(*b"\n").collect()
            }
            Form::Line => {
                let head = format!(r#"{{"id":"{epoch}:{offset}","text":"#);
                [head.as_bytes(), &json_string(text), b"}\n"].concat()
            }
            Form::Publication => {
                let end = format!(r#","offset":{offset}}}"#);
                [br#"{"data":"#, &json_string(text)[..], end.as_bytes()].concat()
            }
        }
    }

    /// All messages in one form.
    pub(crate) fn all(&self, form: Form) -> Vec<Vec<u8>> {
        (1..=self.texts.len()).map(|offset| self.message(offset, form)).collect()
    }
}

/// So many lines of text that no JSON parser takes for JSON, of `len` bytes each, and each another.
pub(crate) fn lines_of_text(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let mut text = format!("message {number}: ").into_bytes();
            text.extend(
                (text.len()..len).map(|at| b'a' + u8::try_from((at + number) % 26).unwrap()),
            );
            text.truncate(len);
            text
        })
        .collect()
}

/// A text that JSON makes six times as long.
pub(crate) fn control_characters(len: usize) -> Vec<u8> {
    vec![1; len]
}

/// RFC 8259 §7, with the short escapes where there are some.
pub(crate) fn json_string(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in text {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..0x20 => {
                out.extend(b"\\u00");
                out.extend(
                    [byte >> 4, byte & 0xF].map(|digit| b"0123456789abcdef"[usize::from(digit)]),
                );
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

/// Holds what comes in pieces against what should come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// How much of it came.
    pub(crate) at: usize,
}

impl Expected {
    /// The next piece of `whole`; whether it was the last.
    #[track_caller]
    pub(crate) fn take(&mut self, whole: &[u8], piece: &[u8]) -> bool {
        let next = &whole[self.at..];
        assert!(piece.len() <= next.len(), "{} bytes too many", piece.len() - next.len());
        if piece != &next[..piece.len()] {
            let wrong = piece.iter().zip(next).position(|(a, b)| a != b).unwrap();
            let shown =
                |bytes: &[u8]| bytes[wrong..bytes.len().min(wrong + 60)].escape_ascii().to_string();
            panic!("at byte {}: {} is not {}", self.at + wrong, shown(piece), shown(next));
        }
        self.at += piece.len();
        self.at == whole.len()
    }
}
