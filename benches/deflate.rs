//! One compressed message in and one out, on a JSON text of 1 KiB and of 16 KiB.
//!
//! `library` is zlib-rs alone: what a server can't go below. `wsfast` is all of ours: the frame parsed, unmasked,
//! inflated, checked, compressed and framed. `benches/floor/deflate` sets the whole server against the first.

#![allow(clippy::unwrap_used, reason = "a bench that fails says so by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsfast::proto::deflate::Deflater;
use wsfast::proto::header::Role;
use wsfast::proto::inbound::{BodyPool, Inbound, Rules, Step};
use wsfast::proto::message::Kind;
use wsfast::proto::outbound;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

const TEXT: &[u8] = include_bytes!("texts/feed.json");
const LEVEL: u8 = 1;

fn deflate(c: &mut Criterion) {
    for (name, len) in [("1k", 1024), ("16k", 16 * 1024)] {
        let text = &TEXT[..len];
        let packed = packed_by_a_client(text);
        let mut group = c.benchmark_group(format!("deflate/{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("library", |b| {
            let mut inflate = Inflate::new(false, 15);
            let mut deflate = Deflate::new(LEVEL.into(), false, 15);
            let (mut plain, mut out) = (vec![0; len + 64], vec![0; 2 * len]);
            b.iter(|| {
                inflate.reset(false);
                let payload = black_box(&packed[..]);
                inflate.decompress(payload, &mut plain, InflateFlush::NoFlush).unwrap();
                deflate.reset();
                deflate.compress(&plain[..len], &mut out, DeflateFlush::SyncFlush).unwrap();
                black_box(out[0])
            });
        });
        group.bench_function("wsfast", |b| {
            let mut frame = Vec::new();
            let key = [0x37, 0xfa, 0x21, 0x3d];
            let payload = &packed[..packed.len() - 4];
            outbound::append_compressed_masked(&mut frame, Kind::Text, payload, key);
            let mut pool = BodyPool::new(1 << 20);
            let rules = Rules::new(Role::Server, 1 << 20, 1024).with_deflate(None);
            let mut inbound = Inbound::new(rules);
            let mut deflater = Deflater::new(LEVEL, 15);
            let (mut read, mut room, mut cork) = (frame.clone(), Vec::new(), Vec::new());
            b.iter(|| {
                read.copy_from_slice(&frame);
                cork.clear();
                let (_, step) = inbound.step(&mut read, &mut pool).unwrap();
                let Step::Message(message) = step else { panic!("{step:?}") };
                let packed = deflater.deflate_alone(message.payload(), &mut room).unwrap();
                outbound::append_compressed(&mut cork, Kind::Text, packed);
                inbound.settle(&mut pool);
                black_box(cork.len())
            });
        });
        group.finish();
    }
}

/// As a browser does: zlib's usual level, and a sync flush behind the message.
fn packed_by_a_client(text: &[u8]) -> Vec<u8> {
    let mut stream = Deflate::new(6, false, 15);
    let mut out = vec![0; 2 * text.len()];
    stream.compress(text, &mut out, DeflateFlush::SyncFlush).unwrap();
    out.truncate(usize::try_from(stream.total_out()).unwrap());
    out
}

criterion_group!(benches, deflate);
criterion_main!(benches);
