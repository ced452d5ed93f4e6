//! `[[disk]]`: a virtio-blk disk, its image on the host, and its place in the boot order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use devices::disk::{BlockBackend, DiskOptions, open_disk};
use devices::virtio::blk::VirtioBlk;
use firmware::fw_cfg::bootorder::BootKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{DiskFormat, PciAddress};

use super::boot_disk::BootDisk;
use super::{Assembly, Boot, DeviceError, Opened, Opening, PciNeed, Purpose, Spec, UsedFile};
use crate::finding::{Resolver, Section};
use crate::topology::Placed;

/// A virtio-blk disk.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskSection {
    /// The image file or block device.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// The image's format. It is never guessed from the content, which a guest could forge.
    #[schemars(extend("x-default" = "by the ending of `path`: `.qcow2`, or `.raw` and `.img`; `raw` below `/dev`"))]
    pub format: Option<DiskFormat>,
    /// Refuse writes.
    #[serde(default)]
    pub readonly: bool,
    /// The serial number that the guest sees: at most 20 ASCII characters.
    #[schemars(extend("format" = "disk-serial", "x-default" = "none"))]
    pub serial: Option<String>,
    /// Place in the firmware's boot order, lowest first. Disks without one follow as the firmware likes.
    #[schemars(extend("x-default" = "none"))]
    pub boot_index: Option<u32>,
    /// The PCI address in the guest, such as `"00:04.0"`.
    #[schemars(extend("x-default" = "the next free one"))]
    pub address: Option<PciAddress>,
    /// `"writeback"` goes through the host's page cache, `"direct"` around it (`O_DIRECT`). Both keep what
    /// the guest has flushed.
    #[serde(default)]
    pub cache: Cache,
    /// What the guest's discard requests do: `"unmap"` frees the space in the image, `"ignore"` nothing.
    #[serde(default)]
    pub discard: Discard,
    /// Whether a qcow2 image may name another file as its backing image: `"deny"` or `"allow"`. An image
    /// from a stranger could name any file of the host.
    #[schemars(extend("x-default" = "`\"deny\"`"))]
    pub backing: Option<Backing>,
}

/// The host's page cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Cache {
    /// Through the page cache; the guest's flushes reach the disk.
    #[default]
    Writeback,
    /// Around the page cache (`O_DIRECT`).
    Direct,
}

/// What a discard request does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Discard {
    /// Free the space in the image.
    #[default]
    Unmap,
    /// Nothing.
    Ignore,
}

/// Whether an image may name another one as its backing image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Backing {
    /// An image with a backing image is refused.
    #[default]
    Deny,
    /// Backing images are opened, read-only.
    Allow,
}

/// A virtio-blk disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Image file or block device.
    pub path: PathBuf,
    /// Format of the image.
    pub format: DiskFormat,
    /// Whether writes are refused.
    pub readonly: bool,
    /// Serial number, 1 to 20 bytes of printable ASCII.
    pub serial: Option<String>,
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
}

impl DiskSection {
    /// The disk of this number.
    pub(crate) fn resolve(self, index: usize, resolver: &mut Resolver) -> Disk {
        let Self { path, format, readonly, serial, boot_index, address, cache, discard, backing } = self;
        let section = Section::Disk(index);
        let path = resolver.path(path);
        let known_format = format.or_else(|| DiskFormat::of_path(&path));
        if known_format.is_none() {
            resolver.problem_with_help(
                section.key("path"),
                "the format of this disk is not clear from its name",
                "add `format = \"raw\"` or `format = \"qcow2\"`; `qemu-img info` tells which it is",
            );
        }
        let format = known_format.unwrap_or(DiskFormat::Raw);
        if known_format == Some(DiskFormat::Raw) && backing.is_some() {
            let message = "`backing` is about qcow2 images, and this disk is raw";
            resolver.problem(section.key("backing"), message);
        }
        let backing = backing.unwrap_or(Backing::Deny);
        Disk { index, path, format, readonly, serial, boot_index, address, cache, discard, backing }
    }
}

/// One file has one use, unless nobody writes to it. `firmware` are the files of the firmware.
pub(crate) fn check_files(resolver: &mut Resolver, firmware: &[&Path], disks: &[Disk]) {
    let mut seen: HashMap<&Path, &Disk> = HashMap::new();
    for disk in disks {
        let key = disk.section().key("path");
        if firmware.contains(&disk.path.as_path()) {
            resolver.problem(key, "this disk is a file of the firmware");
        }
        match seen.get(disk.path.as_path()) {
            Some(first) if !(first.readonly && disk.readonly) => {
                let line = resolver.line_of(first.section().key("path"));
                resolver.problem_with_help(
                    key,
                    format!("another disk{line} has the same image, and two writers would destroy it"),
                    "only disks that are all `readonly = true` can share an image",
                );
            }
            Some(_) => {}
            None => {
                seen.insert(&disk.path, disk);
            }
        }
    }
}

impl Spec for Disk {
    fn section(&self) -> Section {
        Section::Disk(self.index)
    }

    fn describe(&self) -> String {
        format!("virtio-blk {} {}", self.section(), self.path.display())
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: self.address, pin: 1 })
    }

    fn boot(&self) -> Option<Boot> {
        Some(Boot { index: self.boot_index, kind: BootKind::VirtioBlk })
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
            Ok(image) => Some(Box::new(OpenDisk { disk: self.clone(), image })),
            Err(error) => {
                let problem = opening
                    .origin
                    .problem(self.section().key("path"), format!("{}: {error}", self.section()));
                match (error.is_in_use(), opening.purpose) {
                    (false, _) => opening.problems.push(problem),
                    // The file is right; somebody else is in the way.
                    (true, Purpose::Run) => opening.problems.push(problem.about_host()),
                    (true, Purpose::Look) => {}
                }
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
        let key = disk.section().to_string();
        let name = format!("{key} ({})", disk.path.display());
        let image = BootDisk::watch(image, key, machine.events.clone());
        let device = VirtioBlk::new(image, disk.serial.as_deref().unwrap_or_default(), &name);
        machine.add_virtio(placed, Box::new(device))
    }
}
