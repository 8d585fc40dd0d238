//! A server as bytes and sockets, for another image of the program to go on with; and a server made of them.
//!
//! ```text
//! Remote::hand_over ─► who cannot move is told to come back, all others are served ─► Ended::HandOver
//!      ─► Server::hand_over: bytes, sockets ═══ exec ═══► Server::take_over ─► run
//! ```
//!
//! Plain connections move as they are: cut messages, backlogs, subscriptions with their cursors, deadlines. TLS sessions and what
//! is compressed with context takeover do not, since neither library gives its state away; nor does a peer of which the handler
//! keeps what it cannot write. Requests that wait for a topic are answered first, so that none is left.
//!
//! The clock goes on, so that no time needs to be translated, and peers keep their names. Nothing here is undone if it comes to
//! nothing: writing changes no peer, and a socket is in both images until one of them ends. How bytes and sockets get there, and
//! whether the other image takes them, is the application's.

#![deny(clippy::arithmetic_side_effects)]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use mio::{Interest, Token};

use crate::config::Limits;
use crate::net::api::context::find;
use crate::net::api::handler::Handler;
use crate::net::peer::tx::{Phase, Tx, to_u32};
use crate::net::phase::receive::{Reading, Rx};
use crate::net::server::{Ended, Error, Server, TOKENS_FROM};
use crate::net::socket::clock::{Clock, shared_us};
use crate::net::socket::link::{Link, Stream};
use crate::net::socket::listener::{Listen, Listener};
use crate::net::socket::unix_socket::MadeFile;
use crate::net::terms::addr::PeerAddr;
use crate::net::terms::arrival::Side;
use crate::net::terms::closed::Closed;
use crate::net::terms::peer_id::PeerId;
use crate::proto::close::StatusCode;
use crate::proto::handshake::Status;
use crate::state::pieces::{PiecesIn, PiecesOut};
use crate::state::{Corrupt, Reader, Saved, Writer};

/// A server that is ready to be handed over.
#[derive(Debug)]
pub struct HandOver<'a> {
    /// The sockets that it listens on, in the order of [`Server::local_addrs`].
    pub listeners: Vec<BorrowedFd<'a>>,
    /// The connections, in the order in which the state has them.
    pub connections: Vec<BorrowedFd<'a>>,
}

/// What a server took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenOver {
    /// Connections that it goes on with.
    pub connections: usize,
    /// Connections that were ended before.
    pub ended: Ending,
    /// When the last turn was over, by [`shared_us`].
    stopped_us: u64,
}

/// Connections that could not be handed over, and were told to come back, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// Over TLS.
    pub tls: usize,
    /// With context takeover in their compression.
    pub compressed: usize,
    /// With something that the handler does not write.
    pub other: usize,
}

saved!(struct Ending { tls, compressed, other });

impl TakenOver {
    /// How long nobody was served, up to now, in microseconds.
    pub fn stall_us(&self) -> u64 {
        shared_us().saturating_sub(self.stopped_us)
    }
}

/// Preparations.
#[derive(Debug)]
pub(crate) struct HandingOver {
    /// Those who are being ended.
    awaited: Vec<PeerId>,
    /// When they are cut.
    until_ms: u64,
    ended: Ending,
}

impl HandingOver {
    pub(crate) const fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

/// Why a connection cannot move.
#[derive(Clone, Copy)]
enum Stays {
    Tls,
    Compressed,
    Other,
}

impl<H: Handler> Server<H> {
    /// What another image of the program needs to go on with: its state, a piece at a time, to `state`, and all else. To be called
    /// behind [`Ended::HandOver`]; changes nothing.
    ///
    /// # Errors
    ///
    /// Of writing to `state`.
    pub fn hand_over(&self, state: &mut dyn Write) -> io::Result<HandOver<'_>> {
        let mut out = PiecesOut::new(state);
        out.write(|out| {
            shared_us().save(out);
            self.turn.now_ms.save(out);
            self.handing_over.as_ref().map(|it| it.ended).unwrap_or_default().save(out);
            self.generation.save(out);
            self.turn.counters.save(out);
            self.peers.len().save(out);
        })?;
        self.turn.topics.save(&mut out)?;
        out.write(|out| self.handler.save(out))?;
        let mut connections = Vec::with_capacity(self.peers.len());
        for ((key, rx), (_, tx)) in self.peers.rx.iter().zip(&self.peers.tx) {
            // Whoever does not move is gone by now.
            let Link::Plain(stream) = &tx.link else { continue };
            connections.push(stream.as_fd());
            out.write(|out| {
                key.save(out);
                self.save_peer(key, rx, tx, out);
            })?;
        }
        let listeners = self.listeners.iter().map(Listener::socket).collect();
        Ok(HandOver { listeners, connections })
    }

    /// The files that were made for the sockets that it listens on, in the order of [`Server::local_addrs`], where they are Unix
    /// sockets of its own.
    pub fn made_files(&self) -> impl Iterator<Item = Option<MadeFile>> {
        self.listeners.iter().map(|listener| listener.file().cloned())
    }

    fn save_peer(&self, key: usize, rx: &Rx<H::State>, tx: &Tx, out: &mut Writer) {
        let Rx { reading, state, last_rx_ms, pinged_ms } = rx;
        tx.save(out);
        (*last_rx_ms, *pinged_ms, self.turn.timers.deadline_ms(key)).save(out);
        state.is_some().save(out);
        if let Some(state) = state {
            out.framed(|out| self.handler.save_peer(state, out));
        }
        reading.save(out);
        let ip = self.turn.addresses.ip(tx.address);
        ip.map(|ip| SocketAddr::new(ip, 0)).save(out);
        self.peers.addr(key).save(out);
        self.turn.topics.owners.save_held(tx.owner, out);
    }

    /// A server that goes on with what [`Server::hand_over`] of another image of the program gave: the state, up to its end, and its
    /// `connections` in their order. Of `listens` those that cannot be listened on are left out, and told.
    ///
    /// # Errors
    ///
    /// As for [`Server::listen`], where nothing is left to listen on; [`Error::HandOver`]: `state` is not that, or does not fit
    /// the connections.
    pub fn take_over(
        listens: Vec<Listen>,
        limits: Limits,
        handler: H,
        state: &mut dyn Read,
        connections: Vec<OwnedFd>,
    ) -> Result<(Self, Vec<Error>), Error> {
        limits.check().map_err(Error::Config)?;
        let (mut listeners, mut left_out) = (Vec::with_capacity(listens.len()), Vec::new());
        for (index, listen) in listens.into_iter().enumerate() {
            let at = listen.local_addr();
            match Listener::open(listen) {
                Ok(listener) => listeners.push(listener),
                Err(cause) => left_out.push(Error::Listen { index, at, cause }),
            }
        }
        if listeners.is_empty()
            && let Some(error) = left_out.pop()
        {
            return Err(error);
        }
        let mut server = Self::with(listeners, limits, handler)?;
        server.restore(PiecesIn::new(state), connections).map_err(Error::HandOver)?;
        Ok((server, left_out))
    }

    /// Whether the server was told to end by a signal since its run did; then it is not to be handed over, but run.
    pub fn is_told_to_end(&mut self) -> bool {
        let _drains = self.obey_signals();
        // No event need come that would have the goodbyes leave.
        self.flush_and_reap_all();
        self.draining_until_ms.is_some()
    }

    /// What was taken over, if the server was made by [`Server::take_over`].
    pub const fn taken_over(&self) -> Option<TakenOver> {
        self.taken_over
    }

    fn restore(
        &mut self,
        mut from: PiecesIn<'_>,
        connections: Vec<OwnedFd>,
    ) -> Result<(), Corrupt> {
        let ((stopped_us, stopped_at_ms), ended, generation, counters, peers_len) =
            from.read(|from| {
                let (stopped, ended) = (<(u64, u64)>::restore(from)?, Ending::restore(from)?);
                let (generation, counters) = (u32::restore(from)?, Saved::restore(from)?);
                Ok((stopped, ended, generation, counters, usize::restore(from)?))
            })?;
        let away_ms = shared_us().saturating_sub(stopped_us) / 1000;
        self.clock = Clock::go_on(stopped_at_ms.saturating_add(away_ms));
        self.turn.now_ms = self.clock.now_ms();
        self.turn.topics.now_ms = self.turn.now_ms;
        self.generation = generation;
        self.turn.counters = counters;
        self.turn.topics.restore(&mut from)?;
        from.read(|from| self.handler.restore(from))?;
        if peers_len != connections.len() {
            return Err(Corrupt);
        }
        self.taken_over = Some(TakenOver { connections: connections.len(), ended, stopped_us });
        self.restore_peers(&mut from, connections)?;
        from.end()?;
        self.register_peers();
        Ok(())
    }

    fn restore_peers(
        &mut self,
        from: &mut PiecesIn<'_>,
        connections: Vec<OwnedFd>,
    ) -> Result<(), Corrupt> {
        // Both columns from the same keys, so that they give out the same ones from now on.
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        let mut last_key = None;
        for socket in connections {
            let link = Link::Plain(Stream::from_std(socket.into()));
            let (key, (its_rx, its_tx)) = from.read(|from| {
                let key = usize::restore(from)?;
                if key >= TOKENS_FROM || last_key.replace(key) >= Some(key) {
                    return Err(Corrupt);
                }
                Ok((key, self.restore_peer(key, link, from)?))
            })?;
            rx.push((key, its_rx));
            tx.push((key, its_tx));
        }
        let subscriptions = tx.iter().flat_map(|(key, tx)| {
            tx.subscriptions.iter().flat_map(|mine| mine.iter()).map(|it| (*key, *it))
        });
        let mut held = 0_usize;
        for (key, subscription) in subscriptions {
            if !self.turn.topics.holds(subscription, key) {
                return Err(Corrupt);
            }
            held = held.saturating_add(1);
        }
        if held != self.turn.topics.subscriber_count() {
            return Err(Corrupt);
        }
        self.peers.rx = rx.into_iter().collect();
        self.peers.tx = tx.into_iter().collect();
        Ok(())
    }

    fn restore_peer(
        &mut self,
        key: usize,
        link: Link,
        from: &mut Reader<'_>,
    ) -> Result<(Rx<H::State>, Tx), Corrupt> {
        let Self { turn, handler, .. } = self;
        let mut tx = Tx::restore(link, &turn.compressors, from)?;
        let (last_rx_ms, pinged_ms, deadline_ms) = <(u64, u64, Option<u64>)>::restore(from)?;
        let id = PeerId { key: to_u32(key), generation: tx.generation };
        let state = match bool::restore(from)? {
            true => {
                let restore = |from: &mut Reader<'_>| handler.restore_peer(id, turn.now_ms, from);
                Some(from.framed(restore)?)
            }
            false => None,
        };
        let keep_alive = || state.as_ref().map_or(&b""[..], |state| handler.keep_alive(state));
        let mut reading = Reading::restore(from, keep_alive)?;
        if let Reading::Frames(frames) = &mut reading {
            frames.limit(&turn.limits);
        }
        if let Some(deadline_ms) = deadline_ms {
            turn.timers.set(key, deadline_ms);
        }
        if let Some(addr) = Option::<SocketAddr>::restore(from)? {
            tx.address = turn.addresses.add(addr.into());
        }
        self.peers.name(key, PeerAddr::restore(from)?);
        tx.owner = turn.topics.owners.restore_held(from)?;
        self.excess_count = self.excess_count.saturating_add(usize::from(tx.is_excess));
        if tx.side == Side::Admin {
            self.admins.add(key, None);
        }
        Ok((Rx { reading, state, last_rx_ms, pinged_ms }, tx))
    }

    /// Has events of all peers come; what is in their sockets already is the first.
    fn register_peers(&mut self) {
        let Self { peers, turn, poll, .. } = self;
        let interest = Interest::READABLE | Interest::WRITABLE;
        for (key, tx) in &mut peers.tx {
            if poll.registry().register(tx.link.source(), Token(key), interest).is_err() {
                tx.doom(key, turn);
            }
            if tx.is_marked_ready() {
                tx.unmark_ready();
                tx.mark_ready(key, turn);
            }
            if tx.awaits_work() {
                tx.take_work();
                tx.await_work(key, turn);
            }
        }
    }

    /// Ends what cannot move, and has all else served meanwhile.
    pub(crate) fn prepare_to_move(&mut self) {
        if self.handing_over.is_some() || self.draining_until_ms.is_some() {
            return;
        }
        self.turn.compressors.grant_takeover(false);
        let mut handing_over =
            HandingOver { awaited: Vec::new(), until_ms: 0, ended: Ending::default() };
        let goodbye_ms = GOODBYE_MS.min(self.turn.limits.close_timeout_ms);
        handing_over.until_ms = self.turn.now_ms.saturating_add(goodbye_ms);
        let keys: Vec<usize> = self.peers.tx.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(why) = self.why_it_stays(key) else { continue };
            handing_over.awaited.push(self.peers.id(key));
            handing_over.ended.count(why);
            self.send_away(key);
        }
        self.handing_over = Some(handing_over);
    }

    /// Whether connections are taken in from there: not such as could not move.
    pub(crate) const fn accepts_from(&self, listener: &Listener) -> bool {
        self.handing_over.is_none() || listener.is_plain()
    }

    /// Nobody is handed over, or no more.
    pub(crate) fn keep(&mut self) {
        if self.handing_over.take().is_some() {
            self.turn.compressors.grant_takeover(true);
        }
    }

    /// Ends the run, if it is to be handed over and nobody is awaited any more.
    pub(crate) fn is_ready_to_move(&mut self) -> Option<Ended> {
        let handing_over = self.handing_over.as_mut()?;
        if self.draining_until_ms.is_some() {
            self.keep();
            return None;
        }
        if !self.batches.is_empty() {
            // They were given to this image.
            return None;
        }
        let tx = &mut self.peers.tx;
        handing_over.awaited.retain(|&id| find(tx, id).is_some());
        if !handing_over.awaited.is_empty() && self.turn.now_ms < handing_over.until_ms {
            return None;
        }
        let keys: Vec<usize> = self.peers.tx.iter().map(|(key, _)| key).collect();
        for key in keys {
            // Behind it may be the next, which waits in its turn.
            self.settle(key);
            self.cut_if_it_stays(key);
        }
        self.flush_and_reap_all();
        // What their ends have set off, if anything, is the other image's to go on with.
        Some(Ended::HandOver)
    }

    fn cut_if_it_stays(&mut self, key: usize) {
        let Some(why) = self.why_it_stays(key) else { return };
        let id = self.peers.id(key);
        let Self { peers, turn, handing_over, .. } = self;
        if let Some(HandingOver { awaited, ended, .. }) = handing_over
            && !awaited.contains(&id)
        {
            ended.count(why);
        }
        let tx = &mut peers.tx[key];
        if tx.phase < Phase::Finishing {
            tx.closed = Closed::Cut;
        }
        tx.doom(key, turn);
    }

    fn why_it_stays(&self, key: usize) -> Option<Stays> {
        let (rx, tx) = (&self.peers.rx[key], &self.peers.tx[key]);
        let is_waiting = matches!(rx.reading, Reading::Waiting(_));
        if tx.link.is_tls() {
            Some(Stays::Tls)
        } else if tx.packing.is_dedicated() || !is_waiting && !rx.reading.moves() {
            Some(Stays::Compressed)
        } else if rx.state.as_ref().is_some_and(|state| !self.handler.moves(state)) {
            Some(Stays::Other)
        } else {
            None
        }
    }

    /// Tells a peer to come back.
    fn send_away(&mut self, key: usize) {
        self.settle(key);
        let Self { peers, turn, .. } = self;
        let tx = &mut peers.tx[key];
        match tx.phase {
            Phase::Opening if peers.rx[key].is_idle() => self.end_idle(key),
            Phase::Opening => self.answer_refusal(key, Status::ServiceUnavailable, RESTARTS),
            Phase::Open => tx.close_other(key, StatusCode::SERVICE_RESTART, RESTARTS, turn),
            Phase::Streaming => tx.finish(key, turn),
            Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Doomed => {}
        }
        self.finish_if_flushed(key);
    }
}

impl Ending {
    #[expect(clippy::arithmetic_side_effects, reason = "one for each connection")]
    const fn count(&mut self, why: Stays) {
        *match why {
            Stays::Tls => &mut self.tls,
            Stays::Compressed => &mut self.compressed,
            Stays::Other => &mut self.other,
        } += 1;
    }
}

/// How long those who cannot move have to answer our Close.
const GOODBYE_MS: u64 = 2000;

const RESTARTS: &str = "the server restarts; connect again";
