//! `--memory-limit` against clients that do anything, by seed: whatever is published and asked for, over whichever transport and at
//! whichever pace it is read, resident memory never passes the limit, and strangers are served, or told that there is none.
//!
//! A scenario is a server of its own, with a limit and bounds that its seed chooses, and some steps. `cargo test` lives through a
//! few of them; more, or one again that failed:
//!
//! ```text
//! WSFAST_MEMORY_STEPS=10000 cargo test --release --test it memory::random -- --nocapture
//! WSFAST_MEMORY_SEED=17 cargo test --release --test it memory::random -- --nocapture
//! ```
//!
//! Looks at the process from outside alone (VmHWM of proc(5)), where nothing is left out. What each client gets is for others to test.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;

use crate::support::DEADLINE;
use crate::support::ask::{api, get, upgrade};
use crate::support::client::{RawClient, Witness};
use crate::support::crowd::{Crowd, Event};
use crate::support::process::{Process, command, run};
use crate::support::published::json_string;
use crate::support::tls::Pair;
use crate::support::wire::{self, BINARY, FIN, TEXT};

#[test]
fn the_process_stays_within_its_limit_whatever_is_said_and_asked() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("WSFAST_MEMORY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("WSFAST_MEMORY_STEPS").unwrap_or(STEPS_USUAL).div_ceil(STEPS) + 1,
    };
    let pair = Pair::new();
    let mut failed = Vec::new();
    for seed in seeds {
        let mut scenario = Scenario::start(seed, &pair);
        let outcome = scenario.run();
        println!("{}: {outcome}", scenario.title);
        if outcome != Outcome::Held {
            println!("the last steps:\n{}", scenario.last_steps());
            println!("again: WSFAST_MEMORY_SEED={seed}");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "the limit was passed, or nobody served, with the seeds {failed:?}");
}

/// What came of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Held,
    /// So many KiB were in use, of the limit's.
    Passed {
        peak_kib: usize,
        limit_kib: usize,
    },
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Passed { peak_kib, limit_kib } => write!(f, "{peak_kib} KiB of {limit_kib}"),
        }
    }
}

/// A server, and those who attack it.
struct Scenario {
    title: String,
    dice: Dice,
    server: Process,
    tls_addr: SocketAddr,
    tls: ClientConfig,
    limit_bytes: usize,
    /// `--max-message-bytes`, and `--topic-bytes`.
    message_bytes: usize,
    crowd: Crowd,
    /// Those who are there, by their numbers in the crowd.
    members: BTreeMap<usize, Member>,
    witness: Witness,
    steps: Vec<String>,
}

/// A client, and how it behaves.
#[derive(Clone, Copy, Debug)]
struct Member {
    transport: Transport,
    pace: Pace,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Bare,
    Meta,
    Events,
    Lines,
    /// HTTP: long-poll, publishing, the API.
    Requests,
    /// Centrifugo's protocol.
    Session,
}

const TRANSPORTS: [Transport; 6] = [
    Transport::Bare,
    Transport::Meta,
    Transport::Events,
    Transport::Lines,
    Transport::Requests,
    Transport::Session,
];

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// All that there is.
    Quick,
    /// A few KiB a step.
    Slow,
    Never,
}

impl Scenario {
    fn start(seed: u64, pair: &Pair) -> Self {
        let mut dice = Dice::new(seed);
        // What the largest message may be is for the server to say: it names the least limit for it.
        let message_kib = [64, 256, 1024, 1024, 8192][dice.below(5)];
        let topic_kib = [message_kib, 1024, 8192][dice.below(3)];
        let queue_kib = [64, 256, 1024, 4096][dice.below(4)];
        let of = |dice: &mut Dice, values: &[&str]| values[dice.below(values.len())].to_owned();
        let mut args: Vec<String> = Vec::new();
        for (flag, value) in [
            ("--max-message-bytes", format!("{message_kib}K")),
            ("--topic-bytes", format!("{topic_kib}K")),
            ("--max-queue-bytes", format!("{queue_kib}K")),
            ("--history-bytes", of(&mut dice, &["1M", "64M", "1G"])),
            ("--history", of(&mut dice, &["8", "1024", "100000"])),
            ("--compression", of(&mut dice, &["off", "shared", "dedicated"])),
            ("--compress-min-bytes", of(&mut dice, &["1", "512"])),
            ("--lag", of(&mut dice, &["gap", "latest"])),
            ("--ping-interval", of(&mut dice, &["0", "1s", "25s"])),
        ] {
            args.extend([flag.to_owned(), value]);
        }
        let folder = certificate_in_files(pair, seed);
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        args.extend(["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0"].map(str::to_owned));
        args.extend([
            "--tls-cert".to_owned(),
            file("cert.pem"),
            "--tls-key".to_owned(),
            file("key.pem"),
        ]);
        // The least that is possible more often than not: what is to be had by little passes that first.
        let least = least_limit_mib(&args).max(LIMIT_MIB_MIN);
        let limit = [least, least, least + least / 4, least.max(256)][dice.below(4)];
        args.extend(["--memory-limit".to_owned(), format!("{limit}M")]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let server = Process::spawn(&mut command(&args));
        let (_, tls_addr) = server.first_line.split_once("wss://").unwrap();
        let tls_addr = tls_addr.split([',', ' ', '/', '\n']).next().unwrap().parse().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        Self {
            title: format!(
                "seed {seed}: {limit}M, messages {message_kib}K, topics {topic_kib}K, queues {queue_kib}K"
            ),
            dice,
            tls_addr,
            tls: pair.client(&rustls::version::TLS13),
            limit_bytes: limit << 20,
            message_bytes: message_kib.min(topic_kib) << 10,
            crowd: Crowd::new(),
            members: BTreeMap::new(),
            witness: Witness::new(server.addr),
            server,
            steps: Vec::new(),
        }
    }

    fn run(&mut self) -> Outcome {
        for _ in 0..STEPS {
            self.step();
            self.read();
            self.witness.round_trip();
            if let passed @ Outcome::Passed { .. } = self.outcome() {
                return passed;
            }
        }
        // With all that load, and without.
        self.serves_a_stranger();
        let members = std::mem::replace(&mut self.crowd, Crowd::new());
        members.reset();
        self.witness.round_trip();
        self.expect_service();
        self.outcome()
    }

    fn outcome(&self) -> Outcome {
        let peak = self.server.peak_rss_bytes();
        match peak <= self.limit_bytes {
            true => Outcome::Held,
            false => Outcome::Passed { peak_kib: peak >> 10, limit_kib: self.limit_bytes >> 10 },
        }
    }

    fn step(&mut self) {
        let done = match self.dice.below(16) {
            0..=2 => self.come(),
            3..=5 => self.publish(),
            6..=8 => self.ask(),
            9..=11 => self.storm(),
            12 => self.publish_small_ones(),
            13 => self.say_half(),
            14 => self.make_topics(),
            _ => self.leave(),
        };
        self.steps.push(done);
    }

    /// Some clients come, of one kind.
    fn come(&mut self) -> String {
        let transport = TRANSPORTS[self.dice.below(TRANSPORTS.len())];
        let pace = [Pace::Quick, Pace::Slow, Pace::Never][self.dice.below(3)];
        let count = [1, 1, 4, 16][self.dice.below(4)];
        let rcvbuf = [4 << 10, 64 << 10, 1 << 20][self.dice.below(3)];
        let is_tls = self.dice.below(4) == 0;
        let those = self.connect(count, rcvbuf, is_tls);
        let offer = match self.dice.below(2) {
            0 => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            _ => "",
        };
        let topic = self.topic();
        let since = ["", "?since=all", "?since=last:2"][self.dice.below(3)];
        for at in those {
            self.enter(at, Member { transport, pace }, &topic, since, offer);
        }
        format!("{count} come: {transport:?} /{topic}{since}, {pace:?}, TLS {is_tls}, {rcvbuf} B")
    }

    /// The one at `at` says what its transport begins with.
    fn enter(&mut self, at: usize, member: Member, topic: &str, since: &str, offer: &str) {
        let target = format!("/{topic}{since}");
        let says = match member.transport {
            Transport::Bare => upgrade(&target, offer),
            Transport::Meta => {
                upgrade(&target, &format!("Sec-WebSocket-Protocol: wsfast.meta\r\n{offer}"))
            }
            Transport::Events => get(&target, "Accept: text/event-stream\r\n"),
            Transport::Lines => get(&target, "Accept: application/x-ndjson\r\n"),
            Transport::Requests => get(&target, ""),
            Transport::Session => upgrade("/connection/websocket", offer),
        };
        self.crowd.say(at, &says);
        self.members.insert(at, member);
        if member.transport == Transport::Session {
            let commands = format!(
                "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{topic}\",\"recover\":true,\"offset\":0}}}}"
            );
            self.crowd.say(at, wire::text(&commands));
        }
    }

    /// Somebody publishes something large, in one of the ways that there are.
    fn publish(&mut self) -> String {
        let topic = self.topic();
        let (what, body) = self.payload();
        let way = self.dice.below(5);
        let says = match way {
            0 => post(&topic, &body),
            1 => api(
                "publish",
                &format!(r#"{{"channel":"{topic}","b64data":"{}"}}"#, STANDARD.encode(&body)),
            ),
            2 => {
                let data = self.json(&body);
                api("publish", &format!(r#"{{"channel":"{topic}","data":{data}}}"#))
            }
            3 => {
                let data = self.json(&body);
                api("broadcast", &format!(r#"{{"channels":["t0","t1","t2","t3"],"data":{data}}}"#))
            }
            _ => return self.publish_by_a_member(&what, &body),
        };
        let at = self.connect(1, 4 << 10, false).start;
        self.crowd.say(at, says);
        self.members.insert(at, Member { transport: Transport::Requests, pace: Pace::Quick });
        format!("way {way}: {what} to {topic}")
    }

    /// A WebSocket says it, whoever that is.
    fn publish_by_a_member(&mut self, what: &str, body: &[u8]) -> String {
        let Some((at, member)) =
            self.any(|it| matches!(it, Transport::Bare | Transport::Meta | Transport::Session))
        else {
            return "nobody to publish".to_owned();
        };
        let says = match member.transport {
            Transport::Session => {
                let (topic, data) = (self.topic(), self.json(body));
                wire::text(&format!(
                    r#"{{"id":9,"publish":{{"channel":"{topic}","data":{data}}}}}"#
                ))
            }
            _ => {
                let kind = if str::from_utf8(body).is_ok() { TEXT } else { BINARY };
                wire::masked(FIN | kind, body)
            }
        };
        self.crowd.say(at, says);
        format!("{at} says {what}, {member:?}")
    }

    /// Something large is published, and many ask for it at once, in one way or in all.
    fn storm(&mut self) -> String {
        let topic = self.topic();
        let (what, body) = self.payload();
        let publisher = self.connect(1, 4 << 10, false).start;
        self.crowd.say(publisher, post(&topic, &body));
        self.crowd.until_or(publisher..publisher + 1, Duration::from_secs(5), |_, event, _| {
            check(&event);
            matches!(event, Event::BodyEnd | Event::End)
        });
        self.crowd.reset_one(publisher);
        let transports = match self.dice.below(2) {
            0 => vec![TRANSPORTS[self.dice.below(TRANSPORTS.len())]; 8],
            _ => TRANSPORTS.repeat(2),
        };
        let pace = [Pace::Quick, Pace::Slow, Pace::Never][self.dice.below(3)];
        for &transport in &transports {
            let at = self.connect(1, 4 << 10, false).start;
            self.enter(at, Member { transport, pace }, &topic, "?since=all", "");
        }
        format!("{what} to {topic}, and {transports:?} ask, {pace:?}")
    }

    /// Somebody who is there asks for much.
    fn ask(&mut self) -> String {
        let Some((at, member)) =
            self.any(|it| matches!(it, Transport::Requests | Transport::Session))
        else {
            return "nobody to ask".to_owned();
        };
        let topic = self.topic();
        let times = [1, 1, 3][self.dice.below(3)];
        let asked = match (member.transport, self.dice.below(3)) {
            (Transport::Requests, 0) => get(&format!("/{topic}?since=all"), "").into_bytes(),
            (Transport::Requests, 1) => get(&format!("/{topic}?wait=60"), "").into_bytes(),
            (Transport::Requests, _) => {
                api("history", &format!(r#"{{"channel":"{topic}","limit":-1}}"#))
            }
            (_, 0) => wire::text(&format!(r#"{{"id":3,"presence":{{"channel":"{topic}"}}}}"#)),
            (_, 1) => wire::text(&format!(
                "{{\"id\":4,\"unsubscribe\":{{\"channel\":\"{topic}\"}}}}\n\
                 {{\"id\":5,\"subscribe\":{{\"channel\":\"{topic}\",\"recover\":true,\"offset\":0}}}}"
            )),
            (_, _) => {
                wire::text(&format!(r#"{{"id":6,"history":{{"channel":"{topic}","limit":-1}}}}"#))
            }
        };
        (0..times).for_each(|_| self.crowd.say(at, &asked));
        format!("{at} asks {times} times for much of {topic}, {member:?}")
    }

    /// A burst, each message as small as can be.
    fn publish_small_ones(&mut self) -> String {
        let topic = self.topic();
        let at = self.connect(1, 64 << 10, false).start;
        self.crowd.say(at, post(&topic, &[1]).repeat(200));
        self.members.insert(at, Member { transport: Transport::Requests, pace: Pace::Quick });
        format!("200 messages of a byte to {topic}")
    }

    /// A message, a body or a head that never becomes whole.
    fn say_half(&mut self) -> String {
        let count = [1, 8][self.dice.below(2)];
        let part = vec![1; self.message_bytes * 3 / 4];
        let kind = self.dice.below(2);
        for at in self.connect(count, 4 << 10, false) {
            match kind {
                0 => {
                    self.crowd.say(at, upgrade("/echo", ""));
                    let len = self.message_bytes as u64;
                    self.crowd.say(at, wire::header(FIN | BINARY, len, [0; 4]));
                }
                _ => self.crowd.say(
                    at,
                    format!(
                        "POST /t0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                        self.message_bytes
                    ),
                ),
            }
            self.crowd.say(at, &part);
            self.members.insert(at, Member { transport: Transport::Requests, pace: Pace::Never });
        }
        format!("{count} say half of something, kind {kind}")
    }

    /// Topics with long names.
    fn make_topics(&mut self) -> String {
        let first = self.steps.len() * 1000;
        let names = (first..first + 128).map(|number| format!("\"{number:0>240}\""));
        let body = format!(r#"{{"channels":[{}],"data":1}}"#, names.collect::<Vec<_>>().join(","));
        let at = self.connect(1, 4 << 10, false).start;
        self.crowd.say(at, api("broadcast", &body));
        self.members.insert(at, Member { transport: Transport::Requests, pace: Pace::Quick });
        "128 topics are made".to_owned()
    }

    /// Some of those who are there leave.
    fn leave(&mut self) -> String {
        let share = 1 + self.dice.below(4);
        let leaving: Vec<usize> =
            self.members.keys().copied().filter(|_| self.dice.below(4) < share).collect();
        for &at in &leaving {
            self.crowd.reset_one(at);
            self.members.remove(&at);
        }
        format!("{} leave", leaving.len())
    }

    /// Everybody reads as its pace has it.
    fn read(&mut self) {
        let there: Vec<(usize, Pace)> =
            self.members.iter().map(|(&at, it)| (at, it.pace)).collect();
        for (at, pace) in there {
            let sips = match pace {
                Pace::Quick => 1 << 10,
                Pace::Slow => 1,
                Pace::Never => 0,
            };
            let len = if pace == Pace::Quick { 256 << 10 } else { 4 << 10 };
            for _ in 0..sips {
                if self.crowd.sip(at, len, |event, _| check(&event)) == 0 {
                    break;
                }
            }
            if self.crowd.is_over(at) {
                self.members.remove(&at);
            }
        }
    }

    /// A stranger is served, or is told that there is no memory, which connections alone may use up. Whether it was served.
    fn serves_a_stranger(&self) -> bool {
        let mut stranger = RawClient::connect(self.server.addr);
        stranger.send(get("/health", ""));
        let response = stranger.response();
        let is_refused = response.status == 503 && response.body.contains("memory-limit");
        assert!(response.status == 200 || is_refused, "{}: {}", self.title, response.body);
        response.status == 200
    }

    /// Once the load is gone, a stranger is served, and gets an echo.
    fn expect_service(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.serves_a_stranger() {
            assert!(Instant::now() < deadline, "{}: nobody is served", self.title);
        }
        RawClient::open(self.server.addr).expect_echo("is anybody there?");
    }

    fn connect(&mut self, count: usize, rcvbuf: usize, is_tls: bool) -> Range<usize> {
        if !is_tls {
            return self.crowd.connect(self.server.addr, count, rcvbuf);
        }
        let those = self.crowd.connect_tls(self.tls_addr, count, rcvbuf, &self.tls);
        // What it says waits for the handshake, which needs somebody who reads.
        self.crowd.until_or(those.clone(), Duration::from_millis(50), |_, event, _| {
            check(&event);
            false
        });
        those
    }

    /// Somebody who speaks what is wanted.
    fn any(&mut self, is_meant: impl Fn(Transport) -> bool) -> Option<(usize, Member)> {
        let those: Vec<(usize, Member)> = self
            .members
            .iter()
            .filter(|(_, member)| is_meant(member.transport))
            .map(|(&at, &member)| (at, member))
            .collect();
        (!those.is_empty()).then(|| those[self.dice.below(those.len())])
    }

    fn topic(&mut self) -> String {
        format!("t{}", self.dice.below(4))
    }

    /// Bytes to publish, and their name.
    fn payload(&mut self) -> (String, Vec<u8>) {
        let most = self.message_bytes;
        let len = [1, 10_000, most / 7, most / 2, most, most, most, most + 1][self.dice.below(8)];
        let (name, byte) = [
            ("U+0001", 1),
            ("line feeds", b'\n'),
            ("binary", 0xFF),
            ("quotes", b'"'),
            ("text", b'x'),
        ][self.dice.below(5)];
        (format!("{len} bytes of {name}"), vec![byte; len])
    }

    /// A JSON string of a body, or a number for what is none; shorter, so that it fits a message.
    fn json(&self, body: &[u8]) -> String {
        let fits = &body[..body.len().min(self.message_bytes / 7)];
        match str::from_utf8(fits) {
            Ok(_) => String::from_utf8(json_string(fits)).unwrap(),
            Err(_) => "1".to_owned(),
        }
    }

    fn last_steps(&self) -> String {
        let first = self.steps.len().saturating_sub(12);
        self.steps.iter().enumerate().skip(first).fold(String::new(), |mut text, (at, step)| {
            writeln!(text, "  {at}: {step}").unwrap();
            text
        })
    }
}

/// Refusals are as good as answers, where they say what they are.
fn check(event: &Event<'_>) {
    match event {
        Event::Head { status, head } => {
            assert!(matches!(status, 101 | 200 | 204 | 400 | 408 | 413 | 429 | 503), "{head}");
        }
        Event::Close { code, reason } => {
            let is_known = matches!(code, 1001 | 1008 | 1009 | 1013 | 3000..=4999);
            assert!(is_known, "{code} {reason}");
        }
        Event::Body(_) | Event::BodyEnd | Event::Message(_) | Event::End => {}
    }
}

/// The least `--memory-limit` with these flags, in MiB, by the server's own account.
fn least_limit_mib(args: &[String]) -> usize {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run(&[&["check", "--memory-limit", "1M"], &args[..]].concat());
    let (_, least) = output.stderr.split_once("it must be at least ").expect(&output.stderr);
    least.split_once('M').unwrap().0.parse().unwrap()
}

/// A folder with `cert.pem` and `key.pem`.
fn certificate_in_files(pair: &Pair, seed: u64) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("memory-{}-{seed}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cert.pem"), &pair.cert_pem).unwrap();
    std::fs::write(folder.join("key.pem"), &pair.key_pem).unwrap();
    folder
}

fn post(topic: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /{topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Numbers that look random, and are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    /// Seeds that are near each other begin far from each other.
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`, which must not be zero.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % bound
    }
}

/// The least limit; unoptimised code takes some 10 MiB more, all of which is resident.
const LIMIT_MIB_MIN: usize = if cfg!(debug_assertions) { 32 } else { 16 };

/// Steps of one scenario.
const STEPS: u64 = 100;

/// Steps that `cargo test` takes.
const STEPS_USUAL: u64 = 300;
