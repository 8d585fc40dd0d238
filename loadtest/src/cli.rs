//! The command line: flags with the names that users of wrk2, oha, vegeta and k6 know, and what `--help` teaches.
//!
//! Reads flags into typed values, each right by itself. Whether they make sense together, and on this machine, is
//! `plan`'s business.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};

use crate::compare::permutation::PAIRS_MAX;
use crate::result::threshold::Threshold;
use crate::units::{parse_duration, parse_size};

/// Opens ten thousand WebSocket connections, measures latency honestly, proves every reply.
#[derive(Clone, Debug, Parser)]
#[command(version, about, args_override_self = true, args_conflicts_with_subcommands = true, after_help = AFTER_HELP, max_term_width = 110, styles = STYLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Where the load goes: ws://host:port/path, wss://host:port/path or ws+unix:/socket:/path [default:
    /// ws://127.0.0.1:8002/echo]
    pub(crate) url: Option<String>,
    /// Host, in place of the URL's
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port, in place of the URL's
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Path, in place of the URL's
    #[arg(long)]
    pub(crate) path: Option<String>,

    /// echo: open loop at a constant rate; throughput: closed loop, each reply sends the next message; broadcast: open
    /// loop, what publishers publish must reach every subscriber; connect: opens connections, and closes them;
    /// idle: holds them for --duration, for what they cost the server, and pings each at the end
    #[arg(long, value_enum, default_value_t = Mode::Echo, help_heading = "Load")]
    pub(crate) mode: Mode,
    /// Connections; subscribers, in a broadcast
    #[arg(short, long, default_value_t = 100, value_name = "N", help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) conns: u32,
    /// Messages a second over all connections [default: one per connection; 10 in all, in a broadcast]
    #[arg(short, long, value_name = "N", help_heading = "Load", conflicts_with = "rate_per_conn")]
    pub(crate) rate: Option<f64>,
    /// Messages a second on each connection [default: 1]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) rate_per_conn: Option<f64>,
    /// When messages are due: evenly; at random, as those of many independent users are (poisson); --burst at once
    #[arg(long, value_enum, default_value_t = Arrival::Constant, help_heading = "Load")]
    pub(crate) arrival: Arrival,
    /// Seek the highest rate at which a figure keeps to this, such as 'latency.p99<5ms', from --rate on, by runs of
    /// --duration each
    #[arg(long, value_name = "FIGURE<VALUE", help_heading = "Load", value_parser = Threshold::parse,
        conflicts_with = "ab")]
    pub(crate) find_max: Option<Threshold>,
    /// Connections to close and to open again, throughout the run: 50/s (or 50), 600/m, or a share of all, 1%/s. The
    /// new one opens first and the old one's last replies are awaited, so no message is late or lost for it (echo)
    #[arg(long, value_name = "N/s|P%/s", help_heading = "Load", value_parser = parse_churn)]
    pub(crate) churn: Option<ChurnRate>,
    /// Messages that are due at once; the rate stays what it is [default: 1; 10 with --arrival burst]
    #[arg(long, value_name = "B", help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: Option<u32>,
    /// Messages under way on each connection (throughput) [default: 1]
    #[arg(short, long, value_name = "DEPTH", help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) pipeline: Option<u32>,
    /// How long to measure
    #[arg(short, long, default_value = "10s", value_name = "TIME", help_heading = "Load",
        value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Load before the measurement starts: proved, but in no percentile
    #[arg(long, default_value = "2s", value_name = "TIME", help_heading = "Load",
        value_parser = parse_duration)]
    pub(crate) warmup: Duration,
    /// A reply that takes longer is counted as late
    #[arg(long, default_value = "5s", value_name = "TIME", help_heading = "Load",
        value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Have the kernel say when it received what a read brings, to tell the server's time from this client's own queue
    /// (TCP: echo, throughput, broadcast). It costs the client a twelfth of its CPU; auto: not with throughput
    #[arg(long, value_enum, default_value_t = Stamping::Auto, value_name = "auto|on|off", hide_possible_values = true,
        help_heading = "Load")]
    pub(crate) kernel_timestamps: Stamping,
    /// How long to wait for the last replies; what is then missing is lost [default: the timeout]
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = parse_duration)]
    pub(crate) drain: Option<Duration>,

    /// Connections that publish, beside the subscribers [default: one per topic]
    #[arg(long, value_name = "P", help_heading = "Broadcast", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) publishers: Option<u32>,
    /// Topics that subscribers and publishers are spread over; from 2 on, -0, -1 and so on is added to the path
    #[arg(long, value_name = "K", help_heading = "Broadcast", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) topics: Option<u32>,
    /// What {topic} stands for in a path or a template [default: the path, or loadtest]
    #[arg(long, value_name = "NAME", help_heading = "Broadcast")]
    pub(crate) topic: Option<String>,
    /// What every connection says once it is open; {topic} is replaced; may be repeated
    #[arg(long, value_name = "TEMPLATE", help_heading = "Broadcast")]
    pub(crate) hello: Vec<String>,
    /// What every subscriber says then; may be repeated
    #[arg(long, value_name = "TEMPLATE", help_heading = "Broadcast")]
    pub(crate) subscribe: Vec<String>,
    /// What answers a frame that is no message, such as a protocol's own ping; may be repeated
    #[arg(long, value_name = "FRAME=ANSWER", help_heading = "Broadcast", value_parser = parse_answer)]
    pub(crate) answer: Vec<(String, String)>,
    /// What publishes a message: text with {payload} and, if need be, {topic}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Broadcast")]
    pub(crate) publish: Option<String>,
    /// Where publishers publish [default: where subscribers subscribe]
    #[arg(long, value_name = "PATH", help_heading = "Broadcast")]
    pub(crate) publish_path: Option<String>,
    /// Publish by POST over connections that are kept alive, instead of by WebSocket message
    #[arg(long, help_heading = "Broadcast")]
    pub(crate) publish_http: bool,
    /// From the last subscription to the first message [default: 500ms]
    #[arg(long, value_name = "TIME", help_heading = "Broadcast", value_parser = parse_duration)]
    pub(crate) settle: Option<Duration>,

    /// Connections opened a second at most [default: as fast as the window lets]
    #[arg(long, value_name = "N", help_heading = "Connect")]
    pub(crate) connect_rate: Option<f64>,
    /// Connections being opened at any time
    #[arg(long, default_value_t = 64, value_name = "N", help_heading = "Connect",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) connect_window: u32,
    /// How long a connection and its upgrade may take together
    #[arg(long, default_value = "10s", value_name = "TIME", help_heading = "Connect",
        value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,
    /// Source address; auto: one 127.0.0.x for every 12,000 connections to a loopback target
    #[arg(long, default_value = "auto", value_name = "auto|ADDR", help_heading = "Connect",
        value_parser = parse_source)]
    pub(crate) source_ip: Source,

    /// wss: trust the certificates in this PEM file, and no others [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "TLS", conflicts_with = "insecure")]
    pub(crate) cacert: Option<PathBuf>,
    /// wss: accept any certificate, for any name; the report says so
    #[arg(long, help_heading = "TLS")]
    pub(crate) insecure: bool,

    /// Offer permessage-deflate and compress messages, whose payloads are then words instead of noise
    #[arg(long, help_heading = "WebSocket")]
    pub(crate) compression: bool,
    /// A header field of the upgrade request, 'Name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD", help_heading = "WebSocket",
        value_parser = parse_header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The Origin of the upgrade request, as a browser sends it
    #[arg(long, value_name = "ORIGIN", help_heading = "WebSocket", value_parser = parse_field_value)]
    pub(crate) origin: Option<String>,
    /// A subprotocol to offer; may be repeated, in order of preference
    #[arg(long = "subprotocol", value_name = "NAME", help_heading = "WebSocket", value_parser = parse_token)]
    pub(crate) subprotocols: Vec<String>,
    /// Payload of a message; from 16 bytes on each one names its connection and its sequence
    #[arg(short, long, default_value = "32", value_name = "SIZE", help_heading = "WebSocket",
        value_parser = parse_size)]
    pub(crate) size: usize,
    /// Send text messages
    #[arg(long, help_heading = "WebSocket", conflicts_with = "binary")]
    pub(crate) text: bool,
    /// Send binary messages, as without this flag
    #[arg(long, help_heading = "WebSocket")]
    pub(crate) binary: bool,
    /// What of a reply is proved
    #[arg(long, value_enum, default_value_t = Verify::Full, value_name = "HOW", help_heading = "WebSocket")]
    pub(crate) verify: Verify,

    /// The server's process, for its CPU and memory; auto: whoever listens on the port, if it is on this machine
    #[arg(long, default_value = "auto", value_name = "auto|PID", help_heading = "Server",
        value_parser = parse_server_pid)]
    pub(crate) server_pid: ServerPid,

    /// Start the server with this shell command, wait for its port, end it after the run; {port} in it is replaced by a
    /// free one, which the URL then has, too
    #[arg(long, value_name = "CMD", help_heading = "Server", conflicts_with_all = ["ab", "server_pid"])]
    pub(crate) spawn: Option<String>,

    /// Compare two servers that these commands start, as --spawn does: rounds of A, B and A again in turns, a paired
    /// permutation test, and A against itself beside it
    #[arg(long, num_args = 2, value_names = ["CMD_A", "CMD_B"], help_heading = "A against B",
        conflicts_with = "server_pid")]
    pub(crate) ab: Vec<String>,
    /// Rounds of a comparison; with fewer than 8 nothing can be proved
    #[arg(long, default_value_t = 10, value_name = "N", help_heading = "A against B", requires = "ab",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(PAIRS_MAX)))]
    pub(crate) rounds: u32,

    /// What a figure must keep to, such as 'latency.p99<5ms' or 'lost==0'; may be repeated; ends with code 99 if one
    /// does not
    #[arg(long = "threshold", value_name = "FIGURE<VALUE", help_heading = "CI", value_parser = Threshold::parse,
        conflicts_with = "ab")]
    pub(crate) thresholds: Vec<Threshold>,
    /// Keep the results in FILE, for later runs to be compared with
    #[arg(long, value_name = "FILE", help_heading = "CI", conflicts_with = "ab")]
    pub(crate) save_baseline: Option<PathBuf>,
    /// Compare with the results in FILE
    #[arg(long, value_name = "FILE", help_heading = "CI", conflicts_with = "ab")]
    pub(crate) baseline: Option<PathBuf>,
    /// End with code 6 if a figure is worse than the baseline's by more than this share
    #[arg(long, value_name = "PERCENT", help_heading = "CI", requires = "baseline", num_args = 0..=1,
        require_equals = true, default_missing_value = "10%", value_parser = parse_percent)]
    pub(crate) fail_on_regression: Option<f64>,

    /// Write the results as JSON to FILE; without one, to stdout (the report then goes to stderr)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-",
        help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Write the timeline as CSV to FILE, a line for each moment
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with = "ab")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the response times to FILE as HdrHistogram's plotter reads them
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with = "ab")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write the results as a page of plots to FILE; it needs nothing else
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
    /// No progress and no report; errors, JSON and the exit code remain
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// This process has a share of a load: it waits for the others once it has connected
    #[arg(long, hide = true)]
    pub(crate) worker: bool,
    /// Loopback addresses that other workers use
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) source_offset: u32,
    /// End with code 5 if the verdict is INVALID
    #[arg(long, help_heading = "Output")]
    pub(crate) strict: bool,
}

/// What can be asked for beside a run.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what this machine allows, and how late it wakes
    Doctor,
    /// Write the page of plots again
    Report {
        /// What --json wrote
        #[arg(value_name = "FILE.json")]
        document: PathBuf,
        /// Where the page goes [default: stdout]
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Put the results of two runs side by side
    Compare {
        /// The earlier run's --json
        #[arg(value_name = "A.json")]
        before: PathBuf,
        /// The later one's
        #[arg(value_name = "B.json")]
        after: PathBuf,
        /// What is called a regression
        #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = parse_percent)]
        tolerance: f64,
    },
}

/// What the run does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Open loop: messages leave on a schedule, whatever the server does.
    Echo,
    /// Closed loop: a fixed number of messages is under way on each connection.
    Throughput,
    /// Open loop: each message that is published goes to all subscribers of its topic.
    Broadcast,
    /// Opens connections; no messages.
    Connect,
    /// Holds connections, then sends each a Ping.
    Idle,
}

/// When the messages of an open loop are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrival {
    /// One after the other, evenly.
    Constant,
    /// At random, independently of each other.
    Poisson,
    /// Several at once, the bursts evenly.
    Burst,
}

/// What of a reply is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// Opcode, length, every byte, and the sequence
    Full,
    /// Opcode and length
    Length,
    /// Only that replies came
    Off,
}

/// When the kernel is to say when it received what a read brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stamping {
    /// Where times are what is measured: in an open loop.
    Auto,
    /// Where replies have times.
    On,
    /// Never.
    Off,
}

/// How many connections are replaced a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ChurnRate {
    /// So many.
    Conns(f64),
    /// Such a share of all.
    Share(f64),
}

impl ChurnRate {
    /// Connections a second, of `conns`.
    pub(crate) fn per_second(self, conns: u32) -> f64 {
        match self {
            Self::Conns(per_second) => per_second,
            Self::Share(share) => share * f64::from(conns),
        }
    }
}

/// Where connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// As many loopback addresses as it takes, or what the kernel picks.
    Auto,
    /// This address.
    Addr(IpAddr),
}

/// Which process is the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerPid {
    /// Whoever listens on the target's port, if it can be seen from here.
    Auto,
    /// This process.
    Pid(u32),
}

impl Args {
    /// Messages that are due at once.
    pub(crate) fn burst(&self) -> u32 {
        let default = if self.arrival == Arrival::Burst { 10 } else { 1 };
        self.burst.unwrap_or(default)
    }

    /// Reads the process's command line. On `--help` and `--version` it prints and exits.
    ///
    /// # Errors
    ///
    /// One line that names the flag and the remedy.
    pub(crate) fn from_command_line() -> Result<Self, String> {
        Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
            _ => one_line(&error.to_string()),
        })
    }
}

/// Joins what clap says over several lines, without its usage block.
fn one_line(message: &str) -> String {
    let told = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = told.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let joined = told.collect::<Vec<_>>().join(" ");
    format!("{} (--help lists the flags)", joined.trim_start_matches("error: "))
}

fn parse_churn(text: &str) -> Result<ChurnRate, String> {
    let (number, span_s) = match text.rsplit_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some(_) => return Err(CHURN_EXPECTED.to_owned()),
    };
    let digits = number.trim_end_matches('%');
    match digits.parse::<f64>() {
        Ok(n) if n > 0.0 && digits.len() == number.len() => Ok(ChurnRate::Conns(n / span_s)),
        Ok(n) if n > 0.0 => Ok(ChurnRate::Share(n / 100.0 / span_s)),
        _ => Err(CHURN_EXPECTED.to_owned()),
    }
}

const CHURN_EXPECTED: &str =
    "expected connections a second or a minute, such as 50/s, 600/m or 1%/s";

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| "expected a percentage")?;
    if percent >= 0.0 { Ok(percent / 100.0) } else { Err("expected a percentage".to_owned()) }
}

fn parse_source(text: &str) -> Result<Source, String> {
    if text == "auto" {
        return Ok(Source::Auto);
    }
    text.parse().map(Source::Addr).map_err(|_| "expected auto or an IP address".to_owned())
}

fn parse_server_pid(text: &str) -> Result<ServerPid, String> {
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(ServerPid::Pid(pid)),
        _ if text == "auto" => Ok(ServerPid::Auto),
        _ => Err("expected auto or a process id".to_owned()),
    }
}

/// Two frames; an equals sign may be part of the second.
fn parse_answer(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((frame, answer)) if !frame.is_empty() => Ok((frame.to_owned(), answer.to_owned())),
        _ => Err("expected FRAME=ANSWER, such as 2=3 or {}={}".to_owned()),
    }
}

/// A header field: a name, a colon, a value without control characters.
fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
    Ok((parse_token(name)?, parse_field_value(value.trim())?))
}

/// A token (RFC 9110 §5.6.2).
fn parse_token(text: &str) -> Result<String, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.chars().all(is_token) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no token: only letters, digits and !#$%&'*+-.^_`|~"))
    }
}

fn parse_field_value(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        Err("no control characters in a header field".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = r#"Examples:
  loadtest --conns 10000 --port 8002           10,000 connections, one message a second on each
  loadtest -c 1000 -r 50000 -d 30s             50,000 messages a second over 1,000 connections
  loadtest -c 1000 --find-max 'latency.p99<5ms' -d 3s    the highest rate at which that holds
  loadtest -c 1000 --churn 50/s                50 of them a second are closed and opened again, nothing is lost
  loadtest --mode throughput -c 50 -p 16       as many as the server takes, 16 under way on each
  loadtest --mode broadcast -c 1000 -r 20      each of 20 messages a second to 1,000 subscribers
  loadtest --mode connect -c 10000             how fast the server opens connections
  loadtest --mode idle -c 10000 -d 30s         what an idle connection costs the server
  loadtest --mode broadcast --publish-http --publish-path /api/publish \
    --hello '{"connect":{},"id":1}' --subscribe '{"subscribe":{"channel":"{topic}"},"id":2}' \
    --publish '{"channel":"{topic}","data":"{payload}"}' ws://127.0.0.1:8000/connection/websocket
  loadtest --spawn 'wsfast --port {port}'      starts the server, and ends it
  loadtest --ab 'wsfast --port {port}' 'node server.js {port}' -d 5s    whether the second differs, and by how much
  loadtest wss://127.0.0.1:8443/ --cacert ca.pem    over TLS; no session is resumed
  loadtest ws+unix:/run/wsfast.sock:/chat      over a Unix socket
  loadtest -c 100 --json | jq .response.p99    figures for a script

How to read it:
  response  from when a message was meant to leave: what a user waits. Delays of this client count, and a
            server that stalls is charged for every message that was due meanwhile.
  service   from when the message did leave.
  arrival   from then until the kernel of this machine had the reply, by its own stamp, at the latest.
  client q  from there until this client had read it, at least: arrival and this make up service.
  send lag  how late this client was. If it is near the response, the response is the client's own.
  first     in a broadcast, for each message: how long until its first subscriber had it; then until half, 99 of
            100 and all of them had it; spread is from the first to the last. reach is exact.
  A percentile appears only if at least ten samples lie above it. Replies that never came are samples too,
  of the age they had at the end. VALID, DEGRADED or INVALID says whether the figures can be trusted, and why.

Exit codes: 0 fine, 2 usage or plan, 3 could not connect, 4 wrong or lost replies, 5 invalid with --strict,
6 worse than the baseline with --fail-on-regression, 99 threshold missed, 130 interrupted (it still reports)."#;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        Args::try_parse_from(words).map_err(|error| one_line(&error.to_string()))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn flags_become_typed_values() {
        let args = parse("--conns 10000 --port 8002 -d 500ms -s 64K --json -H X:y").unwrap();
        assert_eq!((args.conns, args.port, args.size), (10_000, Some(8002), 65_536));
        assert_eq!(args.duration, Duration::from_millis(500));
        assert_eq!(args.json, Some(PathBuf::from("-")));
        assert_eq!(args.headers, [("X".to_owned(), "y".to_owned())]);
        let args = parse("ws://h/ --json=out.json --source-ip 10.0.0.1 --server-pid 7").unwrap();
        assert_eq!(args.json, Some(PathBuf::from("out.json")));
        assert_eq!(args.source_ip, Source::Addr(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(args.server_pid, ServerPid::Pid(7));
    }

    #[test]
    fn a_usage_error_is_one_line_that_names_the_flag() {
        let table = [
            ("--conns 0", "--conns"),
            ("--port 0", "--port"),
            ("--connz 5", "--conns"),
            ("--rate 5 --rate-per-conn 1", "--rate-per-conn"),
            ("--text --binary", "--binary"),
            ("-d soon", "--duration"),
            ("-s huge", "--size"),
            ("--mode sleep", "--mode"),
            ("-H nonsense", "--header"),
            ("--answer ping", "--answer"),
            ("--source-ip here", "--source-ip"),
            ("--insecure --cacert f", "--cacert"),
            ("--threshold speed<5", "--threshold"),
            ("--fail-on-regression", "--baseline"),
            ("--ab one", "--ab"),
            ("--rounds 5", "--ab"),
            ("--ab a b --spawn c", "--spawn"),
            ("compare one.json", "B.json"),
        ];
        for (line, named) in table {
            let message = parse(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
            assert!(!message.contains('\n'), "{line}: {message}");
        }
    }
}
