//! Listening unix sockets of the file system that are private to the user: unix(7). A console or the control socket is behind
//! each.
#![allow(unsafe_code, reason = "the credentials of a peer are read into a structure of C")]

mod acceptor;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use firmware::new_file::may_make;
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

pub(crate) use acceptor::{Acceptor, EXHAUSTED};

/// A socket of the file system that only its owner can connect to. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file, to remove no other.
    file: Option<(u64, u64)>,
}

impl Listener {
    /// Makes the socket, in place of one that a program left behind. `waiting` clients may wait to be accepted.
    ///
    /// # Errors
    ///
    /// The path is too long, or something else is there: `AddrInUse` when that is a socket that somebody listens at, or no
    /// socket.
    pub(crate) fn bind(path: &Path, waiting: i32) -> io::Result<Self> {
        let address = address_of(path)?;
        remove_stale(path, &address)?;
        let socket = new_socket(SocketType::STREAM)?;
        // The file gets these permissions when it is made: there is no moment with others.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &address)?;
        let file = fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let this = Self { socket, path: path.into(), file };
        listen(&this.socket, waiting)?;
        Ok(this)
    }

    /// Whether [`Self::bind`] would succeed, as far as that can be known without making or removing anything.
    ///
    /// # Errors
    ///
    /// As of [`Self::bind`].
    pub(crate) fn look(path: &Path) -> io::Result<()> {
        is_stale(path, &address_of(path)?)?;
        may_make(path)
    }

    /// The next client, whose socket does not block.
    pub(crate) fn accept(&self) -> io::Result<OwnedFd> {
        Ok(accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
    }
}

/// The process at the other end of a connected socket, as it was when it connected: `SO_PEERCRED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its user.
    pub(crate) user: u32,
    /// Its number; 0 if it is in a PID namespace that this process cannot see.
    pub(crate) process: i32,
}

/// Who is at the other end of `socket`.
pub(crate) fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes to the structure, any of which are a value of it; both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { user: credentials.uid, process: credentials.pid })
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok().map(|file| (file.dev(), file.ino()));
        if now.is_some() && now == self.file {
            // It does not matter if somebody else was faster.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn new_socket(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

fn address_of(path: &Path) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is too long for a socket, which can have 107 bytes",
        ),
        error => error.into(),
    })
}

/// Removes a socket that a program left behind, and nothing else.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    if !is_stale(path, address)? {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is a socket that a program left behind. Anything else there is an error.
fn is_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<bool> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return refuse("there is a file that is no socket; remove it or choose another path");
        }
        Ok(_) => {}
    }
    match knock(address)? {
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ACCESS) => refuse("the socket there belongs to somebody else; choose another path"),
        Ok(()) | Err(_) => refuse("another program listens there, perhaps this machine is already running"),
    }
}

/// Finds out whether somebody listens at a stream socket, without disturbing them: a datagram socket cannot connect to one,
/// and the kernel looks for a live one before it compares the types.
fn knock(address: &SocketAddrUnix) -> io::Result<Result<(), Errno>> {
    Ok(connect(new_socket(SocketType::DGRAM)?, address))
}

/// Whether somebody listens at the stream socket at `path`, or it cannot be found out.
pub(crate) fn is_live(path: &Path) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    !matches!(knock(&address), Ok(Err(Errno::CONNREFUSED | Errno::NOENT | Errno::NOTDIR)))
}
