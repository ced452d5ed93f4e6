//! The master of a `pty` console: pty(7).
//!
//! The master of a pseudoterminal that nobody has open reports a hang-up, without end and without telling
//! when it is over. The opening is seen by inotify(7) on the terminal's file instead.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, inotify};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A new pseudoterminal.
#[derive(Debug)]
pub(super) struct Pty {
    /// Our end, which does not block.
    pub(super) master: Arc<OwnedFd>,
    /// Readable after somebody opened the other end.
    pub(super) opened: OwnedFd,
    path: PathBuf,
}

impl Pty {
    pub(super) fn new() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = PathBuf::from(OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes()));
        // A terminal begins with echo, which would send the guest its own output. Closing it again makes
        // the master report the hang-up until somebody comes.
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let mut modes = tcgetattr(&slave)?;
        modes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        drop(slave);
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let opened = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&opened, &path, inotify::WatchFlags::OPEN)?;
        Ok(Self { master: Arc::new(master), opened, path })
    }

    /// The file of the other end.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
