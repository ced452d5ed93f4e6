//! A context of OpenGL ES on one render node, and the pictures that it copies.
#![allow(unsafe_code, reason = "the functions of EGL and OpenGL are called")]

use std::ffi::{c_int, c_uint};
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;

use devices::display::Fourcc;

use super::super::buffer::{Layout, UNSAID};
use super::super::gpu::GpuError;
use super::library::{Attribute, Egl, EglDevices, Gl, Handle};

// EGL/egl.h and EGL/eglext.h.
const EXTENSIONS: c_int = 0x3055;
const NONE: c_int = 0x3038;
const WIDTH: Attribute = 0x3057;
const HEIGHT: Attribute = 0x3056;
const OPENGL_ES_API: c_uint = 0x30a0;
const CONTEXT_MAJOR_VERSION: c_int = 0x3098;
const PLATFORM_DEVICE: c_uint = 0x313f;
const DRM_RENDER_NODE_FILE: c_int = 0x3377;
const LINUX_DMA_BUF: c_uint = 0x3270;
const LINUX_DRM_FOURCC: Attribute = 0x3271;
const PLANE0_FD: Attribute = 0x3272;
const PLANE0_OFFSET: Attribute = 0x3273;
const PLANE0_PITCH: Attribute = 0x3274;
const PLANE0_MODIFIER_LO: Attribute = 0x3443;
const PLANE0_MODIFIER_HI: Attribute = 0x3444;
// GLES2/gl2.h and GLES2/gl2ext.h.
const RENDERER: c_uint = 0x1f01;
const TEXTURE_2D: c_uint = 0x0de1;
const FRAMEBUFFER: c_uint = 0x8d40;
const COLOR_ATTACHMENT0: c_uint = 0x8ce0;
const FRAMEBUFFER_COMPLETE: c_uint = 0x8cd5;
const COLOR_READ_TYPE: c_uint = 0x8b9a;
const COLOR_READ_FORMAT: c_uint = 0x8b9b;
const UNSIGNED_BYTE: c_uint = 0x1401;
const RGB: c_uint = 0x1907;
const RGBA: c_uint = 0x1908;
const BGRA: c_uint = 0x80e1;
/// More GPUs than a host has.
const DEVICES: usize = 32;

/// A context, current on the thread that opened it.
pub(super) struct Context {
    gl: Gl,
    current: Current,
    /// EGL takes modifiers.
    modifiers: bool,
    /// What drives the GPU, for messages.
    driver: String,
    /// See [`Self::forget_copies`].
    scratch: c_uint,
}

impl Context {
    /// On the first of `nodes` that works.
    pub(super) fn open(nodes: &[PathBuf]) -> Result<Self, GpuError> {
        let mut failure = GpuError::NoNode;
        let egl = if nodes.is_empty() { return Err(failure) } else { Egl::open()? };
        for (index, node) in nodes.iter().enumerate() {
            match Self::on(egl, node) {
                Ok(context) => {
                    tracing::debug!(node = %node.display(), driver = context.driver, "a GPU copies pictures");
                    return Ok(context);
                }
                Err(error) => {
                    tracing::debug!("{error}");
                    // The first is the one that should do it.
                    if index == 0 {
                        failure = error;
                    }
                }
            }
        }
        Err(failure)
    }

    fn on(egl: Egl, node: &Path) -> Result<Self, GpuError> {
        // EGL would only say that it cannot.
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(node)
            .map_err(|source| GpuError::Node { node: node.into(), source })?;
        let driver = |why: String| GpuError::Driver { node: node.into(), why };
        let device =
            device(&egl.devices()?, node).ok_or_else(|| driver("it lists no such GPU".to_owned()))?;
        let display = Display::of(egl, device).map_err(driver)?;
        Self::create(display).map_err(driver)
    }

    fn create(display: Display) -> Result<Self, String> {
        let extensions = display.egl.string(display.handle, EXTENSIONS);
        let has = |name: &str| extensions.split(' ').any(|extension| extension == name);
        let needed =
            ["EGL_EXT_image_dma_buf_import", "EGL_KHR_surfaceless_context", "EGL_KHR_no_config_context"];
        if let Some(missing) = needed.into_iter().find(|name| !has(name)) {
            return Err(format!("it lacks {missing}"));
        }
        let current = Current::on(display)?;
        let gl = current.display.egl.gl().map_err(|error| error.to_string())?;
        let modifiers = has("EGL_EXT_image_dma_buf_import_modifiers");
        let mut scratch = 0;
        // SAFETY: the context is current; the pointers are to one number, and to no pixels at all.
        unsafe {
            (gl.gen_textures)(1, &raw mut scratch);
            (gl.bind_texture)(TEXTURE_2D, scratch);
            (gl.texture_image)(TEXTURE_2D, 0, RGB.cast_signed(), 1, 1, 0, RGB, UNSIGNED_BYTE, ptr::null());
        }
        Ok(Self { gl, current, modifiers, driver: gl.string(RENDERER), scratch })
    }

    /// Makes OpenGL look at the picture of the framebuffer that is bound anew. It counts on knowing all who draw there: Mesa
    /// keeps a copy for who reads the same picture a third time, until the context draws or copies.
    fn forget_copies(&self) {
        let gl = &self.gl;
        // SAFETY: the context is current, and both framebuffer and texture have the one pixel that is copied.
        unsafe {
            (gl.bind_texture)(TEXTURE_2D, self.scratch);
            (gl.copy_texture_sub_image)(TEXTURE_2D, 0, 0, 0, 0, 0, 1, 1);
        }
    }

    /// Takes the picture in `dmabuf`, which may be closed then.
    pub(super) fn import(&self, dmabuf: &OwnedFd, layout: &Layout) -> Result<Image<'_>, GpuError> {
        let refused = |why: String| GpuError::Import {
            driver: self.driver.clone(),
            format: Fourcc(layout.format),
            modifier: layout.modifier,
            why,
        };
        let attributes = self.attributes(dmabuf, layout).map_err(|why| refused(why.to_owned()))?;
        let none = ptr::null_mut();
        let Display { egl, handle } = &self.current.display;
        // SAFETY: the display is initialised; a dma-buf is no handle of a context's, so both are null; the list ends with
        // its mark, and the file is open. EGL makes its own references to the buffer.
        let image = unsafe { (egl.create_image)(*handle, none, LINUX_DMA_BUF, none, attributes.as_ptr()) };
        if image.is_null() {
            return Err(refused(egl.error()));
        }
        let (width, height) = (layout.width.cast_signed(), layout.height.cast_signed());
        let mut image =
            Image { context: self, image, texture: 0, framebuffer: 0, width, height, bgra: false };
        image.attach().map_err(refused)?;
        Ok(image)
    }

    fn attributes(&self, dmabuf: &OwnedFd, layout: &Layout) -> Result<Vec<Attribute>, &'static str> {
        let number = |value: u32| value as Attribute;
        let mut attributes = vec![
            WIDTH,
            number(layout.width),
            HEIGHT,
            number(layout.height),
            LINUX_DRM_FOURCC,
            number(layout.format),
            PLANE0_FD,
            dmabuf.as_raw_fd() as Attribute,
            PLANE0_OFFSET,
            0,
            PLANE0_PITCH,
            number(layout.stride),
        ];
        let modifier = layout.modifier;
        if self.modifiers && modifier != UNSAID {
            let (low, high) = (modifier as u32, (modifier >> 32) as u32);
            attributes.extend([PLANE0_MODIFIER_LO, number(low), PLANE0_MODIFIER_HI, number(high)]);
        } else if modifier != 0 && modifier != UNSAID {
            return Err(
                "it cannot be told how the pixels are tiled (EGL_EXT_image_dma_buf_import_modifiers)",
            );
        }
        attributes.push(NONE as Attribute);
        Ok(attributes)
    }

    /// What OpenGL has to complain about since the last time.
    fn complaint(&self) -> Option<String> {
        // SAFETY: the context is current.
        let code = unsafe { (self.gl.get_error)() };
        (code != 0).then(|| match code {
            0x0500 => "GL_INVALID_ENUM".to_owned(),
            0x0501 => "GL_INVALID_VALUE".to_owned(),
            0x0502 => "GL_INVALID_OPERATION".to_owned(),
            0x0505 => "GL_OUT_OF_MEMORY".to_owned(),
            0x0506 => "GL_INVALID_FRAMEBUFFER_OPERATION".to_owned(),
            _ => format!("OpenGL's error {code:#x}"),
        })
    }
}

/// A GPU that EGL has initialised.
struct Display {
    egl: Egl,
    handle: Handle,
}

impl Display {
    fn of(egl: Egl, device: Handle) -> Result<Self, String> {
        let last = [NONE as Attribute];
        // SAFETY: the handle is one of EGL's GPUs, and the list of attributes ends with its mark.
        let handle = unsafe { (egl.get_platform_display)(PLATFORM_DEVICE, device, last.as_ptr()) };
        // SAFETY: EGL takes null for what it is, and writes no versions where it is given no place.
        if handle.is_null() || unsafe { (egl.initialize)(handle, ptr::null_mut(), ptr::null_mut()) } == 0 {
            return Err(egl.error());
        }
        Ok(Self { egl, handle })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // SAFETY: it is initialised, and nothing refers to it any more.
        unsafe {
            (self.egl.terminate)(self.handle);
            (self.egl.release_thread)();
        }
    }
}

/// A context that is current on this thread.
struct Current {
    display: Display,
    context: Handle,
}

impl Current {
    fn on(display: Display) -> Result<Self, String> {
        let (egl, none) = (display.egl, ptr::null_mut());
        let attributes = [CONTEXT_MAJOR_VERSION, 2, NONE];
        // SAFETY: the display is initialised; its extensions allow a context without configuration; the list ends with its
        // mark.
        let context = unsafe {
            if (egl.bind_api)(OPENGL_ES_API) == 0 {
                return Err(egl.error());
            }
            (egl.create_context)(display.handle, none, none, attributes.as_ptr())
        };
        if context.is_null() {
            return Err(egl.error());
        }
        let current = Self { display, context };
        // SAFETY: the context is the display's, whose extensions allow it to be without surfaces.
        if unsafe { (egl.make_current)(current.display.handle, none, none, context) } == 0 {
            return Err(egl.error());
        }
        Ok(current)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let (Display { egl, handle }, none) = (&self.display, ptr::null_mut());
        // SAFETY: the context exists, and nothing refers to it any more.
        unsafe {
            (egl.make_current)(*handle, none, none, none);
            (egl.destroy_context)(*handle, self.context);
        }
    }
}

/// The GPU with this render node.
fn device(egl: &EglDevices, node: &Path) -> Option<Handle> {
    let mut devices = [ptr::null_mut(); DEVICES];
    let mut count = 0;
    // SAFETY: there is room for as many handles as is said.
    let done = unsafe { (egl.query_devices)(DEVICES as c_int, devices.as_mut_ptr(), &raw mut count) };
    let count = usize::try_from(count).ok().filter(|_| done != 0)?;
    devices.into_iter().take(count).find(|device| {
        // Without it the node must not be asked for.
        egl.string(*device, EXTENSIONS).split(' ').any(|name| name == "EGL_EXT_device_drm_render_node")
            && Path::new(&egl.string(*device, DRM_RENDER_NODE_FILE)) == node
    })
}

/// A picture in memory that the GPU shares.
pub(super) struct Image<'a> {
    context: &'a Context,
    image: Handle,
    texture: c_uint,
    framebuffer: c_uint,
    width: c_int,
    height: c_int,
    /// Copies have blue first, as the driver likes best, and red otherwise.
    bgra: bool,
}

impl Image<'_> {
    /// Makes it readable.
    fn attach(&mut self) -> Result<(), String> {
        let gl = &self.context.gl;
        // Earlier complaints are somebody else's.
        let _ = self.context.complaint();
        let (mut format, mut kind) = (0, 0);
        // SAFETY: the context is current; each pointer is to one number, and the image exists.
        let status = unsafe {
            (gl.gen_textures)(1, &raw mut self.texture);
            (gl.bind_texture)(TEXTURE_2D, self.texture);
            (gl.image_target_texture)(TEXTURE_2D, self.image);
            (gl.gen_framebuffers)(1, &raw mut self.framebuffer);
            (gl.bind_framebuffer)(FRAMEBUFFER, self.framebuffer);
            (gl.framebuffer_texture)(FRAMEBUFFER, COLOR_ATTACHMENT0, TEXTURE_2D, self.texture, 0);
            (gl.check_framebuffer_status)(FRAMEBUFFER)
        };
        if let Some(complaint) = self.context.complaint() {
            return Err(complaint);
        }
        if status != FRAMEBUFFER_COMPLETE {
            return Err(format!("it cannot be read back (framebuffer status {status:#x})"));
        }
        // SAFETY: as above; both ask of the framebuffer that is bound.
        unsafe {
            (gl.get_integer)(COLOR_READ_FORMAT, &raw mut format);
            (gl.get_integer)(COLOR_READ_TYPE, &raw mut kind);
        }
        self.bgra = (format, kind) == (BGRA.cast_signed(), UNSIGNED_BYTE.cast_signed());
        Ok(())
    }

    /// DRM fourcc of its copies.
    pub(super) fn format(&self) -> u32 {
        u32::from_le_bytes(if self.bgra { *b"AR24" } else { *b"AB24" })
    }

    /// Copies it to `bytes`, from the upper row on.
    pub(super) fn copy(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, GpuError> {
        let gl = &self.context.gl;
        let format = if self.bgra { BGRA } else { RGBA };
        let len = 4 * u64::from(self.width.unsigned_abs()) * u64::from(self.height.unsigned_abs());
        bytes.resize(usize::try_from(len).map_err(|error| GpuError::Copy(error.to_string()))?, 0);
        // SAFETY: the context is current, and the framebuffer this picture's.
        unsafe {
            (gl.bind_framebuffer)(FRAMEBUFFER, self.framebuffer);
        }
        self.context.forget_copies();
        // SAFETY: the context is current; the rows of four bytes per pixel, which OpenGL by default starts at multiples of
        // four, are as many bytes as there is room.
        unsafe {
            (gl.read_pixels)(0, 0, self.width, self.height, format, UNSIGNED_BYTE, bytes.as_mut_ptr().cast());
        }
        self.context.complaint().map_or(Ok(bytes), |complaint| Err(GpuError::Copy(complaint)))
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let Context { gl, current: Current { display: Display { egl, handle }, .. }, .. } = self.context;
        // SAFETY: the context is current; OpenGL ignores 0, and the names and the image are this value's own.
        unsafe {
            (gl.delete_framebuffers)(1, &raw const self.framebuffer);
            (gl.delete_textures)(1, &raw const self.texture);
            (egl.destroy_image)(*handle, self.image);
        }
    }
}
