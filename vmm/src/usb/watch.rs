//! Waits until a device comes or goes: nodes below `/dev/bus/usb` do, in a folder for each bus. Until a driver takes one, too.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::server::Shared;
use super::uevents::Uevents;

/// What happens to nodes and folders: a node is made first, and given to its group then.
const CHANGES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::ATTRIB);
/// A node is there before the kernel has chosen a configuration and given its interfaces to drivers, of which it tells nobody here. They are
/// looked at when so long nothing has happened.
const REST: Duration = Duration::from_millis(150);

/// The thread.
pub(super) struct Watch {
    shared: Arc<Shared>,
    /// `/dev/bus/usb`.
    nodes: PathBuf,
    changes: OwnedFd,
    /// Without it, what a driver has taken is found out by the guest's next request.
    uevents: Option<Uevents>,
}

impl Watch {
    pub(super) fn new(shared: Arc<Shared>, nodes: PathBuf) -> io::Result<Self> {
        let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let uevents = Uevents::new()
            .inspect_err(|error| {
                tracing::debug!("cannot listen to what the kernel tells of drivers: {error}")
            })
            .ok();
        let watch = Self { shared, nodes, changes, uevents };
        watch.follow();
        Ok(watch)
    }

    pub(super) fn run(self) {
        // What has come between the start's look and the thread.
        let mut due = Some(Instant::now());
        loop {
            let woken = match self.wait(due) {
                Ok(woken) => woken,
                Err(error) => {
                    tracing::error!(
                        "USB devices that are plugged in no longer come to the guest: cannot wait for them: {error}"
                    );
                    return;
                }
            };
            if self.shared.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Some(uevents) = self.uevents.as_ref().filter(|_| woken.uevents) {
                self.shared.state().check_kept(uevents.taken().as_deref());
            }
            let now = Instant::now();
            if woken.changes {
                self.follow();
                due = Some(now + REST);
            }
            // What has gone is no longer the guest's at once.
            if woken.gone || due.is_some_and(|due| now >= due) {
                let again = self.shared.state().look(now);
                due = due.filter(|due| *due > now).into_iter().chain(again).min();
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self, due: Option<Instant>) -> io::Result<Woken> {
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let fds = [
            Some(self.shared.wake.as_fd()),
            Some(self.changes.as_fd()),
            self.uevents.as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(error.into()),
        }
        let mut told = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = || told.next().unwrap_or(false);
        let (gone, changes, uevents) = (next(), next(), next());
        if gone {
            self.shared.wake.clear();
        }
        if changes {
            // What has changed is found by looking.
            let mut buffer = [0; 4096];
            while rustix::io::read(&self.changes, &mut buffer).is_ok_and(|length| length > 0) {}
        }
        Ok(Woken { gone, changes, uevents })
    }

    /// Watches the folders of all buses, which come with controllers and go with them.
    fn follow(&self) {
        let buses = fs::read_dir(&self.nodes).into_iter().flatten().flatten().map(|entry| entry.path());
        // A bus may come while the folders are read: the folder above is watched first.
        for folder in [self.nodes.clone()].into_iter().chain(buses) {
            // To watch one again changes nothing.
            if let Err(error) = inotify::add_watch(&self.changes, &folder, CHANGES) {
                tracing::debug!("cannot watch {}: {error}", folder.display());
            }
        }
    }
}

/// What has woken the thread.
#[derive(Debug, Clone, Copy, Default)]
struct Woken {
    /// A device has gone, or the machine ends.
    gone: bool,
    /// Nodes have come, gone or changed.
    changes: bool,
    /// The kernel tells of drivers, among other things.
    uevents: bool,
}
