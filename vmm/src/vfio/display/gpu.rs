//! Pictures that the GPU they lie in has to copy, because the processor cannot map their memory or would find their pixels out
//! of order: what the planes of a virtual GPU need of the GPU beneath.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use devices::display::Fourcc;

use super::buffer::Layout;

/// A GPU of the host.
pub(super) trait Gpu: Send + Sync {
    /// Gives the GPU the picture in a dma-buf.
    fn import(&self, dmabuf: OwnedFd, layout: &Layout) -> Result<Box<dyn Picture>, GpuError>;
}

/// A picture that a GPU has.
pub(super) trait Picture: Send + Sync {
    /// DRM fourcc of what [`Self::copy`] brings, of four bytes per pixel with transparency.
    fn format(&self) -> u32;

    /// The picture as it is now, row after row from the top, in memory that is made of `bytes`.
    fn copy(&self, bytes: Vec<u8>) -> Result<Vec<u8>, GpuError>;
}

/// The first GPU of those with these render nodes that can be used.
#[cfg(feature = "egl")]
pub(super) fn open(nodes: Vec<PathBuf>) -> Result<Arc<dyn Gpu>, GpuError> {
    Ok(Arc::new(super::egl::EglGpu::open(nodes)?))
}

/// None.
#[cfg(not(feature = "egl"))]
pub(super) fn open(_nodes: Vec<PathBuf>) -> Result<Arc<dyn Gpu>, GpuError> {
    Err(GpuError::NotBuilt)
}

/// Why a GPU of the host does not copy a picture.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "egl"), expect(dead_code, reason = "all but the first come from EGL"))]
pub(super) enum GpuError {
    /// The feature is off.
    #[cfg_attr(feature = "egl", expect(dead_code, reason = "it is on"))]
    #[error("this optimus-vmm was built without the feature `egl`")]
    NotBuilt,
    /// There is no GPU for user space.
    #[error(
        "this host has no render node, /dev/dri/renderD*: its GPU has no driver, or one that only shows pictures"
    )]
    NoNode,
    /// There is no EGL.
    #[error(
        "EGL is missing: {0}. Install it (Debian, Ubuntu: libegl1; Fedora: libglvnd-egl; Arch: libglvnd) and Mesa"
    )]
    Library(String),
    /// The node cannot be opened.
    #[error("{node} cannot be opened: {source}. Join the group that it belongs to, `render` on most systems")]
    Node {
        /// The render node.
        node: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// EGL does not drive the node.
    #[error(
        "EGL does not drive {node}: {why}. Mesa's driver of this GPU may be missing (Debian: libgl1-mesa-dri)"
    )]
    Driver {
        /// The render node.
        node: PathBuf,
        /// Why.
        why: String,
    },
    /// The picture is not one to the GPU.
    #[error("{driver} does not take it ({format}, modifier {modifier:#x}): {why}")]
    Import {
        /// What drives the GPU.
        driver: String,
        /// Its format.
        format: Fourcc,
        /// Its modifier.
        modifier: u64,
        /// Why.
        why: String,
    },
    /// It did not become a copy.
    #[error("copying it failed: {0}")]
    Copy(String),
    /// The GPU takes too long.
    #[error("the GPU does not answer: `sudo dmesg | tail` may tell why")]
    Silent,
    /// There can be no thread.
    #[error("there is no thread for it: {0}")]
    Thread(std::io::Error),
}
