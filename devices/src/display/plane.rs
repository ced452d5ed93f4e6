//! Planes of a virtual GPU: pixels that lie somewhere in the host, as `VFIO_DEVICE_QUERY_GFX_PLANE` describes them
//! (include/uapi/linux/vfio.h).

use std::io;
use std::sync::Arc;

/// A plane that the guest's driver shows.
pub struct Plane {
    /// DRM fourcc (include/uapi/drm/drm_fourcc.h).
    pub format: u32,
    /// DRM format modifier; 0 is linear. Memory that brings tiled pixels into order by itself says 0.
    pub modifier: u64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// Bytes of `memory` that belong to the plane, from its start.
    pub size: u64,
    /// Left edge on the screen. Of meaning for the pointer's plane.
    pub x: i32,
    /// Upper edge on the screen, likewise.
    pub y: i32,
    /// The hot spot within the pointer's plane, where the driver has reported one.
    pub hot: Option<(u32, u32)>,
    /// The pixels.
    pub memory: Arc<dyn PlaneMemory>,
}

/// Pixels of the host that may change at any time.
pub trait PlaneMemory: Send + Sync {
    /// Identity: the same memory has the same number for as long as it is in use.
    fn id(&self) -> u64;

    /// Copies all of `data` from `offset` in bytes. Fails when the memory cannot be read by the processor, or is gone.
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
}

/// The planes of a virtual GPU. Asked up to some thirty times a second while somebody looks, from a thread of the display or of
/// who looks, with the display locked: it must not be called back.
pub trait PlaneSource: Send + Sync {
    /// The plane that the guest shows, `None` while its driver shows none.
    fn primary(&self) -> io::Result<Option<Plane>>;

    /// The pointer's plane, likewise.
    fn cursor(&self) -> io::Result<Option<Plane>>;

    /// The device was reset: what was handed out is stale.
    fn reset(&self);
}
