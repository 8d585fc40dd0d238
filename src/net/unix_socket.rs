//! Unix sockets' files: made with their mode, stale ones replaced, our own removed.
//!
//! Touches no file but a socket that nobody listens on, and the one that it made.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::listener::{BACKLOG, ListenError};

/// A socket's file that we made. Dropping it removes the file, if it still is that one.
///
/// To be dropped before its socket: as long as that is open, no other file gets the inode's number.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: Inode,
}

/// What tells a file from others of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

/// Listens on a socket at `path` that those can connect to whom `mode` lets write.
pub(crate) fn listen(path: &Path, mode: u32) -> Result<(SocketFile, OwnedFd), ListenError> {
    let len = path.as_os_str().as_bytes().len();
    if len > PATH_BYTES_MAX {
        return Err(ListenError::PathTooLong { len, most: PATH_BYTES_MAX });
    }
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.into(), inode: inode_of(&fs::symlink_metadata(path)?) };
    // Before it listens nobody can connect, so there is no moment in which the umask's mode counts.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok((file, socket.into()))
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
        Err(Some(Errno::CONNREFUSED)) => Ok(remove_if_still(path, inode_of(&metadata))?),
        Err(Some(errno @ (Errno::ACCESS | Errno::PERM))) => Err(io::Error::from(errno).into()),
        // It took the connection, would take it later, or is of another type: somebody is there.
        Ok(()) | Err(_) => Err(ListenError::SocketFileInUse),
    }
}

impl SocketFile {
    /// The file of a socket that an earlier image of this program made; `None`: it is gone, or somebody else's.
    pub(crate) fn adopt(path: PathBuf) -> Option<Self> {
        let metadata = fs::symlink_metadata(&path).ok()?;
        metadata.file_type().is_socket().then(|| Self { path, inode: inode_of(&metadata) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = remove_if_still(&self.path, self.inode)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

fn remove_if_still(path: &Path, inode: Inode) -> io::Result<()> {
    if inode_of(&fs::symlink_metadata(path)?) == inode {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn inode_of(metadata: &fs::Metadata) -> Inode {
    Inode { device: metadata.dev(), number: metadata.ino() }
}

/// The kernel's `sun_path`, less the NUL behind the path.
const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
