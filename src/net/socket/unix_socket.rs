//! Unix sockets' files: made with their mode, stale ones replaced, our own removed.
//!
//! ```text
//! one server at a time in a directory:   somebody there? ─► take away what is stale ─► bind, with the mode ─► listen
//! ```
//!
//! A name is anybody's who may write to its directory, and may lead elsewhere with each look. So no mode is ever changed by a name:
//! the file comes into being with its own. And a file is removed only once it lies where nobody else puts one, and is the
//! one that was meant. Touches no file but a socket that nobody listens on, and the one that it made.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::socket::listener::{BACKLOG, ListenError};

/// A socket's file that we made. Dropping it removes the file, if it still is that one.
///
/// To be dropped before its socket: as long as that is open, no other file gets the inode's number.
#[derive(Debug)]
pub(crate) struct SocketFile(MadeFile);

/// The file that was made for a Unix socket, told from others that its path may lead to later. It is that one for as long as
/// the socket is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFile {
    path: PathBuf,
    inode: Inode,
}

/// What tells a file from others of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

saved!(struct MadeFile { path, inode });
saved!(struct Inode { device, number });

/// Listens on a socket at `path` that those can connect to whom `mode` lets write.
pub(crate) fn listen(path: &Path, mode: u32) -> Result<(SocketFile, OwnedFd), ListenError> {
    let len = path.as_os_str().as_bytes().len();
    if len > PATH_BYTES_MAX {
        return Err(ListenError::PathTooLong { len, most: PATH_BYTES_MAX });
    }
    // Until it listens, a socket looks as one does whose server is gone.
    let _alone = lock_directory_of(path);
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    bind(&socket, path, mode)?;
    let inode = Inode::of(&fs::symlink_metadata(path)?);
    let file = SocketFile(MadeFile { path: path.into(), inode });
    socket.listen(BACKLOG)?;
    Ok((file, socket.into()))
}

/// Binds a socket to a path, where its file comes into being with `mode`: the kernel gives it all that the umask does not take
/// away. There is no moment with another mode, and no second look at a name that may lead elsewhere by then.
fn bind(socket: &Socket, path: &Path, mode: u32) -> io::Result<()> {
    /// The umask is the whole process's.
    static UMASK: Mutex<()> = Mutex::new(());
    let addr = SockAddr::unix(path)?;
    let _alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::from_raw_mode(!mode & 0o777));
    let bound = socket.bind(&addr);
    umask(before);
    bound
}

/// Removes the socket that an earlier server left at `path`, and nothing else.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocketFile);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A live server whose backlog is full must not hold us up.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?).map_err(|error| Errno::from_io_error(&error)) {
        // If it is another by now, binding says so.
        Err(Some(Errno::CONNREFUSED)) => Ok(remove_if_still(path, Inode::of(&metadata))?),
        Err(Some(errno @ (Errno::ACCESS | Errno::PERM))) => Err(io::Error::from(errno).into()),
        // It took the connection, would take it later, or is of another type: somebody is there.
        Ok(()) | Err(_) => Err(ListenError::SocketFileInUse),
    }
}

/// Has other servers wait that are about to listen in the same directory; for a while, since anyone who may read it can lock it,
/// and not where that is not possible. It ends with what is returned.
fn lock_directory_of(path: &Path) -> Option<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..LOCK_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_WAIT),
            Err(_) => break,
        }
    }
    None
}

const LOCK_WAIT: Duration = Duration::from_millis(10);
const LOCK_TRIES: u32 = 200;

impl SocketFile {
    /// The file of a socket that an earlier image of this program made; `None`: it is gone, or another is in its place.
    pub(crate) fn adopt(file: MadeFile) -> Option<Self> {
        file.is_there().then_some(Self(file))
    }

    pub(crate) const fn made(&self) -> &MadeFile {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl MadeFile {
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| Inode::of(&metadata) == self.inode)
    }

    /// Removes the file, unless it is gone, or another is in its place. Its socket must still be open.
    pub fn remove(&self) {
        if let Err(error) = remove_if_still(&self.path, self.inode)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

/// Removes the file at `path`, if it is that one.
///
/// Between a look and an unlink another may have come in its place. So it is looked at once more where it is put aside, under a
/// name that nobody else uses.
fn remove_if_still(path: &Path, inode: Inode) -> io::Result<()> {
    if Inode::of(&fs::symlink_metadata(path)?) == inode { take_away(path, inode) } else { Ok(()) }
}

fn take_away(path: &Path, inode: Inode) -> io::Result<()> {
    let chance = RandomState::new().hash_one(inode.number);
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{chance:x}"));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)?;
    if Inode::of(&fs::symlink_metadata(&aside)?) == inode {
        return fs::remove_file(&aside);
    }
    put_back(&aside, path).inspect_err(|error| {
        tracing::warn!(path = %path.display(), at = %aside.display(), %error, "another's file was moved");
    })
}

/// Gives a file its path again, but not over another that came meanwhile.
#[cfg(target_os = "linux")]
fn put_back(aside: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE)?)
}

/// The same for what can have two names.
#[cfg(not(target_os = "linux"))]
fn put_back(aside: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(aside, path)?;
    fs::remove_file(aside)
}

impl Inode {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

/// The kernel's `sun_path`, less the NUL behind the path.
const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Another server's socket, a file, a link and a directory that took the place between a look and the removal.
    #[test]
    fn what_came_between_a_look_and_the_removal_is_put_back() {
        // A short path, that no other run has.
        let dir = PathBuf::from(format!("/tmp/wsfast-{:x}", RandomState::new().hash_one(())));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        let stale = UnixListener::bind(&path).unwrap();
        let inode = Inode::of(&fs::symlink_metadata(&path).unwrap());
        fs::remove_file(&path).unwrap();

        let others: [fn(&Path); 4] = [
            |path| drop(UnixListener::bind(path).unwrap()),
            |path| fs::create_dir(path).unwrap(),
            |path| fs::write(path, "precious").unwrap(),
            |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
        ];
        for put in others {
            put(&path);
            let other = fs::symlink_metadata(&path).unwrap();
            take_away(&path, inode).unwrap();
            assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), other.ino());
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
            match other.is_dir() {
                true => fs::remove_dir(&path).unwrap(),
                false => take_away(&path, Inode::of(&other)).unwrap(),
            }
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        }
        drop(stale);
        fs::remove_dir(&dir).unwrap();
    }
}
