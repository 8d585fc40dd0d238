//! The opening handshake (RFC 6455 §4.2) of one peer: from the first byte of the request to the 101 or the refusal.
//!
//! A head that comes whole is parsed where it lies; only one that is cut is kept. Rules of the head are
//! `proto::handshake`'s, the decision is the handler's, the deadline is `server`'s.

use crate::net::api::context::Context;
use crate::net::api::handler::Handler;
use crate::net::peer::in_place::InPlace;
use crate::net::peer::tx::Phase;
use crate::net::phase::http::is_http;
use crate::net::phase::receive::{FRAMES_PER_TURN_MAX, Frames, Reading};
use crate::net::server::Server;
use crate::net::terms::arrival::Arrival;
use crate::net::terms::refusal::Refusal;
use crate::net::turn::FAULT;
use crate::net::turn::admins::NO_ROOM_TO_STAY;
use crate::proto::deflate::{self, Agreed};
use crate::proto::handshake::{
    Answer, HandshakeError, HeadLimits, HeadScan, Request, Status, encode_accept, encode_refusal,
};
use crate::proto::header::Role;
use crate::proto::inbound::{Inbound, Rules};
use crate::state::{Corrupt, Reader, Saved, Writer};

/// A request whose head is not whole yet.
#[derive(Debug)]
pub(crate) struct Head {
    scan: HeadScan,
    /// What came so far; empty until a read ends inside the head.
    bytes: Vec<u8>,
    from: Arrival,
    /// Whether another request was answered on this connection.
    follows: bool,
}

/// What a handshake that is in order comes to.
struct Accepted<S> {
    accept: [u8; 28],
    subprotocol: Option<&'static str>,
    /// What was agreed on compression, and the header value that says so.
    deflate: Option<(Agreed, String)>,
    state: S,
}

/// Why a handshake is refused.
#[derive(Clone, Copy)]
enum Refused {
    ByRule(HandshakeError),
    ByHandler(Refusal),
    /// As many of its side are open as may be.
    NoRoom,
}

impl Head {
    pub(crate) fn new(from: Arrival) -> Box<Self> {
        Box::new(Self { scan: HeadScan::new(), bytes: Vec::new(), from, follows: false })
    }

    /// The same, behind a request that was answered.
    pub(crate) fn following(from: Arrival) -> Box<Self> {
        Box::new(Self { follows: true, ..*Self::new(from) })
    }

    /// Bytes that came and are kept.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether nothing came of it, and nothing need come.
    pub(crate) const fn is_idle(&self) -> bool {
        self.follows && self.bytes.is_empty()
    }
}

/// What was scanned is scanned again.
impl Saved for Head {
    fn save(&self, out: &mut Writer) {
        let Self { scan: _, bytes, from, follows } = self;
        bytes.save(out);
        from.save(out);
        follows.save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            scan: HeadScan::new(),
            bytes: Vec::restore(from)?,
            from: Arrival::restore(from)?,
            follows: bool::restore(from)?,
        })
    }
}

impl<H: Handler> Server<H> {
    /// Takes in `len` bytes that were read into scratch as part of the peer's request.
    pub(crate) fn receive_head(&mut self, key: usize, len: usize, frames_left: &mut u32) {
        let Reading::Head(mut head) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        if head.bytes.is_empty() {
            let mut scratch = std::mem::take(&mut self.scratch);
            let bytes = &mut scratch.bytes()[..len];
            if let Some(head) = self.scan_head(key, head, bytes, frames_left) {
                if head.follows {
                    // It idles no more: what is left of that time says nothing of how long its head may take.
                    let until_ms = self.turn.now_ms + self.turn.limits.handshake_timeout_ms;
                    self.turn.timers.set(key, until_ms);
                }
                self.keep_head(key, head, bytes.to_vec());
            }
            self.scratch = scratch;
        } else {
            let mut bytes = std::mem::take(&mut head.bytes);
            bytes.extend_from_slice(&self.scratch.bytes()[..len]);
            if let Some(head) = self.scan_head(key, head, &mut bytes, frames_left) {
                self.keep_head(key, head, bytes);
            }
        }
    }

    /// Keeps what came of a head until the rest does.
    fn keep_head(&mut self, key: usize, mut head: Box<Head>, bytes: Vec<u8>) {
        if self.turn.memory.is_short() {
            return self.end_for_memory(key);
        }
        head.bytes = bytes;
        self.peers.rx[key].reading = Reading::Head(head);
    }

    /// Scans all bytes so far, and acts once the head is whole or wrong. Gives `head` back if more is needed.
    fn scan_head(
        &mut self,
        key: usize,
        mut head: Box<Head>,
        bytes: &mut [u8],
        frames_left: &mut u32,
    ) -> Option<Box<Head>> {
        let limits = self.head_limits();
        let head_len = match head.scan.scan(bytes, &limits) {
            Ok(Some(head_len)) => head_len,
            Ok(None) => return Some(head),
            Err(error) => {
                self.refuse(key, Refused::ByRule(error));
                return None;
            }
        };
        if is_http(&bytes[..head_len], &limits) {
            self.serve_http(key, head.from, bytes.to_vec(), head_len, &limits);
            return None;
        }
        match self.decide(key, &bytes[..head_len], head.from, &limits) {
            Ok(accepted) => {
                self.open(key, accepted);
                // The first frames may have come with the request.
                self.walk_and_keep(key, &mut bytes[head_len..], frames_left);
            }
            Err(refused) => self.refuse(key, refused),
        }
        None
    }

    /// Goes on with bytes of a request that came behind another.
    pub(crate) fn resume_head(&mut self, key: usize, mut bytes: Vec<u8>) {
        let Reading::Head(head) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        let mut frames_left = FRAMES_PER_TURN_MAX;
        if let Some(head) = self.scan_head(key, head, &mut bytes, &mut frames_left) {
            self.keep_head(key, head, bytes);
        }
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        let limits = &self.turn.limits;
        HeadLimits { head_bytes_max: limits.head_bytes_max, headers_max: limits.headers_max }
    }

    /// The rules first, then the handler.
    fn decide(
        &mut self,
        key: usize,
        head: &[u8],
        from: Arrival,
        limits: &HeadLimits,
    ) -> Result<Accepted<H::State>, Refused> {
        let request = Request::parse(head, limits).map_err(Refused::ByRule)?;
        let upgrade = request.upgrade().map_err(Refused::ByRule)?;
        let chosen =
            self.handler.on_upgrade(&request, &upgrade, from).map_err(Refused::ByHandler)?;
        if !self.has_room_to_stay(from.side) {
            return Err(Refused::NoRoom);
        }
        let held_bytes = self.turn.addresses.granted_bytes(self.peers.tx[key].address);
        let terms = self.turn.compressors.terms(held_bytes);
        Ok(Accepted {
            accept: upgrade.accept(),
            subprotocol: chosen.subprotocol,
            deflate: terms.and_then(|terms| deflate::accept(upgrade.extensions(), terms)),
            state: chosen.state,
        })
    }

    /// The connection is open: the 101 leaves with what the handler sends first.
    fn open(&mut self, key: usize, accepted: Accepted<H::State>) {
        let Self { peers, turn, handler, .. } = self;
        turn.counters.opened += 1;
        let Accepted { accept, subprotocol, deflate, state } = accepted;
        let extensions = deflate.as_ref().map(|(_, response)| response.as_str());
        encode_accept(&mut turn.cork, &accept, subprotocol, extensions);
        let limits = &turn.limits;
        let mut rules =
            Rules::new(Role::Server, limits.message_bytes_max as u64, limits.fragments_max);
        if let Some((agreed, _)) = deflate {
            rules = rules.with_deflate(agreed.client_takeover.then_some(agreed.client_window_bits));
            let tx = &mut peers.tx[key];
            tx.packing = turn.compressors.grant(agreed);
            turn.addresses.grant(tx.address, tx.packing.granted_bytes());
        }
        let rx = &mut peers.rx[key];
        rx.reading = Reading::Frames(Frames::new(Inbound::new(rules)));
        let state = rx.state.insert(state);
        peers.tx[key].phase = Phase::Open;
        match turn.limits.ping_interval_ms {
            0 => turn.timers.clear(key),
            interval => turn.timers.set(key, turn.now_ms + interval),
        }
        let generation = peers.tx[key].generation;
        let tx = &mut peers.tx;
        handler.on_open(state, &mut Context::new(key, generation, tx, turn, InPlace::NOTHING));
    }

    fn refuse(&mut self, key: usize, refused: Refused) {
        match refused {
            Refused::ByRule(error) => match error.answer() {
                Answer::Refuse(status) => self.answer_refusal(key, status, error.reason()),
                Answer::Drop => {
                    self.turn.counters.tls_where_plain += 1;
                    let (id, address) = (self.peers.id(key), self.peers.addr(key));
                    tracing::debug!(target: FAULT, %id, %address, why = error.reason(), "dropped");
                    self.peers.tx[key].doom(key, &mut self.turn);
                }
            },
            Refused::ByHandler(Refusal { status, reason }) => {
                self.give_refusal(key, status, reason, &[]);
            }
            Refused::NoRoom => {
                self.answer_refusal(key, Status::ServiceUnavailable, NO_ROOM_TO_STAY);
            }
        }
    }

    /// Ends a connection between two requests.
    pub(crate) fn end_idle(&mut self, key: usize) {
        self.peers.rx[key].reading = Reading::Nothing;
        self.peers.tx[key].finish(key, &mut self.turn);
        self.finish_if_flushed(key);
    }

    /// Answers with an HTTP error and ends the connection; nothing that follows the request is read as frames.
    pub(crate) fn answer_refusal(&mut self, key: usize, status: Status, reason: &str) {
        self.answer_refusal_with(key, status, reason, &[]);
    }

    /// The same, with further header lines.
    pub(crate) fn answer_refusal_with(
        &mut self,
        key: usize,
        status: Status,
        reason: &str,
        headers: &[(&'static str, String)],
    ) {
        let (id, address) = (self.peers.id(key), self.peers.addr(key));
        let status_code = status.code();
        tracing::debug!(target: FAULT, %id, %address, status = status_code, why = reason, "refused");
        self.give_refusal(key, status, reason, headers);
    }

    /// The same for a refusal of the handler's, which knows more to log of it.
    pub(crate) fn give_refusal(
        &mut self,
        key: usize,
        status: Status,
        reason: &str,
        headers: &[(&'static str, String)],
    ) {
        let Self { peers, turn, .. } = self;
        turn.counters.refused += 1;
        let reading = std::mem::replace(&mut peers.rx[key].reading, Reading::Nothing);
        let tx = &mut peers.tx[key];
        if reading.is_held() {
            // What it sent, and was not read meanwhile, is read and dropped.
            tx.mark_ready(key, turn);
        }
        if reading.is_within_response() {
            // Another would be taken for the rest of it.
            tx.drop_output();
            return tx.doom(key, turn);
        }
        // Before TLS is set up there is no way to say why.
        if !tx.link.is_handshaking() {
            encode_refusal(&mut turn.cork, status, reason, headers);
        }
        tx.finish(key, turn);
        tx.uncork(key, InPlace::NOTHING, turn);
        tx.finish_if_flushed(key, turn);
    }

    /// The request was not whole in time, or not even what a proxy says before it; or one that waits has waited long
    /// enough.
    pub(crate) fn handshake_timed_out(&mut self, key: usize) {
        match &self.peers.rx[key].reading {
            Reading::Waiting(_) => return self.end_wait(key),
            Reading::Later(_) | Reading::Replying(_) => return self.check_taking(key),
            Reading::Head(head) if head.is_idle() && !self.peers.tx[key].is_flushed() => {
                return self.check_taking(key);
            }
            Reading::Head(head) if head.is_idle() => return self.end_idle(key),
            _ => {}
        }
        self.turn.counters.handshakes_timed_out += 1;
        if matches!(self.peers.rx[key].reading, Reading::Proxied(_)) {
            // A proxy that does not say its own line would not know what to do with an answer.
            return self.peers.tx[key].doom(key, &mut self.turn);
        }
        self.refuse(key, Refused::ByRule(HandshakeError::Timeout));
    }
}
