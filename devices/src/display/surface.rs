//! A surface: where the pixels of the screen lie, and in which format.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::format::{Fourcc, PixelFormat};
use super::plane::{Plane, PlaneMemory};
use crate::GuestRam;

/// Largest plane that is shown, in columns and rows.
const PLANE_MAX: u32 = 16384;

/// Largest surface that is shown, in pixels: 8K. Those who look have copies of it.
pub(super) const PIXELS_MAX: u64 = 8192 * 4320;

/// Whether a picture of so many columns and rows is shown at all.
pub fn is_showable(width: u32, height: u32) -> bool {
    let side = 1..=PLANE_MAX;
    let area = u64::from(width) * u64::from(height);
    side.contains(&width) && side.contains(&height) && area <= PIXELS_MAX
}

/// Why a plane cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaneRefusal {
    #[error(
        "the guest's driver shows a tiled buffer (format {0}, modifier {1:#x}) that cannot be read in order. Let the \
         guest use a linear one: under Linux a text console does, and so does a desktop without acceleration"
    )]
    Tiled(Fourcc, u64),
    #[error(
        "the guest's driver shows pixels in format {0}, which is not among those understood. Set another colour depth \
         in the guest: 32 bits always work"
    )]
    Format(Fourcc),
    #[error(
        "the guest's driver shows a plane that does not fit its own memory, or is larger than 8K: {width} × {height}, \
         {stride} bytes per row, {size} bytes in all. Set another resolution in the guest"
    )]
    Shape { width: u32, height: u32, stride: u32, size: u64 },
}

/// Where the pixels are.
#[derive(Clone)]
pub(super) enum Pixels {
    /// In guest memory, from this address on.
    Ram(GuestRam, u64),
    /// In the memory of the display adapter, from this offset on.
    Adapter(GuestRam, u64),
    /// In a plane.
    Plane(Arc<dyn PlaneMemory>),
}

/// What is shown. The constructors see to it that every row lies within the memory.
#[derive(Clone)]
pub(super) struct Surface {
    pub(super) format: PixelFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row to the next, no less than a row has.
    pub(super) stride: u32,
    pub(super) pixels: Pixels,
}

impl Surface {
    /// Checks what a driver says of its plane.
    pub(super) fn of_plane(plane: &Plane) -> Result<Self, PlaneRefusal> {
        let code = Fourcc(plane.format);
        let &Plane { width, height, stride, size, .. } = plane;
        let format = PixelFormat::from_fourcc(plane.format).ok_or(PlaneRefusal::Format(code))?;
        if plane.modifier != 0 {
            return Err(PlaneRefusal::Tiled(code, plane.modifier));
        }
        let surface =
            Self { format, width, height, stride, pixels: Pixels::Plane(Arc::clone(&plane.memory)) };
        let fits = is_showable(width, height) && stride >= surface.line() && surface.bytes() <= size;
        if fits { Ok(surface) } else { Err(PlaneRefusal::Shape { width, height, stride, size }) }
    }

    /// Bytes of one row. Sizes are at most [`PLANE_MAX`].
    pub(super) fn line(&self) -> u32 {
        self.width.saturating_mul(self.format.bytes())
    }

    /// Bytes from the first pixel to the end of the last.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.stride) * u64::from(self.height.saturating_sub(1)) + u64::from(self.line())
    }

    /// Whether both are the same memory in the same shape.
    pub(super) fn is(&self, other: &Self) -> bool {
        let Self { format, width, height, stride, pixels } = self;
        let same_place = match (pixels, &other.pixels) {
            (Pixels::Ram(_, one), Pixels::Ram(_, another))
            | (Pixels::Adapter(_, one), Pixels::Adapter(_, another)) => one == another,
            (Pixels::Plane(one), Pixels::Plane(another)) => one.id() == another.id(),
            _ => false,
        };
        let shape = (*format, *width, *height, *stride);
        same_place && shape == (other.format, other.width, other.height, other.stride)
    }

    /// Where the surface lies in the memory that can be watched, if it does.
    pub(super) fn watched_address(&self) -> Option<u64> {
        match self.pixels {
            Pixels::Ram(_, base) | Pixels::Adapter(_, base) => Some(base),
            Pixels::Plane(_) => None,
        }
    }

    /// Reads rows into `buffer` and says how many bytes lie between two of them there.
    pub(super) fn read_rows(&self, rows: Range<u32>, buffer: &mut Vec<u8>) -> io::Result<u32> {
        let line = self.line();
        let count = rows.end.saturating_sub(rows.start);
        // A few rows at a time are asked for. What lies between rows is read with them unless it is much.
        let together = self.stride <= line.saturating_mul(2);
        let pitch = if together { self.stride } else { line };
        let len = u64::from(pitch) * u64::from(count.saturating_sub(1)) + u64::from(line);
        buffer.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        let offset = |row: u32| u64::from(self.stride) * u64::from(row);
        if together {
            self.read(offset(rows.start), buffer)?;
        } else {
            for (row, data) in rows.zip(buffer.chunks_mut(line.max(1) as usize)) {
                self.read(offset(row), data)?;
            }
        }
        Ok(pitch)
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match &self.pixels {
            Pixels::Ram(ram, base) | Pixels::Adapter(ram, base) => {
                let address = base.checked_add(offset).ok_or(io::ErrorKind::InvalidInput)?;
                ram.read_slice(data, GuestAddress(address)).map_err(io::Error::other)
            }
            Pixels::Plane(memory) => memory.read(offset, data),
        }
    }
}
