//! Frame headers: parsing a client's, encoding a server's and a client's. Elements are headers.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsfast::proto::header::{Fin, RESERVED_BITS, Role, encode, parse};
use wsfast::proto::opcode::Opcode;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    group.throughput(Throughput::Elements(1));
    for payload_len in [64, 1024, 100_000] {
        let mut input =
            encode(Fin::Last, Opcode::Binary, payload_len, Some(KEY)).as_bytes().to_vec();
        input.extend_from_slice(&[0; 64]);
        group.bench_function(BenchmarkId::new("parse", payload_len), |bencher| {
            bencher.iter(|| parse(black_box(&input), Role::Server, RESERVED_BITS));
        });
        for (name, key) in [("encode", None), ("encode masked", Some(KEY))] {
            group.bench_function(BenchmarkId::new(name, payload_len), |bencher| {
                bencher.iter(|| encode(Fin::Last, Opcode::Binary, black_box(payload_len), key));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = header
}
criterion_main!(benches);
