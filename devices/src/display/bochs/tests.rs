//! The adapter on its buses, as drivers and hostile guests use it.

mod registers;

use proptest::prelude::*;
use vm_memory::GuestMemoryBackend;
use vocabulary::{Devfn, PciAddress, ports};

use super::dispi::{enable, index};
use super::*;
use crate::bus::{Bus, Priority};
use crate::display::format::PixelFormat;
use crate::pci::config::{command, reg};
use crate::pci::{Doorbell, IoEvents, RootComplex, Space};
use crate::test_support::Windows;

const FRAMEBUFFER: u64 = 0xc000_0000;
const MMIO: u64 = 0xd000_0000;

struct NoDoorbells;

impl IoEvents for NoDoorbells {
    fn arm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
    fn disarm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
}

/// A description that says which size it is of; none of sides above 4095.
fn describe(width: u32, height: u32) -> Option<[u8; EDID]> {
    let mut block = [0; EDID];
    block[..4].copy_from_slice(&(width << 16 | height).to_be_bytes());
    ((640..=4095).contains(&width) && (480..=4095).contains(&height)).then_some(block)
}

struct Rig {
    adapter: Arc<Bochs>,
    root: Arc<RootComplex>,
    memory: Arc<Bus>,
    io: Arc<Bus>,
    windows: Arc<Windows>,
}

fn at() -> PciAddress {
    PciAddress::on(0, Devfn::new(4, 0).unwrap())
}

/// An adapter whose BARs are decoded.
fn rig() -> Rig {
    let adapter = Bochs::new(1920, 1080, Box::new(describe)).unwrap();
    let (memory, io, windows) = (Bus::new(), Bus::new(), Arc::new(Windows::default()));
    io.insert(ports::BOCHS_VBE.range(), Priority::Platform, Arc::new(BochsPorts(adapter.clone())));
    let root = RootComplex::new(Arc::clone(&io), Arc::clone(&memory), Arc::new(NoDoorbells), windows.clone());
    root.add(at().devfn(), adapter.function(false).unwrap()).unwrap();
    root.seal();
    let rig = Rig { adapter, root, memory, io, windows };
    rig.decode();
    rig
}

impl Rig {
    fn config_read(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.root.config_read(at(), register, &mut data);
        u32::from_le_bytes(data)
    }
    fn config_write(&self, register: u16, value: u32) {
        let _ = self.root.config_write(at(), register, &value.to_le_bytes());
    }
    fn decode(&self) {
        self.config_write(reg::BAR0, FRAMEBUFFER as u32);
        self.config_write(reg::BAR0 + 8, MMIO as u32);
        let _ = self.root.config_write(at(), reg::COMMAND, &command::MEMORY.to_le_bytes());
    }
    fn bytes<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut data = [0xaa; N];
        self.memory.view().read(MMIO + offset, &mut data);
        data
    }
    fn dispi(&self, register: u16) -> u16 {
        u16::from_le_bytes(self.bytes(DISPI_FIRST + 2 * u64::from(register)))
    }
    fn set(&self, register: u16, value: u16) {
        self.store(DISPI_FIRST + 2 * u64::from(register), &value.to_le_bytes());
    }
    fn store(&self, offset: u64, data: &[u8]) {
        assert_eq!(self.memory.view().write(MMIO + offset, data), Action::None);
    }
    /// A mode as OVMF's driver sets it.
    fn mode(&self, width: u16, height: u16) {
        self.set(index::ENABLE, 0);
        for (register, value) in [
            (5, 0),
            (index::X_OFFSET, 0),
            (index::Y_OFFSET, 0),
            (index::BPP, 32),
            (index::XRES, width),
            (index::VIRT_WIDTH, width),
            (index::YRES, height),
            (7, height),
            (index::ENABLE, enable::ENABLED | 0x40),
        ] {
            self.set(register, value);
        }
        self.store(VGA_FIRST, &[0x20]);
    }
    /// Columns, rows, bytes from row to row, format, and where the surface begins.
    fn shown(&self) -> Result<(u32, u32, u32, PixelFormat, u64), Unshown> {
        self.adapter.surface().map(|surface| {
            let Surface { format, width, height, stride, .. } = surface;
            (width, height, stride, format, surface.watched_address().unwrap())
        })
    }
    fn pixel(&self, offset: u64) -> u32 {
        self.adapter.framebuffer().read_obj(GuestAddress(offset)).unwrap()
    }
}

#[test]
fn drivers_find_the_ids_two_bars_and_nothing_else() {
    let rig = rig();
    assert_eq!(rig.config_read(reg::VENDOR_ID), 0x1111_1234);
    assert_eq!(
        rig.config_read(reg::REVISION_ID),
        0x0380_0002,
        "a display controller that is no VGA, revision 2"
    );
    assert_eq!(rig.config_read(reg::CAPABILITIES) & 0xff, 0);
    assert_eq!(rig.config_read(reg::INTERRUPT_LINE) >> 8 & 0xff, 0, "no interrupt pin");
    let _ = rig.root.config_write(at(), reg::COMMAND, &[0, 0]);
    for (number, mask) in [0xfc00_0008, 0, 0xffff_f000, 0, 0, 0].into_iter().enumerate() {
        let register = reg::BAR0 + 4 * number as u16;
        rig.config_write(register, u32::MAX);
        assert_eq!(rig.config_read(register), mask, "BAR {number}");
    }
    assert_eq!(rig.config_read(reg::HEADER_TYPE & !3) >> 16 & 0xff, 0);
    let several = rig.adapter.function(true).unwrap();
    let mut header = [0];
    crate::pci::PciFunction::config_read(&*several, reg::HEADER_TYPE, &mut header);
    assert_eq!(header, [0x80]);
}

#[test]
fn two_pictures_of_the_panel_fit_the_framebuffer() {
    for (width, height, mib) in [
        (640, 480, 64),
        (1920, 1080, 64),
        (3840, 1600, 64),
        (3840, 2160, 64),
        (3840, 2400, 128),
        (4095, 4095, 128),
        (8192, 4320, 512),
    ] {
        let len = memory_for(width, height);
        assert!(len >= 2 * 4 * u64::from(width) * u64::from(height), "{width}x{height}");
        assert_eq!(len >> 20, mib, "{width}x{height}");
    }
    assert!(memory_for(u32::MAX, u32::MAX).is_power_of_two());
}

#[test]
fn the_framebuffer_is_a_window_where_its_bar_says() {
    let rig = rig();
    assert_eq!(rig.windows.shown(), [(FRAMEBUFFER, 64 << 20)]);
    rig.config_write(reg::BAR0, 0xb000_0000);
    assert_eq!(rig.windows.shown(), [(0xb000_0000, 64 << 20)]);
    // What traps reaches the same memory, up to its last byte.
    assert_eq!(rig.memory.view().write(0xb3ff_fffc, &[1, 2, 3, 4]), Action::None);
    assert_eq!(rig.pixel((64 << 20) - 4), 0x0403_0201);
    let mut data = [0; 4];
    rig.memory.view().read(0xb3ff_fffc, &mut data);
    assert_eq!(data, [1, 2, 3, 4]);
    rig.root.reset();
    assert!(rig.windows.shown().is_empty());
}

#[test]
fn a_mode_is_set_as_firmware_and_linux_do() {
    let rig = rig();
    assert_eq!(rig.shown(), Err(Unshown::Off));
    assert_eq!(rig.dispi(index::ID), 0xb0c5);
    assert_eq!(u64::from(rig.dispi(index::MEMORY)) * UNIT, 64 << 20);
    rig.adapter.framebuffer().write_obj(0x55u32, GuestAddress(4)).unwrap();
    rig.mode(1280, 800);
    assert_eq!(rig.shown(), Ok((1280, 800, 5120, PixelFormat::Xrgb8888, 0)));
    assert_eq!(rig.pixel(4), 0, "a mode begins in black");

    // Linux turns pages by offsets, and its console is at an offset of rows.
    rig.set(index::Y_OFFSET, 800);
    rig.set(index::X_OFFSET, 8);
    assert_eq!(rig.shown(), Ok((1280, 800, 5120, PixelFormat::Xrgb8888, 5120 * 800 + 32)));
    rig.set(index::VIRT_WIDTH, 2048);
    assert_eq!(rig.shown(), Ok((1280, 800, 8192, PixelFormat::Xrgb8888, 8192 * 800 + 32)));
    // A mode that is only changed begins nothing: no offset is lost, nothing is cleared.
    rig.adapter.framebuffer().write_obj(0x66u32, GuestAddress(4)).unwrap();
    rig.set(index::ENABLE, 0x41);
    assert_eq!(rig.shown(), Ok((1280, 800, 8192, PixelFormat::Xrgb8888, 8192 * 800 + 32)));
    // A new one begins at the upper left corner, and in black unless it is to keep what there is.
    rig.set(index::ENABLE, 0);
    assert_eq!(rig.shown(), Err(Unshown::Off));
    rig.set(index::ENABLE, 0x41 | enable::KEEP_MEMORY);
    assert_eq!(rig.shown(), Ok((1280, 800, 5120, PixelFormat::Xrgb8888, 0)));
    assert_eq!(rig.pixel(4), 0x66);
    rig.root.reset();
    assert_eq!(rig.shown(), Err(Unshown::Off));
    rig.decode();
    assert_eq!((rig.dispi(index::XRES), rig.dispi(index::ENABLE)), (0, 0));
}

#[test]
fn another_panel_is_described_if_it_has_room() {
    let rig = rig();
    rig.mode(1920, 1080);
    assert_eq!(rig.adapter.set_panel(1280, 1024), Ok(()));
    assert_eq!(rig.bytes::<4>(0), (1280u32 << 16 | 1024).to_be_bytes());
    assert_eq!(rig.shown().unwrap().0, 1920, "the guest has not taken it yet");
    for (width, height, refusal) in [
        (639, 480, SizeRefusal::Invalid),
        (0, 0, SizeRefusal::Invalid),
        (u32::MAX, u32::MAX, SizeRefusal::Invalid),
        (4000, 4000, SizeRefusal::TooLarge),
    ] {
        assert_eq!(rig.adapter.set_panel(width, height), Err(refusal), "{width}x{height}");
    }
    // It stays connected over a reset: the next start of the firmware finds it.
    rig.root.reset();
    rig.decode();
    assert_eq!(rig.bytes::<4>(0), (1280u32 << 16 | 1024).to_be_bytes());
}

const UNIT: u64 = 64 << 10;

proptest! {
    /// Whatever is written to whatever register, in accesses of any width: what is shown lies in the framebuffer.
    #[test]
    fn no_guest_shows_what_is_not_in_the_framebuffer(
        writes in prop::collection::vec((0x3f8u64..0x620, prop::collection::vec(any::<u8>(), 1..=8)), 1..60),
        registers in prop::collection::vec((0u16..12, prop_oneof![any::<u16>(), 0u16..5000]), 0..40),
        depth in prop::sample::select(vec![8u16, 16, 24, 32]),
    ) {
        let rig = rig();
        let check = || {
            let Ok((width, height, stride, format, base)) = rig.shown() else { return Ok(()) };
            let line = u64::from(width) * u64::from(format.bytes());
            let end = base + u64::from(stride) * u64::from(height - 1) + line;
            prop_assert!(u64::from(stride) >= line && end <= 64 << 20);
            let surface = rig.adapter.surface().unwrap();
            prop_assert!(surface.read_rows(height - 1..height, &mut Vec::new()).is_ok());
            Ok(())
        };
        for (offset, data) in &writes {
            rig.store(*offset, data);
            let _ = rig.bytes::<8>(*offset);
            check()?;
        }
        rig.mode(800, 600);
        rig.set(index::BPP, depth);
        check()?;
        for (register, value) in &registers {
            // Ones of such a kind would hide all that is behind them.
            let value = if *register == index::ENABLE { value | enable::ENABLED | enable::KEEP_MEMORY } else { *value };
            rig.set(*register, value);
            check()?;
        }
        prop_assert_eq!(rig.adapter.framebuffer().num_regions(), 1);
    }
}
