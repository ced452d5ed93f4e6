//! From the errors of `vfio-ioctls`, which name a step, to ours, which name the cause: what an errno of which step means
//! depends on the state of the host.

use std::path::PathBuf;

use vocabulary::LentDevice;

use super::error::VfioError;
use super::space::{CONTAINER, IOMMUFD, errno, group_path};
use crate::host::{self, Culprit, Holders, HostFiles, Unready};

/// The function that was to be opened, and the state of the host then.
pub(super) struct Attempt {
    /// The host.
    pub(super) files: HostFiles,
    /// The function.
    pub(super) address: LentDevice,
    /// Its IOMMU group.
    pub(super) group: u32,
    /// Its own VFIO file, if it was to be opened by that.
    pub(super) cdev: Option<PathBuf>,
    /// Who has its file open.
    pub(super) holders: Holders,
    /// Who is in its group's way.
    pub(super) culprits: Vec<Culprit>,
    /// Whether it answered after the failure.
    pub(super) answers: bool,
}

impl Attempt {
    /// Looks around after a failure.
    pub(super) fn look(files: &HostFiles, address: LentDevice, group: u32, cdev: Option<PathBuf>) -> Self {
        Self {
            files: files.clone(),
            address,
            group,
            cdev,
            holders: files.device_holders(address),
            culprits: files.device_culprits(address, group),
            answers: files.device_answers(address),
        }
    }

    fn path(&self) -> PathBuf {
        self.cdev.clone().unwrap_or_else(|| group_path(self.group))
    }

    fn forbidden(&self, path: PathBuf) -> VfioError {
        let rule = match (path.to_str(), &self.cdev) {
            (Some(IOMMUFD), _) => "KERNEL==\"iommu\", SUBSYSTEM==\"misc\"",
            (Some(CONTAINER), _) => "KERNEL==\"vfio\", SUBSYSTEM==\"misc\"",
            (_, Some(_)) => "SUBSYSTEM==\"vfio-dev\"",
            (_, None) => "SUBSYSTEM==\"vfio\"",
        };
        VfioError::Forbidden { address: self.address, path, rule }
    }

    fn busy(self) -> VfioError {
        VfioError::Busy { address: self.address, path: self.path(), holders: self.holders }
    }

    fn not_viable(self) -> VfioError {
        let Self { address, group, culprits, .. } = self;
        match address.function() {
            Some(address) if !culprits.is_empty() => Unready::NotViable { address, group, culprits }.into(),
            _ => VfioError::NotViable { address, group },
        }
    }

    fn setup(self, what: &'static str, error: vfio_ioctls::VfioError) -> VfioError {
        use vfio_ioctls::VfioError as E;
        let source: Box<dyn std::error::Error + Send + Sync> = match error {
            // These do not say what is inside.
            E::NewVfioIommufd(inside) | E::IommufdIoctlError(inside) => Box::new(inside),
            E::OpenDeviceCdev(inside) => Box::new(inside),
            error => Box::new(error),
        };
        VfioError::Setup { address: self.address, what, source }
    }

    /// Someone else has the function or another of its group.
    fn taken(self) -> VfioError {
        let alone = self.address.function().is_none();
        let unheld = self.holders.found.is_empty();
        // The drivers of its group are known, and processes that cannot be looked at only may be in the way.
        let obstructed = !self.culprits.is_empty() || self.holders.unseen == 0;
        if unheld && obstructed && !alone { self.not_viable() } else { self.busy() }
    }

    /// What `error` means.
    pub(super) fn explain(self, error: vfio_ioctls::VfioError) -> VfioError {
        use vfio_ioctls::VfioError as E;
        if let (false, Some(address)) = (self.answers, self.address.function()) {
            return host::all_ones(&self.files, address).into();
        }
        let address = self.address;
        match (&error, errno(&error)) {
            (E::OpenContainer(_), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
                VfioError::NoVfio(address)
            }
            (E::OpenContainer(_), Some(libc::EACCES | libc::EPERM)) => self.forbidden(CONTAINER.into()),
            (E::VfioExtension | E::VfioApiVersion | E::VfioType1V2, _) => VfioError::NoType1(address),
            (E::OpenGroup(..), Some(libc::ENOENT)) => VfioError::NoGroup { address, path: self.path() },
            (E::OpenGroup(..) | E::OpenDeviceCdev(_), Some(libc::EACCES | libc::EPERM)) => {
                let path = self.path();
                self.forbidden(path)
            }
            (E::OpenGroup(..) | E::OpenDeviceCdev(_), Some(libc::EBUSY)) => self.busy(),
            (E::GroupViable | E::GroupSetContainer, _) => self.not_viable(),
            (E::ContainerSetIOMMU(_), Some(libc::EPERM)) => {
                VfioError::UnsafeInterrupts { address, module: "vfio_iommu_type1" }
            }
            (E::ContainerSetIOMMU(_), Some(libc::ENODEV)) => VfioError::NoType1(address),
            (E::VfioDeviceAttachIommufdPt(_), Some(libc::EPERM)) => {
                VfioError::UnsafeInterrupts { address, module: "iommufd" }
            }
            (E::ContainerSetIOMMU(_) | E::VfioDeviceAttachIommufdPt(_), Some(libc::EINVAL)) => {
                VfioError::IommuRefuses(address)
            }
            (E::GroupGetDeviceFD(_), Some(libc::EBUSY)) => self.taken(),
            // The file of a device can be opened twice, but bound once.
            (E::VfioDeviceBindIommufd(_), Some(libc::EBUSY)) => self.taken(),
            (E::VfioDeviceBindIommufd(_), Some(libc::EINVAL)) if self.holders != Holders::default() => {
                self.busy()
            }
            (E::GroupGetDeviceFD(_) | E::VfioDeviceBindIommufd(_), Some(libc::EACCES)) => {
                VfioError::Token(address)
            }
            (E::GroupGetDeviceFD(_) | E::VfioDeviceBindIommufd(_), Some(libc::EAGAIN)) => {
                VfioError::Locked(address)
            }
            (E::NewVfioIommufd(_), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
                VfioError::NoIommufd { address, path: IOMMUFD.into() }
            }
            (E::NewVfioIommufd(_), Some(libc::EACCES | libc::EPERM)) => self.forbidden(IOMMUFD.into()),
            (E::InvalidVfioDev, _) => {
                VfioError::NoIommufd { address, path: self.files.device_path(address).join("vfio-dev") }
            }
            (E::OpenGroup(..), _) => self.setup("open its IOMMU group", error),
            (E::SetDeviceAttr(_), _) => self.setup("make it known to KVM", error),
            (E::ContainerSetIOMMU(_) | E::VfioDeviceAttachIommufdPt(_), _) => {
                self.setup("give it to the IOMMU", error)
            }
            _ => self.setup("open it", error),
        }
    }
}
