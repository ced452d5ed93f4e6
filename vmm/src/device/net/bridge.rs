//! `qemu-bridge-helper`: the program by which users without rights get a port of a bridge that the administrator has allowed. It makes a
//! TAP interface, adds it to the bridge, and hands its descriptor over through a socket.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::connect::Trouble;
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

/// A bridge, and the program that gives ports of it.
#[derive(Debug)]
pub(super) struct Helper<'a> {
    program: PathBuf,
    bridge: &'a str,
}

/// Looks for both.
pub(super) fn find(bridge: &str) -> Result<Helper<'_>, Trouble> {
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
    let program = PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        let help = "it comes with QEMU: install the package `qemu-system-common` (Debian, Ubuntu), `qemu-common` (Fedora, Arch) or `qemu` \
                    (openSUSE)";
        (format!("qemu-bridge-helper, which gives ports of {bridge}, is not installed"), Some(help.into()))
    })?;
    Ok(Helper { program, bridge })
}

impl Helper<'_> {
    /// A new port of the bridge, which goes away with its descriptor.
    pub(super) fn port(&self) -> Result<OwnedFd, Trouble> {
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
        let (why, _) = find("lo").unwrap_err();
        assert_eq!(why, "lo is an interface of the host, but not a bridge");
        let (why, _) = find("no-such-bridge").unwrap_err();
        assert_eq!(why, "the host has no bridge no-such-bridge");
    }
}
