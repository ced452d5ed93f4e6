//! A TAP interface: an end of a network of the host's kernel (Linux `Documentation/networking/tuntap.rst`, `linux/if_tun.h`). The kernel takes and
//! gives frames with a virtio header, so that checksums and the cutting of long frames can be left to it, or to a real card.
#![allow(unsafe_code, reason = "interfaces are attached and set up by ioctl(2)")]

mod counters;
mod error;
mod packet;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{
    IFF_ATTACH_QUEUE, IFF_DETACH_QUEUE, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, c_int, c_short,
    c_ulong,
};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val};

use super::header;
use super::pieces::Pieces;
use super::vhost::Vhost;
use super::{Incoming, KernelRing, KernelWorker, NotStarted, Offloads, Outgoing, Peer, Sent, VhostError};
use crate::GuestRam;
use packet::Packet;
use request::{TUNGETIFF, TUNSETIFF, TUNSETOFFLOAD, TUNSETQUEUE, TUNSETVNETHDRSZ, TUNSETVNETLE};

pub use counters::Counters;
pub use error::TapError;

/// Requests (`linux/if_tun.h`).
mod request {
    #![allow(missing_docs, reason = "the macros leave no room for a comment")]

    use std::ffi::c_uint;

    use libc::c_int;
    use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr};

    const TUN: c_uint = b'T' as c_uint;
    ioctl_iow_nr!(TUNSETIFF, TUN, 202, c_int);
    ioctl_iow_nr!(TUNSETOFFLOAD, TUN, 208, c_uint);
    ioctl_ior_nr!(TUNGETIFF, TUN, 210, c_uint);
    ioctl_iow_nr!(TUNSETVNETHDRSZ, TUN, 216, c_int);
    ioctl_iow_nr!(TUNSETQUEUE, TUN, 217, c_int);
    ioctl_iow_nr!(TUNSETVNETLE, TUN, 220, c_int);
}

/// What the kernel leaves undone in frames for us (`TUN_F_…`).
mod tun_f {
    pub(super) const CSUM: u32 = 0x01;
    pub(super) const TSO4: u32 = 0x02;
    pub(super) const TSO6: u32 = 0x04;
    pub(super) const TSO_ECN: u32 = 0x08;
    pub(super) const USO4: u32 = 0x20;
    pub(super) const USO6: u32 = 0x40;
}

/// What `offloads` is in the kernel's bits.
fn bits(offloads: Offloads) -> u32 {
    let Offloads { checksum, tso4, tso6, ecn, uso } = offloads;
    let bit = |is: bool, bit: u32| if is { bit } else { 0 };
    bit(checksum, tun_f::CSUM)
        | bit(tso4, tun_f::TSO4)
        | bit(tso6, tun_f::TSO6)
        | bit(ecn, tun_f::TSO_ECN)
        | bit(uso, tun_f::USO4 | tun_f::USO6)
}

/// A queue of a TAP interface, whose other end is the kernel's. One of several is detached until frames are to come through it.
#[derive(Debug)]
pub struct TapPeer {
    file: File,
    /// The interface's.
    name: String,
    offloads: Offloads,
    attached: bool,
    /// The next frame, once it was read.
    packet: Packet,
    vhost: Option<Vhost>,
}

/// Whether this can be the name of an interface (dev_valid_name() in Linux' net/core/dev.c).
pub fn is_interface_name(name: &str) -> bool {
    (1..libc::IFNAMSIZ).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

/// An interface request for `name`.
fn interface(name: &str, flags: c_short) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data, for which zeros are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = flags;
    request
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Which interface to attach to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach<'a> {
    /// Its name. The kernel makes one of that name if there is none and this process may; `%d` becomes a number that is free then.
    pub name: &'a str,
    /// How many of its queues, from 1.
    pub queues: u16,
    /// Whether it is an interface of several queues (IFF_MULTI_QUEUE), which an existing one either is or not.
    pub multi_queue: bool,
}

impl TapPeer {
    /// Attaches to the queues of an interface. The first is ready for frames.
    ///
    /// # Errors
    /// There is no such interface that this process may use, or it is in use.
    pub fn attach(attach: Attach<'_>) -> Result<Vec<Self>, TapError> {
        let Attach { name, queues, multi_queue } = attach;
        if !is_interface_name(name) {
            return Err(TapError::Name(name.into()));
        }
        let multi = if multi_queue { IFF_MULTI_QUEUE } else { 0 };
        let flags = (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | multi) as c_short;
        let mut peers: Vec<Self> = Vec::with_capacity(queues.into());
        for _ in 0..queues.max(1) {
            // The kernel has said how the first one is called.
            let name = peers.first().map_or(name, |first| first.name.as_str());
            let mut peer = Self::set_up(attach_one(name, flags)?)?;
            if !peers.is_empty() {
                peer.attach_queue(false).map_err(TapError::SetUp)?;
            }
            peers.push(peer);
        }
        Ok(peers)
    }

    /// Takes over a descriptor that is attached to an interface.
    ///
    /// # Errors
    /// It is none, or one without headers.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self, TapError> {
        let file = File::from(descriptor);
        let mut request = interface("", 0);
        // SAFETY: TUNGETIFF fills an `ifreq`, which lives across the call.
        check(unsafe { ioctl_with_mut_ref(&file, TUNGETIFF(), &mut request) })
            .map_err(TapError::Descriptor)?;
        // SAFETY: TUNGETIFF has filled this member of the union; any bits are valid in it.
        let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        let wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if flags & wanted != wanted {
            let why = io::Error::other(format!("its flags are {flags:#x}"));
            return Err(TapError::Descriptor(why));
        }
        let old = rustix::fs::fcntl_getfl(&file).map_err(|error| TapError::SetUp(error.into()))?;
        rustix::fs::fcntl_setfl(&file, old | rustix::fs::OFlags::NONBLOCK)
            .map_err(|error| TapError::SetUp(error.into()))?;
        Self::set_up((file, name_of(&request)))
    }

    fn set_up((file, name): (File, String)) -> Result<Self, TapError> {
        let (size, little_endian) = (header::SIZE as c_int, 1 as c_int);
        // SAFETY: each reads an `int`, which lives across the call.
        check(unsafe { ioctl_with_ref(&file, TUNSETVNETHDRSZ(), &size) }).map_err(TapError::SetUp)?;
        // SAFETY: as above.
        check(unsafe { ioctl_with_ref(&file, TUNSETVNETLE(), &little_endian) }).map_err(TapError::SetUp)?;
        let all = Offloads { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };
        // Kernels before 6.2 know no USO.
        let uso = set_offload(&file, bits(all)).is_ok();
        let offloads = Offloads { uso, ..all };
        let mut peer = Self { file, name, offloads, attached: true, packet: Packet::default(), vhost: None };
        if let Err(error) = set_offload(&peer.file, 0) {
            return Err(TapError::SetUp(error));
        }
        peer.accept(Offloads::default());
        Ok(peer)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the kernel move frames between the interface and a driver's rings.
    #[must_use]
    pub fn with_vhost(self, vhost: Vhost) -> Self {
        Self { vhost: Some(vhost), ..self }
    }

    /// Has the kernel put frames into this queue, or only into others.
    fn attach_queue(&mut self, attached: bool) -> io::Result<()> {
        if attached == self.attached {
            return Ok(());
        }
        let change = if attached { IFF_ATTACH_QUEUE } else { IFF_DETACH_QUEUE };
        let request = interface("", change as c_short);
        // SAFETY: TUNSETQUEUE reads an `ifreq`, which lives across the call.
        check(unsafe { ioctl_with_ref(&self.file, TUNSETQUEUE(), &request) })?;
        self.attached = attached;
        Ok(())
    }
}

/// A descriptor of a queue of the interface called `name`, and what the kernel calls that.
fn attach_one(name: &str, flags: c_short) -> Result<(File, String), TapError> {
    let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).clone();
    let file = options.open("/dev/net/tun").map_err(TapError::Open)?;
    let mut request = interface(name, flags);
    // SAFETY: TUNSETIFF reads and writes an `ifreq`, which lives across the call.
    let attached = check(unsafe { ioctl_with_mut_ref(&file, TUNSETIFF(), &mut request) });
    attached.map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => TapError::Busy(name.into()),
        Some(libc::EPERM) => TapError::Forbidden { name: name.into(), source },
        _ => TapError::Kind { name: name.into(), source },
    })?;
    let name = name_of(&request);
    Ok((file, name))
}

/// The name in a request that the kernel has filled.
fn name_of(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> =
        request.ifr_name.iter().map(|byte| byte.cast_unsigned()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What frames for us may be left with.
fn set_offload(file: &File, bits: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its bits as the argument itself.
    check(unsafe { ioctl_with_val(file, TUNSETOFFLOAD(), c_ulong::from(bits)) })
}

impl Peer for TapPeer {
    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn accept(&mut self, offloads: Offloads) {
        if let Err(error) = set_offload(&self.file, bits(offloads)) {
            crate::limited_warn!("cannot tell a TAP interface what the guest takes: {error}");
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn set_active(&mut self, active: bool) {
        if let Err(error) = self.attach_queue(active) {
            crate::limited_warn!("a queue of the interface {} stays as it is: {error}", self.name);
        }
    }

    fn in_kernel(&mut self) -> Option<&mut dyn KernelWorker> {
        self.vhost.is_some().then_some(self as _)
    }

    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>> {
        while !self.packet.is_full() {
            match self.file.read(self.packet.room()) {
                Ok(count) => self.packet.filled(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The interface is down (tun_do_read()), which an administrator can change.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(self.packet.incoming()))
    }

    fn consume(&mut self) {
        self.packet.clear();
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<Sent> {
        for (number, Outgoing { header, pieces, .. }) in frames.iter().enumerate() {
            let header = header.to_bytes();
            let mut packet = Pieces::with_capacity(1 + pieces.len());
            packet.add_bytes(&header);
            packet.add_all(pieces);
            match packet.write(&self.file) {
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(Sent::Later(number)),
                    // Down, or no room, or a frame that the kernel does not take.
                    Some(libc::EIO | libc::ENOBUFS | libc::ENOMEM | libc::EINVAL | libc::EMSGSIZE) => {
                        return Ok(Sent::Refused(number));
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Sent::All)
    }
}

impl TapPeer {
    fn vhost(&self) -> Result<&Vhost, VhostError> {
        let none = || VhostError::Open(io::Error::from(ErrorKind::NotFound));
        self.vhost.as_ref().ok_or_else(none)
    }
}

impl KernelWorker for TapPeer {
    fn start(&mut self, ram: &GuestRam, features: u64, rings: [KernelRing<'_>; 2]) -> Result<(), NotStarted> {
        self.vhost()?.start(ram, features, &rings, self.file.as_fd())
    }

    fn set_call(&mut self, ring: usize, call: &EventFd) -> Result<(), VhostError> {
        self.vhost()?.set_call(ring as u32, call)
    }

    fn stop(&mut self) -> Result<[u16; 2], VhostError> {
        self.vhost()?.stop()
    }
}
