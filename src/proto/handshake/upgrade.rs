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
