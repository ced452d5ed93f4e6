//! What the kernel tells of drivers that take interfaces and let go of them (Linux, lib/kobject_uevent.c; netlink(7), `NETLINK_KOBJECT_UEVENT`): after the host's
//! sleep its own drivers may have what the guest has (drivers/usb/core/driver.c, `usb_rebind_intf`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use vocabulary::UsbPort;

/// The group of messages that the kernel sends; the other is udev's.
const KERNEL: u32 = 1;
/// What a message has room for (include/linux/kobject.h, `UEVENT_BUFFER_SIZE`), and its head.
const LENGTH: usize = 8192;

/// The socket.
pub(super) struct Uevents(OwnedFd);

impl Uevents {
    /// # Errors
    /// The process may not have such a socket, as in some containers.
    pub(super) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self(socket))
    }

    /// The devices of which an interface may have another driver now, as told since the last time; `None` if some of that was lost.
    pub(super) fn taken(&self) -> Option<Vec<UsbPort>> {
        let mut ports = Vec::new();
        let mut buffer = [0_u8; LENGTH];
        loop {
            match recvfrom(&self.0, &mut buffer, RecvFlags::DONTWAIT) {
                // Whoever may send to this socket alone is not the kernel.
                Ok((message, _, Some(from)))
                    if SocketAddrNetlink::try_from(from.clone())
                        .is_ok_and(|from| from.pid() == 0 && from.groups() == KERNEL) =>
                {
                    ports.extend(buffer.get(..message).and_then(taken));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => return None,
                Err(_) => return Some(ports),
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The device that a message is about, if it says that an interface has lost its driver, or has another one than usbfs.
fn taken(message: &[u8]) -> Option<UsbPort> {
    let text = std::str::from_utf8(message).ok()?;
    let mut lines = text.split('\0');
    let (action, path) = lines.next()?.split_once('@')?;
    let value = |key: &str| lines.clone().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if value("SUBSYSTEM") != Some("usb") || value("DEVTYPE") != Some("usb_interface") {
        return None;
    }
    let taken = match action {
        "unbind" => true,
        "bind" => value("DRIVER") != Some("usbfs"),
        _ => false,
    };
    let (port, _) = path.rsplit('/').next()?.split_once(':')?;
    port.parse().ok().filter(|_| taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.12 sends it for the disk of `scripts/lab exec --gpu`.
    fn message(action: &str, subsystem: &str, kind: &str, driver: &str) -> Vec<u8> {
        let path = "/devices/pci0000:00/0000:00:16.0/usb2/2-1/2-1:1.0";
        format!(
            "{action}@{path}\0ACTION={action}\0DEVPATH={path}\0SUBSYSTEM={subsystem}\0DEVTYPE={kind}\0{driver}\
             PRODUCT=46f4/1/0\0TYPE=0/0/0\0INTERFACE=8/6/80\0MODALIAS=usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00\0SEQNUM=1234\0"
        )
        .into_bytes()
    }

    #[test]
    fn an_interface_that_changes_hands_means_its_device() {
        let port = || Some("2-1".parse::<UsbPort>().unwrap());
        for (action, subsystem, kind, driver, expected) in [
            ("unbind", "usb", "usb_interface", "", port()),
            ("bind", "usb", "usb_interface", "DRIVER=usb-storage\0", port()),
            // This or another program has it.
            ("bind", "usb", "usb_interface", "DRIVER=usbfs\0", None),
            ("add", "usb", "usb_interface", "", None),
            ("change", "usb", "usb_interface", "DRIVER=usb-storage\0", None),
            ("bind", "usb", "usb_device", "DRIVER=usb\0", None),
            ("bind", "scsi", "scsi_device", "DRIVER=sd\0", None),
        ] {
            let found = taken(&message(action, subsystem, kind, driver));
            assert_eq!(found, expected, "{action} {subsystem} {kind} {driver:?}");
        }
    }

    #[test]
    fn what_is_no_message_means_none() {
        let whole = message("unbind", "usb", "usb_interface", "");
        for length in [0, 1, 7, 40, 80] {
            assert_eq!(taken(&whole[..length]), None);
        }
        for other in
            [&b"libudev\0\xfe\xed\xca\xfe"[..], b"unbind@\0SUBSYSTEM=usb\0DEVTYPE=usb_interface\0", b"\xff@"]
        {
            assert_eq!(taken(other), None);
        }
    }

    #[test]
    fn nothing_told_is_nothing_taken() {
        // Other devices of this computer may come and go meanwhile.
        if let Ok(uevents) = Uevents::new() {
            assert!(uevents.taken().is_some());
        }
    }
}
