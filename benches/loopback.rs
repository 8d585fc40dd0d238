//! A message to a server on loopback and back: the whole way, both kernels' halves included.
//!
//! One client waits for its replies, so this is latency of a quiet machine, not capacity; capacity is
//! `benches/floor`, which compares with a bare TCP echo.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::proto::opcode::Opcode;
use wsfast::proto::outbound;
use wsfast::{Accept, Arrival, Context, Handler, Limits, Message, Refusal, Server};

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

fn echo(criterion: &mut Criterion) {
    let (tell, told) = std::sync::mpsc::channel();
    // A server stays on the thread that it was made on.
    let thread = std::thread::spawn(move || {
        let any_port = ([127, 0, 0, 1], 0).into();
        let mut server = Server::bind(&[any_port], Limits::default(), Echo).expect("a free port");
        tell.send((server.local_addrs()[0].tcp().expect("TCP"), server.remote()))
            .expect("someone waits");
        server.run()
    });
    let (addr, remote) = told.recv().expect("the server starts");
    let mut client = open(addr);

    let mut group = criterion.benchmark_group("loopback");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (size, depth) in
        [(64, 1), (64, 16), (1024, 1), (1024, 64), (16 * 1024, 1), (1024 * 1024, 1)]
    {
        let mut request = Vec::new();
        for _ in 0..depth {
            outbound::append_masked(&mut request, Opcode::Binary, &vec![7; size], [1, 2, 3, 4]);
        }
        // A server's header has no masking key.
        let mut reply = vec![0; request.len() - 4 * depth];
        group.throughput(Throughput::Bytes((size * depth) as u64));
        group.bench_function(
            BenchmarkId::new(format!("{size}B"), format!("{depth} deep")),
            |bencher| {
                bencher.iter(|| {
                    client.write_all(black_box(&request)).expect("the server reads");
                    client.read_exact(&mut reply).expect("the server replies");
                });
            },
        );
        assert!(reply.ends_with(&vec![7; size]), "the reply is the message");
    }
    group.finish();

    drop(client);
    remote.stop();
    thread.join().expect("the server's thread").expect("the server's run");
}

/// A client whose opening handshake is done.
fn open(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP option");
    write!(
        stream,
        "GET /echo HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the server answers");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

criterion_group!(benches, echo);
criterion_main!(benches);
