//! A driver for tests: it finds a function's structures through configuration space, like a guest, and builds rings in
//! plain memory.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::GuestRam;
use crate::interrupt::{IrqLine, MsiAllocator, MsiMessage, MsiVector};
use crate::pci::config::command;
use crate::pci::endpoint::Endpoint;
use crate::pci::{PciFunction, Placement, Region};

use super::VirtioDevice;
use super::feature;
use super::pci::VirtioPci;

/// RAM in three regions: two that touch at 1 MiB, one apart at 4 MiB.
pub(super) const RAM: [(GuestAddress, usize); 3] =
    [(GuestAddress(0), 1 << 20), (GuestAddress(1 << 20), 1 << 20), (GuestAddress(4 << 20), 1 << 20)];
pub(super) const DESC: u64 = 0x1000;
pub(super) const AVAIL: u64 = 0x3000;
pub(super) const USED: u64 = 0x5000;
/// First address that tests use for data.
pub(super) const DATA: u64 = 0x1_0000;
const BAR0: u32 = 0xfe00_0000;
const BAR1: u32 = 0xfe01_0000;

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Line {
    pub(super) high: AtomicBool,
}

impl IrqLine for Line {
    fn set_level(&self, high: bool) {
        self.high.store(high, Ordering::SeqCst);
    }
}

pub(super) struct Vector {
    pub(super) event: EventFd,
    pub(super) route: Mutex<Option<MsiMessage>>,
}

impl MsiVector for Vector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        *self.route.lock().unwrap() = message;
        Ok(())
    }
    fn event(&self) -> &EventFd {
        &self.event
    }
}

#[derive(Default)]
struct Allocator(Mutex<Vec<Arc<Vector>>>);

impl MsiAllocator for Allocator {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        let vector = Arc::new(Vector { event: EventFd::new(EFD_NONBLOCK)?, route: Mutex::default() });
        self.0.lock().unwrap().push(Arc::clone(&vector));
        Ok(vector)
    }
}

/// Where a capability puts a structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Structure {
    pub(super) capability: u16,
    pub(super) bar: u8,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The guest's end of a function with one queue.
pub(super) struct Driver {
    pub(super) function: Arc<Endpoint<VirtioPci>>,
    pub(super) ram: GuestRam,
    pub(super) line: Arc<Line>,
    pub(super) vectors: Vec<Arc<Vector>>,
    pub(super) queue_size: u16,
    next_desc: u16,
    avail: u16,
    used: u16,
}

impl Driver {
    pub(super) fn new(device: impl VirtioDevice + 'static) -> Self {
        Self::placed(device, Placement::Endpoint)
    }

    pub(super) fn placed(device: impl VirtioDevice + 'static, placement: Placement) -> Self {
        let ram = GuestRam::from_ranges(&RAM).unwrap();
        let line = Arc::new(Line::default());
        let allocator = Allocator::default();
        let function = VirtioPci::endpoint(
            Box::new(device),
            ram.clone(),
            placement,
            &allocator,
            Arc::clone(&line) as Arc<dyn IrqLine>,
        )
        .unwrap();
        let vectors = allocator.0.into_inner().unwrap();
        let driver = Self { function, ram, line, vectors, queue_size: 0, next_desc: 0, avail: 0, used: 0 };
        driver.enable_bars();
        driver
    }

    pub(super) fn enable_bars(&self) {
        self.config_write(0x10, &BAR0.to_le_bytes());
        self.config_write(0x14, &BAR1.to_le_bytes());
        self.config_write(0x04, &(command::MEMORY | command::BUS_MASTER).to_le_bytes());
    }

    pub(super) fn config_write(&self, register: u16, data: &[u8]) {
        let _ = self.function.config_write(register, data);
    }

    pub(super) fn config_u32(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.function.config_read(register, &mut data);
        u32::from_le_bytes(data)
    }

    /// Offsets of the capabilities with this ID, in list order.
    pub(super) fn capabilities(&self, id: u8) -> Vec<u16> {
        let mut found = Vec::new();
        let mut at = self.config_u32(0x34) as u8;
        while at != 0 {
            let header = self.config_u32(u16::from(at));
            if header as u8 == id {
                found.push(u16::from(at));
            }
            at = (header >> 8) as u8;
        }
        found
    }

    /// The structure of this type (4.1.4).
    pub(super) fn structure(&self, cfg_type: u8) -> Structure {
        let wanted = |&at: &u16| (self.config_u32(at) >> 24) as u8 == cfg_type;
        let capability = self.capabilities(9).into_iter().find(wanted).unwrap();
        Structure {
            capability,
            bar: self.config_u32(capability + 4) as u8,
            offset: self.config_u32(capability + 8).into(),
            len: self.config_u32(capability + 12).into(),
        }
    }

    pub(super) fn region(&self, bar: u8) -> Region {
        let base = self.config_u32(0x10 + 4 * u16::from(bar)) & !0xf;
        let mut regions = self.function.regions().into_iter();
        regions.find(|region| region.range.base() == u64::from(base)).unwrap()
    }

    pub(super) fn read(&self, cfg_type: u8, offset: u64, data: &mut [u8]) {
        let structure = self.structure(cfg_type);
        self.region(structure.bar).device.read(structure.offset + offset, data);
    }

    pub(super) fn write(&self, cfg_type: u8, offset: u64, data: &[u8]) {
        let structure = self.structure(cfg_type);
        let _ = self.region(structure.bar).device.write(structure.offset + offset, data);
    }

    pub(super) fn common_u8(&self, offset: u64) -> u8 {
        let mut data = [0];
        self.read(1, offset, &mut data);
        data[0]
    }

    pub(super) fn common_u16(&self, offset: u64) -> u16 {
        let mut data = [0; 2];
        self.read(1, offset, &mut data);
        u16::from_le_bytes(data)
    }

    pub(super) fn status(&self) -> u8 {
        self.common_u8(0x14)
    }

    pub(super) fn set_status(&self, status: u8) {
        self.write(1, 0x14, &[status]);
    }

    pub(super) fn device_features(&self) -> u64 {
        let half = |select: u32| {
            self.write(1, 0, &select.to_le_bytes());
            let mut data = [0; 4];
            self.read(1, 4, &mut data);
            u64::from(u32::from_le_bytes(data))
        };
        half(0) | half(1) << 32
    }

    /// Negotiates `features` up to FEATURES_OK and says whether the device took them.
    pub(super) fn negotiate(&self, features: u64) -> bool {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        self.set_status(1);
        self.set_status(3);
        for half in 0..2u32 {
            self.write(1, 8, &half.to_le_bytes());
            self.write(1, 12, &((features >> (32 * half)) as u32).to_le_bytes());
        }
        self.set_status(11);
        self.status() & 8 != 0
    }

    /// Enables MSI-X with vector 0 for the configuration and 1 for queue 0.
    pub(super) fn use_msix(&self) {
        let capability = self.capabilities(0x11)[0];
        let table = self.region(1);
        for vector in 0..2u64 {
            let _ = table.device.write(vector * 16, &0xfee0_0000u64.to_le_bytes());
            let _ = table.device.write(vector * 16 + 8, &(0x40 + vector).to_le_bytes());
        }
        self.config_write(capability + 2, &0x8000u16.to_le_bytes());
        self.write(1, 0x10, &0u16.to_le_bytes());
        self.write(1, 0x16, &0u16.to_le_bytes());
        self.write(1, 0x1a, &1u16.to_le_bytes());
    }

    /// Sets queue 0 up with `size` entries at the usual places.
    pub(super) fn set_up_queue(&mut self, size: u16) {
        self.ram.write_slice(&[0; 0x6000], GuestAddress(DESC)).unwrap();
        self.write(1, 0x16, &0u16.to_le_bytes());
        self.write(1, 0x18, &size.to_le_bytes());
        self.write(1, 0x20, &DESC.to_le_bytes());
        self.write(1, 0x28, &AVAIL.to_le_bytes());
        self.write(1, 0x30, &USED.to_le_bytes());
        self.write(1, 0x1c, &1u16.to_le_bytes());
        (self.queue_size, self.next_desc, self.avail, self.used) = (size, 0, 0, 0);
    }

    /// All of the set-up, up to DRIVER_OK.
    pub(super) fn start(&mut self, features: u64) {
        assert!(self.negotiate(features | feature::VERSION_1));
        self.use_msix();
        self.set_up_queue(64);
        self.set_status(15);
        assert_eq!(self.status(), 15);
    }

    /// Writes descriptor `index`.
    pub(super) fn describe(&self, table: u64, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let at = table + 16 * u64::from(index);
        self.ram.write_obj(addr, GuestAddress(at)).unwrap();
        self.ram.write_obj(len, GuestAddress(at + 8)).unwrap();
        self.ram.write_obj(flags, GuestAddress(at + 12)).unwrap();
        self.ram.write_obj(next, GuestAddress(at + 14)).unwrap();
    }

    /// Makes a chain of (address, length, flags) available without ringing.
    pub(super) fn offer(&mut self, buffers: &[(u64, u32, u16)]) {
        let head = self.next_desc;
        for (position, &(addr, len, flags)) in buffers.iter().enumerate() {
            let index = self.next_desc % self.queue_size;
            self.next_desc = (index + 1) % self.queue_size;
            let next = if position + 1 < buffers.len() { NEXT } else { 0 };
            self.describe(DESC, index, addr, len, flags | next, self.next_desc);
        }
        self.publish(head);
    }

    /// The descriptor that the next chain begins with.
    pub(super) fn next_descriptor(&self) -> u16 {
        self.next_desc
    }

    /// Puts `head` into the available ring.
    pub(super) fn publish(&mut self, head: u16) {
        let slot = AVAIL + 4 + 2 * u64::from(self.avail % self.queue_size);
        self.ram.write_obj(head, GuestAddress(slot)).unwrap();
        self.avail = self.avail.wrapping_add(1);
        self.ram.store(self.avail, GuestAddress(AVAIL + 2), Ordering::SeqCst).unwrap();
    }

    /// Rings the doorbell as KVM does, through the event.
    pub(super) fn ring(&self) {
        let region = self.region(self.structure(2).bar);
        region.doorbells[0].event.write(1).unwrap();
    }

    /// Rings the doorbell through the trapped write.
    pub(super) fn ring_trapped(&self) {
        self.write(2, 0, &0u16.to_le_bytes());
    }

    pub(super) fn used_index(&self) -> u16 {
        self.ram.load(GuestAddress(USED + 2), Ordering::SeqCst).unwrap()
    }

    /// Waits for the next used element: (head, length). `None` when the device gave up.
    pub(super) fn wait_used(&mut self) -> Option<(u32, u32)> {
        let deadline = Instant::now() + PATIENCE;
        while self.used_index() == self.used {
            if self.status() & 64 != 0 {
                return None;
            }
            assert!(Instant::now() < deadline, "the device did not answer");
            std::thread::yield_now();
        }
        let slot = USED + 4 + 8 * u64::from(self.used % self.queue_size);
        self.used = self.used.wrapping_add(1);
        Some((
            self.ram.read_obj(GuestAddress(slot)).unwrap(),
            self.ram.read_obj(GuestAddress(slot + 4)).unwrap(),
        ))
    }

    pub(super) fn wait_needs_reset(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.status() & 64 == 0 {
            assert!(Instant::now() < deadline, "the device did not ask for a reset");
            std::thread::yield_now();
        }
    }

    /// Waits for vector `index` to fire.
    pub(super) fn wait_vector(&self, index: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.vectors[index].event.read().is_err() {
            assert!(Instant::now() < deadline, "vector {index} stayed silent");
            std::thread::yield_now();
        }
    }
}
