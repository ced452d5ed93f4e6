//! The one request to a device's node that is made here (Linux, include/uapi/linux/usbdevice_fs.h).
#![allow(unsafe_code, reason = "the ioctl takes an address")]

use std::ffi::{c_int, c_ulong, c_void};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use vmm_sys_util::ioctl::ioctl_with_mut_ref;

/// `struct usbdevfs_ioctl`: a request to the driver of an interface.
#[repr(C)]
struct InterfaceRequest {
    interface: c_int,
    code: c_int,
    data: *mut c_void,
}

/// `USBDEVFS_IOCTL`: `_IOWR('U', 18, struct usbdevfs_ioctl)`.
const REQUEST: c_ulong =
    3 << 30 | (size_of::<InterfaceRequest>() as c_ulong) << 16 | (b'U' as c_ulong) << 8 | 18;
/// `USBDEVFS_CONNECT`: `_IO('U', 23)`.
const CONNECT: c_int = (b'U' as c_int) << 8 | 23;

/// Has the kernel look for a driver for an interface that has none.
pub(in crate::host) fn connect(node: &Path, interface: u8) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(node)?;
    let mut request =
        InterfaceRequest { interface: interface.into(), code: CONNECT, data: std::ptr::null_mut() };
    // SAFETY: the request is as the kernel's structure, lives during the call, and this code has no data.
    let result = unsafe { ioctl_with_mut_ref(&file, REQUEST, &mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C compiler has them on x86-64.
    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!((REQUEST, CONNECT), (0xc010_5512, 0x5517));
    }

    #[test]
    fn what_is_no_device_is_an_error() {
        assert!(connect(Path::new("/dev/null"), 0).is_err());
        assert_eq!(connect(Path::new("/dev/bus/usb/none"), 0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
