//! UTF-8 validation: ours against std's, whole, and as it arrives in reads of 64 KiB.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsfast::proto::utf8::{check, check_prefix};

fn utf8(criterion: &mut Criterion) {
    for (name, sample) in
        [("ascii", "The quick brown fox, 0123456789. "), ("chinese", "敏捷的棕色狐狸跳过")]
    {
        let mut group = criterion.benchmark_group(format!("utf8 {name}"));
        for len in [64, 1024, 16 * 1024, 1024 * 1024] {
            let mut text = sample.repeat(len / sample.len() + 1);
            text.truncate(text.floor_char_boundary(len));
            // Chinese ends one byte short of a power of two.
            text.push_str(&"x".repeat(len - text.len()));
            let bytes = text.as_bytes();
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new("check", len), |bencher| {
                bencher.iter(|| check(black_box(bytes)));
            });
            group.bench_function(BenchmarkId::new("std", len), |bencher| {
                bencher.iter(|| std::str::from_utf8(black_box(bytes)).is_ok());
            });
            if len == 1024 * 1024 {
                group.bench_function(BenchmarkId::new("check_prefix by 64 KiB", len), |bencher| {
                    bencher.iter(|| arrive(black_box(bytes)));
                });
            }
        }
        group.finish();
    }
}

/// What `Inbound` does for a text that comes in reads of 64 KiB.
fn arrive(bytes: &[u8]) -> usize {
    let mut checked = 0;
    for end in (READ_BYTES..=bytes.len()).step_by(READ_BYTES) {
        checked += check_prefix(&bytes[checked..end]).unwrap_or_default();
    }
    checked
}

const READ_BYTES: usize = 64 * 1024;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = utf8
}
criterion_main!(benches);
