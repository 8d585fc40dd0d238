//! Logs: one line an event on stderr, as text or JSON.
//!
//! What is logged may quote what a peer sent, so that no control character passes: a line stays one line, and a
//! terminal gets no escape sequences. Losing stderr (a closed pipe) loses the log and nothing else.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{Log, LogFormat};

/// Sends the process's events to stderr from here on. Called once.
pub(crate) fn start(log: Log) {
    let level = match log.verbosity {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // Internal errors would go to stderr by a macro that panics if it is closed.
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(Stderr);
    match log.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Makes an [`Escaped`] stderr for each event.
struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Escaped<io::Stderr>;

    fn make_writer(&self) -> Self::Writer {
        Escaped(io::stderr())
    }
}

/// Writes lines, of which each call brings a whole one, with their control characters escaped. Never fails.
///
/// tracing-subscriber escapes those that steer a terminal, but lets line ends through, in text, and serde_json lets
/// DEL and U+0080 to U+009F through. The form `\u001b` is good in JSON, too.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // One write a line, so that the lines of two processes on one pipe don't mix.
        // Nobody is left to be told that it failed.
        let _ = self.0.write_all(escape(&String::from_utf8_lossy(line)).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes all control characters but the last line end.
fn escape(line: &str) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let mut escaped = String::with_capacity(line.len());
    for c in text.chars() {
        if c.is_control() {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped.push_str(end);
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const NASTY: &str = "a\nb\r\tc\u{1b}[31m\u{7}\0\u{7f}\u{9b}é\"\\";

    #[test]
    fn a_line_stays_one_line_without_control_characters() {
        for (line, expected) in [
            ("", ""),
            ("plain é\n", "plain é\n"),
            ("a\nb\n", "a\\u000ab\n"),
            ("a\r\n", "a\\u000d\n"),
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
            assert!(!std::str::from_utf8(rest).unwrap().chars().any(char::is_control), "{line:?}");
            assert!(line.contains('é'), "{line:?}");
        }
        assert!(json.starts_with('{'), "{json}");
    }

    fn log_nasty() {
        tracing::info!(display = %NASTY, debug = ?NASTY, text = NASTY, "{NASTY}");
    }

    fn logged(log: impl FnOnce(MakeShared)) -> String {
        let shared = Arc::new(Mutex::new(Vec::new()));
        log(MakeShared(Arc::clone(&shared)));
        let bytes = shared.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct MakeShared(Arc<Mutex<Vec<u8>>>);

    impl MakeWriter<'_> for MakeShared {
        type Writer = Escaped<Shared>;

        fn make_writer(&self) -> Self::Writer {
            Escaped(Shared(Arc::clone(&self.0)))
        }
    }

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
