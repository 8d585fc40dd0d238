//! The server: bind, run, and the order of a turn's phases, which lives only here.
//!
//! ```text
//! poll ─► events ─► ready list ─► flush ─► timers ─► flush and reap
//! ```
//!
//! What a phase does with a peer is told in `listener`, `opening`, `rx` and `tx`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};

use crate::config::{ConfigError, Limits};
use crate::net::api::context::{Context, find, unsubscribe};
use crate::net::api::handler::Handler;
use crate::net::api::remote::{Command, Remote};
use crate::net::handover::{HandingOver, TakenOver};
use crate::net::peer::in_place::InPlace;
use crate::net::peer::peers::Peers;
use crate::net::peer::prepared::Prepared;
use crate::net::peer::tx::{Phase, Tx, to_u32};
use crate::net::phase::opening::Head;
use crate::net::phase::proxied::Proxied;
use crate::net::phase::publication::{Publishing, Receipts};
use crate::net::phase::receive::{ReadUntil, Reading, Rx, SCRATCH_BYTES};
use crate::net::socket::clock::Clock;
use crate::net::socket::link::Stream;
use crate::net::socket::listener::{Accepted, Listen, ListenError, Listener, RETRY_MS, Waiting};
use crate::net::socket::readiness::Readiness;
use crate::net::socket::signals::{self, EndSignals};
use crate::net::terms::addr::{LocalAddr, PeerAddr};
use crate::net::terms::arrival::{Arrival, Side};
use crate::net::terms::closed::Closed;
use crate::net::terms::counters::Counters;
use crate::net::terms::peer_id::PeerId;
use crate::net::turn::addresses::Addresses;
use crate::net::turn::admins::{ADMINS_MAX, Admins};
use crate::net::turn::memory::SHORT_REASON;
use crate::net::turn::scratch::Scratch;
use crate::net::turn::work::{CALL_UNITS, END_UNITS, UNSUBSCRIBE_UNITS};
use crate::net::turn::{FAULT, Turn};
use crate::proto::close::StatusCode;
use crate::proto::handshake::Status;
use crate::proto::opcode::Opcode;
use crate::proto::outbound;
use crate::state::Corrupt;

/// A WebSocket server: one thread, one loop. It is not `Send`: make it on the thread that runs it.
#[derive(Debug)]
pub struct Server<H: Handler> {
    pub(crate) poll: Poll,
    pub(crate) clock: Clock,
    pub(crate) listeners: Vec<Listener>,
    local_addrs: Vec<LocalAddr>,
    signals: Option<EndSignals>,
    commands: Receiver<Command>,
    remote: Remote,
    pub(crate) receipts: Receipts,
    /// Batches that are not published to their end, the first first.
    pub(crate) batches: VecDeque<Publishing>,
    pub(crate) handler: H,
    pub(crate) peers: Peers<H::State>,
    pub(crate) turn: Turn,
    /// Every read that does not go into a message's body goes here; see `rx`.
    pub(crate) scratch: Scratch,
    pub(crate) generation: u32,
    /// Connections past `peers_max` that are being told so.
    pub(crate) excess_count: usize,
    /// How many of them there may be.
    excess_max: usize,
    /// Connections of `Side::Admin`, which take no place of clients.
    pub(crate) admins: Admins,
    /// Since when the server drains, and until when.
    pub(crate) draining_until_ms: Option<u64>,
    /// Who is awaited before the server is handed over; `None`: it is not to be.
    pub(crate) handing_over: Option<HandingOver>,
    /// What was taken over from an earlier image of the program.
    pub(crate) taken_over: Option<TakenOver>,
    trim_at_ms: u64,
    /// Whether peers went since the last trim.
    is_stirred: bool,
}

/// How a server's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It drained: every connection is closed.
    Drained,
    /// The drain deadline came with so many connections open; they were cut.
    DrainTimedOut(usize),
    /// A second signal, this one, cut the drain short.
    Signalled(i32),
    /// [`Remote::stop`] was called.
    Stopped,
    /// [`Remote::hand_over`] was called, and all is ready for [`Server::hand_over`]. Nobody was cut: if it comes to nothing,
    /// [`Server::run`] goes on.
    HandOver,
}

/// What keeps a server from starting or going on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A limit is out of its range.
    Config(ConfigError),
    /// One of the addresses could not be listened on.
    Listen {
        /// Its place among those that were given.
        index: usize,
        /// Its name; `None`: an inherited descriptor that is no socket with an address.
        at: Option<LocalAddr>,
        /// What was wrong with it.
        cause: ListenError,
    },
    /// The poll, or the signal handler, failed.
    Poll(io::Error),
    /// What an earlier image of the program left cannot be taken over.
    HandOver(Corrupt),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen { at: Some(at), cause, .. } => {
                write!(f, "cannot listen on {at}: {cause}")
            }
            Self::Listen { at: None, index, cause } => {
                write!(f, "cannot listen on inherited descriptor (address {index}): {cause}")
            }
            Self::Poll(error) => write!(f, "the event loop failed: {error}"),
            Self::HandOver(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Listen { cause, .. } => Some(cause),
            Self::Poll(error) => Some(error),
            Self::HandOver(error) => Some(error),
        }
    }
}

impl<H: Handler> Server<H> {
    /// Listens on every one of `addrs`; a port of zero gets a free one, which [`Server::local_addrs`] tells.
    ///
    /// The simple form of [`Server::listen`], for TCP.
    ///
    /// # Errors
    ///
    /// As for [`Server::listen`].
    pub fn bind(addrs: &[SocketAddr], limits: Limits, handler: H) -> Result<Self, Error> {
        Self::listen(addrs.iter().copied().map(Listen::from).collect(), limits, handler)
    }

    /// Listens on everything in `listens`; [`Server::local_addrs`] tells what that came to.
    ///
    /// Connections are completed by the kernel from here on, and served once [`Server::run`] is called.
    ///
    /// # Errors
    ///
    /// A limit out of its range, something that cannot be listened on, no descriptor left for the poll.
    pub fn listen(listens: Vec<Listen>, limits: Limits, handler: H) -> Result<Self, Error> {
        limits.check().map_err(Error::Config)?;
        let mut listeners = Vec::with_capacity(listens.len());
        for (index, listen) in listens.into_iter().enumerate() {
            let at = listen.local_addr();
            let opened = Listener::open(listen);
            listeners.push(opened.map_err(|cause| Error::Listen { index, at, cause })?);
        }
        Self::with(listeners, limits, handler)
    }

    /// A server with these listeners.
    pub(crate) fn with(
        mut listeners: Vec<Listener>,
        limits: Limits,
        handler: H,
    ) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::Poll)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), listener_token(index)).map_err(Error::Poll)?;
        }
        let has_admin = listeners.iter().any(|listener| listener.side == Side::Admin);
        let excess_max = REFUSALS_MAX - if has_admin { ADMINS_MAX } else { 0 };
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(Error::Poll)?);
        let (sender, commands) = mpsc::channel();
        let turn = Turn::new(limits);
        let room = (turn.limits.peers_max + REFUSALS_MAX).min(PREPARED_PEERS_MAX);
        // It is counted as taken from the start.
        let room = room.min(turn.memory.share(10, usize::MAX) / PEER_BYTES);
        Ok(Self {
            poll,
            clock: Clock::start(),
            local_addrs: listeners.iter().map(|listener| listener.addr.clone()).collect(),
            listeners,
            signals: None,
            commands,
            remote: Remote::new(sender, waker),
            receipts: Receipts::new(),
            batches: VecDeque::new(),
            handler,
            peers: Peers::with_capacity(room),
            turn,
            scratch: Scratch::new(SCRATCH_BYTES),
            generation: 0,
            excess_count: 0,
            excess_max,
            admins: Admins::default(),
            draining_until_ms: None,
            handing_over: None,
            taken_over: None,
            trim_at_ms: 0,
            is_stirred: false,
        })
    }

    /// What is listened on, in the order that it was asked for.
    pub fn local_addrs(&self) -> &[LocalAddr] {
        &self.local_addrs
    }

    /// A hold on this server for other threads.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// What happened since the server was made.
    pub const fn counters(&self) -> Counters {
        self.turn.counters
    }

    /// The application.
    pub const fn handler(&self) -> &H {
        &self.handler
    }

    /// From now on the first SIGTERM or SIGINT drains the server, and the second ends its run at once.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`]: the handlers could not be installed.
    pub fn drain_on_signals(&mut self) -> Result<(), Error> {
        self.signals =
            Some(EndSignals::install(self.poll.registry(), SIGNALS).map_err(Error::Poll)?);
        Ok(())
    }

    /// Serves until it is drained or stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`]: the kernel refused to wait for events. No peer can cause it.
    pub fn run(&mut self) -> Result<Ended, Error> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN_MAX);
        self.keep();
        loop {
            let timeout = self.wait_for();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Poll(error)),
            }
            let now_ms = self.clock.now_ms();
            match self.turn(now_ms, events.iter()) {
                None => {}
                Some(Ended::HandOver) => return Ok(Ended::HandOver),
                Some(ended) => {
                    self.cut_all();
                    return Ok(ended);
                }
            }
        }
    }

    /// One turn of the loop. `Some`: it was the last.
    pub(crate) fn turn<E: Readiness>(
        &mut self,
        now_ms: u64,
        events: impl Iterator<Item = E>,
    ) -> Option<Ended> {
        self.turn.now_ms = now_ms;
        self.turn.topics.now_ms = now_ms;
        let mut ended = None;
        let ready_len = self.turn.ready.len();
        self.turn.work.begin_turn();
        self.turn.topics.begin_turn();
        self.turn.begin_phase();
        for event in events {
            match event.token() {
                Token(key) if key < TOKENS_FROM => self.peer_event(key, &event),
                WAKER => ended = self.obey_commands().or(ended),
                SIGNALS => ended = self.obey_signals().or(ended),
                token => self.listener_event(token),
            }
        }
        self.accept();
        self.resume_ready(ready_len);
        self.do_work();
        self.publish_batches();
        self.flush_dirty();
        self.expire_deadlines();
        self.wake();
        self.flush_and_reap();
        self.relieve();
        self.hand_out_receipts();
        self.trim_pool();
        if self.are_clients_gone() {
            self.dismiss(Side::Admin);
            self.flush_and_reap();
        }
        ended.or_else(|| self.drain_ended()).or_else(|| self.is_ready_to_move())
    }

    /// How long to sleep: until the first of the deadlines, not at all if work is left.
    pub(crate) fn wait_for(&self) -> Option<Duration> {
        let perhaps = |listener: &Listener| {
            listener.waiting == Waiting::Perhaps && self.accepts_from(listener)
        };
        let is_owed =
            !self.turn.ready.is_empty() || self.turn.work.waiting() > 0 || self.has_live_work();
        if is_owed || self.listeners.iter().any(perhaps) {
            return Some(Duration::ZERO);
        }
        let retries = self.listeners.iter().filter_map(|listener| match listener.waiting {
            Waiting::ForRoom { retry_ms } => Some(retry_ms),
            Waiting::Nothing | Waiting::Perhaps => None,
        });
        let keeps_any =
            self.is_stirred || self.turn.pool.idle_bytes() > 0 || self.turn.topics.bytes() > 0;
        let trim = keeps_any.then_some(self.trim_at_ms);
        let at_ms =
            self.turn.timers.next_ms().into_iter().chain(self.draining_until_ms).chain(trim);
        let awaited = self.handing_over.as_ref().map(HandingOver::until_ms);
        let at_ms = at_ms.chain(retries).chain(awaited).chain(self.handler.wake_at_ms()).min()?;
        // Measured from the start of the turn that ends now, so it is never late by more than a turn.
        Some(Duration::from_millis(at_ms.saturating_sub(self.turn.now_ms)))
    }

    /// Whether something that leaves at a turn's end waits for the next.
    pub(crate) fn has_live_work(&self) -> bool {
        let Turn { topics, doomed, .. } = &self.turn;
        topics.has_unfanned() || !doomed.is_empty() || !self.batches.is_empty()
    }

    /// The listener is gone if a drain began earlier in this turn.
    fn listener_event(&mut self, token: Token) {
        if let Some(listener) = self.listeners.iter_mut().find(|it| it.token == token) {
            listener.waiting = Waiting::Perhaps;
        }
    }

    fn peer_event(&mut self, key: usize, event: &impl Readiness) {
        // A child process that is just being started holds all descriptors until it executes, and with them the
        // registration of one that was closed here meanwhile: its events name nobody, or by now somebody else, whom they
        // do no harm.
        let Some(tx) = self.peers.tx.get(key) else { return };
        if event.is_writable() && !tx.is_flushed() {
            self.flush(key);
        }
        if self.peers.tx[key].is_marked_ready() {
            // Its share comes with the ready list, and no second one here; all that this event tells is found there.
            return;
        }
        if event.is_read_closed() || event.is_error() {
            self.receive(key, ReadUntil::Empty);
        } else if event.is_readable() {
            self.receive(key, ReadUntil::ShortRead);
        }
    }

    /// Writes what waits for this peer, and ends its connection if that was the last. Whether it took anything.
    fn flush(&mut self, key: usize) -> bool {
        let tx = &mut self.peers.tx[key];
        if tx.phase == Phase::Doomed {
            return false;
        }
        let (was_paused, waiting) = (tx.is_paused(&self.turn), tx.backlog_bytes());
        let is_slow = tx.was_refused();
        tx.flush(key, &mut self.turn);
        // Its Pongs are not read while it is paused, so what it takes is its sign of life.
        let took_some = tx.is_flushed() || tx.backlog_bytes() < waiting;
        let waits_less = self.make_parts(key) || took_some;
        let (rx, tx) = (&mut self.peers.rx[key], &mut self.peers.tx[key]);
        if waits_less && (was_paused || tx.phase != Phase::Open) {
            rx.last_rx_ms = self.turn.now_ms;
        }
        tx.finish_if_flushed(key, &mut self.turn);
        if tx.is_flushed() && tx.subscriptions.is_some() && tx.takes_topics() {
            self.catch_up(key, is_slow);
            return waits_less;
        }
        let goes_on = match rx.reading {
            Reading::Replying(_) => tx.is_flushed(),
            Reading::Later(_) => !tx.is_paused(&self.turn),
            _ => false,
        };
        if goes_on && tx.phase != Phase::Doomed {
            tx.await_work(key, &mut self.turn);
        }
        waits_less
    }

    /// Gives those who wait for work theirs, a share each and the first ones first, until the turn's is used up.
    fn do_work(&mut self) {
        let listed = self.turn.work.waiting();
        self.turn.work.begin_list();
        for _ in 0..listed {
            let Some(id) = self.turn.work.next() else { break };
            let Some(tx) = find(&mut self.peers.tx, id) else { continue };
            tx.take_work();
            self.work_for(id.key as usize);
        }
        self.turn.work.end_list();
    }

    /// What a peer waits for may be several things: what its topics have for it, and the answer to what it sent.
    fn work_for(&mut self, key: usize) {
        if !self.peers.tx[key].is_flushed() {
            self.flush(key);
        }
        if self.peers.tx[key].phase == Phase::Doomed {
            return;
        }
        match self.peers.rx[key].reading {
            Reading::Later(_) => self.serve_later(key),
            Reading::Replying(_) => self.go_on_replying(key),
            Reading::Frames(_) => self.resume_put_back(key),
            _ => {}
        }
    }

    /// Goes on with peers that had more to do than a turn's share, or took their replies: those `listed` before this turn,
    /// the first ones first.
    fn resume_ready(&mut self, listed: usize) {
        self.turn.begin_phase();
        let mut resumed = 0;
        while resumed < listed && self.turn.has_bytes_left() {
            let id = self.turn.ready[resumed];
            resumed += 1;
            let key = id.key as usize;
            let Some(tx) = find(&mut self.peers.tx, id) else { continue };
            tx.unmark_ready();
            if !tx.is_flushed() {
                self.flush(key);
            }
            self.tell_drained(key);
            self.receive(key, ReadUntil::Empty);
        }
        self.turn.ready.drain(..resumed);
        self.turn.handshakes.end_turn();
    }

    fn tell_drained(&mut self, key: usize) {
        let Self { peers, turn, handler, .. } = self;
        let tx = &mut peers.tx[key];
        if tx.take_drained(turn)
            && tx.phase == Phase::Open
            && let Some(state) = &mut peers.rx[key].state
        {
            let generation = tx.generation;
            let cx = &mut Context::new(key, generation, &mut peers.tx, turn, InPlace::NOTHING);
            handler.on_drain(state, cx);
            peers.tx[key].uncork(key, InPlace::NOTHING, turn);
        }
    }

    fn flush_dirty(&mut self) {
        self.fan_out();
        // Flushing may add to the list: who lost messages may have to be closed for it.
        let mut at = 0;
        while let Some(&key) = self.turn.dirty.get(at) {
            let key = key as usize;
            at += 1;
            if self.turn.work.has_live_left() {
                self.turn.work.spend_live(CALL_UNITS);
                self.flush(key);
            } else {
                self.peers.tx[key].put_off_flush(key, &mut self.turn);
            }
        }
        self.turn.dirty.clear();
    }

    /// Removes doomed peers, as many as the turn has a budget for, and lets what their `on_close` sent to others leave.
    pub(crate) fn flush_and_reap(&mut self) {
        self.flush_dirty();
        while self.turn.work.has_live_left()
            && let Some(key) = self.turn.doomed.pop_front()
        {
            self.reap(key as usize);
            if self.turn.doomed.is_empty() {
                // Flushing may doom others.
                self.flush_dirty();
            }
        }
        self.flush_dirty();
    }

    /// The same for all of them: nobody is served any more.
    pub(crate) fn flush_and_reap_all(&mut self) {
        self.turn.work.lift();
        self.flush_and_reap();
    }

    /// Removes one peer: its socket is closed here, and its state goes back to the handler.
    fn reap(&mut self, key: usize) {
        self.turn.timers.clear(key);
        self.is_stirred = true;
        let (rx, mut tx) = self.peers.remove(key);
        let subscriptions = tx.subscriptions.as_ref().map_or(0, |mine| mine.len());
        let units = subscriptions.saturating_mul(UNSUBSCRIBE_UNITS).saturating_add(END_UNITS);
        self.turn.work.spend_live(units);
        self.turn.addresses.release(tx.address, tx.packing.granted_bytes());
        self.turn.addresses.remove(tx.address);
        if let Some(subscriptions) = tx.subscriptions.take() {
            for subscription in subscriptions.into_iter() {
                unsubscribe(&mut self.peers.tx, &mut self.turn.topics, subscription);
            }
        }
        let (generation, closed, owner) = (tx.generation, tx.closed, tx.owner);
        self.excess_count -= usize::from(tx.is_excess);
        if tx.side == Side::Admin {
            self.admins.remove(key);
        }
        self.turn.compressors.release(&tx.packing);
        if tx.link.is_tls() {
            self.turn.memory.remove_session();
        }
        drop(tx);
        if let Some(state) = rx.state {
            self.turn.counters.lost += u64::from(closed == Closed::Lost);
            log_end(PeerId { key: to_u32(key), generation }, self.peers.addr(key), closed);
            let (tx, turn) = (&mut self.peers.tx, &mut self.turn);
            let mut cx = Context::new(key, generation, tx, turn, InPlace::NOTHING);
            self.handler.on_close(state, closed, &mut cx);
        }
        self.turn.topics.owners.release(owner);
        for listener in &mut self.listeners {
            if matches!(listener.waiting, Waiting::ForRoom { .. }) {
                listener.waiting = Waiting::Perhaps;
            }
        }
    }

    /// Accepts from every listener that may have connections waiting, within the turn's share.
    fn accept(&mut self) {
        for at in 0..self.listeners.len() {
            if !self.accepts_from(&self.listeners[at]) {
                continue;
            }
            match self.listeners[at].waiting {
                Waiting::ForRoom { retry_ms } if retry_ms > self.turn.now_ms => {}
                Waiting::Nothing => {}
                Waiting::Perhaps | Waiting::ForRoom { .. } => {
                    self.listeners[at].waiting = self.accept_from(at);
                }
            }
        }
    }

    fn accept_from(&mut self, at: usize) -> Waiting {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            if self.listeners[at].side == Side::Admin && !self.has_admin_place() {
                return Waiting::ForRoom { retry_ms: self.turn.now_ms + ADMIN_RETRY_MS };
            }
            match self.listeners[at].accept() {
                Accepted::Stream(stream, peer) => self.add(at, stream, peer),
                Accepted::Nobody => return Waiting::Nothing,
                Accepted::Gone => {}
                Accepted::Exhausted(error) => {
                    self.turn.counters.accepts_paused += 1;
                    tracing::debug!(target: FAULT, %error, "accepting pauses until a descriptor is free");
                    return Waiting::ForRoom { retry_ms: self.turn.now_ms + RETRY_MS };
                }
            }
        }
        Waiting::Perhaps
    }

    /// Takes a connection in from the listener `at`, to serve it or to tell it that there is no room.
    fn add(&mut self, at: usize, stream: Stream, peer: PeerAddr) {
        self.turn.counters.accepted += 1;
        // Those who are being refused hold a place of the reserve, and no slot.
        let side = self.listeners[at].side;
        if side == Side::Admin && !self.take_admin_place() {
            return;
        }
        let versions = self.listeners[at].proxy_versions(peer);
        // A proxy is nobody's only connection; whom it speaks for is counted once it says so.
        let owner = versions.is_none().then_some(peer).filter(|_| side == Side::Public);
        let shortage = if side == Side::Public { self.shortage(owner) } else { None };
        if shortage.is_some() {
            if self.excess_count >= self.excess_max {
                return;
            }
            self.excess_count += 1;
        }
        self.generation = self.generation.wrapping_add(1);
        let Some(link) = self.listeners[at].link(stream, versions.is_some()) else { return };
        let from = Arrival { id: self.peers.next_id(self.generation), peer, side };
        let reading = match versions {
            Some(versions) => Reading::Proxied(Proxied::new(versions, from)),
            None => Reading::Head(Head::new(from)),
        };
        if link.is_tls() {
            self.turn.memory.add_session();
        }
        let rx = Rx::new(reading, self.turn.now_ms);
        let key = self.peers.insert(rx, Tx::new(link, self.generation), peer);
        self.peers.tx[key].is_excess = shortage.is_some();
        self.peers.tx[key].side = side;
        if side == Side::Admin {
            self.admins.add(key, Some(self.turn.now_ms));
        }
        let socket = self.peers.tx[key].link.source();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(socket, Token(key), interest).is_err() {
            return self.peers.tx[key].doom(key, &mut self.turn);
        }
        if let Some((status, reason)) = shortage {
            return self.answer_refusal(key, status, reason);
        }
        if let Some(owner) = owner {
            self.peers.tx[key].address = self.turn.addresses.add(owner);
        }
        self.turn.timers.set(key, self.turn.now_ms + self.turn.limits.handshake_timeout_ms);
    }

    /// How many clients more there may be.
    fn free_places(&self) -> usize {
        let clients = self.peers.len() - self.excess_count - self.admins.len();
        self.turn.limits.peers_max.saturating_sub(clients)
    }

    /// What there is too little of for one more client, of `owner` if that is known by now.
    fn shortage(&mut self, owner: Option<PeerAddr>) -> Option<(Status, &'static str)> {
        let free = self.free_places();
        let counters = &mut self.turn.counters;
        let reason = if free == 0 {
            counters.over_capacity += 1;
            "all connections are in use"
        } else if self.turn.memory.is_used_up() {
            counters.short_of_memory += 1;
            SHORT_REASON
        } else {
            return owner.and_then(|owner| self.excess_of(owner, free));
        };
        Some((Status::ServiceUnavailable, reason))
    }

    /// What one more connection of `owner` would be too much for, where `free` places are left for all.
    fn excess_of(&mut self, owner: PeerAddr, free: usize) -> Option<(Status, &'static str)> {
        let Turn { addresses, rates, counters, now_ms, .. } = &mut self.turn;
        if !addresses.has_room(owner, free) {
            counters.over_per_ip += 1;
            return Some((Status::ServiceUnavailable, CROWDED_REASON));
        }
        if !rates.take_connection(Addresses::rated_ip(owner), *now_ms) {
            counters.over_rate += 1;
            return Some((Status::TooManyRequests, HASTY_REASON));
        }
        None
    }

    /// A proxy said that the peer is `owner`: counts it, or refuses it if there are enough from there. False: it was refused.
    pub(crate) fn count_named(&mut self, key: usize, owner: PeerAddr) -> bool {
        if self.peers.tx[key].side == Side::Admin {
            return true;
        }
        // Its own place is none that is free.
        let Some((status, reason)) = self.excess_of(owner, self.free_places()) else {
            self.peers.tx[key].address = self.turn.addresses.add(owner);
            return true;
        };
        if self.excess_count >= self.excess_max {
            self.peers.tx[key].doom(key, &mut self.turn);
        } else {
            // The place that it had as long as nobody knew whose it was is free again.
            self.excess_count += 1;
            self.peers.tx[key].is_excess = true;
            self.answer_refusal(key, status, reason);
        }
        false
    }

    /// Acts on a turn's share of deadlines that have passed.
    fn expire_deadlines(&mut self) {
        let mut due = Vec::new();
        self.turn.timers.expire(self.turn.now_ms, DEADLINES_PER_TURN_MAX, &mut due);
        for key in due {
            self.deadline(key as usize);
        }
    }

    /// Calls the handler if the time that it asked for has come.
    fn wake(&mut self) {
        if self.handler.wake_at_ms().is_some_and(|at_ms| at_ms <= self.turn.now_ms) {
            let mut cx = Context::for_nobody(&mut self.peers.tx, &mut self.turn);
            self.handler.on_wake(&mut cx);
        }
    }

    /// What a peer's deadline means depends on where its connection stands.
    fn deadline(&mut self, key: usize) {
        // The kernel says that it has room only once half of what it keeps unsent has left, which a slow reader may need minutes
        // for. Less room shows in that it takes more.
        let took = !self.peers.tx[key].is_flushed() && self.flush(key);
        match self.peers.tx[key].phase {
            Phase::Opening => self.handshake_timed_out(key),
            Phase::Open => self.check_silence(key),
            Phase::Streaming => self.keep_stream_alive(key),
            Phase::Finishing | Phase::Lingering if took => {
                let timeout_ms = self.turn.limits.close_timeout_ms;
                self.turn.timers.set(key, self.turn.now_ms.saturating_add(timeout_ms));
            }
            Phase::Closing | Phase::Finishing | Phase::Lingering => {
                self.turn.counters.closes_timed_out += 1;
                self.peers.tx[key].doom(key, &mut self.turn);
            }
            Phase::Doomed => {}
        }
    }

    /// Any inbound byte since the deadline was set moves it; else a Ping goes out, and a peer that leaves it without any
    /// byte is dropped. Nobody is dropped unasked, however late this is called.
    fn check_silence(&mut self, key: usize) {
        let Self { peers, turn, handler, .. } = self;
        let (rx, tx) = (&mut peers.rx[key], &mut peers.tx[key]);
        let (interval_ms, timeout_ms) = (turn.limits.ping_interval_ms, turn.limits.pong_timeout_ms);
        let ping_at_ms = rx.last_rx_ms + interval_ms;
        let gone_at_ms = rx.pinged_ms + timeout_ms;
        if rx.pinged_ms > rx.last_rx_ms {
            if turn.now_ms < gone_at_ms {
                return turn.timers.set(key, gone_at_ms);
            }
            turn.counters.silent += 1;
            tx.closed = Closed::Silent;
            tx.doom(key, turn);
        } else if turn.now_ms >= ping_at_ms {
            rx.pinged_ms = turn.now_ms;
            match rx.state.as_ref().and_then(|state| handler.ping(state)) {
                Some(text) => outbound::append(&mut turn.cork, Opcode::Text, text),
                None => outbound::append(&mut turn.cork, Opcode::Ping, &[]),
            }
            tx.uncork(key, InPlace::NOTHING, turn);
            // If it answers soon, the next Ping may be due before the time to answer this one is over.
            turn.timers.set(key, turn.now_ms + timeout_ms.min(interval_ms));
        } else {
            turn.timers.set(key, ping_at_ms);
        }
    }

    /// Makes room where memory is tight: history beyond what is always kept of it, then who takes most, a few in a turn, then
    /// all history. So one who does not read, or does not finish, takes it from nobody else.
    fn relieve(&mut self) {
        let Self { turn, .. } = self;
        if !turn.memory.is_tight() {
            return;
        }
        turn.topics.give_up(turn.memory.share(25, usize::MAX));
        for _ in 0..CUTS_PER_TURN_MAX {
            if !self.turn.memory.is_tight() || !self.end_greediest() {
                break;
            }
            self.flush_and_reap();
        }
        self.turn.topics.give_up(0);
    }

    /// Ends the connection that most memory is kept for, one that moves only if all do; false: none is worth it.
    fn end_greediest(&mut self) -> bool {
        let Self { peers, turn, .. } = self;
        let kept = peers.rx.iter().zip(&peers.tx).filter_map(|((key, rx), (_, tx))| {
            let (input, output) = (rx.kept_bytes(), tx.kept_bytes());
            let is_worth_it = input + output >= GREEDY_BYTES_MIN && tx.phase != Phase::Doomed;
            is_worth_it.then_some((rx.last_rx_ms < turn.now_ms, input + output, input, key))
        });
        let Some((_, sum, input, key)) = kept.max() else { return false };
        if input > sum / 2 {
            self.end_for_memory(key);
        } else {
            self.peers.tx[key].cut_for_memory(key, &mut self.turn);
        }
        true
    }

    /// Gives pooled memory back after a peak.
    fn trim_pool(&mut self) {
        if self.turn.now_ms >= self.trim_at_ms {
            self.turn.pool.trim();
            self.turn.compressors.trim();
            let bytes = self.turn.topics.bytes();
            self.turn.topics.trim(self.turn.now_ms);
            self.is_stirred |= self.turn.topics.bytes() < bytes;
            if std::mem::take(&mut self.is_stirred) {
                self.handler.on_trim();
            }
            self.trim_at_ms = self.turn.now_ms + TRIM_INTERVAL_MS;
        }
    }

    fn obey_commands(&mut self) -> Option<Ended> {
        let mut ended = None;
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Send(peer, kind, payload) => {
                    if let Some(tx) = find(&mut self.peers.tx, peer) {
                        let frame = Prepared::new(kind, &payload).for_one(tx, &mut self.turn);
                        let _counted = tx.queue_frame(peer.key as usize, frame, &mut self.turn);
                    }
                }
                Command::Broadcast(kind, payload) => {
                    let mut cx = Context::for_nobody(&mut self.peers.tx, &mut self.turn);
                    cx.broadcast(kind, &payload);
                }
                Command::Publish(batch, receipt) => {
                    self.batches.push_back(Publishing::new(batch, receipt));
                }
                Command::SetLimits(limits) => {
                    self.turn.adopt(&limits);
                    let mut cx = Context::for_nobody(&mut self.peers.tx, &mut self.turn);
                    self.handler.on_limits(&mut cx);
                }
                Command::Drain => self.begin_drain(),
                Command::HandOver => self.prepare_to_move(),
                Command::Stop => ended = Some(Ended::Stopped),
            }
        }
        ended
    }

    pub(crate) fn obey_signals(&mut self) -> Option<Ended> {
        let signals: Vec<i32> = self.signals.as_mut()?.pending().collect();
        for signal in signals {
            if self.draining_until_ms.is_some() {
                return Some(Ended::Signalled(signal));
            }
            let name = signals::name(signal);
            tracing::info!(signal = name, connections = self.peers.len(), "draining");
            self.begin_drain();
        }
        None
    }

    /// Stops listening for clients, and says goodbye to them. `Side::Admin` watches until they are gone.
    fn begin_drain(&mut self) {
        if self.draining_until_ms.is_some() {
            return;
        }
        self.draining_until_ms = Some(self.turn.now_ms + self.turn.limits.drain_ms);
        self.turn.is_draining = true;
        // What was published before the end is ahead of it.
        self.turn.work.lift();
        self.fan_out();
        self.dismiss(Side::Public);
    }

    /// Whether the server drains, and only those are left who watch it do so.
    fn are_clients_gone(&self) -> bool {
        self.draining_until_ms.is_some()
            && !self.listeners.is_empty()
            && self.peers.len() == self.admins.len()
    }

    /// Stops listening for one side, and says goodbye to it: 503 to a handshake in progress, Close 1001 to an open peer.
    fn dismiss(&mut self, side: Side) {
        while let Some(at) = self.listeners.iter().rposition(|it| it.side == side) {
            self.listeners.remove(at).close(self.poll.registry());
        }
        let peers = self.peers.tx.iter().filter(|(_, tx)| tx.side == side);
        let keys: Vec<usize> = peers.map(|(key, _)| key).collect();
        for key in keys {
            let (rx, tx) = (&mut self.peers.rx[key], &mut self.peers.tx[key]);
            match tx.phase {
                Phase::Opening if rx.is_idle() => self.end_idle(key),
                Phase::Opening if rx.reading.is_within_response() => {
                    if let Reading::Replying(replying) = &mut rx.reading {
                        replying.be_last();
                    }
                }
                Phase::Opening => {
                    self.answer_refusal(
                        key,
                        Status::ServiceUnavailable,
                        "the server is going down",
                    );
                }
                Phase::Open => {
                    tx.close_other(
                        key,
                        StatusCode::GOING_AWAY,
                        "the server is going down",
                        &mut self.turn,
                    );
                }
                Phase::Streaming => tx.finish(key, &mut self.turn),
                Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Doomed => {}
            }
            self.finish_if_flushed(key);
        }
    }

    /// The loop ends: whoever is still connected is cut, and has its `on_close` all the same.
    pub(crate) fn cut_all(&mut self) {
        for (key, tx) in &mut self.peers.tx {
            if tx.phase < Phase::Finishing {
                tx.closed = Closed::Cut;
            }
            tx.doom(key, &mut self.turn);
        }
        self.flush_and_reap_all();
    }

    fn drain_ended(&self) -> Option<Ended> {
        let until_ms = self.draining_until_ms?;
        match self.peers.len() {
            0 => Some(Ended::Drained),
            left if self.turn.now_ms >= until_ms => match left - self.admins.len() {
                0 => Some(Ended::Drained),
                clients => Some(Ended::DrainTimedOut(clients)),
            },
            _ => None,
        }
    }
}

/// The line about the end of a connection that was open.
fn log_end(id: PeerId, address: PeerAddr, closed: Closed) {
    let (code, why) = (closed.status_code().map(StatusCode::to_wire), closed.reason());
    match closed {
        Closed::Failed(_) | Closed::Silent | Closed::Cut => {
            tracing::debug!(target: FAULT, %id, %address, code, why, "failed");
        }
        Closed::ByPeer(_) | Closed::ByUs(_) | Closed::Lost => {
            tracing::debug!(%id, %address, code, why, "closed");
        }
    }
}

/// Tokens below are slab keys.
pub(crate) const TOKENS_FROM: usize = 1 << 24;
pub(crate) const WAKER: Token = Token(TOKENS_FROM);
const SIGNALS: Token = Token(TOKENS_FROM + 1);

/// Listeners count down from the top.
const fn listener_token(at: usize) -> Token {
    Token(usize::MAX - at)
}

/// Events taken from the kernel at once.
const EVENTS_PER_TURN_MAX: usize = 1024;

/// How soon it is looked again whether an admin gives its place up.
const ADMIN_RETRY_MS: u64 = 10;

/// Connections accepted from one listener in one turn.
const ACCEPTS_PER_TURN_MAX: usize = 256;

/// Deadlines acted on in one turn.
const DEADLINES_PER_TURN_MAX: usize = 256;

/// Connections past `peers_max` that are told so; more are cut at once.
const REFUSALS_MAX: usize = 64;

const CROWDED_REASON: &str = "too many connections from this address";

const HASTY_REASON: &str = "too many new connections from this address (connect-rate)";

/// What a place for a peer takes, about.
const PEER_BYTES: usize = 256;

/// Peers that the slabs have room for from the start; untouched memory costs nothing.
const PREPARED_PEERS_MAX: usize = 1 << 16;

/// Peers that are ended in one turn because memory is tight.
const CUTS_PER_TURN_MAX: usize = 16;

/// Who has less is not worth it.
const GREEDY_BYTES_MIN: usize = 16 * 1024;

/// How long pooled memory must have been idle to be given back.
const TRIM_INTERVAL_MS: u64 = 5000;
