//! Whether the kernel moves a card's frames by itself: as the user wants, and else where it can.

use std::io::ErrorKind;

use devices::net::vhost::{NODE, Vhost, VhostError};
use rustix::fs::Access;

use super::Net;
use super::connect::Refusal;
use crate::device::Spec as _;

/// A worker of the kernel's for each pair of queues; none where frames are to go through this program.
///
/// # Errors
/// The user wants them, and there are none.
pub(super) fn open(net: &Net) -> Result<Vec<Vhost>, Refusal> {
    or_without(net, || (0..net.queues).map(|_| Vhost::open()).collect())
}

/// Whether there would be some. Opening the node would load the kernel's module.
pub(super) fn look(net: &Net) -> Result<(), Refusal> {
    let allowed = || {
        let access = rustix::fs::access(NODE, Access::READ_OK | Access::WRITE_OK);
        access.map_or_else(|error| Err(VhostError::Open(error.into())), |()| Ok(Vec::new()))
    };
    or_without(net, allowed).map(drop)
}

fn or_without(
    net: &Net,
    open: impl FnOnce() -> Result<Vec<Vhost>, VhostError>,
) -> Result<Vec<Vhost>, Refusal> {
    let wanted = match net.vhost {
        Some(false) => return Ok(Vec::new()),
        wanted => wanted == Some(true),
    };
    open().or_else(|error| {
        let help = advice(&error);
        if wanted {
            return Err(Refusal { key: Some("vhost"), why: error.to_string(), help });
        }
        let help = help.map_or(String::new(), |help| format!("; {help}"));
        tracing::warn!(
            "{}: frames go through this program and not the kernel alone, which is slower: {error}{help}; `vhost = false` says that this \
             is wanted",
            net.section()
        );
        Ok(Vec::new())
    })
}

/// What the user can do about it.
fn advice(error: &VhostError) -> Option<String> {
    let VhostError::Open(error) = error else { return None };
    match error.kind() {
        ErrorKind::NotFound => Some("`sudo modprobe vhost_net` loads the kernel's module for it".into()),
        ErrorKind::PermissionDenied => Some(format!(
            "`ls -l {NODE}` shows the group that may use it, which `sudo usermod -aG kvm $USER` makes you a member of where that is kvm"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_about_what_is_wrong() {
        let open = |number| VhostError::Open(std::io::Error::from_raw_os_error(number));
        assert!(advice(&open(libc::ENOENT)).is_some_and(|help| help.contains("modprobe vhost_net")));
        assert!(advice(&open(libc::EACCES)).is_some_and(|help| help.contains("usermod")));
        assert_eq!(advice(&open(libc::EMFILE)), None);
        assert_eq!(advice(&VhostError::Lacks(1)), None);
    }
}
