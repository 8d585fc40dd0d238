//! Servers that this tool starts: a shell command in a process group of its own, awaited until its port answers, ended as
//! a group.
//!
//! Reads no output but the last lines of what a server says on its way to failing.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::run::children::{ChildGuard, Extent};

/// What stands for the port in a command.
pub(crate) const PORT: &str = "{port}";

/// How long a server may take until its port answers.
const START_MAX: Duration = Duration::from_secs(20);

/// How long it may take to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(5);

/// Between looks at a server that starts or ends.
const LOOK: Duration = Duration::from_millis(5);

/// How long the last words of a server that has ended are waited for, should something else hold its stderr.
const WORDS_MAX: Duration = Duration::from_secs(1);

/// Last lines of a server's that are kept.
const LINES_MAX: usize = 3;

/// A server that was started; it ends with this.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Child,
    group: Pid,
    _guard: ChildGuard,
    said: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected once all that it says was read.
    read_to_end: Receiver<()>,
}

impl Spawned {
    /// Starts `command`, with `port` in place of [`PORT`], and waits until `addr` answers.
    ///
    /// # Errors
    ///
    /// One line: it can't be started, ended early, or its port stays silent. It is ended then.
    pub(crate) fn start(
        command: &str,
        port: u16,
        addr: SocketAddr,
        stop: &AtomicBool,
    ) -> Result<Self, String> {
        if TcpStream::connect(addr).is_ok() {
            return Err(format!("{addr} is taken: something else answers there"));
        }
        let told = command.replace(PORT, &port.to_string());
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &told])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let started = ChildGuard::start(&mut shell, Extent::Group);
        let (mut child, guard) = started.map_err(|error| format!("/bin/sh: {error}"))?;
        let group = Pid::from_child(&child);
        let said = Arc::default();
        let (reads, read_to_end) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            let said: Arc<Mutex<VecDeque<String>>> = Arc::clone(&said);
            // Reads to the end, so that a server never waits for a reader.
            thread::spawn(move || {
                let _reads: mpsc::Sender<()> = reads;
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    if said.len() == LINES_MAX {
                        said.pop_front();
                    }
                    said.push_back(line);
                }
            });
        }
        let mut spawned = Self { child, group, _guard: guard, said, read_to_end };
        spawned.wait_until_it_answers(&told, addr, stop)?;
        Ok(spawned)
    }

    fn wait_until_it_answers(
        &mut self,
        told: &str,
        addr: SocketAddr,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect_timeout(&addr, START_MAX).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                // Nothing is ever sent: this is the end of what it says, or the bound.
                let _end = self.read_to_end.recv_timeout(WORDS_MAX);
                return Err(format!("'{told}' ended with {status}{}", self.last_words()));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(format!("'{told}' was awaited when this was interrupted"));
            }
            if Instant::now() > deadline {
                let words = self.last_words();
                return Err(format!("'{told}' does not listen on {addr}: use {PORT}{words}"));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// What it said last so far, in one line.
    fn last_words(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = said.iter().map(|line| line.trim()).collect();
        if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" / ")) }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Failing means that there is nothing left to end.
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            // Reaped, so that the shell itself is not taken for a member that lives.
            let _ = self.child.try_wait();
            if test_kill_process_group(self.group).is_err() {
                return;
            }
            thread::sleep(LOOK);
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
///
/// # Errors
///
/// One line: there is none.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let addr = listener.and_then(|listener| listener.local_addr());
    addr.map(|addr| addr.port()).map_err(|error| format!("no free port: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(command: &str) -> String {
        let port = free_port().unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Spawned::start(command, port, addr, &AtomicBool::new(false)).unwrap_err()
    }

    #[test]
    fn a_server_that_cannot_start_is_quoted() {
        let message = failed("echo no such port {port} >&2; exit 3");
        assert!(message.contains("exit status: 3"), "{message}");
        assert!(message.contains("no such port") && !message.contains('\n'), "{message}");
        assert!(failed("/nonexistent/server").contains("127"));
    }

    #[test]
    fn the_last_words_are_awaited_where_they_outlast_the_server() {
        let message = failed("(sleep 0.3; echo the port is taken >&2) & exit 3");
        assert!(message.ends_with("exit status: 3: the port is taken"), "{message}");
        let message = failed("for n in 1 2 3 4 5; do echo line $n >&2; done; exit 3");
        assert!(message.ends_with(": line 3 / line 4 / line 5"), "{message}");
        // Of many bytes, none that is on its way when the server ends is missed.
        let message = failed("seq 20000 >&2; echo no such certificate >&2; exit 3");
        assert!(message.ends_with(": 19999 / 20000 / no such certificate"), "{message}");
    }

    #[test]
    fn what_holds_a_failed_server_s_stderr_is_not_waited_for() {
        let started = Instant::now();
        let message = failed("sleep 60 & echo no such port >&2; exit 3");
        assert!(message.ends_with(": no such port"), "{message}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn whoever_holds_the_port_is_not_taken_for_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let started = Spawned::start("sleep 60", addr.port(), addr, &AtomicBool::new(false));
        assert!(started.unwrap_err().contains("taken"));
    }

    #[test]
    fn an_interruption_ends_the_wait_and_all_that_was_started() {
        let port = free_port().unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stop = AtomicBool::new(true);
        let started = Instant::now();
        let error = Spawned::start("sleep 60 & sleep 60", port, addr, &stop).unwrap_err();
        assert!(error.contains("interrupted"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
