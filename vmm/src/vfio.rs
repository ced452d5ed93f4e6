//! The kernel's side of passthrough: VFIO (Linux Documentation/driver-api/vfio.rst), over groups or iommufd.
//!
//! The steps of a machine:
//!
//! 1. [`Vfio::new`] makes KVM's VFIO device, [`Vfio::open`] opens functions that vfio-pci has, and mediated devices; each is a
//!    [`HostDevice`](devices::vfio::host::HostDevice) for the model.
//! 2. [`Vfio::start_dma`] checks that guest memory can be opened to their DMA and starts to, while the guest runs.
//!    Failures come later, by [`Vfio::failure_event`].
//! 3. [`Vfio::shut_down`] at the end, when no vCPU runs any more.
//!
//! What remains open is closed by the last owner of each device: interrupts, mappings of its memory, the device, the
//! address space of DMA, KVM's VFIO device. The kernel resets a device again when it is closed.
//!
//! | module | what it is about |
//! |---|---|
//! | `space` | the address space of DMA, over groups or iommufd, in which devices are opened |
//! | `device` | one open device: its regions and their mappings, interrupts, the kernel's notifications, how it is closed |
//! | `dma` | guest memory for the devices, and their BARs for each other |
//! | `display` | what a GPU has beside: planes of the guest's screen and how they are read, EDID, OpRegion |
//! | `reset`, `reset_methods` | resets of one function or of a whole bus, and by which methods a function can be reset |
//! | `ioctl`, `bytes` | ioctls that `vfio-ioctls` lacks, and the fields of their answers |
//! | `error`, `explain` | what went wrong, in words for the user |

mod bytes;
mod device;
mod display;
mod dma;
mod error;
mod explain;
mod ioctl;
mod reset;
mod reset_methods;
mod space;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use devices::GuestRam;
use kvm_bindings::{kvm_create_device, kvm_device_type_KVM_DEV_TYPE_VFIO};
use kvm_ioctls::VmFd;
use vfio_ioctls::VfioDeviceFd;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::{LentDevice, VfioBackend};

pub use device::{Notification, NotificationKind, VfioHostDevice};
pub use display::OpRegionError;
pub use dma::Pages;
pub use error::VfioError;

use crate::host::HostFiles;
use crate::kvm::io_error;
use crate::memory::layout::WindowObserver;
use device::Core;
use dma::{Dma, Windows};
use explain::Attempt;
use reset::{Hardware, Resets};
use space::{IOMMUFD, Offer, Space, cdev_path, prefers_iommufd, usable};

/// Whether this process may lock so many bytes of guest memory for devices.
///
/// # Errors
/// Why not, and what to do.
pub fn may_lock(memory: u64) -> Result<(), String> {
    dma::memlock::may(memory).map_err(|error| error.to_string())
}

/// The functions of the host that are lent to one VM, and the address space of their DMA.
pub struct Vfio {
    files: HostFiles,
    choice: VfioBackend,
    state: Mutex<State>,
    resets: Arc<Resets>,
    dma: Arc<Dma>,
    /// Last, because devices are taken from KVM's list when they are closed.
    kvm: Arc<VfioDeviceFd>,
}

#[derive(Default)]
struct State {
    space: Option<Arc<Space>>,
    devices: Vec<(LentDevice, Weak<Core>)>,
}

impl Vfio {
    /// For the devices of `vm`. A VM has only one.
    pub fn new(vm: &VmFd, choice: VfioBackend) -> Result<Self, VfioError> {
        let mut device = kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_VFIO, fd: 0, flags: 0 };
        let kvm = vm.create_device(&mut device).map_err(|error| VfioError::Kvm(io_error(error)))?;
        Ok(Self {
            files: HostFiles::default(),
            choice,
            state: Mutex::default(),
            resets: Arc::default(),
            dma: Dma::new().map_err(VfioError::Event)?,
            kvm: Arc::new(VfioDeviceFd::new_from_kvm(kvm)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a function, which a driver of VFIO must have, or a mediated device. The first one settles which of the kernel's
    /// interfaces is used.
    pub fn open(&self, address: LentDevice) -> Result<Arc<VfioHostDevice>, VfioError> {
        let group = self.files.lent(address)?;
        let sysfs = self.files.device_path(address);
        let cdev = self.files.vfio_file(&sysfs).map(cdev_path);
        let mut state = self.state();
        let space = self.space(&mut state, address, group, cdev.as_deref())?;
        let cdev = cdev.filter(|_| !space.has_groups());
        let opened = space
            .open(&sysfs)
            .map_err(|error| Attempt::look(&self.files, address, group, cdev).explain(error))?;
        let core = Arc::new(Core::new(opened, space, self.files.clone(), address, group)?);
        let hardware: Weak<Core> = Arc::downgrade(&core);
        state.devices.push((address, Weak::clone(&hardware)));
        self.resets.join(address, group, hardware as Weak<dyn Hardware>);
        Ok(Arc::new(VfioHostDevice::new(core, Arc::clone(&self.resets), Arc::clone(&self.dma))))
    }

    /// The address space of all devices, made for the first.
    fn space(
        &self,
        state: &mut State,
        address: LentDevice,
        group: u32,
        cdev: Option<&Path>,
    ) -> Result<Arc<Space>, VfioError> {
        if let Some(space) = &state.space {
            return Ok(Arc::clone(space));
        }
        let offer = Offer {
            iommufd: usable(Path::new(IOMMUFD)) && cdev.is_some_and(usable),
            groups: usable(Path::new("/dev/vfio/vfio")),
        };
        let kvm = || Arc::clone(&self.kvm);
        let explain = |cdev: Option<PathBuf>| {
            let look = move || Attempt::look(&self.files, address, group, cdev);
            move |error| look().explain(error)
        };
        let space = if prefers_iommufd(self.choice, offer) {
            match Space::over_iommufd(kvm()) {
                // The file may be there without the module behind it.
                Err(error) if self.choice == VfioBackend::Auto => {
                    tracing::debug!(%error, "groups are used in place of iommufd");
                    Space::over_groups(kvm()).map_err(explain(None))?
                }
                space => space.map_err(explain(cdev.map(Path::to_owned)))?,
            }
        } else {
            Space::over_groups(kvm()).map_err(explain(None))?
        };
        tracing::debug!(iommufd = !space.has_groups(), "passed-through devices have an address space");
        let space = Arc::new(space);
        state.space = Some(Arc::clone(&space));
        Ok(space)
    }

    /// Checks that `ram` can be opened to all devices, which are open already, and starts to open it. Nothing happens if
    /// there are none.
    pub fn start_dma(&self, ram: &GuestRam, shared: u64) -> Result<(), VfioError> {
        let state = self.state();
        let space = state.space.clone().filter(|_| !state.devices.is_empty());
        let pinned = state.devices.iter().any(|(device, _)| device.function().is_some());
        drop(state);
        match space {
            Some(space) => Ok(self.dma.start(space, ram, shared, pinned)?),
            None => Ok(()),
        }
    }

    /// How long it takes to open `len` bytes of memory like the guest's to the devices, at `address`, where they reach nothing yet. It is
    /// waited until the guest's own, of `locked` bytes, is open.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn try_opening(&self, address: u64, len: u64, pages: Pages, locked: u64) -> Result<Duration, String> {
        let space = self.state().space.clone();
        let space = space.filter(|_| self.dma.wait()).ok_or("guest memory is not open to devices")?;
        dma::trial(&space, address, len, pages, locked).map_err(|error| error.to_string())
    }

    /// Bytes of guest memory that are open to devices while more are to come. A vCPU may wait for all of them.
    pub fn dma_progress(&self) -> Option<u64> {
        self.dma.progress()
    }

    /// Signalled when guest memory could not be opened to devices: the machine cannot go on.
    pub fn failure_event(&self) -> &EventFd {
        self.dma.failure_event()
    }

    /// Why, and what to do; `None` if nothing has failed or it was taken before.
    pub fn take_failure(&self) -> Option<String> {
        self.dma.take_failure().map(|error| error.to_string())
    }

    /// Opens the devices' memory to each other's DMA, as it comes and goes. `None` if nobody would use it: there are no
    /// devices of different slots, or they are open by iommufd, which cannot map such memory (Linux 6.12).
    pub fn windows(&self, shared: bool) -> Option<Arc<dyn WindowObserver>> {
        let state = self.state();
        // Mediated devices have no memory that others could reach, and reach none.
        let slots: BTreeSet<_> = state
            .devices
            .iter()
            .filter_map(|(device, _)| device.function())
            .map(|address| (address.segment(), address.bus(), address.device()))
            .collect();
        let space = state.space.as_ref()?;
        let peers = slots.len() > 1 && space.has_groups();
        let wanted = peers || (shared && !slots.is_empty());
        wanted.then(|| Arc::new(Windows::new(Arc::clone(space), peers)) as Arc<dyn WindowObserver>)
    }

    fn devices(&self) -> Vec<Arc<Core>> {
        self.state().devices.iter().filter_map(|(_, device)| device.upgrade()).collect()
    }

    /// Whether every device is as at power-on. The kernel resets a device when it is opened, if it can do so without
    /// touching others.
    pub fn are_fresh(&self) -> bool {
        self.devices().iter().all(|device| device.is_fresh())
    }

    /// The events by which the kernel reports on devices on its own behalf. A device that has none of a kind is left out.
    pub fn notifications(&self) -> io::Result<Vec<Notification>> {
        let mut notifications = Vec::new();
        for device in self.devices() {
            notifications.extend(device.notifications()?);
        }
        Ok(notifications)
    }

    /// Ends the thread that opens memory to devices. Whoever waits for it gets no bus mastering.
    pub fn stop_dma(&self) {
        self.dma.stop();
    }

    /// Ends what devices do: in this order the thread that opens memory to them, their interrupts, all they have in
    /// progress by a reset, and their access to guest memory. No vCPU may run any more.
    pub fn shut_down(&self) {
        self.dma.stop();
        let devices = self.devices();
        for device in &devices {
            device.silence();
            self.resets.announce(device.address());
        }
        for device in &devices {
            match self.resets.reset(device.address()) {
                Ok(done) => tracing::debug!(device = %device.address(), ?done, "reset at the end"),
                // It is quiet all the same, and the kernel tries again when it is closed.
                Err(error) => tracing::debug!(device = %device.address(), %error, "no reset at the end"),
            }
        }
        if let Some(space) = self.state().space.clone() {
            space.unmap_ram();
        }
    }
}

impl Drop for Vfio {
    fn drop(&mut self) {
        self.dma.stop();
    }
}
