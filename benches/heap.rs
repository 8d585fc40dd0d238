//! What it costs to count the heap: an allocation and its end, and growth, from the system's allocator and from ours, which counts beside
//! it. And what the safe way to know would cost: to read from /proc what is resident, in pages, after the fact.
//!
//! Shows nothing of contention: the server allocates on one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

#[allow(dead_code, unused_imports, reason = "the module's tests are there, without a harness")]
#[path = "../src/app/process/heap.rs"]
mod heap;

fn alloc_and_end(allocator: &impl GlobalAlloc, len: usize) {
    let layout = Layout::from_size_align(black_box(len), 8).expect("a length of the table below");
    // SAFETY: the layout is not of size zero, and what was got is given back once, with the same layout.
    #[expect(unsafe_code, reason = "an allocator can be called in no other way")]
    unsafe {
        let at = allocator.alloc(layout);
        assert!(!black_box(at).is_null());
        allocator.dealloc(at, layout);
    }
}

fn heap(criterion: &mut Criterion) {
    let ours = heap::Heap::new();
    let mut group = criterion.benchmark_group("heap");
    for len in [64, 1024, 64 << 10] {
        group.bench_function(BenchmarkId::new("system", len), |bencher| {
            bencher.iter(|| alloc_and_end(&System, len));
        });
        group.bench_function(BenchmarkId::new("counted", len), |bencher| {
            bencher.iter(|| alloc_and_end(&ours, len));
        });
    }
    group.bench_function("bytes in use, counted", |bencher| {
        bencher.iter(|| black_box(ours.bytes_in_use()));
    });
    group.bench_function("bytes resident, from /proc", |bencher| {
        bencher.iter(|| black_box(std::fs::read_to_string("/proc/self/statm").ok()));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = heap
}
criterion_main!(benches);
