//! Why disk images are refused.

use std::io;

use vocabulary::DiskFormat;

/// Why a disk image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error(
        "the disk image {path} does not exist; correct its path, or create it, \
         for example with `qemu-img create -f {format} {path} 20G`"
    )]
    Missing {
        /// The image.
        path: String,
        /// Its claimed format.
        format: DiskFormat,
    },
    /// The path leads to something else than a file.
    #[error("{path} is {what}, not a disk image")]
    NotAFile {
        /// The path.
        path: String,
        /// What is there.
        what: &'static str,
    },
    /// Permissions forbid reading.
    #[error(
        "no permission to open the disk image {path}; change its owner or mode, or run as a user who may read it"
    )]
    NotPermitted {
        /// The image.
        path: String,
    },
    /// Permissions or the file system forbid writing.
    #[error(
        "the disk image {path} cannot be written ({reason}); make it writable, or set `readonly = true` for this disk"
    )]
    NotWritable {
        /// The image.
        path: String,
        /// The kernel's word.
        reason: &'static str,
    },
    /// Somebody else uses the image.
    #[error(
        "the disk image {path} is in use by another process, such as another VM or qemu-nbd; \
         stop that first (only disks that all users set `readonly = true` for can be shared)"
    )]
    InUse {
        /// The image.
        path: String,
    },
    /// It is no image of the claimed format.
    #[error(
        "the disk image {path} is not a qcow2 image; if its contents are the disk's bytes, set `format = \"raw\"`"
    )]
    NotQcow2 {
        /// The image.
        path: String,
    },
    /// A raw disk that starts like a qcow2 image.
    #[error(
        "the disk image {path} is to be used as raw but is a qcow2 image; set `format = \"qcow2\"` \
         (if it really is a raw disk, its first sector has been overwritten)"
    )]
    NotRaw {
        /// The image.
        path: String,
    },
    /// A known format that is not supported.
    #[error(
        "the disk image {path} is in the {format} format; convert it: \
         `qemu-img convert -O qcow2 {path} {converted}`"
    )]
    Foreign {
        /// The image.
        path: String,
        /// The format's name.
        format: &'static str,
        /// What to call the result.
        converted: String,
    },
    /// Not whole sectors.
    #[error(
        "the disk image {path} has {size} bytes, which is not a multiple of {multiple}; \
         is it complete? If so, extend it with `{command}`"
    )]
    OddSize {
        /// The image.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// What the size must be a multiple of.
        multiple: u64,
        /// What extends it.
        command: String,
    },
    /// There is no such image of an optical disc.
    #[error("the disc image {path} does not exist; correct its path")]
    NoSuchDisc {
        /// The image.
        path: String,
    },
    /// Not as large as an optical disc can be.
    #[error(
        "{path} cannot be put into a drive: {}; is the download complete?",
        if *size == 0 { "it is empty".to_owned() } else { format!("{size} bytes are more than a disc has room for (8 TiB)") }
    )]
    NoDisc {
        /// The image.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The image of an optical disc is an image of a disk.
    #[error(
        "{path} is a {format} image, which is a disk's format and not that of an optical disc; give it to a [[disk]]"
    )]
    NotADisc {
        /// The image.
        path: String,
        /// What it is.
        format: &'static str,
    },
    /// Nothing in it.
    #[error("the disk image {path} is empty; give it a size, for example with `{command}`")]
    Empty {
        /// The image.
        path: String,
        /// What gives it one.
        command: String,
    },
    /// A qcow2 image wants another file, which is not allowed.
    #[error(
        "the disk image {path} reads from the backing file {backing}; if you trust the image to name that file, \
         allow it with `backing = \"allow\"` for this disk, else merge them with `qemu-img rebase -b \"\" {path}`"
    )]
    Backing {
        /// The image.
        path: String,
        /// The other file, as the header names it.
        backing: String,
    },
    /// The header of a qcow2 image makes no sense.
    #[error(
        "the qcow2 image {path} cannot be used: {reason}; is the file complete? `qemu-img check {path}` may tell more"
    )]
    Header {
        /// The image.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A qcow2 image uses features that are not supported, and qemu-img can make one without.
    #[error(
        "the qcow2 image {path} cannot be used: {feature}, which is not supported; \
         convert it: `qemu-img convert -f qcow2 -O qcow2 {path} {converted}`"
    )]
    Unsupported {
        /// The image.
        path: String,
        /// What it does.
        feature: String,
        /// What to call the result.
        converted: String,
    },
    /// A qcow2 image whose data is ciphertext.
    #[error(
        "the qcow2 image {path} is encrypted ({method}), which is not supported; decrypt it, with the password in a file: \
         `qemu-img convert --object secret,id=key,file=PASSWORD_FILE \
         --image-opts driver=qcow2,file.filename={path},encrypt.key-secret=key -O qcow2 {converted}`"
    )]
    Encrypted {
        /// The image.
        path: String,
        /// How.
        method: String,
        /// What to call the result.
        converted: String,
    },
    /// A qcow2 image whose metadata is wrong, so that writing would destroy more.
    #[error(
        "the qcow2 image {path} is damaged: {reason}; nothing is written to it until it is repaired with \
         `qemu-img check -r all {path}` (make a copy first), or read what is left of it with `readonly = true` \
         for this disk"
    )]
    Damaged {
        /// The image.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A backing file of unknown format.
    #[error(
        "the disk image {path} names the backing file {backing} but not its format, which is never guessed from \
         contents that a guest may have written; \
         name it with `qemu-img rebase -u -b {backing} -F FORMAT {path}`, where FORMAT is raw or qcow2"
    )]
    BackingFormat {
        /// The image.
        path: String,
        /// The other file, as the header names it.
        backing: String,
    },
    /// A backing file that is no file of this host, or whose format is not known.
    #[error(
        "the disk image {path} reads from the backing file {backing}, {what}; \
         merge both into one image with `qemu-img convert -f qcow2 -O qcow2 {path} {converted}`"
    )]
    BackingKind {
        /// The image.
        path: String,
        /// The other file, as the header names it.
        backing: String,
        /// What is not supported about it.
        what: String,
        /// What to call the result.
        converted: String,
    },
    /// A chain of backing files that leads back to itself.
    #[error(
        "the disk image {path} is its own backing file, directly or through others; \
         correct one of the names with `qemu-img rebase -u`"
    )]
    BackingLoop {
        /// The image that is there twice.
        path: String,
    },
    /// A chain of backing files without end.
    #[error(
        "the disk image {path} has more than {limit} backing files, one behind the other; \
         merge them into one image with `qemu-img convert -f qcow2 -O qcow2 {path} {converted}`"
    )]
    BackingDepth {
        /// The image.
        path: String,
        /// How many are allowed.
        limit: usize,
        /// What to call the result.
        converted: String,
    },
    /// Something is wrong with a backing file.
    #[error("the backing file of {path}: {source}")]
    BackingFile {
        /// The image that names it.
        path: String,
        /// What is wrong.
        source: Box<DiskError>,
    },
    /// O_DIRECT is not possible.
    #[error(
        "the file system of the disk image {path} does not support direct I/O; remove `cache = \"direct\"` for this disk"
    )]
    NoDirect {
        /// The image.
        path: String,
    },
    /// Anything else.
    #[error("cannot {doing} the disk image {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The image.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
}

impl DiskError {
    /// Whether the image is all right and only another process in the way.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::BackingFile { source, .. } => source.is_in_use(),
            _ => false,
        }
    }
}
