//! What the guest of a virtual GPU shows, as the GPU's driver on the host reports it (Linux include/uapi/linux/vfio.h,
//! `VFIO_DEVICE_QUERY_GFX_PLANE`): each plane is a dma-buf, or lies in a region of the device.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::display::{Plane, PlaneSource};

use super::buffer::{Buffer, Layout};
use super::gpu::{Gpu, GpuError};
use super::pixels::{Bounce, Pixels};
use crate::vfio::bytes::{u32_at, u64_at};
use crate::vfio::ioctl;

/// `VFIO_GFX_PLANE_TYPE_PROBE`, `…_DMABUF` and `…_REGION`.
const PROBE: u32 = 1;
const DMABUF: u32 = 2;
const REGION: u32 = 4;
/// `DRM_PLANE_TYPE_PRIMARY` and `DRM_PLANE_TYPE_CURSOR`.
pub(super) const PRIMARY: u32 = 1;
pub(super) const CURSOR: u32 = 2;
/// Buffers kept open: guests flip between a few, and moving the pointer needs others.
const KEPT: usize = 5;
/// The hot spot is not known.
const NO_HOT_SPOT: u32 = u32::MAX;

/// A virtual GPU, as far as its planes go.
pub(super) trait Display: Send + Sync {
    /// `struct vfio_device_gfx_plane_info`.
    fn plane(&self, flags: u32, plane: u32) -> io::Result<Vec<u8>>;
    /// A handle of the buffer `id`.
    fn dmabuf(&self, id: u32) -> io::Result<OwnedFd>;
    /// The first `len` bytes of region `index`.
    fn map_region(self: Arc<Self>, index: u32, len: u64, bounce: &Arc<Bounce>) -> io::Result<Pixels>;
    /// The GPU of the host that copies what cannot be mapped.
    fn gpu(&self) -> Result<Arc<dyn Gpu>, GpuError>;
}

/// How planes are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Dmabuf,
    Region,
}

/// The planes of one device.
pub(super) struct Planes {
    device: Arc<dyn Display>,
    way: Way,
    bounce: Arc<Bounce>,
    open: Mutex<Open>,
}

/// What is open.
#[derive(Default)]
struct Open {
    /// The last used first.
    buffers: Vec<Arc<Buffer>>,
    /// Once it was needed, and why there is none.
    gpu: Option<Result<Arc<dyn Gpu>, String>>,
}

impl Planes {
    /// `None` if the device has no planes to show.
    pub(super) fn probe(device: Arc<dyn Display>) -> io::Result<Option<Self>> {
        let can = |flag| device.plane(PROBE | flag, PRIMARY).is_ok();
        let way = if can(DMABUF) {
            Way::Dmabuf
        } else if can(REGION) {
            Way::Region
        } else {
            return Ok(None);
        };
        tracing::debug!(?way, "the device tells what its guest shows");
        Ok(Some(Self { device, way, bounce: Bounce::new()?, open: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn query(&self, plane: u32) -> io::Result<Option<Plane>> {
        let flags = match self.way {
            Way::Dmabuf => DMABUF,
            Way::Region => REGION,
        };
        let answer = match self.device.plane(flags, plane) {
            // mbochs answers so once after each change of the mode, and has made the buffer by then.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => self.device.plane(flags, plane),
            answer => answer,
        };
        let info = match answer {
            Ok(info) => info,
            // So do drivers answer while the guest's is still at setting the plane up.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EFAULT)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let info = Info::parse(&info).ok_or(io::ErrorKind::InvalidData)?;
        if info.layout.format == 0 || info.layout.size == 0 {
            return Ok(None);
        }
        let buffer = self.buffer(info.layout)?;
        Ok(Some(info.plane(buffer)))
    }

    /// The buffer that `layout` describes.
    fn buffer(&self, layout: Layout) -> io::Result<Arc<Buffer>> {
        let mut open = self.lock();
        let open = &mut *open;
        let known = open.buffers.iter().position(|buffer| buffer.is(&layout));
        let buffer = match known {
            Some(at) => open.buffers.remove(at),
            None => {
                open.buffers.retain(|buffer| !buffer.is_of(layout.source));
                Arc::new(self.open(layout, &mut open.gpu)?)
            }
        };
        open.buffers.insert(0, Arc::clone(&buffer));
        open.buffers.truncate(KEPT);
        Ok(buffer)
    }

    fn open(&self, layout: Layout, gpu: &mut Option<Result<Arc<dyn Gpu>, String>>) -> io::Result<Buffer> {
        let Layout { source, size, .. } = layout;
        Ok(match self.way {
            Way::Region => {
                Buffer::of_region(layout, Arc::clone(&self.device).map_region(source, size, &self.bounce))
            }
            Way::Dmabuf => {
                // Opened once, be it in vain: guests show another buffer with each frame.
                let gpu = || {
                    gpu.get_or_insert_with(|| self.device.gpu().map_err(|error| error.to_string())).clone()
                };
                let dmabuf = self.device.dmabuf(source)?;
                // i915 looks for the pages at the first use. If the guest has freed the picture meanwhile, that must not
                // be a GPU's: Mesa's driver would end this process.
                ioctl::sync_dmabuf(&dmabuf, false)?;
                ioctl::sync_dmabuf(&dmabuf, true)?;
                Buffer::of_dmabuf(layout, dmabuf, &self.bounce, gpu)
            }
        })
    }
}

impl PlaneSource for Planes {
    fn primary(&self) -> io::Result<Option<Plane>> {
        self.query(PRIMARY)
    }

    fn cursor(&self) -> io::Result<Option<Plane>> {
        match self.way {
            Way::Dmabuf => self.query(CURSOR),
            // A region holds the screen with the pointer in it.
            Way::Region => Ok(None),
        }
    }

    fn reset(&self) {
        let mut open = self.lock();
        open.buffers.clear();
        // Whoever has mended the host's GPU tries it so.
        open.gpu.take_if(|gpu| gpu.is_err());
    }
}

/// `struct vfio_device_gfx_plane_info`, as far as it is answer.
struct Info {
    layout: Layout,
    x: i32,
    y: i32,
    hot: Option<(u32, u32)>,
}

impl Info {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (hot_x, hot_y) = (u32_at(bytes, 48)?, u32_at(bytes, 52)?);
        Some(Self {
            layout: Layout {
                format: u32_at(bytes, 12)?,
                modifier: u64_at(bytes, 16)?,
                width: u32_at(bytes, 24)?,
                height: u32_at(bytes, 28)?,
                stride: u32_at(bytes, 32)?,
                size: u32_at(bytes, 36)?.into(),
                source: u32_at(bytes, 56)?,
            },
            // A pointer that leaves the screen to the left has negative coordinates.
            x: u32_at(bytes, 40)?.cast_signed(),
            y: u32_at(bytes, 44)?.cast_signed(),
            hot: (hot_x != NO_HOT_SPOT && hot_y != NO_HOT_SPOT).then_some((hot_x, hot_y)),
        })
    }

    fn plane(self, buffer: Arc<Buffer>) -> Plane {
        let Self { layout: _, x, y, hot } = self;
        let Layout { format, modifier, width, height, stride, size, source: _ } = buffer.look();
        Plane { format, modifier, width, height, stride, size, x, y, hot, memory: buffer }
    }
}
