//! A publish command of the Centrifugo JSON protocol, 200 B, 4 KiB and 64 KiB of it, from bytes to a command with its `data` located:
//! the server's way, with simd-json, against serde_json into borrowed structs with a raw value. And whether a text is JSON,
//! which decides the form in which messages from elsewhere reach clients of this protocol.
//!
//! What it shows: simd-json is not the faster of the two for this. They are about even at 200 B; at 4 KiB a command takes 1.1
//! times serde_json's time with link-time optimization, and twice without. serde_json skips over `data`, builds nothing of
//! it and copies nothing; simd-json lists and checks all of it, in a copy with room behind its end. Either is microseconds a
//! message.
//!
//! Shows nothing of what is behind: topics, replies, sockets. The twin checks less: it reads one kind of command, with no
//! limit but serde_json's own of 128 levels.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use wsfast::Kind;

use crate::centrifugo::command::{Command, Request, parse};
use crate::centrifugo::data::Data;
use crate::centrifugo::json::{JsonLimits, Reader};

#[expect(dead_code, reason = "the bench reads, and does not reply")]
#[allow(unused_imports, reason = "the module's tests are there, without a harness that runs them")]
#[path = "../src/app/centrifugo/protocol/mod.rs"]
mod centrifugo;

#[allow(dead_code, unused_imports, reason = "the same")]
#[path = "../src/app/terms/json_text.rs"]
mod json_text;

#[allow(unused_imports, reason = "the same")]
#[path = "../src/app/terms/topic_name.rs"]
mod topic_name;

/// Where the module looks for what it names of the binary.
mod app {
    pub(crate) mod terms {
        pub(crate) use crate::{json_text, topic_name};
    }
}

fn json(criterion: &mut Criterion) {
    let mut reader = Reader::new(JsonLimits::default());
    let mut group = criterion.benchmark_group("json publish");
    for len in [200, 4096, 65_536] {
        let data = data(len - command("").len());
        let command = command(&data);
        assert_eq!(command.len(), len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("ours", len), |bencher| {
            bencher.iter(|| located(parse(&mut reader, black_box(command.as_bytes())).ok()));
        });
        group.bench_function(BenchmarkId::new("serde_json", len), |bencher| {
            bencher.iter(|| serde_located(black_box(command.as_bytes())));
        });
        let ours = located(parse(&mut reader, command.as_bytes()).ok());
        assert_eq!(ours, data.len());
        assert_eq!(serde_located(command.as_bytes()), data.len());
    }
    group.finish();

    let mut group = criterion.benchmark_group("json is it");
    for len in [200, 4096, 65_536] {
        let data = data(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("ours", len), |bencher| {
            bencher.iter(|| {
                let data = Data::of(Kind::Text, black_box(data.as_bytes()), &mut reader);
                matches!(data, Data::Json(_))
            });
        });
        group.bench_function(BenchmarkId::new("serde_json", len), |bencher| {
            bencher.iter(|| {
                serde_json::from_slice::<serde::de::IgnoredAny>(black_box(data.as_bytes())).is_ok()
            });
        });
    }
    group.finish();
}

fn command(data: &str) -> String {
    format!(r#"{{"publish":{{"channel":"rooms/berlin/42","data":{data}}},"id":1234}}"#)
}

/// What chats and feeds send: objects with short strings and numbers, `len` bytes of it.
fn data(len: usize) -> String {
    let mut data = String::from("[");
    let mut row = 0;
    while data.len() + ROW_BYTES_MAX < len {
        row += 1;
        data.push_str(&format!(
            r#"{{"seq":{row},"user":"anna-{row}","text":"Sehr schön, \"danke\"!","at":{}.25,"seen":true}},"#,
            1_712_345_678 + row,
        ));
    }
    let padding = len - data.len() - "\"\"]".len();
    data.push_str(&format!("\"{}\"]", "x".repeat(padding)));
    assert_eq!(data.len(), len);
    data
}

const ROW_BYTES_MAX: usize = 120;

/// Everything that the hub needs of the command, in one number.
fn located(command: Option<Command<'_>>) -> usize {
    match command {
        Some(Command {
            id: 1234,
            request: Request::Publish { channel: "rooms/berlin/42", data },
        }) => data.len(),
        _ => 0,
    }
}

#[derive(Deserialize)]
struct Twin<'a> {
    #[serde(default)]
    id: u32,
    #[serde(borrow, default)]
    publish: Option<TwinPublish<'a>>,
    #[serde(borrow, default)]
    subscribe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    connect: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct TwinPublish<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn serde_located(bytes: &[u8]) -> usize {
    match serde_json::from_slice(bytes) {
        Ok(Twin { id: 1234, publish: Some(publish), subscribe: None, connect: None })
            if publish.channel == "rooms/berlin/42" =>
        {
            publish.data.get().len()
        }
        _ => 0,
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = json
}
criterion_main!(benches);
