//! The end of a device that `vfio-ioctls` has opened. Its own drop panics for a device that the host has taken away, and gives
//! a group up with the first device that is closed, although others of it are open.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use vfio_ioctls::VfioDevice;
use vocabulary::LentDevice;

use crate::host::HostFiles;
use crate::vfio::space::Space;

/// A device of the crate's, whose drop takes two things for granted: that the kernel still knows the device's group, and
/// that the device is the last open one of it.
pub(super) struct OpenDevice {
    device: Option<VfioDevice>,
    space: Arc<Space>,
    files: HostFiles,
    address: LentDevice,
    group: u32,
}

impl OpenDevice {
    /// With a second handle of the device's file, which must be closed before.
    pub(super) fn new(
        device: VfioDevice,
        space: Arc<Space>,
        files: HostFiles,
        address: LentDevice,
        group: u32,
    ) -> io::Result<(Self, File)> {
        space.enter(group);
        let file = file_of(&device);
        let open = Self { device: Some(device), space, files, address, group };
        Ok((open, file?))
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        let others = self.space.leave(self.group);
        let known = self.files.device_group(self.address) == Some(self.group);
        if !known {
            tracing::debug!(address = %self.address, "the device is gone from the host");
        }
        if known && !(others && self.space.has_groups()) {
            return;
        }
        let Some(device) = self.device.take() else { return };
        close_only(device);
    }
}

/// Closes the device's file and leaves its group, if it has one, to the last device of it, or to the end of the process.
#[allow(unsafe_code, reason = "the crate closes the file in no other way than with the group")]
fn close_only(device: VfioDevice) {
    let file = device.as_raw_fd();
    std::mem::forget(device);
    // SAFETY: the forgotten device was the owner of the file, and closes it in its drop only.
    drop(unsafe { OwnedFd::from_raw_fd(file) });
}

/// Another handle of the device's file.
#[allow(unsafe_code, reason = "the crate shows the device's file as a number only")]
fn file_of(device: &VfioDevice) -> io::Result<File> {
    // SAFETY: `device` keeps its file open for the time of the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) };
    Ok(File::from(borrowed.try_clone_to_owned()?))
}
