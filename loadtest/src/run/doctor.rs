//! `loadtest doctor`: what this machine allows, and how late it wakes.
//!
//! Reads the kernel's settings and measures one thing itself, for a second; changes nothing but this process's own limit
//! of file descriptors, as every run does.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::judge::stats::{histogram, quantile_ns};
use crate::plan::machine::Environment;
use crate::plan::{CONNS_PER_SOURCE, FDS_RESERVED, Machine};
use crate::time::clock::{MILLISECOND_NS, Timer, now_ns};
use crate::units::{bytes, count, latency};

/// Wake-ups that are measured, one each millisecond.
const WAKE_UPS: u64 = 1000;

/// What there is to say.
///
/// # Errors
///
/// What timerfd_create(2) or epoll_wait(2) say.
pub(crate) fn report() -> io::Result<String> {
    let (machine, environment) = (Machine::this(), Environment::this());
    let mut out = String::new();
    let mut say = |ok: bool, what: &str, told: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, " {} {what:<18} {told}", if ok { '✓' } else { '!' });
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();

    say(
        true,
        "machine",
        &format!("{} × {} · Linux {}", environment.cpus, environment.cpu, environment.kernel),
    );
    let conns = machine.fds_max.saturating_sub(FDS_RESERVED);
    let fds = format!(
        "{} file descriptors: {} connections by one process",
        count(machine.fds_max),
        count(conns)
    );
    say(conns >= 10_000, "connections", &fds);
    let ports = u64::from(machine.ports.1.saturating_sub(machine.ports.0)) + 1;
    let ports = format!(
        "{} source ports an address, of which {} are fast; one 127.0.0.x for every {} connections",
        count(ports),
        count(ports / 2),
        count(u64::from(CONNS_PER_SOURCE))
    );
    say(true, "ports", &ports);
    let backlog =
        format!("listen queues of up to {} (net.core.somaxconn)", count(machine.backlog_max));
    say(machine.backlog_max >= 1024, "backlog", &backlog);
    say(machine.memory_bytes > 1 << 30, "memory", &format!("{} free", bytes(machine.memory_bytes)));
    say(
        environment.cpus >= 2,
        "CPUs",
        if environment.cpus >= 2 {
            "one for the client to spin on while the server has another"
        } else {
            "one: client and server take turns, and latencies are those of the scheduler"
        },
    );
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let is_fast =
        clock.is_empty() || ["tsc", "kvm-clock", "arch_sys_counter"].contains(&clock.as_str());
    say(is_fast, "clock", if clock.is_empty() { "not known" } else { &clock });
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if !governor.is_empty() {
        say(governor == "performance", "governor", &governor);
    }
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let is_idle = load.parse().is_ok_and(|load: f64| load < 0.5);
    say(is_idle, "load", &format!("{load} in the last minute"));

    let (p50, p99, max) = lateness()?;
    say(
        p99 < 500_000,
        "wake-ups",
        &format!("late by p50 {} p99 {} max {}", latency(p50), latency(p99), latency(max)),
    );
    Ok(out)
}

/// How late a timer wakes this process, as a run's waits end: median, p99 and the worst.
fn lateness() -> io::Result<(u64, u64, u64)> {
    let (mut poll, mut timer) = (Poll::new()?, Timer::new()?);
    let fd = timer.as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
    let (mut events, mut late) = (Events::with_capacity(1), histogram());
    for _ in 0..WAKE_UPS {
        let due_ns = now_ns() + MILLISECOND_NS;
        timer.set(due_ns)?;
        while now_ns() < due_ns {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        late.saturating_record(now_ns() - due_ns);
    }
    let told = |q| quantile_ns(&late, q).unwrap_or(0);
    Ok((told(0.5), told(0.99), late.max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_says_something_of_everything() {
        let report = report().unwrap();
        for part in ["machine", "connections", "ports", "backlog", "memory", "clock", "wake-ups"] {
            assert!(report.contains(part), "{part} in {report}");
        }
        assert!(report.lines().all(|line| line.starts_with(" ✓") || line.starts_with(" !")));
    }
}
