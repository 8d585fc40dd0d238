//! The server's flags, each with its variable, its default and its line of help; and what they come to.
//!
//! What a value may look like is `values`' and `listens`'. Ranges are `wsfast::Limits`'.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use wsfast::proto::proxy_protocol::Versions;
use wsfast::{Cidr, CompressionMode, LagPolicy, Limits, ProxyProtocol, Rate};

use crate::app::centrifugo::protocol::json::JsonLimits;
use crate::app::config::{Ask, Config, Listening, Log, LogFormat, Places, SaidBy, Settings};
use crate::app::gate::access::AllowedOrigin;
use crate::app::gate::secret::{Anonymous, ClientPublish, GateConfig, Secret};
use crate::app::process::tls_files::TlsFiles;
use crate::cli::UsageError;
use crate::cli::admin::AdminAsk;
use crate::cli::listens::AskList;
use crate::cli::values::{self, Millis, WindowBits};

/// A fast WebSocket server: every path is a topic.
#[derive(Debug, Parser)]
#[command(
    name = "wsfast",
    version,
    about = "A fast server that pushes messages to browsers: every path is a topic, over WebSocket, server-sent events and long-poll.",
    args_override_self = true,
    max_term_width = 100,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Clients: 'wsfast sub URL', 'wsfast pub URL'. 'wsfast --help' tells more, with examples."
)]
pub(super) struct Flags {
    /// Where to listen: ADDRESS:PORT, unix:PATH, fd:N, tls: before any; repeat it for several
    #[arg(long, env = "WSFAST_LISTEN", hide_env = true, value_name = "WHERE", allow_hyphen_values = true, help_heading = LISTENING)]
    listen: Vec<AskList>,

    /// Port of --bind; 0: any free one, shown at start
    #[arg(long, env = "WSFAST_PORT", hide_env = true, value_name = "PORT", default_value = "8002")]
    #[arg(value_parser = values::port, allow_hyphen_values = true, help_heading = LISTENING)]
    port: u16,

    /// Address to listen on, short for --listen ADDRESS:PORT; repeat it for several
    #[arg(
        long,
        env = "WSFAST_BIND",
        hide_env = true,
        value_name = "ADDRESS",
        default_value = "127.0.0.1"
    )]
    #[arg(value_parser = values::address, value_delimiter = ',', allow_hyphen_values = true, help_heading = LISTENING)]
    bind: Vec<SocketAddr>,

    /// Let other processes listen on the same ports
    #[arg(long, env = "WSFAST_REUSE_PORT", hide_env = true, action = ArgAction::SetTrue, help_heading = LISTENING)]
    #[arg(value_parser = values::switch)]
    reuse_port: bool,

    /// Have proxies name the peer first: v1, v2 or auto
    #[arg(long, env = "WSFAST_PROXY_PROTOCOL", hide_env = true, value_name = "VERSION", value_enum, help_heading = LISTENING)]
    #[arg(hide_possible_values = true)]
    pub(super) proxy_protocol: Option<ProxyVersions>,

    /// Where those proxies connect from, such as 10.0.0.0/8; repeat it for several
    #[arg(
        long,
        env = "WSFAST_TRUST_PROXY",
        hide_env = true,
        value_name = "CIDR",
        value_delimiter = ','
    )]
    #[arg(help_heading = LISTENING)]
    pub(super) trust_proxy: Vec<Cidr>,
    /// Serve wss: PEM file of the certificate, its issuers behind it. With --tls-key
    #[arg(long, env = "WSFAST_TLS_CERT", hide_env = true, value_name = "FILE", help_heading = LISTENING)]
    tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's key. Both are read again on SIGHUP and when they change
    #[arg(long, env = "WSFAST_TLS_KEY", hide_env = true, value_name = "FILE", help_heading = LISTENING)]
    tls_key: Option<PathBuf>,

    /// Where to watch over the server, such as 127.0.0.1:8003 or unix:PATH [default: nowhere]
    #[arg(long, env = "WSFAST_ADMIN", hide_env = true, value_name = "WHERE", allow_hyphen_values = true, help_heading = LISTENING)]
    admin: Option<AdminAsk>,

    /// Web page that may connect, such as https://example.com; repeat it for several
    #[arg(
        long,
        env = "WSFAST_ALLOW_ORIGIN",
        hide_env = true,
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[arg(help_heading = ACCESS)]
    allow_origin: Vec<AllowedOrigin>,

    /// Key to publish with over HTTP, or @FILE that has it; repeat it for several
    #[arg(
        long,
        env = "WSFAST_PUBLISH_KEY",
        hide_env = true,
        value_name = "KEY",
        value_delimiter = ','
    )]
    #[arg(allow_hyphen_values = true, help_heading = ACCESS)]
    publish_key: Vec<Secret>,

    /// Publish what clients send: on, off or auto (for this machine alone, while it is open)
    #[arg(
        long,
        env = "WSFAST_CLIENT_PUBLISH",
        hide_env = true,
        value_name = "WHEN",
        value_enum,
        default_value = "auto"
    )]
    #[arg(hide_possible_values = true, help_heading = ACCESS)]
    client_publish: MessagesPublished,

    /// Secret of the tokens (JWT, HS256) that clients then need, or @FILE that has it
    #[arg(long, env = "WSFAST_JWT_SECRET", hide_env = true, value_name = "SECRET", help_heading = ACCESS)]
    #[arg(allow_hyphen_values = true)]
    jwt_secret: Option<Secret>,

    /// With --jwt-secret, let who has no token connect to the echo and by Centrifugo's protocol, without rights
    #[arg(long, env = "WSFAST_ALLOW_ANONYMOUS", hide_env = true, action = ArgAction::SetTrue, help_heading = ACCESS)]
    #[arg(value_parser = values::switch)]
    allow_anonymous: bool,

    /// Connections at a time; past it, 503 [default: what 'ulimit -n' allows]
    #[arg(long, env = "WSFAST_MAX_CONNECTIONS", hide_env = true, value_name = "COUNT")]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = LIMITS)]
    max_connections: Option<usize>,

    /// Connections of one address, or one /64 of IPv6; past it, 503 [default: eight of nine places; never on loopback]
    #[arg(long, env = "WSFAST_MAX_CONNECTIONS_PER_IP", hide_env = true, value_name = "COUNT")]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = LIMITS)]
    max_connections_per_ip: Option<usize>,

    /// Messages a second of a connection, or 100/500 with how many at once; past it, 429, 1008 or error 111 [default: no limit]
    #[arg(long, env = "WSFAST_MESSAGE_RATE", hide_env = true, value_name = "RATE")]
    #[arg(value_parser = values::rate, allow_hyphen_values = true, help_heading = LIMITS)]
    message_rate: Option<Rate>,

    /// New connections a second of an address, or 10/50 with how many at once; past it, 429 [default: no limit]
    #[arg(long, env = "WSFAST_CONNECT_RATE", hide_env = true, value_name = "RATE")]
    #[arg(value_parser = values::rate, allow_hyphen_values = true, help_heading = LIMITS)]
    connect_rate: Option<Rate>,

    /// Memory of the process, kept whatever clients do; past it, 503 or 1013 [default: no limit]
    #[arg(long, env = "WSFAST_MEMORY_LIMIT", hide_env = true, value_name = "SIZE")]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = LIMITS)]
    memory_limit: Option<usize>,

    /// Size of a message; past it, closed with 1009 [default: 1M, or 1K for each of --max-subscriptions if that is more]
    #[arg(long, env = "WSFAST_MAX_MESSAGE_BYTES", hide_env = true, value_name = "SIZE")]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = LIMITS)]
    max_message_bytes: Option<usize>,

    /// Frames of a message; past it, closed with 1008
    #[arg(
        long,
        env = "WSFAST_MAX_FRAGMENTS",
        hide_env = true,
        value_name = "COUNT",
        default_value = "131072"
    )]
    #[arg(value_parser = values::count::<u32>, allow_hyphen_values = true, help_heading = LIMITS)]
    max_fragments: u32,

    /// Size of a request's head; past it, 431
    #[arg(
        long,
        env = "WSFAST_MAX_HEAD_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "8K"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = LIMITS)]
    max_head_bytes: usize,

    /// Header lines of a request; past it, 431
    #[arg(
        long,
        env = "WSFAST_MAX_HEADERS",
        hide_env = true,
        value_name = "COUNT",
        default_value = "100"
    )]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = LIMITS)]
    max_headers: usize,

    /// Output that a peer does not take; past it, closed with 1008
    #[arg(
        long,
        env = "WSFAST_MAX_QUEUE_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "1M"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = LIMITS)]
    max_queue_bytes: usize,

    /// Time for a whole request to arrive; past it, 408
    #[arg(
        long,
        env = "WSFAST_HANDSHAKE_TIMEOUT",
        hide_env = true,
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    handshake_timeout: Millis,

    /// Time that a connection may be idle between two HTTP requests
    #[arg(
        long,
        env = "WSFAST_KEEP_ALIVE",
        hide_env = true,
        value_name = "TIME",
        default_value = "30s"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    keep_alive: Millis,

    /// Time that a client may take nothing of an HTTP response; then it is cut off
    #[arg(
        long,
        env = "WSFAST_SEND_TIMEOUT",
        hide_env = true,
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    send_timeout: Millis,

    /// Silence after which a peer is sent a Ping; 0: never
    #[arg(
        long,
        env = "WSFAST_PING_INTERVAL",
        hide_env = true,
        value_name = "TIME",
        default_value = "25s"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    ping_interval: Millis,

    /// Silence after a Ping after which the peer is dropped
    #[arg(
        long,
        env = "WSFAST_PONG_TIMEOUT",
        hide_env = true,
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    pong_timeout: Millis,

    /// Time for a peer to answer a Close
    #[arg(
        long,
        env = "WSFAST_CLOSE_TIMEOUT",
        hide_env = true,
        value_name = "TIME",
        default_value = "5s"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    close_timeout: Millis,

    /// Time to close all connections after Ctrl-C or SIGTERM
    #[arg(long, env = "WSFAST_DRAIN", hide_env = true, value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TIMES)]
    drain: Millis,

    /// Messages that a topic keeps for who comes late or reads slowly
    #[arg(
        long,
        env = "WSFAST_HISTORY",
        hide_env = true,
        value_name = "COUNT",
        default_value = "1024"
    )]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = TOPICS)]
    history: usize,

    /// Size of one topic's messages, and so of one
    #[arg(
        long,
        env = "WSFAST_TOPIC_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "1M"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = TOPICS)]
    topic_bytes: usize,

    /// Size of all topics' messages; past it the oldest go
    #[arg(
        long,
        env = "WSFAST_HISTORY_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "64M"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = TOPICS)]
    history_bytes: usize,

    /// Age at which a message goes
    #[arg(
        long,
        env = "WSFAST_HISTORY_TTL",
        hide_env = true,
        value_name = "TIME",
        default_value = "5m"
    )]
    #[arg(value_parser = values::duration, allow_hyphen_values = true, help_heading = TOPICS)]
    history_ttl: Millis,

    /// Topics at a time; past it the oldest that nobody listens to goes, else 503 or 1013
    #[arg(
        long,
        env = "WSFAST_MAX_TOPICS",
        hide_env = true,
        value_name = "COUNT",
        default_value = "100000"
    )]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = TOPICS)]
    max_topics: usize,

    /// Topics that one user made, or one address; past it 429, 1008 or error 106 [default: a tenth of --max-topics]
    #[arg(long, env = "WSFAST_MAX_TOPICS_PER_OWNER", hide_env = true, value_name = "COUNT")]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = TOPICS)]
    max_topics_per_owner: Option<usize>,

    /// Topics that one connection listens to; past it, the protocol's error
    #[arg(
        long,
        env = "WSFAST_MAX_SUBSCRIPTIONS",
        hide_env = true,
        value_name = "COUNT",
        default_value = "128"
    )]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = TOPICS)]
    max_subscriptions: usize,

    /// Size of a topic's name; past it, 400 or the protocol's error
    #[arg(
        long,
        env = "WSFAST_MAX_TOPIC_NAME_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "255"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = TOPICS)]
    max_topic_name_bytes: usize,

    /// Channels in one broadcast of Centrifugo's HTTP API; past it, error 106
    #[arg(
        long,
        env = "WSFAST_MAX_COMMANDS",
        hide_env = true,
        value_name = "COUNT",
        default_value = "128"
    )]
    #[arg(value_parser = values::commands, allow_hyphen_values = true, help_heading = TOPICS)]
    max_commands: usize,

    /// Arrays and objects inside of each other in a command of Centrifugo's protocol; past it, error 107
    #[arg(
        long,
        env = "WSFAST_MAX_JSON_DEPTH",
        hide_env = true,
        value_name = "COUNT",
        default_value = "64"
    )]
    #[arg(value_parser = values::depth, allow_hyphen_values = true, help_heading = TOPICS)]
    max_json_depth: usize,

    /// What who reads slowly goes on with: gap (what the history still has) or latest (the newest message alone)
    #[arg(
        long,
        env = "WSFAST_LAG",
        hide_env = true,
        value_name = "POLICY",
        value_enum,
        default_value = "gap"
    )]
    #[arg(hide_possible_values = true, help_heading = TOPICS)]
    lag: Lag,
    /// Topic that each line of standard input is published to
    #[arg(long, env = "WSFAST_STDIN", hide_env = true, value_name = "TOPIC")]
    #[arg(value_parser = values::topic, allow_hyphen_values = true, help_heading = TOPICS)]
    stdin: Option<String>,

    /// Compress messages for clients that offer it: off, shared (one compressor for all) or dedicated (one each)
    #[arg(
        long,
        env = "WSFAST_COMPRESSION",
        hide_env = true,
        value_name = "MODE",
        value_enum,
        default_value = "shared"
    )]
    #[arg(hide_possible_values = true, help_heading = COMPRESSION)]
    compression: Mode,

    /// Shorter messages are sent as they are
    #[arg(
        long,
        env = "WSFAST_COMPRESS_MIN_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "512"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = COMPRESSION)]
    compress_min_bytes: usize,

    /// From 1, the fastest, to 9, the smallest
    #[arg(
        long,
        env = "WSFAST_COMPRESSION_LEVEL",
        hide_env = true,
        value_name = "LEVEL",
        default_value = "1"
    )]
    #[arg(value_parser = values::count::<u8>, allow_hyphen_values = true, help_heading = COMPRESSION)]
    compression_level: u8,

    /// How far back a message refers: a power of two from 512 to 32K
    #[arg(
        long,
        env = "WSFAST_COMPRESSION_WINDOW",
        hide_env = true,
        value_name = "SIZE",
        default_value = "32K"
    )]
    #[arg(value_parser = values::window, allow_hyphen_values = true, help_heading = COMPRESSION)]
    compression_window: WindowBits,

    /// Memory of all dedicated compressors; past it, connections share one
    #[arg(
        long,
        env = "WSFAST_COMPRESSION_MEMORY",
        hide_env = true,
        value_name = "SIZE",
        default_value = "64M"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = COMPRESSION)]
    compression_memory: usize,

    /// Form of the log on stderr: text or json
    #[arg(
        long,
        env = "WSFAST_LOG",
        hide_env = true,
        value_name = "FORM",
        value_enum,
        default_value = "text"
    )]
    #[arg(hide_possible_values = true, help_heading = LOGS)]
    log: Form,

    /// Log more; -vv logs even more
    #[arg(short, long, env = "WSFAST_VERBOSE", hide_env = true, action = ArgAction::Count, help_heading = LOGS)]
    #[arg(value_parser = values::count::<u8>)]
    verbose: u8,

    /// TOML file with settings: the flags' names without dashes. A flag wins over a variable, that over the file
    #[arg(long, env = "WSFAST_CONFIG", hide_env = true, value_name = "FILE", help_heading = OTHER)]
    config: Option<PathBuf>,

    /// Print all settings as such a file, and leave
    #[arg(long, help_heading = OTHER)]
    print_config: bool,

    /// Print help: -h the flags, --help also examples, something to try, and exit codes
    #[arg(short, long, action = ArgAction::Help, help_heading = OTHER)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = OTHER)]
    version: Option<bool>,
}

impl Flags {
    pub(super) fn into_config(self, said_by: SaidBy) -> Result<Config, UsageError> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(UsageError::HalfAPair { given: "--tls-cert", missing: "--tls-key" });
            }
            (None, Some(_)) => {
                return Err(UsageError::HalfAPair { given: "--tls-key", missing: "--tls-cert" });
            }
        };
        let mut limits = Limits::default();
        if let Some(asked) = self.max_connections {
            limits.peers_max = asked;
        }
        // A client that reconnects says connect and all its subscriptions in one message.
        let all_subscribe = self.max_subscriptions.saturating_mul(SUBSCRIBE_BYTES_MAX);
        limits.message_bytes_max =
            self.max_message_bytes.unwrap_or(limits.message_bytes_max.max(all_subscribe));
        limits.fragments_max = self.max_fragments;
        limits.peers_per_ip_max = self.max_connections_per_ip;
        limits.message_rate = self.message_rate;
        limits.connect_rate = self.connect_rate;
        limits.head_bytes_max = self.max_head_bytes;
        limits.headers_max = self.max_headers;
        limits.queue_bytes_max = self.max_queue_bytes;
        limits.handshake_timeout_ms = self.handshake_timeout.0;
        limits.ping_interval_ms = self.ping_interval.0;
        limits.pong_timeout_ms = self.pong_timeout.0;
        limits.close_timeout_ms = self.close_timeout.0;
        limits.drain_ms = self.drain.0;
        limits.keep_alive_ms = self.keep_alive.0;
        limits.send_timeout_ms = self.send_timeout.0;
        let topics = &mut limits.topics;
        topics.history_messages = self.history;
        topics.topic_bytes_max = self.topic_bytes;
        topics.history_bytes_max = self.history_bytes;
        topics.history_ttl_ms = self.history_ttl.0;
        topics.topics_max = self.max_topics;
        topics.topics_per_owner_max = self.max_topics_per_owner;
        topics.subscriptions_max = self.max_subscriptions;
        topics.name_bytes_max = self.max_topic_name_bytes;
        topics.lag = self.lag.into();
        let compression = &mut limits.compression;
        compression.mode = self.compression.into();
        compression.bytes_min = self.compress_min_bytes;
        compression.level = self.compression_level;
        compression.window_bits = self.compression_window.0;
        compression.memory_bytes_max = self.compression_memory;

        let binds = self.bind.into_iter().map(|mut addr| {
            addr.set_port(self.port);
            Ask::from(addr)
        });
        let asks = match said_by {
            SaidBy::Listen => self.listen.into_iter().flat_map(|list| list.0).collect(),
            SaidBy::Bind | SaidBy::Nobody | SaidBy::Admin => binds.collect(),
        };
        if let Some(admin) = &self.admin
            && admin.is_open_to_others()
            && self.publish_key.is_empty()
        {
            return Err(UsageError::AdminOpenToAll(admin.0.clone()));
        }

        Ok(Config {
            limits,
            json: JsonLimits { depth_max: self.max_json_depth, channels_max: self.max_commands },
            memory_limit: self.memory_limit,
            peers_asked: self.max_connections,
            origins: self.allow_origin,

            gate: GateConfig {
                publish_keys: self.publish_key,
                client_publish: self.client_publish.into(),
                jwt_secret: self.jwt_secret,
                anonymous: match self.allow_anonymous {
                    true => Anonymous::Allowed,
                    false => Anonymous::Refused,
                },
            },
            tls,
            stdin: self.stdin,
            listening: Listening {
                asks,
                said_by,
                reuse_port: self.reuse_port,
                admin: self.admin.map(|admin| admin.0),
                proxy: self.proxy_protocol.map(|versions| ProxyProtocol {
                    versions: match versions {
                        ProxyVersions::V1 => Versions::V1,
                        ProxyVersions::V2 => Versions::V2,
                        ProxyVersions::Auto => Versions::Auto,
                    },
                    trusted: self.trust_proxy.into(),
                }),
            },
            log: Log { format: self.log.into(), verbosity: self.verbose },
            places: Places::default(),
            settings: Settings::default(),
        })
    }
}

/// What a subscribe command of a stock client may take: the longest name, escaped, and the place that it recovers from, are
/// about 700 bytes.
const SUBSCRIBE_BYTES_MAX: usize = 1 << 10;

const LISTENING: &str = "Listening";
const ACCESS: &str = "Access";
const LIMITS: &str = "Limits (sizes: bytes, or with K, M, G as powers of 1024)";
const TIMES: &str = "Times (250ms, 10s, 2m, 1h)";
const TOPICS: &str = "Topics: every path is one";
const COMPRESSION: &str = "Compression (permessage-deflate, RFC 7692)";
const LOGS: &str = "Logs";
const OTHER: &str = "Other";

pub(super) const AFTER_LONG_HELP: &str = "\
Each flag is also an environment variable: --max-connections is WSFAST_MAX_CONNECTIONS, and so on.
A flag wins over its variable. For a flag that can be repeated, the variable is a list with commas.

In a file:
  --config wsfast.toml reads what no flag and no variable says from a TOML file, by the flags' names:

    listen = [\"127.0.0.1:8002\", \"tls:0.0.0.0:8443\"]
    max-connections = 5000
    memory-limit = \"64M\"
    reuse-port = true

  'wsfast check --config wsfast.toml' tries all of it, certificates and secrets' files included,
  without listening: 0 if a server could be started with it, else 2. --print-config prints what
  flags, variables and the file come to, as such a file, without secrets. Files are found from the
  working directory, and read when the server starts and on SIGHUP.

Where to listen:
  --listen 0.0.0.0:8002                  an address and a port: all of IPv4; [::]:8002 is all of IPv6
  --listen unix:/run/wsfast.sock         a Unix socket for owner and group; behind ',mode=600' for
                                         the owner alone; a stale file is replaced
  --listen fd:3                          a socket that the starting program passes on, by its number
                                         or, as fd:NAME, by its name in LISTEN_FDNAMES
  --listen tls:0.0.0.0:8443              any of these, with TLS
  Instead of --bind and --port, not beside them. With neither, sockets that systemd passes on
  (LISTEN_FDS) are used alone, or else 127.0.0.1:8002. With --proxy-protocol, connections from
  --trust-proxy and by Unix sockets begin with a PROXY header, and the peer is whom it names.

Who can connect:
  127.0.0.1 and ::1 are reached from this machine, and by proxies on it; --bind 0.0.0.0 opens all
  of IPv4, --bind :: all of IPv6. Browsers also say which page asks (its Origin). Pages with the server's own host and port
  may connect and, while it listens on loopback addresses only, pages from localhost, 127.0.0.1
  and [::1] at any port. --allow-origin adds others: scheme://host or scheme://host:port, 'null'
  for local files, '*' for all. Programs that are not browsers send no Origin and may connect.
  On loopback alone, other names than localhost are refused, since their owners can have them
  resolve to 127.0.0.1; a proxy here that passes on its own needs --allow-origin with it.

Who can subscribe and publish:
  On loopback alone this machine may, until --publish-key, --jwt-secret or an --allow-origin that is
  not this machine's is given. What shows a proxy (Forwarded, X-Forwarded-*, X-Real-IP, Via, and the
  like) or asks for another name is not this machine. A proxy that shows none of it cannot be told
  from this machine: with one in front, give --publish-key or --jwt-secret. All others may
  subscribe; publishing over HTTP needs a --publish-key (X-API-Key or Authorization: Bearer), and
  what clients send is published with --client-publish on. With --jwt-secret all need a token: a
  JWT signed with HS256 whose claims 'subscribe' and 'publish' list topics ('news', 'news/*' for
  all below it, '*' for all), valid from 'nbf' until 'exp'. It comes as Authorization: Bearer,
  as ?token=, or as the subprotocol bearer.TOKEN, beside another one for the server to choose. Who
  has none holds no connection to / and /echo, nor by Centrifugo's protocol (--allow-anonymous).
  A secret has 16 bytes or more ('openssl rand -hex 32' makes one); @FILE keeps it out of 'ps'.

Watching over it:
  --admin 127.0.0.1:8003 serves, there alone: /ready (503 while it drains), /topics, /connections
  (DELETE /connections/ID ends one), /metrics (Prometheus), and /events: who joins and leaves which topic, as a topic.
  An address that others reach needs a --publish-key, which all but /ready then asks for.

Examples:
  wsfast                                        loopback only, port 8002
  wsfast --port 0                               a free port; the first line says which
  wsfast --bind 0.0.0.0 --bind ::1 --port 80    all of IPv4, and IPv6 on this machine
  wsfast --listen unix:/run/wsfast.sock         for a proxy on this machine
  wsfast --allow-origin https://example.com     pages from there may connect, too
  WSFAST_PORT=9000 WSFAST_LOG=json wsfast       the same with variables
  vmstat 1 | wsfast --stdin vmstat              each line of a program is a message of /vmstat
  wsfast dev-cert                               a self-signed pair of files to try wss with
  wsfast --tls-cert cert.pem --tls-key key.pem  wss://, and nothing else, on the same port

Clients: each has a page of its own, 'wsfast sub --help' and 'wsfast pub --help':
  wsfast sub ws://127.0.0.1:8002/chat           prints what is published, and resumes when cut off
  date | wsfast pub ws://127.0.0.1:8002/chat    publishes each line

Try it:
  Start 'wsfast', open http://127.0.0.1:8002/ in a browser (426 is the right answer there), and
  type in that page's console:

    ws = new WebSocket('ws://127.0.0.1:8002/')
    ws.onmessage = event => console.log(event.data)
    ws.onopen = () => ws.send('hello')

  To see a page from elsewhere refused with 403:

    curl -i --http1.1 http://127.0.0.1:8002/ -H 'Origin: https://example.com' \\
      -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \\
      -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='

Ctrl-C and SIGTERM close all connections with 1001 and wait for them; a second one ends at once.

SIGHUP reads --config, the files of secrets, --tls-cert and --tls-key again; flags and
variables keep their precedence. At once change: who may connect and publish (--allow-origin,
--publish-key, --client-publish, --jwt-secret), the certificate, --verbose, and limits and times
but --ping-interval, --lag, --memory-limit and those of compression. Open connections stay; a
key that was removed publishes nothing more, a token holds until it ends. What needs a restart
(where to listen, and the rest) is named in the log. One mistake, and nothing changes: the log
says which, as 'wsfast check' does.

SIGUSR2 executes the file that the server was started by, which may be a new version. Plain connections
go on there; those over TLS get 1012. If the new file fails its check, the old one goes on.

Exit codes:
  0      stopped by a signal, all goodbyes said or --drain over; check: fine; dev-cert: files written
  1      failed while running
  2      could not start: bad flag or file, port taken, too few descriptors, bad certificate or key;
         dev-cert: a file is there already or cannot be written
  128+N  ended at once by a second signal: N is 2 for Ctrl-C, 15 for SIGTERM";

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Text,
    Json,
}

impl From<Form> for LogFormat {
    fn from(form: Form) -> Self {
        match form {
            Form::Text => Self::Text,
            Form::Json => Self::Json,
        }
    }
}

/// Who has a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Off,
    Shared,
    Dedicated,
}

impl From<Mode> for CompressionMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Shared => Self::Shared,
            Mode::Dedicated => Self::Dedicated,
        }
    }
}

/// The values of `--lag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Lag {
    Gap,
    Latest,
}

impl From<Lag> for LagPolicy {
    fn from(lag: Lag) -> Self {
        match lag {
            Lag::Gap => Self::Gap,
            Lag::Latest => Self::Latest,
        }
    }
}

/// The values of `--client-publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MessagesPublished {
    On,
    Off,
    Auto,
}

impl From<MessagesPublished> for ClientPublish {
    fn from(value: MessagesPublished) -> Self {
        match value {
            MessagesPublished::On => Self::On,
            MessagesPublished::Off => Self::Off,
            MessagesPublished::Auto => Self::Auto,
        }
    }
}

/// The values of `--proxy-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProxyVersions {
    V1,
    V2,
    Auto,
}
