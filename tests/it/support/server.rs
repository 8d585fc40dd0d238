//! The library's server on a thread of its own.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::{
    Accept, Arrival, Closed, Context, Counters, Ended, Form, Gap, Handler, Kind, Lag, Limits,
    Listen, LocalAddr, Message, Over, PeerId, Refusal, Remote, Scheme, Server, TlsConfig,
    TopicMessage,
};

use super::{DEADLINE, limits};

/// A running server. Dropping it ends its loop and waits for its thread.
#[derive(Debug)]
pub(crate) struct TestServer {
    /// The first TCP address that it listens on; unspecified if there is none.
    pub(crate) addr: SocketAddr,
    pub(crate) local_addrs: Vec<LocalAddr>,
    pub(crate) remote: Remote,
    opened: Receiver<PeerId>,
    closed: Receiver<(PeerId, Closed)>,
    ended: Receiver<(Ended, Counters)>,
    thread: Option<JoinHandle<()>>,
}

/// What is known after a server's end.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ended: Ended,
    pub(crate) counters: Counters,
    /// Every `on_close` that no call of [`TestServer::closed`] took.
    pub(crate) closed: Vec<(PeerId, Closed)>,
}

impl TestServer {
    /// An echo with the tests' [`limits`].
    pub(crate) fn echo() -> Self {
        Self::start(limits(), Hooks::echo())
    }

    pub(crate) fn echo_with(limits: Limits) -> Self {
        Self::start(limits, Hooks::echo())
    }

    /// Any handler.
    pub(crate) fn start(limits: Limits, handler: impl Handler + Send + 'static) -> Self {
        Self::start_with(limits, handler, None)
    }

    /// Any handler, at one address plain and at another over TLS.
    pub(crate) fn start_with(
        limits: Limits,
        handler: impl Handler + Send + 'static,
        tls: Option<TlsConfig>,
    ) -> Self {
        let any_port = || Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut listens = vec![any_port()];
        if let Some(tls) = tls {
            let mut over_tls = any_port();
            over_tls.over = Over::Tls(tls);
            listens.push(over_tls);
        }
        Self::listen(listens, limits, handler)
    }

    /// Where it speaks TLS.
    pub(crate) fn tls_addr(&self) -> Option<SocketAddr> {
        self.local_addrs.iter().find(|addr| addr.scheme == Scheme::Wss).and_then(LocalAddr::tcp)
    }

    /// Any handler, anywhere.
    pub(crate) fn listen(
        listens: Vec<Listen>,
        limits: Limits,
        handler: impl Handler + Send + 'static,
    ) -> Self {
        let (opened_tx, opened) = mpsc::channel();
        let (closed_tx, closed) = mpsc::channel();
        let (started_tx, started) = mpsc::channel();
        let (ended_tx, ended) = mpsc::channel();
        let handler = Observed { inner: handler, opened: opened_tx, closed: closed_tx };
        let thread = thread::spawn(move || {
            let mut server = Server::listen(listens, limits, handler).unwrap();
            started_tx.send((server.local_addrs().to_vec(), server.remote())).unwrap();
            let how = server.run().unwrap();
            let _nobody_asks = ended_tx.send((how, server.counters()));
        });
        let (local_addrs, remote) = started.recv_timeout(DEADLINE).expect("the server starts");
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let addr = local_addrs.iter().find_map(LocalAddr::tcp).unwrap_or(unspecified);
        Self { addr, local_addrs, remote, opened, closed, ended, thread: Some(thread) }
    }

    /// The next peer that `on_open` was called for.
    pub(crate) fn opened(&self) -> PeerId {
        self.opened.recv_timeout(DEADLINE).expect("on_open is called")
    }

    /// How the next connection that ended did.
    pub(crate) fn closed(&self) -> Closed {
        self.closed_peer().1
    }

    /// The same, and whose it was.
    pub(crate) fn closed_peer(&self) -> (PeerId, Closed) {
        self.closed.recv_timeout(DEADLINE).expect("on_close is called")
    }

    /// Ends the loop at once.
    pub(crate) fn stop(self) -> Report {
        self.remote.stop();
        self.wait()
    }

    /// Waits for a loop that ends for other reasons.
    pub(crate) fn wait(mut self) -> Report {
        let (ended, counters) = self.join();
        Report { ended, counters, closed: self.closed.try_iter().collect() }
    }

    fn join(&mut self) -> (Ended, Counters) {
        let ended = self.ended.recv_timeout(DEADLINE);
        match (ended, self.thread.take()) {
            (Ok(ended), Some(thread)) => {
                thread.join().unwrap();
                ended
            }
            (Err(mpsc::RecvTimeoutError::Disconnected), Some(thread)) => {
                std::panic::resume_unwind(thread.join().expect_err("the server's thread panicked"))
            }
            (Err(mpsc::RecvTimeoutError::Timeout), _) => panic!("the server's loop does not end"),
            (_, None) => panic!("the server was joined before"),
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.remote.stop();
            if !thread::panicking() {
                self.join();
            } else if self.ended.recv_timeout(DEADLINE).is_ok()
                && let Some(thread) = self.thread.take()
            {
                let _its_own_panic = thread.join();
            }
        }
    }
}

/// A handler made of closures; each does nothing unless it is given, but for messages, which are echoed.
pub(crate) struct Hooks {
    on_upgrade: Box<UpgradeHook>,
    on_open: Box<Hook>,
    on_message: Box<MessageHook>,
    on_drain: Box<Hook>,
    on_close: Box<CloseHook>,
}

type UpgradeHook = dyn FnMut(&Request<'_>, &Upgrade<'_>) -> Result<Accept<()>, Refusal> + Send;
type Hook = dyn FnMut(&mut Context<'_>) + Send;
type MessageHook = dyn FnMut(Message<'_>, &mut Context<'_>) + Send;
type CloseHook = dyn FnMut(Closed, &mut Context<'_>) + Send;

impl Hooks {
    pub(crate) fn echo() -> Self {
        Self {
            on_upgrade: Box::new(|_, _| Ok(Accept::new(()))),
            on_open: Box::new(|_| ()),
            on_message: Box::new(|message, cx| {
                // A peer that is closed before its echo leaves is what some tests are about.
                let _sent = cx.send(message.kind(), message.payload());
            }),
            on_drain: Box::new(|_| ()),
            on_close: Box::new(|_, _| ()),
        }
    }

    pub(crate) fn on_upgrade(
        mut self,
        hook: impl FnMut(&Request<'_>, &Upgrade<'_>) -> Result<Accept<()>, Refusal> + Send + 'static,
    ) -> Self {
        self.on_upgrade = Box::new(hook);
        self
    }

    pub(crate) fn on_open(mut self, hook: impl FnMut(&mut Context<'_>) + Send + 'static) -> Self {
        self.on_open = Box::new(hook);
        self
    }

    pub(crate) fn on_message(
        mut self,
        hook: impl FnMut(Message<'_>, &mut Context<'_>) + Send + 'static,
    ) -> Self {
        self.on_message = Box::new(hook);
        self
    }

    pub(crate) fn on_drain(mut self, hook: impl FnMut(&mut Context<'_>) + Send + 'static) -> Self {
        self.on_drain = Box::new(hook);
        self
    }

    pub(crate) fn on_close(
        mut self,
        hook: impl FnMut(Closed, &mut Context<'_>) + Send + 'static,
    ) -> Self {
        self.on_close = Box::new(hook);
        self
    }
}

impl Handler for Hooks {
    type State = ();

    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<()>, Refusal> {
        (self.on_upgrade)(request, upgrade)
    }

    fn on_open(&mut self, (): &mut (), cx: &mut Context<'_>) {
        (self.on_open)(cx);
    }

    fn on_message(&mut self, (): &mut (), message: Message<'_>, cx: &mut Context<'_>) {
        (self.on_message)(message, cx);
    }

    fn on_drain(&mut self, (): &mut (), cx: &mut Context<'_>) {
        (self.on_drain)(cx);
    }

    fn on_close(&mut self, (): (), closed: Closed, cx: &mut Context<'_>) {
        (self.on_close)(closed, cx);
    }
}

/// Tells the test who came and who went, and passes everything on.
struct Observed<H> {
    inner: H,
    opened: Sender<PeerId>,
    closed: Sender<(PeerId, Closed)>,
}

impl<H: Handler> Handler for Observed<H> {
    type State = H::State;

    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        from: Arrival,
    ) -> Result<Accept<H::State>, Refusal> {
        self.inner.on_upgrade(request, upgrade, from)
    }

    fn on_open(&mut self, state: &mut H::State, cx: &mut Context<'_>) {
        self.inner.on_open(state, cx);
        let _test_is_over = self.opened.send(cx.id());
    }

    fn on_message(&mut self, state: &mut H::State, message: Message<'_>, cx: &mut Context<'_>) {
        self.inner.on_message(state, message, cx);
    }

    fn on_drain(&mut self, state: &mut H::State, cx: &mut Context<'_>) {
        self.inner.on_drain(state, cx);
    }

    fn encode(&self, form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
        self.inner.encode(form, message, out)
    }

    fn on_gap(&self, form: Form, topic: &str, gap: Gap, out: &mut Vec<u8>) -> Lag {
        self.inner.on_gap(form, topic, gap, out)
    }

    fn conflates(&self, form: Form) -> bool {
        self.inner.conflates(form)
    }

    fn wake_at_ms(&self) -> Option<u64> {
        self.inner.wake_at_ms()
    }

    fn on_limits(&mut self, cx: &mut Context<'_>) {
        self.inner.on_limits(cx);
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) {
        self.inner.on_wake(cx);
    }

    fn on_close(&mut self, state: H::State, closed: Closed, cx: &mut Context<'_>) {
        self.inner.on_close(state, closed, cx);
        let _test_is_over = self.closed.send((cx.id(), closed));
    }
}
