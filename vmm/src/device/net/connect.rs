//! The way of a card's frames on the host: opened for a run, or only looked at.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use devices::net::Peer;
use devices::net::tap::{TapError, TapPeer};

use super::{Carrier, Net, bridge, passt};
use crate::device::{Purpose, Spec as _};

/// Why there is no way, and what to do about it.
pub(super) type Trouble = (String, Option<String>);

impl Net {
    /// Opens the way of the frames, or only looks whether that is likely to work.
    pub(super) fn connect(&self, purpose: Purpose) -> Result<Option<Connection>, Trouble> {
        match &self.carrier {
            Carrier::User { forward, host_loopback, dns } => {
                let passt = passt::Passt::find(self, forward, *host_loopback, dns)?;
                if purpose == Purpose::Look {
                    return Ok(None);
                }
                let started = passt.start_and_settle(&self.section().to_string());
                let (peer, child) = started.map_err(|why| (why, None))?;
                Ok(Some(Connection { peer, passt: Some((passt, child)) }))
            }
            Carrier::Tap(name) if purpose == Purpose::Look => look_at_tap(name).map(|()| None),
            Carrier::Tap(name) => {
                look_at_tap(name)?;
                tap(TapPeer::attach(name), name).map(Some)
            }
            Carrier::Bridge(name) => bridge::find(name).and_then(|helper| match purpose {
                Purpose::Look => Ok(None),
                Purpose::Run => {
                    let descriptor = helper.port()?;
                    tap(TapPeer::from_descriptor(descriptor), name).map(Some)
                }
            }),
            // The descriptor is for the machine, which another process may be.
            Carrier::Fd(_) if purpose == Purpose::Look => Ok(None),
            Carrier::Fd(fd) => {
                let descriptor = inherited(*fd).map_err(|error| {
                    let help =
                        "start the program with the descriptor open: `optimus-vmm run vm.toml 3<>/dev/tap5`";
                    (format!("descriptor {fd} cannot be used: {error}"), Some(help.into()))
                })?;
                tap(TapPeer::from_descriptor(descriptor), "").map(Some)
            }
        }
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

/// Whether there is such a TAP interface. One that the kernel made for us would be down, and connected to nothing.
fn look_at_tap(name: &str) -> Result<(), Trouble> {
    let folder = Path::new("/sys/class/net").join(name);
    if !folder.exists() {
        return Err(missing_tap(name));
    }
    if !folder.join("tun_flags").exists() {
        return Err((format!("{name} is an interface of the host, but not a TAP interface"), None));
    }
    Ok(())
}

fn missing_tap(name: &str) -> Trouble {
    (
        format!("the host has no interface {name}"),
        Some(format!(
            "`sudo ip tuntap add {name} mode tap user $USER vnet_hdr && sudo ip link set {name} up` makes it, until the next \
             start of the host"
        )),
    )
}

/// Words for what can go wrong with a TAP interface.
fn tap(peer: Result<TapPeer, TapError>, name: &str) -> Result<Connection, Trouble> {
    peer.map(|peer| Connection { peer: Box::new(peer), passt: None }).map_err(|error| match &error {
        TapError::Forbidden { name, .. } => (
            format!("the interface {name} belongs to another user"),
            Some(format!(
                "`sudo ip tuntap add {name} mode tap user $USER vnet_hdr` makes one for you, after `sudo ip link del {name}`"
            )),
        ),
        TapError::Kind { .. } => (
            error.to_string(),
            Some(format!("`ip -d tuntap` shows what {name} is; `multi_queue` must not be among its flags")),
        ),
        _ => (error.to_string(), None),
    })
}

/// An open way for frames.
pub(super) struct Connection {
    /// What carries the frames.
    pub(super) peer: Box<dyn Peer>,
    /// passt, which runs.
    pub(super) passt: Option<(passt::Passt, std::process::Child)>,
}
