//! What can be wrong with an option ROM, told with the field, its offset in the file, and what was expected there.

use std::fmt;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The ROM can be used.
    Warning,
    /// The ROM must not be used.
    Error,
}

/// Something that is wrong with a ROM. Offsets are in bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends within an image.
    #[error(
        "image {image} is truncated: it begins at {offset:#x} and has {length:#x} bytes, but the file ends at \
         {file:#x}; look for a whole copy"
    )]
    Truncated {
        /// Index of the image in the chain.
        image: usize,
        /// Where it begins.
        offset: usize,
        /// Its length as its structures say.
        length: usize,
        /// Size of the file.
        file: usize,
    },
    /// The file ends where the next image should begin.
    #[error(
        "the chain is truncated: image {image} should begin at {offset:#x}, where the file ends; look for a whole copy"
    )]
    ChainEnds {
        /// Index of the missing image.
        image: usize,
        /// Where it should begin.
        offset: usize,
    },
    /// The standard images are complete, but the private ones that should follow are missing.
    #[error(
        "NVIDIA's private images are missing, which should begin with image {image} at {offset:#x}; the standard ones are \
         complete. Linux reads no more of a GPU's ROM; its EEPROM and the laptop's BIOS have all of it"
    )]
    PrivateMissing {
        /// Index of the first missing image.
        image: usize,
        /// Where it should begin.
        offset: usize,
    },
    /// The file ends within the last image, where there is filler as a rule.
    #[error(
        "the file ends at {file:#x}, within NVIDIA's private image {image}, the last one, which begins at {offset:#x} and has \
         {length:#x} bytes; it is filled up with 0xff, which vendors' files leave out"
    )]
    TailMissing {
        /// Index of the image.
        image: usize,
        /// Where it begins.
        offset: usize,
        /// Its length as its structures say.
        length: usize,
        /// Size of the file.
        file: usize,
    },
    /// The chain goes on, but no image is there.
    #[error(
        "the chain is broken: image {image} should begin at {offset:#x} with the signature 55 aa (or 56 4e, 77 bb), \
         but {} is there",
        Hex(found)
    )]
    NoImage {
        /// Index of the missing image.
        image: usize,
        /// Where it should begin.
        offset: usize,
        /// The first bytes there.
        found: Vec<u8>,
    },
    /// An image of no length.
    #[error("image {image} at {offset:#x} says that its length is 0")]
    NoLength {
        /// Index of the image.
        image: usize,
        /// Where it begins.
        offset: usize,
    },
    /// The pointer to the PCIR leads out of the image.
    #[error(
        "the pointer to the PCIR structure of image {image}, at {offset:#x}, is {found:#x}, but the image has only \
         {length:#x} bytes"
    )]
    PcirOutside {
        /// Index of the image.
        image: usize,
        /// Where the pointer stands.
        offset: usize,
        /// The pointer, relative to the image.
        found: usize,
        /// Length of the image in bytes.
        length: usize,
    },
    /// The bytes do not sum up to 0.
    #[error(
        "the checksum of image {image} is wrong: its {length:#x} bytes from {offset:#x} on must sum up to 0x00 \
         (modulo 0x100), but make {sum:#04x}; the dump is damaged, or the ROM was edited"
    )]
    Checksum {
        /// Index of the image.
        image: usize,
        /// Where it begins.
        offset: usize,
        /// How many bytes are summed.
        length: usize,
        /// Their sum.
        sum: u8,
    },
    /// The ROM is for another device.
    #[error(
        "it is for another device: the vendor and device ID at {offset:#x} are {}, expected {}",
        Ids(*found), AnyOf(expected)
    )]
    OtherDevice {
        /// Where the vendor ID stands.
        offset: usize,
        /// Vendor and device ID in the ROM.
        found: (u16, u16),
        /// Vendor and device IDs that would do.
        expected: Vec<(u16, u16)>,
    },
    /// The ROM is no video BIOS.
    #[error(
        "it is no video BIOS: the class code at {offset:#x} is {found:#08x}, expected 0x03xxxx (display controller){}",
        if *found == 0 { "; EFI drivers without one are taken as `rom` in [igpu]" } else { "" }
    )]
    NotDisplay {
        /// Where the class code stands.
        offset: usize,
        /// The class code.
        found: u32,
    },
    /// EFI drivers that name another device than the one that shows them.
    #[error(
        "its EFI drivers name {} and class {class:06x}, as ROMs for virtual GPUs do; firmware starts them all the same, and they \
         decide whether they know this GPU",
        Ids(*found)
    )]
    OtherDriver {
        /// Vendor and device ID in the ROM.
        found: (u16, u16),
        /// Class code in the ROM.
        class: u32,
    },
    /// A further image of the chain has other IDs.
    #[error(
        "image {image} is for {}, unlike the first image: vendor and device ID at {offset:#x}", Ids(*found)
    )]
    MixedDevices {
        /// Index of the image.
        image: usize,
        /// Where its vendor ID stands.
        offset: usize,
        /// Its vendor and device ID.
        found: (u16, u16),
    },
    /// No EFI driver.
    #[error(
        "it is legacy-only, without an EFI image for x86-64 (GOP): the firmware cannot show anything through this \
         GPU; a GPU without outputs (muxless) needs none"
    )]
    NoGop,
    /// The header of an image has more bytes than the chain.
    #[error(
        "the header of image {image} claims {length:#x} bytes, at {offset:#x}, but the chain of images ends at {end:#x}; look \
         for a whole copy"
    )]
    HeaderOverrun {
        /// Index of the image.
        image: usize,
        /// Where the length stands.
        offset: usize,
        /// The length.
        length: usize,
        /// Where the chain ends.
        end: usize,
    },
    /// The whole blob is longer than the file.
    #[error(
        "the image length at {offset:#x} covers the file up to {end:#x}, which ends at {file:#x}; the chain of images \
         is complete, but something behind it may be missing"
    )]
    BlobOverrun {
        /// Where the length stands.
        offset: usize,
        /// Where the blob would end.
        end: usize,
        /// Size of the file.
        file: usize,
    },
    /// Another image begins behind the one that says it is the last.
    #[error(
        "another image begins at {offset:#x}, behind the one that says it is the last; it is no part of the chain"
    )]
    ImageAfterLast {
        /// Where it begins.
        offset: usize,
    },
    /// Something in front of the first image.
    #[error(
        "the {length:#x} bytes in front of the first image are not NVIDIA's initialisation block and are left out: harmless \
         where a program put them there, but if they are a damaged image, what follows is not all of the ROM; `optimus-vmm vbios \
         find` shows everything in such a file"
    )]
    UnknownPrefix {
        /// How many.
        length: usize,
    },
    /// A PCIR of unknown revision.
    #[error("the PCIR revision of image {image} at {offset:#x} is {found}, expected 0 or 3")]
    PcirRevision {
        /// Index of the image.
        image: usize,
        /// Where the revision stands.
        offset: usize,
        /// The revision.
        found: u8,
    },
}

impl Problem {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Truncated { .. }
            | Self::HeaderOverrun { .. }
            | Self::ChainEnds { .. }
            | Self::NoImage { .. }
            | Self::NoLength { .. }
            | Self::PcirOutside { .. }
            | Self::Checksum { .. }
            | Self::OtherDevice { .. }
            | Self::NotDisplay { .. } => Severity::Error,
            Self::MixedDevices { .. }
            | Self::OtherDriver { .. }
            | Self::NoGop
            | Self::PrivateMissing { .. }
            | Self::TailMissing { .. }
            | Self::BlobOverrun { .. }
            | Self::ImageAfterLast { .. }
            | Self::UnknownPrefix { .. }
            | Self::PcirRevision { .. } => Severity::Warning,
        }
    }
}

/// A ROM that cannot be used. The messages continue a sentence that names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RomError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// More than a ROM can have.
    #[error(
        "the file has {size} bytes, but a PCI ROM at most {}; to look for ROMs in a BIOS update or a flash dump, use \
         `optimus-vmm vbios find`",
        super::MAX_SIZE
    )]
    TooLarge {
        /// Size of the file in bytes.
        size: usize,
    },
    /// No image begins in it.
    #[error("no PCI option ROM: nowhere in it is the signature 55 aa with a PCIR structure{looks_like}")]
    NotARom {
        /// What it seems to be, as the end of a sentence; may be empty.
        looks_like: &'static str,
    },
    /// It may hold ROMs, but is none.
    #[error("it is {what}, not a ROM; look for ROMs in it with `optimus-vmm vbios find`")]
    Container {
        /// What it is.
        what: &'static str,
    },
    /// One or more problems of [`Severity::Error`].
    #[error("{}", List(.0))]
    Unusable(Vec<Problem>),
}

/// What a file that is no ROM seems to be.
pub(super) fn looks_like(bytes: &[u8]) -> &'static str {
    let blank = |value: u8| bytes.iter().all(|byte| *byte == value);
    match bytes {
        _ if blank(0xff) || blank(0) => " (it is blank: the device answered no reads, or was asleep)",
        [b'N', b'V', b'G', b'I', ..] => {
            " (it begins with NVIDIA's initialisation block, but the ROM behind it is missing or encrypted)"
        }
        [b'M', b'Z', ..] => " (it is a Windows or EFI program; try `optimus-vmm vbios find` on it)",
        [0x55, 0xaa, ..] => {
            " (it has a ROM signature, but no PCIR structure: a ROM for ISA, or a damaged one)"
        }
        _ => "",
    }
}

struct Ids((u16, u16));

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.0.0, self.0.1)
    }
}

struct AnyOf<'a>(&'a [(u16, u16)]);

impl fmt::Display for AnyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ids) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}{}", Ids(*ids))?;
        }
        Ok(())
    }
}

struct List<'a>(&'a [Problem]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}
