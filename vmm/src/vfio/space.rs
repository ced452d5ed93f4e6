//! The address space that the VM's devices have for their DMA, by either of the kernel's two interfaces
//! (Linux Documentation/driver-api/vfio.rst, Documentation/userspace-api/iommufd.rst).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::GuestRam;
use iommufd_ioctls::{IommuFd, IommufdError};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioDeviceFd, VfioIommufd, VfioOps};
use vocabulary::VfioBackend;

use super::dma::Ranges;
use super::ioctl;

/// The file of containers.
pub(super) const CONTAINER: &str = "/dev/vfio/vfio";
/// iommufd's file.
pub(super) const IOMMUFD: &str = "/dev/iommu";

#[derive(Clone)]
enum Interface {
    Groups(Arc<VfioContainer>),
    Iommufd(Arc<VfioIommufd>),
}

/// What the host offers for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    /// `/dev/iommu` and the device's own file can be opened.
    pub(super) iommufd: bool,
    /// `/dev/vfio/vfio` can be opened.
    pub(super) groups: bool,
}

/// Whether to use iommufd.
pub(super) fn prefers_iommufd(choice: VfioBackend, offer: Offer) -> bool {
    match choice {
        VfioBackend::Group => false,
        VfioBackend::Iommufd => true,
        // Groups can open devices' memory to each other, which iommufd cannot as of Linux 6.12.
        VfioBackend::Auto => offer.iommufd && !offer.groups,
    }
}

/// Guest memory that is mapped.
#[derive(Default)]
struct Mapped {
    pieces: Vec<(u64, usize)>,
    /// The kernel has its pages pinned.
    ram: Option<GuestRam>,
}

/// An address space for DMA. It ends with the last device in it.
pub(super) struct Space {
    interface: Interface,
    mapped: Mutex<Mapped>,
    /// Open devices of each group.
    groups: Mutex<BTreeMap<u32, usize>>,
}

impl Space {
    /// Over groups: one container. Which IOMMU it is for is settled with the first device.
    pub(super) fn over_groups(kvm: Arc<VfioDeviceFd>) -> Result<Self, vfio_ioctls::VfioError> {
        let container = VfioContainer::new(Some(kvm))?;
        Ok(Self {
            interface: Interface::Groups(Arc::new(container)),
            mapped: Mutex::default(),
            groups: Mutex::default(),
        })
    }

    /// Over iommufd: one I/O address space.
    pub(super) fn over_iommufd(kvm: Arc<VfioDeviceFd>) -> Result<Self, vfio_ioctls::VfioError> {
        let iommufd = Arc::new(IommuFd::new().map_err(vfio_ioctls::VfioError::NewVfioIommufd)?);
        let space = VfioIommufd::new(iommufd, None, Some(kvm))?;
        Ok(Self {
            interface: Interface::Iommufd(Arc::new(space)),
            mapped: Mutex::default(),
            groups: Mutex::default(),
        })
    }

    /// Whether devices are opened by their group.
    pub(super) fn has_groups(&self) -> bool {
        matches!(self.interface, Interface::Groups(_))
    }

    /// Opens the device with this directory in sysfs, registered with KVM first.
    pub(super) fn open(&self, sysfs: &Path) -> Result<VfioDevice, vfio_ioctls::VfioError> {
        VfioDevice::new(sysfs, self.ops(), true)
    }

    /// Counts a device that has been opened.
    pub(super) fn enter(&self, group: u32) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let count = groups.entry(group).or_default();
        *count = count.saturating_add(1);
    }

    /// Takes it off again, and says whether others of its group are open.
    pub(super) fn leave(&self, group: u32) -> bool {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = groups.get_mut(&group) else { return false };
        *count = count.saturating_sub(1);
        *count > 0
    }

    fn ops(&self) -> Arc<dyn VfioOps> {
        match self.interface.clone() {
            Interface::Groups(container) => container,
            Interface::Iommufd(iommufd) => iommufd,
        }
    }

    /// What its devices reach; `None` if the kernel does not report it.
    pub(super) fn ranges(&self) -> Option<Ranges> {
        let ranges = match &self.interface {
            Interface::Groups(container) => {
                ioctl::iommu_info(container.as_ref()).map(|info| Ranges::from_type1_info(&info))
            }
            Interface::Iommufd(space) => ioctl::ioas_ranges(space.iommufd().as_ref(), space.ioas().id())
                .map(|ranges| Some(Ranges::new(ranges))),
        };
        ranges.unwrap_or_else(|error| {
            tracing::debug!(%error, "the IOMMU's address ranges are unknown");
            None
        })
    }

    /// Opens `len` bytes at `host` in this process to devices, at address `guest`.
    ///
    /// # Safety
    ///
    /// The memory is mapped and stays so until [`Space::unmap`] or the end of the space, and Rust code does not rely on
    /// its contents: devices change them at any time.
    #[allow(unsafe_code, reason = "devices write to the memory behind the address")]
    pub(super) unsafe fn map(&self, guest: u64, host: u64, len: usize) -> io::Result<()> {
        let address = usize::try_from(host).map_err(|_| io::ErrorKind::InvalidInput)?;
        // The memory is reached through the kernel only; whoever mapped it has exposed its address.
        let address = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: as the caller promises.
        unsafe { self.ops().vfio_dma_map(guest, len, address) }.map_err(|error| io_error(&error))
    }

    /// Undoes [`Space::map`].
    pub(super) fn unmap(&self, guest: u64, len: usize) -> io::Result<()> {
        self.ops().vfio_dma_unmap(guest, len).map_err(|error| io_error(&error))
    }

    fn mapped(&self) -> MutexGuard<'_, Mapped> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `ram` for as long as devices can reach it.
    pub(super) fn keep(&self, ram: &GuestRam) {
        self.mapped().ram = Some(ram.clone());
    }

    /// Remembers a piece of RAM that has been mapped.
    pub(super) fn remember(&self, guest: u64, len: usize) {
        self.mapped().pieces.push((guest, len));
    }

    /// Takes all RAM away from devices.
    pub(super) fn unmap_ram(&self) {
        let mut mapped = self.mapped();
        for (guest, len) in std::mem::take(&mut mapped.pieces) {
            if let Err(error) = self.unmap(guest, len) {
                // The kernel does it when the space is closed.
                devices::limited_debug!(%error, guest, len, "guest memory stays open to devices until the end");
            }
        }
        mapped.ram = None;
    }
}

/// The errno inside an error of the crate.
pub(super) fn errno(error: &vfio_ioctls::VfioError) -> Option<i32> {
    use vfio_ioctls::VfioError as E;
    match error {
        E::OpenContainer(source) | E::OpenGroup(source, _) | E::OpenDeviceCdev(source) => {
            source.raw_os_error()
        }
        E::ContainerSetIOMMU(source)
        | E::GroupGetDeviceFD(source)
        | E::SetDeviceAttr(source)
        | E::VfioDeviceGetInfo(source)
        | E::IommuDmaMap(source)
        | E::IommuDmaUnmap(source)
        | E::VfioDeviceBindIommufd(source)
        | E::VfioDeviceAttachIommufdPt(source) => Some(source.errno()),
        E::NewVfioIommufd(source) | E::IommufdIoctlError(source) => match source {
            IommufdError::OpenIommufd(source) => source.raw_os_error(),
            IommufdError::IommuIoasAlloc(source)
            | IommufdError::IommuIoasMap(source)
            | IommufdError::IommuIoasUnmap(source) => Some(source.errno()),
            _ => None,
        },
        _ => None,
    }
}

/// As the kernel's own error where there is one.
fn io_error(error: &vfio_ioctls::VfioError) -> io::Error {
    errno(error).map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

/// The file of group `group`.
pub(super) fn group_path(group: u32) -> PathBuf {
    PathBuf::from(format!("/dev/vfio/{group}"))
}

/// The file of the device that sysfs calls `name`.
pub(super) fn cdev_path(name: String) -> PathBuf {
    Path::new("/dev/vfio/devices").join(name)
}

/// The open file of each of `groups`, which the container holds and does not show.
pub(super) fn group_files(groups: &[u32]) -> io::Result<Vec<RawFd>> {
    groups
        .iter()
        .map(|group| {
            let path = group_path(*group);
            std::fs::read_dir("/proc/self/fd")?
                .flatten()
                .find(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path))
                .and_then(|fd| fd.file_name().to_str()?.parse().ok())
                .ok_or_else(|| io::Error::other(format!("{} is not open", path.display())))
        })
        .collect()
}

/// Whether the user may read and write `path`.
pub(super) fn usable(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}
