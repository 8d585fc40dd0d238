//! `--compression` against servers that agree to it in each way, and one that does not.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::{
    Accept, Arrival, CompressionMode, Context, Handler, Limits, Message, Refusal, Remote,
};

use crate::run::{run, run_at};
use crate::server::{Fault, Server};

/// Five connections, 10 + 50 messages: compressing is slow in a build without optimisation.
const LOAD: &str = "-c 5 -r 100 --warmup 100ms -d 500ms --timeout 8s --compression";

#[test]
fn compressed_messages_are_verified_whatever_was_agreed_on() {
    for (mode, window_bits) in [
        (CompressionMode::Shared, 15),
        (CompressionMode::Dedicated, 15),
        (CompressionMode::Dedicated, 9),
    ] {
        let server = Echo::start(mode, window_bits);
        for flags in ["-s 2000", "-s 2000 --text", "-s 20000", "-s 20"] {
            let ran = run_at(&server.url, &format!("{LOAD} {flags}"));
            let what = format!("{mode:?} {flags}");
            assert_eq!((ran.counts().as_str(), ran.code), ("sent=60 verified=60", 0), "{what}");
            assert_eq!(ran.number("/compression/connections"), 5, "{what}");
            let plain = ran.number("/compression/plain_bytes");
            let sent = ran.number("/compression/sent_bytes");
            let size: u64 = flags.split(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(plain, 60 * size, "{what}");
            // A stamp alone has little to find.
            assert!(sent <= plain && (size < 100 || sent * 4 < plain * 3), "{what}: {sent}");
        }
    }
}

#[test]
fn a_server_that_declines_is_loaded_without_and_it_shows() {
    let declining = Echo::start(CompressionMode::Off, 15);
    let ran = run_at(&declining.url, &format!("{LOAD} -s 2000"));
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=60 verified=60", 0));
    assert_eq!(ran.number("/compression/connections"), 0);
    let ran = run(&Server::start(Fault::None), "-c 1 -r 10 --warmup 0 -d 200ms");
    assert!(ran.json["compression"].is_null());
}

#[test]
fn a_flipped_bit_shows_in_words_too() {
    let ran = run(&Server::start(Fault::FlippedBit), LOAD);
    assert!(ran.number("/counts/corrupt") > 0 && ran.code == 4, "{:#}", ran.json);
}

/// The echo of this very project, in a thread.
struct Echo {
    url: String,
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

struct Mirror;

impl Handler for Mirror {
    type State = ();

    fn on_upgrade(
        &mut self,
        _request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<()>, Refusal> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, (): &mut (), message: Message<'_>, cx: &mut Context<'_>) {
        let _sent = cx.send(message.kind(), message.payload());
    }
}

impl Echo {
    fn start(mode: CompressionMode, window_bits: u8) -> Self {
        let (started_tx, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut limits = Limits::default();
            limits.compression.mode = mode;
            limits.compression.window_bits = window_bits;
            let any_port = ([127, 0, 0, 1], 0).into();
            let mut server = wsfast::Server::bind(&[any_port], limits, Mirror).unwrap();
            started_tx.send((server.local_addrs()[0].to_string(), server.remote())).unwrap();
            server.run().unwrap();
        });
        let (url, remote) = started.recv().unwrap();
        Self { url, remote, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.remote.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}
