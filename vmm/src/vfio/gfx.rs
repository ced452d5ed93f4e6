//! What the guest of a virtual GPU shows, as the GPU's driver on the host tells (Linux include/uapi/linux/vfio.h,
//! `VFIO_DEVICE_QUERY_GFX_PLANE`): each plane is a dma-buf, or lies in a region of the device.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::display::{Plane, PlaneMemory, PlaneSource};

use super::bytes::{u32_at, u64_at};
use super::ioctl;
use super::pixels::{Bounce, Pixels};

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
}

/// How planes are told of.
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
    /// The last used first.
    buffers: Mutex<Vec<Arc<Buffer>>>,
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
        Ok(Some(Self { device, way, bounce: Bounce::new()?, buffers: Mutex::default() }))
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Arc<Buffer>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn query(&self, plane: u32) -> io::Result<Option<Plane>> {
        let flags = match self.way {
            Way::Dmabuf => DMABUF,
            Way::Region => REGION,
        };
        let told = match self.device.plane(flags, plane) {
            // mbochs answers so once after each change of the mode, and has made the buffer by then.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => self.device.plane(flags, plane),
            told => told,
        };
        let info = match told {
            Ok(info) => info,
            // So do drivers answer while the guest's is still at setting the plane up.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EFAULT)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let info = Info::parse(&info).ok_or(io::ErrorKind::InvalidData)?;
        if info.format == 0 || info.size == 0 {
            return Ok(None);
        }
        let memory = self.buffer(info.source, info.size)?;
        Ok(Some(info.plane(memory)))
    }

    /// The open buffer `source` with at least `size` bytes.
    fn buffer(&self, source: u32, size: u64) -> io::Result<Arc<Buffer>> {
        let mut buffers = self.buffers();
        let known = buffers.iter().position(|buffer| buffer.source == source);
        let known = known.map(|at| buffers.remove(at)).filter(|buffer| buffer.size >= size);
        let buffer = match known {
            Some(buffer) => buffer,
            None => Arc::new(self.open(source, size)?),
        };
        buffers.insert(0, Arc::clone(&buffer));
        buffers.truncate(KEPT);
        Ok(buffer)
    }

    fn open(&self, source: u32, size: u64) -> io::Result<Buffer> {
        let (pixels, dmabuf) = match self.way {
            Way::Region => (Arc::clone(&self.device).map_region(source, size, &self.bounce), None),
            Way::Dmabuf => {
                let dmabuf = self.device.dmabuf(source)?;
                (Pixels::of_dmabuf(&dmabuf, size, &self.bounce), Some(dmabuf))
            }
        };
        let pixels = pixels.map_err(|error| {
            tracing::debug!(%error, source, "the guest's picture cannot be mapped");
            unreadable(self.way, &error)
        });
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ok(Buffer { id: NEXT.fetch_add(1, Ordering::Relaxed), source, size, pixels, dmabuf })
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
        self.buffers().clear();
    }
}

fn unreadable(way: Way, error: &io::Error) -> String {
    match way {
        Way::Dmabuf => format!(
            "the guest's screen lies in a buffer of the host's GPU driver which the processor cannot map ({error}), as \
             i915's for GVT-g. Showing it would take a copy by the GPU itself (EGL), which this build does not do; until \
             the guest's driver starts, the screen is shown with `ramfb = true` in [igpu]"
        ),
        Way::Region => {
            format!("the guest's screen lies in a region of the device that cannot be mapped: {error}")
        }
    }
}

/// `struct vfio_device_gfx_plane_info`, as far as it is answer.
struct Info {
    format: u32,
    modifier: u64,
    width: u32,
    height: u32,
    stride: u32,
    size: u64,
    x: i32,
    y: i32,
    hot: Option<(u32, u32)>,
    /// The region's index, or the dma-buf's number.
    source: u32,
}

impl Info {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (hot_x, hot_y) = (u32_at(bytes, 48)?, u32_at(bytes, 52)?);
        Some(Self {
            format: u32_at(bytes, 12)?,
            modifier: u64_at(bytes, 16)?,
            width: u32_at(bytes, 24)?,
            height: u32_at(bytes, 28)?,
            stride: u32_at(bytes, 32)?,
            size: u32_at(bytes, 36)?.into(),
            // A pointer that leaves the screen to the left has negative coordinates.
            x: u32_at(bytes, 40)?.cast_signed(),
            y: u32_at(bytes, 44)?.cast_signed(),
            hot: (hot_x != NO_HOT_SPOT && hot_y != NO_HOT_SPOT).then_some((hot_x, hot_y)),
            source: u32_at(bytes, 56)?,
        })
    }

    fn plane(self, memory: Arc<dyn PlaneMemory>) -> Plane {
        let Self { format, modifier, width, height, stride, size, x, y, hot, source: _ } = self;
        Plane { format, modifier, width, height, stride, size, x, y, hot, memory }
    }
}

/// A buffer, or the region, that planes lie in.
struct Buffer {
    id: u64,
    /// The driver's number of it.
    source: u32,
    size: u64,
    /// The pixels, or why they cannot be read.
    pixels: Result<Pixels, String>,
    dmabuf: Option<OwnedFd>,
}

impl PlaneMemory for Buffer {
    fn id(&self) -> u64 {
        self.id
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let pixels =
            self.pixels.as_ref().map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why.clone()))?;
        let Some(dmabuf) = &self.dmabuf else { return pixels.read(offset, data) };
        ioctl::sync_dmabuf(dmabuf, false)?;
        let result = pixels.read(offset, data);
        // What was read stays right if this fails.
        let _ = ioctl::sync_dmabuf(dmabuf, true);
        result
    }
}
