//! The functions of EGL and OpenGL ES, from a library that is loaded at run time.
#![allow(unsafe_code, reason = "the functions are another language's")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem;

use libloading::os::unix::{Library, RTLD_NOW};

use super::super::gpu::GpuError;

/// `RTLD_NODELETE` (dlfcn.h): drivers of GPUs leave threads and handlers behind, so they are never unloaded.
const NO_DELETE: c_int = 0x1000;

/// `EGLAttrib`.
pub(super) type Attribute = isize;
/// `EGLDisplay`, `EGLDeviceEXT`, `EGLContext`, `EGLImage`, ….
pub(super) type Handle = *mut c_void;

macro_rules! functions {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $symbol:ident($($argument:ty),*) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $name {
            $(pub(super) $field: unsafe extern "system" fn($($argument),*) $(-> $result)?,)*
        }

        impl $name {
            /// From the addresses that `find` knows.
            ///
            /// # Safety
            /// They are those of the functions with these names, which are never unloaded.
            unsafe fn load(find: impl Fn(&CStr) -> Handle) -> Result<Self, GpuError> {
                Ok(Self {
                    $($field: {
                        let name = const { c_name(concat!(stringify!($symbol), "\0")) };
                        let address = find(name);
                        if address.is_null() {
                            return Err(GpuError::Library(format!("it has no {}", stringify!($symbol))));
                        }
                        // SAFETY: the caller's; the type is that of the function in the Khronos headers.
                        unsafe {
                            mem::transmute::<Handle, unsafe extern "system" fn($($argument),*) $(-> $result)?>(address)
                        }
                    },)*
                })
            }
        }
    };
}

const fn c_name(name: &str) -> &CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"",
    }
}

functions! {
    /// EGL 1.5 (EGL/egl.h).
    Egl {
        get_error = eglGetError() -> c_int;
        get_proc_address = eglGetProcAddress(*const c_char) -> Handle;
        query_string = eglQueryString(Handle, c_int) -> *const c_char;
        get_platform_display = eglGetPlatformDisplay(c_uint, Handle, *const Attribute) -> Handle;
        initialize = eglInitialize(Handle, *mut c_int, *mut c_int) -> c_uint;
        terminate = eglTerminate(Handle) -> c_uint;
        bind_api = eglBindAPI(c_uint) -> c_uint;
        create_context = eglCreateContext(Handle, Handle, Handle, *const c_int) -> Handle;
        destroy_context = eglDestroyContext(Handle, Handle) -> c_uint;
        make_current = eglMakeCurrent(Handle, Handle, Handle, Handle) -> c_uint;
        release_thread = eglReleaseThread() -> c_uint;
        create_image = eglCreateImage(Handle, Handle, c_uint, Handle, *const Attribute) -> Handle;
        destroy_image = eglDestroyImage(Handle, Handle) -> c_uint;
    }
}

functions! {
    /// EGL_EXT_device_enumeration and EGL_EXT_device_query (EGL/eglext.h).
    EglDevices {
        query_devices = eglQueryDevicesEXT(c_int, *mut Handle, *mut c_int) -> c_uint;
        query_device_string = eglQueryDeviceStringEXT(Handle, c_int) -> *const c_char;
    }
}

functions! {
    /// OpenGL ES 2.0 (GLES2/gl2.h) and GL_OES_EGL_image (GLES2/gl2ext.h).
    Gl {
        get_error = glGetError() -> c_uint;
        get_string = glGetString(c_uint) -> *const c_char;
        get_integer = glGetIntegerv(c_uint, *mut c_int);
        gen_textures = glGenTextures(c_int, *mut c_uint);
        delete_textures = glDeleteTextures(c_int, *const c_uint);
        bind_texture = glBindTexture(c_uint, c_uint);
        texture_image = glTexImage2D(c_uint, c_int, c_int, c_int, c_int, c_int, c_uint, c_uint, *const c_void);
        copy_texture_sub_image = glCopyTexSubImage2D(c_uint, c_int, c_int, c_int, c_int, c_int, c_int, c_int);
        image_target_texture = glEGLImageTargetTexture2DOES(c_uint, Handle);
        gen_framebuffers = glGenFramebuffers(c_int, *mut c_uint);
        delete_framebuffers = glDeleteFramebuffers(c_int, *const c_uint);
        bind_framebuffer = glBindFramebuffer(c_uint, c_uint);
        framebuffer_texture = glFramebufferTexture2D(c_uint, c_uint, c_uint, c_uint, c_int);
        check_framebuffer_status = glCheckFramebufferStatus(c_uint) -> c_uint;
        read_pixels = glReadPixels(c_int, c_int, c_int, c_int, c_uint, c_uint, *mut c_void);
    }
}

impl Egl {
    /// Loads `libEGL.so.1`.
    pub(super) fn open() -> Result<Self, GpuError> {
        let missing = |error: libloading::Error| GpuError::Library(error.to_string());
        // SAFETY: the library is the system's own, which every program with a window loads.
        let library = unsafe { Library::open(Some("libEGL.so.1"), RTLD_NOW | NO_DELETE) }.map_err(missing)?;
        let find = |name: &CStr| {
            // SAFETY: only the address is taken; nothing is called.
            let symbol = unsafe { library.get::<Handle>(name.to_bytes_with_nul()) };
            symbol.map_or(std::ptr::null_mut(), |symbol| symbol.as_raw_ptr())
        };
        // SAFETY: these are EGL's names for its functions, and the library stays where it is.
        unsafe { Self::load(find) }
    }

    /// The functions that list GPUs.
    pub(super) fn devices(&self) -> Result<EglDevices, GpuError> {
        // SAFETY: EGL finds its extensions by these names.
        unsafe { EglDevices::load(|name| self.find(name)) }
    }

    /// The functions of OpenGL ES.
    pub(super) fn gl(&self) -> Result<Gl, GpuError> {
        // SAFETY: EGL finds the functions of its client API by these names, and GL_OES_EGL_image's.
        unsafe { Gl::load(|name| self.find(name)) }
    }

    fn find(&self, name: &CStr) -> Handle {
        // SAFETY: the name is a C string; EGL keeps no reference to it.
        unsafe { (self.get_proc_address)(name.as_ptr()) }
    }

    /// What EGL says of `display`, or with null of itself; empty if nothing.
    pub(super) fn string(&self, display: Handle, name: c_int) -> String {
        // SAFETY: EGL returns null or a string that lives as long as the display.
        unsafe { text((self.query_string)(display, name)) }
    }

    /// What the last call that failed failed with, by EGL's name.
    pub(super) fn error(&self) -> String {
        // SAFETY: there is nothing to get wrong.
        let code = unsafe { (self.get_error)() };
        let name = match code {
            0x3000 => return "it says no reason".to_owned(),
            0x3001 => "EGL_NOT_INITIALIZED",
            0x3002 => "EGL_BAD_ACCESS",
            0x3003 => "EGL_BAD_ALLOC",
            0x3004 => "EGL_BAD_ATTRIBUTE",
            0x3005 => "EGL_BAD_CONFIG",
            0x3006 => "EGL_BAD_CONTEXT",
            0x3008 => "EGL_BAD_DISPLAY",
            0x3009 => "EGL_BAD_MATCH",
            0x300c => "EGL_BAD_PARAMETER",
            0x300e => "EGL_CONTEXT_LOST",
            _ => return format!("error {code:#x}"),
        };
        name.to_owned()
    }
}

impl EglDevices {
    /// What EGL says of a GPU; empty if nothing.
    pub(super) fn string(&self, device: Handle, name: c_int) -> String {
        // SAFETY: EGL returns null or a string that is never freed.
        unsafe { text((self.query_device_string)(device, name)) }
    }
}

impl Gl {
    /// What the current context says of itself; empty if nothing.
    pub(super) fn string(&self, name: c_uint) -> String {
        // SAFETY: OpenGL returns null or a string that lives as long as the context.
        unsafe { text((self.get_string)(name)) }
    }
}

/// # Safety
/// `string` is null or a C string.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
