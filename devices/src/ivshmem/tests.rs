//! The function on a bus, over real memory.

use std::io::Write;

use proptest::prelude::*;
use vm_memory::{FileOffset, MmapRegion};
use vocabulary::{Devfn, PciAddress};

use super::*;
use crate::bus::Bus;
use crate::memory::HostMemoryKind;
use crate::pci::config::{command, reg};
use crate::pci::{Doorbell, IoEvents, PciFunction, RootComplex, Space};
use crate::test_support::Windows;

const BAR2: u16 = reg::BAR0 + 8;
const SIZE: u64 = 2 << 20;

struct NoDoorbells;

impl IoEvents for NoDoorbells {
    fn arm(&self, _: Space, _: u64, _: &Doorbell) -> std::io::Result<()> {
        Ok(())
    }
    fn disarm(&self, _: Space, _: u64, _: &Doorbell) -> std::io::Result<()> {
        Ok(())
    }
}

struct Rig {
    file: File,
    root: Arc<RootComplex>,
    memory: Arc<Bus>,
    windows: Arc<Windows>,
}

fn at() -> PciAddress {
    PciAddress::on(0, Devfn::new(5, 0).unwrap())
}

fn shared(len: u64) -> (File, HostMemory) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    let mapping =
        MmapRegion::<()>::from_file(FileOffset::new(file.try_clone().unwrap(), 0), len as usize).unwrap();
    let address = mapping.as_ptr() as u64;
    (file, HostMemory::new(address, len, HostMemoryKind::Device, Arc::new(mapping)))
}

fn rig() -> Rig {
    let (file, lent) = shared(SIZE);
    let (memory, windows) = (Bus::new(), Arc::new(Windows::default()));
    let root = RootComplex::new(Bus::new(), Arc::clone(&memory), Arc::new(NoDoorbells), windows.clone());
    root.add(at().devfn(), function(lent, file.try_clone().unwrap(), false).unwrap()).unwrap();
    root.seal();
    Rig { file, root, memory, windows }
}

impl Rig {
    fn read(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.root.config_read(at(), register, &mut data);
        u32::from_le_bytes(data)
    }
    fn write(&self, register: u16, value: u32) {
        let _ = self.root.config_write(at(), register, &value.to_le_bytes());
    }
    fn enable(&self) {
        let _ = self.root.config_write(at(), reg::COMMAND, &command::MEMORY.to_le_bytes());
    }
}

#[test]
fn a_slot_that_others_share_says_so() {
    for (multifunction, header) in [(false, 0), (true, 0x80)] {
        let (file, lent) = shared(SIZE);
        let function = function(lent, file, multifunction).unwrap();
        let mut data = [0];
        function.config_read(reg::HEADER_TYPE, &mut data);
        assert_eq!(data, [header]);
    }
}

#[test]
fn drivers_find_the_ids_and_two_bars_and_nothing_else() {
    let rig = rig();
    assert_eq!(rig.read(reg::VENDOR_ID), 0x1110_1af4);
    assert_eq!(rig.read(reg::REVISION_ID), 0x0500_0001, "RAM, revision 1");
    assert_eq!(rig.read(reg::SUBSYSTEM_VENDOR_ID), 0x1100_1af4);
    assert_eq!(rig.read(0x34) & 0xff, 0, "no capabilities");
    assert_eq!(rig.read(reg::INTERRUPT_LINE) >> 8 & 0xff, 0, "no interrupt pin");
    for (index, mask) in [0xffff_ff00, 0, 0xffe0_000c, 0xffff_ffff, 0, 0].into_iter().enumerate() {
        let register = reg::BAR0 + 4 * index as u16;
        rig.write(register, u32::MAX);
        assert_eq!(rig.read(register), mask, "BAR {index}");
    }
}

#[test]
fn the_memory_is_where_its_bar_says() {
    let rig = rig();
    rig.write(BAR2, 0);
    rig.write(BAR2 + 4, 0x80);
    assert!(rig.windows.shown().is_empty(), "not decoded yet");
    rig.enable();
    assert_eq!(rig.windows.shown(), [(0x80_0000_0000, SIZE)]);
    rig.write(BAR2, 0x4020_0000);
    assert_eq!(rig.windows.shown(), [(0x80_4020_0000, SIZE)]);
    rig.root.reset();
    assert!(rig.windows.shown().is_empty());
}

#[test]
fn what_traps_reaches_the_same_memory() {
    let mut rig = rig();
    rig.write(BAR2, 0xc000_0000);
    rig.write(BAR2 + 4, 0);
    rig.enable();
    let mut data = [0; 8];
    rig.file.write_all(b"from the").unwrap();
    rig.memory.view().read(0xc000_0000, &mut data);
    assert_eq!(&data, b"from the");
    assert_eq!(rig.memory.view().write(0xc000_0000 + SIZE - 4, b"last"), Action::None);
    let mut last = [0; 4];
    rig.file.read_exact_at(&mut last, SIZE - 4).unwrap();
    assert_eq!(&last, b"last");
    // Somebody has cut the file.
    rig.file.set_len(4096).unwrap();
    rig.memory.view().read(0xc000_0000 + SIZE - 8, &mut data);
    assert_eq!(data, [0xff; 8]);
}

#[test]
fn registers_are_there_and_say_nothing() {
    let rig = rig();
    rig.write(reg::BAR0, 0xd000_0000);
    rig.enable();
    for offset in [0, 4, 8, 0xc, 0xff] {
        let mut data = [0xaa; 1];
        rig.memory.view().read(0xd000_0000 + offset, &mut data);
        assert_eq!(data, [0]);
    }
    // A doorbell of a peer that is not there.
    assert_eq!(rig.memory.view().write(0xd000_000c, &[1, 0, 0, 0]), Action::None);
}

#[test]
fn sizes_that_no_bar_has_are_refused() {
    for size in [0x1000, 3 << 20] {
        let (file, lent) = shared(size);
        assert!(function(lent, file, false).is_none(), "{size}");
    }
}

/// The table of Looking Glass' documentation, in MiB.
#[test]
fn sizes_for_screens_are_those_of_looking_glass() {
    for (width, height, hdr, mib) in [
        (1920, 1080, false, 32),
        (1920, 1200, false, 32),
        (2560, 1440, false, 64),
        (3440, 1440, false, 64),
        (3840, 2160, false, 128),
        (5120, 1440, false, 128),
        (5120, 2880, false, 256),
        (7680, 4320, false, 512),
        (1920, 1080, true, 64),
        (3840, 2160, true, 256),
    ] {
        assert_eq!(size_for_frames(width, height, hdr), Some(ByteSize::from_mib(mib)), "{width} × {height}");
    }
    assert_eq!(size_for_frames(u32::MAX, u32::MAX, true), None);
}

proptest! {
    #[test]
    fn sizes_for_screens_suffice_and_are_those_of_a_bar(width: u32, height in 0_u32..20_000, hdr: bool) {
        if let Some(size) = size_for_frames(width, height, hdr) {
            prop_assert!(size.bytes().is_power_of_two());
            prop_assert!((MIN_SIZE..=MAX_SIZE).contains(&size.bytes()));
            prop_assert!(size.bytes() >= u64::from(width) * u64::from(height) * 12);
        }
    }
}
