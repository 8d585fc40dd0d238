//! A WebSocket server that sends what one client says to all the others of its path, and can be wrong in one way; a thread
//! for each connection. A POST to the path does the same.
//!
//! What happens once happens to the eighth message of a room, for the subscriber that came first.

use std::collections::HashMap;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::stub::Stub;
use crate::wire::{frame, read_frame, read_head, response};

/// How a room is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// Keeps a delivery to itself, once.
    Dropped,
    /// Delivers twice, once.
    Duplicated,
    /// Delivers after the next one, once.
    Swapped,
    /// Flips a bit of the last byte of a delivery, once.
    FlippedBit,
    /// Flips a bit of the first byte of a delivery, once.
    FlippedName,
    /// Delivers text as binary and the other way round, once.
    WrongOpcode,
    /// Delivers everything late by this many milliseconds to the subscriber that came first.
    Slow(u64),
    /// Delivers nothing to the subscriber that came first.
    Deaf,
    /// Ends the connection of the subscriber that came first, once.
    Closed,
    /// Greets every subscriber.
    Greeting,
    /// Subscribes only who acknowledges.
    Insists,
    /// Delivers, and answers no POST.
    Mute,
    /// Answers every POST with 403, and delivers nothing.
    Forbidden,
}

/// What travels between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Payloads as they are; everybody at a path hears everybody there.
    Bare,
    /// `sub T`, `pub T P`, and `{"push":{"topic":T,"data":P}}`; subscriptions are answered, and only subscribers hear.
    Wrapped,
}

/// A server on a port of its own. Ends, with its threads, when it is dropped.
pub(crate) struct Room {
    stub: Stub,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    protocol: Protocol,
    topics: Mutex<HashMap<String, Topic>>,
    message_came: Condvar,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<mpsc::Sender<Delivery>>,
    published: u32,
    /// What the first subscriber will get after the next message.
    held: Option<Vec<u8>>,
}

/// A frame for a subscriber, and when it may leave.
struct Delivery {
    first_byte: u8,
    payload: Vec<u8>,
    not_before: Instant,
    /// The last one, which is none.
    end: bool,
}

impl Room {
    /// A server with this fault.
    pub(crate) fn start(protocol: Protocol, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            fault,
            protocol,
            topics: Mutex::default(),
            message_came: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        let stub = Stub::start(listener, Duration::ZERO, move |stream, _| {
            // The client hangs up, or the test does: both are an error here, and neither is one.
            let _ = serve(stream, &serving);
            let _ = stream.shutdown(Shutdown::Both);
        });
        Self { stub, shared }
    }

    /// Waits until a topic had so many messages, half a minute at the most.
    pub(crate) fn wait_for_messages(&self, count: u32) {
        let topics = self.shared.topics.lock().unwrap();
        let none_had = |topics: &mut HashMap<String, Topic>| {
            topics.values().all(|topic| topic.published < count)
        };
        let came = &self.shared.message_came;
        let waited = came.wait_timeout_while(topics, Duration::from_secs(30), none_had).unwrap();
        assert!(!waited.1.timed_out(), "no {count} messages came");
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/news", self.stub.addr())
    }
}

/// One connection, from its request to its end.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader)?;
    let path = head.split(' ').nth(1).unwrap().to_owned();
    if head.starts_with("POST ") {
        return serve_posts(reader, stream, head, shared);
    }
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let (sender, receiver) = mpsc::channel();
    if shared.protocol == Protocol::Bare {
        // Before the response: who is open is subscribed.
        subscribe(shared, &path, &sender);
    }
    let mut writer = stream.try_clone()?;
    writer.write_all(&response(key))?;
    if shared.fault == Fault::Greeting {
        writer.write_all(&frame(0x81, b"Welcome"))?;
    }
    let delivering = thread::spawn(move || {
        let _ = deliver(&receiver, &writer);
    });
    let read = read_messages(&mut reader, &path, &sender, shared);
    let _ = sender.send(Delivery { end: true, ..delivery(0x81, Vec::new()) });
    delivering.join().unwrap();
    read
}

/// What a client says.
fn read_messages(
    reader: &mut BufReader<&TcpStream>,
    path: &str,
    sender: &mpsc::Sender<Delivery>,
    shared: &Shared,
) -> io::Result<()> {
    let mut asked_for: Option<String> = None;
    loop {
        let (opcode, payload) = read_frame(reader)?;
        match (opcode, shared.protocol) {
            (8, _) => {
                let _ = sender.send(delivery(0x88, payload));
                return Ok(());
            }
            (_, Protocol::Bare) => publish(shared, path, 0x80 | opcode, &payload),
            (_, Protocol::Wrapped) => {
                let text = String::from_utf8(payload).unwrap();
                match text.split(' ').collect::<Vec<_>>()[..] {
                    ["hello"] => drop(sender.send(delivery(0x81, b"{\"hello\":1}".to_vec()))),
                    ["ack"] => subscribe(shared, &asked_for.take().unwrap(), sender),
                    ["sub", topic] => {
                        match shared.fault {
                            Fault::Insists => asked_for = Some(topic.to_owned()),
                            _ => subscribe(shared, topic, sender),
                        }
                        let _ = sender.send(delivery(0x81, b"{\"subscribed\":1}".to_vec()));
                    }
                    ["pub", topic, data] => publish(shared, topic, 0x81, data.as_bytes()),
                    _ => panic!("{text}"),
                }
            }
        }
    }
}

/// Publications, one after the other; every other answer is chunked.
fn serve_posts(
    mut reader: BufReader<&TcpStream>,
    mut writer: &TcpStream,
    first_head: String,
    shared: &Shared,
) -> io::Result<()> {
    let mut head = first_head;
    for number in 0.. {
        let path = head.split(' ').nth(1).unwrap();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let mut body = vec![0; field("Content-Length: ").unwrap().parse().unwrap()];
        reader.read_exact(&mut body)?;
        let is_text = field("Content-Type: ").unwrap().starts_with("text/");
        if shared.fault == Fault::Forbidden {
            writer.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
        } else if shared.fault == Fault::Mute {
            publish(shared, path, 0x82, &body);
        } else {
            publish(shared, path, if is_text { 0x81 } else { 0x82 }, &body);
            writer.write_all(match number % 2 {
                0 => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".as_slice(),
                _ => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            })?;
        }
        head = read_head(&mut reader)?;
    }
    Ok(())
}

fn subscribe(shared: &Shared, topic: &str, sender: &mpsc::Sender<Delivery>) {
    let mut topics = shared.topics.lock().unwrap();
    topics.entry(topic.to_owned()).or_default().subscribers.push(sender.clone());
}

/// Delivers to everybody at `topic`, the first of whom gets it wrong.
fn publish(shared: &Shared, topic: &str, first_byte: u8, payload: &[u8]) {
    let mut topics = shared.topics.lock().unwrap();
    let Some(room) = topics.get_mut(topic) else { return };
    room.published += 1;
    shared.message_came.notify_all();
    let wrapped = format!(
        r#"{{"push":{{"topic":"{topic}","data":"{}"}}}}"#,
        String::from_utf8_lossy(payload)
    );
    let payload = match shared.protocol {
        Protocol::Bare => payload,
        Protocol::Wrapped => wrapped.as_bytes(),
    };
    for (at, subscriber) in room.subscribers.iter().enumerate() {
        let fault = match (at, shared.fault, room.published) {
            (0, fault @ (Fault::Slow(_) | Fault::Deaf), _) | (0, fault, 8) => fault,
            _ => Fault::None,
        };
        let mut payload = payload.to_vec();
        let last = payload.len() - 1;
        let tell = |delivery| drop(subscriber.send(delivery));
        match fault {
            Fault::Dropped | Fault::Deaf => {}
            Fault::Duplicated => {
                tell(delivery(first_byte, payload.clone()));
                tell(delivery(first_byte, payload));
            }
            Fault::Swapped => room.held = Some(payload),
            Fault::FlippedBit => {
                payload[last] ^= 1;
                tell(delivery(first_byte, payload));
            }
            Fault::FlippedName => {
                payload[0] ^= 1;
                tell(delivery(first_byte, payload));
            }
            Fault::WrongOpcode => tell(delivery(first_byte ^ 3, payload)),
            Fault::Slow(millis) => {
                let not_before = Instant::now() + Duration::from_millis(millis);
                tell(Delivery { not_before, ..delivery(first_byte, payload) });
            }
            Fault::Closed => tell(delivery(0x88, vec![3, 0xE8])),
            Fault::None | Fault::Greeting | Fault::Insists | Fault::Mute | Fault::Forbidden => {
                tell(delivery(first_byte, payload));
                if at == 0
                    && let Some(held) = room.held.take()
                {
                    tell(delivery(first_byte, held));
                }
            }
        }
    }
}

fn delivery(first_byte: u8, payload: Vec<u8>) -> Delivery {
    Delivery { first_byte, payload, not_before: Instant::now(), end: false }
}

/// Writes what a subscriber is to get, up to a Close frame.
fn deliver(receiver: &mpsc::Receiver<Delivery>, mut writer: &TcpStream) -> io::Result<()> {
    for Delivery { first_byte, payload, not_before, end } in receiver {
        if end {
            return Ok(());
        }
        thread::sleep(not_before.saturating_duration_since(Instant::now()));
        writer.write_all(&frame(first_byte, &payload))?;
        if first_byte == 0x88 {
            return writer.shutdown(Shutdown::Write);
        }
    }
    Ok(())
}
