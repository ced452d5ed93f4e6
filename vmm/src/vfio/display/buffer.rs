//! Buffers that planes of a virtual GPU lie in: read through a mapping where the kernel allows one, copied by the GPU
//! where it does not.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use devices::display::{Fourcc, PixelFormat, PlaneMemory, is_showable};

use super::gpu::{Gpu, GpuError, Picture};
use super::pixels::{Bounce, Pixels};
use crate::vfio::ioctl;

/// `DRM_FORMAT_MOD_LINEAR` (include/uapi/drm/drm_fourcc.h): row after row.
const LINEAR: u64 = 0;
/// `DRM_FORMAT_MOD_INVALID`: the driver does not say.
pub(super) const UNSAID: u64 = 0x00ff_ffff_ffff_ffff;

/// How a picture lies in its buffer, as the driver reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The region's index, or the dma-buf's number.
    pub(super) source: u32,
    /// DRM fourcc.
    pub(super) format: u32,
    /// DRM format modifier.
    pub(super) modifier: u64,
    /// Columns.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// Bytes from one row to the next.
    pub(super) stride: u32,
    /// Bytes in all.
    pub(super) size: u64,
}

impl Layout {
    /// Whether the processor finds the rows in order.
    fn is_linear(&self) -> bool {
        matches!(self.modifier, LINEAR | UNSAID)
    }

    /// Whether the picture can lie in so many bytes. Tiles have whole rows, at the end too.
    fn fits(&self, bytes: u64) -> bool {
        let pixel = PixelFormat::from_fourcc(self.format).map_or(1, PixelFormat::bytes);
        let row = self.width.saturating_mul(pixel);
        is_showable(self.width, self.height)
            && self.stride >= row
            && u64::from(self.stride) * u64::from(self.height) <= bytes
    }
}

/// A buffer, or the region, that planes lie in.
pub(super) struct Buffer {
    id: u64,
    layout: Layout,
    content: Content,
    /// It cannot be read, and may be when it is opened again.
    failed: AtomicBool,
}

enum Content {
    Mapped {
        pixels: Pixels,
        /// To be reported when it is read.
        dmabuf: Option<OwnedFd>,
    },
    Copied {
        picture: Box<dyn Picture>,
        frame: Mutex<Frame>,
    },
    /// Nothing, and why.
    Unreadable(String),
}

/// The last copy.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
    fresh: bool,
}

impl Buffer {
    fn new(layout: Layout, content: Content) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), layout, content, failed: AtomicBool::new(false) }
    }

    /// A region of a device.
    pub(super) fn of_region(layout: Layout, mapped: io::Result<Pixels>) -> Self {
        let content = match mapped {
            Ok(pixels) => Content::Mapped { pixels, dmabuf: None },
            Err(error) => Content::Unreadable(format!(
                "the guest's screen lies in a region of the device that cannot be mapped: {error}"
            )),
        };
        Self::new(layout, content)
    }

    /// A dma-buf, which is given to what `gpu` finds if it cannot be mapped.
    pub(super) fn of_dmabuf(
        layout: Layout,
        dmabuf: OwnedFd,
        bounce: &Arc<Bounce>,
        gpu: impl FnOnce() -> Result<Arc<dyn Gpu>, String>,
    ) -> Self {
        let obstacle = if layout.is_linear() {
            match Pixels::of_dmabuf(&dmabuf, layout.size, bounce) {
                Ok(pixels) => {
                    return Self::new(layout, Content::Mapped { pixels, dmabuf: Some(dmabuf) });
                }
                Err(error) => format!("that the processor cannot map ({error})"),
            }
        } else {
            format!("whose pixels are tiled ({}, modifier {:#x})", Fourcc(layout.format), layout.modifier)
        };
        match copied(&layout, dmabuf, gpu) {
            Ok(picture) => {
                devices::limited_debug!(%obstacle, "the GPU copies the guest's picture");
                Self::new(layout, Content::Copied { picture, frame: Mutex::default() })
            }
            Err(NoCopy { why, passing }) => {
                let why = format!(
                    "the guest's screen lies in a buffer of the host's GPU driver {obstacle}, and no GPU copies it: {why}. \
                     Until the guest's driver starts, the screen is shown with `ramfb = true` in [igpu]"
                );
                Self { failed: AtomicBool::new(passing), ..Self::new(layout, Content::Unreadable(why)) }
            }
        }
    }

    /// Whether it is the one that `layout` describes, and still good.
    pub(super) fn is(&self, layout: &Layout) -> bool {
        self.layout == *layout && !self.failed.load(Ordering::Relaxed)
    }

    /// Whether it is region or dma-buf `source`.
    pub(super) fn is_of(&self, source: u32) -> bool {
        self.layout.source == source
    }

    /// The picture has been asked for: what it shows from now on is wanted. Returns how the memory lies that is read.
    pub(super) fn look(&self) -> Layout {
        match &self.content {
            Content::Copied { picture, frame, .. } => {
                frame.lock().unwrap_or_else(PoisonError::into_inner).fresh = false;
                let stride = self.layout.width * 4;
                let size = u64::from(stride) * u64::from(self.layout.height);
                Layout { format: picture.format(), modifier: LINEAR, stride, size, ..self.layout }
            }
            // Of what cannot be read the reason is to be seen, not that its pixels are out of order.
            Content::Mapped { .. } | Content::Unreadable(_) => Layout { modifier: LINEAR, ..self.layout },
        }
    }
}

/// Why no GPU copies a picture.
struct NoCopy {
    why: String,
    passing: bool,
}

fn copied(
    layout: &Layout,
    dmabuf: OwnedFd,
    gpu: impl FnOnce() -> Result<Arc<dyn Gpu>, String>,
) -> Result<Box<dyn Picture>, NoCopy> {
    // What a driver of a GPU does with a picture beyond the end of its buffer is its own affair: it is not given one.
    let real = rustix::fs::seek(&dmabuf, rustix::fs::SeekFrom::End(0))
        .map_or(layout.size, |end| end.min(layout.size));
    if !layout.fits(real) {
        let Layout { width, height, stride, size, .. } = layout;
        let why = format!(
            "it does not fit its own memory: {width} × {height}, {stride} bytes per row, {size} bytes in all"
        );
        return Err(NoCopy { why, passing: false });
    }
    let gpu = gpu().map_err(|why| NoCopy { why, passing: false })?;
    gpu.import(dmabuf, layout)
        .map_err(|error| NoCopy { why: error.to_string(), passing: matches!(error, GpuError::Silent) })
}

impl PlaneMemory for Buffer {
    fn id(&self) -> u64 {
        self.id
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match &self.content {
            Content::Mapped { pixels, dmabuf: None } => pixels.read(offset, data),
            Content::Mapped { pixels, dmabuf: Some(dmabuf) } => {
                ioctl::sync_dmabuf(dmabuf, false)?;
                let result = pixels.read(offset, data);
                // What was read stays right if this fails.
                let _ = ioctl::sync_dmabuf(dmabuf, true);
                result
            }
            Content::Copied { picture, frame } => {
                let mut frame = frame.lock().unwrap_or_else(PoisonError::into_inner);
                if !frame.fresh {
                    let bytes = picture.copy(std::mem::take(&mut frame.bytes)).map_err(|error| {
                        self.failed.store(true, Ordering::Relaxed);
                        io::Error::other(error)
                    })?;
                    *frame = Frame { bytes, fresh: true };
                }
                let start = usize::try_from(offset).map_err(|_| beyond())?;
                let end = start.checked_add(data.len()).ok_or_else(beyond)?;
                data.copy_from_slice(frame.bytes.get(start..end).ok_or_else(beyond)?);
                Ok(())
            }
            Content::Unreadable(why) => Err(io::Error::new(io::ErrorKind::Unsupported, why.clone())),
        }
    }
}

fn beyond() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "beyond the end of the picture's memory")
}
