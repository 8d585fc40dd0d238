//! What `--admin` shows to who watches over the server: whether it is ready, its topics, its connections, and how to end one.
//!
//! | request | answer |
//! |---|---|
//! | `GET /ready` | 200 while the server serves, 503 while it drains |
//! | `GET /topics` | `?prefix=`, `?limit=`, `?after=NAME`: topics by name |
//! | `GET /connections` | `?limit=`: WebSockets and streams, the longest first |
//! | `DELETE /connections/ID` | ends one: Close 1008, 3503 by the Centrifugo protocol, the end of a stream |
//! | `GET /metrics` | what the server counts, for Prometheus; `metrics` writes it |
//! | `GET /events` | listens to joins and leaves, on every transport; `presence` publishes them |
//!
//! No page is among those who may ask (`access`). At a loopback address or a Unix socket no credentials are asked for; elsewhere
//! all but `/ready` takes a publish key, without which the server does not start. A request to a loopback
//! address that shows a proxy (`gate`) needs that key, too. Publishes nothing, and serves no topic of clients.

#![deny(clippy::arithmetic_side_effects)]

#[expect(clippy::arithmetic_side_effects, reason = "counts of lines of our own")]
pub(crate) mod logs;
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
pub(crate) mod metrics;

use std::collections::HashMap;
use std::ops::Bound;
use std::rc::Rc;

use wsfast::proto::handshake::{Request, Status};
use wsfast::state::{Corrupt, Reader, Saved as _, Writer};
use wsfast::{Context, PeerAddr, PeerId, Refusal, Response, StatusCode, saved};

use crate::app::centrifugo::protocol::codes::Disconnect;
use crate::app::gate::access::{Access, Reach};
use crate::app::gate::fetch_site::Site;
use crate::app::gate::{self, Gate};
use crate::app::hub::presence::{self, Transport};
use crate::app::hub::route;
use crate::app::terms::json_text::push_string;
use crate::app::terms::wall_clock;

/// The admin side of a server that has one.
#[derive(Debug)]
pub(crate) struct Admin {
    access: Access,
    reach: Reach,
    connections: HashMap<PeerId, Connection>,
    /// The address of who was taken in and is not open yet. Its `on_open` is the next call (`Handler`).
    arriving: Option<PeerAddr>,
}

/// A WebSocket or a stream.
#[derive(Debug)]
struct Connection {
    addr: PeerAddr,
    user: Option<Rc<str>>,
    transport: Transport,
    /// When it opened, in milliseconds since 1970.
    since_ms: u64,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Ready,
    Topics,
    Connections,
    Connection(&'a str),
    Metrics,
    Events,
}

impl Route<'_> {
    /// Whether an answer costs the more the more there is.
    const fn costs(self) -> bool {
        match self {
            Self::Topics | Self::Connections | Self::Metrics => true,
            Self::Ready | Self::Connection(_) | Self::Events => false,
        }
    }
}

/// What becomes of a request.
pub(crate) enum Asked {
    /// It is to listen to the events.
    Events,
    /// It is to come again once there is work left.
    Later,
    Response(Response),
}

saved!(struct Connection { addr, user, transport, since_ms });

impl Admin {
    /// Writes who is connected, of a server with an admin side or without.
    pub(crate) fn save(admin: Option<&Self>, out: &mut Writer) {
        let connections = admin.map(|admin| &admin.connections);
        connections.map_or(0, HashMap::len).save(out);
        for (peer, connection) in connections.into_iter().flatten() {
            peer.save(out);
            connection.save(out);
        }
    }

    /// Reads what `save` wrote.
    pub(crate) fn restore(admin: Option<&mut Self>, from: &mut Reader<'_>) -> Result<(), Corrupt> {
        let connections: Vec<(PeerId, Connection)> = Vec::restore(from)?;
        if let Some(admin) = admin {
            admin.connections = connections.into_iter().collect();
        }
        Ok(())
    }

    /// The admin side of a server where it can be reached from there.
    pub(crate) fn new(reach: Reach) -> Self {
        // What --allow-origin lists is for topics.
        let access = Access::new(reach, Vec::new());
        Self { access, reach, connections: HashMap::new(), arriving: None }
    }

    /// A client is taken in; its connection opens next.
    pub(crate) const fn arrives(&mut self, addr: PeerAddr) {
        self.arriving = Some(addr);
    }

    /// Its connection is open.
    pub(crate) fn opened(&mut self, peer: PeerId, user: Option<Rc<str>>, transport: Transport) {
        if let Some(addr) = self.arriving.take() {
            let since_ms = wall_clock::now_ms();
            self.connections.insert(peer, Connection { addr, user, transport, since_ms });
        }
    }

    /// It is over.
    pub(crate) fn closed(&mut self, peer: PeerId) {
        self.connections.remove(&peer);
    }

    /// Whether who opens a WebSocket may listen to the events.
    ///
    /// # Errors
    ///
    /// The refusal that it gets.
    pub(crate) fn admit_listener(&self, request: &Request<'_>, gate: &Gate) -> Result<(), Refusal> {
        self.admit(request, gate)?;
        match route(request) {
            Some(Route::Events) => Ok(()),
            Some(_) => Err(refusal(Status::BadRequest, "Only /events speaks WebSocket here")),
            None => Err(NOTHING_THERE),
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// The refusal that it gets.
    pub(crate) fn on_request(
        &self,
        request: &Request<'_>,
        gate: &Gate,
        cx: &mut Context<'_>,
    ) -> Result<Asked, Refusal> {
        self.admit(request, gate)?;
        let route = route(request).ok_or(NOTHING_THERE)?;
        if route.costs() && !cx.has_work_left() {
            return Ok(Asked::Later);
        }
        let response = match (request.method(), route) {
            ("GET" | "HEAD", Route::Ready) => ready(cx),
            ("GET" | "HEAD", Route::Topics) => json(topics(request, cx)?),
            ("GET" | "HEAD", Route::Connections) => json(self.list(request, cx)?),
            ("GET" | "HEAD", Route::Metrics) => {
                let looked_at = self.connections.len().saturating_add(cx.topic_count());
                cx.spend_work(looked_at.saturating_mul(ENTRY_UNITS));
                let open = self.connections.values().map(|it| it.transport);
                metrics::metrics(request, open, cx)
            }
            ("GET" | "HEAD", Route::Events) => return Ok(Asked::Events),
            ("DELETE", Route::Connection(id)) => self.end(id, cx)?,
            (_, Route::Connection(_)) => not_allowed("DELETE"),
            _ => not_allowed("GET, HEAD"),
        };
        Ok(Asked::Response(response))
    }

    fn admit(&self, request: &Request<'_>, gate: &Gate) -> Result<(), Refusal> {
        self.access
            .check_admin(request.origin(), request.host(), Site::of(request))
            .map_err(|denied| refusal(Status::Forbidden, denied.reason()))?;
        let asks_for_key = match self.reach {
            Reach::Loopback => gate::is_from_elsewhere(request),
            Reach::Local => false,
            Reach::Network => true,
        };
        let is_free = !asks_for_key || route(request) == Some(Route::Ready);
        if is_free || gate.shows_key(request) {
            return Ok(());
        }
        let reason = match self.reach {
            Reach::Loopback => {
                "A request that came by a proxy needs a publish key: X-API-Key or Authorization: Bearer, and a server with --publish-key"
            }
            _ => "The admin side needs a publish key: X-API-Key or Authorization: Bearer",
        };
        Err(refusal(Status::Unauthorized, reason))
    }

    /// The connections that have been open for the longest.
    fn list(&self, request: &Request<'_>, cx: &mut Context<'_>) -> Result<Vec<u8>, Refusal> {
        let limit = limit(request)?;
        cx.spend_work(self.connections.len().saturating_mul(ENTRY_UNITS));
        let mut oldest: Vec<_> = self.connections.iter().collect();
        first_by(&mut oldest, limit, |(id, it)| (it.since_ms, **id));
        let mut out = format!(r#"{{"total":{},"connections":["#, self.connections.len());
        for (at, (id, connection)) in oldest.into_iter().enumerate() {
            let Connection { addr, user, transport, since_ms } = connection;
            let comma = if at == 0 { "" } else { "," };
            out += &format!(r#"{comma}{{"id":"{id}","address":"{addr}","topics":["#);
            let mut count = 0_usize;
            for topic in cx.topics_of(*id).filter(|topic| !presence::is_internal(topic)) {
                if count < TOPICS_LISTED_MAX {
                    out += if count == 0 { "" } else { "," };
                    out += &quoted(topic);
                }
                count = count.saturating_add(1);
            }
            out += &format!(r#"],"topic_count":{count},"transport":"{}""#, transport.name());
            if let Some(user) = user {
                out += &format!(r#","user":{}"#, quoted(user));
            }
            out += &format!(r#","since":{since_ms}}}"#);
        }
        out += "]}\n";
        cx.spend_work(out.len());
        Ok(out.into_bytes())
    }

    /// Ends a connection, in the words of its protocol.
    fn end(&self, id: &str, cx: &mut Context<'_>) -> Result<Response, Refusal> {
        let open = id.parse().ok().and_then(|id| Some((id, self.connections.get(&id)?)));
        let Some((id, connection)) = open else {
            return Err(refusal(Status::NotFound, "There is no such connection, or no longer"));
        };
        let (code, reason) = match connection.transport {
            Transport::Centrifugo => {
                let why = Disconnect::ForceNoReconnect;
                (StatusCode::from_wire(why.code()), why.reason())
            }
            _ => (None, "ended by an operator"),
        };
        cx.close_peer(id, code.unwrap_or(StatusCode::POLICY_VIOLATION), reason);
        Ok(Response::empty(Status::NoContent))
    }
}

fn route<'a>(request: &Request<'a>) -> Option<Route<'a>> {
    Some(match request.path() {
        "/ready" => Route::Ready,
        "/topics" => Route::Topics,
        "/connections" => Route::Connections,
        "/metrics" => Route::Metrics,
        "/events" => Route::Events,
        path => Route::Connection(path.strip_prefix("/connections/")?),
    })
}

fn ready(cx: &Context<'_>) -> Response {
    let (status, text) = match cx.is_draining() {
        false => (Status::Ok, "ready\n"),
        true => (Status::ServiceUnavailable, "draining\n"),
    };
    Response::new(status, "text/plain; charset=utf-8", text).with("Cache-Control", "no-store")
}

/// The clients' topics, by name.
fn topics(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Vec<u8>, Refusal> {
    let limit = limit(request)?;
    let prefix = route::query(request, "prefix").unwrap_or_default();
    let after = route::query(request, "after").unwrap_or_default();
    let (total, walked) = count_topics(&prefix, cx);
    let from = match *after < *prefix {
        true => Bound::Included(&*prefix),
        false => Bound::Excluded(&*after),
    };
    let listed = cx
        .topics_from(from)
        .filter(|topic| !presence::is_internal(topic.name))
        .take_while(|topic| topic.name.starts_with(&prefix))
        .take(limit);
    let mut out = format!(r#"{{"total":{total},"topics":["#);
    for (at, topic) in listed.enumerate() {
        out += &format!(
            r#"{}{{"name":{},"subscribers":{},"messages":{},"bytes":{},"epoch":"{:x}","offset":{}}}"#,
            if at == 0 { "" } else { "," },
            quoted(topic.name),
            topic.subscribers,
            topic.messages,
            topic.bytes,
            topic.last.epoch,
            topic.last.offset
        );
    }
    out += "]}\n";
    cx.spend_work(walked.saturating_mul(ENTRY_UNITS).saturating_add(out.len()));
    Ok(out.into_bytes())
}

/// How many of the clients' topics have names that begin so, and how many names were looked at for that.
fn count_topics(prefix: &str, cx: &Context<'_>) -> (usize, usize) {
    if prefix.is_empty() {
        // Names of the server's own come first.
        let all = cx.topics_from(Bound::Unbounded);
        let internal = all.take_while(|topic| presence::is_internal(topic.name)).count();
        return (cx.topic_count().saturating_sub(internal), internal);
    }
    let from = cx.topics_from(Bound::Included(prefix));
    let total = from
        .take_while(|topic| topic.name.starts_with(prefix))
        .filter(|topic| !presence::is_internal(topic.name))
        .count();
    (total, total)
}

/// Leaves the first `limit` of `items`, in order, without sorting the others.
fn first_by<T, K: Ord>(items: &mut Vec<T>, limit: usize, key: impl Fn(&T) -> K) {
    if items.len() > limit {
        items.select_nth_unstable_by_key(limit, &key);
        items.truncate(limit);
    }
    items.sort_unstable_by_key(key);
}

fn limit(request: &Request<'_>) -> Result<usize, Refusal> {
    let Some(text) = route::query(request, "limit") else { return Ok(LISTED) };
    let limit = text.parse().ok().filter(|limit| (1..=LISTED_MAX).contains(limit));
    limit.ok_or(refusal(Status::BadRequest, "limit is a number from 1 to 1000"))
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len().saturating_add(2));
    push_string(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

fn json(body: Vec<u8>) -> Response {
    Response::new(Status::Ok, "application/json", body)
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff")
}

fn not_allowed(methods: &str) -> Response {
    Response::empty(Status::MethodNotAllowed).with("Allow", methods.to_owned())
}

const fn refusal(status: Status, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

const NOTHING_THERE: Refusal = refusal(
    Status::NotFound,
    "Here are /ready, /topics, /connections, /metrics and /events; topics are on the other addresses",
);

/// What a list has without `?limit=`.
const LISTED: usize = 100;

/// What it can have, so that its making does not hold the others up.
const LISTED_MAX: usize = 1000;

/// What a look at an entry costs (`Context::spend_work`).
const ENTRY_UNITS: usize = 64;

/// Topics of one connection that are listed.
const TOPICS_LISTED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_those_that_sorting_would_bring_first() {
        for limit in [1, 3, 5, 6] {
            let mut items = vec![4, 1, 5, 2, 3];
            first_by(&mut items, limit, |&item| item);
            assert_eq!(items, (1..=limit.min(5)).collect::<Vec<_>>());
        }
    }
}
