//! Who may do what: whether a request comes in at all, which topics it may subscribe to, and where it may publish.
//!
//! Pure decisions over a request's head and a topic's name. Sends nothing, logs nothing, reads no clock; ends no subscription when its
//! token does ([`Caller::ends_at_s`] says when, `expiry` waits for it). Which pages may connect is `access`'. A page that is refused
//! gets 403 before any credentials are looked at.
//!
//! "Open" is a server on loopback alone, without keys, without a secret for tokens, and without an allowed origin that is not this
//! machine's: there must be a proxy in front of such a one. "This machine" is a request that shows no proxy and asks for one of
//! this machine's names (`place`); to all others an open server is as one that has neither keys nor a secret.
//!
//! |                              | subscribe          | publish over HTTP       | publish by message                       |
//! |------------------------------|--------------------|-------------------------|------------------------------------------|
//! | open                         | anyone             | this machine            | this machine; `--client-publish on`: anyone; `off`: nobody |
//! | neither keys nor a secret    | anyone             | nobody: 403             | nobody, unless `--client-publish on`     |
//! | `--publish-key`              | anyone             | with a key              | with a key; `--client-publish on`: anyone |
//! | `--jwt-secret`               | with a token for it | with a token for it    | with a token for it, unless `--client-publish off` |
//! | both                         | with a token for it | with a key or a token for it | with a key or a token for it; `off`: with a key |
//!
//! With a secret for tokens, who shows neither a key nor a token holds no connection, be it one that reaches no topic
//! ([`Gate::may_stay`]), unless `--allow-anonymous` says so: it would take a place from who may.
//!
//! 401 is for who shows nothing, or something that does not hold; 403 for who is known and may not. A key may publish anywhere, by
//! message too, and subscribes to nothing. A token that does not hold is refused at once, whatever it was needed for.
//!
//! Keys make loopback a closed place for messages as well: a server with a key is likely to have a proxy in front.
//!
//! Credentials are taken from, in this order:
//!
//! - a key: `X-API-Key`; `Authorization: Bearer`;
//! - a token: `Authorization: Bearer`; `?token=`; the subprotocol `bearer.TOKEN`. A browser drops a WebSocket whose server chooses none
//!   of the subprotocols offered, and this one must not be chosen, since that repeats it. So such a client offers another, too;
//! - a token in place of it: the connect command of the Centrifugo protocol ([`Gate::with_token`]).
//!
//! What is not asked for is not looked at: without `--jwt-secret` any token is let pass, without any key any X-API-Key.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod access;
mod cors;
pub(crate) mod fetch_site;
mod key;
mod pattern;
mod place;
pub(crate) mod secret;
mod token;

use std::borrow::Cow;
use std::fmt;

use wsfast::proto::handshake::{Request, Status, Upgrade};
use wsfast::{Owner, Refusal, saved};

use crate::app::gate::access::{Access, AllowedOrigin, Denied, Reach};
use crate::app::gate::fetch_site::Site;
use crate::app::gate::key::{Digest, Keys};
use crate::app::gate::place::Place;
use crate::app::gate::secret::{Anonymous, ClientPublish, Credentials};
use crate::app::gate::token::{Claims, Tokens};
use crate::app::hub::route;

pub(crate) use crate::app::gate::cors::Cors;
pub(crate) use crate::app::gate::token::BadToken;

/// Who may do what. Built at start, and anew when settings are reloaded; a [`Caller`] of one is asked about at the next, too: a key
/// that was removed is worth nothing there, a token's claims hold until it ends.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    access: Access,
    keys: Keys,
    /// `None`: no tokens are asked for.
    tokens: Option<Tokens>,
    /// Whether nothing is asked for over HTTP of who is [`Place::Here`].
    is_open: bool,
    messages: Messages,
    anonymous: Anonymous,
}

/// Who publishes by message, but for those who have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Messages {
    Anyone,
    /// Who is [`Place::Here`].
    ThisMachine,
    /// Who has a token that grants it.
    ByToken,
    Nobody,
}

/// How something is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// By a message that a client sends over its connection.
    ClientMessage,
    /// By a request of its own.
    Http,
}

impl Gate {
    /// The gate of a server that can be reached from there, with what `--allow-origin` adds.
    pub(crate) fn new(reach: Reach, origins: Vec<AllowedOrigin>, credentials: Credentials) -> Self {
        let Credentials { keys, tokens, client_publish, anonymous, .. } = credentials;
        let is_open = reach == Reach::Loopback
            && keys.is_empty()
            && tokens.is_none()
            && origins.iter().all(AllowedOrigin::is_this_machines);
        let messages = match client_publish {
            ClientPublish::Off => Messages::Nobody,
            ClientPublish::On | ClientPublish::Auto if tokens.is_some() => Messages::ByToken,
            ClientPublish::On => Messages::Anyone,
            ClientPublish::Auto if is_open => Messages::ThisMachine,
            ClientPublish::Auto => Messages::Nobody,
        };
        Self { access: Access::new(reach, origins), keys, tokens, is_open, messages, anonymous }
    }

    /// Lets a request in: its page may connect, and its credentials hold. `upgrade` if it asks for a WebSocket.
    ///
    /// `now_s` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The refusal that the client gets.
    pub(crate) fn admit(
        &self,
        request: &Request<'_>,
        upgrade: Option<&Upgrade<'_>>,
        now_s: u64,
    ) -> Result<Caller, Refusal> {
        let (origin, host) = (request.origin(), request.host());
        match upgrade {
            Some(_) => self.access.check(origin, host),
            None => {
                let (site, sees_page) = (Site::of(request), route::sees_page(request));
                self.access.check_plain(origin, host, site, sees_page)
            }
        }
        .map_err(|denied: Denied| Refusal { status: Status::Forbidden, reason: denied.reason() })?;
        let bearer = bearer(request);
        let key = self.look_at_key(request, bearer);
        let claims = match &self.tokens {
            None => None,
            Some(tokens) => {
                let bearer = bearer
                    .filter(|_| !matches!(key, Key::ByBearer(_)))
                    .map(String::from_utf8_lossy);
                bearer
                    .or_else(|| query_token(request))
                    .or_else(|| upgrade.and_then(subprotocol_token).map(Cow::Borrowed))
                    .map(|token| tokens.verify(&token, now_s))
                    .transpose()
                    .map_err(|bad| unauthorized(bad.reason()))?
            }
        };
        let shows_nothing = key == Key::None && claims.is_none();
        let shown = (!shows_nothing).then(|| Box::new(Shown { key, claims }));
        Ok(Caller { shown, place: Place::of(request) })
    }

    /// What becomes of a caller that shows a token later, in a message; nothing where no tokens are asked for.
    ///
    /// `now_s` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// What is wrong with the token.
    pub(crate) fn with_token(
        &self,
        caller: &Caller,
        token: &str,
        now_s: u64,
    ) -> Result<Caller, BadToken> {
        let Some(tokens) = &self.tokens else { return Ok(caller.clone()) };
        let claims = Some(tokens.verify(token, now_s)?);
        let shown = Some(Box::new(Shown { key: caller.key(), claims }));
        Ok(Caller { shown, place: caller.place })
    }

    /// What a response to `request`'s page must carry so that it may be read; `None`: there is no page, or it may not read.
    pub(crate) fn cors<'a>(&self, request: &Request<'a>) -> Option<Cors<'a>> {
        self.access.readable_by(request.origin()?, request.host()).map(Cors::new)
    }

    /// Whether topics are for who has a token alone, so that what one gets of them is no other's.
    pub(crate) const fn asks_for_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether the caller may hold a connection that reaches no topic, or none yet: where tokens are asked for, it shows one, or a
    /// key.
    ///
    /// # Errors
    ///
    /// 401.
    pub(crate) fn may_stay(&self, caller: &Caller) -> Result<(), Refusal> {
        let is_known = caller.claims().is_some() || self.holds_key(caller);
        if is_known || self.tokens.is_none() || self.anonymous == Anonymous::Allowed {
            return Ok(());
        }
        Err(unauthorized(
            "A connection needs a token: Authorization: Bearer TOKEN, ?token=TOKEN, or the subprotocol bearer.TOKEN. For those \
             without, start the server with --allow-anonymous",
        ))
    }

    /// Whether the caller may read `topic`, which has no slash in front.
    ///
    /// # Errors
    ///
    /// 401 without a token, 403 with one that does not grant it.
    pub(crate) fn may_subscribe(&self, caller: &Caller, topic: &str) -> Result<(), Refusal> {
        match caller.claims() {
            _ if self.tokens.is_none() => Ok(()),
            Some(claims) if claims.grants_subscribing(topic) => Ok(()),
            Some(_) => Err(forbidden(
                "The token does not grant this topic. Its subscribe claim lists those that it does",
            )),
            None => Err(unauthorized(
                "Subscribing needs a token: Authorization: Bearer TOKEN, ?token=TOKEN, or the subprotocol bearer.TOKEN",
            )),
        }
    }

    /// Whether the caller may publish to `topic`, which has no slash in front.
    ///
    /// # Errors
    ///
    /// 401 without credentials that hold, 403 with a token that does not grant it, or where nobody may.
    pub(crate) fn may_publish(
        &self,
        caller: &Caller,
        topic: &str,
        via: Via,
    ) -> Result<(), Refusal> {
        if self.holds_key(caller) {
            return Ok(());
        }
        let is_here = caller.place == Place::Here;
        match (via, self.messages) {
            (Via::ClientMessage, Messages::Anyone) => return Ok(()),
            (Via::ClientMessage, Messages::ThisMachine) if is_here => return Ok(()),
            (Via::ClientMessage, Messages::ThisMachine) => return Err(forbidden(NOT_HERE)),
            (Via::ClientMessage, Messages::Nobody) => {
                return Err(forbidden(
                    "Clients do not publish by message here. Publish with POST, or start the server with --client-publish on",
                ));
            }
            (Via::Http, _) if self.is_open && is_here => return Ok(()),
            (Via::Http, _) if self.is_open => return Err(forbidden(NOT_HERE)),
            (Via::ClientMessage, Messages::ByToken) | (Via::Http, _) => {}
        }
        match caller.claims() {
            Some(claims) if claims.grants_publishing(topic) => Ok(()),
            Some(_) => Err(forbidden(
                "The token does not grant publishing to this topic. Its publish claim lists those that it does",
            )),
            None => Err(self.needed_to_publish(caller)),
        }
    }

    /// Whom the topics count against that the caller makes: nobody with a key, since the operator vouches for it; else the user
    /// of its token, or what is known of its connection.
    pub(crate) fn owner<'a>(&self, caller: &'a Caller) -> Owner<'a> {
        if self.holds_key(caller) {
            return Owner::Nobody;
        }
        // One that is empty names nobody.
        caller.subject().filter(|user| !user.is_empty()).map_or(Owner::Peer, Owner::User)
    }

    /// Whether a request shows a publish key that holds.
    pub(crate) fn shows_key(&self, request: &Request<'_>) -> bool {
        matches!(self.look_at_key(request, bearer(request)), Key::ByHeader(_) | Key::ByBearer(_))
    }

    /// Whether the caller may use the server's HTTP API, which reaches all topics: with a key, or on this machine where
    /// everything is open.
    ///
    /// # Errors
    ///
    /// 401 without a key, 403 where there is none to have.
    pub(crate) fn may_call_api(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.holds_key(caller) {
            return Ok(());
        }
        if self.is_open {
            return if caller.place == Place::Here { Ok(()) } else { Err(forbidden(NOT_HERE)) };
        }
        if self.keys.is_empty() {
            return Err(forbidden(
                "The API needs a key, and this server has none. Start it with --publish-key",
            ));
        }
        Err(match self.key_of(caller) {
            Key::Wrong => unauthorized(WRONG_KEY),
            _ => unauthorized("The API needs a publish key: X-API-Key or Authorization: Bearer"),
        })
    }

    fn look_at_key(&self, request: &Request<'_>, bearer: Option<&[u8]>) -> Key {
        if self.keys.is_empty() {
            return Key::None;
        }
        let header = request.header("x-api-key");
        if let Some(digest) = header.and_then(|key| self.keys.find(key)) {
            Key::ByHeader(digest)
        } else if let Some(digest) = bearer.and_then(|key| self.keys.find(key)) {
            Key::ByBearer(digest)
        } else if header.is_some() || (bearer.is_some() && self.tokens.is_none()) {
            Key::Wrong
        } else {
            Key::None
        }
    }

    /// What the caller's key is worth: it may have been removed since it was shown.
    fn key_of(&self, caller: &Caller) -> Key {
        match caller.key() {
            Key::ByHeader(digest) | Key::ByBearer(digest) if !self.keys.contain(&digest) => {
                Key::Wrong
            }
            key => key,
        }
    }

    fn holds_key(&self, caller: &Caller) -> bool {
        match self.key_of(caller) {
            Key::ByHeader(_) | Key::ByBearer(_) => true,
            Key::None | Key::Wrong => false,
        }
    }

    /// What to tell who has no token and may publish nowhere without.
    fn needed_to_publish(&self, caller: &Caller) -> Refusal {
        if self.key_of(caller) == Key::Wrong {
            return unauthorized(WRONG_KEY);
        }
        match (self.keys.is_empty(), self.tokens.is_some()) {
            (true, false) => forbidden(
                "Nobody publishes over HTTP here, since others than this machine reach this server (--listen, --allow-origin). \
                 Start it with --publish-key or --jwt-secret",
            ),
            (false, false) => unauthorized(
                "Publishing needs a publish key: X-API-Key: KEY or Authorization: Bearer KEY",
            ),
            (true, true) => unauthorized(
                "Publishing needs a token: Authorization: Bearer TOKEN, ?token=TOKEN, or the subprotocol bearer.TOKEN",
            ),
            (false, true) => unauthorized(
                "Publishing needs a publish key (X-API-Key or Authorization: Bearer) or a token (Authorization: Bearer, \
                 ?token=, or the subprotocol bearer.TOKEN)",
            ),
        }
    }
}

/// Whether a request to a loopback address need not be this machine's: it shows a proxy, or asks for another name.
pub(crate) fn is_from_elsewhere(request: &Request<'_>) -> bool {
    Place::of(request) == Place::Elsewhere
}

/// For who is [`Place::Elsewhere`] where all is open to this machine.
const NOT_HERE: &str = "Without credentials only this machine publishes: the request came by a proxy, or under a name that is not \
     this machine's. Start the server with --publish-key or --jwt-secret";

const WRONG_KEY: &str =
    "The publish key is not one of this server's. They are what --publish-key says";

impl fmt::Display for Gate {
    /// Says what is open to whom and which flag changes it, for the start-up lines. The last line is that of [`Access`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_keys = !self.keys.is_empty();
        let has_tokens = self.tokens.is_some();
        let holder = |has_keys, has_tokens| match (has_keys, has_tokens) {
            (false, false) => "nobody",
            (true, false) => "who has a key",
            (false, true) => "who has a token for it",
            (true, true) => "who has a key or a token for it",
        };
        let subscribes = if has_tokens { holder(false, true) } else { "anyone" };
        let posts = if self.is_open { THIS_MACHINE } else { holder(has_keys, has_tokens) };
        let sends = match self.messages {
            Messages::Anyone => "anyone",
            Messages::ThisMachine => THIS_MACHINE,
            Messages::ByToken => holder(has_keys, true),
            Messages::Nobody => holder(has_keys, false),
        };
        writeln!(
            f,
            "to subscribe: {subscribes} (--jwt-secret); to publish over HTTP: {posts} (--publish-key, --jwt-secret); \
             by message: {sends} (--client-publish)",
        )?;
        if self.is_open {
            writeln!(f, "{WHAT_IS_HERE}")?;
        }
        self.access.fmt(f)
    }
}

const THIS_MACHINE: &str = "this machine";

/// What [`Place`] cannot tell.
const WHAT_IS_HERE: &str = "\"this machine\" is what comes without a sign of a proxy (X-Forwarded-For, Via, another Host): \
     behind one that shows none anyone publishes, so give --publish-key or --jwt-secret there";

/// Who was let in, from where, and by what. One who shows nothing costs no memory but this.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    shown: Option<Box<Shown>>,
    place: Place,
}

/// Credentials that were shown.
#[derive(Clone, Debug)]
struct Shown {
    key: Key,
    /// Of a token that was valid when it was shown.
    claims: Option<Claims>,
}

// Who was let in stays in, when the server is handed over.
saved!(struct Caller { shown, place });
saved!(struct Shown { key, claims });
saved!(enum Key { 0 => None, 1 => Wrong, 2 => ByHeader(digest), 3 => ByBearer(digest) });

/// What became of the publish key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// None was shown, or none is asked for.
    None,
    /// Not one of ours. No reason to refuse who may go without.
    Wrong,
    ByHeader(Digest),
    /// In Authorization, which then has no token.
    ByBearer(Digest),
}

impl Caller {
    /// Who it is, as the token says.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.claims()?.subject()
    }

    /// The first second, since 1970, at which the caller's token is no longer valid; `None`: never.
    pub(crate) fn ends_at_s(&self) -> Option<u64> {
        self.claims()?.ends_at_s()
    }

    fn claims(&self) -> Option<&Claims> {
        self.shown.as_ref()?.claims.as_ref()
    }

    fn key(&self) -> Key {
        self.shown.as_ref().map_or(Key::None, |shown| shown.key)
    }
}

const fn unauthorized(reason: &'static str) -> Refusal {
    Refusal { status: Status::Unauthorized, reason }
}

const fn forbidden(reason: &'static str) -> Refusal {
    Refusal { status: Status::Forbidden, reason }
}

/// What follows `Authorization: Bearer` (RFC 6750 §2.1), if anything does; the scheme in any case.
fn bearer<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let (scheme, rest) = request.header("authorization")?.split_at_checked(BEARER.len())?;
    let value = rest.trim_ascii_start();
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && value.len() < rest.len();
    (is_bearer && !value.is_empty()).then_some(value)
}

const BEARER: &[u8] = b"bearer";

/// The first `token` of the query, percent-decoded.
fn query_token<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    let token = request.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    (!token.is_empty()).then(|| percent_decoded(token))
}

/// The first subprotocol offered that is a token.
fn subprotocol_token<'a>(upgrade: &Upgrade<'a>) -> Option<&'a str> {
    upgrade.subprotocols().find_map(|name| name.strip_prefix("bearer."))
}

/// Decodes `%2E` and the like. What is no such triple stays as it is, and so does all if the result is not UTF-8.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let value = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests;
