//! A display adapter with a linear framebuffer: function 1234:1111 as Bochs and QEMU know it (docs/specs/standard-vga of QEMU, "secondary-vga"),
//! for which OVMF has a driver (`OvmfPkg/QemuVideoDxe`) and Linux another one (`drivers/gpu/drm/tiny/bochs.c`). Windows draws with its basic display
//! driver into the framebuffer of the mode that OVMF has set.
//!
//! | where               | what                                                              |
//! |---------------------|-------------------------------------------------------------------|
//! | BAR 0               | the framebuffer, reached without a trap while it is decoded       |
//! | BAR 2, 000h–3FFh    | the panel's EDID                                                  |
//! | BAR 2, 400h–41Fh    | VGA ports 3C0h–3DFh, as far as drivers touch them (`vga`)         |
//! | BAR 2, 500h–515h    | the mode registers, 16 bits each (`dispi`)                        |
//! | BAR 2, 600h–607h    | the length of this block, and the byte order, which is little     |
//! | ports 1CEh–1D1h     | index of a mode register, and its value at 1CFh and 1D0h          |
//!
//! It is no VGA: it has neither that class, nor the ports and memory of one, which a passed-through GPU may need for itself.

mod dispi;
mod function;
#[cfg(test)]
mod tests;
mod vga;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{Bytes, GuestAddress};

use self::dispi::Dispi;
pub(super) use self::dispi::Unshown;
use self::vga::Vga;
use super::SizeRefusal;
use super::surface::{Pixels, Surface};
use crate::GuestRam;
use crate::bus::{Action, BusDevice};

/// Bytes of an EDID of one block.
const EDID: usize = 128;
/// The least framebuffer: for two pictures of 3840 × 2160 pixels.
const MIN_MEMORY: u64 = 64 << 20;
/// Pictures that fit the framebuffer. Linux' driver offers no mode that takes more than half of it.
const PICTURES: u64 = 2;
const PIXEL: u64 = 4;

/// Sections of BAR 2, by their first and last byte.
const EDID_LAST: u64 = 0x3ff;
const VGA_FIRST: u64 = 0x400;
const VGA_LAST: u64 = VGA_FIRST + vga::PORTS as u64 - 1;
const DISPI_FIRST: u64 = 0x500;
const DISPI_LAST: u64 = DISPI_FIRST + 2 * dispi::index::COUNT as u64 - 1;
const EXTENDED_FIRST: u64 = 0x600;
/// The length of the extended registers and the mark of little-endian pixels, which cannot be changed.
const EXTENDED: [u8; 8] = [8, 0, 0, 0, 0x1e, 0x1e, 0x1e, 0x1e];

/// Bytes of the framebuffer of an adapter whose panel has so many pixels: a power of two.
pub fn memory_for(width: u32, height: u32) -> u64 {
    let picture = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(PIXEL);
    picture.saturating_mul(PICTURES).max(MIN_MEMORY).checked_next_power_of_two().unwrap_or(1 << 63)
}

/// Describes a panel of this width and height as an EDID; `None` for sizes that none can have.
pub type DescribePanel = dyn Fn(u32, u32) -> Option<[u8; EDID]> + Send + Sync;

struct State {
    dispi: Dispi,
    vga: Vga,
    /// The register that ports 1CFh and 1D0h show.
    port_index: u16,
    edid: [u8; EDID],
}

/// The adapter: its registers and its framebuffer.
pub struct Bochs {
    framebuffer: GuestRam,
    len: u64,
    describe: Box<DescribePanel>,
    state: Mutex<State>,
}

impl Bochs {
    /// An adapter for a panel of `width` × `height` pixels, with as much memory as [`memory_for`] says.
    ///
    /// # Errors
    /// The host has no memory for the framebuffer, or no panel has this size.
    pub fn new(width: u32, height: u32, describe: Box<DescribePanel>) -> io::Result<Arc<Self>> {
        let edid = describe(width, height).ok_or(io::ErrorKind::InvalidInput)?;
        let len = memory_for(width, height);
        let size = usize::try_from(len).map_err(io::Error::other)?;
        let framebuffer = GuestRam::from_ranges(&[(GuestAddress(0), size)]).map_err(io::Error::other)?;
        let state = State { dispi: Dispi::new(len), vga: Vga::default(), port_index: 0, edid };
        Ok(Arc::new(Self { framebuffer, len, describe, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Registers: every state is one that a guest could have written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The framebuffer, from address 0 on. For those who watch it.
    pub fn framebuffer(&self) -> &GuestRam {
        &self.framebuffer
    }

    /// What the guest shows.
    pub(super) fn surface(&self) -> Result<Surface, Unshown> {
        let state = self.lock();
        let dispi::Mode { format, width, height, stride, offset } = state.dispi.mode()?;
        if state.vga.is_off() {
            return Err(Unshown::Blanked);
        }
        Ok(Surface {
            format,
            width,
            height,
            stride,
            pixels: Pixels::Adapter(self.framebuffer.clone(), offset),
        })
    }

    /// Gives the adapter a panel of this size. A guest finds it when it next reads the EDID: Linux' driver when it starts, or
    /// when somebody asks for the modes; firmware at the next start.
    pub(super) fn set_panel(&self, width: u32, height: u32) -> Result<(), SizeRefusal> {
        let edid = (self.describe)(width, height).ok_or(SizeRefusal::Invalid)?;
        if memory_for(width, height) > self.len {
            return Err(SizeRefusal::TooLarge);
        }
        self.lock().edid = edid;
        Ok(())
    }

    /// The power-on state. The panel stays connected, and the framebuffer keeps its contents.
    fn reset(&self) {
        let mut state = self.lock();
        let State { dispi, vga, port_index, edid: _ } = &mut *state;
        *dispi = Dispi::new(self.len);
        *vga = Vga::default();
        *port_index = 0;
    }

    /// Writes a mode register.
    fn write_register(&self, register: u16, value: u16) {
        let mut state = self.lock();
        let clear = state.dispi.write(register, value);
        let mode = if clear { state.dispi.mode().ok() } else { None };
        drop(state);
        if let Some(mode) = mode {
            let dispi::Mode { width, height, stride, .. } = mode;
            crate::limited_debug!(width, height, stride, "the guest sets a mode of the display adapter");
            self.clear(u64::from(stride) * u64::from(height));
        }
    }

    /// Blackens so many bytes of the framebuffer, as far as there are so many.
    fn clear(&self, len: u64) {
        static PIECE: [u8; 64 << 10] = [0; 64 << 10];
        let len = len.min(self.len);
        for offset in (0..len).step_by(PIECE.len()) {
            let count = usize::try_from(len - offset).unwrap_or(PIECE.len()).min(PIECE.len());
            // All of it is memory of this adapter's.
            let _ =
                self.framebuffer.write_slice(PIECE.get(..count).unwrap_or_default(), GuestAddress(offset));
        }
    }
}

/// BAR 2.
struct Registers(Arc<Bochs>);

impl BusDevice for Registers {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.0.lock();
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = match at {
                0..=EDID_LAST => {
                    usize::try_from(at).ok().and_then(|at| state.edid.get(at)).copied().unwrap_or(0)
                }
                VGA_FIRST..=VGA_LAST => state.vga.read((at - VGA_FIRST) as u16),
                DISPI_FIRST..=DISPI_LAST => {
                    let value = state.dispi.read(((at - DISPI_FIRST) / 2) as u16);
                    value.to_le_bytes()[(at & 1) as usize]
                }
                _ => at
                    .checked_sub(EXTENDED_FIRST)
                    .and_then(|at| EXTENDED.get(usize::try_from(at).ok()?))
                    .copied()
                    .unwrap_or(0),
            };
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut at = offset;
        let mut rest = data;
        while let Some((&byte, after)) = rest.split_first() {
            let mut taken = 1;
            match at {
                VGA_FIRST..=VGA_LAST => self.0.lock().vga.write((at - VGA_FIRST) as u16, byte),
                DISPI_FIRST..=DISPI_LAST => {
                    let register = ((at - DISPI_FIRST) / 2) as u16;
                    let [low, high] = self.0.lock().dispi.read(register).to_le_bytes();
                    let value = match (at & 1, after.first()) {
                        (0, Some(&next)) => {
                            taken = 2;
                            [byte, next]
                        }
                        (0, None) => [byte, high],
                        _ => [low, byte],
                    };
                    self.0.write_register(register, u16::from_le_bytes(value));
                }
                // The EDID and the extended registers are read-only.
                _ => {}
            }
            at += taken;
            rest = data.get((at - offset) as usize..).unwrap_or_default();
        }
        Action::None
    }
}

/// What answers for the framebuffer where it cannot be reached without a trap.
struct Trapped(Arc<Bochs>);

impl BusDevice for Trapped {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if self.0.framebuffer.read_slice(data, GuestAddress(offset)).is_err() {
            data.fill(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        // Nothing is written behind the last byte, and nobody is told: as in any memory.
        let _ = self.0.framebuffer.write_slice(data, GuestAddress(offset));
        Action::None
    }
}

/// The way to the mode registers by ports: 16 bits each, an index at the first one, and the value at the second and at the third.
pub struct BochsPorts(pub Arc<Bochs>);

impl BusDevice for BochsPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.0.lock();
        match (offset, <&mut [u8; 2]>::try_from(&mut *data)) {
            (0, Ok(word)) => *word = state.port_index.to_le_bytes(),
            (1 | 2, Ok(word)) => *word = state.dispi.read(state.port_index).to_le_bytes(),
            _ => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match (offset, <[u8; 2]>::try_from(data)) {
            (0, Ok(word)) => self.0.lock().port_index = u16::from_le_bytes(word),
            (1 | 2, Ok(word)) => {
                let register = self.0.lock().port_index;
                self.0.write_register(register, u16::from_le_bytes(word));
            }
            _ => {}
        }
        Action::None
    }
}
