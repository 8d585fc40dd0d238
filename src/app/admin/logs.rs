//! Logs: one line an event on stderr, as text or JSON.
//!
//! What is logged may quote what a peer sent, so that no control character passes: a line stays one line, and a
//! terminal gets no escape sequences. A fault that peers can cause at will is logged once a second at most, each kind for itself, with how
//! many like it were left out; counting them is the metrics' business. Losing stderr (a closed pipe) loses the log and nothing else,
//! and whoever logs waits for no reader: past [`BYTES_MAX`] lines are dropped, and counted (`outlet`).

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::app::config::{Log, LogFormat};
use crate::app::process::outlet::{Dropped, Outlet};
use crate::app::terms::deceptive::{self, is_deceptive};
use crate::app::terms::wall_clock;

/// Sends the process's events, and its panics, to stderr from here on. Called once. `memory_limit`: the process', in bytes.
///
/// # Errors
///
/// There is no thread to be had.
pub(crate) fn start(log: Log, memory_limit: Option<usize>) -> io::Result<LogLevel> {
    let bytes_max = memory_limit.map_or(BYTES_MAX, |limit| BYTES_MAX.min(limit / MEMORY_SHARE));
    let outlet = Outlet::open("log", io::stderr(), bytes_max / 2, tell_dropped)?;
    // Nobody else sets it.
    let outlet = OUTLET.get_or_init(|| outlet);
    panic::set_hook(Box::new(|panic| {
        outlet.push_last(panic_lines(panic).as_bytes());
        // The process may end with this.
        outlet.flush(LAST_WORDS_TIME_MAX);
    }));
    let (level, handle) = reload::Layer::new(level_of(log.verbosity));
    // Internal errors would go to stderr by a macro that panics if it is closed.
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(Rationed::new(move || Lines(outlet)));
    let registry = tracing_subscriber::registry().with(level);
    match log.format {
        LogFormat::Text => registry.with(layer.with_target(false)).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(LogLevel(handle))
}

/// The log of this process, once it was started.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// What waits for a reader in all. Ten thousand connections that end at once have room.
const BYTES_MAX: usize = 1 << 20;

/// The part of `--memory-limit` that may wait for a reader.
const MEMORY_SHARE: usize = 64;

/// One line for as many as nobody has read.
fn tell_dropped(lines: u64) {
    tracing::warn!(lines, "lines of the log were dropped: they came faster than they were read");
}

/// Writes a line about the end of the process: behind the log, or at once if there is none.
pub(crate) fn write_last(line: &str) {
    match OUTLET.get() {
        Some(outlet) => outlet.push_last(line.as_bytes()),
        // It may be closed.
        None => _ = io::stderr().write_all(line.as_bytes()),
    }
}

/// Waits until the log is written: before the process ends, which does not wait for a reader that is not there.
pub(crate) fn finish() {
    OUTLET.get().into_iter().for_each(|outlet| outlet.flush(LAST_WORDS_TIME_MAX));
}

/// The same before another image of the program takes this one's place, while nobody is served. Returns what is lost with this
/// image, so that the next can go on with it.
pub(crate) fn finish_before_successor() -> Dropped {
    let Some(outlet) = OUTLET.get() else { return Dropped::default() };
    outlet.flush(HAND_OVER_TIME_MAX);
    outlet.lost_at_end()
}

/// Goes on counting where another image of the program ended.
pub(crate) fn go_on(dropped: Dropped) {
    OUTLET.get().into_iter().for_each(|outlet| outlet.add_dropped(dropped));
}

/// Lines that were dropped for want of a reader.
pub(crate) fn dropped_count() -> u64 {
    OUTLET.get().map_or(0, |outlet| outlet.dropped().total)
}

const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);

const HAND_OVER_TIME_MAX: Duration = Duration::from_millis(100);

/// What is said of a panic: a line, and behind it the frames if RUST_BACKTRACE asks for them.
fn panic_lines(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("?");
    let what = panic.payload_as_str().unwrap_or("?");
    let mut lines = match panic.location() {
        Some(at) => escape(&format!("thread '{name}' panicked at {at}: {what}\n")),
        None => escape(&format!("thread '{name}' panicked: {what}\n")),
    };
    let frames = Backtrace::capture();
    if frames.status() == BacktraceStatus::Captured {
        lines += &frames.to_string();
    }
    lines
}

/// A writer of lines, of which each call brings whole ones.
#[derive(Clone, Copy)]
struct Lines(&'static Outlet);

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        Self { make, faults: Mutex::default(), now_ms: wall_clock::now_ms }
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

    #[test]
    fn a_panic_is_one_line_without_control_characters() {
        static SAID: Mutex<String> = Mutex::new(String::new());
        let former = panic::take_hook();
        panic::set_hook(Box::new(|panic| *SAID.lock().unwrap() = panic_lines(panic)));
        let ended = thread::Builder::new().name("test".into()).spawn(|| panic!("{NASTY}"));
        ended.unwrap().join().unwrap_err();
        panic::set_hook(former);
        let said = SAID.lock().unwrap();
        let line = said.lines().next().unwrap();
        assert!(line.starts_with("thread 'test' panicked at src/app/admin/logs.rs:"), "{line}");
        assert!(line.contains("a\\u000ab\\u000d") && line.contains('é'), "{line}");
        assert!(!line.chars().any(|c| c.is_control() || is_deceptive(c)), "{line}");
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
