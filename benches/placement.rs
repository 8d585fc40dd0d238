//! What it costs the kernel to copy a MiB out of a socket, by where in a page the destination starts.
//!
//! The sender's bytes start at the start of a page. A destination 1 to 15 bytes ahead of that is several times dearer on
//! some processors (AMD's of the fourth generation among them), which is why large buffers start in mid-page.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MESSAGE_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;

fn receive(criterion: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let addr = listener.local_addr().expect("it is bound");
    let sender = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).expect("it listens");
        let message = vec![7; MESSAGE_BYTES];
        let mut asked = [0];
        while stream.read_exact(&mut asked).is_ok() && stream.write_all(&message).is_ok() {}
    });
    let (mut stream, _) = listener.accept().expect("someone connects");
    let mut memory = vec![0; MESSAGE_BYTES + 2 * PAGE_BYTES];

    let mut group = criterion.benchmark_group("placement");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(MESSAGE_BYTES as u64)).sample_size(20);
    for in_page in [0, 1, 8, 15, 16, 2048] {
        let start = (PAGE_BYTES + in_page - memory.as_ptr().addr() % PAGE_BYTES) % PAGE_BYTES;
        group.bench_function(BenchmarkId::new("receive 1 MiB", in_page), |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        stream.write_all(&[0]).expect("the sender reads");
                        // Wait for the first bytes, so that what is timed is copying.
                        stream.peek(&mut [0]).expect("the sender writes");
                        let begun = Instant::now();
                        let message = &mut memory[start..start + MESSAGE_BYTES];
                        stream.read_exact(message).expect("the sender writes");
                        begun.elapsed()
                    })
                    .sum()
            });
        });
    }
    group.finish();
    drop(stream);
    sender.join().expect("the sender's thread");
}

criterion_group!(benches, receive);
criterion_main!(benches);
