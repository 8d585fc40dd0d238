//! The application of the simulation: what the paths mean, and what it makes of messages.
//!
//! ```text
//! /echo/ID            each message comes back
//! /hub/ID/TOPIC       messages are commands, see `command`; listens to the topic
//! /http/ID/LEN        a response of that length; a body comes back
//! /stream/ID/TOPIC    a response that is the topic's messages
//! /wait/ID/TOPIC/LIFE/OFFSET/MS   a response with what follows, once there is something
//! /excerpt/ID/TOPIC/BACK/COUNT    a response with what is there, from so many messages before the last one on
//!
//! LIFE is a number of `truth`'s, `-` for a client that knows of none, and `x` for one that the topic never had.
//! ```

use crate::net::api::context::Context;
use crate::net::api::handler::{Accept, Found, Handler, Lag};
use crate::net::phase::http::Answer;
use crate::net::simulation::trace;
use crate::net::simulation::truth::{Cursor, SharedTruth, Truth};
use crate::net::terms::arrival::Arrival;
use crate::net::terms::closed::Closed;
use crate::net::terms::cursor::{Gap, MessageId, Position, Since};
use crate::net::terms::refusal::Refusal;
use crate::net::terms::sent::Sent;
use crate::net::terms::topic::{Form, Framing, TopicMessage};
use crate::net::topics::excerpt::{Excerpt, Order};
use crate::proto::close::StatusCode;
use crate::proto::handshake::{Request, Status, Upgrade};
use crate::proto::http::Response;
use crate::proto::message::{Kind, Message};

/// See the module.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) truth: SharedTruth,
}

/// What is kept for a peer.
#[derive(Debug)]
pub(crate) struct Peer {
    client: usize,
    does: Does,
}

#[derive(Debug, PartialEq)]
enum Does {
    Echo,
    Listen { topic: String, form: Form, mutes_own: bool },
}

/// The number behind the path's first word, and what follows.
fn client_of(path: &str) -> Option<(&str, usize, &str)> {
    let mut parts = path.splitn(4, '/').skip(1);
    let (what, id) = (parts.next()?, parts.next()?);
    Some((what, id.parse().ok()?, parts.next().unwrap_or_default()))
}

/// What each response of `/http` has in it.
pub(crate) fn page(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}

const MESSAGES: Framing = Framing::Message;

/// Epochs have fewer bits.
const NO_EPOCH: u64 = u64::MAX;

/// Offsets that no topic of a simulation reaches.
pub(crate) const FAR: [u64; 5] = [1 << 32, 1 << 60, i64::MAX as u64, u64::MAX - 1, u64::MAX];

impl Handler for App {
    type State = Peer;

    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<Peer>, Refusal> {
        self.truth.borrow_mut().calls += 1;
        let refusal = Refusal { status: Status::NotFound, reason: "no such path" };
        let (what, client, topic) = client_of(request.path()).ok_or(refusal)?;
        let does = match what {
            "echo" => Does::Echo,
            "hub" => Does::Listen {
                topic: topic.to_owned(),
                form: Form { id: u8::from(client.is_multiple_of(8)), framing: MESSAGES },
                mutes_own: client.is_multiple_of(3),
            },
            _ => return Err(refusal),
        };
        self.truth.borrow_mut().upgrades += 1;
        Ok(Accept::new(Peer { client, does }))
    }

    fn on_open(&mut self, peer: &mut Peer, cx: &mut Context<'_>) {
        let mut truth = self.truth.borrow_mut();
        truth.calls += 1;
        let record = &mut truth.clients[peer.client];
        record.opens += 1;
        record.peer = Some(cx.id());
        drop(truth);
        let since = match peer.client % 4 {
            0 => Since::All,
            1 => Since::Last(3),
            2 => self.any_place(peer, cx),
            _ => Since::Now,
        };
        self.subscribe(peer, since, cx);
    }

    fn on_message(&mut self, peer: &mut Peer, message: Message<'_>, cx: &mut Context<'_>) {
        let mut truth = self.truth.borrow_mut();
        truth.calls += 1;
        let client = peer.client;
        let heard = (message.kind(), message.payload());
        let said = truth.clients[client].said.pop_front();
        let is_same = said.as_ref().is_some_and(|(kind, bytes)| (*kind, &bytes[..]) == heard);
        assert!(
            is_same,
            "client {client}: heard {:?} of {} bytes, said {:?}",
            heard.0,
            heard.1.len(),
            said.map(|(kind, bytes)| (kind, bytes.len()))
        );
        let copies = truth.random.once_in(4);
        drop(truth);
        match (&peer.does, message) {
            (Does::Echo, message) if copies => {
                let payload = message.payload().to_vec();
                self.send(client, message.kind(), &payload, cx);
            }
            (Does::Echo, message) => self.send(client, message.kind(), message.payload(), cx),
            (Does::Listen { .. }, Message::Text(text)) => self.command(peer, text.as_str(), cx),
            (Does::Listen { .. }, Message::Binary(_)) => {}
        }
    }

    fn on_request(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        _from: Arrival,
        cx: &mut Context<'_>,
    ) -> Answer<Peer> {
        self.truth.borrow_mut().calls += 1;
        let refusal = Refusal { status: Status::NotFound, reason: "no such path" };
        let Some((what, client, rest)) = client_of(request.path()) else {
            return Answer::Refuse(refusal);
        };
        match what {
            // Half of them could do it at once.
            "http" if client.is_multiple_of(2) && !cx.has_work_left() => Answer::Later,
            "http" if body.is_empty() => {
                let body = page(rest.parse().unwrap_or_default());
                Answer::Respond(Response::new(Status::Ok, "text/plain", body))
            }
            "http" => Answer::Respond(Response::new(Status::Ok, "text/plain", body)),
            "stream" => Answer::Stream {
                response: Response::new(Status::Ok, "text/plain", ""),
                state: Peer {
                    client,
                    does: Does::Listen {
                        topic: rest.to_owned(),
                        form: Form { id: 0, framing: Framing::Bytes },
                        mutes_own: false,
                    },
                },
                keep_alive: b":\n",
            },
            "wait" => self.wait(rest).unwrap_or(Answer::Refuse(refusal)),
            "excerpt" => {
                let mut words = rest.split('/');
                let topic = words.next().unwrap();
                let mut number = || words.next().unwrap().parse().unwrap();
                let response = Response::new(Status::Ok, "text/plain", "");
                match self.excerpt(topic, number(), number(), cx) {
                    Some(excerpt) => Answer::Excerpt { response, excerpt },
                    None => Answer::Respond(response),
                }
            }
            _ => Answer::Refuse(refusal),
        }
    }

    fn respond(&self, _form: Form, _last: Option<MessageId>, found: Found) -> Response {
        match found {
            Found::Nothing => Response::empty(Status::NoContent),
            Found::Messages => Response::new(Status::Ok, "text/plain", ""),
        }
    }

    fn encode(&self, form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
        let mut truth = self.truth.borrow_mut();
        let line = truth.topic_line(message.topic, message.id, message.payload);
        out.extend_from_slice(line.as_bytes());
        if form.framing != MESSAGES {
            out.push(b'\n');
        }
        message.kind
    }

    fn encode_part(
        &self,
        form: Form,
        message: TopicMessage<'_>,
        at: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut line = Vec::new();
        let _kind = self.encode(form, message, &mut line);
        let end = message.payload.len().min(at + 100);
        let is_last = end == message.payload.len();
        out.extend_from_slice(&line[at..if is_last { line.len() } else { end }]);
        end
    }

    fn on_gap(&self, form: Form, topic: &str, gap: Gap, out: &mut Vec<u8>) -> Lag {
        let mut truth = self.truth.borrow_mut();
        truth.calls += 1;
        if form.id == 1 {
            return Lag::Close(StatusCode::TRY_AGAIN_LATER, "too slow".to_owned());
        }
        truth.check_gap(topic, gap);
        let life = truth.life_of(topic, gap.to.epoch);
        out.extend_from_slice(format!("\x01G{topic} {life} {}", gap.to.offset).as_bytes());
        if form.framing != MESSAGES {
            out.push(b'\n');
        }
        Lag::Told(Kind::Text)
    }

    fn wake_at_ms(&self) -> Option<u64> {
        self.truth.borrow().wake_at_ms
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) {
        let mut truth = self.truth.borrow_mut();
        truth.calls += 1;
        let at_ms = truth.wake_at_ms.take().unwrap();
        assert!(at_ms <= cx.now_ms(), "woken early");
        if truth.random.once_in(2) {
            let in_ms = truth.random.between(1, 5000) as u64;
            truth.wake_at_ms = Some(cx.now_ms() + in_ms);
        }
        drop(truth);
        self.broadcast(cx);
    }

    fn on_close(&mut self, peer: Peer, closed: Closed, cx: &mut Context<'_>) {
        trace::note(|| format!("    {} on_close {closed:?}", peer.client));
        let mut truth = self.truth.borrow_mut();
        truth.calls += 1;
        let record = &mut truth.clients[peer.client];
        assert!(record.peer.take().is_some(), "client {}: closed and not open", peer.client);
        record.closes += 1;
        record.closed = Some(closed);
        truth.unsubscribed(peer.client);
        let says = truth.random.once_in(8);
        drop(truth);
        if says {
            self.broadcast(cx);
        }
    }
}

impl App {
    fn subscribe(&mut self, peer: &Peer, since: Since, cx: &mut Context<'_>) {
        let Does::Listen { topic, form, mutes_own } = &peer.does else { return };
        let Ok(position) = cx.subscribe(topic, *form, *mutes_own, since) else { return };
        let mut truth = self.truth.borrow_mut();
        truth.check_position(topic, since, position);
        let life = truth.life_of(topic, position.last.epoch);
        truth.clients[peer.client].cursors.push_back(Cursor {
            topic: topic.clone(),
            life,
            next: position.next(),
            mutes_own: *mutes_own,
            replays: position.next() <= position.last.offset,
            end: None,
        });
    }

    /// A place that a client may name: of its topic, of its future, or of nothing.
    fn any_place(&self, peer: &Peer, cx: &Context<'_>) -> Since {
        let Does::Listen { topic, .. } = &peer.does else { return Since::Now };
        let last = cx.topic_position(topic, Since::Now).map(|it: Position| it.last);
        let MessageId { epoch, offset } = last.unwrap_or(MessageId { epoch: 1, offset: 0 });
        let random = &mut self.truth.borrow_mut().random;
        let near = [0, offset / 2, offset.saturating_sub(1), offset, offset + 1, offset + 2];
        let offset = match random.once_in(2) {
            true => random.pick(&near),
            false => random.pick(&FAR),
        };
        match random.below(8) {
            0 => Since::Last(offset),
            1 => Since::Id(MessageId { epoch: 0, offset }),
            2 => Since::Id(MessageId { epoch: NO_EPOCH, offset }),
            _ => Since::Id(MessageId { epoch, offset }),
        }
    }

    /// Sends to the client that speaks, and writes it down.
    fn send(&mut self, client: usize, kind: Kind, payload: &[u8], cx: &mut Context<'_>) {
        let sent = cx.send(kind, payload);
        self.sent(client, kind, payload, sent);
    }

    fn sent(&mut self, client: usize, kind: Kind, payload: &[u8], sent: Sent) {
        let mut truth = self.truth.borrow_mut();
        let record = &mut truth.clients[client];
        match sent {
            Sent::Now | Sent::Queued => record.told.push_back((kind, payload.to_vec())),
            Sent::Refused => record.was_refused = true,
            Sent::Gone => {}
        }
    }

    /// What is left of a command comes again.
    fn put_back(&mut self, client: usize, left: usize, text: &str, cx: &mut Context<'_>) {
        let command = format!("M{left} {text}");
        cx.put_back(Kind::Text, command.as_bytes());
        let mut truth = self.truth.borrow_mut();
        truth.clients[client].said.push_front((Kind::Text, command.into_bytes()));
    }

    /// All who are open are told, in the same order.
    fn broadcast(&mut self, cx: &mut Context<'_>) {
        let mut truth = self.truth.borrow_mut();
        truth.broadcasts += 1;
        let text = format!("\x01B{}", truth.broadcasts);
        drop(truth);
        cx.broadcast(Kind::Text, text.as_bytes());
    }

    /// `P…`: publish. `S<n> …`: send to client n. `M<n> …`: come back n times. `B`: broadcast. `X<code>`: be closed.
    /// `K<n>`: close client n. `U`: listen no more. `R`: listen again. `E<n> <m>`: at most n of what is kept, m messages back.
    fn command(&mut self, peer: &Peer, text: &str, cx: &mut Context<'_>) {
        let Does::Listen { topic, .. } = &peer.does else { return };
        let (verb, rest) = text.split_at(1.min(text.len()));
        let number: usize =
            rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        match verb {
            "P" if cx.is_fanning_out(topic) => {
                cx.put_back(Kind::Text, text.as_bytes());
                let said = (Kind::Text, text.as_bytes().to_vec());
                self.truth.borrow_mut().clients[peer.client].said.push_front(said);
            }
            "P" => {
                if let Ok(to) = cx.publish(topic, Kind::Text, rest.as_bytes()) {
                    self.truth.borrow_mut().published(topic, peer.client, rest.to_owned(), to);
                }
            }
            "S" => {
                let other = self.truth.borrow().clients.get(number).and_then(|it| it.peer);
                if let Some(other) = other {
                    let sent = cx.send_to(other, Kind::Text, rest.as_bytes());
                    self.sent(number, Kind::Text, rest.as_bytes(), sent);
                }
            }
            "M" => {
                for done in 0..number {
                    if !cx.has_work_left() {
                        let text = rest.split_once(' ').map_or("", |(_, text)| text);
                        return self.put_back(peer.client, number - done, text, cx);
                    }
                    cx.spend_work(1000);
                    self.send(peer.client, Kind::Text, rest.as_bytes(), cx);
                }
            }
            "B" => self.broadcast(cx),
            "X" => {
                let code = u16::try_from(number).unwrap();
                self.truth.borrow_mut().clients[peer.client].sent_away.push(code);
                cx.close(StatusCode::from_wire(code).unwrap(), "as you wish");
            }
            "K" => {
                let mut truth = self.truth.borrow_mut();
                let Some(record) = truth.clients.get_mut(number) else { return };
                let Some(other) = record.peer else { return };
                record.sent_away.push(4001);
                drop(truth);
                cx.close_peer(other, StatusCode::from_wire(4001).unwrap(), "somebody wishes so");
            }
            "E" => {
                let back = rest.split(' ').nth(1).and_then(|back| back.parse().ok());
                let Some(excerpt) =
                    self.excerpt(topic, back.unwrap_or_default(), number as u64, cx)
                else {
                    return;
                };
                let asked = excerpt.head.trim_ascii_end().to_vec();
                let sent = cx.send_excerpt(Kind::Text, excerpt);
                self.truth.borrow_mut().excerpt_sent(peer.client);
                self.sent(peer.client, Kind::Text, &asked, sent);
            }
            "U" if cx.unsubscribe(topic) => {
                self.truth.borrow_mut().unsubscribed(peer.client);
            }
            "R" => self.subscribe(peer, Since::Now, cx),
            _ => {}
        }
    }

    /// What a topic keeps, from `back` messages before its last one on, which may be none that it ever had.
    fn excerpt(&self, topic: &str, back: u64, count: u64, cx: &Context<'_>) -> Option<Excerpt> {
        let last = cx.topic_position(topic, Since::Now)?.last;
        let mut truth = self.truth.borrow_mut();
        let order = truth.random.pick(&[Order::OldestFirst, Order::NewestFirst]);
        let bytes_max = truth.random.pick(&[0, 1000, usize::MAX]);
        let first = last.offset.checked_sub(back).unwrap_or(u64::MAX);
        let life = truth.life_of(topic, last.epoch);
        Some(Excerpt {
            topic: topic.to_owned(),
            form: Form { id: 2, framing: MESSAGES },
            first: MessageId { offset: first, ..last },
            count: if truth.random.once_in(4) { u64::MAX } else { count },
            order,
            bytes_max,
            head: Truth::excerpt_head(topic, life, first, order).into_bytes(),
            separator: b'\n',
            tail: b"\n\x03".to_vec(),
        })
    }

    fn wait(&mut self, rest: &str) -> Option<Answer<Peer>> {
        let mut words = rest.split('/');
        let topic = words.next()?;
        let life = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (offset, wait_ms) = (number()?, number()?);
        let truth = self.truth.borrow();
        let since = match life {
            "-" => Since::All,
            "x" => Since::Id(MessageId { epoch: NO_EPOCH, offset }),
            life => {
                let life: usize = life.parse().ok()?;
                Since::Id(MessageId { epoch: truth.topics.get(topic)?.get(life)?.epoch, offset })
            }
        };
        let form = Form { id: 0, framing: Framing::Response };
        Some(Answer::Wait { topic: topic.to_owned(), form, since, wait_ms, headers: Vec::new() })
    }
}
