//! Restart without dropping anyone: on SIGUSR2 the program executes its new binary, under the same process id, and hands over its
//! sockets and the state of its connections (`wsfast::Server::hand_over`).
//!
//! ```text
//! SIGUSR2 ─► a thread runs NEW check ─► the loop sends away who cannot move ─► execve ─► the new image receives, and serves
//!                     └ no: one line, and all goes on        └ fails: one line, and all goes on
//! ```
//!
//! The state is in a memory file. It and the sockets are messages (SCM_RIGHTS) in a Unix socket that is the one descriptor to
//! survive the execve; the new image finds it by LISTEN_FDS. What is not in those messages is closed by the kernel, so a restart
//! leaves nothing behind. While neither image has its handlers the signals are blocked, and the kernel keeps them.
//!
//! What a server is made of is `wsfast`'s business, and what the configuration asks for `inherited`'s.

use std::collections::VecDeque;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use signal_hook::consts::SIGUSR2;
use wsfast::state::{Corrupt, Reader, Saved as _, Writer};
use wsfast::{MadeFile, Remote, Server};

use crate::app::admin::logs;
use crate::app::hub::Hub;
use crate::app::process::inherited::{self, KnownAs, LeftSocket};
use crate::app::process::outlet::Dropped;

/// What the state looks like. To be raised with every change of what is written, in whichever file.
const FORMAT: u32 = 2;

/// Has `check` say whether it takes over from this format; in the image that does, the format.
const VARIABLE: &str = "WSFAST_HANDOVER";

/// The signals that an image must not miss while it has no handlers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signals(SigSet);

impl Signals {
    /// Blocks them in this thread, and in those that it starts from now on: that one thread alone gets signals makes that none is
    /// taken behind its back.
    pub(crate) fn block() -> Self {
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2];
        let this = Self(signals.into_iter().collect());
        this.block_again();
        this
    }

    pub(crate) fn block_again(self) {
        // It fails for bad arguments alone.
        let _blocked = self.0.thread_block();
    }

    /// Lets them come, and those that waited.
    pub(crate) fn unblock(self) {
        let _unblocked = self.0.thread_unblock();
    }
}

/// What an earlier image of this program left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) listeners: Vec<LeftSocket>,
    /// Its state, for `Server::take_over`.
    pub(crate) state: BufReader<File>,
    pub(crate) connections: Vec<OwnedFd>,
}

/// Takes what an earlier image left; `None`: there is none. To be called before anything else is opened, and once the log goes.
///
/// # Errors
///
/// It left something that cannot be had.
pub(crate) fn receive() -> Result<Option<Left>, Unreceived> {
    if env::var(VARIABLE).ok().and_then(|format| format.parse().ok()) != Some(FORMAT) {
        return Ok(None);
    }
    let Some(passage) = inherited::passage() else { return Ok(None) };
    let mut sockets: VecDeque<OwnedFd> = received(&passage)?.into();
    let (Some(memory), Some(more)) = (sockets.pop_front(), sockets.pop_front()) else {
        return Err(Unreceived::State(Corrupt));
    };
    // Sockets in sockets, since one does not hold as many messages as there may be.
    for full in received(&more)? {
        sockets.extend(received(&full)?);
    }
    let mut state = BufReader::new(File::from(memory));
    state.rewind().map_err(Unreceived::Io)?;
    let mut start_len = [0; size_of::<u64>()];
    state.read_exact(&mut start_len).map_err(Unreceived::Io)?;
    let mut start = Vec::new();
    let start_len = u64::from_le_bytes(start_len);
    state.by_ref().take(start_len).read_to_end(&mut start).map_err(Unreceived::Io)?;
    let mut from = Reader::new(&start);
    logs::go_on(Dropped::restore(&mut from).map_err(Unreceived::State)?);
    let known: Vec<(KnownAs, Option<MadeFile>)> =
        Vec::restore(&mut from).map_err(Unreceived::State)?;
    if known.len() > sockets.len() {
        return Err(Unreceived::State(Corrupt));
    }
    let connections = sockets.split_off(known.len()).into();
    let listeners = known.into_iter().zip(sockets);
    let left = |((known_as, file), socket)| LeftSocket { known_as, file, socket };
    let listeners = listeners.map(left).collect();
    Ok(Some(Left { listeners, state, connections }))
}

/// Why what was left cannot be had.
#[derive(Debug)]
pub(crate) enum Unreceived {
    Io(io::Error),
    State(Corrupt),
}

impl fmt::Display for Unreceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => {
                write!(f, "cannot receive what the earlier image handed over: {error}")
            }
            Self::State(error) => error.fmt(f),
        }
    }
}

/// The binary to execute, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Successor {
    /// The file that this program was started by. Whatever is there when the signal comes is executed, so that a new file may
    /// take its place, or a link to it another target.
    pub(crate) fn of_this_program() -> Self {
        let args: Vec<OsString> = env::args_os().collect();
        let running = env::current_exe().unwrap_or_default();
        let first = args.first().map_or(Path::new(""), Path::new);
        let is_path = first.as_os_str().as_bytes().contains(&b'/');
        let dirs = env::var_os("PATH").filter(|_| !is_path).unwrap_or_default();
        let in_dirs = env::split_paths(&dirs).map(|dir| dir.join(first));
        let named = is_path.then(|| first.to_owned()).into_iter().chain(in_dirs);
        let is_it = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == running);
        // An absolute path outlives a change of directory; a link in it stays one.
        let path = named.filter_map(|path| path::absolute(path).ok()).find(is_it);
        Self { path: path.unwrap_or_else(|| without_mark(&running)), args }
    }

    /// From here on SIGUSR2 restarts the server that `remote` is for. `keeps`: why it must not.
    ///
    /// # Errors
    ///
    /// The signal could not be had, or the thread.
    pub(crate) fn await_signal(
        &self,
        remote: Remote,
        keeps: Option<&'static str>,
    ) -> io::Result<()> {
        let (mut woken, waker) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGUSR2, waker)?;
        let this = self.clone();
        thread::Builder::new().name("restart".into()).spawn(move || {
            // A byte for each signal; those that come while one is obeyed are one.
            while woken.read(&mut [0; 64]).is_ok_and(|len| len > 0) {
                match keeps.map_or_else(|| this.prove(), |why| Err(Unfit::Kept(why))) {
                    Ok(()) => remote.hand_over(),
                    Err(why) => this.complain(&why),
                }
            }
        })?;
        Ok(())
    }

    fn complain(&self, why: &impl fmt::Display) {
        tracing::error!(binary = %self.path.display(), "not restarted, and all goes on: {why}");
    }

    /// Has the new binary check what it would be given, and say that it knows this format.
    fn prove(&self) -> Result<(), Unfit> {
        let mut command = Command::new(&self.path);
        command.arg("check").args(self.args.iter().skip(1)).env(VARIABLE, ASKED);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Unfit::NotExecuted)?;
        await_end(&mut child).ok_or(Unfit::Silent)?;
        let output = child.wait_with_output().map_err(Unfit::NotExecuted)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Unfit::Refuses(
                said.lines().next().unwrap_or("it says nothing").to_owned(),
            ));
        }
        let knows = answer();
        let said = String::from_utf8_lossy(&output.stdout);
        if said.lines().any(|line| line == knows) { Ok(()) } else { Err(Unfit::Format) }
    }

    /// Executes the new binary in place of this one. Returns if that failed, and nothing has changed then.
    pub(crate) fn execute(&self, server: &Server<Hub>, known: &[KnownAs]) {
        if let Err(error) = self.try_to_execute(server, known) {
            self.complain(&error);
        }
    }

    fn try_to_execute(&self, server: &Server<Hub>, known: &[KnownAs]) -> io::Result<()> {
        let log_dropped = logs::finish_before_successor();
        let mut memory = BufWriter::new(memory_file()?);
        let files = server.made_files();
        let known: Vec<_> = known.iter().cloned().zip(files).collect();
        let mut start = Writer::new();
        log_dropped.save(&mut start);
        known.save(&mut start);
        memory.write_all(&(start.bytes().len() as u64).to_le_bytes())?;
        memory.write_all(start.bytes())?;
        let handed = server.hand_over(&mut memory)?;
        let memory = memory.into_inner()?;

        let sockets: Vec<_> = handed.listeners.into_iter().chain(handed.connections).collect();
        let full: Vec<OwnedFd> =
            sockets.chunks(PER_PASSAGE).map(filled).collect::<io::Result<_>>()?;
        let full: Vec<BorrowedFd<'_>> = full.iter().map(OwnedFd::as_fd).collect();
        let more = filled(&full)?;
        let passage = filled(&[memory.as_fd(), more.as_fd()])?;
        rustix::io::fcntl_setfd(&passage, FdFlags::empty())?;

        let c_string = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(io::Error::other);
        let path = c_string(self.path.as_os_str())?;
        let args = self.args.iter().map(|arg| c_string(arg)).collect::<io::Result<Vec<_>>>()?;
        let variables = variables(passage.as_raw_fd());
        let variables = variables.map(|it| c_string(&it)).collect::<io::Result<Vec<_>>>()?;
        match nix::unistd::execve(&path, &args, &variables) {
            Ok(never) => match never {},
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What `check` says in addition, if it is asked.
pub(crate) fn answer_if_asked() -> Option<String> {
    env::var_os(VARIABLE).is_some_and(|asked| asked == ASKED).then(answer)
}

fn answer() -> String {
    format!("takes over format {FORMAT}")
}

const ASKED: &str = "check";

/// This environment, and what has the new image find the socket.
fn variables(passage: i32) -> impl Iterator<Item = OsString> {
    let set = [
        (VARIABLE, FORMAT.to_string()),
        ("LISTEN_PID", std::process::id().to_string()),
        ("LISTEN_FDS", "1".to_owned()),
        ("LISTEN_FDS_FIRST_FD", passage.to_string()),
    ];
    let kept: Vec<_> =
        env::vars_os().filter(|(name, _)| set.iter().all(|(it, _)| name != it)).collect();
    let set = set.into_iter().map(|(name, value)| (name.into(), value.into()));
    kept.into_iter().chain(set).map(|(name, value): (OsString, OsString)| {
        [name.as_os_str(), value.as_os_str()].join(OsStr::new("="))
    })
}

/// Where the file of a running program was, if another has taken its place (proc_pid_exe(5)).
fn without_mark(running: &Path) -> PathBuf {
    let bytes = running.as_os_str().as_bytes();
    let path = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    OsString::from_vec(path.to_vec()).into()
}

/// Waits for a child that has a few seconds; `None`: it was ended.
fn await_end(child: &mut Child) -> Option<()> {
    for _ in 0..CHECK_LOOKS_MAX {
        match child.try_wait() {
            Ok(Some(_)) | Err(_) => return Some(()),
            Ok(None) => thread::sleep(CHECK_LOOK),
        }
    }
    let _gone = child.kill();
    let _reaped = child.wait();
    None
}

const CHECK_LOOK: Duration = Duration::from_millis(5);
const CHECK_LOOKS_MAX: u32 = 2000;

/// Why the new binary is not executed. The texts say what to do.
#[derive(Debug)]
enum Unfit {
    /// For what this server does.
    Kept(&'static str),
    NotExecuted(io::Error),
    Refuses(String),
    Silent,
    Format,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(why) => f.write_str(why),
            Self::NotExecuted(error) => {
                write!(f, "it cannot be executed ({error}); put a wsfast for this machine there")
            }
            Self::Refuses(said) => {
                let said = said.strip_prefix("wsfast: ").unwrap_or(said);
                write!(f, "its check failed; correct this and send SIGUSR2 again: {said}")
            }
            Self::Silent => f.write_str("its check does not end; put a wsfast there"),
            Self::Format => write!(
                f,
                "it does not take over format {FORMAT} of the connections' state; stop and start the server for this version"
            ),
        }
    }
}

/// A file in memory, that this process alone has.
#[cfg(target_os = "linux")]
fn memory_file() -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Ok(rustix::fs::memfd_create("wsfast state", flags)?.into())
}

/// Elsewhere there is none.
#[cfg(not(target_os = "linux"))]
fn memory_file() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The end of a socket in which these descriptors wait.
fn filled(descriptors: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let (from, to) = UnixStream::pair()?;
    // One that is full is an error.
    from.set_nonblocking(true)?;
    for some in descriptors.chunks(PER_MESSAGE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let has_room = control.push(SendAncillaryMessage::ScmRights(some));
        debug_assert!(has_room);
        // A message has a byte at least.
        sendmsg(&from, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    }
    Ok(to.into())
}

/// All descriptors that wait in a socket whose other end is closed.
fn received(socket: &OwnedFd) -> Result<Vec<OwnedFd>, Unreceived> {
    let mut descriptors = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let message = recvmsg(socket, &mut bytes, &mut control, CLOSED_ON_EXEC)
            .map_err(|errno| Unreceived::Io(errno.into()))?;
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Unreceived::Io(rustix::io::Errno::MFILE.into()));
        }
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = part {
                descriptors.extend(some);
            }
        }
        if message.bytes == 0 {
            return Ok(descriptors);
        }
    }
}

#[cfg(target_os = "linux")]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Descriptors of one message: SCM_MAX_FD.
const PER_MESSAGE: usize = 253;

/// Descriptors of one socket: as many messages as fit a buffer of the usual size with much room to spare.
const PER_PASSAGE: usize = 100 * PER_MESSAGE;

/// Why a server that reads standard input stays.
pub(crate) const READS_STDIN: &str = "lines of --stdin that were read and not published yet would be lost; stop and start it instead";
