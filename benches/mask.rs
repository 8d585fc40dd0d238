//! Unmasking, against the RFC's loop over bytes and against a copy of the same bytes.
//!
//! The byte loop is no scalar loop: the compiler turns it into 16-byte vectors of its own making, at a third to a
//! fifth of our speed. The target is the plain one (SSE2), while the copy is libc's, with whatever the machine has.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsfast::proto::mask::unmask;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for len in [7, 64, 125, 1024, 16 * 1024, 1024 * 1024] {
        let mut payload = vec![0x5A; len];
        let source = payload.clone();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("unmask", len), |bencher| {
            bencher.iter(|| unmask(black_box(&mut payload), black_box(KEY), black_box(0)));
        });
        group.bench_function(BenchmarkId::new("memcpy", len), |bencher| {
            bencher.iter(|| black_box(&mut payload).copy_from_slice(black_box(&source)));
        });
        group.bench_function(BenchmarkId::new("byte loop", len), |bencher| {
            bencher.iter(|| byte_loop(black_box(&mut payload), black_box(KEY)));
        });
    }
    group.finish();
}

/// The loop of RFC 6455 §5.3 as it is written there.
fn byte_loop(payload: &mut [u8], key: [u8; 4]) {
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = mask
}
criterion_main!(benches);
