//! What wss costs: server CPU per echoed message, as a multiple of a bare rustls echo's on the same plaintext.
//!
//! Two servers in this process, each on a thread of its own: wsfast, and a loop that decrypts what one recv brought,
//! encrypts it again and sends it, with the same library, provider and cipher, and without knowing what a frame is. One
//! client drives them in turn, in short slices, so that both have the same weather; a server that is not driven sleeps.
//! The CPU is what the kernel counted for the thread. `--quick` takes few slices, to see that it runs.
//!
//! Then the memory of idle connections, and the CPU of a handshake, full and resumed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use mio::{Events, Interest, Poll, Token};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::proto::opcode::Opcode;
use wsfast::proto::outbound;
use wsfast::{
    Accept, Arrival, Context, Handler, Limits, Listen, Message, Over, Refusal, Server, TlsConfig,
};

fn main() {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    // `cargo bench -- FILTER` means other targets, unless it names this one.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if filter.is_some_and(|filter| !"tls".contains(&filter)) {
        return;
    }
    let (rounds, messages) = if is_quick { (5, 1_000) } else { (41, 10_000) };
    let (cert, key) = pair();
    let (wsfast, bare) = (start_wsfast(&cert, &key), start_bare(&cert, &key));
    let config = client_config(&cert);

    for size in [1024, 16 * 1024] {
        let mut request = Vec::new();
        outbound::append_masked(&mut request, Opcode::Binary, &vec![7; size], [1, 2, 3, 4]);
        let mut framed = Drive::new(&wsfast, &config, &request, request.len() - 4, true);
        let mut raw = Drive::new(&bare, &config, &request, request.len(), false);
        let mut rows = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            rows.push((framed.slice(messages), raw.slice(messages)));
        }
        let ours = Spread::of(rows.iter().map(|row| row.0));
        let theirs = Spread::of(rows.iter().map(|row| row.1));
        let ratio = Spread::of(rows.iter().map(|row| row.0 / row.1));
        println!(
            "tls/echo/{size}B: wsfast {:.0} ns, bare rustls {:.0} ns of CPU a message; ratio of medians {:.3} \
             (by round: median {:.3}, quartiles {:.3} to {:.3}); {rounds} rounds of {messages} messages",
            ours.median,
            theirs.median,
            ours.median / theirs.median,
            ratio.median,
            ratio.lower,
            ratio.upper
        );
    }
    idle_memory(&wsfast, &config, if is_quick { 100 } else { 1000 });
    handshakes(&wsfast, &config, if is_quick { 20 } else { 500 });
}

/// A server on a thread.
struct Running {
    addr: SocketAddr,
    /// Where the kernel tells the thread's CPU time.
    schedstat: PathBuf,
}

impl Running {
    /// Nanoseconds of CPU that the thread took; exact while it sleeps.
    fn cpu_ns(&self) -> f64 {
        let text = std::fs::read_to_string(&self.schedstat).expect("Linux tells a thread's time");
        text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number of nanoseconds")
    }
}

/// Called on a server's thread.
fn announce(tell: &Sender<Running>, addr: SocketAddr) {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux names a thread");
    let schedstat = PathBuf::from("/proc").join(thread).join("schedstat");
    tell.send(Running { addr, schedstat }).expect("someone waits");
}

struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_upgrade(
        &mut self,
        _request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<()>, Refusal> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, _state: &mut (), message: Message<'_>, cx: &mut Context<'_>) {
        let _sent = cx.send(message.kind(), message.payload());
    }
}

fn start_wsfast(cert: &str, key: &str) -> Running {
    let tls = TlsConfig::from_pem(cert.as_bytes(), key.as_bytes()).expect("a good pair");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut listen = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        listen.over = Over::Tls(tls);
        let mut server =
            Server::listen(vec![listen], Limits::default(), Echo).expect("a free port");
        announce(&tell, server.local_addrs()[0].tcp().expect("a TCP address"));
        server.run()
    });
    told.recv().expect("the server starts")
}

fn start_bare(cert: &str, key: &str) -> Running {
    use rustls::pki_types::pem::PemObject;
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("a good pair");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        announce(&tell, listener.local_addr().expect("an address"));
        bare_echo(listener, &Arc::new(config)).expect("the loop goes on");
    });
    told.recv().expect("the server starts")
}

/// The floor: edge-triggered, one recv and one send an event.
fn bare_echo(listener: TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let mut peers: Vec<(mio::net::TcpStream, ServerConnection)> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let (mut wire, mut plain) = (vec![0; 128 * 1024], vec![0; 128 * 1024]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(peers.len() + 1);
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    let session = ServerConnection::new(Arc::clone(config));
                    peers.push((stream, session.map_err(io::Error::other)?));
                }
                continue;
            }
            let (stream, session) = &mut peers[event.token().0 - 1];
            let Ok(len) = stream.read(&mut wire) else { continue };
            let mut records = &wire[..len];
            while !records.is_empty() {
                session.read_tls(&mut records)?;
                session.process_new_packets().map_err(io::Error::other)?;
            }
            let len = session.reader().read(&mut plain).unwrap_or(0);
            session.writer().write_all(&plain[..len])?;
            if session.wants_write() {
                session.write_tls(stream)?;
            }
        }
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// The client's half of a shape: connections with one message under way on each.
struct Drive<'a> {
    server: &'a Running,
    clients: Vec<Client>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl<'a> Drive<'a> {
    fn new(
        server: &'a Running,
        config: &Arc<ClientConfig>,
        request: &[u8],
        reply_len: usize,
        is_websocket: bool,
    ) -> Self {
        let clients =
            (0..CONNECTIONS).map(|_| connect(server.addr, config, is_websocket)).collect();
        let mut drive =
            Self { server, clients, request: request.to_vec(), reply: vec![0; reply_len] };
        drive.slice(CONNECTIONS * 20);
        drive
    }

    /// Nanoseconds of the server's CPU a message.
    fn slice(&mut self, messages: usize) -> f64 {
        let turns = messages / CONNECTIONS;
        let before = self.server.cpu_ns();
        for _ in 0..turns {
            for client in &mut self.clients {
                client.write_all(&self.request).and_then(|()| client.flush()).expect("it reads");
            }
            for client in &mut self.clients {
                client.read_exact(&mut self.reply).expect("it replies");
            }
        }
        (self.server.cpu_ns() - before) / (turns * CONNECTIONS) as f64
    }
}

fn connect(addr: SocketAddr, config: &Arc<ClientConfig>, is_websocket: bool) -> Client {
    let stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP option");
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    let mut client = StreamOwned::new(session, stream);
    if is_websocket {
        open(&mut client, addr).expect("the server opens");
    }
    client
}

fn open(client: &mut Client, addr: SocketAddr) -> io::Result<()> {
    write!(
        client,
        "GET /echo HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    Ok(())
}

/// What idle connections keep in the heap, in this process without the clients' part: connections that no client of
/// rustls is behind any more, but only its socket.
fn idle_memory(server: &Running, config: &Arc<ClientConfig>, count: usize) {
    // The first ones grow what is there once.
    let warm: Vec<TcpStream> = (0..50).map(|_| connect(server.addr, config, true).sock).collect();
    let before = resident_bytes();
    let sockets: Vec<TcpStream> =
        (0..count).map(|_| connect(server.addr, config, true).sock).collect();
    let each = (resident_bytes() - before) / count as f64;
    println!("tls/idle: {each:.0} bytes resident a connection, over {count}");
    drop((warm, sockets));
}

fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells the memory");
    let pages: f64 =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096.0
}

/// The CPU of an opening, TLS and WebSocket, from accept to the 101.
fn handshakes(server: &Running, config: &Arc<ClientConfig>, count: usize) {
    let mut full = (**config).clone();
    full.resumption = Resumption::disabled();
    for (name, config) in [("full", &Arc::new(full)), ("resumed", config)] {
        let mut clients = Vec::with_capacity(count);
        let before = server.cpu_ns();
        for _ in 0..count {
            clients.push(connect(server.addr, config, true));
        }
        let each_us = (server.cpu_ns() - before) / count as f64 / 1000.0;
        println!("tls/handshake/{name}: {each_us:.0} us of CPU each, over {count}");
    }
}

/// Medians and quartiles.
struct Spread {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values[(values.len() - 1) * part / 4];
        Self { lower: at(1), median: at(2), upper: at(3) }
    }
}

fn pair() -> (String, String) {
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    (cert.pem(), key.serialize_pem())
}

fn client_config(cert: &str) -> Arc<ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
    roots.add(cert).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Connections of a shape.
const CONNECTIONS: usize = 50;
