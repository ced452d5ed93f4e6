//! `[[disk]]`: a disk, its image on the host, and its place in the boot order. What is special about a bus is in a file of its own
//! ([`bus`]).

mod bus;
mod identity;
mod nvme;
mod sata;
mod section;
mod virtio;

use std::path::PathBuf;
use std::sync::Arc;

use devices::disk::{self as image, BlockBackend, DiskOptions, Failures, open_disk};
use uuid::Uuid;
use vocabulary::{DiskFormat, PciAddress};

use super::{Assembly, Boot, DeviceError, Opened, Opening, PciNeed, Purpose, Spec, UsedFile};
use crate::finding::Section;
use crate::topology::Placed;

pub use bus::Bus;
pub use identity::Identity;
pub use section::{Backing, Cache, Discard, OnError, Sectors};
pub(crate) use section::{DiskSection, check_files};

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Image file or block device.
    pub path: PathBuf,
    /// What no other disk of any machine has: made from the machine's UUID and the disk's number.
    pub uuid: Uuid,
    /// What the guest reaches it by.
    pub bus: Bus,
    /// Format of the image.
    pub format: DiskFormat,
    /// Whether writes are refused.
    pub readonly: bool,
    /// Its port, where its bus has ports.
    pub port: usize,
    /// The guest's sectors.
    pub sectors: Sectors,
    /// What it says of itself.
    pub identity: Identity,
    /// Place in the firmware's boot order.
    pub boot_index: Option<u32>,
    /// Guest PCI address; `None` leaves it to the plan.
    pub address: Option<PciAddress>,
    /// The host's page cache.
    pub cache: Cache,
    /// What discard requests do.
    pub discard: Discard,
    /// Whether the image may have a backing image.
    pub backing: Backing,
    /// What happens when the image cannot be read or written.
    pub on_error: OnError,
}

impl Disk {
    /// What the log calls it.
    fn log_name(&self) -> String {
        format!("{} ({})", self.section(), self.path.display())
    }

    /// What becomes of requests that its image cannot serve.
    fn failures(&self, machine: &mut Assembly<'_>) -> Arc<Failures> {
        let on_error = match self.on_error {
            OnError::Report => image::OnError::Report,
            OnError::Stop => {
                let trouble = Arc::clone(machine.trouble);
                image::OnError::Stop(Box::new(move |what| trouble.tell(what)))
            }
        };
        let failures = Failures::new(&self.log_name(), on_error);
        machine.made.disk_failures.push(Arc::clone(&failures));
        failures
    }
}

impl Spec for Disk {
    fn section(&self) -> Section {
        Section::Disk(self.index)
    }

    fn describe(&self) -> String {
        let stops = match self.on_error {
            OnError::Report => "",
            OnError::Stop => " (stops the machine when its image fails)",
        };
        format!("{} {} {}{stops}", self.bus.attachment().name(), self.section(), self.path.display())
    }

    fn pci(&self) -> Option<PciNeed> {
        self.bus.attachment().pci(self)
    }

    fn boot(&self) -> Option<Boot> {
        Some(Boot { index: self.boot_index, kind: self.bus.attachment().boot(self) })
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        vec![(format!("the image of {}", self.section()), &self.path)]
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let options = DiskOptions {
            path: self.path.clone(),
            format: Some(self.format),
            read_only: self.readonly,
            direct: self.cache == Cache::Direct,
            discard: self.discard == Discard::Unmap,
            allow_backing: self.backing == Backing::Allow,
            look: opening.purpose == Purpose::Look,
        };
        match open_disk(&options) {
            Ok(image) if !image.size().is_multiple_of(self.sectors.bytes().into()) => {
                let (size, bytes, path) = (image.size(), self.sectors.bytes(), self.path.display());
                let message = format!(
                    "{}: {path} has {size} bytes, which are no whole sectors of {bytes} bytes",
                    self.section()
                );
                let help = format!("extend the image to a multiple of {bytes}, or remove `sectors`");
                let problem = opening.origin.problem(self.section().key("sectors"), message);
                opening.problems.push(problem.with_help(help));
                None
            }
            Ok(image) => Some(Box::new(OpenDisk { disk: self.clone(), image })),
            Err(error) => {
                opening.image_problem(self.section(), &error);
                None
            }
        }
    }
}

/// A disk whose image is open, and locked.
struct OpenDisk {
    disk: Disk,
    image: Box<dyn BlockBackend>,
}

/// What others are told of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskFacts {
    /// The image.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// What the guest sees of it, in bytes.
    pub size: u64,
    /// Whether the guest cannot write to it.
    pub read_only: bool,
    /// Whether it is used around the host's page cache.
    pub direct: bool,
}

impl Opened for OpenDisk {
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let Self { disk, image } = *self;
        machine.made.disks.push(DiskFacts {
            path: disk.path.clone(),
            format: disk.format,
            size: image.size(),
            read_only: disk.readonly,
            direct: disk.cache == Cache::Direct,
        });
        disk.bus.attachment().build(&disk, image, placed, machine)
    }
}
