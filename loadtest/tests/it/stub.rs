//! What the servers of these tests share: a listener, a thread for each connection, and the end of them all.
//!
//! What is said on a connection, and how that is wrong, is `server`'s and `room`'s business.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A listener and its connections. Ends, with their threads, when it is dropped.
pub(crate) struct Stub {
    addr: SocketAddr,
    ends: Arc<AtomicBool>,
    streams: Arc<Streams>,
    acceptor: Option<JoinHandle<()>>,
}

/// The connections, which are cut when the server ends.
#[derive(Default)]
pub(crate) struct Streams(Mutex<Vec<TcpStream>>);

impl Streams {
    /// Lets go of `stream`, so that dropping it closes it.
    pub(crate) fn forget(&self, stream: &TcpStream) {
        let peer = stream.peer_addr().ok();
        self.0.lock().unwrap().retain(|other| other.peer_addr().ok() != peer);
    }
}

impl Stub {
    /// Accepts after `delay`, and has `serve` see each connection to its end on a thread of its own.
    pub(crate) fn start(
        listener: TcpListener,
        delay: Duration,
        serve: impl Fn(&TcpStream, &Streams) + Send + Sync + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let (ends, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Streams::default()));
        let (ending, open) = (Arc::clone(&ends), Arc::clone(&streams));
        let acceptor = thread::spawn(move || {
            thread::sleep(delay);
            accept(&listener, &ending, &open, &Arc::new(serve));
        });
        Self { addr, ends, streams, acceptor: Some(acceptor) }
    }

    /// Where it is.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        for stream in self.streams.0.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

fn accept(
    listener: &TcpListener,
    ends: &AtomicBool,
    streams: &Arc<Streams>,
    serve: &Arc<impl Fn(&TcpStream, &Streams) + Send + Sync + 'static>,
) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        if ends.load(Ordering::SeqCst) {
            break;
        }
        stream.set_nodelay(true).unwrap();
        streams.0.lock().unwrap().push(stream.try_clone().unwrap());
        let (streams, serve) = (Arc::clone(streams), Arc::clone(serve));
        threads.push(thread::spawn(move || serve(&stream, &streams)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
