//! Whether the host itself needs what a function provides: a mounted disk, swap, the way to the network, the screen.
//!
//! Sources: `/proc/self/mountinfo` and `/proc/swaps` (proc(5)), `holders/` of block devices and `upper_*` of network
//! interfaces in sysfs, `/sys/fs/btrfs`, exclusive opening of block devices (open(2)), `/proc/net/route` and
//! `/proc/net/ipv6_route`.

use std::collections::BTreeSet;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use vocabulary::HostPciAddress;

use super::files::names;
use super::nodes::Belongings;
use super::{Holders, HostFiles};

/// Why a function must not be taken from the host's driver now. Each message ends with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// Processes hold it.
    #[error("{holders}: {}", holders.cure())]
    Held {
        /// The processes.
        holders: Holders,
    },
    /// A file system of it is mounted.
    #[error("/dev/{device} is mounted on {mount_point}: `sudo umount {mount_point}`")]
    Mounted {
        /// The block device with the file system: the function's own, or one that is made from it.
        device: String,
        /// Where.
        mount_point: String,
    },
    /// The host swaps to it.
    #[error("the host swaps to /dev/{device}: `sudo swapoff /dev/{device}`")]
    Swap {
        /// The block device.
        device: String,
    },
    /// Another block device is made from it.
    #[error(
        "/dev/{upper} (LVM, encryption or RAID) is made from /dev/{device}: close it with `sudo vgchange -an`, \
         `sudo cryptsetup close` or `sudo mdadm --stop`"
    )]
    Stacked {
        /// The function's block device.
        device: String,
        /// What is made from it.
        upper: String,
    },
    /// It is one of several devices of a file system that is mounted, of which the list of mounts names another.
    #[error(
        "/dev/{device} is part of a btrfs of several devices that is mounted: `findmnt -t btrfs` lists them; unmount it, or take the \
         device out of it with `sudo btrfs device remove`"
    )]
    Member {
        /// The block device.
        device: String,
    },
    /// The kernel or a program has opened it for itself alone.
    #[error(
        "the kernel has /dev/{device} in use: unmount what is on it, and end what has it open \
         (`sudo fuser -vm /dev/{device}` lists programs)"
    )]
    Exclusive {
        /// The block device.
        device: String,
    },
    /// The host reaches the network through it.
    #[error(
        "the host's default route goes through {interface}: use another interface for the host first, or take it down \
         with `sudo ip link set {interface} down`"
    )]
    DefaultRoute {
        /// The interface.
        interface: String,
    },
    /// It has virtual functions.
    #[error(
        "{count} virtual functions are made from it and would be lost: `echo 0 | sudo tee \
         /sys/bus/pci/devices/{address}/sriov_numvfs`"
    )]
    VirtualFunctions {
        /// The function.
        address: HostPciAddress,
        /// How many.
        count: u32,
    },
}

/// Which routes lead through a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Routes {
    /// None.
    None,
    /// Some, but not the default one.
    Some,
    /// The default route.
    Default,
}

impl HostFiles {
    /// What the host uses the function for, as far as that stands against taking it.
    pub(crate) fn uses(&self, address: HostPciAddress) -> Vec<InUse> {
        let mut uses = Vec::new();
        let count = self.virtual_count(address);
        if count > 0 {
            uses.push(InUse::VirtualFunctions { address, count });
        }
        let belongings = Belongings::of(self, address);
        uses.extend(belongings.blocks.iter().filter_map(|device| self.use_of_block(device)));
        uses.extend(
            belongings.interfaces.iter().filter_map(|interface| self.use_of_interface(address, interface)),
        );
        let holders = self.holders_of(&belongings.nodes);
        if !holders.found.is_empty() {
            uses.push(InUse::Held { holders });
        } else if holders.unseen > 0 && uses.is_empty() {
            tracing::warn!("{address}: {holders}, which may hold the device");
        }
        uses
    }

    /// Taking the screen's only GPU is what some users want; they should know what will happen.
    pub(super) fn warn_of_the_screen(&self, address: HostPciAddress) {
        if self.attribute(address, "boot_vga").is_ok_and(|boot| boot == "1") {
            tracing::warn!(
                "{address} is the host's primary display: its screen stays dark while the machine runs, and the \
                 firmware's framebuffer may keep its memory busy (if so, boot the host with `video=efifb:off` or \
                 `initcall_blacklist=sysfb_init`)"
            );
        }
    }

    /// What has to end first.
    pub(super) fn use_of_block(&self, device: &str) -> Option<InUse> {
        let uppers = self.above(device, |name| format!("sys/class/block/{name}/holders"), |name| Some(name));
        for used in std::iter::once(device).chain(uppers.iter().map(String::as_str)) {
            if let Some(mount_point) = self.mount_point(used) {
                return Some(InUse::Mounted { device: used.into(), mount_point });
            }
            if self.is_of_btrfs(used) {
                return Some(InUse::Member { device: used.into() });
            }
            let swaps = self.text("proc/swaps").unwrap_or_default();
            if swaps.lines().any(|line| line.split_whitespace().next() == Some(&format!("/dev/{used}"))) {
                return Some(InUse::Swap { device: used.into() });
            }
        }
        let upper = uppers.into_iter().next()?;
        Some(InUse::Stacked { device: device.into(), upper })
    }

    /// Whether it is a device of a btrfs that is mounted.
    fn is_of_btrfs(&self, device: &str) -> bool {
        let systems = self.names("sys/fs/btrfs");
        systems.iter().any(|id| self.path(format!("sys/fs/btrfs/{id}/devices/{device}")).exists())
    }

    /// Whether the kernel, for a file system or otherwise, or a process has a block device for itself alone: nobody else can open it with `O_EXCL` then.
    /// Who may not open it at all is not told.
    pub(super) fn is_exclusive(&self, device: &str) -> bool {
        // Without waiting, and without what drives do for who wants their medium. It is closed at once.
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(self.path(format!("dev/{device}")), flags, Mode::empty())
            .is_err_and(|error| error == Errno::BUSY)
    }

    /// Where a block device is mounted. By its number, which is right whatever it is called there, and by its name,
    /// because btrfs mounts have numbers of their own.
    fn mount_point(&self, device: &str) -> Option<String> {
        let number = self.text(format!("sys/class/block/{device}/dev")).ok();
        let node = format!("/dev/{device}");
        let mounts = self.text("proc/self/mountinfo").ok()?;
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(2);
            let (its_number, mount_point) = (fields.next()?, fields.nth(1)?);
            let source = unescape(after.split(' ').nth(1)?);
            (Some(its_number) == number.as_deref() || source == node).then(|| unescape(mount_point))
        })
    }

    /// Refuses the interface that leads out of the host, and warns of one that is merely in use: its loss is what the
    /// user asked for.
    fn use_of_interface(&self, address: HostPciAddress, interface: &str) -> Option<InUse> {
        match self.routes_through(interface) {
            Routes::Default => Some(InUse::DefaultRoute { interface: interface.into() }),
            Routes::Some => {
                tracing::warn!(
                    "{address}: the host loses its network interface {interface}, which is up with addresses"
                );
                None
            }
            Routes::None => None,
        }
    }

    /// Which routes of the host's lead through an interface, or through what is made from it.
    pub(super) fn routes_through(&self, interface: &str) -> Routes {
        let uppers =
            self.above(interface, |name| format!("sys/class/net/{name}"), |name| name.strip_prefix("upper_"));
        let ours = |name: &str| name == interface || uppers.contains(name);
        let routes = self.text("proc/net/route").unwrap_or_default();
        let routes6 = self.text("proc/net/ipv6_route").unwrap_or_default();
        // Interface, destination, gateway, flags, and three more columns before the mask.
        let routes = routes.lines().skip(1).filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            Some((*fields.first()?, *fields.get(1)? == "00000000" && *fields.get(7)? == "00000000"))
        });
        // Destination and its length first, the interface last. The kernel's own route of last resort is on lo.
        let routes6 = routes6.lines().filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let destination = *fields.first()?;
            // Link-local and multicast routes come with every interface that is up.
            let local = destination.starts_with("fe8") || destination.starts_with("ff");
            let default = *fields.get(1)? == "00";
            (!local).then_some((*fields.last()?, default))
        });
        let routes: Vec<_> = routes.chain(routes6).filter(|(name, _)| ours(name)).collect();
        match &routes[..] {
            [] => Routes::None,
            routes if routes.iter().any(|(_, default)| *default) => Routes::Default,
            _ => Routes::Some,
        }
    }

    /// All devices that are made from `name`, directly or not: the names in `place` that `upper` picks, and so on.
    fn above(
        &self,
        name: &str,
        place: impl Fn(&str) -> String,
        upper: impl Fn(&str) -> Option<&str>,
    ) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            for entry in names(&self.path(place(&name))) {
                let Some(upper) = upper(&entry) else { continue };
                if found.insert(upper.to_owned()) {
                    next.push(upper.to_owned());
                }
            }
        }
        found
    }
}

/// Resolves the octal escapes of `/proc`: a space is `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'\\')
            .then(|| tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_of_proc() {
        for (text, expected) in [
            ("/mnt/a\\040b", "/mnt/a b"),
            ("\\134040", "\\040"),
            ("\\04", "\\04"),
            ("\\999", "\\999"),
            ("", ""),
        ] {
            assert_eq!(unescape(text), expected);
        }
    }
}
