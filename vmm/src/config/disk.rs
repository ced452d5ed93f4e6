//! The choices of a `[[disk]]` section.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum DiskFormat {
    /// The bytes of the disk themselves: an image file or a block device.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl DiskFormat {
    /// The format that a path tells.
    ///
    /// The content is not asked: a guest that may write a raw disk can put a qcow2 header on it, with the
    /// name of any file of the host as backing image.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        if path.starts_with("/dev") {
            return Some(Self::Raw);
        }
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "qcow2" => Some(Self::Qcow2),
            "raw" | "img" => Some(Self::Raw),
            _ => None,
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
