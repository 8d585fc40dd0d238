//! Workers: a load that takes more file descriptors than one process may have, by several.
//!
//! ```text
//! this process              worker 1..n: the same program with a share of the connections and of the rate
//!      │ ─── starts ──────────►│ connects
//!      │ ◄── "connected" ──────│ holds
//!      │ ─── "go" ────────────►│ loads, measures, weighs
//!      │ ◄── a document ───────│
//!      ▼
//!    joins the documents: counts add up, histograms are added, the worst verdict is the verdict
//! ```
//!
//! A broadcast is not shared out: whom a message reached is known by one process or by none. Workers do not spin while
//! they wait, since there are more of them than CPUs.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Args, Mode};
use crate::plan::{CONNS_PER_SOURCE, FDS_RESERVED, Machine, churn_fds};
use crate::result::document::{Connect, Document, Times};
use crate::result::outcome::Exit;
use crate::result::verdict::Grade;
use crate::run::children::{ChildGuard, Extent};

/// More processes than this are not started: something else is meant then.
const WORKERS_MAX: u32 = 16;

/// What a worker says once its connections are open, and what it is told then.
const CONNECTED: &str = "connected";
const GO: &str = "go";

/// How a load is shared out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    conns: u32,
    rate: Option<f64>,
    connect_rate: Option<f64>,
    churn: Option<f64>,
    /// Loopback addresses that others use.
    source_offset: u32,
}

/// How `args` are shared out on `machine`; empty: one process is enough, or more cannot help.
pub(crate) fn shares(args: &Args, machine: &Machine) -> Vec<Share> {
    let room = u32::try_from(machine.fds_max.saturating_sub(FDS_RESERVED + churn_fds(args)));
    let room = room.unwrap_or(u32::MAX);
    let count = args.conns.div_ceil(room.max(1));
    if !(2..=WORKERS_MAX).contains(&count) || args.mode == Mode::Broadcast || args.worker {
        return Vec::new();
    }
    let all = f64::from(args.conns);
    let sources = args.conns.div_ceil(count).div_ceil(CONNS_PER_SOURCE);
    let share = |at: u32| {
        let conns = args.conns / count + u32::from(at < args.conns % count);
        let part = |rate: f64| rate * f64::from(conns) / all;
        Share {
            conns,
            rate: args.rate.map(part),
            connect_rate: args.connect_rate.map(part),
            churn: args.churn.map(|churn| part(churn.per_second(args.conns))),
            source_offset: at * sources,
        }
    };
    (0..count).map(share).collect()
}

/// A worker's side: it says that it has connected, and waits until it is told to go on.
#[derive(Debug)]
pub(crate) struct Gate {
    may_go: Arc<AtomicBool>,
}

impl Gate {
    /// A gate that standard input opens, be it by its end.
    pub(crate) fn new() -> Self {
        let may_go = Arc::new(AtomicBool::new(false));
        let opens = Arc::clone(&may_go);
        thread::spawn(move || {
            let mut line = String::new();
            // An end or an error says as much as the word: nobody else will.
            let _ = io::stdin().read_line(&mut line);
            opens.store(true, Ordering::Release);
        });
        Self { may_go }
    }

    /// Says that all connections are open, or are not going to be.
    ///
    /// # Errors
    ///
    /// Nobody listens any more.
    pub(crate) fn arrive(&self) -> io::Result<()> {
        let mut stdout = io::stdout();
        writeln!(stdout, "{CONNECTED}")?;
        stdout.flush()
    }

    /// Whether the load may begin.
    pub(crate) fn is_open(&self) -> bool {
        self.may_go.load(Ordering::Acquire)
    }
}

/// What a worker says.
enum Said {
    Connected,
    /// It is over: its document and its exit code, or what it complained of.
    Ended(Result<Box<Document>, String>),
}

/// Runs the shares at once and joins what they come to. `port` is where the server is, if this process started it.
///
/// # Errors
///
/// One line: a worker can't be started, or ends without a document.
pub(crate) fn run(
    shares: &[Share],
    port: Option<u16>,
    stop: &AtomicBool,
) -> Result<(Document, Exit), String> {
    let (tell, told) = mpsc::channel();
    let mut workers = Workers(Vec::new());
    for share in shares {
        let (mut child, guard) =
            start(share, port).map_err(|error| format!("a worker: {error}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        workers.0.push((child, guard));
        let tell = tell.clone();
        thread::spawn(move || {
            let mut document = None;
            for line in stdout
                .map(BufReader::new)
                .into_iter()
                .flat_map(BufRead::lines)
                .map_while(Result::ok)
            {
                if line == CONNECTED {
                    let _ = tell.send(Said::Connected);
                } else {
                    document = serde_json::from_str(&line).ok();
                }
            }
            let mut complaint = String::new();
            let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut complaint));
            let complaint = complaint.trim().trim_start_matches("loadtest: ").to_owned();
            let _ = tell.send(Said::Ended(document.ok_or(complaint)));
        });
    }
    let (mut connected, mut documents, mut interrupted) = (0, Vec::new(), false);
    while documents.len() < shares.len() {
        if stop.load(Ordering::Relaxed) && !interrupted {
            interrupted = true;
            workers.interrupt();
        }
        match told.recv_timeout(Duration::from_millis(50)) {
            Ok(Said::Connected) => {
                connected += 1;
                if connected == shares.len() {
                    workers.go();
                }
            }
            Ok(Said::Ended(Ok(document))) => documents.push(*document),
            Ok(Said::Ended(Err(complaint))) => return Err(format!("a worker: {complaint}")),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    join(documents).ok_or_else(|| "no worker came back".to_owned())
}

fn start(share: &Share, port: Option<u16>) -> io::Result<(Child, ChildGuard)> {
    let mut command = Command::new(std::env::current_exe()?);
    // What a flag says last, holds.
    command.args(std::env::args_os().skip(1)).args(["-q", "--json=-", "--worker"]);
    command.arg(format!("--conns={}", share.conns));
    command.arg(format!("--source-offset={}", share.source_offset));
    if let Some(rate) = share.rate {
        command.arg(format!("--rate={rate}"));
    }
    if let Some(rate) = share.connect_rate {
        command.arg(format!("--connect-rate={rate}"));
    }
    if let Some(churn) = share.churn {
        command.arg(format!("--churn={churn}"));
    }
    if let Some(port) = port {
        command.arg(format!("--port={port}"));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ChildGuard::start(&mut command, Extent::Process)
}

/// The workers; none outlives this.
struct Workers(Vec<(Child, ChildGuard)>);

impl Workers {
    fn go(&mut self) {
        for (child, _) in &mut self.0 {
            // One that is gone says so by its output's end.
            let _ = child.stdin.take().map(|mut stdin| writeln!(stdin, "{GO}"));
        }
    }

    fn interrupt(&self) {
        for (child, _) in &self.0 {
            let _ = kill_process(Pid::from_child(child), Signal::INT);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (child, _) in &mut self.0 {
            if matches!(child.try_wait(), Ok(None)) {
                // Its output has ended, or it is of no more use.
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

/// All documents as one. `None`: there are none.
fn join(documents: Vec<Document>) -> Option<(Document, Exit)> {
    let mut documents = documents.into_iter();
    let mut all = documents.next()?;
    let mut exits = vec![all.exit_code];
    for other in documents {
        exits.push(other.exit_code);
        add(&mut all, other);
    }
    if let Some(server) = &mut all.server {
        let per_s = all.replies_per_s;
        server.cpu_ns_per_message = (per_s > 0.0).then(|| server.cpu * 1e9 / per_s);
    }
    // The gravest that any of them met.
    let order = [Exit::Interrupted, Exit::NotConnected, Exit::WrongReplies, Exit::Untrusted];
    let worst = order.into_iter().find(|exit| exits.contains(&exit.code()));
    Some((all, worst.unwrap_or(Exit::Fine)))
}

/// Adds another worker's results.
fn add(all: &mut Document, other: Document) {
    all.conns += other.conns;
    all.rate_per_s = all.rate_per_s.zip(other.rate_per_s).map(|(a, b)| a + b);
    add_connects(&mut all.connect, &other.connect);
    if let (Some(churn), Some(other)) = (&mut all.churn, &other.churn) {
        churn.rate_per_s += other.rate_per_s;
        churn.due += other.due;
        churn.closed += other.closed;
        add_connects(&mut churn.connect, &other.connect);
    }
    all.counts.add(&other.counts);
    all.first_fault = all.first_fault.take().or(other.first_fault);
    all.measured_due = all.measured_due.zip(other.measured_due).map(|(a, b)| a + b);
    all.measured_sent = all.measured_sent.zip(other.measured_sent).map(|(a, b)| a + b);
    // The one that was furthest off.
    all.rate_reached = all
        .rate_reached
        .zip(other.rate_reached)
        .map(|(a, b)| if (a - 1.0).abs() > (b - 1.0).abs() { a } else { b });
    all.replies_per_s += other.replies_per_s;
    all.censored += other.censored;
    add_times(&mut all.response, &other.response);
    add_times(&mut all.service, &other.service);
    add_times(&mut all.arrival, &other.arrival);
    add_times(&mut all.client_queue, &other.client_queue);
    add_times(&mut all.send_lag, &other.send_lag);
    if let (Some(server), Some(seen)) = (&mut all.server, other.server) {
        server.rss_bytes = server.rss_bytes.max(seen.rss_bytes);
        server.rss_before_bytes = server.rss_before_bytes.min(seen.rss_before_bytes);
        // Each saw the memory grow by the connections of all, and knows but its own.
        server.ramp = None;
    }
    all.client.busy = all.client.busy.max(other.client.busy);
    all.client.run_queue = all.client.run_queue.max(other.client.run_queue);
    all.client.steal = all.client.steal.max(other.client.steal);
    all.client.rss_peak_bytes += other.client.rss_peak_bytes;
    // These are the machine's, and all saw the same.
    all.listen_overflows = all.listen_overflows.max(other.listen_overflows);
    all.syn_retrans = all.syn_retrans.max(other.syn_retrans);
    let order = [Grade::Invalid, Grade::Degraded, Grade::Valid].map(Grade::name);
    let grades = [all.verdict.grade.as_str(), other.verdict.grade.as_str()];
    let worst = order.into_iter().find(|grade| grades.contains(grade)).unwrap_or_default();
    worst.clone_into(&mut all.verdict.grade);
    // The same reason with other numbers is said once.
    let words = |reason: &str| reason.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    for reason in other.verdict.reasons {
        let is_known = |known: &String| words(known) == words(&reason);
        if !all.verdict.reasons.iter().any(is_known) {
            all.verdict.reasons.push(reason);
        }
    }
    all.interrupted |= other.interrupted;
    // They started together: moments of the same number are of the same time, but for some milliseconds.
    for (moment, seen) in all.timeline.iter_mut().zip(other.timeline) {
        moment.opened += seen.opened;
        moment.sent += seen.sent;
        moment.received += seen.received;
        moment.add_responses(seen.responses);
    }
}

fn add_connects(all: &mut Connect, other: &Connect) {
    all.opened += other.opened;
    all.failed += other.failed;
    for failure in &other.failures {
        match all.failures.iter_mut().find(|known| known.reason == failure.reason) {
            Some(known) => known.count += failure.count,
            None => all.failures.push(failure.clone()),
        }
    }
    all.span_ns = all.span_ns.max(other.span_ns);
    all.conns_per_s = f64::from(all.opened) * 1e9 / all.span_ns.max(1) as f64;
    add_times(&mut all.tcp, &other.tcp);
    add_times(&mut all.tls, &other.tls);
    add_times(&mut all.upgrade, &other.upgrade);
    add_times(&mut all.total, &other.total);
    let (mut slots, mut others) = (all.opened_by_slot.clone(), other.opened_by_slot.clone());
    let halves =
        |slots: &[u32]| slots.chunks(2).map(|pair| pair.iter().sum()).collect::<Vec<u32>>();
    // Both began with the same stretch, which doubles.
    let (mut slot_ns, mut other_ns) = (all.slot_ns.max(1), other.slot_ns.max(1));
    while slot_ns < other_ns {
        (slots, slot_ns) = (halves(&slots), slot_ns * 2);
    }
    while other_ns < slot_ns {
        (others, other_ns) = (halves(&others), other_ns * 2);
    }
    slots.resize(slots.len().max(others.len()), 0);
    for (count, other) in slots.iter_mut().zip(others) {
        *count += other;
    }
    (all.opened_by_slot, all.slot_ns) = (slots, slot_ns);
    for seen in &other.syn_retries {
        match all.syn_retries.iter_mut().find(|known| known.seconds == seen.seconds) {
            Some(known) => known.conns += seen.conns,
            None => all.syn_retries.push(seen.clone()),
        }
    }
}

fn add_times(all: &mut Times, other: &Times) {
    if other.samples > 0 {
        let mut times: Histogram<u64> = all.histogram();
        // All histograms have the same bounds.
        let _ = times.add(other.histogram());
        *all = Times::of(&times);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::judge::stats::histogram;
    use crate::result::document::Failure;

    const MACHINE: Machine = Machine {
        fds_max: 20_000,
        ports: (32_768, 60_999),
        memory_bytes: 8 << 30,
        backlog_max: 4096,
    };

    fn shared(line: &str) -> Vec<Share> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        shares(&Args::try_parse_from(words).unwrap(), &MACHINE)
    }

    #[test]
    fn a_load_is_shared_out_only_where_one_process_is_too_few() {
        assert!(shared("-c 19984").is_empty());
        assert!(shared("-c 1000000").is_empty());
        assert!(shared("-c 50000 --mode broadcast").is_empty());
        let three = shared("-c 50000 -r 5000");
        assert_eq!(three.iter().map(|share| share.conns).sum::<u32>(), 50_000);
        assert_eq!(three.iter().map(|share| share.source_offset).collect::<Vec<_>>(), [0, 2, 4]);
        let rate: f64 = three.iter().filter_map(|share| share.rate).sum();
        assert!((rate - 5000.0).abs() < 1e-6 && three.len() == 3);
    }

    fn document(ns: u64, exit_code: u8, grade: Grade) -> Document {
        let mut times = histogram();
        times.saturating_record_n(ns, 100);
        let mut document = Document { conns: 5, exit_code, ..Document::default() };
        document.response = Times::of(&times);
        document.counts.sent = 100;
        document.connect.opened = 5;
        document.connect.slot_ns = ns;
        document.connect.opened_by_slot = vec![3, 2];
        document.connect.failures = vec![Failure { reason: "timed out".to_owned(), count: 2 }];
        document.verdict.grade = grade.name().to_owned();
        document
    }

    #[test]
    fn counts_add_up_and_the_worst_verdict_holds() {
        let documents = vec![document(1000, 0, Grade::Valid), document(2000, 4, Grade::Degraded)];
        let (all, exit) = join(documents).unwrap();
        assert_eq!((exit, all.verdict.grade.as_str()), (Exit::WrongReplies, "DEGRADED"));
        assert_eq!((all.conns, all.counts.sent, all.response.samples), (10, 200, 200));
        assert_eq!((all.connect.slot_ns, all.connect.opened_by_slot), (2000, vec![8, 2]));
        assert_eq!((all.connect.failures.len(), all.connect.failures[0].count), (1, 4));
        assert!(join(Vec::new()).is_none());
    }
}
