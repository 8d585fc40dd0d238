//! The binary under load, and what must hold whatever the load is: strangers are served, memory stays in its bound, and
//! afterwards nothing spins, leaks or stays deaf.
//!
//! Makes no load itself.

use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::DEADLINE;
use super::client::RawClient;
use super::process::Process;
use super::watch;

/// A server that is about to be attacked. `end` checks what is left of it.
#[derive(Debug)]
pub(crate) struct Siege {
    pub(crate) server: Process,
    pub(crate) addr: SocketAddr,
    admin: SocketAddr,
    before: Standing,
    /// Open from before the first attack to behind the last, and silent: nothing but Pings ever comes.
    silent: Arc<Mutex<RawClient>>,
    scouts: Option<Scouts>,
    /// How long a scout waits to be served.
    patience: Duration,
    _alone: Option<MutexGuard<'static, ()>>,
}

/// What a server had open before its first client, and in memory behind it.
#[derive(Debug)]
struct Standing {
    descriptors: usize,
    peak_bytes: usize,
}

/// Two clients on a thread of their own, again and again: a stranger that connects, and one who was there all the while.
#[derive(Debug)]
struct Scouts {
    stop: Sender<()>,
    /// Held while they are at work.
    at_work: Arc<Mutex<()>>,
    thread: JoinHandle<Tally>,
}

/// What the scouts saw.
#[derive(Debug, Default)]
struct Tally {
    count: u32,
    longest: Duration,
    /// The longest that this machine let a scout sleep beyond its time, which is nobody's fault.
    latest: Duration,
}

/// Whether the full counts were asked for (`WSFAST_HOSTILE=full`).
pub(crate) fn is_full() -> bool {
    std::env::var_os("WSFAST_HOSTILE").is_some_and(|value| value == "full")
}

/// How many of something.
pub(crate) fn count(full: usize, small: usize) -> usize {
    if is_full() { full } else { small }
}

impl Siege {
    /// Starts a server that pings nobody: no time-out of silence comes to its rescue.
    pub(crate) fn begin(args: &[&str]) -> Self {
        Self::begin_with_pings(&[&["--ping-interval", "0"], args].concat())
    }

    /// Starts a server.
    pub(crate) fn begin_with_pings(args: &[&str]) -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        // The full counts want the machine, its ports and its descriptors for themselves.
        let alone = is_full().then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        let server = Process::start(&[&["--admin", "127.0.0.1:0"], args].concat());
        let admin = server.admin();
        let descriptors = server.descriptors().len();
        let mut silent = RawClient::open(server.addr);
        silent.expect_echo("from now on I am silent");
        let resident = RawClient::open(server.addr);
        let before = Standing { descriptors, peak_bytes: server.peak_rss_bytes() };
        let silent = Arc::new(Mutex::new(silent));
        let scouts = Some(Scouts::start(server.addr, resident, Arc::clone(&silent)));
        let patience = patience();
        Self { addr: server.addr, server, admin, before, silent, scouts, patience, _alone: alone }
    }

    /// The same, where a scout waits for a quarter of a second at most. The counts that `cargo test` has are not run alone, and have
    /// the usual time.
    pub(crate) fn begin_strict(args: &[&str]) -> Self {
        let patience = if is_full() { STRICT } else { patience() };
        Self { patience, ..Self::begin(args) }
    }

    /// Where `--admin` listens.
    pub(crate) const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Clients of the test's that are connected, and for moments a scout.
    fn client_count(&self) -> usize {
        let page = watch::request(self.admin, "GET /metrics", "").body;
        let line = page.lines().find_map(|line| line.strip_prefix("wsfast_clients ")).unwrap();
        line.parse::<usize>().unwrap() - 1 - usize::from(self.scouts.is_some())
    }

    /// Clients of the test's that are connected.
    pub(crate) fn clients(&self) -> usize {
        let _paused = self.pause();
        self.client_count()
    }

    /// Waits until so many clients of the test's are connected.
    pub(crate) fn until_clients(&self, expected: usize) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let paused = self.pause();
            let clients = self.client_count();
            drop(paused);
            if clients == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{clients} clients, not {expected}");
            // The scouts have a turn, since they may have Pings to answer.
            let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
            silent.expect_nothing_but_pings_for(BETWEEN_SCOUTS * 2);
        }
    }

    /// The server comes to rest, with the load as it stands: for a while it uses less than a twentieth of the time.
    pub(crate) fn expect_rest(&self) {
        let _paused = self.pause();
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (cpu, begun) = (self.server.cpu_time(), Instant::now());
            silent.expect_nothing_but_pings_for(rest());
            let (used, passed) = (self.server.cpu_time() - cpu, begun.elapsed());
            if used * 20 <= passed {
                return;
            }
            assert!(Instant::now() < deadline, "it spins: {used:?} of {passed:?}");
        }
    }

    /// The scouts go home. Where there is no descriptor for strangers, there is no use for them.
    pub(crate) fn dismiss_scouts(&mut self) {
        let tally = self.scouts.take().unwrap().end().unwrap();
        println!("{tally}");
        let Tally { count, longest, .. } = tally;
        assert!(count > 0);
        let patience = self.patience;
        assert!(longest < patience, "a scout was served in {longest:?}, of {count}");
    }

    /// How much the server may grow until it takes `limit` bytes of memory.
    pub(crate) const fn room_below(&self, limit: usize) -> usize {
        limit.saturating_sub(self.before.peak_bytes)
    }

    /// The load failed: says what scouts saw, and checks nothing.
    pub(crate) fn tell(mut self) {
        if let Ok(tally) = self.scouts.take().unwrap().end() {
            println!("{tally}");
        }
        println!("memory grew by {} KiB so far", self.grown() >> 10);
    }

    /// The load is over, and its clients are gone. It may have taken `bound` bytes of memory.
    pub(crate) fn end(mut self, bound: usize) {
        println!("memory grew by {} KiB so far", self.grown() >> 10);
        if self.scouts.is_some() {
            self.dismiss_scouts();
        }
        let deadline = Instant::now() + DEADLINE;
        let wanted = self.before.descriptors + 1;
        while self.server.descriptors().len() != wanted || self.open_count() != 1 {
            let left = self.server.descriptors().len();
            assert!(Instant::now() < deadline, "{left} descriptors, not {wanted}");
        }
        self.expect_rest();
        self.silent.lock().unwrap().expect_echo_behind_pings("I was not forgotten");
        RawClient::open(self.server.addr).expect_echo("neither am I");
        let grown = self.grown();
        println!("memory grew by {} KiB at most, of {} KiB", grown >> 10, bound >> 10);
        assert!(grown <= bound, "memory grew by {} KiB, of {}", grown >> 10, bound >> 10);
    }

    fn grown(&self) -> usize {
        self.server.peak_rss_bytes() - self.before.peak_bytes
    }

    /// Connections that `/connections` lists.
    fn open_count(&self) -> usize {
        let page = watch::json(self.admin, "/connections?limit=1");
        usize::try_from(page["total"].as_u64().unwrap()).unwrap()
    }

    /// The scouts rest until this is dropped.
    fn pause(&self) -> Option<MutexGuard<'_, ()>> {
        let scouts = self.scouts.as_ref()?;
        Some(scouts.at_work.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scouts {
    fn start(addr: SocketAddr, mut resident: RawClient, silent: Arc<Mutex<RawClient>>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let at_work = Arc::new(Mutex::new(()));
        let work = Arc::clone(&at_work);
        let thread = thread::spawn(move || {
            let mut tally = Tally::default();
            loop {
                let at_work = work.lock().unwrap();
                let begun = Instant::now();
                let mut stranger = RawClient::open(addr);
                stranger.expect_echo("is anybody there?");
                let stranger_took = begun.elapsed();
                resident.expect_echo_behind_pings("still here");
                tally.longest =
                    tally.longest.max(stranger_took).max(begun.elapsed() - stranger_took);
                tally.count += 1;
                let mut silent = silent.lock().unwrap_or_else(PoisonError::into_inner);
                silent.expect_nothing_but_pings_for(Duration::from_millis(1));
                drop(silent);
                // So that it leaves no port in TIME_WAIT.
                stranger.reset();
                drop(at_work);
                let slept = Instant::now();
                if stopped.recv_timeout(BETWEEN_SCOUTS) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
                tally.latest = tally.latest.max(slept.elapsed() - BETWEEN_SCOUTS);
            }
            tally
        });
        Self { stop, at_work, thread }
    }

    /// An error: one of them was not served, and panicked.
    fn end(self) -> thread::Result<Tally> {
        let _gone = self.stop.send(());
        self.thread.join()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, longest, latest } = self;
        write!(f, "{count} scouts were served in {longest:?} at most, and woke up {latest:?} late")
    }
}

/// How long a scout waits to be served. The tests beside this one are a load that the full counts are not run under.
pub(crate) fn patience() -> Duration {
    if is_full() { Duration::from_secs(1) } else { Duration::from_secs(5) }
}

/// How long a server is watched that should be at rest.
fn rest() -> Duration {
    Duration::from_millis(if is_full() { 1000 } else { 400 })
}

/// What a stranger waits at most while a server works for others, on two busy cores.
const STRICT: Duration = Duration::from_millis(250);

const BETWEEN_SCOUTS: Duration = Duration::from_millis(10);

static ALONE: Mutex<()> = Mutex::new(());
