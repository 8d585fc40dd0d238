//! One run from flags to results: starts the server if it is told to, plans, measures, weighs.
//!
//! Prints nothing and writes no file: what is done with the results is the caller's.

pub(crate) mod children;
pub(crate) mod doctor;
pub(crate) mod spawn;
pub(crate) mod workers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::cli::{Args, ServerPid};
use crate::engine::modes;
use crate::engine::{Finished, Shared};
use crate::plan::machine;
use crate::plan::{LoadPlan, Machine, Plan};
use crate::report::text;
use crate::result::document::Document;
use crate::result::outcome::{Exit, Outcome};
use crate::run::spawn::{PORT, Spawned, free_port};
use crate::run::workers::{Gate, Share};
use crate::time::live::{Live, Phase};
use crate::watch::history::Moment;
use crate::watch::progress;
use crate::watch::sample::{Sources, Usage};
use crate::wire::loan::Asks;

/// What runs have in common.
#[derive(Debug)]
pub(crate) struct Runner {
    machine: Machine,
    /// True: a person wants it all to end.
    stop: Arc<AtomicBool>,
    /// True: no progress is drawn.
    quiet: bool,
    /// What a worker waits at.
    gate: Option<Arc<Gate>>,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Everything that there is to say of it, but for the exit code.
    pub(crate) document: Document,
    /// The report behind the heading.
    pub(crate) report: String,
    /// How the process would end.
    pub(crate) exit: Exit,
}

impl Runner {
    /// From here on a signal ends the run instead of the process. It still reports; a second signal ends the process,
    /// and all that it has started.
    ///
    /// # Errors
    ///
    /// What sigaction(2) and pipe(2) say.
    pub(crate) fn new(quiet: bool, worker: bool) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        children::watch_signals(&stop)?;
        let gate = worker.then(|| Arc::new(Gate::new()));
        Ok(Self { machine: Machine::this(), stop, quiet, gate })
    }

    /// Whether a person wants it all to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs what `args` ask for, against a server that `command` starts if there is one. `heading` is told the first
    /// lines of the report before anything is opened.
    ///
    /// # Errors
    ///
    /// One line: the flags make no sense, cannot work here, or the server does not start.
    pub(crate) fn run(
        &self,
        args: &Args,
        command: Option<&str>,
        heading: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<Ran, String> {
        let mut args = args.clone();
        if command.is_some_and(|command| command.contains(PORT)) {
            args.port = Some(free_port()?);
        }
        let shares = workers::shares(&args, &self.machine);
        if !shares.is_empty() {
            return self.run_workers(&args, command, &shares, heading);
        }
        let plan = Plan::new(&args, self.machine)?;
        let asks = modes::asks(&plan)?;
        heading(&text::heading(&plan)).map_err(|error| error.to_string())?;
        let spawned = command.map(|command| self.spawn(command, &plan)).transpose()?;
        let (finished, watched) = self.measure(&plan, asks).map_err(|error| error.to_string())?;
        drop(spawned);
        let outcome = Outcome::new(&plan, finished, watched);
        let (document, report) = (Document::new(&outcome), text::results(&outcome));
        Ok(Ran { document, report, exit: outcome.exit(args.strict) })
    }

    /// The same by several processes.
    fn run_workers(
        &self,
        args: &Args,
        command: Option<&str>,
        shares: &[Share],
        heading: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<Ran, String> {
        // Together they have as many descriptors as there are of them.
        let fds_max = self.machine.fds_max.saturating_mul(shares.len() as u64);
        let plan = Plan::new(args, Machine { fds_max, ..self.machine })?;
        let workers = format!(" workers  {} processes\n", shares.len());
        heading(&(text::heading(&plan) + &workers)).map_err(|error| error.to_string())?;
        let spawned = command.map(|command| self.spawn(command, &plan)).transpose()?;
        let port = plan.endpoint.addr().map(|addr| addr.port());
        let (document, exit) = workers::run(shares, port, &self.stop)?;
        drop(spawned);
        let report = text::joined(&document);
        Ok(Ran { document, report, exit })
    }

    fn spawn(&self, command: &str, plan: &Plan) -> Result<Spawned, String> {
        let addr = plan.endpoint.addr();
        let addr = addr.ok_or("--spawn and --ab need a TCP port: use a ws:// or wss:// URL")?;
        Spawned::start(command, addr.port(), addr, &self.stop)
    }

    /// Runs the plan on this thread while another one watches.
    fn measure(&self, plan: &Plan, asks: Asks) -> io::Result<(Finished, Watched)> {
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
                .spawn_scoped(scope, || progress::watch(plan, &live, &sources, self.quiet))?;
            let shared = Shared {
                live: Arc::clone(&live),
                stop: Arc::clone(&self.stop),
                watcher: watcher.thread().clone(),
                gate: self.gate.clone(),
            };
            let finished = modes::run(plan, asks, &shared);
            // Also where the engine failed, so that the watcher ends.
            live.enter(Phase::Done);
            watcher.thread().unpark();
            let (series, timeline) =
                watcher.join().map_err(|_| io::Error::other("the progress thread failed"))?;
            Ok((finished?, (series.usage(&sources.server_pids, plan.window()), timeline)))
        })
    }
}

/// What the watching thread brings back.
type Watched = (Usage, Vec<Moment>);
