//! vhost-net: the kernel moves frames between a TAP interface and the driver's rings, with a worker of its own and without this
//! program (Linux `linux/vhost.h`, `drivers/vhost/net.c`). Rings and frames are not copied or looked at here.
//!
//! A [`Vhost`] is for one pair of queues. It needs no rights but those to `/dev/vhost-net`.
#![allow(unsafe_code, reason = "vhost-net is used by ioctl(2)")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::{ioctl, ioctl_with_mut_ref, ioctl_with_ref};

use super::{KernelRing, NotStarted};
use crate::GuestRam;
use request::{
    VHOST_GET_FEATURES, VHOST_GET_VRING_BASE, VHOST_NET_SET_BACKEND, VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE,
    VHOST_SET_OWNER, VHOST_SET_VRING_ADDR, VHOST_SET_VRING_BASE, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR,
    VHOST_SET_VRING_KICK, VHOST_SET_VRING_NUM,
};

/// The device's node.
pub const NODE: &str = "/dev/vhost-net";
/// Features of the driver's that are the worker's business: INDIRECT_DESC, EVENT_IDX and VERSION_1 of the rings, MRG_RXBUF of the
/// frames. All others are the interface's.
pub const FEATURES: u64 = 1 << 15 | 1 << 28 | 1 << 29 | 1 << 32;
/// Regions of guest memory that are handed over at most: as many as the kernel takes by default (`max_mem_regions`).
const REGIONS: usize = 64;

/// Requests (`linux/vhost.h`).
mod request {
    #![allow(missing_docs, reason = "the macros leave no room for a comment")]

    use std::ffi::c_uint;

    use vmm_sys_util::{ioctl_io_nr, ioctl_ior_nr, ioctl_iow_nr, ioctl_iowr_nr};

    use super::{VringAddr, VringFile, VringState};

    const VHOST: c_uint = 0xaf;
    ioctl_ior_nr!(VHOST_GET_FEATURES, VHOST, 0x00, u64);
    ioctl_iow_nr!(VHOST_SET_FEATURES, VHOST, 0x00, u64);
    ioctl_io_nr!(VHOST_SET_OWNER, VHOST, 0x01);
    // The kernel's structure ends in an array without a length.
    ioctl_iow_nr!(VHOST_SET_MEM_TABLE, VHOST, 0x03, u64);
    ioctl_iow_nr!(VHOST_SET_VRING_NUM, VHOST, 0x10, VringState);
    ioctl_iow_nr!(VHOST_SET_VRING_ADDR, VHOST, 0x11, VringAddr);
    ioctl_iow_nr!(VHOST_SET_VRING_BASE, VHOST, 0x12, VringState);
    ioctl_iowr_nr!(VHOST_GET_VRING_BASE, VHOST, 0x12, VringState);
    ioctl_iow_nr!(VHOST_SET_VRING_KICK, VHOST, 0x20, VringFile);
    ioctl_iow_nr!(VHOST_SET_VRING_CALL, VHOST, 0x21, VringFile);
    ioctl_iow_nr!(VHOST_SET_VRING_ERR, VHOST, 0x22, VringFile);
    ioctl_iow_nr!(VHOST_NET_SET_BACKEND, VHOST, 0x30, VringFile);
}

/// `struct vhost_vring_state`: a ring and a number.
#[repr(C)]
struct VringState {
    index: u32,
    num: u32,
}

/// `struct vhost_vring_file`: a ring and a descriptor, −1 for none.
#[repr(C)]
struct VringFile {
    index: u32,
    fd: RawFd,
}

/// `struct vhost_vring_addr`: where a ring lies in this process.
#[repr(C)]
struct VringAddr {
    index: u32,
    flags: u32,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// `struct vhost_memory_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MemoryRegion {
    guest_physical: u64,
    size: u64,
    address: u64,
    padding: u64,
}

/// `struct vhost_memory`, with room for the most regions.
#[repr(C)]
struct Memory {
    count: u32,
    padding: u32,
    regions: [MemoryRegion; REGIONS],
}

/// Why the kernel does not move frames.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// The node cannot be opened.
    #[error("cannot open {NODE}: {0}")]
    Open(#[source] io::Error),
    /// The kernel's worker lacks features that every driver may use.
    #[error("the kernel's vhost-net lacks features: {0:#x} of virtio's bits")]
    Lacks(u64),
    /// Guest memory is in too many pieces.
    #[error("guest memory is in {0} pieces, of which vhost-net takes {REGIONS}")]
    Regions(usize),
    /// A ring is in two pieces of the host's memory.
    #[error("a ring is in two pieces of guest memory")]
    Ring,
    /// The worker has come upon something senseless, or the interface has failed it.
    #[error("the kernel's vhost-net reports an error with a ring or the interface")]
    Malformed,
    /// A request failed.
    #[error("the kernel's vhost-net refuses {request}: {source}")]
    Request {
        /// Its name in `linux/vhost.h`.
        request: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Gives a request's failure its name.
fn check(request: &'static str, result: i32) -> Result<(), VhostError> {
    if result < 0 {
        return Err(VhostError::Request { request, source: io::Error::last_os_error() });
    }
    Ok(())
}

/// The kernel's worker for one pair of queues: ring 0 for received frames, 1 for sent ones.
#[derive(Debug)]
pub struct Vhost {
    file: File,
}

impl Vhost {
    /// A worker, which runs where this thread may run, and reaches what this process has mapped.
    ///
    /// # Errors
    /// There is no vhost-net, this process may not use it, or it is too old.
    pub fn open() -> Result<Self, VhostError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(NODE).map_err(VhostError::Open)?;
        // SAFETY: VHOST_SET_OWNER takes no argument.
        check("VHOST_SET_OWNER", unsafe { ioctl(&file, VHOST_SET_OWNER()) })?;
        let mut features = 0u64;
        // SAFETY: VHOST_GET_FEATURES writes a `u64`, which lives across the call.
        let got = unsafe { ioctl_with_mut_ref(&file, VHOST_GET_FEATURES(), &mut features) };
        check("VHOST_GET_FEATURES", got)?;
        match FEATURES & !features {
            0 => Ok(Self { file }),
            lacking => Err(VhostError::Lacks(lacking)),
        }
    }

    /// Moves frames between `interface`, a TAP interface's descriptor, and `rings` in `ram`, for a driver that has accepted `features`.
    ///
    /// # Errors
    /// The kernel does not take the rings. It has none of them then, unless it has begun.
    pub(super) fn start(
        &self,
        ram: &GuestRam,
        features: u64,
        rings: &[KernelRing<'_>; 2],
        interface: BorrowedFd<'_>,
    ) -> Result<(), NotStarted> {
        self.set_up(ram, features, rings)?;
        self.set_backend(0, interface.as_raw_fd())?;
        // The first one is in use by now.
        self.set_backend(1, interface.as_raw_fd()).map_err(|error| NotStarted { error, begun: true })
    }

    fn set_up(&self, ram: &GuestRam, features: u64, rings: &[KernelRing<'_>; 2]) -> Result<(), VhostError> {
        let memory = memory_table(ram)?;
        let features = features & FEATURES;
        // SAFETY: VHOST_SET_FEATURES reads a `u64`, which lives across the call.
        check("VHOST_SET_FEATURES", unsafe { ioctl_with_ref(&self.file, VHOST_SET_FEATURES(), &features) })?;
        // SAFETY: VHOST_SET_MEM_TABLE reads a `vhost_memory` with as many regions as its count says, all of which `memory` has. They are
        // mapped as long as guest memory is, and that outlives this worker: a device that works holds both.
        let set = unsafe { ioctl_with_ref(&self.file, VHOST_SET_MEM_TABLE(), &*memory) };
        check("VHOST_SET_MEM_TABLE", set)?;
        for (index, ring) in (0u32..).zip(rings) {
            self.set_ring(index, ring)?;
        }
        Ok(())
    }

    fn set_ring(&self, index: u32, ring: &KernelRing<'_>) -> Result<(), VhostError> {
        let KernelRing { size, next, descriptors, available, used, kick, call, error } = *ring;
        let number = |num: u16| VringState { index, num: num.into() };
        // SAFETY: each of these reads a `vhost_vring_state`, which lives across the call.
        check("VHOST_SET_VRING_NUM", unsafe {
            ioctl_with_ref(&self.file, VHOST_SET_VRING_NUM(), &number(size))
        })?;
        // SAFETY: as above.
        check("VHOST_SET_VRING_BASE", unsafe {
            ioctl_with_ref(&self.file, VHOST_SET_VRING_BASE(), &number(next))
        })?;
        let addresses = VringAddr { index, flags: 0, descriptors, used, available, log: 0 };
        // SAFETY: VHOST_SET_VRING_ADDR reads a `vhost_vring_addr`, which lives across the call. The kernel accesses what it names as
        // a program's memory, and fails where nothing is mapped.
        check("VHOST_SET_VRING_ADDR", unsafe {
            ioctl_with_ref(&self.file, VHOST_SET_VRING_ADDR(), &addresses)
        })?;
        self.set_event(index, "VHOST_SET_VRING_ERR", VHOST_SET_VRING_ERR(), error)?;
        self.set_event(index, "VHOST_SET_VRING_CALL", VHOST_SET_VRING_CALL(), call)?;
        self.set_event(index, "VHOST_SET_VRING_KICK", VHOST_SET_VRING_KICK(), kick)
    }

    fn set_event(
        &self,
        index: u32,
        name: &'static str,
        request: libc::c_ulong,
        event: &EventFd,
    ) -> Result<(), VhostError> {
        let file = VringFile { index, fd: event.as_raw_fd() };
        // SAFETY: the three requests for events read a `vhost_vring_file`, which lives across the call. The kernel takes a reference of
        // its own to the event.
        check(name, unsafe { ioctl_with_ref(&self.file, request, &file) })
    }

    fn set_backend(&self, index: u32, fd: RawFd) -> Result<(), VhostError> {
        let file = VringFile { index, fd };
        // SAFETY: VHOST_NET_SET_BACKEND reads a `vhost_vring_file`, which lives across the call.
        check("VHOST_NET_SET_BACKEND", unsafe { ioctl_with_ref(&self.file, VHOST_NET_SET_BACKEND(), &file) })
    }

    /// Signals `call` for the interrupts of ring `index` from now on.
    pub(super) fn set_call(&self, index: u32, call: &EventFd) -> Result<(), VhostError> {
        self.set_event(index, "VHOST_SET_VRING_CALL", VHOST_SET_VRING_CALL(), call)
    }

    /// Gives the rings back; the entries of the available rings that come next. No memory is accessed when it has returned.
    pub(super) fn stop(&self) -> Result<[u16; 2], VhostError> {
        // Both, whatever becomes of the first.
        let stopped = [0, 1].map(|index| self.set_backend(index, -1));
        let mut next = [0; 2];
        for ((index, stopped), next) in (0u32..).zip(stopped).zip(&mut next) {
            stopped?;
            let mut state = VringState { index, num: 0 };
            // SAFETY: VHOST_GET_VRING_BASE reads and writes a `vhost_vring_state`, which lives across the call.
            check("VHOST_GET_VRING_BASE", unsafe {
                ioctl_with_mut_ref(&self.file, VHOST_GET_VRING_BASE(), &mut state)
            })?;
            // With split rings, the index is all there is.
            *next = state.num as u16;
        }
        Ok(next)
    }
}

/// Where guest memory lies in this process.
fn memory_table(ram: &GuestRam) -> Result<Box<Memory>, VhostError> {
    let count = ram.num_regions();
    let too_many = VhostError::Regions(count);
    let mut memory = Box::new(Memory { count: 0, padding: 0, regions: [MemoryRegion::default(); REGIONS] });
    if count > REGIONS {
        return Err(too_many);
    }
    for (entry, region) in memory.regions.iter_mut().zip(ram.iter()) {
        *entry = MemoryRegion {
            guest_physical: region.start_addr().0,
            size: region.len(),
            address: region.as_ptr() as u64,
            padding: 0,
        };
    }
    memory.count = count as u32;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::net::KernelWorker;
    use crate::net::tap::{Attach, TapPeer};

    /// By the header's values.
    #[test]
    fn requests_have_the_kernels_numbers() {
        for (number, is) in [
            (VHOST_GET_FEATURES(), 0x8008_af00),
            (VHOST_SET_FEATURES(), 0x4008_af00),
            (VHOST_SET_OWNER(), 0xaf01),
            (VHOST_SET_MEM_TABLE(), 0x4008_af03),
            (VHOST_SET_VRING_NUM(), 0x4008_af10),
            (VHOST_SET_VRING_ADDR(), 0x4028_af11),
            (VHOST_SET_VRING_BASE(), 0x4008_af12),
            (VHOST_GET_VRING_BASE(), 0xc008_af12),
            (VHOST_SET_VRING_KICK(), 0x4008_af20),
            (VHOST_SET_VRING_CALL(), 0x4008_af21),
            (VHOST_SET_VRING_ERR(), 0x4008_af22),
            (VHOST_NET_SET_BACKEND(), 0x4008_af30),
        ] {
            assert_eq!(number, is, "{number:#x}");
        }
    }

    #[test]
    fn guest_memory_is_described_as_it_lies() {
        let ram =
            GuestRam::from_ranges(&[(GuestAddress(0), 0x4000), (GuestAddress(0x10_0000), 0x2000)]).unwrap();
        let memory = memory_table(&ram).unwrap();
        assert_eq!(memory.count, 2);
        assert_eq!(memory.regions.map(|region| region.guest_physical)[..3], [0, 0x10_0000, 0]);
        assert_eq!(memory.regions.map(|region| region.size)[..3], [0x4000, 0x2000, 0]);
        let address = |at: u64| ram.get_host_address(GuestAddress(at)).unwrap() as u64;
        assert_eq!(memory.regions.map(|region| region.address)[..2], [address(0), address(0x10_0000)]);
        let many: Vec<_> = (0..65).map(|index| (GuestAddress(index << 20), 0x1000)).collect();
        let many = GuestRam::from_ranges(&many).unwrap();
        assert!(matches!(memory_table(&many), Err(VhostError::Regions(65))));
    }

    /// A frame of a driver's through the kernel's own worker and interface: the ring says that it was sent, the interface counts it, and the
    /// call is signalled. Then the ring is given back, and taken once more.
    #[test]
    #[ignore = "makes a network interface, and needs /dev/vhost-net"]
    fn a_frame_goes_out_by_the_kernel() {
        let attach = Attach { name: "opttest%d", queues: 1, multi_queue: false };
        let peer = TapPeer::attach(attach).unwrap().remove(0);
        let name = peer.name().to_owned();
        let up = std::process::Command::new("ip").args(["link", "set", &name, "up"]).status().unwrap();
        assert!(up.success());
        let mut peer = peer.with_vhost(Vhost::open().unwrap());
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        let host = |at: u64| ram.get_host_address(GuestAddress(at)).unwrap() as u64;
        // Two rings of four entries: descriptors, available, used.
        let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let (kick, call, error) = (event(), event(), event());
        let ring = |base: u64, next| KernelRing {
            size: 4,
            next,
            descriptors: host(base),
            available: host(base + 0x400),
            used: host(base + 0x800),
            kick: &kick,
            call: &call,
            error: &error,
        };
        let sent = || ram.read_obj::<u16>(GuestAddress(0x2802)).unwrap();
        for number in 1..=2u16 {
            peer.start(&ram, FEATURES & !(1 << 29), [ring(0x1000, 0), ring(0x2000, number - 1)]).unwrap();
            // A broadcast of 60 bytes behind a header of nothing.
            ram.write_slice(&[0xff; 6], GuestAddress(0x4000 + 12)).unwrap();
            ram.write_obj(0x4000u64, GuestAddress(0x2000)).unwrap();
            ram.write_obj(72u32, GuestAddress(0x2008)).unwrap();
            ram.write_obj(number, GuestAddress(0x2402)).unwrap();
            kick.write(1).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while sent() != number {
                assert!(Instant::now() < deadline, "the frame stays");
                std::thread::yield_now();
            }
            assert_eq!(peer.stop().unwrap(), [0, number]);
            assert_eq!(call.read().unwrap(), 1);
        }
        assert!(error.read().is_err());
        let file = format!("/sys/class/net/{name}/statistics/rx_packets");
        assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "2");
    }
}
