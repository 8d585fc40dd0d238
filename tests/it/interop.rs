//! A foreign client, `tungstenite`: written by others from the same RFC, so that one mistake cannot cancel itself.

use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;
use tungstenite::error::Error;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{ClientRequestBuilder, HandshakeError, Message, WebSocket};
use wsfast::proto::handshake::Status;
use wsfast::{Accept, Closed, Refusal, StatusCode};

use crate::support::process::{self, Process};
use crate::support::server::{Hooks, TestServer};
use crate::support::{DEADLINE, limits};

#[test]
fn messages_of_every_kind_and_size_come_back() {
    let server = TestServer::echo();
    let mut client = connect(&server);
    for len in [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 300_000, 1 << 20] {
        let text = Message::text("é".repeat(len / 2) + &"x".repeat(len % 2));
        client.send(text.clone()).unwrap();
        assert_eq!(client.read().unwrap(), text, "{len} bytes");
        let binary = Message::binary((0..=250).cycle().take(len).collect::<Vec<u8>>());
        client.send(binary.clone()).unwrap();
        assert_eq!(client.read().unwrap(), binary, "{len} bytes");
    }
}

#[test]
fn pings_are_answered() {
    let server = TestServer::echo();
    let mut client = connect(&server);
    for payload in [vec![], vec![0xFF], vec![7; 125]] {
        client.send(Message::Ping(payload.clone().into())).unwrap();
        assert_eq!(client.read().unwrap(), Message::Pong(payload.into()));
    }
    client.send(Message::Pong("nobody asked".into())).unwrap();
    client.send(Message::text("next")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("next"));
}

#[test]
fn fragments_come_back_as_one_message() {
    let server = TestServer::echo();
    let mut client = connect(&server);
    client.send(fragment("fr", Data::Text, false)).unwrap();
    client.send(fragment("agm", Data::Continue, false)).unwrap();
    client.send(Message::Ping("between".into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong("between".into()));
    client.send(fragment("", Data::Continue, false)).unwrap();
    client.send(fragment("ents", Data::Continue, true)).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("fragments"));
}

#[test]
fn pipelined_messages_come_back_in_order() {
    let server = TestServer::echo();
    let mut client = connect(&server);
    for number in 0..2000 {
        client.write(Message::text(format!("message {number}"))).unwrap();
    }
    client.flush().unwrap();
    for number in 0..2000 {
        assert_eq!(client.read().unwrap(), Message::text(format!("message {number}")));
    }
}

#[test]
fn the_client_closes() {
    let server = TestServer::echo();
    for (frame, answer, code) in [
        (
            Some(close_frame(CloseCode::Away, "leaving")),
            Some(close_frame(CloseCode::Away, "")),
            Some(1001),
        ),
        (None, None, None),
    ] {
        let mut client = connect(&server);
        client.close(frame).unwrap();
        assert_eq!(client.read().unwrap(), Message::Close(answer));
        assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
        drop(client);
        assert_eq!(server.closed(), Closed::ByPeer(code.and_then(StatusCode::from_wire)));
    }
}

#[test]
fn the_server_closes() {
    let hooks = Hooks::echo().on_message(|message, cx| {
        let _sent = cx.send(message.kind(), message.payload());
        cx.close(StatusCode::POLICY_VIOLATION, "once is enough");
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = connect(&server);
    client.send(Message::text("once")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("once"));
    let close = Message::Close(Some(close_frame(CloseCode::Policy, "once is enough")));
    assert_eq!(client.read().unwrap(), close);
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
    drop(client);
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::POLICY_VIOLATION));
}

#[test]
fn a_subprotocol_is_agreed_on() {
    let hooks =
        Hooks::echo().on_upgrade(|_, _| Ok(Accept { state: (), subprotocol: Some("v2.chat") }));
    let server = TestServer::start(limits(), hooks);
    let request = request(server.addr).with_sub_protocol("v3.chat").with_sub_protocol("v2.chat");
    let (_client, response) = tungstenite::client(request, stream(server.addr)).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "v2.chat");
}

#[test]
fn a_refusal_is_understood() {
    let hooks = Hooks::echo()
        .on_upgrade(|_, _| Err(Refusal { status: Status::Forbidden, reason: "not you" }));
    let server = TestServer::start(limits(), hooks);
    match tungstenite::client(request(server.addr), stream(server.addr)) {
        Err(HandshakeError::Failure(Error::Http(response))) => {
            assert_eq!(response.status(), 403);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_binary_serves_until_it_is_asked_to_end() {
    let mut process = Process::start(&[]);
    let mut client = connect_to(process.addr);
    client.send(Message::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("hello"));
    assert!(process.is_running());
    process.signal(Signal::TERM);
    let frame = close_frame(CloseCode::Away, "the server is going down");
    assert_eq!(client.read().unwrap(), Message::Close(Some(frame)));
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
    drop(client);
    let output = process.wait();
    assert_eq!((output.status.code(), output.stderr.contains("error")), (Some(0), false));
}

#[test]
fn the_binary_tells_its_version() {
    let output = process::run(&["--version"]);
    assert_eq!(output.stdout, concat!("wsfast ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), ""));
}

fn connect(server: &TestServer) -> WebSocket<TcpStream> {
    connect_to(server.addr)
}

fn connect_to(addr: SocketAddr) -> WebSocket<TcpStream> {
    tungstenite::client(request(addr), stream(addr)).unwrap().0
}

fn request(addr: SocketAddr) -> ClientRequestBuilder {
    ClientRequestBuilder::new(format!("ws://{addr}/").parse().unwrap())
}

fn stream(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, DEADLINE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn fragment(payload: &'static str, opcode: Data, is_final: bool) -> Message {
    Message::Frame(Frame::message(payload, OpCode::Data(opcode), is_final))
}

fn close_frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}
