//! The table-loader script: what the firmware must do with the blobs that it fetches from fw_cfg.
//!
//! The format is edk2's `OvmfPkg/AcpiPlatformDxe/QemuLoader.h`: little-endian entries of 128 bytes, executed in
//! order. OVMF drops *all* tables when a single entry fails, so [`Script`] owns the blobs and checks every entry
//! against them. What it lets through, the firmware accepts:
//!
//! * a file name is 1 to 55 bytes, allocated once, before anything refers to it;
//! * an alignment is a power of two up to a page;
//! * a pointer lies inside its blob and points inside the other, and is written before any checksum over it;
//! * a checksum's byte lies inside the range it makes sum up to zero, and starts out as zero.
//!
//! Blobs that the firmware takes for ACPI tables (because a pointer leads to something with a valid header) are
//! copied and the blob is freed. A blob with live data, which the guest's OS goes on reading, must therefore be
//! one of its own and begin with at least 36 zero bytes; it is then kept in ACPI NVS memory.

use core::ops::Range;

mod execute;
#[cfg(test)]
mod tests;

pub use execute::{ExecuteError, Executed, LoadedBlob, WrittenPointer, execute};

/// Bytes of an entry.
pub const ENTRY_SIZE: usize = 128;

/// Bytes of a file name in an entry, with the NUL that ends it.
pub const NAME_SIZE: usize = 56;

const COMMAND_ALLOCATE: u32 = 1;
const COMMAND_ADD_POINTER: u32 = 2;
const COMMAND_ADD_CHECKSUM: u32 = 3;
const COMMAND_WRITE_POINTER: u32 = 4;

/// Where to put a blob. OVMF ignores it; SeaBIOS and the format want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Anywhere.
    High = 1,
    /// Below 1 MiB, where a BIOS has its RSDP.
    FSegment = 2,
}

/// Bytes of a pointer. OVMF puts a blob below 4 GiB if and only if some [`Script::add_pointer`] narrower than
/// eight bytes leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointerSize {
    /// 32 bits.
    Four = 4,
    /// 64 bits.
    Eight = 8,
}

impl PointerSize {
    /// Number of bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// A blob of a [`Script`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobId(usize);

/// A place in a blob: the blob and an offset in bytes.
pub type Place = (BlobId, usize);

/// A fw_cfg file that the firmware loads into guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name in the fw_cfg directory.
    pub name: String,
    /// Its content, with offsets where the firmware will put addresses.
    pub bytes: Vec<u8>,
}

/// An entry that the firmware would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A file name that does not fit.
    #[error("the file name {0:?} must have 1 to 55 bytes and no NUL")]
    Name(String),
    /// A second blob of the same name.
    #[error("the file {0} is allocated twice")]
    Twice(String),
    /// An alignment the firmware cannot give.
    #[error("the file {name} asks for an alignment of {align}; powers of two up to 4096 are possible")]
    Align {
        /// File name.
        name: String,
        /// The alignment, in bytes.
        align: u32,
    },
    /// An empty or too large blob.
    #[error("the file {0} is empty or larger than 4 GiB")]
    Size(String),
    /// A blob id of another script.
    #[error("a blob is named that this script does not have")]
    Blob,
    /// Something that lies outside of its blob.
    #[error("{what} at {offset:#x} lies outside of {name}")]
    Bounds {
        /// What it is.
        what: &'static str,
        /// Its offset.
        offset: usize,
        /// File name.
        name: String,
    },
    /// A checksum byte outside of the range it is for.
    #[error("the checksum of {name} at {offset:#x} is not part of what it sums up")]
    ChecksumPlace {
        /// File name.
        name: String,
        /// Offset of the checksum byte.
        offset: usize,
    },
    /// A change to bytes whose checksum is already computed.
    #[error("{name} changes at {offset:#x} after its checksum was taken")]
    Sealed {
        /// File name.
        name: String,
        /// Offset of the change.
        offset: usize,
    },
}

/// A script under construction, with the blobs it is about.
#[derive(Debug, Clone, Default)]
pub struct Script {
    blobs: Vec<Blob>,
    entries: Vec<u8>,
    sealed: Vec<(BlobId, Range<usize>)>,
}

impl Script {
    /// An empty script.
    pub fn new() -> Self {
        Self::default()
    }

    /// ALLOCATE: have the file `name` with this content loaded at a multiple of `align` bytes.
    ///
    /// # Errors
    /// When the name, the alignment or the size is not possible, or the name is taken.
    pub fn allocate(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        align: u32,
        zone: Zone,
    ) -> Result<BlobId, ScriptError> {
        let field = name_field(name)?;
        if self.blobs.iter().any(|blob| blob.name == name) {
            return Err(ScriptError::Twice(name.to_owned()));
        }
        if !align.is_power_of_two() || align > 4096 {
            return Err(ScriptError::Align { name: name.to_owned(), align });
        }
        if bytes.is_empty() || u32::try_from(bytes.len()).is_err() {
            return Err(ScriptError::Size(name.to_owned()));
        }
        let id = BlobId(self.blobs.len());
        self.blobs.push(Blob { name: name.to_owned(), bytes });
        self.entry(COMMAND_ALLOCATE, &[&field, &align.to_le_bytes(), &[zone as u8]]);
        Ok(id)
    }

    /// ADD_POINTER: have the field at `holder` become the guest physical address of `target`.
    ///
    /// # Errors
    /// When the field or the target is outside of its blob, or a checksum over the field was already taken.
    pub fn add_pointer(
        &mut self,
        holder: Place,
        size: PointerSize,
        target: Place,
    ) -> Result<(), ScriptError> {
        let target_name = self.target(target)?;
        let value = to_u32(target.1, "a pointer's target", &target_name)?;
        let range = self.open_range(holder, size.bytes(), "a pointer")?;
        let blob = self.blobs.get_mut(holder.0.0).ok_or(ScriptError::Blob)?;
        let holder_name = blob.name.clone();
        // The firmware adds the address of the target's blob to what it finds in the field.
        if let Some(field) = blob.bytes.get_mut(range) {
            for (slot, byte) in field.iter_mut().zip(u64::from(value).to_le_bytes()) {
                *slot = byte;
            }
        }
        let offset = to_u32(holder.1, "a pointer", &holder_name)?;
        let (holder, target) = (name_field(&holder_name)?, name_field(&target_name)?);
        self.entry(COMMAND_ADD_POINTER, &[&holder, &target, &offset.to_le_bytes(), &[size as u8]]);
        Ok(())
    }

    /// ADD_CHECKSUM: have the byte at `place` make the bytes `range` of its blob sum up to zero.
    ///
    /// # Errors
    /// When the range is outside of the blob, or does not contain the byte.
    pub fn add_checksum(&mut self, place: Place, range: Range<usize>) -> Result<(), ScriptError> {
        let (id, offset) = place;
        let blob = self.blobs.get_mut(id.0).ok_or(ScriptError::Blob)?;
        let name = blob.name.clone();
        let bounds = || ScriptError::Bounds { what: "a checksum", offset: range.start, name: name.clone() };
        if !range.contains(&offset) {
            return Err(ScriptError::ChecksumPlace { name, offset });
        }
        if blob.bytes.get(range.clone()).is_none() {
            return Err(bounds());
        }
        // The firmware includes the byte's old value in the sum.
        *blob.bytes.get_mut(offset).ok_or_else(bounds)? = 0;
        let start = to_u32(range.start, "a checksum", &name)?;
        let length = to_u32(range.len(), "a checksum", &name)?;
        let result = to_u32(offset, "a checksum", &name)?;
        let file = name_field(&name)?;
        self.entry(
            COMMAND_ADD_CHECKSUM,
            &[&file, &result.to_le_bytes(), &start.to_le_bytes(), &length.to_le_bytes()],
        );
        self.sealed.push((id, range));
        Ok(())
    }

    /// WRITE_POINTER: have the guest physical address of `target` written back to the fw_cfg file `file` of
    /// `file_size` bytes, at `offset`, and the target's blob kept for good.
    ///
    /// It does not put the blob below 4 GiB: add a four-byte [`Self::add_pointer`] where that is needed.
    ///
    /// # Errors
    /// When the name does not fit, or the field or the target is out of bounds.
    pub fn write_pointer(
        &mut self,
        file: &str,
        file_size: usize,
        offset: usize,
        size: PointerSize,
        target: Place,
    ) -> Result<(), ScriptError> {
        let field = name_field(file)?;
        if offset.checked_add(size.bytes()).is_none_or(|end| end > file_size) {
            return Err(ScriptError::Bounds { what: "a pointer", offset, name: file.to_owned() });
        }
        let target_name = self.target(target)?;
        let source = name_field(&target_name)?;
        let offset = to_u32(offset, "a pointer", file)?;
        let target = to_u32(target.1, "a pointer's target", &target_name)?;
        self.entry(
            COMMAND_WRITE_POINTER,
            &[&field, &source, &offset.to_le_bytes(), &target.to_le_bytes(), &[size as u8]],
        );
        Ok(())
    }

    /// The blobs in the order of their allocation, and the script without padding.
    pub fn finish(self) -> (Vec<Blob>, Vec<u8>) {
        let Self { blobs, entries, sealed: _ } = self;
        (blobs, entries)
    }

    /// Name of the blob that `place` lies in.
    fn target(&self, place: Place) -> Result<String, ScriptError> {
        let blob = self.blobs.get(place.0.0).ok_or(ScriptError::Blob)?;
        if place.1 >= blob.bytes.len() {
            let (what, name) = ("a pointer's target", blob.name.clone());
            return Err(ScriptError::Bounds { what, offset: place.1, name });
        }
        Ok(blob.name.clone())
    }

    /// The `length` bytes at `place`, when they exist and may still change.
    fn open_range(
        &self,
        place: Place,
        length: usize,
        what: &'static str,
    ) -> Result<Range<usize>, ScriptError> {
        let (id, offset) = place;
        let blob = self.blobs.get(id.0).ok_or(ScriptError::Blob)?;
        let name = || blob.name.clone();
        let end = offset.checked_add(length).filter(|end| *end <= blob.bytes.len());
        let Some(end) = end else {
            return Err(ScriptError::Bounds { what, offset, name: name() });
        };
        let overlaps = |range: &Range<usize>| range.start < end && offset < range.end;
        if self.sealed.iter().any(|(sealed, range)| *sealed == id && overlaps(range)) {
            return Err(ScriptError::Sealed { name: name(), offset });
        }
        Ok(offset..end)
    }

    fn entry(&mut self, command: u32, fields: &[&[u8]]) {
        let end = self.entries.len().saturating_add(ENTRY_SIZE);
        self.entries.extend_from_slice(&command.to_le_bytes());
        for field in fields {
            self.entries.extend_from_slice(field);
        }
        self.entries.resize(end, 0);
    }
}

fn to_u32(offset: usize, what: &'static str, name: &str) -> Result<u32, ScriptError> {
    u32::try_from(offset).map_err(|_| ScriptError::Bounds { what, offset, name: name.to_owned() })
}

fn name_field(name: &str) -> Result<[u8; NAME_SIZE], ScriptError> {
    let mut field = [0; NAME_SIZE];
    if name.is_empty() || name.len() >= NAME_SIZE || name.contains('\0') {
        return Err(ScriptError::Name(name.to_owned()));
    }
    for (slot, byte) in field.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    Ok(field)
}
