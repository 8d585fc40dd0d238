//! What the kernel says of the run while it runs: the server's CPU and memory, this client's CPU and how long it waited
//! for one, CPU time stolen by other guests, and TCP's complaints.
//!
//! Reads /proc a few times a second, on the thread that does not measure. Judges nothing.

use std::fs;

use nix::time::ClockId;
use nix::unistd::Pid;
use rustix::param::{clock_ticks_per_second, page_size};

use crate::time::clock::{SECOND_NS, now_ns};
use crate::time::live::Phase;

/// What there is to read.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The server's processes; empty: they are not known.
    pub(crate) server_pids: Vec<u32>,
    /// The measuring thread.
    pub(crate) client_tid: i32,
    /// Whether the server's memory is counted page by page, which takes longer. What a process is said to have
    /// otherwise is off by some pages for each CPU.
    pub(crate) exact_rss: bool,
}

/// The counters at one moment. All but `rss_bytes` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was taken.
    pub(crate) at_ns: u64,
    /// CPU time of the server.
    pub(crate) server_cpu_ns: u64,
    /// How long the server's main threads were ready to run and did not.
    pub(crate) server_wait_ns: u64,
    /// Memory of the server.
    pub(crate) rss_bytes: u64,
    /// CPU time of the measuring thread.
    pub(crate) client_cpu_ns: u64,
    /// How long the measuring thread was ready to run and did not.
    pub(crate) client_wait_ns: u64,
    /// How long the measuring thread spun for want of work.
    pub(crate) client_spun_ns: u64,
    /// CPU time that the host gave to other guests, in ticks over all CPUs.
    pub(crate) steal_ticks: u64,
    /// All CPU time, in ticks over all CPUs.
    pub(crate) all_ticks: u64,
    /// Connections that found a listen queue full.
    pub(crate) listen_overflows: u64,
    /// SYNs sent again.
    pub(crate) syn_retrans: u64,
}

impl Sources {
    /// Takes a sample; what cannot be read is zero.
    pub(crate) fn sample(&self, client_spun_ns: u64) -> Sample {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let own = read(&format!("/proc/self/task/{}/schedstat", self.client_tid));
        let (client_cpu_ns, client_wait_ns) = parse_schedstat(&own).unwrap_or_default();
        let (steal_ticks, all_ticks) = parse_cpu_line(&read("/proc/stat")).unwrap_or_default();
        let netstat = read("/proc/net/netstat");
        let mut sample = Sample {
            at_ns: now_ns(),
            client_cpu_ns,
            client_wait_ns,
            client_spun_ns,
            steal_ticks,
            all_ticks,
            listen_overflows: parse_tcp_ext(&netstat, "ListenOverflows").unwrap_or(0),
            syn_retrans: parse_tcp_ext(&netstat, "TCPSynRetrans").unwrap_or(0),
            ..Sample::default()
        };
        let tick_ns = SECOND_NS / clock_ticks_per_second().max(1);
        for pid in &self.server_pids {
            let stat = parse_process(&read(&format!("/proc/{pid}/stat"))).unwrap_or_default();
            let waited = parse_schedstat(&read(&format!("/proc/{pid}/schedstat")));
            sample.server_wait_ns += waited.unwrap_or_default().1;
            // To the nanosecond, where /proc counts in ticks of 10 ms.
            let cpu_ns = process_cpu_ns(*pid).unwrap_or(stat.cpu_ticks * tick_ns);
            sample.server_cpu_ns += cpu_ns;
            let rollup = self.exact_rss.then(|| read(&format!("/proc/{pid}/smaps_rollup")));
            let exact = rollup.and_then(|rollup| parse_kib(&rollup, "Rss:"));
            sample.rss_bytes += exact.unwrap_or(stat.rss_pages * page_size() as u64);
        }
        sample
    }
}

/// What happened between samples, as a person asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// The server, where its process is known.
    pub(crate) server: Option<ServerUsage>,
    /// CPU time of the measuring thread while it had work, as a share of one CPU.
    pub(crate) client_busy: f64,
    /// How long the measuring thread waited for a CPU, as a share of the time.
    pub(crate) run_queue: f64,
    /// CPU time that the host gave to other guests, as a share of all.
    pub(crate) steal: f64,
    /// The most memory that this process had.
    pub(crate) client_rss_peak_bytes: u64,
    /// Connections that found a listen queue full, from the first connect on. All of this machine's.
    pub(crate) listen_overflows: u64,
    /// SYNs sent again, from the first connect on. All of this machine's.
    pub(crate) syn_retrans: u64,
}

/// What the server took.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerUsage {
    /// Its processes.
    pub(crate) pids: Vec<u32>,
    /// CPU time, as a share of one CPU; several threads can exceed one.
    pub(crate) cpu: f64,
    /// How long its main threads waited for a CPU, as a share of the time.
    pub(crate) run_queue: f64,
    /// Memory at the end of the measurement.
    pub(crate) rss_bytes: u64,
    /// Memory before the first connect.
    pub(crate) rss_before_bytes: u64,
}

/// The samples of a run that matter, each with the phase it was taken in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<(Phase, Sample)>);

impl Series {
    /// Adds a sample. Of each phase the first and the last are kept.
    pub(crate) fn push(&mut self, phase: Phase, sample: Sample) {
        if let [.., (before, _), (last, kept)] = self.0.as_mut_slice()
            && (*before, *last) == (phase, phase)
        {
            *kept = sample;
        } else {
            self.0.push((phase, sample));
        }
    }

    /// What the samples say of the phases from `window.0` on and before `window.1`, and of the run as a whole.
    pub(crate) fn usage(&self, server_pids: &[u32], window: (Phase, Phase)) -> Usage {
        let (Some((_, first)), Some((_, last))) = (self.0.first(), self.0.last()) else {
            return Usage::default();
        };
        let since = |phase| self.0.iter().find(|(at, _)| *at >= phase).map(|(_, sample)| sample);
        let from = since(window.0).unwrap_or(first);
        let to = since(window.1).unwrap_or(last);
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let wall_ns = to.at_ns.saturating_sub(from.at_ns);
        let busy_ns = (to.client_cpu_ns.saturating_sub(from.client_cpu_ns))
            .saturating_sub(to.client_spun_ns.saturating_sub(from.client_spun_ns));
        Usage {
            server: (!server_pids.is_empty()).then(|| ServerUsage {
                pids: server_pids.to_vec(),
                cpu: share(to.server_cpu_ns.saturating_sub(from.server_cpu_ns), wall_ns),
                run_queue: share(to.server_wait_ns.saturating_sub(from.server_wait_ns), wall_ns),
                rss_bytes: to.rss_bytes,
                rss_before_bytes: first.rss_bytes,
            }),
            client_busy: share(busy_ns, wall_ns),
            run_queue: share(to.client_wait_ns.saturating_sub(from.client_wait_ns), wall_ns),
            steal: share(
                to.steal_ticks.saturating_sub(from.steal_ticks),
                to.all_ticks.saturating_sub(from.all_ticks),
            ),
            client_rss_peak_bytes: rss_peak_bytes(),
            listen_overflows: last.listen_overflows.saturating_sub(first.listen_overflows),
            syn_retrans: last.syn_retrans.saturating_sub(first.syn_retrans),
        }
    }
}

/// CPU time of all threads that a process has or had. `None`: it is gone.
fn process_cpu_ns(pid: u32) -> Option<u64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    let time = clock.now().ok()?;
    Some(time.tv_sec().unsigned_abs() * SECOND_NS + time.tv_nsec().unsigned_abs())
}

/// The most memory that this process had so far.
fn rss_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_kib(&status, "VmHWM:").unwrap_or(0)
}

/// A line of a name and a number of KiB, in bytes.
pub(crate) fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kib * 1024)
}

/// What /proc/PID/stat says of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProcessStat {
    /// User and system time of all its threads, in ticks.
    cpu_ticks: u64,
    /// Resident memory, in pages.
    rss_pages: u64,
}

/// Reads /proc/PID/stat. The name stands in parentheses, and may hold spaces and parentheses itself.
fn parse_process(stat: &str) -> Option<ProcessStat> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
    // proc_pid_stat(5) counts from one, and the name is the second field: utime is 14, stime 15, rss 24.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(ProcessStat { cpu_ticks: field(14)? + field(15)?, rss_pages: field(24)? })
}

/// Reads /proc/PID/task/TID/schedstat: time on a CPU, and time ready and without one, in ns.
fn parse_schedstat(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Reads the first line of /proc/stat: ticks stolen, and all ticks.
fn parse_cpu_line(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guest time behind is part of user time.
    let ticks = line.split_ascii_whitespace().take(8).map(str::parse);
    let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
    Some((*ticks.get(7)?, ticks.iter().sum()))
}

/// Reads one of the TcpExt counters of /proc/net/netstat: a line of names, then a line of numbers.
fn parse_tcp_ext(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
    pairs.find(|&(found, _)| found == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "26199 (a) b (c) S 26191 26191 4779 0 -1 4194304 102 0 0 0 70 8 0 0 20 0 1 0 196416 3133440 390 \
                    18446744073709551615 94620236783616 94620236803497 140731715493456 0 0";
        assert_eq!(parse_process(stat), Some(ProcessStat { cpu_ticks: 78, rss_pages: 390 }));
        assert_eq!(parse_process(""), None);
        assert_eq!(parse_process("1 (x) S 1"), None);
    }

    #[test]
    fn counters_parse_as_the_kernel_prints_them() {
        assert_eq!(parse_schedstat("699807 12 1\n"), Some((699_807, 12)));
        assert_eq!(parse_schedstat(""), None);
        let stat = "cpu  54811 280 29312 298126 1581 0 7272 124 5 6\ncpu0 1 2 3\n";
        let all = 54_811 + 280 + 29_312 + 298_126 + 1581 + 7272 + 124;
        assert_eq!(parse_cpu_line(stat), Some((124, all)));
        assert_eq!(parse_cpu_line("cpu0 1 2 3"), None);
        let netstat = "TcpExt: SyncookiesSent ListenOverflows TCPSynRetrans\nTcpExt: 0 7 9\nIpExt: A\nIpExt: 1\n";
        assert_eq!(parse_tcp_ext(netstat, "ListenOverflows"), Some(7));
        assert_eq!(parse_tcp_ext(netstat, "TCPSynRetrans"), Some(9));
        assert_eq!(parse_tcp_ext(netstat, "TW"), None);
        let rollup = "55-7f rw-p [rollup]\nRss:              1484 kB\nPss:  5 kB\n";
        assert_eq!(parse_kib(rollup, "Rss:"), Some(1484 * 1024));
    }

    const WINDOW: (Phase, Phase) = (Phase::Measure, Phase::Drain);

    #[test]
    fn usage_is_what_happened_between_the_phases() {
        let at = |at_ns, cpu, spun| Sample {
            at_ns,
            client_cpu_ns: cpu,
            client_wait_ns: cpu / 10,
            client_spun_ns: spun,
            server_cpu_ns: cpu * 2,
            server_wait_ns: cpu,
            rss_bytes: 1000 + at_ns,
            listen_overflows: at_ns / 10,
            ..Sample::default()
        };
        let mut series = Series::default();
        series.push(Phase::Connect, at(0, 0, 0));
        series.push(Phase::Measure, at(100, 50, 10));
        series.push(Phase::Measure, at(150, 70, 20));
        series.push(Phase::Drain, at(200, 100, 40));
        series.push(Phase::Done, at(900, 800, 40));
        let usage = series.usage(&[7], WINDOW);
        assert_eq!((usage.client_busy, usage.run_queue), (0.2, 0.05));
        assert_eq!(usage.listen_overflows, 90);
        let server = ServerUsage {
            pids: vec![7],
            cpu: 1.0,
            run_queue: 0.5,
            rss_bytes: 1200,
            rss_before_bytes: 1000,
        };
        assert_eq!(usage.server, Some(server));
        assert_eq!(Series::default().usage(&[], WINDOW), Usage::default());
    }

    #[test]
    fn this_machine_can_be_sampled() {
        let client_tid = rustix::thread::gettid().as_raw_nonzero().get();
        let sources =
            Sources { server_pids: vec![std::process::id()], client_tid, exact_rss: true };
        let sample = sources.sample(5);
        assert!(sample.rss_bytes > 0 && sample.all_ticks > 0);
        assert_eq!(sample.client_spun_ns, 5);
        let later = sources.sample(5);
        assert!(later.server_cpu_ns > sample.server_cpu_ns);
    }
}
