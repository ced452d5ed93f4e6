//! The choices of a `[[disk]]` section.

use std::collections::HashMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::DiskFormat;

use super::file::DiskSection;
use super::resolve::Resolver;
use super::{Disk, Firmware};
use crate::finding::Section;

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

impl Resolver {
    /// One disk.
    pub(super) fn disk(&mut self, index: usize, section: DiskSection) -> Disk {
        let DiskSection { path, format, readonly, serial, boot_index, address, cache, discard, backing } =
            section;
        let path = self.path(path);
        let known_format = format.or_else(|| DiskFormat::of_path(&path));
        if known_format.is_none() {
            self.problem_with_help(
                Section::Disk(index).key("path"),
                "the format of this disk is not clear from its name",
                "add `format = \"raw\"` or `format = \"qcow2\"`; `qemu-img info` tells which it is",
            );
        }
        let format = known_format.unwrap_or(DiskFormat::Raw);
        if known_format == Some(DiskFormat::Raw) && backing.is_some() {
            let message = "`backing` is about qcow2 images, and this disk is raw";
            self.problem(Section::Disk(index).key("backing"), message);
        }
        let backing = backing.unwrap_or(Backing::Deny);
        Disk { path, format, readonly, serial, boot_index, address, cache, discard, backing }
    }

    /// One file has one use, unless nobody writes to it.
    pub(super) fn check_files(&mut self, firmware: &Firmware, disks: &[Disk]) {
        let mut seen: HashMap<&Path, (usize, bool)> = HashMap::new();
        for (index, disk) in disks.iter().enumerate() {
            let key = Section::Disk(index).key("path");
            if [&firmware.code, &firmware.vars].contains(&&disk.path)
                || firmware.vars_template.as_ref() == Some(&disk.path)
            {
                self.problem(key, "this disk is a file of the firmware");
            }
            match seen.get(disk.path.as_path()) {
                Some((first, readonly)) if !(*readonly && disk.readonly) => {
                    let line = self.line_of(Section::Disk(*first).key("path"));
                    self.problem_with_help(
                        key,
                        format!("another disk{line} has the same image, and two writers would destroy it"),
                        "only disks that are all `readonly = true` can share an image",
                    );
                }
                Some(_) => {}
                None => {
                    seen.insert(&disk.path, (index, disk.readonly));
                }
            }
        }
    }
}
