//! The way of a card's frames on the host: opened for a run, or only looked at.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use devices::net::Peer;
use devices::net::tap::{Counters, TapPeer};

use super::{Carrier, Net, bridge, passt, tap, vhost};
use crate::device::{Purpose, Spec as _};

/// Why there is no way, and what to do about it.
pub(super) type Trouble = (String, Option<String>);

/// The same, with the key that asks for it, if that is not the one that names what carries the frames.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) key: Option<&'static str>,
    pub(super) why: String,
    pub(super) help: Option<String>,
}

impl From<Trouble> for Refusal {
    fn from((why, help): Trouble) -> Self {
        Self { key: None, why, help }
    }
}

impl Net {
    /// Opens the way of the frames, or only looks whether that is likely to work.
    pub(super) fn connect(&self, purpose: Purpose) -> Result<Option<Connection>, Refusal> {
        let look = purpose == Purpose::Look;
        let peers = match &self.carrier {
            Carrier::User { forward, host_loopback, dns } => {
                let passt = passt::Passt::find(self, forward, *host_loopback, dns)?;
                if look {
                    return Ok(None);
                }
                let started = passt.start_and_settle(&self.section().to_string());
                let (peer, child) = started.map_err(|why| (why, None))?;
                let passt = Some((passt, child));
                return Ok(Some(Connection { peers: vec![peer], counters: None, passt }));
            }
            Carrier::Tap(name) => {
                let way = tap::find(name, self.queues)?;
                if look { Vec::new() } else { way.open(self)? }
            }
            Carrier::Bridge(name) => {
                let way = bridge::find(name, self.queues)?;
                if look { Vec::new() } else { way.open()? }
            }
            // The descriptor is for the machine, which another process may be.
            Carrier::Fd(_) if look => Vec::new(),
            Carrier::Fd(fd) => {
                let descriptor = inherited(*fd).map_err(|error| {
                    let help =
                        "start the program with the descriptor open: `optimus-vmm run vm.toml 3<>/dev/tap5`";
                    (format!("descriptor {fd} cannot be used: {error}"), Some(help.into()))
                })?;
                vec![TapPeer::from_descriptor(descriptor).map_err(|error| tap::trouble(&error))?]
            }
        };
        if look {
            return vhost::look(self).map(|()| None);
        }
        let workers = vhost::open(self)?;
        // Frames that the kernel moves are counted by it.
        let name = peers.first().map(TapPeer::name);
        let counters = name.filter(|_| !workers.is_empty()).and_then(Counters::of_interface);
        let mut workers = workers.into_iter();
        let peers = peers.into_iter().map(|peer| match workers.next() {
            Some(worker) => Box::new(peer.with_vhost(worker)) as Box<dyn Peer>,
            None => Box::new(peer),
        });
        Ok(Some(Connection { peers: peers.collect(), counters, passt: None }))
    }
}

/// A descriptor of our own for what the process has inherited as `fd`.
fn inherited(fd: u32) -> std::io::Result<OwnedFd> {
    // This program may have it for something else; a copy hurts nobody.
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"))
        .map_err(|_| std::io::Error::other("it is not open"))?;
    if !matches!(link.to_str(), Some("/dev/net/tun")) && !link.starts_with("/dev/tap") && !macvtap(&link) {
        return Err(std::io::Error::other(format!("it is {}, not a TAP interface", link.display())));
    }
    duplicate(fd)
}

/// The node of a macvtap interface: `/dev/tap` and a number.
fn macvtap(link: &Path) -> bool {
    link.to_str()
        .and_then(|link| link.strip_prefix("/dev/tap"))
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// A copy of an open descriptor.
#[allow(unsafe_code, reason = "a descriptor that the process has inherited has no owner yet")]
fn duplicate(fd: u32) -> std::io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    // SAFETY: fcntl(2) with F_DUPFD_CLOEXEC takes any number, and fails for one that is not open.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // Programs that are started later do not inherit it once more.
    // SAFETY: fcntl(2) with F_SETFD changes a flag of a descriptor that is open, and nothing else.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the copy was just made, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// An open way for frames.
pub(super) struct Connection {
    /// What carries the frames, for each pair of queues.
    pub(super) peers: Vec<Box<dyn Peer>>,
    /// The kernel's counters, where it moves frames.
    pub(super) counters: Option<Counters>,
    /// passt, which runs.
    pub(super) passt: Option<(passt::Passt, std::process::Child)>,
}
