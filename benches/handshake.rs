//! The opening handshake: what one accept costs, and that a slow sender costs no more than a fast one.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use wsfast::proto::handshake::{HeadLimits, HeadScan, Request, accept_of, encode_accept};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    accepting(&mut criterion);
    scanning(&mut criterion);
    criterion.final_summary();
}

/// From bytes to the 101.
fn accepting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    let request = CHROMIUM.as_bytes();
    let mut out = Vec::with_capacity(1024);
    for (name, step) in [("chromium_whole", request.len()), ("chromium_by_64", 64)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let len = scan_by(black_box(request), step);
                let limits = HeadLimits::default();
                let request = Request::parse(&request[..len], &limits).expect("well-formed");
                let upgrade = request.upgrade().expect("an upgrade");
                out.clear();
                encode_accept(&mut out, &upgrade.accept(), upgrade.subprotocols().next(), None);
                black_box(&out);
            });
        });
    }
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Request::parse(black_box(request), &HeadLimits::default()).is_ok());
    });
    group.bench_function("accept_key", |bencher| {
        bencher.iter(|| accept_of(black_box(b"dGhlIHNhbXBsZSBub25jZQ==")));
    });
    group.finish();
}

/// The scan alone: time a byte must not depend on the head's length.
fn scanning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake_scan");
    for head_len in [500, 8 * 1024] {
        let head = head_of(head_len);
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(format!("whole_{head_len}"), |bencher| {
            bencher.iter(|| scan_by(black_box(&head), head.len()));
        });
        group.bench_function(format!("bytewise_{head_len}"), |bencher| {
            bencher.iter(|| scan_by(black_box(&head), 1));
        });
    }
    group.finish();
}

/// Scans `head` as it arrives in pieces of `step` bytes; its length.
fn scan_by(head: &[u8], step: usize) -> usize {
    let limits = HeadLimits::default();
    let mut scan = HeadScan::new();
    let mut received = 0;
    loop {
        received = head.len().min(received + step);
        if let Some(len) = scan.scan(&head[..received], &limits).expect("well-formed") {
            return len;
        }
    }
}

/// A head of exactly `len` bytes with header lines of 128.
fn head_of(len: usize) -> Vec<u8> {
    let mut head = b"GET /any HTTP/1.1\r\n".to_vec();
    while head.len() + 2 < len {
        let line_len = (len - 2 - head.len()).min(128);
        // The last line takes what is left, and is never too short for a name.
        let line_len =
            if len - 2 - head.len() - line_len < 8 { len - 2 - head.len() } else { line_len };
        head.extend_from_slice(b"X: ");
        head.resize(head.len() + line_len - 5, b'y');
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    assert_eq!(head.len(), len);
    head
}

/// What Chromium 156 sends, 500 bytes.
const CHROMIUM: &str = "\
GET /any HTTP/1.1\r\n\
Host: 127.0.0.1:19223\r\n\
Connection: Upgrade\r\n\
Pragma: no-cache\r\n\
Cache-Control: no-cache\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36\r\n\
Upgrade: websocket\r\n\
Origin: http://127.0.0.1:32777\r\n\
Sec-WebSocket-Version: 13\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-US,en;q=0.9\r\n\
Sec-WebSocket-Key: vSm0A8x55WLxNyEerBdykA==\r\n\
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
\r\n";
