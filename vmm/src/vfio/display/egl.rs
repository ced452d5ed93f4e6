//! Copies by the GPU, through EGL (Khronos EGL 1.5; EGL_EXT_device_drm_render_node, EGL_EXT_image_dma_buf_import and its
//! modifiers; OpenGL ES 2 with GL_OES_EGL_image).
//!
//! What i915 has for a virtual GPU's screen cannot be mapped, and may be tiled. Any program that may use the GPU can have it
//! copied: the dma-buf becomes an image of EGL, the image a texture, and the texture is read back. libEGL is loaded when
//! the first such picture comes; a host without it runs everything else.
//!
//! All of it happens on one thread, [`worker`]: a context of OpenGL belongs to a thread, and a GPU that hangs keeps that thread,
//! the display only for a moment.

mod context;
mod library;
mod worker;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::buffer::Layout;
use super::gpu::{Gpu, GpuError, Picture};
use worker::{Imported, Worker};

/// A GPU that EGL drives.
pub(super) struct EglGpu(Arc<Worker>);

impl EglGpu {
    /// The first of those with these render nodes that works.
    pub(super) fn open(nodes: Vec<PathBuf>) -> Result<Self, GpuError> {
        Ok(Self(Arc::new(Worker::start(nodes)?)))
    }
}

impl Gpu for EglGpu {
    fn import(&self, dmabuf: OwnedFd, layout: &Layout) -> Result<Box<dyn Picture>, GpuError> {
        let imported = self.0.import(dmabuf, *layout)?;
        Ok(Box::new(EglPicture { worker: Arc::clone(&self.0), imported }))
    }
}

struct EglPicture {
    worker: Arc<Worker>,
    imported: Imported,
}

impl Picture for EglPicture {
    fn format(&self) -> u32 {
        self.imported.format
    }

    fn copy(&self, bytes: Vec<u8>) -> Result<Vec<u8>, GpuError> {
        self.worker.copy(self.imported.id, bytes)
    }
}

impl Drop for EglPicture {
    fn drop(&mut self) {
        self.worker.discard(self.imported.id);
    }
}
