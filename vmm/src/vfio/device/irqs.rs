//! Interrupts of a VFIO device (`VFIO_DEVICE_SET_IRQS`): single vectors, silent vectors, masks, and errors with their
//! reasons.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use devices::vfio::host::{IrqInfo, irq};
use vmm_sys_util::eventfd::EventFd;

use crate::vfio::ioctl;

/// `VFIO_PCI_ERR_IRQ_INDEX`: the device has reported an error that cannot be corrected.
pub(super) const ERROR: u32 = 3;
/// `VFIO_PCI_REQ_IRQ_INDEX`: the host wants the device back.
pub(super) const REQUEST: u32 = 4;
const INDICES: usize = 5;

const DATA_NONE: u32 = 1;
const DATA_EVENTFD: u32 = 4;
const MASK: u32 = 8;
const UNMASK: u32 = 16;
const TRIGGER: u32 = 32;

/// `struct vfio_irq_set`.
pub(super) fn request(flags: u32, index: u32, first: u32, count: u32, events: &[i32]) -> Vec<u8> {
    let header = [0, flags, index, first, count];
    let events = events.iter().map(|event| event.to_ne_bytes());
    header.iter().map(|field| field.to_ne_bytes()).chain(events).flatten().collect()
}

fn send(device: &File, flags: u32, index: u32, first: u32, count: u32, events: &[i32]) -> io::Result<u32> {
    ioctl::set_irqs(device, &mut request(flags, index, first, count, events))
}

/// The interrupts of one device.
pub(super) struct Irqs {
    info: [IrqInfo; INDICES],
    enabled: Mutex<[bool; INDICES]>,
}

fn slot(index: u32) -> Option<usize> {
    usize::try_from(index).ok().filter(|index| *index < INDICES)
}

impl Irqs {
    /// With what the device says of each index.
    pub(super) fn new(info: impl Fn(u32) -> IrqInfo) -> Self {
        Self { info: [0, 1, 2, 3, 4].map(info), enabled: Mutex::default() }
    }

    fn enabled(&self) -> MutexGuard<'_, [bool; INDICES]> {
        self.enabled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the device says of `index`.
    pub(super) fn info(&self, index: u32) -> IrqInfo {
        slot(index).and_then(|index| self.info.get(index)).copied().unwrap_or_default()
    }

    /// Lets vectors `first..` signal `events`.
    pub(super) fn set_triggers(
        &self,
        device: &File,
        index: u32,
        first: u32,
        events: &[Option<&EventFd>],
    ) -> io::Result<()> {
        let mut events: Vec<i32> =
            events.iter().map(|event| event.map_or(-1, |event| event.as_raw_fd())).collect();
        if events.is_empty() {
            return Ok(());
        }
        let mut enabled = self.enabled();
        loop {
            let count = u32::try_from(events.len()).map_err(io::Error::other)?;
            let available = send(device, DATA_EVENTFD | TRIGGER, index, first, count, &events)
                .map_err(|error| explain(index, error))?;
            if available == 0 {
                break;
            }
            // Nothing is enabled then. The device spreads its interrupts over fewer vectors when it gets fewer.
            if first != 0 || available >= count {
                return Err(io::Error::other("the host has fewer interrupt vectors than the guest wants"));
            }
            devices::limited_debug!(index, wanted = count, available, "the host has fewer interrupt vectors");
            events.truncate(usize::try_from(available).map_err(io::Error::other)?);
        }
        if let Some(enabled) = slot(index).and_then(|index| enabled.get_mut(index)) {
            *enabled = true;
        }
        Ok(())
    }

    /// Turns `index` off, if it is on: the kernel takes it ill otherwise.
    pub(super) fn disable(&self, device: &File, index: u32) -> io::Result<()> {
        let mut enabled = self.enabled();
        let Some(enabled) = slot(index).and_then(|index| enabled.get_mut(index)).filter(|enabled| **enabled)
        else {
            return Ok(());
        };
        send(device, DATA_NONE | TRIGGER, index, 0, 0, &[])?;
        *enabled = false;
        Ok(())
    }

    /// Turns INTx, MSI and MSI-X off, and with `notifications` also what the kernel signals on its own behalf.
    pub(super) fn disable_all(&self, device: &File, notifications: bool) {
        let notifications = [ERROR, REQUEST].into_iter().filter(|_| notifications);
        for index in [irq::INTX, irq::MSI, irq::MSIX].into_iter().chain(notifications) {
            if let Err(error) = self.disable(device, index) {
                devices::limited_debug!(index, %error, "an interrupt could not be turned off");
            }
        }
    }
}

/// The kernel gives a line that other devices share only to a device that can mask its own interrupts.
fn explain(index: u32, error: io::Error) -> io::Error {
    if index == irq::INTX && error.raw_os_error() == Some(libc::EBUSY) {
        return io::Error::new(
            error.kind(),
            "other devices of the host share its interrupt line, and it cannot mask its own interrupts. Unbind their \
             drivers (/proc/interrupts lists them) or let the guest use MSI",
        );
    }
    error
}

/// Lets `event` unmask INTx.
pub(super) fn set_intx_unmask(device: &File, event: &EventFd) -> io::Result<()> {
    send(device, DATA_EVENTFD | UNMASK, irq::INTX, 0, 1, &[event.as_raw_fd()]).map(drop)
}

/// Masks INTx.
pub(super) fn mask_intx(device: &File) -> io::Result<()> {
    send(device, DATA_NONE | MASK, irq::INTX, 0, 1, &[]).map(drop)
}

/// Unmasks INTx.
pub(super) fn unmask_intx(device: &File) -> io::Result<()> {
    send(device, DATA_NONE | UNMASK, irq::INTX, 0, 1, &[]).map(drop)
}
