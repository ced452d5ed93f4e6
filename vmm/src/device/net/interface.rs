//! Interfaces of the host that this program makes: their addresses, lengths and states, and the bridge that they are a port of, by the requests
//! of netdevice(7). All but the reading ones need CAP_NET_ADMIN.
#![allow(unsafe_code, reason = "interfaces are set up by ioctl(2)")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{CapabilitySet, capabilities};

/// Adds a port to a bridge (`linux/sockios.h`), which the crate libc lacks.
const SIOCBRADDIF: libc::Ioctl = 0x89a2;

/// Whether this process may make and change interfaces.
pub(super) fn may_administer() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// A socket, by which the kernel is asked about interfaces.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// A request about the interface `name`.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data, for which zeros are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?))
    }

    /// Performs one of the requests below.
    fn perform(&self, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: each of netdevice(7)'s requests, and SIOCBRADDIF, reads an `ifreq` and may write it, and that lives across the call.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), number, &raw mut *request) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The longest packet, in bytes.
    pub(super) fn mtu(&self, name: &str) -> io::Result<i32> {
        let mut request = request(name)?;
        self.perform(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU has filled this member of the union; any bits are valid in it.
        Ok(unsafe { request.ifr_ifru.ifru_mtu })
    }

    /// Sets it.
    pub(super) fn set_mtu(&self, name: &str, mtu: i32) -> io::Result<()> {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_mtu = mtu;
        self.perform(libc::SIOCSIFMTU, &mut request)
    }

    /// Switches the interface on.
    pub(super) fn set_up(&self, name: &str) -> io::Result<()> {
        let mut request = request(name)?;
        self.perform(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has filled this member of the union; any bits are valid in it.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.perform(libc::SIOCSIFFLAGS, &mut request)
    }

    /// Gives it an address that is higher than those of real cards: a bridge takes its lowest port's for its own, which is not to change.
    pub(super) fn raise_address(&self, name: &str) -> io::Result<()> {
        let mut request = request(name)?;
        self.perform(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR has filled this member of the union; any bits are valid in it.
        let mut address = unsafe { request.ifr_ifru.ifru_hwaddr };
        if let Some(first) = address.sa_data.first_mut() {
            *first = 0xfe_u8.cast_signed();
        }
        request.ifr_ifru.ifru_hwaddr = address;
        self.perform(libc::SIOCSIFHWADDR, &mut request)
    }

    /// Makes it a port of `bridge`.
    pub(super) fn join(&self, bridge: &str, name: &str) -> io::Result<()> {
        let index = rustix::net::netdevice::name_to_index(&self.0, name)?;
        let mut request = request(bridge)?;
        request.ifr_ifru.ifru_ifindex = index.cast_signed();
        self.perform(SIOCBRADDIF, &mut request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_asked_about() {
        let socket = Socket::open().unwrap();
        assert!(socket.mtu("lo").unwrap() >= 1500);
        let none = socket.mtu("no-such").unwrap_err();
        assert_eq!(none.raw_os_error(), Some(libc::ENODEV));
        assert!(socket.mtu("a-name-of-16-byte").is_err());
    }
}
