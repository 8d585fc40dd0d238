//! One connection: its socket, its frames, and where in its life it stands.
//!
//! ```text
//! Connecting ──► Securing ──┬► Upgrading ──► Open ──► Closing ──► Ended
//!     │              │      └► Posting       │          │           ▲
//!     └──────────────┴──────────────┴────────┴──────────┘ on any failure
//! ```
//!
//! The only user of `wsfast::proto` besides `loan`, `upgrade` and `post`. Owns a link and, while a frame is cut or the kernel
//! refuses bytes, those bytes; every buffer of size is the measuring thread's, lent through [`Loan`]. What a message
//! proves is the [`Judge`]'s business.

use std::collections::VecDeque;

use wsfast::proto::close::StatusCode;
use wsfast::proto::deflate::Agreed;
use wsfast::proto::error::ProtocolError;
use wsfast::proto::inbound::{Inbound, Step};
use wsfast::proto::opcode::Opcode;
use wsfast::proto::outbound;

use crate::judge::{Judge, Opening as Way, Then};
use crate::time::clock::{Reading, now_ns};
use crate::wire::link::{Drained, Fill, Link, LinkError, Rest, Secured};
use crate::wire::loan::{Loan, masking_key};
use crate::wire::post::Answers;
use crate::wire::upgrade::{OpenFailure, Upgrade};

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn<L> {
    /// What the judge keeps of it.
    pub(crate) lane: L,
    /// `None` once it has ended.
    link: Option<Link>,
    phase: Phase,
    inbound: Inbound,
    /// How messages are compressed, if they are.
    deflate: Option<Agreed>,
    /// Bytes read that are less than a header or a control frame.
    owed: Vec<u8>,
    /// Bytes that the kernel did not take yet.
    unsent: VecDeque<u8>,
}

/// Where in its life a connection stands. Moves only downwards.
#[derive(Debug)]
enum Phase {
    /// The TCP handshake is under way.
    Connecting {
        /// When it began.
        started_ns: u64,
    },
    /// The TLS handshake is, where there is one.
    Securing {
        /// When the TCP handshake began.
        started_ns: u64,
        /// When it was over.
        tcp_open_ns: u64,
    },
    /// The opening handshake is under way.
    Upgrading(Box<Opening>),
    /// Messages flow.
    Open,
    /// HTTP requests do.
    Posting(Box<Posting>),
    /// Our Close frame is sent; the server's end is awaited.
    Closing,
    /// The socket is gone.
    Ended {
        /// The closing handshake, which this client began, was whole.
        cleanly: bool,
    },
}

/// What an opening handshake keeps until it is over.
#[derive(Debug)]
struct Opening {
    upgrade: Upgrade,
    /// The place of its request in the loan.
    ask: usize,
    tcp_ns: u64,
    tls_ns: Option<u64>,
    /// When the request was sent.
    asked_ns: u64,
}

/// What a connection keeps that publishes by HTTP.
#[derive(Debug)]
struct Posting {
    /// The place of its head in the loan.
    head: usize,
    answers: Answers,
    /// When the requests left that are not answered.
    sent_ns: VecDeque<u64>,
}

/// What an event says of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// There is something to read.
    pub(crate) readable: bool,
    /// There is room to write.
    pub(crate) writable: bool,
    /// The end of the stream, or an error, is there to be read: a short read is then not the last one.
    pub(crate) ended: bool,
}

/// What a connection has to tell the measuring thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing that it has to act on.
    None,
    /// More can be read, but others come first: call again with `readable` set.
    More,
    /// It is open.
    Opened {
        /// How long the TCP handshake took.
        tcp_ns: u64,
        /// How long the TLS handshake took.
        tls_ns: Option<u64>,
        /// How long the opening handshake took, if there was one.
        upgrade_ns: Option<u64>,
    },
    /// It could not be opened.
    Failed(OpenFailure),
    /// It ended, for whatever reason; its end is counted.
    Ended,
}

/// Why an open connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server sent a Close frame.
    Said,
    /// The stream ended.
    Closed,
    /// It broke.
    Reset,
    /// The server broke a rule of RFC 6455.
    Protocol(ProtocolError),
    /// The server answered a POST with what is no answer.
    Http,
}

impl From<LinkError> for End {
    /// TLS that broke is as useless as TCP that did.
    fn from(_: LinkError) -> Self {
        Self::Reset
    }
}

/// Reads of one connection before the others' turn.
const READS_PER_TURN_MAX: usize = 8;

impl<L> Conn<L> {
    /// The connection number `conn` on a link that is connecting since `started_ns`.
    pub(crate) fn new(
        conn: u32,
        link: Link,
        started_ns: u64,
        loan: &Loan<impl Judge<Lane = L>>,
    ) -> Self {
        Self {
            lane: loan.judge.lane(conn),
            link: Some(link),
            phase: Phase::Connecting { started_ns },
            inbound: Inbound::new(loan.rules()),
            deflate: None,
            owed: Vec::new(),
            unsent: VecDeque::new(),
        }
    }

    /// A connection that could not even begin.
    pub(crate) fn stillborn(conn: u32, loan: &Loan<impl Judge<Lane = L>>) -> Self {
        Self {
            lane: loan.judge.lane(conn),
            link: None,
            phase: Phase::Ended { cleanly: false },
            inbound: Inbound::new(loan.rules()),
            deflate: None,
            owed: Vec::new(),
            unsent: VecDeque::new(),
        }
    }

    /// Whether messages flow.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Posting(_))
    }

    /// Whether the socket is gone.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether the closing handshake, which this client began, was whole.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Ended { cleanly: true })
    }

    /// Gives up opening it; says at what.
    pub(crate) fn time_out(&mut self) -> OpenFailure {
        let is_securing = matches!(self.phase, Phase::Securing { .. });
        self.end();
        if is_securing { OpenFailure::TlsTimeout } else { OpenFailure::Timeout }
    }

    /// Drops the socket.
    pub(crate) fn end(&mut self) {
        if let Some(mut link) = self.link.take() {
            link.end();
        }
        self.phase = Phase::Ended { cleanly: false };
        self.owed = Vec::new();
        self.unsent = VecDeque::new();
    }

    /// Takes in an event.
    pub(crate) fn on_ready(&mut self, ready: Ready, loan: &mut Loan<impl Judge<Lane = L>>) -> News {
        match self.phase {
            Phase::Connecting { started_ns } => {
                self.on_connected(started_ns, loan).unwrap_or_else(|failure| self.fail(failure))
            }
            Phase::Securing { started_ns, tcp_open_ns } => {
                let secured = self.on_secured(started_ns, tcp_open_ns, loan);
                secured.unwrap_or_else(|failure| self.fail(failure))
            }
            Phase::Upgrading(_) => {
                self.on_response(ready, loan).unwrap_or_else(|failure| self.fail(failure))
            }
            Phase::Open | Phase::Closing => {
                self.on_frames(ready, loan).unwrap_or_else(|end| self.ended(end, loan))
            }
            Phase::Posting(_) => {
                self.on_answers(ready, loan).unwrap_or_else(|end| self.ended(end, loan))
            }
            Phase::Ended { .. } => News::None,
        }
    }

    /// Sends `count` messages in one write.
    pub(crate) fn send(
        &mut self,
        count: u32,
        now_ns: u64,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> News {
        debug_assert!(self.is_open());
        if let Phase::Posting(posting) = &mut self.phase {
            for _ in 0..count {
                loan.append_post(&mut self.lane, posting.head, now_ns);
                posting.sent_ns.push_back(now_ns);
            }
        } else {
            for _ in 0..count {
                loan.append_message(&mut self.lane, self.deflate, now_ns);
            }
        }
        match self.flush(loan) {
            Ok(()) => News::None,
            Err(end) => self.ended(end, loan),
        }
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2); HTTP has none.
    pub(crate) fn close(&mut self, loan: &mut Loan<impl Judge<Lane = L>>) -> News {
        debug_assert!(self.is_open());
        if matches!(self.phase, Phase::Posting(_)) {
            self.end();
            return News::Ended;
        }
        let key = masking_key(&mut loan.random);
        outbound::append_close(&mut loan.out, Some(key), StatusCode::NORMAL, "");
        self.phase = Phase::Closing;
        match self.flush(loan) {
            Ok(()) => News::None,
            Err(end) => self.ended(end, loan),
        }
    }

    fn fail(&mut self, failure: OpenFailure) -> News {
        self.end();
        News::Failed(failure)
    }

    /// The TCP handshake may be over.
    fn on_connected(
        &mut self,
        started_ns: u64,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> Result<News, OpenFailure> {
        let Some(link) = &mut self.link else { return Ok(News::None) };
        if !link.is_connected()? {
            return Ok(News::None);
        }
        let tcp_open_ns = now_ns();
        if let Some(connector) = &loan.connector {
            // Only now: what a ClientHello costs this client is no part of the TCP handshake.
            self.link = self.link.take().map(|link| link.over_tls(connector)).transpose()?;
        }
        self.phase = Phase::Securing { started_ns, tcp_open_ns };
        self.on_secured(started_ns, tcp_open_ns, loan)
    }

    /// The TLS handshake may be over, or there is none: sends the upgrade request then, if it is to be a WebSocket.
    fn on_secured(
        &mut self,
        started_ns: u64,
        tcp_open_ns: u64,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> Result<News, OpenFailure> {
        let Some(link) = &mut self.link else { return Ok(News::None) };
        if link.secure(&mut loan.wire)? == Secured::NotYet {
            return Ok(News::None);
        }
        let tcp_ns = tcp_open_ns.saturating_sub(started_ns);
        let asked_ns = if link.is_tls() { now_ns() } else { tcp_open_ns };
        let tls_ns = link.is_tls().then(|| asked_ns.saturating_sub(tcp_open_ns));
        let ask = match loan.judge.opening(&self.lane) {
            Way::Upgrade(ask) => ask,
            Way::Http(head) => {
                let (answers, sent_ns) = (Answers::new(), VecDeque::new());
                self.phase = Phase::Posting(Box::new(Posting { head, answers, sent_ns }));
                return Ok(News::Opened { tcp_ns, tls_ns, upgrade_ns: None });
            }
        };
        let upgrade = Upgrade::new(&mut loan.random);
        loan.out.clear();
        upgrade.encode_request(&loan.asks.upgrades[ask], &mut loan.out);
        // A socket that has just opened has room for a request; if not, the rest waits as for any other write.
        self.phase = Phase::Upgrading(Box::new(Opening { upgrade, ask, tcp_ns, tls_ns, asked_ns }));
        self.flush(loan).map_err(|_| OpenFailure::ClosedEarly)?;
        Ok(News::None)
    }

    /// Reads the server's answer to the upgrade request.
    fn on_response(
        &mut self,
        ready: Ready,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> Result<News, OpenFailure> {
        if ready.writable {
            self.flush_unsent().map_err(|_| OpenFailure::ClosedEarly)?;
        }
        let (Some(link), Phase::Upgrading(opening)) = (&mut self.link, &mut self.phase) else {
            return Ok(News::None);
        };
        let (len, rest) = match link.read(&mut loan.scratch, &mut loan.wire)? {
            Fill::Bytes { len, rest, .. } => (len, rest),
            Fill::WouldBlock => return Ok(News::None),
            Fill::End => return Err(OpenFailure::ClosedEarly),
        };
        let request = &loan.asks.upgrades[opening.ask];
        let taken = opening.upgrade.take_in(&loan.scratch[..len], request)?;
        let Some((head_len, deflate)) = taken else {
            // A response that comes in pieces is rare; the event repeats once there is more.
            let is_last = rest == Rest::Drained && !ready.ended;
            return Ok(if is_last { News::None } else { News::More });
        };
        let opened_ns = now_ns();
        let news = News::Opened {
            tcp_ns: opening.tcp_ns,
            tls_ns: opening.tls_ns,
            upgrade_ns: Some(opened_ns.saturating_sub(opening.asked_ns)),
        };
        self.phase = Phase::Open;
        if let Some(agreed) = deflate {
            loan.packer.agreed();
            let window_bits = agreed.server_takeover.then_some(agreed.server_window_bits);
            self.inbound = Inbound::new(loan.rules().with_deflate(window_bits));
            self.deflate = deflate;
        }
        loan.append_greetings(&self.lane);
        loan.scratch.copy_within(head_len..len, 0);
        self.walk(len - head_len, Reading::at(opened_ns), loan)
            .map_err(|_| OpenFailure::ClosedEarly)?;
        self.flush(loan).map_err(|_| OpenFailure::ClosedEarly)?;
        Ok(news)
    }

    /// Reads frames, answers what wants an answer, writes what waits.
    fn on_frames(
        &mut self,
        ready: Ready,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> Result<News, End> {
        if ready.writable {
            self.flush_unsent()?;
        }
        if !ready.readable && !ready.ended {
            return Ok(News::None);
        }
        for _ in 0..READS_PER_TURN_MAX {
            let Some(link) = &mut self.link else { return Ok(News::None) };
            let owed_len = self.owed.len();
            loan.scratch[..owed_len].copy_from_slice(&self.owed);
            let read = link.read(&mut loan.scratch[owed_len..], &mut loan.wire)?;
            let (len, rest, stamp_ns) = match read {
                Fill::Bytes { len, rest, stamp_ns } => (len, rest, stamp_ns),
                Fill::WouldBlock => return Ok(News::None),
                Fill::End => return Err(End::Closed),
            };
            self.walk(owed_len + len, Reading::of(stamp_ns), loan)?;
            self.flush(loan)?;
            if rest == Rest::Drained && !ready.ended {
                return Ok(News::None);
            }
        }
        Ok(News::More)
    }

    /// Reads the answers to publications.
    fn on_answers(
        &mut self,
        ready: Ready,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> Result<News, End> {
        if ready.writable {
            self.flush_unsent()?;
        }
        for _ in 0..READS_PER_TURN_MAX {
            let (Some(link), Phase::Posting(posting)) = (&mut self.link, &mut self.phase) else {
                return Ok(News::None);
            };
            let (len, rest) = match link.read(&mut loan.scratch, &mut loan.wire)? {
                Fill::Bytes { len, rest, .. } => (len, rest),
                Fill::WouldBlock => return Ok(News::None),
                Fill::End => return Err(End::Closed),
            };
            let (mut input, now_ns) = (&loan.scratch[..len], now_ns());
            while let Some(status) = posting.answers.next(&mut input).map_err(|_| End::Http)? {
                // An answer to nothing is no answer.
                let sent_ns = posting.sent_ns.pop_front().ok_or(End::Http)?;
                loan.judge.answered(&mut self.lane, status, sent_ns, now_ns);
            }
            if rest == Rest::Drained && !ready.ended {
                return Ok(News::None);
            }
        }
        Ok(News::More)
    }

    /// Steps over the first `len` bytes of the scratch buffer and keeps what is less than a frame.
    fn walk(
        &mut self,
        len: usize,
        reading: Reading,
        loan: &mut Loan<impl Judge<Lane = L>>,
    ) -> Result<(), End> {
        let mut at = 0;
        loop {
            let input = &mut loan.scratch[at..len];
            let (used, step) = self.inbound.step(input, &mut loan.pool).map_err(End::Protocol)?;
            at += used;
            match step {
                Step::NeedBytes(_) => break,
                Step::Absorbed => {}
                Step::Pong(payload) => loan.judge.ponged(&mut self.lane, payload, reading.at_ns),
                Step::Message(message) => {
                    let (kind, payload) = (message.kind(), message.payload());
                    let then = loan.judge.take_in(&mut self.lane, kind, payload, reading);
                    match (then, &self.phase) {
                        (Then::Wait, _) => {}
                        (Then::Send, Phase::Open) => {
                            loan.append_message(&mut self.lane, self.deflate, reading.at_ns);
                        }
                        (Then::Answer(number), Phase::Open) => loan.append_answer(number),
                        // Behind a Close frame nothing is said.
                        (Then::Send | Then::Answer(_), _) => {}
                    }
                }
                Step::Ping(payload) => {
                    let key = masking_key(&mut loan.random);
                    outbound::append_masked(&mut loan.out, Opcode::Pong, payload, key);
                    loan.judge.book_mut().counts.pings += 1;
                }
                Step::Close(_) => return Err(End::Said),
            }
        }
        // No buffer for a connection that is owed nothing, which is the usual case.
        self.owed = if at == len { Vec::new() } else { loan.scratch[at..len].to_vec() };
        Ok(())
    }

    fn flush_unsent(&mut self) -> Result<(), End> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.flush()?;
        if self.unsent.is_empty() {
            return Ok(());
        }
        while !self.unsent.is_empty() {
            match link.write(self.unsent.as_slices().0)? {
                Drained::Bytes(len) => drop(self.unsent.drain(..len)),
                Drained::WouldBlock => return Ok(()),
            }
        }
        self.unsent = VecDeque::new();
        Ok(())
    }

    /// Writes what was put together in the loan; what the kernel refuses waits.
    fn flush(&mut self, loan: &mut Loan<impl Judge<Lane = L>>) -> Result<(), End> {
        let mut at = 0;
        if self.unsent.is_empty() {
            let Some(link) = &mut self.link else { return Ok(()) };
            while at < loan.out.len() {
                match link.write(&loan.out[at..]) {
                    Ok(Drained::Bytes(len)) => at += len,
                    Ok(Drained::WouldBlock) => break,
                    Err(error) => {
                        loan.out.clear();
                        return Err(error.into());
                    }
                }
            }
        }
        self.unsent.extend(&loan.out[at..]);
        loan.out.clear();
        Ok(())
    }

    /// Counts the end of an open connection.
    fn ended<R: Judge<Lane = L>>(&mut self, end: End, loan: &mut Loan<R>) -> News {
        loan.out.clear();
        // What the server does after our Close frame is its own affair.
        if self.is_open() {
            let book = loan.judge.book_mut();
            let broken_rule = match end {
                End::Said | End::Closed => {
                    book.counts.closed_by_server += 1;
                    None
                }
                End::Reset => {
                    book.counts.reset += 1;
                    None
                }
                End::Protocol(error) => Some(error.reason()),
                End::Http => Some("an answer to a POST breaks RFC 9112"),
            };
            if let Some(reason) = broken_rule {
                book.counts.protocol_errors += 1;
                book.first_error.get_or_insert((R::number(&self.lane), reason));
            }
            loan.judge.abandon(&self.lane);
        }
        let cleanly = matches!((&self.phase, end), (Phase::Closing, End::Said));
        self.end();
        self.phase = Phase::Ended { cleanly };
        News::Ended
    }
}
