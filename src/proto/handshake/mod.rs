//! The opening handshake (RFC 6455 §4) over HTTP/1.1 (RFC 9112), for both roles.
//!
//! Pure functions over a head's bytes, and one small resumable scan. Opens nothing, reads no clock, serves no path.
//! A server scans until the head is whole, parses it, proves the upgrade, and answers:
//!
//! ```text
//! bytes ──HeadScan──► head ──Request::parse──► Request ──upgrade──► Upgrade ──► encode_accept
//!            │                      │                       │
//!            └──────────────────────┴── HandshakeError ─────┴── answer ──► encode_refusal, or just close
//! ```
//!
//! | RFC | file |
//! |---|---|
//! | RFC 9112 §2.2 where a head ends | `head` |
//! | RFC 9112 §3, §6 request line, target, body length | `request` |
//! | RFC 9112 §5 header lines | `fields` |
//! | RFC 9110 §5.6 lists, tokens | `list` |
//! | RFC 6455 §4.2.1 the upgrade's proof | `upgrade` |
//! | RFC 6455 §4.2.2 key and accept; the answers | `accept`, `response` |
//! | RFC 6455 §4.1 the client's half | [`client`] |

mod accept;
pub mod client;
mod error;
mod fields;
mod head;
pub(crate) mod list;
mod request;
mod response;
mod upgrade;

pub use accept::accept_of;
pub use error::{Answer, HandshakeError, Status};
pub use head::{HeadLimits, HeadScan};
pub use request::{BodyLength, Request};
pub use response::{encode_accept, encode_refusal};
pub use upgrade::Upgrade;

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from the wire: each client's request is accepted, however it is cut.
    #[test]
    fn real_clients_are_accepted_at_every_cut() {
        let table = [
            (
                CHROMIUM,
                b"aW8VaXc74lJ/3P9W3qj3ScP2sj0=",
                None,
                &["permessage-deflate; client_max_window_bits"][..],
            ),
            (FIREFOX, b"bFB5UBF5rDnCB/cnujvnM7f9c6c=", None, &["permessage-deflate"]),
            (JAVA, b"EKtr2c4NMUDin+1Cw7kEHvaJIFU=", None, &[]),
            (
                TORNADO,
                b"NORSuAid5OfPYbhwKO1GLLkjgh8=",
                None,
                &["permessage-deflate; client_max_window_bits"],
            ),
            (
                ACTIONCABLE,
                b"77Xuq3zk/lKGi91M1AYmeQBP8Yo=",
                Some("actioncable-v1-json"),
                &["permessage-deflate; client_max_window_bits"],
            ),
        ];
        for (text, accept, subprotocol, extensions) in table {
            let stream = wire(text);
            let first_frame = b"\x81\x85\0\0\0\0hello";
            for cut in 0..stream.len() {
                let mut scan = HeadScan::new();
                assert_eq!(scan.scan(&stream[..cut], &HeadLimits::default()), Ok(None));
                let received = [&stream[..], first_frame].concat();
                let len = scan.scan(&received, &HeadLimits::default());
                assert_eq!(len, Ok(Some(stream.len())));
            }
            let request = Request::parse(&stream, &HeadLimits::default()).unwrap();
            let upgrade = request.upgrade().unwrap();
            assert_eq!(&upgrade.accept(), accept);
            assert_eq!(upgrade.subprotocols().next(), subprotocol);
            let offered: Vec<_> =
                upgrade.extensions().map(|value| str::from_utf8(value).unwrap()).collect();
            assert_eq!(offered, extensions);
        }
    }

    /// What a server answers, from the bytes alone: a row for each rule, in the order of RFC 9112 and RFC 6455 §4.
    #[test]
    fn every_rule_has_its_answer() {
        let table: [(&str, &str, u16); 58] = [
            ("", "", 101),
            // What is all right.
            ("GET /any", "\r\nGET /any", 101),
            ("GET /any", "GET http://h/any", 101),
            ("\r\n\r\n", "\r\n\r\n\u{1}\0\n\rGET", 101),
            ("Content-Length: 0\r\n", "", 101),
            ("Upgrade: websocket", "UPGRADE:\tfoo ,\tWebSocket ,", 101),
            ("Connection: Upgrade", "connection: keep-alive,upgrade", 101),
            ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101),
            // Malformed.
            ("GET /any HTTP/1.1\r\n", "GET /any HTTP/1.1\n", 400),
            ("Host: 127.0.0.1:19216\r\n", "Host: 127.0.0.1:19216\n", 400),
            ("\r\n\r\n", "\r\n\n", 400),
            ("\r\n\r\n", "\n\n", 400),
            ("Java", "Ja\rva", 400),
            ("GET /any", "GET /a\rny", 400),
            ("Java", "Ja\0va", 400),
            ("GET /any", "GET /a\0ny", 400),
            ("GET /any", "GET /a\u{1}ny", 400),
            ("GET /any", "GET /a\u{7f}ny", 400),
            ("GET /any", "GET /a\tny", 400),
            ("GET /any", "GET /é", 400),
            ("GET /any", "GET any", 400),
            ("GET /any", "GET  /any", 400),
            ("GET /any HTTP/1.1", "GET /any", 400),
            ("GET", "\r\n\r\nGET", 400),
            ("GET", " GET", 400),
            ("GET", "(GET", 400),
            ("User-Agent: ", "User-Agent ", 400),
            ("User-Agent: ", ": ", 400),
            ("User-Agent: ", "User Agent: ", 400),
            ("User-Agent: ", "Üser-Agent: ", 400),
            ("User-Agent: ", "User-Agent : ", 400),
            ("User-Agent: ", " User-Agent: ", 400),
            ("User-Agent: Java", "User-Agent: J\r\n ava", 400),
            ("User-Agent: ", "User-Agent: \u{1}", 400),
            ("Host: 127.0.0.1:19216\r\n", "", 400),
            ("Host: 127.0.0.1:19216\r\n", "Host: a\r\nHost: a\r\n", 400),
            ("Content-Length: 0\r\n", "Content-Length: 0\r\nContent-Length: 0\r\n", 400),
            ("Content-Length: 0", "Content-Length: +0", 400),
            ("Content-Length: 0", "Content-Length: -0", 400),
            ("Content-Length: 0", "Content-Length: 0x0", 400),
            ("Content-Length: 0", "Content-Length: 00000000000000000000", 400),
            ("Content-Length: 0", "Content-Length: 0\r\nTransfer-Encoding: chunked", 400),
            ("Content-Length: 0", "Content-Length: 5", 400),
            ("Content-Length: 0", "Transfer-Encoding: chunked", 400),
            ("Sec-WebSocket-Key: 4w", "X: 4w", 400),
            ("Sec-WebSocket-Key: 4w", "Sec-WebSocket-Key: 4", 400),
            ("Sec-WebSocket-Key: 4w", "Sec-WebSocket-Key: x\r\nSec-WebSocket-Key: 4w", 400),
            ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 400),
            ("Content-Length: 0", "Sec-WebSocket-Protocol: a b", 400),
            // Statuses of their own.
            ("GET", "POST", 405),
            ("Version: 13", "Version: 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("Upgrade: websocket", "Upgrade: h2c", 426),
            ("Connection: Upgrade", "Connection: close", 426),
            ("HTTP/1.1", "HTTP/1.0", 505),
            ("HTTP/1.1", "HTTP/2.0", 505),
            ("GET /any HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET", "\u{16}\u{3}\u{1}GET", 0),
        ];
        for (part, replacement, expected) in table {
            let stream = wire(JAVA);
            let stream = str::from_utf8(&stream).unwrap().replacen(part, replacement, 1);
            assert_eq!(answer(stream.as_bytes()), expected, "{stream:?}");
        }
    }

    #[test]
    fn limits_have_statuses_of_their_own() {
        let get = |target_len: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(target_len - 1));
        let table = [
            (get(9000), 414),
            (get(8192 - 14), 414),
            (get(8192 - 15) + "\r\n", 431),
            (get(10) + "Host: a\r\nX: " + &"y".repeat(8192), 431),
            (get(10) + "Host: a\r\n" + &"X: y\r\n".repeat(100) + "\r\n", 431),
            // 99 and Host are 100 headers: it is only that no upgrade is asked for.
            (get(10) + "Host: a\r\n" + &"X: y\r\n".repeat(99) + "\r\n", 426),
        ];
        for (stream, expected) in table {
            assert_eq!(answer(stream.as_bytes()), expected, "{}", &stream[..40]);
        }
    }

    /// The status that a server answers `stream` with; 0 for none.
    fn answer(stream: &[u8]) -> u16 {
        let limits = HeadLimits::default();
        let accept = || {
            let len = HeadScan::new().scan(stream, &limits)?.ok_or(HandshakeError::Timeout)?;
            let request = Request::parse(&stream[..len], &limits)?;
            request.upgrade().map(|upgrade| upgrade.accept())
        };
        match accept().map_err(HandshakeError::answer) {
            Ok(_) => 101,
            Err(Answer::Refuse(status)) => status.code(),
            Err(Answer::Drop) => 0,
        }
    }

    /// The lines of `text`, as they are on the wire.
    fn wire(text: &str) -> Vec<u8> {
        text.lines()
            .flat_map(|line| [line, "\r\n"])
            .chain(["\r\n"])
            .collect::<String>()
            .into_bytes()
    }

    const CHROMIUM: &str = "\
GET /any HTTP/1.1
Host: 127.0.0.1:19223
Connection: Upgrade
Pragma: no-cache
Cache-Control: no-cache
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36
Upgrade: websocket
Origin: http://127.0.0.1:32777
Sec-WebSocket-Version: 13
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9
Sec-WebSocket-Key: vSm0A8x55WLxNyEerBdykA==
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
";

    const FIREFOX: &str = "\
GET /any HTTP/1.1
Host: 127.0.0.1:19222
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0
Accept: */*
Accept-Language: en-US,en;q=0.9
Accept-Encoding: gzip, deflate, br, zstd
Sec-WebSocket-Version: 13
Origin: http://127.0.0.1:46841
Sec-WebSocket-Extensions: permessage-deflate
Sec-WebSocket-Key: oE2SYLX2UiWp4e4LYXL3Kw==
Connection: Upgrade
Sec-Fetch-Dest: empty
Sec-Fetch-Mode: websocket
Sec-Fetch-Site: same-site
Pragma: no-cache
Cache-Control: no-cache
Upgrade: websocket
";

    /// Sends Content-Length: 0.
    const JAVA: &str = "\
GET /any HTTP/1.1
Connection: Upgrade
Content-Length: 0
Host: 127.0.0.1:19216
Upgrade: websocket
User-Agent: Java-http-client/17.0.15
Sec-WebSocket-Key: 4wTT1igbV0E1WTF/brUbOw==
Sec-WebSocket-Version: 13
";

    /// Spells the headers its own way.
    const TORNADO: &str = "\
GET /any HTTP/1.1
Upgrade: websocket
Connection: Upgrade
Sec-Websocket-Key: enIt8BxcC2681WzE0yosHQ==
Sec-Websocket-Version: 13
Sec-Websocket-Extensions: permessage-deflate; client_max_window_bits
Host: 127.0.0.1:19209
User-Agent: Tornado/6.6.1
Accept-Encoding: gzip
";

    /// Lists subprotocols without a space.
    const ACTIONCABLE: &str = "\
GET /cable HTTP/1.1
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: U8ukiQohK6MB5LE2bVnGlw==
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
Sec-WebSocket-Protocol: actioncable-v1-json,actioncable-unsupported
Host: 127.0.0.1:41677
";
}
