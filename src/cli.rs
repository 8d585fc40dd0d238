//! Flags and environment variables to [`Config`], and the help pages.
//!
//! Opens nothing and raises nothing: what the process may have (descriptors) is `app::descriptors`' business, and so
//! is the final number of connections.

mod admin;
mod client;
mod listens;
mod usage;
mod values;

use std::cmp::Ordering;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};
use wsfast::proto::proxy_protocol::Versions;
use wsfast::{Cidr, CompressionMode, LagPolicy, Limits, ProxyProtocol};

use crate::app::access::AllowedOrigin;
use crate::app::client::publish::Pub;
use crate::app::client::sub::Sub;
use crate::app::dev_cert::DevCert;
use crate::app::gate::secret::{ClientPublish, GateConfig, Secret};
use crate::app::tls_files::TlsFiles;
use crate::cli::admin::AdminAsk;
use crate::cli::listens::AskList;
use crate::cli::values::{Millis, WindowBits};

pub(crate) use crate::cli::listens::{Ask, AskAt};
pub(crate) use crate::cli::usage::UsageError;

/// What the command line and the environment ask for.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listening: Listening,
    /// Within their hard ranges. `peers_max` is the default unless `peers_asked` is given.
    pub(crate) limits: Limits,
    /// `--memory-limit`, in bytes.
    pub(crate) memory_limit: Option<usize>,
    /// `--max-connections`; `None`: as many as the descriptors allow.
    pub(crate) peers_asked: Option<usize>,
    /// `--allow-origin`.
    pub(crate) origins: Vec<AllowedOrigin>,
    /// `--publish-key`, `--client-publish` and `--jwt-secret`.
    pub(crate) gate: GateConfig,
    /// The certificate and key to serve wss with.
    pub(crate) tls: Option<TlsFiles>,
    /// The topic of `--stdin`.
    pub(crate) stdin: Option<String>,
    pub(crate) log: Log,
}

/// Where to listen, and how.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// Never empty.
    pub(crate) asks: Vec<Ask>,
    pub(crate) said_by: SaidBy,
    pub(crate) reuse_port: bool,
    /// `--admin`: on loopback or a Unix socket, or there are publish keys.
    pub(crate) admin: Option<Ask>,
    /// `--proxy-protocol` and `--trust-proxy`, which may be nobody.
    pub(crate) proxy: Option<ProxyProtocol>,
}

/// What says where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// Nothing: the default, which inherited sockets take the place of.
    Nobody,
    /// `--bind`, `--port` or both.
    Bind,
    /// `--listen`.
    Listen,
    /// `--admin`, for that address alone.
    Admin,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Who has a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
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
enum Lag {
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
enum MessagesPublished {
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

/// Why there is no [`Config`].
#[derive(Debug)]
pub(crate) enum Instead {
    /// `--help`, `-h` or `--version` was asked for: print this and leave.
    Page(Box<clap::Error>),
    /// A certificate to try wss with was asked for: write it and leave.
    DevCert(DevCert),
    /// `pub`: publish, and leave.
    Pub(Box<Pub>),
    /// `sub`: listen, and leave.
    Sub(Box<Sub>),
    /// The arguments make no sense.
    Usage(UsageError),
}

/// Reads `args` (the program's name first), and the environment for what they leave out.
///
/// # Errors
///
/// The page that was asked for, or the first mistake.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Config, Instead> {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.get(1).and_then(|arg| arg.to_str()) {
        Some("dev-cert") => return Err(parse_dev_cert(&args[1..])),
        Some("pub") => return Err(client::parse_pub(&args[1..])),
        Some("sub") => return Err(client::parse_sub(&args[1..])),
        _ => {}
    }
    let mut command = Flags::command();
    if args.iter().any(|arg| arg == "--help") {
        // clap's own long form puts each default on a line of its own, which makes the page twice as long.
        command = command.after_help(AFTER_LONG_HELP);
    }
    let matches = command.try_get_matches_from(&args);
    let matches = matches.map_err(|error| Instead::from_clap(error, &args))?;
    let said_by = said_by(&matches).map_err(Instead::Usage)?;
    let flags =
        Flags::from_arg_matches(&matches).map_err(|error| Instead::from_clap(error, &args))?;
    if flags.proxy_protocol.is_none() && !flags.trust_proxy.is_empty() {
        return Err(Instead::Usage(UsageError::TrustWithoutProtocol));
    }
    let config = flags.into_config(said_by).map_err(Instead::Usage)?;
    config.limits.check().map_err(|error| Instead::Usage(UsageError::Limit(error)))?;
    Ok(config)
}

/// Decides between `--listen` and its short form: flags win over variables, and two of a kind are a mistake.
fn said_by(matches: &ArgMatches) -> Result<SaidBy, UsageError> {
    let weight = |id| match matches.value_source(id) {
        Some(ValueSource::CommandLine) => 2,
        Some(ValueSource::EnvVariable) => 1,
        _ => 0,
    };
    let listen = weight("listen");
    let bind = weight("bind").max(weight("port"));
    match listen.cmp(&bind) {
        Ordering::Greater => Ok(SaidBy::Listen),
        Ordering::Less => Ok(SaidBy::Bind),
        Ordering::Equal if listen > 0 => Err(UsageError::TwoWays { by_variables: listen == 1 }),
        Ordering::Equal => Ok(SaidBy::Nobody),
    }
}

/// The values of `--proxy-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProxyVersions {
    V1,
    V2,
    Auto,
}

/// Reads the arguments of `dev-cert`, which comes first in `args`.
fn parse_dev_cert(args: &[OsString]) -> Instead {
    let flags = DevCertFlags::command()
        .try_get_matches_from(args)
        .and_then(|matches| DevCertFlags::from_arg_matches(&matches));
    match flags {
        Ok(flags) => Instead::DevCert(DevCert { dir: flags.dir, force: flags.force }),
        Err(error) => Instead::from_clap(error, args),
    }
}

impl Instead {
    fn from_clap(error: clap::Error, args: &[OsString]) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Page(Box::new(error)),
            _ => Self::Usage(UsageError::arguments(error, args)),
        }
    }
}

/// A self-signed certificate.
#[derive(Debug, Parser)]
#[command(
    name = "wsfast dev-cert",
    about = "Writes dev-cert.pem and dev-key.pem: a self-signed certificate for localhost, 127.0.0.1 and ::1, to try wss \
             with. Not for the public: no browser trusts it unasked.",
    max_term_width = 100
)]
struct DevCertFlags {
    /// Directory that gets both files
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    dir: PathBuf,

    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

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
struct Flags {
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
    proxy_protocol: Option<ProxyVersions>,

    /// Where those proxies connect from, such as 10.0.0.0/8; repeat it for several
    #[arg(
        long,
        env = "WSFAST_TRUST_PROXY",
        hide_env = true,
        value_name = "CIDR",
        value_delimiter = ','
    )]
    #[arg(help_heading = LISTENING)]
    trust_proxy: Vec<Cidr>,
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

    /// Publish what clients send: on, off or auto (on while all is open to this machine only)
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

    /// Connections at a time; past it, 503 [default: what 'ulimit -n' allows]
    #[arg(long, env = "WSFAST_MAX_CONNECTIONS", hide_env = true, value_name = "COUNT")]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = LIMITS)]
    max_connections: Option<usize>,

    /// Memory of the process, kept whatever clients do; past it, 503 or 1013 [default: no limit]
    #[arg(long, env = "WSFAST_MEMORY_LIMIT", hide_env = true, value_name = "SIZE")]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = LIMITS)]
    memory_limit: Option<usize>,

    /// Size of a message; past it, closed with 1009
    #[arg(
        long,
        env = "WSFAST_MAX_MESSAGE_BYTES",
        hide_env = true,
        value_name = "SIZE",
        default_value = "1M"
    )]
    #[arg(value_parser = values::size, allow_hyphen_values = true, help_heading = LIMITS)]
    max_message_bytes: usize,

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

    /// Topics at a time; past it, 503 or 1013
    #[arg(
        long,
        env = "WSFAST_MAX_TOPICS",
        hide_env = true,
        value_name = "COUNT",
        default_value = "100000"
    )]
    #[arg(value_parser = values::count::<usize>, allow_hyphen_values = true, help_heading = TOPICS)]
    max_topics: usize,

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
    log: LogFormat,

    /// Log more; -vv logs even more
    #[arg(short, long, env = "WSFAST_VERBOSE", hide_env = true, action = ArgAction::Count, help_heading = LOGS)]
    #[arg(value_parser = values::count::<u8>)]
    verbose: u8,

    /// Print help: -h the flags, --help also examples, something to try, and exit codes
    #[arg(short, long, action = ArgAction::Help, help_heading = OTHER)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = OTHER)]
    version: Option<bool>,
}

impl Flags {
    fn into_config(self, said_by: SaidBy) -> Result<Config, UsageError> {
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
        limits.message_bytes_max = self.max_message_bytes;
        limits.fragments_max = self.max_fragments;
        limits.head_bytes_max = self.max_head_bytes;
        limits.queue_bytes_max = self.max_queue_bytes;
        limits.handshake_timeout_ms = self.handshake_timeout.0;
        limits.ping_interval_ms = self.ping_interval.0;
        limits.pong_timeout_ms = self.pong_timeout.0;
        limits.close_timeout_ms = self.close_timeout.0;
        limits.drain_ms = self.drain.0;
        limits.keep_alive_ms = self.keep_alive.0;
        let topics = &mut limits.topics;
        topics.history_messages = self.history;
        topics.topic_bytes_max = self.topic_bytes;
        topics.history_bytes_max = self.history_bytes;
        topics.history_ttl_ms = self.history_ttl.0;
        topics.topics_max = self.max_topics;
        topics.subscriptions_max = self.max_subscriptions;
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
            memory_limit: self.memory_limit,
            peers_asked: self.max_connections,
            origins: self.allow_origin,

            gate: GateConfig {
                publish_keys: self.publish_key,
                client_publish: self.client_publish.into(),
                jwt_secret: self.jwt_secret,
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
            log: Log { format: self.log, verbosity: self.verbose },
        })
    }
}

const LISTENING: &str = "Listening";
const ACCESS: &str = "Access";
const LIMITS: &str = "Limits (sizes: bytes, or with K, M, G as powers of 1024)";
const TIMES: &str = "Times (250ms, 10s, 2m, 1h)";
const TOPICS: &str = "Topics: every path is one";
const COMPRESSION: &str = "Compression (permessage-deflate, RFC 7692)";
const LOGS: &str = "Logs";
const OTHER: &str = "Other";

const AFTER_LONG_HELP: &str = "\
Each flag is also an environment variable: --max-connections is WSFAST_MAX_CONNECTIONS, and so on.
A flag wins over its variable. For a flag that can be repeated, the variable is a list with commas.

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
  127.0.0.1 and ::1 are for this machine only; --bind 0.0.0.0 opens all of IPv4, --bind :: all of
  IPv6. Browsers also say which page asks (its Origin). Pages with the server's own host and port
  may connect and, while it listens on loopback addresses only, pages from localhost, 127.0.0.1
  and [::1] at any port. --allow-origin adds others: scheme://host or scheme://host:port, 'null'
  for local files, '*' for all. Programs that are not browsers send no Origin and may connect.
  On loopback alone, other names than localhost are refused, since their owners can have them
  resolve to 127.0.0.1; a proxy here that passes on its own needs --allow-origin with it.

Who can subscribe and publish:
  On loopback alone everyone, until --publish-key or --jwt-secret is given. Elsewhere everyone may
  subscribe; publishing over HTTP needs a --publish-key (X-API-Key or Authorization: Bearer), and
  what clients send is published with --client-publish on. With --jwt-secret all need a token: a
  JWT signed with HS256 whose claims 'subscribe' and 'publish' list topics ('news', 'news/*' for
  all below it, '*' for all), valid from 'nbf' until 'exp'. It comes as Authorization: Bearer,
  as ?token=, or as the subprotocol bearer.TOKEN, beside another one for the server to choose.
  A secret has 16 bytes or more ('openssl rand -hex 32' makes one); @FILE keeps it out of 'ps'.

Watching over it:
  --admin 127.0.0.1:8003 serves, there alone: /ready (503 while it drains), /topics, /connections
  (DELETE /connections/ID ends one), and /events: who joins and leaves which topic, as a topic.
  An address that others reach needs a --publish-key, which all but /ready then asks for.

Examples:
  wsfast                                        this machine only, port 8002
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

SIGHUP reads --tls-cert and --tls-key again. A pair that is wrong is logged, and the old one stays.

Exit codes:
  0      stopped by a signal, all goodbyes said or --drain over; dev-cert: files written
  1      failed while running
  2      could not start: bad flag, port taken, too few descriptors, bad certificate or key;
         dev-cert: a file is there already or cannot be written
  128+N  ended at once by a second signal: N is 2 for Ctrl-C, 15 for SIGTERM";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn the_flags_defaults_are_the_limits_defaults() {
        let config = config(&[]);
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
        assert_eq!(config.listening.asks, [ask("127.0.0.1:8002")]);
        assert_eq!(config.listening.said_by, SaidBy::Nobody);
        assert!(!config.listening.reuse_port && config.listening.proxy.is_none());
        assert_eq!(config.peers_asked, None);
        assert_eq!((config.tls, config.stdin, config.listening.admin), (None, None, None));
        assert_eq!(config.gate, GateConfig::default());
        assert_eq!(config.log, Log { format: LogFormat::Text, verbosity: 0 });
    }

    #[test]
    fn every_flag_reaches_its_limit() {
        assert_eq!(config(&["--memory-limit=2G"]).memory_limit, Some(2 << 30));
        let limits = config(&[
            "--max-connections=1",
            "--max-message-bytes=2K",
            "--max-fragments=3",
            "--max-head-bytes=4K",
            "--max-queue-bytes=5M",
            "--handshake-timeout=6ms",
            "--ping-interval=7s",
            "--pong-timeout=8m",
            "--close-timeout=9h",
            "--drain=0",
            "--keep-alive=11s",
            "--history=12",
            "--topic-bytes=13K",
            "--history-bytes=14M",
            "--history-ttl=15m",
            "--max-topics=16",
            "--max-subscriptions=17",
            "--lag=latest",
            "--compression=dedicated",
            "--compress-min-bytes=10",
            "--compression-level=9",
            "--compression-window=1K",
            "--compression-memory=3G",
        ])
        .limits;
        assert_eq!(limits.peers_max, 1);
        assert_eq!(limits.message_bytes_max, 2 << 10);
        assert_eq!(limits.fragments_max, 3);
        assert_eq!(limits.head_bytes_max, 4 << 10);
        assert_eq!(limits.queue_bytes_max, 5 << 20);
        assert_eq!(limits.handshake_timeout_ms, 6);
        assert_eq!(limits.ping_interval_ms, 7_000);
        assert_eq!(limits.pong_timeout_ms, 480_000);
        assert_eq!(limits.close_timeout_ms, 32_400_000);
        assert_eq!(limits.drain_ms, 0);
        let topics = limits.topics;
        assert_eq!((limits.keep_alive_ms, topics.history_ttl_ms), (11_000, 900_000));
        assert_eq!((topics.history_messages, topics.topics_max), (12, 16));
        assert_eq!((topics.subscriptions_max, topics.lag), (17, LagPolicy::Latest));
        assert_eq!((topics.topic_bytes_max, topics.history_bytes_max), (13 << 10, 14 << 20));
        let compression = limits.compression;
        assert_eq!(compression.mode, CompressionMode::Dedicated);
        assert_eq!((compression.bytes_min, compression.level), (10, 9));
        assert_eq!((compression.window_bits, compression.memory_bytes_max), (10, 3 << 30));
    }

    #[test]
    fn addresses_and_origins_add_up_and_other_flags_count_last() {
        let config = config(&[
            "--bind=::1",
            "--bind=127.0.0.1,0.0.0.0",
            "--port=1",
            "--port",
            "2",
            "-vv",
            "-v",
        ]);
        let expected = ["[::1]:2", "127.0.0.1:2", "0.0.0.0:2"].map(ask);
        assert_eq!(config.listening.asks, expected);
        assert_eq!(config.listening.said_by, SaidBy::Bind);
        assert_eq!(config.log.verbosity, 3);

        let origins =
            self::config(&["--allow-origin", "https://a.example,null", "--allow-origin=*"]).origins;
        assert_eq!(origins, ["https://a.example", "null", "*"].map(|text| text.parse().unwrap()));

        let listening = self::config(&["--listen=fd:3,unix:/a,mode=600", "--listen", "[::1]:1"]);
        assert_eq!(listening.listening.asks, ["fd:3", "unix:/a,mode=600", "[::1]:1"].map(ask));
        assert_eq!(listening.listening.said_by, SaidBy::Listen);
    }

    #[test]
    fn proxies_and_shared_ports() {
        let proxied = config(&[
            "--proxy-protocol=auto",
            "--trust-proxy=10.0.0.0/8,::1",
            "--trust-proxy",
            "192.0.2.1",
            "--reuse-port",
        ]);
        assert!(proxied.listening.reuse_port);
        let proxy = proxied.listening.proxy.unwrap();
        assert_eq!(proxy.versions, Versions::Auto);
        let trusted = ["10.0.0.0/8", "::1", "192.0.2.1"].map(|text| text.parse().unwrap());
        assert_eq!(*proxy.trusted, trusted);
    }

    #[test]
    fn a_mistake_is_one_line_with_its_remedy() {
        for (args, expected) in [
            (
                &["--port", "99999"][..],
                "--port '99999' is not a port; write a number from 1 to 65535, or 0 for any free port",
            ),
            (
                &["--port", "-1"],
                "--port '-1' is not a port; write a number from 1 to 65535, or 0 for any free port",
            ),
            (
                &["--port="],
                "--port '' is not a port; write a number from 1 to 65535, or 0 for any free port",
            ),
            (&["--port"], "--port needs a value; see 'wsfast --help'"),
            (&["--prot", "80"], "there is no flag '--prot'; did you mean --port?"),
            (&["--xyzzy"], "there is no flag '--xyzzy'; 'wsfast --help' lists them all"),
            (&["-x"], "there is no flag '-x'; 'wsfast --help' lists them all"),
            (&["9000"], "'9000' belongs to no flag; did you mean --port 9000?"),
            (&["start"], "'start' belongs to no flag; 'wsfast --help' lists them all"),
            (
                &["a\nb\u{1b}[31m"],
                "'a\\nb\\u{1b}[31m' belongs to no flag; 'wsfast --help' lists them all",
            ),
            (
                &["--listen", "8002"],
                "--listen '8002' has no address; write 127.0.0.1:PORT, or 0.0.0.0:PORT for all of IPv4",
            ),
            (
                &["--listen", "127.0.0.1:1", "--port", "2"],
                "--listen says where to listen, as --bind and --port do; leave them out, and write both into --listen \
                 ADDRESS:PORT",
            ),
            (
                &["--trust-proxy", "10.0.0.1/8", "--proxy-protocol", "v1"],
                "--trust-proxy '10.0.0.1/8' has bits behind its prefix; write 10.0.0.0/8, or the address alone",
            ),
            (
                &["--trust-proxy", "10.0.0.0/8"],
                "--trust-proxy is for --proxy-protocol; add --proxy-protocol auto, or leave it out",
            ),
            (
                &["--proxy-protocol", "3"],
                "--proxy-protocol '3' is unknown; write one of v1, v2, auto",
            ),
            (&["--reuse-port=yes"], "--reuse-port takes no value; see 'wsfast --help'"),
            (&["--log", "xml"], "--log 'xml' is unknown; write one of text, json"),
            (&["--log="], "--log '' is unknown; write one of text, json"),
            (&["--verbose=3"], "--verbose takes no value; see 'wsfast --help'"),
            (
                &["--bind", "eth0"],
                "--bind 'eth0' is not an IP address; write one, such as 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4",
            ),
            (
                &["--bind", "127.0.0.1,"],
                "--bind '' is not an IP address; write one, such as 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4",
            ),
            (
                &["--handshake-timeout", "10 parsecs"],
                "--handshake-timeout '10 parsecs' is not a duration; write a whole number and a unit, such as 250ms, 10s, 2m or 1h",
            ),
            (
                &["--drain", "-5s"],
                "--drain '-5s' is not a duration; write a whole number and a unit, such as 250ms, 10s, 2m or 1h",
            ),
            (
                &["--compression", "gzip"],
                "--compression 'gzip' is unknown; write one of off, shared, dedicated",
            ),
            (
                &["--compression-window", "256"],
                "--compression-window '256' is not a window; write 512, 1K, 2K, 4K, 8K, 16K or 32K",
            ),
            (&["--compression-level", "0"], "--compression-level is 0; it must be between 1 and 9"),
            (
                &["--compression-memory", "2048G"],
                "--compression-memory is 2048G; it must be between 0 and 1024G",
            ),
            (&["--drain", "25h"], "--drain is 25h; it must be between 0 and 24h"),
            (&["--drain", "99999999999999999h"], "--drain '99999999999999999h' is too large"),
            (&["--pong-timeout", "0"], "--pong-timeout is 0; it must be between 1ms and 24h"),
            (
                &["--max-message-bytes", "2G"],
                "--max-message-bytes is 2G; it must be between 125 and 1G",
            ),
            (&["--max-head-bytes", "0"], "--max-head-bytes is 0; it must be between 256 and 1M"),
            (
                &["--max-queue-bytes", "1K"],
                "--max-queue-bytes is 1K; it must be between 64K and 1G",
            ),
            (
                &["--max-connections", "0"],
                "--max-connections is 0; it must be between 1 and 16777216",
            ),
            (
                &["--stdin", "/"],
                "--stdin '/' is no topic; write its name, 1 to 255 bytes without control characters, such as news",
            ),
            (
                &["--allow-origin", "example.com"],
                "--allow-origin 'example.com' has no scheme; write it as the page's address begins, such as https://example.com",
            ),
            (
                &["--allow-origin="],
                "--allow-origin '' is empty; give an origin such as https://example.com, null, or *",
            ),
        ] {
            assert_eq!(mistake(args), expected, "{args:?}");
        }
    }

    #[test]
    fn secrets_stand_in_place_or_in_files() {
        let gate = config(&[
            "--publish-key=one,@/run/two",
            "--publish-key",
            "-three",
            "--client-publish=on",
            "--jwt-secret=overridden",
            "--jwt-secret=@/run/jwt,1",
        ])
        .gate;
        let inline = |text: &str| Secret::Inline(text.into());
        assert_eq!(
            gate,
            GateConfig {
                publish_keys: vec![
                    inline("one"),
                    Secret::File("/run/two".into()),
                    inline("-three")
                ],
                client_publish: ClientPublish::On,
                jwt_secret: Some(Secret::File("/run/jwt,1".into())),
            }
        );
        for (text, expected) in
            [("off", ClientPublish::Off), ("auto", ClientPublish::Auto), ("on", ClientPublish::On)]
        {
            assert_eq!(config(&["--client-publish", text]).gate.client_publish, expected);
        }
        assert_eq!(
            mistake(&["--client-publish", "yes"]),
            "--client-publish 'yes' is unknown; write one of on, off, auto"
        );
    }

    /// Not in the configuration, and not in a mistake, be it the secret's own flag that is misspelt.
    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", config(&["--publish-key=hunter2", "--jwt-secret=hunter2"]));
        assert!(!shown.contains("hunter2"), "{shown}");
        for args in [
            &["--jwt-secrt=hunter2"][..],
            &["--jwt-secret=hunter2", "--port=x"],
            &["--publish-key=hunter2", "--publish-keys=hunter2"],
            &["--client-publish=x", "--publish-key", "hunter2"],
        ] {
            let shown = mistake(args);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let tls = config(&["--tls-cert=a b.pem", "--tls-key", "k"]).tls;
        assert_eq!(tls, Some(TlsFiles { cert: "a b.pem".into(), key: "k".into() }));
        assert_eq!(
            mistake(&["--tls-cert", "c"]),
            "--tls-cert needs --tls-key, too; 'wsfast dev-cert' writes a pair to try"
        );
        assert_eq!(
            mistake(&["--tls-key", "k"]),
            "--tls-key needs --tls-cert, too; 'wsfast dev-cert' writes a pair to try"
        );
    }

    #[test]
    fn the_admin_side_is_not_opened_to_all_by_mistake() {
        let asked = |args: &[&str]| config(args).listening.admin.map(|it| it.to_string());
        assert_eq!(asked(&["--admin=127.0.0.1:8003"]).as_deref(), Some("127.0.0.1:8003"));
        assert_eq!(asked(&["--admin=unix:/a,mode=600"]).as_deref(), Some("unix:/a"));
        let with_key = asked(&["--admin=0.0.0.0:8003", "--publish-key=@/run/key"]);
        assert_eq!(with_key.as_deref(), Some("0.0.0.0:8003"));
        assert_eq!(
            mistake(&["--admin", "0.0.0.0:8003"]),
            "--admin 0.0.0.0:8003 is open to others, who could end connections there; write 127.0.0.1:PORT or unix:PATH, \
             or give a --publish-key, which it then asks for"
        );
        assert_eq!(
            mistake(&["--admin", "8003"]),
            "--admin '8003' has no address; write 127.0.0.1:PORT, or 0.0.0.0:PORT for all of IPv4"
        );
    }

    #[test]
    fn dev_cert_has_flags_of_its_own() {
        let asked = |args: &[&str]| match parse_strs(args) {
            Err(Instead::DevCert(asked)) => (asked.dir, asked.force),
            other => panic!("{args:?}: {other:?}"),
        };
        assert_eq!(asked(&["dev-cert"]), (".".into(), false));
        assert_eq!(asked(&["dev-cert", "--force", "--dir", "/x"]), ("/x".into(), true));
        assert!(matches!(parse_strs(&["dev-cert", "--help"]), Err(Instead::Page(_))));
        assert_eq!(
            mistake(&["dev-cert", "--port", "1"]),
            "there is no flag '--port'; 'wsfast --help' lists them all"
        );
    }

    #[test]
    fn a_value_that_is_not_utf8_is_a_mistake() {
        use std::os::unix::ffi::OsStringExt;
        let args =
            [b"wsfast".to_vec(), b"--port".to_vec(), b"\xff".to_vec()].map(OsString::from_vec);
        let Err(Instead::Usage(error)) = parse(args) else { panic!("taken") };
        assert_eq!(
            error.to_string(),
            "an argument or a WSFAST_ variable is not UTF-8 text; see 'wsfast --help'"
        );
    }

    #[test]
    fn help_and_version_are_pages() {
        for args in [["--help"], ["-h"], ["--version"], ["-V"]] {
            assert!(matches!(parse_strs(&args), Err(Instead::Page(_))), "{args:?}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal_and_names_every_variable_as_promised() {
        let page =
            Flags::command().after_help(AFTER_LONG_HELP).term_width(100).render_help().to_string();
        for line in page.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for flag in Flags::command().get_arguments() {
            let Some(long) = flag.get_long().filter(|long| !matches!(*long, "help" | "version"))
            else {
                continue;
            };
            let variable = format!("WSFAST_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
            assert!(page.contains(&format!("--{long}")), "{long}");
        }
    }

    fn ask(text: &str) -> Ask {
        let mut list: AskList = text.parse().unwrap();
        list.0.remove(0)
    }

    fn config(args: &[&str]) -> Config {
        match parse_strs(args) {
            Ok(config) => config,
            Err(instead) => panic!("{args:?}: {instead:?}"),
        }
    }

    fn mistake(args: &[&str]) -> String {
        match parse_strs(args) {
            Err(Instead::Usage(error)) => error.to_string(),
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn parse_strs(args: &[&str]) -> Result<Config, Instead> {
        parse(["wsfast"].iter().chain(args).map(OsString::from))
    }
}
