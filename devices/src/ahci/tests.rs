//! The controller through its registers, with drives at two of its ports: what QEMU's tests of its controller check, and
//! what the drivers of Windows, Linux and OVMF do.

mod commands;
mod courses;
mod disks;
mod drivers;
mod held;
mod hostile;
mod queued;
mod registers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use vm_memory::GuestAddress;

use super::*;
use crate::atapi::Medium;
use crate::atapi::tests::{Pattern, identity};
use crate::interrupt::MsiMessage;
use crate::pci::PciFunction;
use crate::pci::config::reg;
use crate::pci::msix::testing::FakeAllocator;
use crate::test_support::{Line, Memory};

const ABAR_AT: u32 = 0xc000_0000;
const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x41 };
const RAM: u64 = 0x40_0000;

/// Where a guest has its structures, port by port.
const LIST: u64 = 0x1000;
const FRAMES: u64 = 0x2000;
const TABLES: u64 = 0x1_0000;
const DATA: u64 = 0x10_0000;

struct Bench {
    function: Arc<Endpoint<Ahci>>,
    drives: [Arc<Drive>; 2],
    line: Arc<Line>,
    vectors: FakeAllocator,
    ram: GuestRam,
}

/// The port of the first drive.
const DRIVE: usize = 5;

/// A controller with `medium` in the drive at the last port, and an empty one before it.
fn with(medium: Arc<dyn Medium>) -> Bench {
    let drives = [Drive::new(identity(), Some(("a.iso".into(), medium))), Drive::new(identity(), None)];
    let mut attached = [const { None }; PORTS];
    attached[5] = Some(Attached::Drive(Arc::clone(&drives[0])));
    attached[4] = Some(Attached::Drive(Arc::clone(&drives[1])));
    assemble(attached, drives)
}

fn assemble(attached: [Option<Attached>; PORTS], drives: [Arc<Drive>; 2]) -> Bench {
    let (line, vectors) = (Arc::<Line>::default(), FakeAllocator::default());
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
    let function = Ahci::endpoint(attached, ram.clone(), &vectors, line.clone()).unwrap();
    let bench = Bench { function, drives, line, vectors, ram };
    let _ = bench.function.config_write(reg::BAR0 + 4 * 5, &ABAR_AT.to_le_bytes());
    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
    bench
}

fn bench() -> Bench {
    with(Pattern::new(1000))
}

impl Memory for Bench {
    fn ram(&self) -> &GuestRam {
        &self.ram
    }
}

impl Bench {
    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.bytes(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn bytes(&self, offset: u64, data: &mut [u8]) {
        self.function.regions()[0].device.read(offset, data);
    }

    fn write(&self, offset: u64, value: u32) {
        let _ = self.function.regions()[0].device.write(offset, &value.to_le_bytes());
    }

    fn port(&self, port: usize, register: u64) -> u32 {
        self.read(super::registers::PORT_BASE + port as u64 * super::registers::PORT_SIZE + register)
    }

    fn set_port(&self, port: usize, register: u64, value: u32) {
        self.write(super::registers::PORT_BASE + port as u64 * super::registers::PORT_SIZE + register, value);
    }

    /// Sets a port up as drivers do, with interrupts.
    fn start(&self, port: usize) {
        use super::registers::port as p;
        self.write(4, 0x8000_0002);
        self.set_port(port, p::CLB, LIST as u32);
        self.set_port(port, p::FB, FRAMES as u32);
        self.set_port(port, p::CMD, 1 << 4);
        self.set_port(port, p::IS, u32::MAX);
        self.set_port(port, p::IE, u32::MAX);
        self.set_port(port, p::CMD, 1 << 4 | 1);
    }

    /// Writes a command into a slot: frame, packet, and regions of guest memory.
    fn prepare(&self, slot: u32, frame: &[u8], packet: &[u8], regions: &[(u64, u32)]) {
        let table = TABLES + u64::from(slot) * 0x1000;
        let flags = 5u32 | (regions.len() as u32) << 16 | if packet.is_empty() { 0 } else { 1 << 5 };
        let header = [flags, 0xdead, table as u32, 0];
        let header: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
        self.put(LIST + u64::from(slot) * 32, &header);
        self.put(table, &[0; 0x80]);
        self.put(table, frame);
        self.put(table + 0x40, packet);
        for (index, (at, len)) in regions.iter().enumerate() {
            let entry = [*at as u32, (*at >> 32) as u32, 0, len.wrapping_sub(1)];
            let entry: Vec<u8> = entry.into_iter().flat_map(u32::to_le_bytes).collect();
            self.put(table + 0x80 + 16 * index as u64, &entry);
        }
    }

    /// Issues queued commands.
    fn enqueue(&self, slots: u32) {
        self.set_port(0, super::registers::port::SACT, slots);
        self.set_port(0, super::registers::port::CI, slots);
    }

    fn issue(&self, port: usize, slot: u32) {
        self.set_port(port, super::registers::port::CI, 1 << slot);
    }

    /// Waits until the device has done with `slot`, in whatever way.
    fn wait(&self, port: usize, slot: u32) {
        use super::registers::port as p;
        until(|| self.port(port, p::CI) & 1 << slot == 0 || self.port(port, p::IS) & 0x7d00_0000 != 0);
    }

    /// Performs a command; returns task file and count of bytes.
    fn perform(&self, port: usize, frame: &[u8], packet: &[u8], regions: &[(u64, u32)]) -> (u32, u32) {
        self.prepare(0, frame, packet, regions);
        self.issue(port, 0);
        self.wait(port, 0);
        (self.port(port, super::registers::port::TFD), self.get_u32(LIST + 4))
    }

    /// A packet command with DMA whose data goes to [`DATA`], and what has come.
    fn packet(&self, packet: &[u8], len: u32) -> (u32, Vec<u8>) {
        let (status, count) = self.perform(DRIVE, &PACKET_DMA, packet, &[(DATA, len)]);
        (status, self.get(DATA, count as usize))
    }

    /// As drivers do after an error.
    fn recover(&self, port: usize) {
        use super::registers::port as p;
        self.set_port(port, p::CMD, 1 << 4);
        assert_eq!(self.port(port, p::CMD) & 1 << 15, 0, "not running");
        self.set_port(port, p::SCTL, 0);
        self.set_port(port, p::IS, u32::MAX);
        self.set_port(port, p::CMD, 1 << 4 | 1);
    }

    /// Takes the attention after power-on.
    fn settle(&self) {
        let (status, _) = self.packet(&[0; 16], 2);
        assert_eq!(status, 0x6051);
        self.recover(DRIVE);
    }
}

/// PACKET by DMA, and by PIO with a limit of 0xfffe bytes.
const PACKET_DMA: [u8; 16] = [0x27, 0x80, 0xa0, 1, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0];
const PACKET_PIO: [u8; 16] = [0x27, 0x80, 0xa0, 0, 0, 0xfe, 0xff, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A frame with a command and nothing else.
fn frame(command: u8) -> [u8; 16] {
    [0x27, 0x80, command, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_micros(50));
    }
}
