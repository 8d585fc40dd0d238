//! Echo servers to compare with, each on one thread: `peers tungstenite|fastwebsockets|floor PORT`.
//!
//! The floor is no server that anyone should run: it reads what is there, takes it for whole frames, turns their masks
//! off in place and writes them back. What it costs is what the kernel costs, and little more.

mod floor;

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use sha1::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [which, port] = words.as_slice() else {
        return Err("usage: peers tungstenite|fastwebsockets|floor PORT".into());
    };
    let port = port.parse()?;
    if which == "floor" {
        return floor::serve(port);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection's end is an error to these libraries, and none here.
            match which.as_str() {
                "tungstenite" => drop(tokio::spawn(async { drop(tungstenite(stream).await) })),
                "fastwebsockets" => drop(tokio::spawn(async { drop(fast(stream).await) })),
                other => return Err(format!("no peer {other}").into()),
            }
        }
    })
}

async fn tungstenite(stream: TcpStream) -> tokio_tungstenite::tungstenite::Result<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// The handshake by hand: the library then has the socket itself, which is the fastest that it can be.
async fn fast(mut stream: TcpStream) -> std::result::Result<(), fastwebsockets::WebSocketError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(response(&head).as_bytes()).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_writev(false);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    // Joined, as its examples do: a frame as it was read would go back with its masking key.
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// The response that opens a connection (RFC 6455 §4.2.2).
fn response(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let proof = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap_or_default());
    let accept = STANDARD.encode(sha1::Sha1::digest(proof));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
