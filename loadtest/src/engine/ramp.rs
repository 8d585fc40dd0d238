//! The ramp: opens connections, a window of them at a time, and counts those that could not be opened.
//!
//! Knows how to dial, and nothing of what is said then.
//!
//! Sources take turns of 12,000 connections, and the port is chosen at connect(2), not at bind(2)
//! (IP_BIND_ADDRESS_NO_PORT): a port is then taken per pair of addresses, not once for all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use mio::net::{TcpStream, UnixStream};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::judge::stats::histogram;
use crate::time::clock::{MILLISECOND_NS, SECOND_NS};
use crate::time::schedule::Rate;
use crate::units::seconds;
use crate::wire::conn::News;
use crate::wire::link::{Link, Tcp};
use crate::wire::tls::Connector;
use crate::wire::upgrade::OpenFailure;

/// What every connection connects to.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A TCP port that expects TLS.
    Tls(SocketAddr, Connector),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What opening the connections came to.
#[derive(Debug)]
pub(crate) struct Connects {
    /// How long TCP handshakes took, or connecting to a Unix socket.
    pub(crate) tcp: Histogram<u64>,
    /// How long TLS handshakes took; empty without TLS.
    pub(crate) tls: Histogram<u64>,
    /// How long opening handshakes took.
    pub(crate) upgrade: Histogram<u64>,
    /// How long all of it took, from when the connection was to begin.
    pub(crate) total: Histogram<u64>,
    /// Connections that were opened.
    pub(crate) opened: u32,
    /// How many of them in each stretch of time.
    pub(crate) slots: Slots,
    /// Why the others were not, and how many for each reason; the most frequent first once the ramp is over.
    pub(crate) failures: Vec<(OpenFailure, u32)>,
    /// From the first connect to the last answer.
    pub(crate) span_ns: u64,
}

impl Connects {
    /// Connections that could not be opened.
    pub(crate) fn failed(&self) -> u32 {
        self.failures.iter().map(|&(_, count)| count).sum()
    }

    /// Connections opened a second.
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.opened) / seconds(self.span_ns.max(1))
    }

    /// TCP handshakes that took whole seconds and a little, by seconds. The kernel sends a lost SYN again after one
    /// second, then after more (tcp_syn_retries in ip-sysctl.rst): nothing else comes in such clusters.
    pub(crate) fn syn_retries(&self) -> Vec<(u64, u64)> {
        let mut clusters: Vec<(u64, u64)> = Vec::new();
        for value in self.tcp.iter_recorded() {
            let ns = value.value_iterated_to();
            let (seconds, behind_ns) = (ns / SECOND_NS, ns % SECOND_NS);
            if seconds == 0 || behind_ns > SECOND_NS / 5 * seconds.min(4) {
                continue;
            }
            let conns = value.count_since_last_iteration();
            match clusters.last_mut() {
                Some((last, count)) if *last == seconds => *count += conns,
                _ => clusters.push((seconds, conns)),
            }
        }
        clusters
    }
}

/// How many connections were opened in each stretch of a ramp. The stretches grow with the ramp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    slot_ns: u64,
    counts: Vec<u32>,
}

impl Slots {
    const COUNT_MAX: usize = 256;

    const fn new() -> Self {
        Self { slot_ns: 10 * MILLISECOND_NS, counts: Vec::new() }
    }

    /// Notes a connection that was opened `age_ns` after the ramp began.
    fn note(&mut self, age_ns: u64) {
        let at = |slot_ns| usize::try_from(age_ns / slot_ns).unwrap_or(usize::MAX);
        while at(self.slot_ns) >= Self::COUNT_MAX {
            self.slot_ns *= 2;
            self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let at = at(self.slot_ns);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
    }

    /// How long a stretch is.
    pub(crate) const fn slot_ns(&self) -> u64 {
        self.slot_ns
    }

    /// Connections opened in each, up to the last in which one was.
    pub(crate) fn counts(&self) -> &[u32] {
        &self.counts
    }
}

/// A ramp under way.
#[derive(Debug)]
pub(crate) struct Ramp {
    /// What came of it so far.
    pub(crate) connects: Connects,
    /// Connections in all.
    conns: u32,
    /// The next to begin.
    next: u32,
    /// Connections begun that are neither open nor failed, and when they began.
    in_flight: Vec<(u32, u64)>,
    window: usize,
    rate: Option<Rate>,
    timeout_ns: u64,
    started_ns: u64,
}

impl Ramp {
    /// A ramp of `conns` connections that starts at `now_ns`.
    pub(crate) fn new(
        conns: u32,
        window: usize,
        rate: Option<Rate>,
        timeout_ns: u64,
        now_ns: u64,
    ) -> Self {
        Self {
            connects: Connects {
                tcp: histogram(),
                tls: histogram(),
                upgrade: histogram(),
                total: histogram(),
                opened: 0,
                slots: Slots::new(),
                failures: Vec::new(),
                span_ns: 0,
            },
            conns,
            next: 0,
            in_flight: Vec::with_capacity(window),
            window,
            rate,
            timeout_ns,
            started_ns: now_ns,
        }
    }

    /// The connection to begin at `now_ns`, if one is due and the window has room.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Option<u32> {
        self.is_due(now_ns).then(|| {
            self.next += 1;
            self.in_flight.push((self.next - 1, now_ns));
            self.next - 1
        })
    }

    /// Whether there is one to begin at `now_ns`.
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        self.next < self.conns
            && self.in_flight.len() < self.window
            && self.due_ns(self.next) <= now_ns
    }

    /// Begins no more.
    pub(crate) fn stop(&mut self) {
        self.conns = self.next;
    }

    /// Takes in the news of connection `index`.
    pub(crate) fn take_in(&mut self, index: u32, news: News, now_ns: u64) {
        match news {
            News::Opened { tcp_ns, tls_ns, upgrade_ns } => {
                self.connects.opened += 1;
                self.connects.slots.note(now_ns.saturating_sub(self.started_ns));
                let begun_ns = self.in_flight.iter().find(|&&(at, _)| at == index);
                let begun_ns = begun_ns.map_or(now_ns, |&(_, begun_ns)| begun_ns);
                // With a rate, waiting for room in the window is part of what a user would wait.
                let due_ns = if self.rate.is_some() { self.due_ns(index) } else { begun_ns };
                self.connects.total.saturating_record(now_ns.saturating_sub(due_ns));
                self.connects.tcp.saturating_record(tcp_ns);
                if let Some(tls_ns) = tls_ns {
                    self.connects.tls.saturating_record(tls_ns);
                }
                if let Some(upgrade_ns) = upgrade_ns {
                    self.connects.upgrade.saturating_record(upgrade_ns);
                }
            }
            News::Failed(failure) => {
                let failures = &mut self.connects.failures;
                match failures.iter_mut().find(|(known, _)| *known == failure) {
                    Some((_, count)) => *count += 1,
                    None => failures.push((failure, 1)),
                }
            }
            News::None | News::More | News::Ended => return,
        }
        self.in_flight.retain(|&(in_flight, _)| in_flight != index);
        self.connects.span_ns = now_ns.saturating_sub(self.started_ns);
        self.connects.failures.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    }

    /// A connection that has been under way for too long.
    pub(crate) fn timed_out(&self, now_ns: u64) -> Option<u32> {
        let too_long = |&&(_, begun_ns): &&(u32, u64)| now_ns - begun_ns >= self.timeout_ns;
        self.in_flight.iter().find(too_long).map(|&(index, _)| index)
    }

    /// Whether nothing is left to begin, nor to wait for.
    pub(crate) fn is_over(&self) -> bool {
        self.next == self.conns && self.in_flight.is_empty()
    }

    /// When there is something to do, if no connection has news before.
    pub(crate) fn wake_ns(&self) -> u64 {
        let timeout = self.in_flight.iter().map(|&(_, begun_ns)| begun_ns + self.timeout_ns).min();
        let room = self.next < self.conns && self.in_flight.len() < self.window;
        let due = room.then(|| self.due_ns(self.next));
        timeout.into_iter().chain(due).min().unwrap_or(u64::MAX)
    }

    fn due_ns(&self, index: u32) -> u64 {
        self.started_ns + self.rate.map_or(0, |rate| rate.span_ns(u64::from(index)))
    }
}

impl Endpoint {
    /// Its address and port, unless it is a Unix socket.
    pub(crate) const fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) | Self::Tls(addr, _) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// What TLS starts from, if there is to be any.
    pub(crate) const fn connector(&self) -> Option<&Connector> {
        match self {
            Self::Tls(_, connector) => Some(connector),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Begins a connection, from `source` if one is given. TLS starts once it is there. The kernel is to say when what
    /// is read came, if `is_stamped`.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) or connect(2) say; a connection under way is no error.
    pub(crate) fn dial(
        &self,
        source: Option<IpAddr>,
        is_stamped: bool,
    ) -> Result<Link, OpenFailure> {
        Ok(match self {
            Self::Tcp(addr) | Self::Tls(addr, _) => {
                Link::Tcp(Tcp::new(dial(*addr, source)?, is_stamped))
            }
            Self::Unix(path) => Link::Unix(dial_unix(path)?),
        })
    }
}

/// A Unix socket connects at once or not at all: where the listen queue is full, connect(2) would have to block.
fn dial_unix(path: &Path) -> Result<UnixStream, OpenFailure> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(UnixStream::from_std(socket.into())),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::WouldBlock => OpenFailure::QueueFull,
            io::ErrorKind::NotFound => OpenFailure::NoSocket,
            kind => OpenFailure::Io(kind),
        }),
    }
}

/// Begins a TCP connection.
fn dial(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: News = News::Opened { tcp_ns: 5, tls_ns: None, upgrade_ns: Some(7) };

    #[test]
    fn the_window_bounds_what_is_under_way() {
        let mut ramp = Ramp::new(5, 2, None, 1000, 0);
        assert_eq!([ramp.begin(0), ramp.begin(0), ramp.begin(0)], [Some(0), Some(1), None]);
        ramp.take_in(1, OPENED, 10);
        assert_eq!([ramp.begin(10), ramp.begin(10)], [Some(2), None]);
        ramp.take_in(0, News::Failed(OpenFailure::Timeout), 11);
        ramp.take_in(2, News::Failed(OpenFailure::Timeout), 12);
        assert!(!ramp.is_over());
        assert_eq!([ramp.begin(12), ramp.begin(12), ramp.begin(12)], [Some(3), Some(4), None]);
        ramp.take_in(3, OPENED, 20);
        ramp.take_in(4, OPENED, 30);
        assert!(ramp.is_over());
        let connects = &ramp.connects;
        assert_eq!((connects.opened, connects.failed(), connects.span_ns), (3, 2, 30));
        assert_eq!(connects.failures, [(OpenFailure::Timeout, 2)]);
    }

    #[test]
    fn the_rate_spaces_connections_and_the_timeout_ends_them() {
        let mut ramp = Ramp::new(3, 64, Rate::new(1e6), 10_000, 500);
        assert_eq!([ramp.begin(500), ramp.begin(500), ramp.begin(1500)], [Some(0), None, Some(1)]);
        assert_eq!(ramp.wake_ns(), 2500);
        assert_eq!(ramp.begin(2500), Some(2));
        assert_eq!(ramp.wake_ns(), 10_500);
        assert_eq!([ramp.timed_out(10_499), ramp.timed_out(10_500)], [None, Some(0)]);
    }

    #[test]
    fn stretches_grow_and_keep_every_connection() {
        let mut slots = Slots::new();
        for ms in 0..10_000 {
            slots.note(ms * MILLISECOND_NS);
        }
        assert_eq!((slots.slot_ns(), slots.counts().len()), (40 * MILLISECOND_NS, 250));
        assert!(slots.counts().iter().all(|&count| count == 40));
    }

    #[test]
    fn handshakes_of_whole_seconds_are_lost_syns() {
        let mut ramp = Ramp::new(9, 9, None, SECOND_NS, 0);
        for ms in [1, 30, 900, 1001, 1010, 1150, 1600, 3020, 3070] {
            ramp.connects.tcp.saturating_record(ms * MILLISECOND_NS);
        }
        assert_eq!(ramp.connects.syn_retries(), [(1, 3), (3, 2)]);
    }

    #[test]
    fn a_connection_can_come_from_any_loopback_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let source = IpAddr::from([127, 0, 0, 9]);
        let _stream = dial(listener.local_addr().unwrap(), Some(source)).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), source);
    }
}
