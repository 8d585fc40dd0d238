//! The plan of a broadcast: who subscribes to what, who publishes where, and what servers with a protocol of their own
//! are told.
//!
//! Subscribers are connections 0 to n-1, publishers those behind; both take turns over the topics. Opens nothing.

use std::time::Duration;

use crate::cli::{Args, Verify};
use crate::judge::stamp::{PUBLISHERS_MAX, STAMP_LEN};
use crate::time::schedule::Rate;
use crate::units::as_ns;

/// What a broadcast does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BroadcastPlan {
    /// Messages a second in all.
    pub(crate) rate: Rate,
    /// Messages that are due at once.
    pub(crate) burst: u32,
    /// Connections that subscribe.
    pub(crate) subscribers: u32,
    /// Connections that publish; no fewer than topics.
    pub(crate) publishers: u32,
    /// How they publish.
    pub(crate) via: Via,
    /// What messages are wrapped in.
    pub(crate) envelope: Envelope,
    /// Frames of the protocol's own, and what answers each.
    pub(crate) answers: Vec<(String, String)>,
    /// What is subscribed to; at least one.
    pub(crate) topics: Vec<Topic>,
    /// From the last subscription to the first message.
    pub(crate) settle_ns: u64,
}

/// How publishers publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// As a WebSocket message each.
    WebSocket,
    /// As a POST each, over a connection that stays.
    Http,
}

impl Via {
    /// As the JSON has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
        }
    }
}

/// What a server may put around a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// Nothing: a frame is a message.
    None,
    /// Anything: a message is what its marker begins, and a frame without one is the protocol's own.
    Unknown,
}

/// A topic, and how to come to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// The path of its subscribers' WebSockets.
    pub(crate) subscribe_path: String,
    /// The path of its publishers' WebSockets, or POSTs.
    pub(crate) publish_path: String,
    /// What its subscribers say once they are open.
    pub(crate) subscriber_greetings: Vec<String>,
    /// What its publishers do.
    pub(crate) publisher_greetings: Vec<String>,
    /// What stands in front of a published message.
    pub(crate) before: String,
    /// What stands behind it.
    pub(crate) after: String,
}

/// Messages a second where `--rate` does not say.
const RATE: f64 = 10.0;

const TOPIC: &str = "{topic}";
const PAYLOAD: &str = "{payload}";

impl BroadcastPlan {
    /// The broadcast that `args` ask for, of which `path` is the URL's.
    ///
    /// # Errors
    ///
    /// One line: what does not work, and what would.
    pub(crate) fn new(args: &Args, path: &str) -> Result<Self, String> {
        if args.rate_per_conn.is_some() {
            return Err("--rate-per-conn has no meaning with --mode broadcast; use --rate".into());
        }
        if args.verify != Verify::Full {
            return Err("--mode broadcast proves every byte; leave --verify out".to_owned());
        }
        if args.size < STAMP_LEN {
            return Err(format!(
                "--mode broadcast needs --size {STAMP_LEN} or more, to name a message"
            ));
        }
        let topics = args.topics.unwrap_or(1);
        let publishers = args.publishers.unwrap_or(topics);
        if topics > args.conns {
            return Err(format!("--topics {topics} need as many subscribers: --conns {topics}"));
        }
        if publishers < topics {
            return Err(format!("--topics {topics} need as many --publishers, not {publishers}"));
        }
        if publishers >= PUBLISHERS_MAX {
            return Err(format!("--publishers must be fewer than {PUBLISHERS_MAX}"));
        }
        if let Some(template) = &args.publish
            && template.matches(PAYLOAD).count() != 1
        {
            return Err(format!("--publish must hold {PAYLOAD} once: {template}"));
        }
        let has_protocol = args.publish.is_some()
            || !args.subscribe.is_empty()
            || !args.hello.is_empty()
            || !args.answer.is_empty();
        if has_protocol && args.compression {
            return Err(
                "--compression has no meaning with a template: what is between the quotes \
                        would need escapes"
                    .to_owned(),
            );
        }
        let rate = args.rate.unwrap_or(RATE);
        let rate =
            Rate::new(rate).ok_or("--rate: from 0.000001 to 10,000,000 messages a second")?;
        Ok(Self {
            rate,
            burst: args.burst(),
            subscribers: args.conns,
            publishers,
            via: if args.publish_http { Via::Http } else { Via::WebSocket },
            envelope: if has_protocol { Envelope::Unknown } else { Envelope::None },
            answers: args.answer.clone(),
            topics: (0..topics).map(|number| Topic::new(args, path, topics, number)).collect(),
            settle_ns: as_ns(args.settle.unwrap_or(SETTLE)),
        })
    }

    /// All connections.
    pub(crate) fn conns(&self) -> u32 {
        self.subscribers.saturating_add(self.publishers)
    }

    /// What accounts take at most, if each message is under way for `patience_s`: a bit for each of its subscribers.
    pub(crate) fn memory_bytes(&self, patience_s: f64) -> u64 {
        const ACCOUNT_BYTES: usize = 192;
        let places = (self.subscribers as usize).div_ceil(self.topics.len());
        let open = self.rate.per_second() * patience_s;
        let pairs = self.subscribers as usize * self.publishers_per_topic();
        let accounts = open * (ACCOUNT_BYTES + places.div_ceil(64) * 8) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let accounts_bytes = accounts as u64;
        accounts_bytes.saturating_add(pairs as u64 * 8)
    }

    /// Which topic subscriber `conn` has, and which place there.
    pub(crate) fn seat(&self, conn: u32) -> (usize, usize) {
        let conn = conn as usize;
        (conn % self.topics.len(), conn / self.topics.len())
    }

    /// The subscriber at a place of a topic.
    pub(crate) fn subscriber(&self, topic: usize, place: usize) -> usize {
        place * self.topics.len() + topic
    }

    /// The topic of a publisher.
    pub(crate) fn topic_of_publisher(&self, publisher: u32) -> usize {
        publisher as usize % self.topics.len()
    }

    /// The most publishers that a topic has.
    pub(crate) fn publishers_per_topic(&self) -> usize {
        (self.publishers as usize).div_ceil(self.topics.len())
    }

    /// A number for a subscriber and a publisher of its topic: all of them count without a gap.
    pub(crate) fn pair(&self, topic: usize, place: usize, publisher: u32) -> usize {
        let among_topic = publisher as usize / self.topics.len();
        self.subscriber(topic, place) * self.publishers_per_topic() + among_topic
    }

    /// The publisher of a topic that has but one.
    pub(crate) fn only_publisher(&self, topic: usize) -> Option<u32> {
        let next = topic + self.topics.len();
        (next >= self.publishers as usize).then(|| u32::try_from(topic).ok())?
    }
}

impl Topic {
    /// Topic `number` of `topics`.
    fn new(args: &Args, path: &str, topics: u32, number: u32) -> Self {
        let (bare_path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let base = match (&args.topic, args.subscribe.is_empty()) {
            (Some(topic), _) => topic,
            (None, true) if !path.contains(TOPIC) => bare_path.trim_start_matches('/'),
            (None, _) => "loadtest",
        };
        let suffix = if topics > 1 { format!("-{number}") } else { String::new() };
        let name = format!("{base}{suffix}");
        let subscribe_path = if path.contains(TOPIC) {
            path.replace(TOPIC, &name)
        } else if args.subscribe.is_empty() {
            format!("{bare_path}{suffix}{query}")
        } else {
            path.to_owned()
        };
        let publish_path = match &args.publish_path {
            Some(path) => format!("/{}", path.trim_start_matches('/')).replace(TOPIC, &name),
            None => subscribe_path.clone(),
        };
        let told = |template: &String| template.replace(TOPIC, &name);
        let template = args.publish.as_deref().unwrap_or(PAYLOAD);
        let (before, after) = template.split_once(PAYLOAD).unwrap_or_default();
        Self {
            subscriber_greetings: args.hello.iter().chain(&args.subscribe).map(told).collect(),
            publisher_greetings: args.hello.iter().map(told).collect(),
            before: before.replace(TOPIC, &name),
            after: after.replace(TOPIC, &name),
            subscribe_path,
            publish_path,
        }
    }
}

/// What a server has to take in the last subscriptions.
const SETTLE: Duration = Duration::from_millis(500);

/// No flag that only a broadcast has.
///
/// # Errors
///
/// One line that names the flag.
pub(crate) fn refuse_flags(args: &Args) -> Result<(), String> {
    let given = [
        ("--publishers", args.publishers.is_some()),
        ("--topics", args.topics.is_some()),
        ("--topic", args.topic.is_some()),
        ("--hello", !args.hello.is_empty()),
        ("--subscribe", !args.subscribe.is_empty()),
        ("--answer", !args.answer.is_empty()),
        ("--publish", args.publish.is_some()),
        ("--publish-path", args.publish_path.is_some()),
        ("--publish-http", args.publish_http),
        ("--settle", args.settle.is_some()),
    ];
    match given.iter().find(|&&(_, is_given)| is_given) {
        Some((flag, _)) => Err(format!("{flag} has no meaning without --mode broadcast")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn broadcast(path: &str, args: &[&str]) -> Result<BroadcastPlan, String> {
        let words = ["loadtest", "--mode", "broadcast"].into_iter().chain(args.iter().copied());
        BroadcastPlan::new(&Args::try_parse_from(words).unwrap(), path)
    }

    #[test]
    fn a_path_is_a_topic() {
        let one = broadcast("/news?x=1", &["-c", "5"]).unwrap();
        assert_eq!((one.publishers, one.conns(), one.envelope), (1, 6, Envelope::None));
        assert_eq!(one.topics[0].subscribe_path, "/news?x=1");
        assert_eq!(one.topics[0].publish_path, "/news?x=1");
        let three = broadcast("/news?x=1", &["-c", "5", "--topics", "3"]).unwrap();
        assert_eq!((three.publishers, three.topics.len()), (3, 3));
        assert_eq!(three.topics[2].publish_path, "/news-2?x=1");
        let placed = broadcast("/a/{topic}/b", &["--topics", "2", "--topic", "t"]).unwrap();
        assert_eq!(placed.topics[1].subscribe_path, "/a/t-1/b");
    }

    #[test]
    fn a_protocol_gets_its_own_words() {
        let args = [
            "--hello",
            r#"{"connect":{},"id":1}"#,
            "--subscribe",
            r#"{"subscribe":{"channel":"{topic}"},"id":2}"#,
            "--publish",
            r#"{"channel":"{topic}","data":"{payload}"}"#,
            "--publish-http",
            "--publish-path",
            "api/publish",
        ];
        let broadcast = broadcast("/connection/websocket", &args).unwrap();
        assert_eq!((broadcast.via, broadcast.envelope), (Via::Http, Envelope::Unknown));
        let topic = &broadcast.topics[0];
        assert_eq!(topic.subscribe_path, "/connection/websocket");
        assert_eq!(topic.publish_path, "/api/publish");
        assert_eq!(topic.subscriber_greetings[1], r#"{"subscribe":{"channel":"loadtest"},"id":2}"#);
        assert_eq!(topic.publisher_greetings.len(), 1);
        assert_eq!(topic.before, r#"{"channel":"loadtest","data":""#);
        assert_eq!(topic.after, r#""}"#);
    }

    #[test]
    fn every_subscriber_has_a_place_and_every_pair_a_number() {
        let broadcast =
            broadcast("/t", &["-c", "10", "--topics", "3", "--publishers", "7"]).unwrap();
        let mut pairs = Vec::new();
        for conn in 0..10 {
            let (topic, place) = broadcast.seat(conn);
            assert_eq!(broadcast.subscriber(topic, place), conn as usize);
            let publishers = (0..7).filter(|&p| broadcast.topic_of_publisher(p) == topic);
            pairs.extend(publishers.map(|publisher| broadcast.pair(topic, place, publisher)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        // The first topic has three publishers and four subscribers, the others two and three each.
        assert_eq!(pairs.len(), 4 * 3 + 3 * 2 + 3 * 2);
        assert!(pairs.iter().all(|&pair| pair < 10 * broadcast.publishers_per_topic()));
        assert_eq!(broadcast.only_publisher(0), None);
    }

    #[test]
    fn a_lonely_publisher_is_known() {
        let broadcast = broadcast("/t", &["--topics", "3", "--publishers", "4"]).unwrap();
        assert_eq!(
            [0, 1, 2].map(|topic| broadcast.only_publisher(topic)),
            [None, Some(1), Some(2)]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        let table: [(&[&str], &str); 8] = [
            (&["-s", "25"], "--size 26"),
            (&["--topics", "9", "-c", "3"], "--conns 9"),
            (&["--topics", "3", "--publishers", "2"], "--publishers"),
            (&["--publish", "hello"], "{payload}"),
            (&["--publish", "{payload}", "--compression"], "--compression"),
            (&["--rate-per-conn", "1"], "--rate"),
            (&["--verify", "off"], "--verify"),
            (&["-r", "0"], "--rate"),
        ];
        for (args, part) in table {
            let message = broadcast("/t", args).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{args:?}: {message}");
        }
    }
}
