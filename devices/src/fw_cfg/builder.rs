//! Collects the items of a machine and checks them once, when all are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vocabulary::fw_cfg::Content;

use super::directory::{self, MAX_NAME};
use super::item::{Body, Group, Item, Observer, Part, Provider, WritableFile, WriteListener, keys};
use super::{Configuration, FwCfg};
use crate::GuestRam;

/// Features: the data port and DMA.
const FEATURES: u32 = 0x3;

/// Why the items do not make a device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Two files of one name.
    #[error("two fw_cfg files are named {0:?}; give one of them another name or leave it out")]
    DuplicateName(String),
    /// Two items of one key.
    #[error("two fw_cfg items have the key {0:#06x}")]
    DuplicateKey(u16),
    /// A key that belongs to files, to the device itself, or that a selector cannot express.
    #[error("the key {0:#06x} cannot be given to a fw_cfg item")]
    ReservedKey(u16),
    /// A name that the directory cannot hold.
    #[error("the fw_cfg file name {0:?} must have 1 to {MAX_NAME} printable ASCII characters")]
    Name(String),
    /// More files than keys.
    #[error("{0} fw_cfg files are more than the directory can hold")]
    TooManyFiles(usize),
    /// The image ends before its setup part does.
    #[error(
        "the kernel image has {image} bytes, but its setup part should have {setup}; check that it is a bzImage"
    )]
    KernelSetup {
        /// Length of the image in bytes.
        image: u32,
        /// Length that its setup part should have.
        setup: u32,
    },
}

/// Describes a [`FwCfg`]. The directory names files in the order in which they are added. OVMF reads it from its start, four
/// transfers for each file, until it has found the one that it looks for, and does so some fifty times: what it looks for
/// most comes first.
#[derive(Default)]
pub struct FwCfgBuilder {
    numeric: Vec<(u16, u32, Body)>,
    files: Vec<(String, u32, Body)>,
    writable: Vec<WritableFile>,
    groups: Vec<Group>,
    observer: Option<Arc<dyn Observer>>,
    error: Option<Error>,
}

impl FwCfgBuilder {
    /// No items but those that describe the device.
    pub fn new() -> Self {
        Self::default()
    }

    /// A read-only file.
    pub fn file(mut self, name: &str, content: impl Content + 'static) -> Self {
        self.files.push((name.to_owned(), content.len(), Body::Fixed(Arc::new(content))));
        self
    }

    /// A file of `len` bytes that the guest may write by DMA, zeros at first and after each reset.
    pub fn writable(mut self, name: &str, len: u16, listener: Arc<dyn WriteListener>) -> Self {
        self.files.push((name.to_owned(), len.into(), Body::Writable(self.writable.len())));
        self.writable.push(WritableFile { len: len.into(), listener });
        self
    }

    /// Files whose names and sizes are known now and whose contents `provider` makes when the guest wants them.
    pub fn lazy(mut self, files: &[(&str, u32)], provider: Provider) -> Self {
        for (member, (name, len)) in files.iter().enumerate() {
            self.files.push(((*name).to_owned(), *len, Body::Lazy(self.groups.len(), member)));
        }
        let sizes = files.iter().map(|(_, len)| usize::try_from(*len).unwrap_or(usize::MAX)).collect();
        self.groups.push(Group { sizes, provider });
        self
    }

    /// An item outside of the directory, see [`keys`].
    pub fn item(mut self, key: u16, content: impl Content + 'static) -> Self {
        self.numeric.push((key, content.len(), Body::Fixed(Arc::new(content))));
        self
    }

    /// A little-endian number outside of the directory.
    pub fn u16(self, key: u16, value: u16) -> Self {
        self.item(key, value.to_le_bytes().to_vec())
    }

    /// A little-endian number outside of the directory.
    pub fn u32(self, key: u16, value: u32) -> Self {
        self.item(key, value.to_le_bytes().to_vec())
    }

    /// A kernel for OVMF to start: the untouched bzImage, whose setup part is the first `setup_len` bytes.
    pub fn kernel(mut self, image: Arc<dyn Content>, setup_len: u32) -> Self {
        let Some(rest) = image.len().checked_sub(setup_len) else {
            self.error.get_or_insert(Error::KernelSetup { image: image.len(), setup: setup_len });
            return self;
        };
        self.u32(keys::SETUP_SIZE, setup_len)
            .item(keys::SETUP_DATA, Part { whole: Arc::clone(&image), start: 0, len: setup_len })
            .u32(keys::KERNEL_SIZE, rest)
            .item(keys::KERNEL_DATA, Part { whole: image, start: setup_len, len: rest })
    }

    /// The initial RAM disk of the kernel.
    pub fn initrd(self, image: impl Content + 'static) -> Self {
        self.u32(keys::INITRD_SIZE, image.len()).item(keys::INITRD_DATA, image)
    }

    /// The command line of the kernel; the NUL is added here.
    pub fn cmdline(self, line: &str) -> Self {
        let bytes = [line.as_bytes(), &[0]].concat();
        self.u32(keys::CMDLINE_SIZE, Content::len(&bytes)).item(keys::CMDLINE_DATA, bytes)
    }

    /// Who hears of milestones.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The device, whose DMA reaches `ram`.
    pub fn build(self, ram: GuestRam) -> Result<Arc<FwCfg>, Error> {
        let Self { numeric, files, writable, groups, observer, error } = self;
        if let Some(error) = error {
            return Err(error);
        }
        let mut items = BTreeMap::new();
        for (key, len, body) in numeric {
            if matches!(key, keys::SIGNATURE | keys::ID | keys::DIRECTORY | keys::FILE_FIRST..=0x7fff)
                || key & 0x4000 != 0
            {
                return Err(Error::ReservedKey(key));
            }
            if items.insert(key, Item { key, name: None, len, body }).is_some() {
                return Err(Error::DuplicateKey(key));
            }
        }

        let mut names = BTreeSet::new();
        for (name, ..) in &files {
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::Name(name.clone()));
            }
            if !names.insert(name) {
                return Err(Error::DuplicateName(name.clone()));
            }
        }
        if files.len() > usize::from(keys::FILE_END - keys::FILE_FIRST) {
            return Err(Error::TooManyFiles(files.len()));
        }
        let keys = keys::FILE_FIRST..keys::FILE_END;
        let directory = directory::encode(
            files.iter().zip(keys.clone()).map(|((name, len, _), key)| (key, *len, name.as_str())),
        );
        for ((name, len, body), key) in files.into_iter().zip(keys) {
            items.insert(key, Item { key, name: Some(name), len, body });
        }

        let own = [
            (keys::SIGNATURE, b"QEMU".to_vec()),
            (keys::ID, FEATURES.to_le_bytes().to_vec()),
            (keys::DIRECTORY, directory),
        ];
        for (key, bytes) in own {
            items.insert(
                key,
                Item { key, name: None, len: bytes.len() as u32, body: Body::Fixed(Arc::new(bytes)) },
            );
        }
        let items = items.into_values().collect();
        Ok(Arc::new(FwCfg::new(Configuration { items, writable, groups, observer, ram })))
    }
}
