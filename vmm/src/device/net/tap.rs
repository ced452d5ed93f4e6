//! TAP interfaces by their names: one that the administrator has made for this user, or one that is made for the time of the run, by whoever
//! may.

use std::path::{Path, PathBuf};

use devices::net::tap::{Attach, TapError, TapPeer};
use libc::IFF_MULTI_QUEUE;

use super::connect::Trouble;
use super::{Net, interface};
use crate::device::Spec as _;

/// An interface that can be attached to, or made.
#[derive(Debug)]
pub(super) struct Way<'a> {
    attach: Attach<'a>,
    exists: bool,
}

/// What the host has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// An interface of another kind.
    Other,
    Tap {
        multi_queue: bool,
        /// Somebody has it open.
        used: bool,
    },
}

/// What sysfs says of the interface with this folder.
fn look(folder: &Path) -> Found {
    if !folder.exists() {
        return Found::Nothing;
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let flags = read("tun_flags");
    let Ok(flags) = i32::from_str_radix(flags.trim().trim_start_matches("0x"), 16) else {
        return Found::Other;
    };
    // A TAP interface has a carrier while somebody has it open; one that is down does not say.
    Found::Tap { multi_queue: flags & IFF_MULTI_QUEUE != 0, used: read("carrier").trim() == "1" }
}

/// Looks for the interface `name`, for a card with so many pairs of queues.
pub(super) fn find(name: &str, queues: u16) -> Result<Way<'_>, Trouble> {
    let folder = PathBuf::from("/sys/class/net").join(name);
    choose(name, queues, look(&folder), interface::may_administer())
}

fn choose(name: &str, queues: u16, found: Found, may_make: bool) -> Result<Way<'_>, Trouble> {
    let attach = |multi_queue| Attach { name, queues, multi_queue };
    match found {
        Found::Nothing if may_make => Ok(Way { attach: attach(queues > 1), exists: false }),
        Found::Nothing => Err((
            format!("the host has no interface {name}"),
            Some(format!("{} makes it, until the next start of the host", how_to_make(name, queues))),
        )),
        Found::Other => Err((format!("{name} is an interface of the host, but not a TAP interface"), None)),
        Found::Tap { multi_queue: false, .. } if queues > 1 => Err((
            format!("the interface {name} has one pair of queues, and `queues` asks for {queues}"),
            Some(format!(
                "{} makes one of several, after `sudo ip link del {name}`",
                how_to_make(name, queues)
            )),
        )),
        // The kernel would let several programs share its queues, and each would get some of the frames.
        Found::Tap { multi_queue: true, used: true } => Err(trouble(&TapError::Busy(name.into()))),
        Found::Tap { multi_queue, .. } => Ok(Way { attach: attach(multi_queue), exists: true }),
    }
}

fn how_to_make(name: &str, queues: u16) -> String {
    let several = if queues > 1 { " multi_queue" } else { "" };
    format!("`sudo ip tuntap add {name} mode tap user $USER vnet_hdr{several} && sudo ip link set {name} up`")
}

impl Way<'_> {
    /// Attaches to the interface, or makes it.
    pub(super) fn open(&self, net: &Net) -> Result<Vec<TapPeer>, Trouble> {
        let name = self.attach.name;
        let peers = TapPeer::attach(self.attach).map_err(|error| trouble(&error))?;
        if !self.exists {
            let made = interface::Socket::open().and_then(|socket| {
                socket.set_mtu(name, net.mtu.into())?;
                socket.set_up(name)
            });
            made.map_err(|error| (format!("cannot set up the interface {name}: {error}"), None))?;
            tracing::warn!(
                "{}: made the TAP interface {name}, which goes with the machine. It leads nowhere until it has an address or a bridge: \
                 `ip addr add … dev {name}`, `ip link set {name} master …`",
                net.section()
            );
        }
        Ok(peers)
    }
}

/// Words for what can go wrong with a TAP interface.
pub(super) fn trouble(error: &TapError) -> Trouble {
    match error {
        TapError::Forbidden { name, .. } => (
            format!("the interface {name} belongs to another user"),
            Some(format!(
                "`sudo ip tuntap add {name} mode tap user $USER vnet_hdr` makes one for you, after `sudo ip link del {name}`"
            )),
        ),
        TapError::Kind { name, .. } => {
            (error.to_string(), Some(format!("`ip -d tuntap` shows what {name} is")))
        }
        _ => (error.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sysfs_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(look(&path.join("none")), Found::Nothing);
        assert_eq!(look(path), Found::Other);
        // IFF_TAP, IFF_NO_PI, IFF_VNET_HDR and flags of the kernel's own, as Linux 6.12 shows them.
        for (flags, carrier, found) in [
            ("0x5002\n", None, Found::Tap { multi_queue: false, used: false }),
            ("0x5102\n", Some("0\n"), Found::Tap { multi_queue: true, used: false }),
            ("0x5902\n", Some("1\n"), Found::Tap { multi_queue: true, used: true }),
        ] {
            std::fs::write(path.join("tun_flags"), flags).unwrap();
            if let Some(carrier) = carrier {
                std::fs::write(path.join("carrier"), carrier).unwrap();
            }
            assert_eq!(look(path), found, "{flags}");
        }
        assert_eq!(look(Path::new("/sys/class/net/lo")), Found::Other);
    }

    #[test]
    fn an_interface_is_attached_to_or_made_as_the_card_needs_it() {
        let tap = |multi_queue, used| Found::Tap { multi_queue, used };
        for (queues, found, may_make, expected) in [
            (1, tap(false, false), false, Ok((false, true))),
            // Attaching says so.
            (1, tap(false, true), false, Ok((false, true))),
            (1, tap(true, false), false, Ok((true, true))),
            (4, tap(true, false), false, Ok((true, true))),
            (1, Found::Nothing, true, Ok((false, false))),
            (2, Found::Nothing, true, Ok((true, false))),
            (
                4,
                tap(false, false),
                true,
                Err(("has one pair of queues, and `queues` asks for 4", "multi_queue")),
            ),
            (4, tap(true, true), true, Err(("is in use", ""))),
            (1, Found::Nothing, false, Err(("no interface tap7", "ip tuntap add tap7"))),
            (2, Found::Nothing, false, Err(("no interface tap7", "multi_queue"))),
            (1, Found::Other, true, Err(("not a TAP interface", ""))),
        ] {
            let case = format!("{queues} {found:?} {may_make}");
            match (choose("tap7", queues, found, may_make), expected) {
                (Ok(way), Ok((multi_queue, exists))) => {
                    let attach = Attach { name: "tap7", queues, multi_queue };
                    assert_eq!((way.attach, way.exists), (attach, exists), "{case}");
                }
                (Err((why, help)), Err((words, advice))) => {
                    assert!(
                        why.contains(words) && help.unwrap_or_default().contains(advice),
                        "{case}: {why}"
                    );
                }
                (got, expected) => panic!("{case}: {got:?}, not {expected:?}"),
            }
        }
    }
}
