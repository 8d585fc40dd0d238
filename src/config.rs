//! Limits: every bound of the server, with its unit, its default and its hard range.
//!
//! A plain value without flags or files: the binary's `cli` fills it in, a program that embeds the crate writes it.

use std::fmt;

/// What a [`crate::Server`] allows its peers and itself. `Limits::default()` suits a public server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; past it a request gets 503. Lowered at start to what the descriptor limit allows.
    pub peers_max: usize,
    /// Connections at a time of one IPv4 address, or of one /64 of IPv6; past it a request gets 503. `None`: eight times
    /// as many as there are places left, so eight of nine.
    ///
    /// Behind a proxy that names its peers (`Listen::proxy`) those names count. Loopback and Unix sockets never do.
    pub peers_per_ip_max: Option<usize>,
    /// What a connection may say; handlers ask for it ([`Context::take_message`](crate::Context::take_message)). An address has eight
    /// times as much, over all its connections. `None`: as much as it can.
    pub message_rate: Option<Rate>,
    /// Connections of one IPv4 address, or of one /64 of IPv6; past it a request gets 429, and before TLS is set up the connection
    /// ends. `None`: as many as come.
    pub connect_rate: Option<Rate>,
    /// Bytes of one message, summed over its fragments; past it the peer is closed with 1009.
    pub message_bytes_max: usize,
    /// Frames of one message; past it the peer is closed with 1008.
    pub fragments_max: u32,
    /// Bytes of a request's head; past it 431, or 414 if the request line alone is longer.
    pub head_bytes_max: usize,
    /// Header lines of a request; past it 431.
    pub headers_max: usize,
    /// From accept to a whole request head, however its bytes trickle; past it 408.
    pub handshake_timeout_ms: u64,
    /// How long a connection may be idle between two HTTP requests.
    pub keep_alive_ms: u64,
    /// How long a client may take nothing of an HTTP response; then its connection is cut.
    pub send_timeout_ms: u64,
    /// Silence after which a peer is sent a Ping, or a stream its sign of life; zero: never.
    pub ping_interval_ms: u64,
    /// Silence after that Ping after which the peer is dropped.
    pub pong_timeout_ms: u64,
    /// How long a peer may take to answer our Close, and then to end the TCP connection.
    pub close_timeout_ms: u64,
    /// Queued output at which reading from a peer pauses until it takes its replies.
    pub queue_bytes_soft: usize,
    /// Queued output past which a peer is closed with 1008. One message always fits an empty queue.
    pub queue_bytes_max: usize,
    /// From the first signal to the end of the process, at most.
    pub drain_ms: u64,
    /// How messages are compressed.
    pub compression: Compression,
    /// What topics keep, and how many there are.
    pub topics: TopicLimits,
    /// What the process may have in use before the server gives up history and refuses what asks for more.
    pub memory: Option<MemoryLimit>,
}

/// A bound for the memory of the process, which holds whatever its peers do.
///
/// Past it the oldest history goes first, of which there is half of it at most. Then what asks for memory is refused: a
/// connection or a request with 503, a message that did not come whole with 1013, a publication with
/// [`crate::TopicError::OutOfMemory`]; and who reads slowest is cut off.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// Bytes that may be in use; at least [`Limits::memory_bytes_least`]. What an event has begun it may finish, so it is passed by
    /// as much as four of the largest messages for a moment.
    pub bytes_max: usize,
    /// Tells how many are: the allocator's own count, since it is asked at every step.
    pub bytes_in_use: fn() -> usize,
}

/// How often something may happen: so many times at once, and so many a second from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// How many a second, in the long run.
    pub per_second: u32,
    /// How many at once, after a while without.
    pub burst: u32,
}

impl Rate {
    /// So many a second, and so many at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// So many times as much.
    pub(crate) const fn times(self, factor: u32) -> Self {
        let Self { per_second, burst } = self;
        Self::new(per_second.saturating_mul(factor), burst.saturating_mul(factor))
    }
}

/// What topics keep for who comes late or reads slowly, and how many there are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicLimits {
    /// Messages of one topic.
    pub history_messages: usize,
    /// Bytes of one topic's messages, and so of one message.
    pub topic_bytes_max: usize,
    /// Bytes of all topics' messages, in all the forms that they were sent in; past it the oldest go.
    pub history_bytes_max: usize,
    /// Age at which a message goes.
    pub history_ttl_ms: u64,
    /// Topics at a time: those that somebody listens to, or that keep a message. Past it the oldest goes that nobody listens to.
    pub topics_max: usize,
    /// Topics at a time that one owner made ([`Context::set_owner`](crate::Context::set_owner)): past it the oldest of them that
    /// nobody listens to goes, or no more can be made. `None`: a tenth of `topics_max`, but as many as one peer may listen to.
    pub topics_per_owner_max: Option<usize>,
    /// Topics that one peer listens to.
    pub subscriptions_max: usize,
    /// Bytes of a topic's name.
    pub name_bytes_max: usize,
    /// What a subscriber that reads more slowly than its topic moves is given.
    pub lag: LagPolicy,
}

/// What a subscriber is given once it takes more, after it had to be left behind for not taking what was written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LagPolicy {
    /// All that the topic still has, behind a notice of what it has no more.
    #[default]
    Gap,
    /// The newest message alone, behind a notice of how many were skipped. A replay that it asked for is given whole, as far
    /// as the topic still has it. Not for forms that need every message ([`Handler::conflates`](crate::Handler::conflates)).
    Latest,
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self {
            history_messages: 1024,
            topic_bytes_max: 1 << 20,
            history_bytes_max: 64 << 20,
            history_ttl_ms: 5 * 60_000,
            topics_max: 100_000,
            topics_per_owner_max: None,
            subscriptions_max: 128,
            name_bytes_max: 255,
            lag: LagPolicy::Gap,
        }
    }
}

impl TopicLimits {
    /// [`TopicLimits::topics_per_owner_max`], whether it is given or not.
    pub fn topics_per_owner(&self) -> usize {
        self.topics_per_owner_max.unwrap_or((self.topics_max / 10).max(self.subscriptions_max))
    }
}

/// How messages are compressed, for clients that offer permessage-deflate (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// Whether, and with what memory.
    pub mode: CompressionMode,
    /// Of zlib: 1 is the fastest, 9 the smallest.
    pub level: u8,
    /// Shorter messages are sent as they are.
    pub bytes_min: usize,
    /// Base 2 logarithm of the bytes that a message refers back, 9 to 15.
    pub window_bits: u8,
    /// What all connections with context takeover may own; past it, further ones share the compressor, and so do those of an
    /// address that has more than what is left.
    pub memory_bytes_max: usize,
}

/// Who has a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionMode {
    /// Nobody: no extension is agreed on.
    Off,
    /// The server has one for all. Each message stands alone, and a connection costs nothing.
    Shared,
    /// Each connection that the memory is there for has one, so that messages refer to earlier ones (context takeover).
    Dedicated,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            mode: CompressionMode::Shared,
            level: 1,
            bytes_min: 512,
            window_bits: 15,
            memory_bytes_max: 64 << 20,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers_max: PEERS_MAX,
            peers_per_ip_max: None,
            message_rate: None,
            connect_rate: None,
            message_bytes_max: 1 << 20,
            fragments_max: 131_072,
            head_bytes_max: 8 << 10,
            headers_max: 100,
            handshake_timeout_ms: 10_000,
            keep_alive_ms: 30_000,
            send_timeout_ms: 10_000,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 10_000,
            close_timeout_ms: 5_000,
            queue_bytes_soft: 64 << 10,
            queue_bytes_max: 1 << 20,
            drain_ms: 10_000,
            compression: Compression::default(),
            topics: TopicLimits::default(),
            memory: None,
        }
    }
}

impl Limits {
    /// The least that [`MemoryLimit::bytes_max`] can be with these limits.
    pub fn memory_bytes_least(&self) -> usize {
        let largest =
            self.message_bytes_max.max(self.topics.topic_bytes_max).max(self.queue_bytes_max);
        largest.saturating_mul(LARGEST_IN_MEMORY_MIN)
    }

    /// Takes over from `new` what a running server can change. What it has promised its peers (the ping interval), has laid out
    /// (memory, compression), or keeps account of (the lag policy) stays.
    pub(crate) fn adopt(&mut self, new: &Self) {
        self.peers_max = new.peers_max;
        self.message_rate = new.message_rate;
        self.connect_rate = new.connect_rate;
        self.message_bytes_max = new.message_bytes_max;
        self.fragments_max = new.fragments_max;
        self.head_bytes_max = new.head_bytes_max;
        self.headers_max = new.headers_max;
        self.handshake_timeout_ms = new.handshake_timeout_ms;
        self.keep_alive_ms = new.keep_alive_ms;
        self.send_timeout_ms = new.send_timeout_ms;
        self.pong_timeout_ms = new.pong_timeout_ms;
        self.close_timeout_ms = new.close_timeout_ms;
        self.queue_bytes_soft = new.queue_bytes_soft;
        self.queue_bytes_max = new.queue_bytes_max;
        self.drain_ms = new.drain_ms;
        let TopicLimits { lag, name_bytes_max, .. } = self.topics;
        self.topics = TopicLimits { lag, name_bytes_max, ..new.topics.clone() };
    }

    /// Checks every limit against its hard range.
    ///
    /// # Errors
    ///
    /// The first limit that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let table: [(&'static str, u64, u64, u64); 23] = [
            ("max-connections", self.peers_max as u64, 1, PEERS_MAX as u64),
            ("max-message-bytes", self.message_bytes_max as u64, 125, 1 << 30),
            ("max-fragments", u64::from(self.fragments_max), 1, u64::from(u32::MAX)),
            ("max-head-bytes", self.head_bytes_max as u64, 256, 1 << 20),
            ("max-headers", self.headers_max as u64, 8, 1000),
            ("handshake-timeout", self.handshake_timeout_ms, 1, DAY_MS),
            ("keep-alive", self.keep_alive_ms, 1, DAY_MS),
            ("send-timeout", self.send_timeout_ms, 1, DAY_MS),
            ("ping-interval", self.ping_interval_ms, 0, DAY_MS),
            ("pong-timeout", self.pong_timeout_ms, 1, DAY_MS),
            ("close-timeout", self.close_timeout_ms, 1, DAY_MS),
            ("max-queue-bytes", self.queue_bytes_max as u64, self.queue_bytes_soft as u64, 1 << 30),
            ("drain", self.drain_ms, 0, DAY_MS),
            ("history", self.topics.history_messages as u64, 1, 1 << 24),
            ("topic-bytes", self.topics.topic_bytes_max as u64, 1 << 10, 1 << 30),
            ("history-bytes", self.topics.history_bytes_max as u64, 1 << 16, 1 << 40),
            ("history-ttl", self.topics.history_ttl_ms, 1, 30 * DAY_MS),
            ("max-topics", self.topics.topics_max as u64, 1, 1 << 24),
            ("max-subscriptions", self.topics.subscriptions_max as u64, 1, 1 << 16),
            ("max-topic-name-bytes", self.topics.name_bytes_max as u64, 16, 255),
            ("compression-level", self.compression.level.into(), 1, 9),
            ("compression-window", 1 << self.compression.window_bits.min(63), 1 << 9, 1 << 15),
            ("compression-memory", self.compression.memory_bytes_max as u64, 0, 1 << 40),
        ];
        let memory = self.memory.map(|memory| {
            ("memory-limit", memory.bytes_max as u64, self.memory_bytes_least() as u64, u64::MAX)
        });
        let per_ip = self
            .peers_per_ip_max
            .map(|count| ("max-connections-per-ip", count as u64, 1, PEERS_MAX as u64));
        let per_owner = self
            .topics
            .topics_per_owner_max
            .map(|count| ("max-topics-per-owner", count as u64, 1, 1 << 24));
        let rates = [("message-rate", self.message_rate), ("connect-rate", self.connect_rate)];
        let rates = rates.into_iter().filter_map(|(name, rate)| rate.map(|rate| (name, rate)));
        let rates = rates.flat_map(|(name, Rate { per_second, burst })| {
            [per_second, burst].map(|value| (name, u64::from(value), 1, RATE_MAX))
        });
        match table
            .into_iter()
            .chain(rates)
            .chain(memory)
            .chain(per_ip)
            .chain(per_owner)
            .find(|&(_, value, least, most)| value < least || value > most)
        {
            Some((name, value, least, most)) => Err(ConfigError { name, value, least, most }),
            None => Ok(()),
        }
    }
}

/// How often what is largest must fit in memory: in a peer's hands, in its topic, in the forms made of it, and once more.
const LARGEST_IN_MEMORY_MIN: usize = 8;

/// A slab key is 32 bits, and no kernel gives one process this many descriptors.
const PEERS_MAX: usize = 1 << 24;

/// Eight times as much, in nanoseconds, is far from what a number holds.
const RATE_MAX: u64 = 1_000_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A limit out of its hard range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The limit's name, as the binary's flag spells it.
    pub name: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least that is possible.
    pub least: u64,
    /// The most that is possible.
    pub most: u64,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}; it must be between {} and {}",
            self.name, self.value, self.least, self.most
        )
    }
}

impl std::error::Error for ConfigError {}
