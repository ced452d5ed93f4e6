//! The requests to a device's node that nusb does not make, or not as they are needed here (Linux, include/uapi/linux/usbdevice_fs.h).
#![allow(unsafe_code, reason = "the ioctl takes an address")]

use std::ffi::{c_uint, c_ulong};
use std::fs::File;
use std::io;

use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref};

/// `struct usbdevfs_disconnect_claim`.
#[repr(C)]
struct DisconnectClaim {
    interface: c_uint,
    flags: c_uint,
    driver: [u8; 256],
}

/// `USBDEVFS_DISCONNECT_CLAIM`: `_IOR('U', 27, struct usbdevfs_disconnect_claim)`.
const DISCONNECT_CLAIM: c_ulong =
    2 << 30 | (size_of::<DisconnectClaim>() as c_ulong) << 16 | (b'U' as c_ulong) << 8 | 27;
/// `USBDEVFS_DISCONNECT_CLAIM_EXCEPT_DRIVER`: not from this one.
const EXCEPT_DRIVER: c_uint = 2;

/// `struct usbdevfs_getdriver`.
#[repr(C)]
struct GetDriver {
    interface: c_uint,
    driver: [u8; 256],
}

/// `USBDEVFS_GETDRIVER`: `_IOW('U', 8, struct usbdevfs_getdriver)`.
const GET_DRIVER: c_ulong = 1 << 30 | (size_of::<GetDriver>() as c_ulong) << 16 | (b'U' as c_ulong) << 8 | 8;

/// The driver of what a program has claimed.
pub(super) const USBFS: &[u8] = b"usbfs";

/// The name of the driver that has an interface. That there is none is an error.
pub(super) fn driver(node: &File, interface: u8) -> io::Result<Vec<u8>> {
    let mut request = GetDriver { interface: interface.into(), driver: [0; 256] };
    // SAFETY: the request is as the kernel's structure and lives during the call, which writes to it.
    let result = unsafe { ioctl_with_mut_ref(node, GET_DRIVER, &mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(request.driver.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
}

/// Takes an interface from its driver, and claims it for this descriptor. Another program is no driver, and keeps it.
pub(super) fn take_interface(node: &File, interface: u8) -> io::Result<()> {
    let mut request = DisconnectClaim { interface: interface.into(), flags: EXCEPT_DRIVER, driver: [0; 256] };
    request.driver.iter_mut().zip(USBFS).for_each(|(to, from)| *to = *from);
    // SAFETY: the request is as the kernel's structure and lives during the call, which reads it.
    let result = unsafe { ioctl_with_ref(node, DISCONNECT_CLAIM, &request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C compiler has it on x86-64.
    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!((DISCONNECT_CLAIM, GET_DRIVER), (0x8108_551b, 0x4104_5508));
    }

    #[test]
    fn what_is_no_device_is_an_error() {
        let null = File::open("/dev/null").unwrap();
        assert!(take_interface(&null, 0).is_err());
        assert!(driver(&null, 0).is_err());
    }
}
