//! What makes a device a GPU with a screen: its planes, the display that is plugged into it, its OpRegion.

mod buffer;
mod edid;
#[cfg(feature = "egl")]
mod egl;
mod gfx;
mod gpu;
mod opregion;
mod pixels;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use devices::display::PlaneSource;
use devices::vfio::host::{HostDevice, region};

use super::device::{Core, EDID, OPREGION, Region, VfioHostDevice, find_region};
use super::ioctl;
use edid::{Registers, crashes};
use gfx::{Display, Planes};
use gpu::{Gpu, GpuError};
use pixels::{Bounce, Pixels};

pub(super) use edid::Connector;
pub use opregion::OpRegionError;

impl VfioHostDevice {
    /// The pictures that the device's guest shows, `None` if its driver on the host does not report them.
    ///
    /// # Errors
    /// The process has no room for them: open files or memory.
    pub fn planes(&self) -> io::Result<Option<Arc<dyn PlaneSource>>> {
        let device = Arc::clone(&self.core) as Arc<dyn Display>;
        Ok(Planes::probe(device)?.map(|planes| Arc::new(planes) as _))
    }

    /// Plugs in a display whose preferred mode is `wanted`, width and height in pixels, or as much of it as the device can
    /// show. What stands against it goes to the log: the guest has a picture all the same.
    pub fn plug_display(&self, wanted: (u32, u32)) {
        let name = self.core.name();
        let Some((index, region)) = find_region(self.core.file(), EDID, self.core.page()) else {
            let (width, height) = wanted;
            tracing::warn!(
                "{name} lets nobody choose its display: the guest has the modes that the host's driver offers, and not \
                 necessarily {width}x{height}"
            );
            return;
        };
        if crashes(self.ids(), &rustix::system::uname().release().to_string_lossy()) {
            tracing::info!(
                "{name} keeps the display that it has: this kernel (5.7 or 5.8) would crash when given another one on \
                 Broadwell"
            );
            return;
        }
        let registers = Arc::new(EdidRegion { device: Arc::clone(&self.core), index, region });
        self.connector.get_or_init(|| Connector::new(name, registers, wanted)).plug();
    }

    /// Vendor and device ID, zeros if they cannot be read.
    fn ids(&self) -> (u16, u16) {
        let mut bytes = [0; 4];
        // What does not answer has been refused before.
        let _ = self.read(region::CONFIG, 0, &mut bytes);
        let [a, b, c, d] = bytes;
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
    }

    /// The OpRegion that the host's driver has for the guest.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or is not what it should be.
    pub fn opregion(&self) -> Result<Vec<u8>, OpRegionError> {
        let device = || self.core.name().to_owned();
        let (index, region) = find_region(self.core.file(), OPREGION, self.core.page())
            .ok_or_else(|| OpRegionError::Absent(device()))?;
        let len = usize::try_from(region.info.size.min(opregion::MOST)).unwrap_or_default();
        let mut bytes = vec![0; len];
        region
            .read(self.core.file(), index, 0, &mut bytes)
            .map_err(|source| OpRegionError::Read { device: device(), source })?;
        opregion::check(&bytes).map_err(|why| OpRegionError::Invalid { device: device(), why })?;
        Ok(bytes)
    }
}

impl Display for Core {
    fn plane(&self, flags: u32, plane: u32) -> io::Result<Vec<u8>> {
        ioctl::gfx_plane(self.file(), flags, plane)
    }

    fn dmabuf(&self, id: u32) -> io::Result<OwnedFd> {
        ioctl::gfx_dmabuf(self.file(), id)
    }

    fn map_region(self: Arc<Self>, index: u32, len: u64, bounce: &Arc<Bounce>) -> io::Result<Pixels> {
        // The index may lie beyond those that the device counts.
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the device has no such region");
        let region = Region::query(self.file(), index, self.page()).ok_or_else(missing)?;
        let len = len.checked_next_multiple_of(self.page()).ok_or_else(missing)?;
        if !region.allows(0, len, self.page()) {
            return Err(io::Error::other("its driver does not let it be mapped"));
        }
        Pixels::map(self.file(), region.offset, len, bounce, Some(Arc::clone(&self) as _))
    }

    fn gpu(&self) -> Result<Arc<dyn Gpu>, GpuError> {
        gpu::open(self.render_nodes())
    }
}

/// The region that takes the EDID.
struct EdidRegion {
    device: Arc<Core>,
    index: u32,
    region: Region,
}

impl Registers for EdidRegion {
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.region.read(self.device.file(), self.index, offset, data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.region.write(self.device.file(), self.index, offset, data)
    }
}
