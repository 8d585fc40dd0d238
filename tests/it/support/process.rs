//! The binary as a process of its own.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::DEADLINE;

/// A running `wsfast`. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The first address that it said it listens on; unspecified if that is a Unix socket's alone.
    pub(crate) addr: SocketAddr,
    /// The line that said it, with its end.
    pub(crate) first_line: String,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary, with no setting from this environment, and with its output piped.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsfast"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WSFAST_"))
    {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the binary to its end, which must come by itself.
pub(crate) fn run(args: &[&str]) -> Output {
    run_command(&mut command(args))
}

/// Runs a [`command`] that the caller has made to its end.
pub(crate) fn run_command(command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let stdout = lines(child.stdout.take().unwrap());
    let stderr = lines(child.stderr.take().unwrap());
    finish(&mut child, &stdout, &stderr)
}

impl Process {
    /// Memory that the process has in use.
    pub(crate) fn rss_bytes(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    /// The most that it ever had in use.
    pub(crate) fn peak_rss_bytes(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// What it has used, in user and in kernel mode (proc(5): fields 14 and 15, in ticks of 10 ms).
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, behind_name) = stat.rsplit_once(") ").unwrap();
        let fields = behind_name.split(' ').skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The numbers of its open files.
    pub(crate) fn descriptors(&self) -> Vec<u64> {
        let names = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let numbers = names.map(|it| it.unwrap().file_name().to_str().unwrap().parse().unwrap());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// Starts the binary with `--port 0` and `args`, and waits for the line that says where it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(command(&["--port", "0"]).args(args))
    }

    /// Starts a [`command`] that the caller has made, with the same expectation.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let process = Self::spawn_anywhere(command);
        assert!(process.addr.port() > 0, "no address: {}", process.first_line);
        process
    }

    /// The same, where it may listen on Unix sockets alone.
    pub(crate) fn spawn_anywhere(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = child.stderr.take().map_or_else(nothing, lines);
        let first_line = stdout.recv_timeout(DEADLINE).unwrap_or_default();
        if !first_line.contains(" listening on ") {
            let _gone = child.kill();
            let Output { status, stdout, stderr } = finish(&mut child, &stdout, &stderr);
            panic!("it does not listen ({status}): {first_line}{stdout}{stderr}");
        }
        let addr = address_in(&first_line).unwrap_or(([0, 0, 0, 0], 0).into());
        Self { child, addr, first_line, stdout, stderr }
    }

    /// The writing end of its standard input, which its [`command`] made a pipe.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Whether it is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Where `--admin` listens, as the last of the start-up lines says.
    pub(crate) fn admin(&self) -> SocketAddr {
        loop {
            let line = self.stdout.recv_timeout(DEADLINE).expect("a line on stdout");
            if line.starts_with("to watch over it: ") {
                return address_in(&line).expect("an address");
            }
        }
    }

    /// The next line on stderr.
    pub(crate) fn next_log_line(&self) -> String {
        self.stderr.recv_timeout(DEADLINE).expect("a line on stderr")
    }

    /// Waits for its end; the output is what came behind the first line.
    pub(crate) fn wait(mut self) -> Output {
        finish(&mut self.child, &self.stdout, &self.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A running `wsfast` that serves nothing. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Tool {
    /// Starts a [`command`].
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The next line that it prints, without its end.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let line = self.stdout.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|_| panic!("no line; it said: {}", self.said()));
        line.strip_suffix('\n').unwrap_or(&line).to_owned()
    }

    /// Waits for a line on stderr that has `text` in it.
    #[track_caller]
    pub(crate) fn until_it_says(&self, text: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("it does not say {text}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn said(&self) -> String {
        self.stderr.try_iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the output that nobody took.
    pub(crate) fn wait(mut self) -> Output {
        finish(&mut self.child, &self.stdout, &self.stderr)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// `127.0.0.1:8002` of a line that holds `ws://127.0.0.1:8002` or `wss://127.0.0.1:8002`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("://")?;
    rest.split(|at: char| at == ',' || at.is_whitespace()).next()?.parse().ok()
}

/// Both outputs end with the process, so they are waited for under the deadline, and then the process is over.
fn finish(child: &mut Child, stdout: &Receiver<String>, stderr: &Receiver<String>) -> Output {
    let [stdout, stderr] = [stdout, stderr].map(|lines| {
        let mut text = String::new();
        loop {
            match lines.recv_timeout(DEADLINE) {
                Ok(line) => text.push_str(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return text,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _gone = child.kill();
                    let _reaped = child.wait();
                    panic!("the process does not end; it said: {text}");
                }
            }
        }
    });
    Output { status: child.wait().unwrap(), stdout, stderr }
}

/// Of an output that goes elsewhere there are no lines here.
fn nothing() -> Receiver<String> {
    mpsc::channel().1
}

/// The lines of a pipe, each with its end, read by a thread that ends with the pipe.
pub(crate) fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let _nobody_reads = sender.send(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
    });
    receiver
}
