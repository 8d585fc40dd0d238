//! `loadtest`: opens ten thousand WebSocket connections, measures latency honestly, proves every reply.
//!
//! ```text
//! run/        one run: what it starts, and what it ends       compare/   two servers, or two results
//! engine/     drives: ramp, turns, churn, modes               report/    text, page, picture, other programs' formats
//! judge/      what must come, and what came of it             watch/     what is seen meanwhile
//! plan/       what is asked for, and whether it can be        result/    figures, document, thresholds, verdict
//! wire/       a connection, up to whole messages              time/      the clock, and what is due
//! ```
//!
//! `cli` reads the flags, and `run` makes a plan of them. The engine keeps its schedule in this thread; `watch` is a second one, which
//! reads what the engine counts in atomics. A `judge` decides whether what came is right: `echo`, `broadcast` or `idle`. A further mode
//! is a load of its own in `engine::modes`; it changes no other file but `plan`, which reads its flags, and the reports.

mod cli;
mod compare;
mod engine;
mod judge;
mod plan;
mod report;
mod result;
mod run;
mod time;
mod units;
mod watch;
mod wire;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Args, Command};
use crate::compare::baseline::Either;
use crate::compare::{ab, baseline, find};
use crate::report::{export, html};
use crate::run::doctor;

use crate::result::document::Document;
use crate::result::outcome::Exit;
use crate::run::Runner;

fn main() -> ExitCode {
    match run() {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(message) => {
            eprintln!("loadtest: {message}");
            ExitCode::from(Exit::Usage.code())
        }
    }
}

/// Runs and reports. An error is one line for the person at the terminal.
fn run() -> Result<Exit, String> {
    let args = Args::from_command_line()?;
    if let Some(asked) = &args.command {
        return command(asked);
    }
    // Before anything is measured that could then not be compared.
    let baseline = args.baseline.as_deref().map(baseline::read).transpose()?;
    let json_to_stdout = args.json.as_deref().is_some_and(|path| path == Path::new("-"));
    let print = |text: &str| match (args.quiet, json_to_stdout) {
        (true, _) => Ok(()),
        (false, true) => io::stderr().write_all(text.as_bytes()),
        (false, false) => io::stdout().write_all(text.as_bytes()),
    };
    if args.worker {
        return work(&args);
    }
    let is_ab = !args.ab.is_empty();
    let runner = Runner::new(args.quiet || is_ab || args.find_max.is_some(), false)
        .map_err(|error| error.to_string())?;
    if let [a, b] = args.ab.as_slice() {
        let (comparison, exit) = ab::compare(&runner, &args, [a, b], print)?;
        // Strings, numbers and lists of them: there is nothing that JSON could refuse.
        write_json(&args, &serde_json::to_string(&comparison).unwrap_or_default())?;
        write_file("--html", args.html.as_deref(), || html::comparison_page(&comparison))?;
        return Ok(exit);
    }
    let (mut document, report, mut exit) = match &args.find_max {
        Some(threshold) => find::find_max(&runner, &args, threshold, print)?,
        None => {
            let ran = runner.run(&args, args.spawn.as_deref(), print)?;
            (ran.document, ran.report, ran.exit)
        }
    };
    print(&report).map_err(|error| error.to_string())?;
    document.thresholds = args.thresholds.iter().map(|t| t.check(&document)).collect();
    for checked in &document.thresholds {
        print(&checked.line()).map_err(|error| error.to_string())?;
    }
    if let Some(baseline) = &baseline {
        if let Some(mismatch) = baseline::mismatch(baseline, &document) {
            return Err(format!("--baseline: {mismatch}"));
        }
        let tolerance = args.fail_on_regression.unwrap_or(f64::INFINITY);
        document.changes = baseline::changes(baseline, &document, tolerance);
        print(&baseline::table(&document.changes)).map_err(|error| error.to_string())?;
    }
    if exit == Exit::Fine && document.thresholds.iter().any(|checked| !checked.holds) {
        exit = Exit::ThresholdMissed;
    }
    if exit == Exit::Fine && document.changes.iter().any(|change| change.is_regression) {
        exit = Exit::Regression;
    }
    document.exit_code = exit.code();
    write_files(&args, &document)?;
    Ok(exit)
}

/// What a worker does: its share of a run, of which another process makes the most.
fn work(args: &Args) -> Result<Exit, String> {
    let runner = Runner::new(true, true).map_err(|error| error.to_string())?;
    let ran = runner.run(args, None, |_| Ok(()))?;
    let document = Document { exit_code: ran.exit.code(), ..ran.document };
    write_json(args, &document.to_json())?;
    Ok(ran.exit)
}

/// What is asked for beside a run.
fn command(command: &Command) -> Result<Exit, String> {
    let text = match command {
        Command::Doctor => doctor::report().map_err(|error| error.to_string())?,
        Command::Report { document, html } => {
            let page = match baseline::read_either(document)? {
                Either::Run(document) => html::page(&document),
                Either::Comparison(comparison) => html::comparison_page(&comparison),
            };
            match html {
                None => page,
                Some(path) => {
                    write_file("--html", Some(path), || page)?;
                    String::new()
                }
            }
        }
        Command::Compare { before, after, tolerance } => {
            let (before, after) = (baseline::read(before)?, baseline::read(after)?);
            let mismatch = baseline::mismatch(&before, &after);
            let warning = mismatch.map_or_else(String::new, |why| format!(" ! {why}\n"));
            warning + &baseline::table(&baseline::changes(&before, &after, *tolerance))
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Exit::Fine)
}

/// Writes what the flags ask for.
fn write_files(args: &Args, document: &Document) -> Result<(), String> {
    write_json(args, &document.to_json())?;
    let files = [
        ("--save-baseline", &args.save_baseline, Document::to_json as fn(&Document) -> String),
        ("--csv", &args.csv, export::csv),
        ("--hgrm", &args.hgrm, export::hgrm),
        ("--html", &args.html, html::page),
    ];
    for (flag, path, text) in files {
        write_file(flag, path.as_deref(), || text(document))?;
    }
    Ok(())
}

/// Writes what `text` says to the file that `flag` names, if it names one.
fn write_file(
    flag: &str,
    path: Option<&Path>,
    text: impl FnOnce() -> String,
) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|error| format!("{flag} {}: {error}", path.display()))
}

/// Writes a document where `--json` says, if it does.
fn write_json(args: &Args, document: &str) -> Result<(), String> {
    let Some(path) = &args.json else { return Ok(()) };
    let written = if path == Path::new("-") {
        writeln!(io::stdout(), "{document}")
    } else {
        std::fs::write(path, format!("{document}\n"))
    };
    written.map_err(|error| format!("--json={}: {error}", path.display()))
}
