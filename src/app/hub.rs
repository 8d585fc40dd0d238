//! The hub: every path is a topic. What is published there reaches whoever listens, over WebSocket, server-sent events,
//! JSON lines or long-poll; what a WebSocket client says is published to its topic.
//!
//! `/echo`, and the root, which is no topic, send every message back to its sender. Delivery, history and slow clients are
//! `wsfast`'s topics; what a message looks like is `plain`'s and `centrifugo`'s; who may is `gate`'s.

pub(crate) mod deadlines;
pub(crate) mod listening;
pub(crate) mod pages;
pub(crate) mod peer;
pub(crate) mod plain;
pub(crate) mod presence;
pub(crate) mod route;

use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender};

use wsfast::proto::handshake::{Request, Status, Upgrade};
use wsfast::state::{Corrupt, Reader, Saved as _, Writer};
use wsfast::{
    Accept, Answer, Arrival, Closed, Context, Form, Found, Gap, Handler, Kind, Lag, LagPolicy,
    Limits, Message, MessageId, Owner, PeerId, Refusal, Response, Side, StatusCode, TopicMessage,
};

use crate::app::admin::{Admin, Asked};
use crate::app::centrifugo::protocol::json::JsonLimits;
use crate::app::centrifugo::protocol::reply::PING;
use crate::app::centrifugo::replay;
use crate::app::centrifugo::sessions::{self, Answered, Centrifugo, Session};
use crate::app::gate::{Caller, Cors, Gate, Via};
use crate::app::hub::deadlines::{Expiry, Now, Until};
use crate::app::hub::listening::{
    NAME_TOO_LONG, close_code_of, form_of, reason_of, stream, subscribe, transport_of,
};
use crate::app::hub::pages::{INDEX, PAGE, page};
use crate::app::hub::peer::{Guest, Listener, Peer, Watcher};
use crate::app::hub::presence::{Presence, Transport, Watch};
use crate::app::hub::route::{Route, Target};
use crate::app::process::residue;
use crate::app::terms::wall_clock;

/// The standalone server's application.
#[derive(Debug)]
pub(crate) struct Hub {
    gate: Gate,
    centrifugo: Centrifugo,
    expiry: Expiry<Guest>,
    /// How long a session may take to say connect.
    connect_timeout_ms: u64,
    lag: LagPolicy,
    /// Of a topic.
    name_bytes_max: usize,
    presence: Presence,
    /// What `--admin` shows, if it is given.
    admin: Option<Admin>,
    /// What is reloaded, to be looked at when the limits change.
    renewals: Receiver<Renewal>,
}

/// A gate in the place of another.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) gate: Gate,
    /// Is told once it is in use.
    pub(crate) done: Sender<()>,
}

impl Hub {
    /// The hub of a server with these limits.
    pub(crate) fn new(
        gate: Gate,
        limits: &Limits,
        json: JsonLimits,
        admin: Option<Admin>,
        renewals: Receiver<Renewal>,
    ) -> Self {
        // A client that is promised no ping waits for none.
        let ping_s = u32::try_from(limits.ping_interval_ms.div_ceil(1000)).unwrap_or(u32::MAX);
        let watch = if admin.is_some() { Watch::On } else { Watch::Off };
        Self {
            gate,
            centrifugo: Centrifugo::new(ping_s, json),
            expiry: Expiry::new(),
            connect_timeout_ms: limits.handshake_timeout_ms,
            lag: limits.topics.lag,
            name_bytes_max: limits.topics.name_bytes_max,
            presence: Presence::new(watch),
            admin,
            renewals,
        }
    }

    /// Who asks; refused if its page may not, or its credentials do not hold.
    fn admit(
        &self,
        request: &Request<'_>,
        upgrade: Option<&Upgrade<'_>>,
    ) -> Result<Caller, Refusal> {
        self.gate.admit(request, upgrade, wall_clock::now_s())
    }

    fn publish(
        &self,
        request: &Request<'_>,
        caller: &Caller,
        topic: &str,
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> Answer<Peer> {
        if let Err(refusal) = self.gate.may_publish(caller, topic, Via::Http) {
            return Answer::Refuse(refusal);
        }
        let Some(kind) = route::kind_of(request, body) else {
            return refuse(Status::BadRequest, "a text message must be UTF-8");
        };
        match cx.publish(topic, kind, body) {
            Ok(published) => {
                let json = format!(
                    "{{\"id\":\"{}\",\"subscribers\":{}}}\n",
                    published.id, published.subscribers
                );
                self.respond_to(request, json_response(json))
            }
            Err(error) => {
                let (status, reason) = reason_of(error);
                refuse(status, reason)
            }
        }
    }

    /// Listening without WebSocket.
    fn listen(&self, request: &Request<'_>, caller: Caller, target: Target) -> Answer<Peer> {
        if let Err(refusal) = self.gate.may_subscribe(&caller, &target.topic) {
            return Answer::Refuse(refusal);
        }
        let mut headers = vec![self.caching()];
        headers.extend(self.cors(request));
        // Nobody waits for longer than the token holds.
        let now = Now { wall_ms: wall_clock::now_ms(), loop_ms: 0 };
        let left_ms = caller.ends_at_s().map(|end_s| Until::TokenEnds(end_s).left_ms(now));
        let state = |target, form| Peer::Listener(Box::new(Listener { target, form, caller }));
        stream(request, target, headers, left_ms.unwrap_or(u64::MAX), state)
    }

    /// Answers a request of `--admin`.
    fn on_admin(
        &self,
        request: &Request<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Answer<Peer>, Refusal> {
        let Some(admin) = &self.admin else { return Err(NO_ADMIN) };
        Ok(match admin.on_request(request, &self.gate, cx)? {
            Asked::Response(response) => Answer::Respond(response),
            Asked::Later => Answer::Later,
            Asked::Events => {
                let target = route::listen_to(presence::EVENTS.to_owned(), request)?;
                let state = |target, form| Peer::Watcher(Box::new(Watcher { target, form }));
                stream(request, target, vec![no_store()], u64::MAX, state)
            }
        })
    }

    /// Decides on who wants to listen to the events by WebSocket.
    fn watch(&self, request: &Request<'_>, upgrade: &Upgrade<'_>) -> Result<Accept<Peer>, Refusal> {
        let Some(admin) = &self.admin else { return Err(NO_ADMIN) };
        admin.admit_listener(request, &self.gate)?;
        let target = route::listen_to(presence::EVENTS.to_owned(), request)?;
        let (form, subprotocol) = form_of(upgrade);
        let state = Peer::Watcher(Box::new(Watcher { target, form }));
        Ok(Accept { state, subprotocol })
    }

    fn respond_to(&self, request: &Request<'_>, mut response: Response) -> Answer<Peer> {
        response.headers.extend(self.cors(request));
        Answer::Respond(response)
    }

    fn respond_to_api(&self, request: &Request<'_>, answered: Option<Answered>) -> Answer<Peer> {
        match answered {
            Some(Answered::Whole(json)) => self.respond_to(request, json_response(json)),
            Some(Answered::Excerpt(excerpt)) => {
                let mut response = json_response(Vec::new());
                response.headers.extend(self.cors(request));
                Answer::Excerpt { response, excerpt }
            }
            Some(Answered::Later) => Answer::Later,
            None => refuse(Status::NotFound, "the API has no such method"),
        }
    }

    /// Whether what one gets of a topic may be stored: not where it is for who has a token.
    fn caching(&self) -> (&'static str, String) {
        if self.gate.asks_for_tokens() {
            no_store()
        } else {
            ("Cache-Control", "no-cache".to_owned())
        }
    }

    /// What lets a page from elsewhere, which `admit` let in, read the answer (Fetch §3.2).
    fn cors(&self, request: &Request<'_>) -> Vec<(&'static str, String)> {
        self.gate.cors(request).map(Cors::lines).unwrap_or_default()
    }

    /// What a request asks for.
    fn route(&self, request: &Request<'_>) -> Result<Route, Refusal> {
        match route::route(request)? {
            Route::Topic(target) if target.topic.len() > self.name_bytes_max => {
                Err(Refusal { status: Status::BadRequest, reason: NAME_TOO_LONG })
            }
            route => Ok(route),
        }
    }

    /// Decides on an opening handshake.
    fn decide(
        &mut self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        from: Arrival,
    ) -> Result<Accept<Peer>, Refusal> {
        if from.side == Side::Admin {
            return self.watch(request, upgrade);
        }
        let caller = self.admit(request, Some(upgrade))?;
        if let Some(admin) = &mut self.admin {
            admin.arrives(from.peer);
        }
        let target = match self.route(request)? {
            Route::Topic(target) => target,
            Route::Root | Route::Echo | Route::Health | Route::Api(_) => {
                self.gate.may_stay(&caller)?;
                return Ok(Accept::new(Peer::echo(&caller)));
            }
            Route::Centrifugo => {
                return Ok(Accept::new(Peer::Session(Box::new(Session::new(caller)))));
            }
        };
        self.gate.may_subscribe(&caller, &target.topic)?;
        let (form, subprotocol) = form_of(upgrade);
        let state = Peer::Listener(Box::new(Listener { target, form, caller }));
        Ok(Accept { state, subprotocol })
    }

    /// Answers a request that is none.
    fn answer(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        from: Arrival,
        cx: &mut Context<'_>,
    ) -> Answer<Peer> {
        if from.side == Side::Admin {
            return self.on_admin(request, cx).unwrap_or_else(Answer::Refuse);
        }
        if let Some(admin) = &mut self.admin {
            admin.arrives(from.peer);
        }
        let caller = match self.admit(request, None) {
            Ok(caller) => caller,
            Err(refusal) => return Answer::Refuse(refusal),
        };
        cx.set_owner(self.gate.owner(&caller));
        let route = match self.route(request) {
            Ok(route) => route,
            Err(refusal) => return Answer::Refuse(refusal),
        };
        let comes_later = match (request.method(), &route) {
            ("POST", Route::Api(_)) => !cx.has_work_left(),
            ("POST" | "PUT", Route::Topic(target)) => cx.is_fanning_out(&target.topic),
            _ => false,
        };
        if comes_later {
            return Answer::Later;
        }
        let is_free = matches!(route, Route::Health) || request.method() == "OPTIONS";
        if !is_free && !cx.take_message() {
            return refuse(Status::TooManyRequests, TOO_MUCH);
        }
        match (request.method(), route) {
            ("OPTIONS", route) => {
                let mut response =
                    Response::empty(Status::NoContent).with("Allow", route.methods());
                let lines = self.gate.cors(request).map(Cors::preflight_lines);
                response.headers.extend(lines.unwrap_or_default());
                Answer::Respond(response)
            }
            ("GET" | "HEAD", Route::Health) if cx.is_draining() => {
                refuse(Status::ServiceUnavailable, "the server is going down")
            }
            ("GET" | "HEAD", Route::Health) => {
                self.respond_to(request, Response::new(Status::Ok, TEXT, "ok\n"))
            }
            ("GET" | "HEAD", Route::Root) => self.respond_to(request, page(INDEX)),
            ("POST", Route::Api(method)) => match self.gate.may_call_api(&caller) {
                Ok(()) => {
                    let answered = self.centrifugo.on_api(&method, body, &self.presence, cx);
                    self.respond_to_api(request, answered)
                }
                Err(refusal) => Answer::Refuse(refusal),
            },
            ("GET" | "HEAD", Route::Echo | Route::Centrifugo) => {
                refuse(Status::UpgradeRequired, "no Upgrade: websocket")
            }
            ("GET" | "HEAD", Route::Topic(_)) if route::wants_page(request) => {
                self.respond_to(request, page(PAGE))
            }
            ("GET" | "HEAD", Route::Topic(target)) => self.listen(request, caller, target),
            ("POST" | "PUT", Route::Topic(target)) => {
                self.publish(request, &caller, &target.topic, body, cx)
            }
            _ => refuse(Status::MethodNotAllowed, "publish with POST, listen with GET"),
        }
    }
}

impl Handler for Hub {
    type State = Peer;

    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        from: Arrival,
    ) -> Result<Accept<Peer>, Refusal> {
        self.decide(request, upgrade, from)
            .inspect_err(|&refusal| log_refusal(request, refusal, from))
    }

    fn on_request(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        from: Arrival,
        cx: &mut Context<'_>,
    ) -> Answer<Peer> {
        let answer = self.answer(request, body, from, cx);
        if let Answer::Refuse(refusal) = answer {
            log_refusal(request, refusal, from);
        }
        answer
    }

    fn refusal_headers(
        &self,
        request: &Request<'_>,
        status: Status,
    ) -> Vec<(&'static str, String)> {
        let mut lines = self.cors(request);
        if self.gate.asks_for_tokens() {
            lines.push(no_store());
        }
        if status == Status::MethodNotAllowed
            && let Ok(route) = route::route(request)
        {
            lines.push(("Allow", route.methods().to_owned()));
        }
        lines
    }

    fn on_open(&mut self, state: &mut Peer, cx: &mut Context<'_>) {
        if let Peer::Session(session) = state {
            session.await_connect(cx.now_ms() + self.connect_timeout_ms);
        }
        for until in state.untils().into_iter().flatten() {
            self.expiry.insert(until, state.guest(cx.id()), Now::of(cx));
        }
        let (caller, transport) = match state {
            Peer::Watcher(watcher) => {
                cx.set_owner(Owner::Nobody);
                let _told = subscribe(&watcher.target, watcher.form, cx);
                return;
            }
            Peer::Echo { .. } => (None, Transport::WebSocket),
            Peer::Session(session) => (Some(session.caller()), Transport::Centrifugo),
            Peer::Listener(listener) => (Some(&listener.caller), transport_of(listener.form)),
        };
        if let Some(caller) = caller {
            cx.set_owner(self.gate.owner(caller));
        }
        let user: Option<Rc<str>> = caller.and_then(Caller::subject).map(Rc::from);
        if let Some(admin) = &mut self.admin {
            admin.opened(cx.id(), user.clone(), transport);
        }
        if let Peer::Listener(listener) = state
            && subscribe(&listener.target, listener.form, cx)
        {
            self.presence.join(&listener.target.topic, user.as_ref(), transport, cx);
        }
    }

    fn on_message(&mut self, state: &mut Peer, message: Message<'_>, cx: &mut Context<'_>) {
        // The timer comes at the end of a turn; until then nothing is done for a token that ended.
        let before = state.untils();
        let has_ended =
            |it: &Until| matches!(it, Until::TokenEnds(end_s) if wall_clock::now_s() >= *end_s);
        let ended = before.into_iter().flatten().find(has_ended);
        if let Some(until) = ended {
            return state.guest(cx.id()).end(until, cx);
        }
        if let Peer::Listener(listener) = state
            && cx.is_fanning_out(&listener.target.topic)
        {
            return cx.put_back(message.kind(), message.payload());
        }
        // Of a session each command counts.
        if !matches!(state, Peer::Session(_)) && !cx.take_message() {
            return cx.close(StatusCode::POLICY_VIOLATION, TOO_MUCH);
        }
        let listener = match state {
            Peer::Echo { .. } => {
                // A peer that does not take its replies is paused and in the end closed by the server.
                let _sent = cx.send(message.kind(), message.payload());
                return;
            }
            Peer::Session(session) => {
                let Self { gate, centrifugo, expiry, presence, .. } = self;
                centrifugo.on_message(session, gate, presence, message, cx);
                // It may have said what was awaited, and with it shown a token.
                let after = state.untils();
                if after != before {
                    let guest = state.guest(cx.id());
                    before.into_iter().flatten().for_each(|until| expiry.remove(until, guest));
                    let now = Now::of(cx);
                    after.into_iter().flatten().for_each(|it| expiry.insert(it, guest, now));
                }
                return;
            }
            Peer::Watcher(_) => {
                let reason = "nothing is published to the server's events";
                return cx.close(StatusCode::POLICY_VIOLATION, reason);
            }
            Peer::Listener(listener) => listener,
        };
        let topic = &listener.target.topic;
        if let Err(refusal) = self.gate.may_publish(&listener.caller, topic, Via::ClientMessage) {
            return cx.close(StatusCode::POLICY_VIOLATION, refusal.reason);
        }
        if let Err(error) = cx.publish(topic, message.kind(), message.payload()) {
            cx.close(close_code_of(error), reason_of(error).1);
        }
    }

    fn encode(&self, form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
        if form == sessions::PUSHES {
            self.centrifugo.encode(message, out);
            return Kind::Text;
        }
        plain::encode(form, message, out)
    }

    fn encode_part(
        &self,
        form: Form,
        message: TopicMessage<'_>,
        at: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        match replay::is_of_history(form) {
            true => replay::encode_part(form, message, at, out),
            false => plain::encode_part(form, message, at, out),
        }
    }

    fn excerpt_form(&self, _form: Form, message: TopicMessage<'_>) -> Form {
        self.centrifugo.form_in_history(message)
    }

    fn encoded_len(&self, form: Form, message: TopicMessage<'_>) -> usize {
        match form {
            sessions::PUSHES => sessions::encoded_len(message),
            _ if replay::is_of_history(form) => replay::encoded_len(form, message),
            _ => plain::encoded_len(form, message),
        }
    }

    fn on_gap(&self, form: Form, topic: &str, gap: Gap, out: &mut Vec<u8>) -> Lag {
        if form == sessions::PUSHES {
            Centrifugo::encode_gap(topic, out);
            return Lag::Ended(Kind::Text);
        }
        if form == plain::BARE && self.lag == LagPolicy::Latest {
            // It has no way to be told, and wants the newest rather than its end.
            return Lag::Untold;
        }
        plain::encode_gap(form, gap, out)
    }

    /// Clients of the Centrifugo protocol count on getting every message, or on being told to recover.
    fn conflates(&self, form: Form) -> bool {
        form != sessions::PUSHES
    }

    fn ping(&self, state: &Peer) -> Option<&'static [u8]> {
        matches!(state, Peer::Session(_)).then_some(PING)
    }

    fn wake_at_ms(&self) -> Option<u64> {
        self.expiry.look_at_ms()
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) {
        for (until, guest) in self.expiry.due(Now::of(cx)) {
            guest.end(until, cx);
        }
    }

    fn on_trim(&mut self) {
        residue::give_back();
    }

    /// Settings were reloaded: all of them in this one call.
    fn on_limits(&mut self, cx: &mut Context<'_>) {
        self.connect_timeout_ms = cx.limits().handshake_timeout_ms;
        while let Ok(Renewal { gate, done }) = self.renewals.try_recv() {
            self.gate = gate;
            let _nobody_waits = done.send(());
        }
    }

    fn moves(&self, _state: &Peer) -> bool {
        true
    }

    fn save(&self, out: &mut Writer) {
        self.presence.save(out);
        Admin::save(self.admin.as_ref(), out);
    }

    fn save_peer(&self, state: &Peer, out: &mut Writer) {
        state.save(out);
    }

    fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), Corrupt> {
        self.presence.restore(from)?;
        Admin::restore(self.admin.as_mut(), from)
    }

    fn restore_peer(
        &mut self,
        peer: PeerId,
        now_ms: u64,
        from: &mut Reader<'_>,
    ) -> Result<Peer, Corrupt> {
        let state = Peer::restore(from)?;
        let now = Now { wall_ms: wall_clock::now_ms(), loop_ms: now_ms };
        for until in state.untils().into_iter().flatten() {
            self.expiry.insert(until, state.guest(peer), now);
        }
        if let Peer::Session(session) = &state {
            self.centrifugo.restore(peer, session);
        }
        Ok(state)
    }

    fn keep_alive(&self, state: &Peer) -> &'static [u8] {
        match state {
            Peer::Listener(listener) => plain::keep_alive(listener.form),
            Peer::Watcher(watcher) => plain::keep_alive(watcher.form),
            Peer::Echo { .. } | Peer::Session(_) => b"",
        }
    }

    fn on_close(&mut self, state: Peer, _closed: Closed, cx: &mut Context<'_>) {
        for until in state.untils().into_iter().flatten() {
            self.expiry.remove(until, state.guest(cx.id()));
        }
        if let Some(admin) = &mut self.admin {
            admin.closed(cx.id());
        }
        match state {
            Peer::Listener(listener) => {
                let transport = transport_of(listener.form);
                self.presence.leave(&listener.target.topic, transport, cx);
            }
            Peer::Session(session) => self.centrifugo.on_close(&session, &mut self.presence, cx),
            Peer::Echo { .. } | Peer::Watcher(_) => {}
        }
    }

    fn respond(&self, _form: Form, last: Option<MessageId>, found: Found) -> Response {
        let response = match found {
            Found::Nothing => Response::empty(Status::NoContent),
            Found::Messages => Response::new(Status::Ok, "application/x-ndjson", ""),
        };
        match last {
            Some(last) => response.with("ETag", format!("\"{last}\"")),
            None => response,
        }
    }
}

/// The one line of a refusal. The path without its query, where tokens may be.
fn log_refusal(request: &Request<'_>, refusal: Refusal, from: Arrival) {
    tracing::debug!(
        target: wsfast::FAULT,
        id = %from.id,
        address = %from.peer,
        method = request.method(),
        path = brief(request.path()),
        origin = request.origin().map(brief),
        status = refusal.status.code(),
        why = refusal.reason,
        "refused"
    );
}

/// As much of what a client sent as a line of the log has room for.
fn brief(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOGGED_BYTES_MAX)]
}

const LOGGED_BYTES_MAX: usize = 200;

/// What came of publishing, or of a call to the API.
fn json_response(json: impl Into<Vec<u8>>) -> Response {
    let mut response = Response::new(Status::Ok, "application/json", json);
    response.headers.push(no_store());
    response
}

/// What no cache keeps, not even to ask whether it has changed (RFC 9111 §5.2.2.5).
fn no_store() -> (&'static str, String) {
    ("Cache-Control", "no-store".to_owned())
}

fn refuse(status: Status, reason: &'static str) -> Answer<Peer> {
    Answer::Refuse(Refusal { status, reason })
}

/// There is a listener for it only with `--admin`.
const NO_ADMIN: Refusal =
    Refusal { status: Status::NotFound, reason: "start the server with --admin" };

/// What who is past `--message-rate` is told.
const TOO_MUCH: &str = "too many messages (message-rate)";

const TEXT: &str = "text/plain; charset=utf-8";
