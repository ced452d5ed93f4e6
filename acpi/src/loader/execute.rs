//! The firmware's side of the script: executes it, for a machine that starts a kernel without firmware.
//!
//! Unlike OVMF it leaves every blob where it was put, and copies no tables out of them.

use super::{ENTRY_SIZE, NAME_SIZE, Zone};

/// A blob in guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedBlob {
    /// Its name in the fw_cfg directory.
    pub name: String,
    /// Guest-physical address.
    pub base: u64,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// An address that a fw_cfg file is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPointer {
    /// The file.
    pub file: String,
    /// Offset in it.
    pub offset: u32,
    /// The address, little-endian, of as many bytes as the field has.
    pub bytes: Vec<u8>,
}

/// What a script has made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executed {
    /// In the order of their allocation.
    pub blobs: Vec<LoadedBlob>,
    /// In the order of the script.
    pub pointers: Vec<WrittenPointer>,
}

/// Why a script cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// There is no such file.
    #[error("there is no file {0}")]
    NoFile(String),
    /// No room in guest memory.
    #[error("there is no room in guest memory for {name} of {size} bytes")]
    NoRoom {
        /// File name.
        name: String,
        /// Its size in bytes.
        size: usize,
    },
    /// An entry that makes no sense.
    #[error("entry {0} of the table-loader script cannot be executed")]
    Entry(usize),
}

/// Executes `script`. `file` has the contents of fw_cfg files, `place` finds room for so many bytes at a multiple of so
/// many below 4 GiB.
///
/// # Errors
/// See [`ExecuteError`].
pub fn execute(
    script: &[u8],
    mut file: impl FnMut(&str) -> Option<Vec<u8>>,
    mut place: impl FnMut(usize, u64, Zone) -> Option<u64>,
) -> Result<Executed, ExecuteError> {
    let mut done = Executed::default();
    for (index, entry) in script.chunks_exact(ENTRY_SIZE).map(Entry).enumerate() {
        let malformed = || ExecuteError::Entry(index);
        match entry.u32(0) {
            super::COMMAND_ALLOCATE => {
                let name = entry.name(4).ok_or_else(malformed)?;
                let bytes = file(&name).ok_or_else(|| ExecuteError::NoFile(name.clone()))?;
                let zone = if entry.byte(64) == Zone::FSegment as u8 { Zone::FSegment } else { Zone::High };
                let base = place(bytes.len(), entry.u32(60).into(), zone)
                    .ok_or_else(|| ExecuteError::NoRoom { name: name.clone(), size: bytes.len() })?;
                done.blobs.push(LoadedBlob { name, base, bytes });
            }
            super::COMMAND_ADD_POINTER => add_pointer(&mut done, &entry).ok_or_else(malformed)?,
            super::COMMAND_ADD_CHECKSUM => add_checksum(&mut done, &entry).ok_or_else(malformed)?,
            super::COMMAND_WRITE_POINTER => write_pointer(&mut done, &entry).ok_or_else(malformed)?,
            // Behind the last entry there are zeros.
            _ => {}
        }
    }
    Ok(done)
}

impl Executed {
    /// The blob of this name.
    pub fn blob(&self, name: &str) -> Option<&LoadedBlob> {
        self.blobs.iter().find(|blob| blob.name == name)
    }

    /// The bytes of a blob from an offset on.
    fn field(&mut self, name: &str, offset: u32, size: usize) -> Option<&mut [u8]> {
        let blob = self.blobs.iter_mut().find(|blob| blob.name == name)?;
        let start = usize::try_from(offset).ok()?;
        blob.bytes.get_mut(start..start.checked_add(size)?)
    }
}

struct Entry<'a>(&'a [u8]);

impl Entry<'_> {
    fn byte(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or(0)
    }

    fn u32(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    }

    fn name(&self, offset: usize) -> Option<String> {
        let field = self.0.get(offset..offset.checked_add(NAME_SIZE)?)?;
        let end = field.iter().position(|byte| *byte == 0)?;
        String::from_utf8(field.get(..end)?.to_vec()).ok()
    }

    /// The width of a pointer.
    fn size(&self, offset: usize) -> Option<usize> {
        Some(usize::from(self.byte(offset))).filter(|size| matches!(size, 1 | 2 | 4 | 8))
    }
}

fn add_pointer(done: &mut Executed, entry: &Entry<'_>) -> Option<()> {
    let base = done.blob(&entry.name(60)?)?.base;
    let size = entry.size(120)?;
    let field = done.field(&entry.name(4)?, entry.u32(116), size)?;
    let mut value = [0; 8];
    value.get_mut(..size)?.copy_from_slice(field);
    let address = u64::from_le_bytes(value).checked_add(base)?.to_le_bytes();
    let (low, high) = address.split_at_checked(size)?;
    field.copy_from_slice(low);
    high.iter().all(|byte| *byte == 0).then_some(())
}

fn add_checksum(done: &mut Executed, entry: &Entry<'_>) -> Option<()> {
    let name = entry.name(4)?;
    let [result, start, length] = [60, 64, 68].map(|offset| entry.u32(offset));
    let range = done.field(&name, start, usize::try_from(length).ok()?)?;
    let sum = range.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    // The byte's own value, zero by now, is part of the sum.
    *done.field(&name, result, 1)?.first_mut()? = sum.wrapping_neg();
    Some(())
}

fn write_pointer(done: &mut Executed, entry: &Entry<'_>) -> Option<()> {
    let target = done.blob(&entry.name(60)?)?.base.checked_add(entry.u32(120).into())?;
    let bytes = target.to_le_bytes().get(..entry.size(124)?)?.to_vec();
    done.pointers.push(WrittenPointer { file: entry.name(4)?, offset: entry.u32(116), bytes });
    Some(())
}
