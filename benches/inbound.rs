//! The receiving half: reads full of frames, a large message through its body, frames cut by the read.
//!
//! Steps unmask in place, so every other pass over the same buffer finds it masked once more; the key is one
//! under which both forms are the same kind of text. `unmask alone` is the part that no codec can save.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsfast::proto::header::{HEADER_BYTES_MAX, Role, unmasked_len};
use wsfast::proto::inbound::{BodyPool, Inbound, Rules, Step};
use wsfast::proto::mask::unmask;
use wsfast::proto::opcode::Opcode;
use wsfast::proto::outbound::append_masked;

/// Changes the last bit of every fourth byte: ASCII stays ASCII, and characters of four bytes stay characters.
const KEY: [u8; 4] = [0, 0, 0, 1];
const READ_BYTES: usize = 64 * 1024;

fn inbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbound");
    for (name, opcode, len) in [
        ("binary 64 B", Opcode::Binary, 64),
        ("text 64 B", Opcode::Text, 64),
        ("binary 1 KiB", Opcode::Binary, 1024),
        ("text 1 KiB", Opcode::Text, 1024),
    ] {
        let (mut read, count) = full_read(opcode, len);
        let (mut inbound, mut pool) = open();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("whole", name), |bencher| {
            bencher.iter(|| step_all(&mut inbound, &mut pool, black_box(&mut read)));
        });
        group.bench_function(BenchmarkId::new("unmask alone", name), |bencher| {
            bencher.iter(|| unmask_all(black_box(&mut read), len));
        });
        let fresh = read.clone();
        group.bench_function(BenchmarkId::new("refill alone", name), |bencher| {
            bencher.iter(|| black_box(&mut read).copy_from_slice(&fresh));
        });
        group.bench_function(BenchmarkId::new("refill, moved down", name), |bencher| {
            bencher.iter(|| {
                read.copy_from_slice(&fresh);
                step_all_down(&mut inbound, &mut pool, black_box(&mut read))
            });
        });
        read.copy_from_slice(&fresh);
        let cut = cut_reads(&read);
        group.bench_function(BenchmarkId::new("cut", name), |bencher| {
            let mut cut = cut.clone();
            bencher.iter(|| {
                for piece in &mut cut {
                    step_all(&mut inbound, &mut pool, black_box(piece));
                }
            });
        });
    }
    for (name, opcode, character, len) in [
        ("binary 16 KiB", Opcode::Binary, "h", 16 * 1024),
        ("ASCII 16 KiB", Opcode::Text, "h", 16 * 1024),
        ("emoji 16 KiB", Opcode::Text, "🚀", 16 * 1024),
        ("binary 1 MiB", Opcode::Binary, "h", 1024 * 1024),
        ("ASCII 1 MiB", Opcode::Text, "h", 1024 * 1024),
        ("emoji 1 MiB", Opcode::Text, "🚀", 1024 * 1024),
    ] {
        let mut frame = Vec::new();
        append_masked(&mut frame, opcode, character.repeat(len / character.len()).as_bytes(), KEY);
        let (mut inbound, mut pool) = open();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("one", name), |bencher| {
            bencher.iter(|| step_all(&mut inbound, &mut pool, black_box(&mut frame)));
        });
        if len > READ_BYTES {
            group.bench_function(BenchmarkId::new("into its body", name), |bencher| {
                bencher.iter(|| arrive(&mut inbound, &mut pool, black_box(&mut frame)));
            });
        }
    }
    group.finish();
}

fn open() -> (Inbound, BodyPool) {
    (Inbound::new(Rules::new(Role::Server, 1 << 24, 1024)), BodyPool::new(1 << 24))
}

/// As many whole frames as one read holds, and their count.
fn full_read(opcode: Opcode, len: usize) -> (Vec<u8>, u64) {
    let (mut read, mut count) = (Vec::new(), 0);
    while read.len() + len + HEADER_BYTES_MAX <= READ_BYTES {
        append_masked(&mut read, opcode, &vec![b'h'; len], KEY);
        count += 1;
    }
    (read, count)
}

fn step_all(inbound: &mut Inbound, pool: &mut BodyPool, read: &mut [u8]) -> u64 {
    let (mut at, mut messages) = (0, 0);
    loop {
        match inbound.step(&mut read[at..], pool) {
            Ok((used, Step::Message(message))) => {
                black_box(message.payload());
                at += used;
                messages += 1;
            }
            Ok((0, Step::NeedBytes(_))) => return messages,
            Ok((used, _)) => at += used,
            Err(error) => panic!("{error}"),
        }
    }
}

/// As a server steps whose handler sends every message on as it is, but for the headers that it writes.
fn step_all_down(inbound: &mut Inbound, pool: &mut BodyPool, read: &mut [u8]) -> usize {
    let (mut at, mut floor) = (0, 0);
    loop {
        match inbound.step_down(read, at, floor, pool) {
            Ok((used, Step::Message(message))) => {
                let len = black_box(message.payload()).len();
                at += used;
                floor += unmasked_len(len) + len;
            }
            Ok((0, Step::NeedBytes(_))) => return floor,
            Ok((used, _)) => at += used,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The same payloads unmasked, without a look at the headers.
fn unmask_all(read: &mut [u8], len: usize) {
    let header_len = if len > 125 { 8 } else { 6 };
    for frame in read.chunks_exact_mut(header_len + len) {
        unmask(&mut frame[header_len..], KEY, 0);
    }
}

/// The same frames in reads that each end in a payload: all but the first bytes of a frame are held by its body.
fn cut_reads(read: &[u8]) -> Vec<Vec<u8>> {
    let frame_len = if read[1] & 0x7F == 126 { 8 + 1024 } else { 6 + 64 };
    let (first, rest) = read.split_at(frame_len / 2);
    std::iter::once(first).chain(rest.chunks(frame_len)).map(<[u8]>::to_vec).collect()
}

/// One large message: a read of its header and 64 KiB, then reads of up to 128 KiB into its body.
fn arrive(inbound: &mut Inbound, pool: &mut BodyPool, frame: &mut [u8]) {
    let (first, mut rest) = frame.split_at_mut(READ_BYTES);
    step_all(inbound, pool, first);
    // The copy is the kernel's, which a socket costs too.
    while let Some(space) = inbound.body_space() {
        let len = space.len().min(2 * READ_BYTES);
        let (arrived, behind) = std::mem::take(&mut rest).split_at_mut(len);
        space[..len].copy_from_slice(arrived);
        rest = behind;
        inbound.body_arrived(len);
        step_all(inbound, pool, &mut []);
    }
    // The first read was unmasked in place.
    unmask(&mut first[HEADER_BYTES_MAX..], KEY, 0);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = inbound
}
criterion_main!(benches);
