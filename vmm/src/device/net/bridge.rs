//! A port of a bridge. A process that may make interfaces makes one itself; users without that right get one from `qemu-bridge-helper`, the
//! program by which an administrator has allowed them a bridge: it makes a TAP interface, adds it to the bridge, and hands its
//! descriptor over through a socket.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use devices::net::tap::{Attach, TapPeer};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::connect::Trouble;
use super::{interface, tap};
use crate::programs;

/// Where distributions have it, and NixOS with the right to use it.
pub(crate) const PLACES: [&str; 4] = [
    "/run/wrappers/bin/qemu-bridge-helper",
    "/usr/lib/qemu/qemu-bridge-helper",
    "/usr/libexec/qemu-bridge-helper",
    "/usr/lib/qemu-bridge-helper",
];
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a port that is made here is called, with a number that the kernel chooses.
const PORT: &str = "optimus%d";

/// A bridge, and how to get a port of it.
#[derive(Debug)]
pub(super) enum Way<'a> {
    /// By our own right, with so many pairs of queues.
    Own { bridge: &'a str, queues: u16 },
    /// By QEMU's program.
    Helper(Helper<'a>),
}

/// A bridge, and the program that gives ports of it.
#[derive(Debug)]
pub(super) struct Helper<'a> {
    program: PathBuf,
    bridge: &'a str,
}

/// Looks for the bridge, and for a way to a port of it.
pub(super) fn find(bridge: &str, queues: u16) -> Result<Way<'_>, Trouble> {
    let folder = Path::new("/sys/class/net").join(bridge);
    if !folder.join("bridge").exists() {
        let message = if folder.exists() {
            format!("{bridge} is an interface of the host, but not a bridge")
        } else {
            format!("the host has no bridge {bridge}")
        };
        let help = "`ip link show type bridge` lists them. A wireless interface cannot be part of one: `backend = \"user\"` works on any";
        return Err((message, Some(help.into())));
    }
    if interface::may_administer() {
        return Ok(Way::Own { bridge, queues });
    }
    by_helper(bridge, queues)
}

/// The way of a user without rights.
fn by_helper(bridge: &str, queues: u16) -> Result<Way<'_>, Trouble> {
    if queues > 1 {
        let help = format!(
            "leave `queues` out, or use `backend = \"tap\"` with a port of {bridge} that was made with `multi_queue`; with the right \
             CAP_NET_ADMIN, this program makes one itself"
        );
        return Err(("qemu-bridge-helper makes ports of one pair of queues".into(), Some(help)));
    }
    let program = PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        let help = "it comes with QEMU: install the package `qemu-system-common` (Debian, Ubuntu), `qemu-common` (Fedora, Arch) or `qemu` \
                    (openSUSE)";
        (format!("qemu-bridge-helper, which gives ports of {bridge}, is not installed"), Some(help.into()))
    })?;
    Ok(Way::Helper(Helper { program, bridge }))
}

impl Way<'_> {
    /// A new port of the bridge, which goes away with its descriptors.
    pub(super) fn open(&self) -> Result<Vec<TapPeer>, Trouble> {
        match self {
            Self::Own { bridge, queues } => make_port(bridge, *queues),
            Self::Helper(helper) => {
                let peer = TapPeer::from_descriptor(helper.port()?);
                Ok(vec![peer.map_err(|error| tap::trouble(&error))?])
            }
        }
    }
}

/// Makes a TAP interface and adds it to the bridge.
fn make_port(bridge: &str, queues: u16) -> Result<Vec<TapPeer>, Trouble> {
    let attach = Attach { name: PORT, queues, multi_queue: queues > 1 };
    let peers = TapPeer::attach(attach).map_err(|error| tap::trouble(&error))?;
    let Some(name) = peers.first().map(TapPeer::name) else { return Ok(peers) };
    let joined = interface::Socket::open().and_then(|socket| {
        // A port with shorter packets would shorten the bridge's.
        socket.set_mtu(name, socket.mtu(bridge)?)?;
        socket.raise_address(name)?;
        socket.join(bridge, name)?;
        socket.set_up(name)
    });
    joined.map_err(|error| (format!("cannot make a port of {bridge}: {error}"), None))?;
    Ok(peers)
}

impl Helper<'_> {
    /// The descriptor of a new port of the bridge.
    fn port(&self) -> Result<OwnedFd, Trouble> {
        let failed =
            |error: std::io::Error| (format!("cannot run {}: {error}", self.program.display()), None);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut child = programs::command(&self.program)
            .args(["--use-vnet", "--fd=0", &format!("--br={}", self.bridge)])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let received = receive(&ours);
        if received.is_err() {
            // It has had its time.
            let _ = child.kill();
        }
        let output = child.wait_with_output().map_err(failed)?;
        match received {
            Ok(Some(descriptor)) if output.status.success() => Ok(descriptor),
            _ => Err(self.refused(&String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Why the program gives none.
    fn refused(&self, said: &str) -> Trouble {
        let (program, bridge) = (self.program.display(), self.bridge);
        let said = said.trim();
        let help = if said.contains("denied by acl") || said.contains("failed to parse default acl") {
            format!("`echo 'allow {bridge}' | sudo tee -a /etc/qemu/bridge.conf` allows it for all users")
        } else {
            format!(
                "it needs rights of its own: `sudo setcap cap_net_admin+ep {program}`, or `sudo chmod u+s {program}`"
            )
        };
        let said = if said.is_empty() { "it says nothing" } else { said };
        (format!("{program} gives no port of {bridge}: {said}"), Some(help))
    }
}

/// The descriptor that comes through `socket`; none when it is closed without.
fn receive(socket: &UnixStream) -> std::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptors.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_helper_says_becomes_advice() {
        let helper = Helper { program: "/usr/lib/qemu/qemu-bridge-helper".into(), bridge: "br0" };
        for (said, message, advice) in [
            ("access denied by acl file", "access denied by acl file", "allow br0"),
            (
                "failed to create tun device: Operation not permitted",
                "Operation not permitted",
                "setcap cap_net_admin+ep",
            ),
            ("", "it says nothing", "setcap"),
        ] {
            let (why, help) = helper.refused(said);
            assert!(
                why.contains(message) && help.as_ref().is_some_and(|help| help.contains(advice)),
                "{why} {help:?}"
            );
        }
    }

    #[test]
    fn an_interface_is_no_bridge() {
        let (why, _) = find("lo", 1).unwrap_err();
        assert_eq!(why, "lo is an interface of the host, but not a bridge");
        let (why, _) = find("no-such-bridge", 1).unwrap_err();
        assert_eq!(why, "the host has no bridge no-such-bridge");
        let (why, help) = by_helper("br0", 2).unwrap_err();
        assert_eq!(why, "qemu-bridge-helper makes ports of one pair of queues");
        assert!(help.is_some_and(|help| help.contains("multi_queue")));
    }
}
