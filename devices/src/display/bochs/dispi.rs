//! The mode registers of the adapter: the "DISPI" interface of Bochs' VGA BIOS extensions (`vbe_display_api.txt` of Bochs), as QEMU has them
//! (docs/specs/standard-vga).

use super::super::format::PixelFormat;
use super::super::surface::is_showable;

/// Indices of the registers. Each has 16 bits.
pub(super) mod index {
    /// The version of the interface; software writes the one that it knows.
    pub(in super::super) const ID: u16 = 0;
    /// Columns.
    pub(in super::super) const XRES: u16 = 1;
    /// Rows.
    pub(in super::super) const YRES: u16 = 2;
    /// Bits of a pixel.
    pub(in super::super) const BPP: u16 = 3;
    /// See [`super::enable`].
    pub(in super::super) const ENABLE: u16 = 4;
    /// Columns from one row to the next, if those are more.
    pub(in super::super) const VIRT_WIDTH: u16 = 6;
    /// The column of the framebuffer that is shown at the left edge.
    pub(in super::super) const X_OFFSET: u16 = 8;
    /// The row that is shown at the upper edge.
    pub(in super::super) const Y_OFFSET: u16 = 9;
    /// The framebuffer's size in units of 64 KiB; read-only.
    pub(in super::super) const MEMORY: u16 = 10;
    /// Of all registers, with two that nothing depends on: the bank of a window that this adapter has not, and the framebuffer's height.
    pub(in super::super) const COUNT: u16 = 11;
}

/// Bits of [`index::ENABLE`].
pub(super) mod enable {
    /// The mode is shown.
    pub(in super::super) const ENABLED: u16 = 0x01;
    /// Size and depth read as the largest there are.
    pub(in super::super) const CAPABILITIES: u16 = 0x02;
    /// The framebuffer keeps its contents when the mode begins.
    pub(in super::super) const KEEP_MEMORY: u16 = 0x80;
}

/// The versions that software may choose from; the last is the one that it finds.
const VERSIONS: std::ops::RangeInclusive<u16> = 0xb0c0..=0xb0c5;
/// The largest that is shown.
const LARGEST: (u16, u16, u16) = (8192, 4320, 32);
const UNIT: u64 = 64 << 10;

/// A mode that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) format: PixelFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row to the next.
    pub(super) stride: u32,
    /// Bytes from the start of the framebuffer to the first pixel.
    pub(super) offset: u64,
}

/// Why no mode is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Unshown {
    #[error(
        "neither the firmware nor the guest's driver has set a mode of the display adapter. Firmware does so a second or two after the start; if \
         it never does, it has no driver for it: use an OVMF image with QemuVideoDxe, as distributions ship it. With boot = \"direct\" the \
         guest's kernel needs the driver `bochs`"
    )]
    Off,
    #[error(
        "the guest has switched its display off to save power: a key or a motion of the pointer wakes it"
    )]
    Blanked,
    #[error(
        "the guest's driver shows pixels of {0} bits, and 16, 24 and 32 are understood. Set another colour depth in the guest"
    )]
    Depth(u16),
    #[error(
        "the guest's driver shows {width} × {height} pixels that do not all lie in the display adapter's memory. Set another resolution in \
         the guest"
    )]
    Shape { width: u16, height: u16 },
}

/// The registers.
#[derive(Debug, Clone)]
pub(super) struct Dispi {
    values: [u16; index::COUNT as usize],
    /// Bytes of the framebuffer.
    memory: u64,
}

impl Dispi {
    /// At power-on, before a framebuffer of so many bytes.
    pub(super) fn new(memory: u64) -> Self {
        let mut this = Self { values: [0; index::COUNT as usize], memory };
        this.set(index::ID, *VERSIONS.end());
        this
    }

    fn set(&mut self, register: u16, value: u16) {
        if let Some(slot) = self.values.get_mut(usize::from(register)) {
            *slot = value;
        }
    }

    fn get(&self, register: u16) -> u16 {
        self.values.get(usize::from(register)).copied().unwrap_or(0)
    }

    /// What the guest reads; 0 where there is no register.
    pub(super) fn read(&self, register: u16) -> u16 {
        let asks = self.get(index::ENABLE) & enable::CAPABILITIES != 0;
        match register {
            index::MEMORY => u16::try_from(self.memory / UNIT).unwrap_or(u16::MAX),
            index::XRES if asks => LARGEST.0,
            index::YRES if asks => LARGEST.1,
            index::BPP if asks => LARGEST.2,
            register => self.get(register),
        }
    }

    /// The guest writes. Says whether the framebuffer is to be cleared, because a mode begins.
    #[must_use]
    pub(super) fn write(&mut self, register: u16, value: u16) -> bool {
        match register {
            index::ID if !VERSIONS.contains(&value) => {}
            index::MEMORY => {}
            index::ENABLE => {
                let begins = value & enable::ENABLED != 0 && self.get(index::ENABLE) & enable::ENABLED == 0;
                if begins {
                    // The whole framebuffer is the screen's, until the driver says otherwise.
                    self.set(index::VIRT_WIDTH, self.get(index::XRES));
                    self.set(index::X_OFFSET, 0);
                    self.set(index::Y_OFFSET, 0);
                }
                self.set(index::ENABLE, value);
                return begins && value & enable::KEEP_MEMORY == 0;
            }
            register => self.set(register, value),
        }
        false
    }

    /// What is shown. Every pixel of it lies within the framebuffer.
    pub(super) fn mode(&self) -> Result<Mode, Unshown> {
        if self.get(index::ENABLE) & enable::ENABLED == 0 {
            return Err(Unshown::Off);
        }
        let format = match self.get(index::BPP) {
            32 => PixelFormat::Xrgb8888,
            24 => PixelFormat::Rgb888,
            16 => PixelFormat::Rgb565,
            depth => return Err(Unshown::Depth(depth)),
        };
        let (width, height) = (self.get(index::XRES), self.get(index::YRES));
        let columns = self.get(index::VIRT_WIDTH).max(width);
        // At most 16 bits by 16 bits, four bytes each: far from 64 bits.
        let pixel = u64::from(format.bytes());
        let stride = u64::from(columns) * pixel;
        let offset =
            u64::from(self.get(index::Y_OFFSET)) * stride + u64::from(self.get(index::X_OFFSET)) * pixel;
        let end = offset + stride * u64::from(height.saturating_sub(1)) + u64::from(width) * pixel;
        let (width, height) = (u32::from(width), u32::from(height));
        match u32::try_from(stride) {
            Ok(stride) if is_showable(width, height) && end <= self.memory => {
                Ok(Mode { format, width, height, stride, offset })
            }
            _ => Err(Unshown::Shape { width: self.get(index::XRES), height: self.get(index::YRES) }),
        }
    }
}
