//! TLS and Unix sockets: the same proofs as over TCP, and failures that say what to do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ServerConfig, ServerConnection};
use rustls::{StreamOwned, SupportedProtocolVersion};

use crate::run::{Ran, loadtest, run_at};
use crate::server::{Fault, Server};
use crate::wire::{frame, read_frame, read_request, response};

#[test]
fn the_kernel_says_of_each_reply_when_it_came_where_it_can_and_is_asked() {
    let (tcp, tls) =
        (Server::start(Fault::None), TlsEcho::start("127.0.0.1", &[&rustls::version::TLS13]));
    let at = |flags: &str| run_at(&tcp.url(), flags);
    let depth = "--mode throughput -c 2 -p 4 --warmup 0 -d 200ms";
    let table = [
        (at(LOAD), true),
        (tls.run(LOAD), true),
        (at(&format!("{LOAD} --kernel-timestamps off")), false),
        (at(depth), false),
        (at(&format!("{depth} --kernel-timestamps on")), true),
    ];
    for (at, (ran, is_stamped)) in table.iter().enumerate() {
        let of = |name: &str, what: &str| ran.number(&format!("/{name}/{what}"));
        let told = [of("arrival", "samples"), of("client_queue", "samples")];
        let samples = if *is_stamped { of("service", "samples") } else { 0 };
        assert_eq!((told, ran.code), ([samples; 2], 0), "run {at}");
        if *is_stamped {
            assert!(of("service", "min") >= of("arrival", "min"), "run {at}: {:#}", ran.json);
            assert!(of("client_queue", "max") < of("service", "max"), "run {at}: {:#}", ran.json);
        }
    }
}

/// Five connections, 20 + 100 messages.
const LOAD: &str = "-c 5 -r 200 --warmup 100ms -d 500ms";

#[test]
fn every_message_over_tls_is_verified() {
    let server = TlsEcho::start("127.0.0.1", &[&rustls::version::TLS13]);
    let ran = server.run("-c 10 -r 2000 --warmup 100ms -d 1s");
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=2200 verified=2200", 0), "{:#}", ran.json);
    assert_eq!(ran.number("/connect/tls/samples"), 10);
    assert_eq!(ran.json["insecure"], false);
    // Nothing but other work on this machine may stand between the run and VALID.
    for reason in ran.json["verdict"]["reasons"].as_array().unwrap() {
        let reason = reason.as_str().unwrap();
        let is_machine =
            ["core", "guests", "send lag", "own queue", "rate"].iter().any(|w| reason.contains(w));
        assert!(is_machine, "{reason}");
    }
}

#[test]
fn connections_over_tls_are_replaced_and_each_has_a_handshake_of_its_own() {
    let server = TlsEcho::start("127.0.0.1", &[&rustls::version::TLS13]);
    let ran = server.run(&format!("{LOAD} --churn 50/s"));
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 0), "{:#}", ran.json);
    let churn = ["due", "connect/opened", "closed", "connect/failed", "connect/tls/samples"];
    let told = churn.map(|name| ran.number(&format!("/churn/{name}")));
    assert_eq!(told, [30, 30, 30, 0, 30], "{:#}", ran.json["churn"]);
    assert_eq!(server.shared.whole_handshakes.load(Ordering::SeqCst), 35);
}

#[test]
fn messages_over_tls_may_take_many_records() {
    let server = TlsEcho::start("127.0.0.1", &[&rustls::version::TLS12, &rustls::version::TLS13]);
    for flags in ["-s 1M --binary", "-s 1M --text", "-s 16384", "-s 1"] {
        let ran = server.run(&format!("-c 2 -r 20 --warmup 0 -d 500ms {flags}"));
        assert_eq!((ran.counts().as_str(), ran.code), ("sent=10 verified=10", 0), "{flags}");
    }
}

#[test]
fn a_closed_loop_over_tls_fills_every_buffer_and_loses_nothing() {
    let server = TlsEcho::start("127.0.0.1", &[&rustls::version::TLS13]);
    let ran = server.run("--mode throughput -c 3 -p 32 -s 40000 --warmup 100ms -d 500ms");
    let sent = ran.number("/counts/sent");
    assert_eq!(ran.counts(), format!("sent={sent} verified={sent}"));
    assert!(sent > 3 * 32 && ran.code == 0, "{:#}", ran.json);
}

#[test]
fn older_tls_works_and_no_session_is_resumed() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = TlsEcho::start("127.0.0.1", &[version]);
        let ran = server.run(LOAD);
        assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 0), "{version:?}");
        assert_eq!(server.shared.whole_handshakes.load(Ordering::SeqCst), 5, "{version:?}");
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = TlsEcho::start("127.0.0.1", &[&rustls::version::TLS13]);
    let other = TlsEcho::start("127.0.0.1", &[&rustls::version::TLS13]);
    let ran = run_at(&server.url(), &format!("{LOAD} --cacert {}", other.cacert.display()));
    assert_eq!(
        ran.failures(),
        ["5 × certificate not trusted: name its authority with --cacert FILE, or accept any with \
             --insecure"]
    );
    assert_eq!((ran.code, ran.counts().as_str()), (3, ""));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let server = TlsEcho::start("example.test", &[&rustls::version::TLS13]);
    let ran = server.run(LOAD);
    assert_eq!(
        ran.failures(),
        ["5 × the certificate is for another name than the URL's: use --host NAME, or --insecure"]
    );
    assert_eq!(ran.code, 3);
}

#[test]
fn insecure_accepts_any_certificate_and_says_so() {
    let server = TlsEcho::start("example.test", &[&rustls::version::TLS13]);
    let ran = run_at(&server.url(), &format!("{LOAD} --insecure"));
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 0));
    assert_eq!(ran.json["insecure"], true);

    let flags = "--insecure -c 25 -r 100 --warmup 0 -d 200ms";
    let output = loadtest(&format!("{} {flags}", server.url())).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    for part in ["wss://127.0.0.1:", "NO CERTIFICATE IS CHECKED", "tls p50"] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn a_server_without_tls_is_said_so() {
    let answers = Unsecured::start(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let ran = run_at(&answers.url(), &format!("{LOAD} --insecure"));
    assert_eq!(ran.failures(), ["5 × the server does not speak TLS here: use ws://"]);
    assert_eq!(ran.code, 3);

    let hangs_up = Unsecured::start(b"");
    let ran = run_at(&hangs_up.url(), &format!("{LOAD} --insecure"));
    let reason = "5 × closed in the TLS handshake (a server without TLS? use ws://)";
    assert_eq!((ran.failures(), ran.code), (vec![reason.to_owned()], 3));

    let waits = Server::start(Fault::Silence);
    let url = waits.url().replace("ws://", "wss://");
    let ran = run_at(&url, &format!("{LOAD} --insecure --connect-timeout 300ms"));
    let reason = "5 × timed out in the TLS handshake (a server without TLS? use ws://)";
    assert_eq!((ran.failures(), ran.code), (vec![reason.to_owned()], 3));
}

#[test]
fn a_unix_socket_is_loaded_like_any_other() {
    let server = UnixEcho::start("echo");
    for (scheme, flags) in [("ws+unix:", ""), ("ws+unix://", "--text"), ("unix:", "-s 70000")] {
        let url = format!("{scheme}{}:/echo?x=1", server.path.display());
        let ran = run_at(&url, &format!("{LOAD} {flags}"));
        assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 0), "{url}");
        assert_eq!(ran.number("/connect/opened"), 5);
        let canonical = format!("ws+unix:{}:/echo?x=1", server.path.display());
        assert_eq!(ran.json["url"], canonical);
    }
}

#[test]
fn a_unix_socket_without_a_server_is_said_so() {
    let server = UnixEcho::start("gone");
    let path = server.path.clone();
    drop(server);
    let ran = run_at(&format!("unix:{}", path.display()), LOAD);
    let reasons = (ran.failures(), ran.code);
    assert_eq!(reasons, (vec!["5 × there is no such socket".to_owned()], 3));
}

/// A TLS echo server with a certificate of its own making, a thread for each connection.
struct TlsEcho {
    port: u16,
    cacert: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    whole_handshakes: AtomicU32,
}

impl TlsEcho {
    fn start(name: &str, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_protocol_versions(versions)
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cacert = scratch(&format!("{port}.pem"));
        std::fs::write(&cacert, cert.pem()).unwrap();

        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            let connections = listener.incoming().map(Result::unwrap);
            let connections = connections.take_while(|_| !accepting.ends.load(Ordering::SeqCst));
            let threads: Vec<_> = connections
                .map(|stream| {
                    bound(&stream);
                    let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                    let shared = Arc::clone(&accepting);
                    thread::spawn(move || serve_tls(session, stream, &shared))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Self { port, cacert, shared, acceptor: Some(acceptor) }
    }

    fn url(&self) -> String {
        format!("wss://127.0.0.1:{}/echo", self.port)
    }

    /// A run that trusts the server's certificate.
    fn run(&self, flags: &str) -> Ran {
        run_at(&self.url(), &format!("{flags} --cacert {}", self.cacert.display()))
    }
}

impl Drop for TlsEcho {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        std::fs::remove_file(&self.cacert).unwrap();
        self.acceptor.take().unwrap().join().unwrap();
    }
}

/// Clients that refuse the certificate end this early, which is no error here.
fn serve_tls(session: ServerConnection, stream: TcpStream, shared: &Shared) {
    let mut stream = StreamOwned::new(session, stream);
    while stream.conn.is_handshaking() {
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            return;
        }
    }
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    if stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Full) {
        shared.whole_handshakes.fetch_add(1, Ordering::SeqCst);
    }
    echo(&mut stream);
}

/// An echo server on a Unix socket.
struct UnixEcho {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl UnixEcho {
    fn start(name: &str) -> Self {
        let path = scratch(&format!("{name}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ends);
        let acceptor = thread::spawn(move || {
            let connections = listener.incoming().map(Result::unwrap);
            let connections = connections.take_while(|_| !ending.load(Ordering::SeqCst));
            let threads: Vec<_> = connections
                .map(|mut stream| {
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    thread::spawn(move || echo(&mut stream))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Self { path, ends, acceptor: Some(acceptor) }
    }
}

impl Drop for UnixEcho {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _woken = UnixStream::connect(&self.path);
        std::fs::remove_file(&self.path).unwrap();
        self.acceptor.take().unwrap().join().unwrap();
    }
}

/// A server that answers the first bytes of every connection with the same, and hangs up.
struct Unsecured {
    port: u16,
    ends: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Unsecured {
    fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ends);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::SeqCst) {
                    break;
                }
                let mut stream = stream.unwrap();
                bound(&stream);
                // A client that is gone already has its own reasons.
                let _len = stream.read(&mut [0; 4096]);
                let _gone = stream.write_all(answer);
            }
        });
        Self { port, ends, acceptor: Some(acceptor) }
    }

    fn url(&self) -> String {
        format!("wss://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Unsecured {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        self.acceptor.take().unwrap().join().unwrap();
    }
}

/// Longer than any run; a thread that waited this long would never end.
const DEADLINE: Duration = Duration::from_secs(30);

fn bound(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
}

/// A file that no other test run has.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("loadtest-{}-{name}", std::process::id()));
    assert!(!Path::new(&path).exists(), "{}", path.display());
    path
}

/// One connection, from its request to its Close frame or its client's end.
fn echo(stream: &mut (impl Read + Write)) {
    let Ok(key) = read_request(stream) else { return };
    let mut reply = response(&key);
    while stream.write_all(&reply).and_then(|()| stream.flush()).is_ok() {
        let Ok((opcode, payload)) = read_frame(stream) else { return };
        reply = frame(0x80 | opcode, &payload);
    }
}
