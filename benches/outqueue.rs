//! The out-queue: what a peer that is behind costs, queueing and flushing to a real socket.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsfast::net::peer::outqueue::{Flushed, OutQueue};
use wsfast::net::socket::link::Link;

/// Frames of one round.
const FRAMES: usize = 64;

fn queue_and_flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outqueue");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for size in [64, 1024, 32 * 1024] {
        let (mut link, reader) = connected();
        let frame = vec![7; size];
        let shared: Rc<[u8]> = frame.clone().into();
        group.throughput(Throughput::Bytes((FRAMES * size) as u64));
        group.bench_function(format!("{FRAMES} owned of {size}B"), |bencher| {
            bencher.iter(|| {
                let mut queue = OutQueue::default();
                for _ in 0..FRAMES {
                    queue.push(&[&frame], 0);
                }
                flush(&mut queue, &mut link);
            });
        });
        group.bench_function(format!("{FRAMES} shared of {size}B"), |bencher| {
            bencher.iter(|| {
                let mut queue = OutQueue::default();
                for _ in 0..FRAMES {
                    queue.push_shared(Rc::clone(&shared));
                }
                flush(&mut queue, &mut link);
            });
        });
        drop(link);
        reader.join().expect("the reader's thread");
    }
    group.finish();
}

/// The reader is quick, so the socket takes more within microseconds.
fn flush(queue: &mut OutQueue, link: &mut Link) {
    while queue.flush(link, usize::MAX) != Flushed::All {
        std::hint::spin_loop();
    }
}

/// A link, and a thread that reads all that it sends.
fn connected() -> (Link, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let stream =
        TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (mut other, _) = listener.accept().expect("someone connects");
    let reader = std::thread::spawn(move || {
        let mut sink = vec![0; 1 << 20];
        while other.read(&mut sink).is_ok_and(|len| len > 0) {}
    });
    stream.set_nonblocking(true).expect("a socket option");
    (Link::Plain(mio::net::TcpStream::from_std(stream)), reader)
}

criterion_group!(benches, queue_and_flush);
criterion_main!(benches);
