//! The section `[[disk]]`, and all that it alone can have wrong.

use std::collections::HashMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vocabulary::{DiskFormat, PciAddress};

use super::{Bus, Disk, Identity};
use crate::device::Spec;
use crate::finding::{Resolver, Section};

/// A disk.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskSection {
    /// The image file or block device.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// What the guest reaches it by: `"virtio"`, virtio-blk, for which Windows needs a driver; `"nvme"`, an NVMe controller, or
    /// `"sata"`, a port of the SATA controller, for which it has one. Nothing else changes a disk's bus.
    #[serde(default)]
    pub bus: Bus,
    /// The image's format. It is never guessed from the content, which a guest could forge.
    #[schemars(extend("x-default" = "by the ending of `path`: `.qcow2`, or `.raw` and `.img`; `raw` below `/dev`"))]
    pub format: Option<DiskFormat>,
    /// Refuse writes.
    #[serde(default)]
    pub readonly: bool,
    /// The serial number that the guest sees: at most 20 ASCII characters.
    #[schemars(extend("format" = "disk-serial", "x-default" = "none on virtio; on NVMe, one that is made from the machine's UUID and the disk's number; on SATA, `DISK` and its number"))]
    pub serial: Option<String>,
    /// The model that the guest sees: at most 40 ASCII characters. virtio has no place for one.
    #[schemars(extend("format" = "disk-model", "x-default" = "`\"optimus-vmm NVMe disk\"` or `\"OPTIMUS SATA DISK\"`"))]
    pub model: Option<String>,
    /// The revision of the disk's firmware that the guest sees: at most 8 ASCII characters. virtio has no place for one.
    #[schemars(extend("format" = "disk-firmware-revision", "x-default" = "on NVMe, the version of optimus-vmm; on SATA, `\"1.0\"`"))]
    pub firmware_revision: Option<String>,
    /// Whether the guest is told that nothing in the disk rotates. virtio has no place for it, and on NVMe it is always so.
    #[schemars(extend("x-default" = "`true` on NVMe and SATA"))]
    pub ssd: Option<bool>,
    /// The guest's sectors: `"512e"`, 512 bytes in larger physical ones, or `"4kn"`, 4096 bytes, of which the image's size must
    /// be a multiple. Only disks with `bus = "sata"` can have the latter.
    #[serde(default)]
    pub sectors: Sectors,
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
    /// What happens when the image cannot be read or written, such as when its file system is full: `"report"` tells the guest, as a
    /// broken disk would; `"stop"` pauses the machine before the guest learns of it, and `optimus-vmm ctl NAME resume` tries again.
    /// What cannot succeed any more is told to the guest with either: a flush after one that has failed, and accesses to an image where it is
    /// damaged, after which it is not changed any more. The flush with which an NVMe disk shuts down or turns its write cache off stops the
    /// machine, too, but is not tried again, and its guest is told.
    #[serde(default)]
    pub on_error: OnError,
}

/// What happens when an image cannot be read or written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnError {
    /// The guest is told.
    #[default]
    Report,
    /// The machine is paused, and the request is done again when it goes on.
    Stop,
}

/// Sectors as the guest counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Sectors {
    /// 512 bytes, in larger physical ones.
    #[default]
    #[serde(rename = "512e")]
    Emulated,
    /// 4096 bytes.
    #[serde(rename = "4kn")]
    Native,
}

impl Sectors {
    /// Bytes of one.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Emulated => 512,
            Self::Native => 4096,
        }
    }
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

impl DiskSection {
    /// The disk of this number, of the machine with `uuid`.
    pub(crate) fn resolve(self, index: usize, uuid: Uuid, resolver: &mut Resolver) -> Disk {
        let Self {
            path,
            bus,
            format,
            readonly,
            serial,
            model,
            firmware_revision,
            ssd,
            sectors,
            boot_index,
            address,
            cache,
            discard,
            backing,
            on_error,
        } = self;
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
        let identity = Identity { serial, model, firmware_revision, ssd };
        identity.check(bus, section, resolver);
        let mut refuse = |key, message: &str, help: &str| {
            resolver.problem_with_help(section.key(key), message, help);
        };
        if bus == Bus::Sata {
            if readonly {
                refuse(
                    "readonly",
                    "a SATA disk cannot tell a guest that it must not write",
                    "use `bus = \"virtio\"` for this disk, or remove `readonly`",
                );
            }
            if address.is_some() {
                refuse(
                    "address",
                    "a SATA disk is at a port of the controller at 00:1f.2 and has no address of its own",
                    "remove `address`",
                );
            }
        } else if sectors != Sectors::default() {
            let message = "only SATA disks can have other sectors than those of 512 bytes";
            refuse("sectors", message, "use `bus = \"sata\"` for this disk, or remove `sectors`");
        }
        let uuid = Uuid::new_v5(&uuid, format!("disk[{index}]").as_bytes());
        Disk {
            index,
            uuid,
            path,
            bus,
            format,
            readonly,
            port: 0,
            sectors,
            identity,
            boot_index,
            address,
            cache,
            discard,
            backing,
            on_error,
        }
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
