//! The proof that a request asks for a WebSocket (RFC 6455 §4.2.1), and what it offers.
//!
//! Decides nothing that a server may choose: origin, path, subprotocol and extensions are the caller's. Where a
//! request breaks several rules, the first of these tells: method, Upgrade, Connection, version, key, body,
//! subprotocols. The version stands before the key because it is what gives the key its meaning.

use crate::proto::handshake::accept::{self, ACCEPT_LEN, KEY_LEN};
use crate::proto::handshake::error::HandshakeError;
use crate::proto::handshake::fields::Fields;
use crate::proto::handshake::list;
use crate::proto::handshake::request::{BodyLength, Request};

/// A request that may be answered with 101.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    fields: &'a Fields<'a>,
    key: &'a [u8; KEY_LEN],
}

impl Request<'_> {
    /// Proves that this request asks for a WebSocket of version 13.
    ///
    /// # Errors
    ///
    /// The first rule of RFC 6455 §4.2.1 that it breaks: [`HandshakeError::MethodNotGet`], then `UpgradeMissing`,
    /// `ConnectionNotUpgrade`, `Version…`, `Key…`, `BodyOnUpgrade`, `SubprotocolInvalid`.
    pub fn upgrade(&self) -> Result<Upgrade<'_>, HandshakeError> {
        if self.method() != "GET" {
            return Err(HandshakeError::MethodNotGet);
        }
        let fields = self.fields();
        if !fields.values("upgrade").any(|value| list::lists(value, "websocket")) {
            return Err(HandshakeError::UpgradeMissing);
        }
        if !fields.values("connection").any(|value| list::lists(value, "upgrade")) {
            return Err(HandshakeError::ConnectionNotUpgrade);
        }
        match fields.single("sec-websocket-version", HandshakeError::VersionDuplicate)? {
            Some(b"13") => {}
            Some(number)
                if (1..=3).contains(&number.len()) && number.iter().all(u8::is_ascii_digit) =>
            {
                return Err(HandshakeError::VersionUnsupported);
            }
            Some(_) => return Err(HandshakeError::VersionInvalid),
            None => return Err(HandshakeError::VersionMissing),
        }
        let key = fields
            .single("sec-websocket-key", HandshakeError::KeyDuplicate)?
            .ok_or(HandshakeError::KeyMissing)?;
        let key = accept::key_from_value(key).ok_or(HandshakeError::KeyInvalid)?;
        match self.body_length() {
            BodyLength::None | BodyLength::Bytes(0) => {}
            BodyLength::Bytes(_) | BodyLength::Chunked => {
                return Err(HandshakeError::BodyOnUpgrade);
            }
        }
        let are_tokens =
            |value| list::elements(value).all(|element| list::token(element).is_some());
        if !fields.values(PROTOCOL).all(are_tokens) {
            return Err(HandshakeError::SubprotocolInvalid);
        }
        Ok(Upgrade { fields, key })
    }
}

impl Request<'_> {
    /// Whether this request asks for a WebSocket, rightly or not: its Upgrade lists `websocket`.
    pub fn asks_for_websocket(&self) -> bool {
        self.fields().values("upgrade").any(|value| list::lists(value, "websocket"))
    }
}

impl<'a> Upgrade<'a> {
    /// The Sec-WebSocket-Accept to answer with (RFC 6455 §4.2.2).
    pub fn accept(&self) -> [u8; ACCEPT_LEN] {
        accept::accept_of(self.key)
    }

    /// The subprotocols that the client offers, in its order of preference; each is a token (RFC 6455 §11.3.4).
    ///
    /// A name that is offered twice is passed on twice.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.fields.values(PROTOCOL).flat_map(list::elements).filter_map(list::token)
    }

    /// The values of Sec-WebSocket-Extensions, one a header line, as they were sent (RFC 6455 §9.1).
    ///
    /// Without control characters but tabs; otherwise unchecked.
    pub fn extensions(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.fields.values("sec-websocket-extensions")
    }
}

/// The header that lists subprotocols, lower case.
const PROTOCOL: &str = "sec-websocket-protocol";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::handshake::HeadLimits;

    #[test]
    fn an_upgrade_is_proven_rule_by_rule() {
        use HandshakeError as E;
        let table: [(&str, &str, Option<HandshakeError>); 49] = [
            ("", "", None),
            ("GET", "POST", Some(E::MethodNotGet)),
            ("GET", "HEAD", Some(E::MethodNotGet)),
            ("GET", "get", Some(E::MethodNotGet)),
            (UPGRADE, "", Some(E::UpgradeMissing)),
            (UPGRADE, "Upgrade:\r\n", Some(E::UpgradeMissing)),
            (UPGRADE, "Upgrade: h2c\r\n", Some(E::UpgradeMissing)),
            (UPGRADE, "Upgrade: websockets\r\n", Some(E::UpgradeMissing)),
            (UPGRADE, "Upgrade: web socket\r\n", Some(E::UpgradeMissing)),
            (UPGRADE, "upgrade:WebSocket\r\n", None),
            (UPGRADE, "Upgrade: h2c,\tWEBSOCKET\t\r\n", None),
            (UPGRADE, "Upgrade: h2c\r\nUpgrade: websocket\r\n", None),
            (CONNECTION, "", Some(E::ConnectionNotUpgrade)),
            (CONNECTION, "Connection: close\r\n", Some(E::ConnectionNotUpgrade)),
            (CONNECTION, "Connection: not-upgrade\r\n", Some(E::ConnectionNotUpgrade)),
            (CONNECTION, "Connection: keep-alive, Upgrade\r\n", None),
            (CONNECTION, "connection:keep-alive\t,\tuPGRADE,\r\n", None),
            (CONNECTION, "Connection: keep-alive\r\nX: y\r\nConnection: upgrade\r\n", None),
            (VERSION, "", Some(E::VersionMissing)),
            (VERSION, "Sec-WebSocket-Version: 8\r\n", Some(E::VersionUnsupported)),
            (VERSION, "Sec-WebSocket-Version: 0\r\n", Some(E::VersionUnsupported)),
            (VERSION, "Sec-WebSocket-Version: 14\r\n", Some(E::VersionUnsupported)),
            (VERSION, "Sec-WebSocket-Version: 255\r\n", Some(E::VersionUnsupported)),
            (VERSION, "Sec-WebSocket-Version: 013\r\n", Some(E::VersionUnsupported)),
            (VERSION, "Sec-WebSocket-Version:\r\n", Some(E::VersionInvalid)),
            (VERSION, "Sec-WebSocket-Version: 1300\r\n", Some(E::VersionInvalid)),
            (VERSION, "Sec-WebSocket-Version: +13\r\n", Some(E::VersionInvalid)),
            (VERSION, "Sec-WebSocket-Version: 13, 8\r\n", Some(E::VersionInvalid)),
            (VERSION, "Sec-Websocket-version:\t13 \r\n", None),
            (VERSION, &[VERSION, VERSION].concat(), Some(E::VersionDuplicate)),
            (KEY, "", Some(E::KeyMissing)),
            (KEY, "Sec-WebSocket-Key:\r\n", Some(E::KeyInvalid)),
            (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n", Some(E::KeyInvalid)),
            (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n", Some(E::KeyInvalid)),
            (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=\r\n", Some(E::KeyInvalid)),
            (KEY, "Sec-WebSocket-Key: dGhl!HNhbXBsZSBub25jZQ==\r\n", Some(E::KeyInvalid)),
            (KEY, "SEC-WEBSOCKET-KEY:dGhlIHNhbXBsZSBub25jZQ==\t\r\n", None),
            (KEY, &[KEY, KEY].concat(), Some(E::KeyDuplicate)),
            ("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", None),
            ("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n", Some(E::BodyOnUpgrade)),
            ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", Some(E::BodyOnUpgrade)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol:\r\n\r\n", None),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a,,b,\r\n\r\n", None),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a b\r\n\r\n", Some(E::SubprotocolInvalid)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a;b\r\n\r\n", Some(E::SubprotocolInvalid)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: \"a\"\r\n\r\n", Some(E::SubprotocolInvalid)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: é\r\n\r\n", Some(E::SubprotocolInvalid)),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: /\r\n\r\n",
                Some(E::SubprotocolInvalid),
            ),
            // Any extension offer is passed on as it is.
            ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: ,;=\"\r\n\r\n", None),
        ];
        for (part, replacement, expected) in table {
            let head = ALL.replacen(part, replacement, 1);
            let request = Request::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
            assert_eq!(request.upgrade().err(), expected, "{replacement:?}");
        }
    }

    #[test]
    fn the_first_breach_in_the_documented_order_tells() {
        use HandshakeError as E;
        // Each row mends what the row before was refused for.
        let table: [(&[&str], HandshakeError); 8] = [
            (&["POST / HTTP/1.1\r\n"], E::MethodNotGet),
            (&[GET], E::UpgradeMissing),
            (&[GET, UPGRADE], E::ConnectionNotUpgrade),
            (&[GET, UPGRADE, CONNECTION], E::VersionMissing),
            (&[GET, UPGRADE, CONNECTION, "Sec-WebSocket-Version: 8\r\n"], E::VersionUnsupported),
            (&[GET, UPGRADE, CONNECTION, VERSION], E::KeyMissing),
            (&[GET, UPGRADE, CONNECTION, VERSION, "Sec-WebSocket-Key: x\r\n"], E::KeyInvalid),
            (&[GET, UPGRADE, CONNECTION, VERSION, KEY], E::BodyOnUpgrade),
        ];
        let rest = "Host: a\r\nContent-Length: 1\r\nSec-WebSocket-Protocol: /\r\n\r\n";
        for (lines, expected) in table {
            let head = lines.concat() + rest;
            let request = Request::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
            assert_eq!(request.upgrade().err(), Some(expected), "{head:?}");
        }
    }

    #[test]
    fn offers_are_listed_in_order() {
        let head = ALL.replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: b ,\ta,,b\r\nSec-WebSocket-Extensions: x; y=\"1, 2\", z\r\n\
             X: y\r\nsec-websocket-protocol: graphql-ws\r\nsec-websocket-extensions:\r\n\r\n",
        );
        let request = Request::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
        let upgrade = request.upgrade().unwrap();
        assert_eq!(upgrade.subprotocols().collect::<Vec<_>>(), ["b", "a", "b", "graphql-ws"]);
        assert_eq!(upgrade.extensions().collect::<Vec<_>>(), [&b"x; y=\"1, 2\", z"[..], b""]);
        assert_eq!(&upgrade.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    const GET: &str = "GET / HTTP/1.1\r\n";
    const UPGRADE: &str = "Upgrade: websocket\r\n";
    const CONNECTION: &str = "Connection: Upgrade\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    /// All of the above, and a Host.
    const ALL: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
}
