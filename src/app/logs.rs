//! Logs: one line an event on stderr, as text or JSON.
//!
//! What is logged may quote what a peer sent, so that no control character passes: a line stays one line, and a
//! terminal gets no escape sequences. A fault that peers can cause at will is logged once a second at most, each kind for itself, with how
//! many like it were left out; counting them is the metrics' business. Losing stderr (a closed pipe) loses the log and nothing else.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::app::deceptive::{self, is_deceptive};
use crate::app::wall;
use crate::cli::{Log, LogFormat};

/// Sends the process's events to stderr from here on. Called once.
pub(crate) fn start(log: Log) -> LogLevel {
    let (level, handle) = reload::Layer::new(level_of(log.verbosity));
    // Internal errors would go to stderr by a macro that panics if it is closed.
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(Rationed::new(io::stderr));
    let registry = tracing_subscriber::registry().with(level);
    match log.format {
        LogFormat::Text => registry.with(layer.with_target(false)).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    LogLevel(handle)
}

/// A hold on how much is logged.
#[derive(Debug)]
pub(crate) struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// Logs from here on as `-v` given so often asks for.
    pub(crate) fn set(&self, verbosity: u8) {
        // It fails only when there is no log any more.
        let _gone = self.0.reload(level_of(verbosity));
    }
}

const fn level_of(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Makes an [`Escaped`] writer for each event, or none for a fault that is not to be logged again yet.
struct Rationed<M> {
    make: M,
    /// The faults that were seen, by where they are logged; as many as there are such places in the sources.
    faults: Mutex<HashMap<Identifier, Fault>>,
    now_ms: fn() -> u64,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
struct Fault {
    logged_ms: u64,
    /// How many were not logged since.
    left_out: u64,
}

impl<M> Rationed<M> {
    fn new(make: M) -> Self {
        Self { make, faults: Mutex::default(), now_ms: wall::now_ms }
    }

    /// Whether an event is to be logged: with how many that were left out before it.
    fn admit(&self, event: &Metadata<'_>) -> Option<u64> {
        if event.target() != wsfast::FAULT {
            return Some(0);
        }
        let now_ms = (self.now_ms)();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.get_mut(&event.callsite()) {
            // The time of day may step back; then it is no reason to be silent.
            Some(fault) if now_ms.abs_diff(fault.logged_ms) < FAULT_INTERVAL_MS => {
                fault.left_out += 1;
                None
            }
            Some(fault) => {
                fault.logged_ms = now_ms;
                Some(std::mem::take(&mut fault.left_out))
            }
            None => {
                faults.insert(event.callsite(), Fault { logged_ms: now_ms, left_out: 0 });
                Some(0)
            }
        }
    }
}

impl<M: Fn() -> W, W: Write> MakeWriter<'_> for Rationed<M> {
    type Writer = Escaped<W>;

    fn make_writer(&self) -> Escaped<W> {
        Escaped { to: Some((self.make)()), left_out: 0 }
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> Escaped<W> {
        match self.admit(event) {
            Some(left_out) => Escaped { to: Some((self.make)()), left_out },
            None => Escaped { to: None, left_out: 0 },
        }
    }
}

/// How often a kind of fault is logged at most.
const FAULT_INTERVAL_MS: u64 = 1000;

/// Writes lines, of which each call brings a whole one, with their control characters escaped. Never fails.
///
/// tracing-subscriber escapes those that steer a terminal, but lets line ends through, in text, and serde_json lets
/// DEL and U+0080 to U+009F through. The form `\u001b` is good in JSON, too.
struct Escaped<W> {
    /// `None`: the line is left out.
    to: Option<W>,
    /// Lines like it that were left out before.
    left_out: u64,
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(to) = &mut self.to {
            let escaped = tell(escape(&String::from_utf8_lossy(line)), self.left_out);
            // One write a line, so that the lines of two processes on one pipe don't mix.
            // Nobody is left to be told that it failed.
            let _ = to.write_all(escaped.as_bytes());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds to a line, which is text or a JSON object, how many like it were left out.
fn tell(mut line: String, left_out: u64) -> String {
    if left_out > 0 {
        let (end, field) = match line.ends_with("}\n") && line.starts_with('{') {
            true => ("}\n", format!(r#","left_out":{left_out}"#)),
            false => ("\n", format!(" left_out={left_out}")),
        };
        let at = line.strip_suffix(end).map_or(line.len(), str::len);
        line.insert_str(at, &field);
    }
    line
}

/// Escapes all control characters but the last line end, and what else makes a line look like another.
fn escape(line: &str) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let mut escaped = String::with_capacity(line.len());
    for c in text.chars() {
        if is_deceptive(c) {
            deceptive::escape(c, &mut escaped);
        } else {
            escaped.push(c);
        }
    }
    escaped.push_str(end);
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const NASTY: &str = "a\nb\r\tc\u{1b}[31m\u{7}\0\u{7f}\u{9b}\u{85}\u{202e}\u{2066}é\"\\";

    #[test]
    fn a_line_stays_one_line_without_control_characters() {
        for (line, expected) in [
            ("", ""),
            ("plain é\n", "plain é\n"),
            ("a\nb\n", "a\\u000ab\n"),
            ("a\r\n", "a\\u000d\n"),
            ("a\u{202e}b\u{2066}\u{85}\n", "a\\u202eb\\u2066\\u0085\n"),
            ("\u{2028}\u{200f}\u{feff}", "\\u2028\\u200f\\ufeff"),
            ("\u{1b}[2J\u{7f}\u{9b}\0", "\\u001b[2J\\u007f\\u009b\\u0000"),
        ] {
            assert_eq!(escape(line), expected, "{line:?}");
        }
    }

    #[test]
    fn nothing_of_an_event_reaches_the_log_raw() {
        let text = logged(|writer| {
            let subscriber =
                tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
            tracing::subscriber::with_default(subscriber, log_nasty);
        });
        let json = logged(|writer| {
            let subscriber =
                tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer).finish();
            tracing::subscriber::with_default(subscriber, log_nasty);
        });
        for line in [&text, &json] {
            let (last, rest) = line.as_bytes().split_last().unwrap();
            assert_eq!(*last, b'\n', "{line:?}");
            let is_raw = is_deceptive;
            assert!(!std::str::from_utf8(rest).unwrap().chars().any(is_raw), "{line:?}");
            assert!(line.contains('é'), "{line:?}");
        }
        assert!(json.starts_with('{'), "{json}");
    }

    fn log_nasty() {
        tracing::info!(display = %NASTY, debug = ?NASTY, text = NASTY, "{NASTY}");
    }

    /// What a subscriber with this writer writes; its time is `CLOCK_MS`.
    fn logged(log: impl FnOnce(Rationed<Box<dyn Fn() -> Shared + Send + Sync>>)) -> String {
        let shared = Arc::new(Mutex::new(Vec::new()));
        let writer = Shared(Arc::clone(&shared));
        let mut rationed: Rationed<Box<dyn Fn() -> Shared + Send + Sync>> =
            Rationed::new(Box::new(move || writer.clone()));
        rationed.now_ms = || CLOCK_MS.load(Ordering::Relaxed);
        log(rationed);
        let bytes = shared.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    static CLOCK_MS: AtomicU64 = AtomicU64::new(5000);

    #[test]
    fn a_fault_is_logged_once_a_second_with_how_many_were_left_out() {
        let flood = || {
            let fault = || tracing::info!(target: wsfast::FAULT, "bad");
            let other = || tracing::info!(target: wsfast::FAULT, "worse");
            for _ in 0..5 {
                fault();
            }
            other();
            tracing::info!("well");
            tracing::info!("well");
            for step_ms in [999, 1, 1] {
                CLOCK_MS.fetch_add(step_ms, Ordering::Relaxed);
                fault();
            }
            other();
        };
        let text = logged(|writer| {
            let builder = tracing_subscriber::fmt().without_time().with_target(false);
            let subscriber = builder.with_ansi(false).with_level(false).with_writer(writer);
            tracing::subscriber::with_default(subscriber.finish(), flood);
        });
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines, ["bad", "worse", "well", "well", "bad left_out=5", "worse"]);
        let json = logged(|writer| {
            let builder = tracing_subscriber::fmt().json().flatten_event(true);
            tracing::subscriber::with_default(builder.with_writer(writer).finish(), flood);
        });
        let told: Vec<u64> = json
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter_map(|line| line.get("left_out").and_then(serde_json::Value::as_u64))
            .collect();
        assert_eq!(told, [5]);
    }

    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
