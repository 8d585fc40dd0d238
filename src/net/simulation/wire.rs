//! A scripted connection: two byte pipes with bounded buffers, FIN, RST, and the edges that epoll would report.
//!
//! ```text
//! client ── flight ──► inbound ──► server      flight: sent, on its way; inbound: the socket's receive buffer
//!        ◄─── inbox ◄── outbound ◄──           outbound: the socket's send buffer; inbox: what the client has read
//! ```
//!
//! As with the kernel, a read brings all there is, as far as it fits; a write takes all there is room for; and an edge comes with
//! each arrival, with the FIN, and with room once a write was cut short. Chance comes in where the kernel's does: what arrives
//! between two calls of one turn, and how much of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::net::simulation::random::Random;
use crate::net::simulation::trace;
use crate::net::socket::readiness::Readiness;

/// A connection, held by both ends.
pub(crate) type SharedWire = Rc<RefCell<Wire>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) client: usize,
    random: Random,
    flight: VecDeque<u8>,
    /// Whether the client's FIN follows what is in flight.
    fin_sent: bool,
    inbound: VecDeque<u8>,
    inbound_max: usize,
    fin_came: bool,
    /// Whether the server knows of it.
    fin_read: bool,
    reset: Reset,
    outbound: VecDeque<u8>,
    outbound_max: usize,
    /// Whether a write was cut short, so that room is an event.
    wants_room: bool,
    /// Whether a write was ever cut short.
    pub(crate) was_short: bool,
    /// Whether the server sent its FIN.
    server_fin: bool,
    pub(crate) server: ServerEnd,
    /// What the client has read and not looked at.
    pub(crate) inbox: Vec<u8>,
    /// Whether the client takes what comes at any moment, be it in mid-turn.
    pub(crate) takes_at_once: bool,
    /// Whether an event is due.
    edge: bool,
    /// Bytes that the server read and wrote in this turn, and its calls.
    pub(crate) moved: Moved,
}

/// What became of the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerEnd {
    /// In the backlog of the listener.
    Waiting,
    /// A socket, registered or not yet.
    Open(Option<Token>),
    /// Closed.
    Closed,
}

/// An RST of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    None,
    /// It came; the next call says so.
    Came,
    Told,
}

/// What the server did with a connection in one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) read: usize,
    pub(crate) written: usize,
    pub(crate) calls: usize,
}

/// How the client finds its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// There may be more.
    Open,
    /// All that the server sent was read, and its FIN behind it.
    End,
    /// It was reset, and bytes may be lost.
    Reset,
}

impl Wire {
    pub(crate) fn new(client: usize, mut random: Random) -> SharedWire {
        let room = |random: &mut Random| match random.below(8) {
            0 => random.between(8, 64),
            1 | 2 => random.between(64, 4096),
            _ => random.between(4096, 300_000),
        };
        let (inbound_max, outbound_max) = (room(&mut random), room(&mut random));
        Rc::new(RefCell::new(Self {
            client,
            random,
            flight: VecDeque::new(),
            fin_sent: false,
            inbound: VecDeque::new(),
            inbound_max,
            fin_came: false,
            fin_read: false,
            reset: Reset::None,
            outbound: VecDeque::new(),
            outbound_max,
            wants_room: false,
            was_short: false,
            server_fin: false,
            server: ServerEnd::Waiting,
            inbox: Vec::new(),
            takes_at_once: false,
            edge: false,
            moved: Moved::default(),
        }))
    }

    // The client's end.

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        debug_assert!(!self.fin_sent);
        if self.seen() == Seen::Open || self.seen() == Seen::End {
            self.flight.extend(bytes);
        }
    }

    /// Ends its half, behind what it has sent.
    pub(crate) const fn end(&mut self) {
        self.fin_sent = true;
    }

    /// The client's kernel sends an RST. What came before it may be read all the same, or be gone.
    pub(crate) fn reset(&mut self) {
        if self.random.once_in(2) {
            self.inbound.clear();
        }
        self.flight.clear();
        self.outbound.clear();
        if self.reset == Reset::None {
            self.reset = Reset::Came;
        }
        self.edge = true;
    }

    /// Reads at most so many bytes into the inbox.
    pub(crate) fn take(&mut self, most: usize) {
        let len = most.min(self.outbound.len());
        self.inbox.extend(self.outbound.drain(..len));
        let room = self.outbound_max - self.outbound.len().min(self.outbound_max);
        if self.wants_room && room > 0 && room >= self.outbound_max / 3 {
            self.wants_room = false;
            self.edge = true;
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        if self.reset != Reset::None {
            Seen::Reset
        } else if self.server_fin && self.outbound.is_empty() {
            Seen::End
        } else {
            Seen::Open
        }
    }

    // The network.

    /// Lets at most so many bytes arrive, and the FIN behind the last.
    pub(crate) fn carry(&mut self, most: usize) {
        if self.reset != Reset::None || self.server == ServerEnd::Closed {
            self.flight.clear();
            return;
        }
        let room = self.inbound_max - self.inbound.len().min(self.inbound_max);
        let len = most.min(room).min(self.flight.len());
        self.inbound.extend(self.flight.drain(..len));
        let fin = self.fin_sent && self.flight.is_empty() && !self.fin_came;
        // It may come right behind the last byte, or later.
        let fin = fin && (len == 0 || self.random.once_in(2));
        self.fin_came |= fin;
        self.edge |= len > 0 || fin;
    }

    pub(crate) fn is_carrying(&self) -> bool {
        let has_room = self.inbound.len() < self.inbound_max;
        self.server != ServerEnd::Closed
            && self.reset == Reset::None
            && (!self.flight.is_empty() && has_room
                || self.flight.is_empty() && self.fin_sent && !self.fin_came)
    }

    /// Whether the server has it, and has not broken it off.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.server, ServerEnd::Open(_)) && self.reset == Reset::None && !self.server_fin
    }

    // The kernel's bookkeeping.

    /// Whether the server has something to read that it does not know of.
    pub(crate) fn is_unread(&self) -> bool {
        !self.inbound.is_empty() || self.fin_came && !self.fin_read || self.reset == Reset::Came
    }

    fn is_readable(&self) -> bool {
        !self.inbound.is_empty() || self.fin_came || self.reset != Reset::None
    }

    pub(crate) const fn has_edge(&self) -> bool {
        self.edge
    }

    /// Whether an event will come when the client reads.
    pub(crate) fn awaits_room(&self) -> bool {
        self.wants_room
    }

    pub(crate) fn is_writable(&self) -> bool {
        let room = self.outbound_max - self.outbound.len().min(self.outbound_max);
        self.reset != Reset::None || room > 0 && room >= self.outbound_max / 3
    }

    /// What the poll reports of it now. `None`: nothing, since it is not registered or nothing is so any more.
    pub(crate) fn take_event(&mut self) -> Option<Ready> {
        self.edge = false;
        let ServerEnd::Open(Some(token)) = self.server else { return None };
        let is_reset = self.reset != Reset::None;
        let ready = Ready {
            token,
            readable: self.is_readable(),
            writable: self.is_writable(),
            read_closed: self.fin_came || is_reset,
            error: self.reset == Reset::Came,
        };
        (ready.readable || ready.writable).then_some(ready)
    }

    // The server's end.

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.moved.calls += 1;
        if self.random.once_in(64) {
            return Err(ErrorKind::Interrupted.into());
        }
        self.perhaps_carry();
        let mut len = 0;
        for buf in bufs {
            let part = buf.len().min(self.inbound.len());
            for (to, from) in buf.iter_mut().zip(self.inbound.drain(..part)) {
                *to = from;
            }
            len += part;
        }
        self.moved.read += len;
        let result = match self.reset {
            _ if len > 0 => Ok(len),
            Reset::Came => {
                self.reset = Reset::Told;
                Err(ErrorKind::ConnectionReset.into())
            }
            Reset::Told => Ok(0),
            Reset::None if self.fin_came => {
                self.fin_read = true;
                Ok(0)
            }
            Reset::None => Err(ErrorKind::WouldBlock.into()),
        };
        trace::note(|| {
            format!("    {} read {:?}", self.client, result.as_ref().map_err(io::Error::kind))
        });
        self.perhaps_carry();
        result
    }

    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.moved.calls += 1;
        assert!(!self.server_fin, "client {}: written behind our FIN", self.client);
        if self.random.once_in(64) {
            return Err(ErrorKind::Interrupted.into());
        }
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        let result = match self.reset {
            Reset::None => self.take_in(bufs, offered),
            Reset::Came => {
                self.reset = Reset::Told;
                Err(ErrorKind::ConnectionReset.into())
            }
            Reset::Told => Err(ErrorKind::BrokenPipe.into()),
        };
        trace::note(|| {
            let result = result.as_ref().map_err(io::Error::kind);
            format!("    {} write {offered}: {result:?}", self.client)
        });
        result
    }

    fn take_in(&mut self, bufs: &[IoSlice<'_>], offered: usize) -> io::Result<usize> {
        let room = self.outbound_max - self.outbound.len().min(self.outbound_max);
        let mut left = room;
        for buf in bufs {
            let part = left.min(buf.len());
            self.outbound.extend(&buf[..part]);
            left -= part;
        }
        let len = room - left;
        self.moved.written += len;
        self.wants_room |= len < offered;
        self.was_short |= len < offered;
        if self.takes_at_once && self.random.once_in(4) {
            let most = self.random.below(2 * self.outbound.len() + 1);
            self.take(most);
        }
        if len == 0 && offered > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    /// Something may arrive at any moment.
    fn perhaps_carry(&mut self) {
        let is_any = !self.flight.is_empty() || self.fin_sent && !self.fin_came;
        if is_any && self.random.once_in(4) {
            let most = self.random.some(self.flight.len());
            self.carry(most);
        }
    }

    /// The server's descriptor is closed: with a FIN, or with an RST if bytes were not read, or are still to come.
    fn close(&mut self) {
        self.server = ServerEnd::Closed;
        self.server_fin = true;
        self.edge = false;
        let is_unread = !self.inbound.is_empty() || !self.flight.is_empty();
        if !std::thread::panicking() {
            trace::note(|| format!("    {} closed, unread {is_unread}", self.client));
        }
        if is_unread && self.reset == Reset::None {
            self.reset = Reset::Told;
            self.outbound.clear();
        }
        self.flight.clear();
    }
}

/// An event of the scripted poll.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

impl Readiness for Ready {
    fn token(&self) -> Token {
        self.token
    }

    fn is_readable(&self) -> bool {
        self.readable
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn is_read_closed(&self) -> bool {
        self.read_closed
    }

    fn is_error(&self) -> bool {
        self.error
    }
}

/// The server's end of a connection: a socket of the kernel's, or a wire. What of sockets the server uses, and no more.
#[derive(Debug)]
pub enum Stream {
    /// Of the kernel's.
    Kernel(TcpStream),
    /// Of a script.
    Scripted(ScriptedEnd),
}

/// The server's end of a wire; closed when dropped, as a descriptor is.
#[derive(Debug)]
pub struct ScriptedEnd(SharedWire);

impl ScriptedEnd {
    pub(crate) fn accept(wire: SharedWire) -> Self {
        wire.borrow_mut().server = ServerEnd::Open(None);
        Self(wire)
    }
}

impl Drop for ScriptedEnd {
    fn drop(&mut self) {
        self.0.borrow_mut().close();
    }
}

impl Stream {
    pub(crate) fn from_std(socket: std::net::TcpStream) -> Self {
        Self::Kernel(TcpStream::from_std(socket))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Kernel(socket) => socket.shutdown(how),
            Self::Scripted(end) => {
                assert_eq!(how, Shutdown::Write);
                end.0.borrow_mut().server_fin = true;
                Ok(())
            }
        }
    }
}

/// For a server that is handed over, which a script is not.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kernel(socket) => socket.as_fd(),
            Self::Scripted(_) => unreachable!("a wire has no descriptor"),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Kernel(socket) => socket.read(buf),
            Self::Scripted(end) => end.0.borrow_mut().read(&mut [IoSliceMut::new(buf)]),
        }
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::Kernel(socket) => socket.read_vectored(bufs),
            Self::Scripted(end) => end.0.borrow_mut().read(bufs),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Kernel(socket) => socket.write(buf),
            Self::Scripted(end) => end.0.borrow_mut().write(&[IoSlice::new(buf)]),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Kernel(socket) => socket.write_vectored(bufs),
            Self::Scripted(end) => end.0.borrow_mut().write(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Kernel(socket) => socket.register(registry, token, interest),
            Self::Scripted(end) => {
                let mut wire = end.0.borrow_mut();
                wire.server = ServerEnd::Open(Some(token));
                // What is there already is an event; room is.
                wire.edge = true;
                Ok(())
            }
        }
    }

    fn reregister(
        &mut self,
        _registry: &Registry,
        _token: Token,
        _interest: Interest,
    ) -> io::Result<()> {
        unreachable!("interest is registered once")
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Kernel(socket) => socket.deregister(registry),
            Self::Scripted(_) => Ok(()),
        }
    }
}
