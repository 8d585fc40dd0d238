//! Ways to listen to a topic, and to hear who does by `--admin`.

use std::net::SocketAddr;

use super::client::{RawClient, Response};
use super::wire;

/// The transports that presence knows, by its names for them.
pub(crate) const TRANSPORTS: [&str; 5] = ["websocket", "meta", "sse", "ndjson", "centrifugo"];

/// Listens to `topic`; returns once the server has answered that it does.
pub(crate) fn listen(addr: SocketAddr, topic: &str, transport: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    match transport {
        "sse" | "ndjson" => {
            let (accept, sign) = match transport {
                "sse" => ("text/event-stream", &b":\n\n"[..]),
                _ => ("application/x-ndjson", &b"\n"[..]),
            };
            get(&mut client, &format!("/{topic}"), &format!("Accept: {accept}\r\n"));
            assert_eq!(client.response().status, 200);
            client.until(sign);
        }
        "centrifugo" => {
            upgrade(&mut client, "/connection/websocket", "");
            client.send(wire::text(r#"{"connect":{},"id":1}"#));
            client.frame();
            subscribe(&mut client, topic);
        }
        _ => {
            let meta = "Sec-WebSocket-Protocol: wsfast.meta\r\n";
            let lines = if transport == "meta" { meta } else { "" };
            upgrade(&mut client, &format!("/{topic}"), lines);
        }
    }
    client
}

/// Subscribes by the Centrifugo protocol.
pub(crate) fn subscribe(client: &mut RawClient, channel: &str) {
    client.send(wire::text(&format!(r#"{{"subscribe":{{"channel":"{channel}"}},"id":2}}"#)));
    let reply = String::from_utf8(client.frame().payload).unwrap();
    assert!(reply.starts_with(r#"{"id":2,"subscribe":{"#), "{reply}");
}

pub(crate) fn upgrade(client: &mut RawClient, target: &str, lines: &str) {
    client.send(wire::request_with(lines).replacen("GET /", &format!("GET {target}"), 1));
    client.expect_open(wire::KEY);
}

pub(crate) fn get(client: &mut RawClient, target: &str, lines: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
}

/// One request on a connection of its own.
pub(crate) fn request(addr: SocketAddr, line: &str, lines: &str) -> Response {
    let mut client = RawClient::connect(addr);
    client.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
    client.response()
}

/// What a GET answers, as JSON.
pub(crate) fn json(addr: SocketAddr, target: &str) -> serde_json::Value {
    let response = request(addr, &format!("GET {target}"), "");
    assert_eq!(response.status, 200, "{}", response.body);
    serde_json::from_str(&response.body).unwrap()
}

/// Something that happened to a topic.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(crate) event: String,
    pub(crate) topic: String,
    pub(crate) client: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) transport: Option<String>,
    pub(crate) at: u64,
}

/// Who hears of joins and leaves from when it is made on.
#[derive(Debug)]
pub(crate) struct Watch(RawClient);

impl Watch {
    pub(crate) fn start(admin: SocketAddr) -> Self {
        let mut client = RawClient::connect(admin);
        upgrade(&mut client, "/events", "");
        Self(client)
    }

    pub(crate) fn next(&mut self) -> Event {
        serde_json::from_slice(&self.0.frame().payload).unwrap()
    }

    /// The next two: the topic has its first listener, which is this one.
    pub(crate) fn expect_first(&mut self, topic: &str, transport: &str) -> Event {
        let occupied = self.next();
        assert_eq!((&*occupied.event, &*occupied.topic), ("occupied", topic));
        assert_eq!((&occupied.client, &occupied.transport), (&None, &None));
        self.expect("join", topic, transport)
    }

    /// The next two: the topic's last listener is gone, and it was this one.
    pub(crate) fn expect_last(&mut self, joined: &Event) {
        let left = self.expect("leave", &joined.topic, joined.transport.as_deref().unwrap());
        assert_eq!((&left.client, &left.user), (&joined.client, &joined.user));
        assert!(left.at >= joined.at);
        let vacated = self.next();
        assert_eq!((&*vacated.event, &vacated.topic), ("vacated", &joined.topic));
    }

    /// The server goes down.
    pub(crate) fn expect_end(mut self) {
        self.0.expect_close(1001);
        self.0.send(wire::close(1001, ""));
        self.0.expect_eof();
    }

    pub(crate) fn expect(&mut self, event: &str, topic: &str, transport: &str) -> Event {
        let came = self.next();
        assert_eq!((&*came.event, &*came.topic), (event, topic), "{came:?}");
        assert_eq!(came.transport.as_deref(), Some(transport));
        came
    }
}
