//! `loadtest`: opens ten thousand WebSocket connections, measures latency honestly, proves every reply.
//!
//! ```text
//! cli ─► plan ─► engine (this thread) ──► outcome ─► report, document
//!                  │ ▲ live (atomics)        ▲
//!                  ▼ │                       │ verdict
//!                progress (second thread) ─► sample
//! ```
//!
//! The engine drives: `connect` opens, `rate` says when, `conn` speaks the protocol over a `link` (TCP, `tls`, Unix), a
//! `referee` decides and `stats` remembers. Of those there are two: `judge` (`verify` and `outstanding` say what a reply
//! must be) and `fanout` (`casting` says who subscribes and publishes, by `post` or as a message, `stamp` what must come,
//! `reach` to whom it came). A further mode is a load of its own in `modes`; it changes no other file but `plan`, which
//! reads its flags, and the reports.

mod casting;
mod cli;
mod clock;
mod conn;
mod connect;
mod desk;
mod document;
mod engine;
mod fanout;
mod history;
mod judge;
mod link;
mod live;
mod machine;
mod modes;
mod outcome;
mod outstanding;
mod packing;
mod plan;
mod post;
mod progress;
mod rate;
mod reach;
mod referee;
mod report;
mod sample;
mod stamp;
mod stats;
mod target;
mod tls;
mod units;
mod upgrade;
mod verdict;
mod verify;
mod vigil;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{Args, ServerPid};
use crate::desk::Asks;
use crate::document::Document;
use crate::engine::{Finished, Shared};
use crate::history::Moment;
use crate::live::{Live, Phase};
use crate::outcome::{Exit, Outcome};
use crate::plan::{LoadPlan, Machine, Plan};
use crate::sample::{Sources, Usage};

fn main() -> ExitCode {
    match run() {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(message) => {
            eprintln!("loadtest: {message}");
            ExitCode::from(Exit::Usage.code())
        }
    }
}

/// Plans, runs, reports. An error is one line for the person at the terminal.
fn run() -> Result<Exit, String> {
    let args = Args::from_command_line()?;
    let plan = Plan::new(&args, Machine::this())?;
    let asks = modes::asks(&plan)?;
    let json = args.json.as_deref();
    let json_to_stdout = json.is_some_and(|path| path == Path::new("-"));
    let print = |text: &str| match (args.quiet, json_to_stdout) {
        (true, _) => Ok(()),
        (false, true) => io::stderr().write_all(text.as_bytes()),
        (false, false) => io::stdout().write_all(text.as_bytes()),
    };
    print(&report::heading(&plan)).map_err(|error| error.to_string())?;

    let (finished, watched) = measure(&plan, asks, args.quiet).map_err(|e| e.to_string())?;
    let outcome = Outcome::new(&plan, finished, watched);
    let mut document = Document::new(&outcome);
    let exit = outcome.exit(args.strict);
    document.exit_code = exit.code();
    print(&report::results(&outcome)).map_err(|error| error.to_string())?;
    if let Some(path) = json {
        write_json(path, &document.to_json())
            .map_err(|error| format!("--json={}: {error}", path.display()))?;
    }
    Ok(exit)
}

/// What the watching thread brings back.
type Watched = (Usage, Vec<Moment>);

/// Runs the plan on this thread while another one watches.
fn measure(plan: &Plan, asks: Asks, quiet: bool) -> io::Result<(Finished, Watched)> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first one ends the run, which still reports; the second one ends the process.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(Exit::Interrupted.code()),
            Arc::clone(&stop),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let live = Arc::new(Live::new());
    let sources = Sources {
        server_pids: match plan.server_pid {
            ServerPid::Auto => machine::listeners(&plan.endpoint),
            ServerPid::Pid(pid) => vec![pid],
        },
        client_tid: rustix::thread::gettid().as_raw_nonzero().get(),
        exact_rss: matches!(plan.load, LoadPlan::Idle),
    };
    thread::scope(|scope| {
        let watcher = thread::Builder::new()
            .name("progress".to_owned())
            .spawn_scoped(scope, || progress::watch(plan, &live, &sources, quiet))?;
        let shared = Shared { live: Arc::clone(&live), stop, watcher: watcher.thread().clone() };
        let finished = modes::run(plan, asks, &shared);
        // Also where the engine failed, so that the watcher ends.
        live.enter(Phase::Done);
        watcher.thread().unpark();
        let (series, timeline) =
            watcher.join().map_err(|_| io::Error::other("the progress thread failed"))?;
        Ok((finished?, (series.usage(&sources.server_pids, plan.window()), timeline)))
    })
}

fn write_json(path: &Path, document: &str) -> io::Result<()> {
    if path == Path::new("-") {
        writeln!(io::stdout(), "{document}")
    } else {
        std::fs::write(path, format!("{document}\n"))
    }
}
