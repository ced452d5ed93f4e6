//! Memory with the contents of a flash unit. More than half of OVMF's is erased; these parts share the pages of one.
#![allow(unsafe_code, reason = "a mapping is read where the guest will see it, and parts of it are replaced")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::fs::{MemfdFlags, SealFlags};
use vm_memory::MmapRegion;
use vm_memory::mmap::MmapRegionBuilder;

use crate::machine::refused;
use crate::outcome::Failure;

/// What is looked at as a whole, in bytes, at multiples of itself: whole pages.
const PART: usize = 64 << 10;

/// What erased flash reads as (JEDEC CFI; every byte of an erased block).
const ERASED: u8 = 0xff;

/// One erased part, for all that are.
pub(super) struct Erased {
    file: File,
    bytes: Vec<u8>,
}

impl Erased {
    /// Makes it.
    ///
    /// # Errors
    /// The kernel gives no memory, or no file for it.
    pub(super) fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("erased-flash", flags)?);
        let bytes = vec![ERASED; PART];
        file.write_all(&bytes)?;
        // Nobody can take pages away that are mapped, or change them.
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
        )?;
        Ok(Self { file, bytes })
    }

    /// A unit of `size` bytes, filled by `read` with what is at an offset of its file.
    ///
    /// # Errors
    /// Whatever `read` says; or there is no memory.
    pub(super) fn unit(
        &self,
        size: usize,
        mut read: impl FnMut(&mut [u8], u64) -> Result<(), Failure>,
    ) -> Result<MmapRegion, Failure> {
        let mut region = MmapRegionBuilder::new(size)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
            .build()
            .map_err(io::Error::other)
            .map_err(refused("map memory for the flash"))?;
        let mut buffer = vec![0; PART];
        let mut erased = Vec::with_capacity(size.div_ceil(PART));
        for start in (0..size).step_by(PART) {
            let length = PART.min(size - start);
            erased.push(self.is_erased(&mut buffer, start, length, &mut read)?);
        }
        // All of these first: where they cut the mapping, no huge page will be taken for it.
        for (index, _) in erased.iter().enumerate().filter(|(_, erased)| **erased) {
            let start = index * PART;
            self.put(&region, start, PART.min(size - start)).map_err(refused("map memory for the flash"))?;
        }
        let mut start = 0;
        for alike in erased.chunk_by(|one, next| one == next) {
            let end = size.min(start + alike.len() * PART);
            if alike.first() == Some(&false)
                && let Some(part) = contents(&mut region).get_mut(start..end)
            {
                populate(part);
                read(part, start as u64)?;
            }
            start = end;
        }
        Ok(region)
    }

    /// Maps the pages in place of those of a part of `region`. What is written there later is the region's own.
    fn put(&self, region: &MmapRegion, start: usize, length: usize) -> io::Result<()> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: the range lies in the mapping of `region`, which nobody else knows yet and nobody has a reference into; it
        // stays one mapping's worth of private memory, and is unmapped with the rest. The file has `PART` bytes for good.
        let mapped = unsafe {
            libc::mmap(region.as_ptr().add(start).cast(), length, prot, flags, self.file.as_raw_fd(), 0)
        };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether a part of the file is erased: `length` bytes from `start`.
    fn is_erased(
        &self,
        buffer: &mut [u8],
        start: usize,
        length: usize,
        read: &mut impl FnMut(&mut [u8], u64) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        // Most of those that are not begin with something else, which spares reading them twice.
        for length in [64, length] {
            let Some(part) = buffer.get_mut(..length) else { return Ok(false) };
            read(part, start as u64)?;
            if self.bytes.get(..length) != Some(&*part) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Takes all pages in one call, which spares a fault for each.
fn populate(part: &mut [u8]) {
    // SAFETY: the range is memory of ours, and taking its pages changes no contents. Before Linux 5.14 this is an error, and
    // each page comes with its fault.
    unsafe { libc::madvise(ptr::from_mut(part).cast(), part.len(), libc::MADV_POPULATE_WRITE) };
}

/// The contents of a mapping.
pub(super) fn contents(region: &mut MmapRegion) -> &mut [u8] {
    // SAFETY: the mapping is of this size, is filled by the kernel, and is known to its one owner only, who lends it for as
    // long as the slice lives.
    unsafe { std::slice::from_raw_parts_mut(region.as_ptr(), region.size()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::smaps::mapped_pages;

    const PAGE: usize = 4096;

    /// Pages that only this mapping has.
    fn own(region: &MmapRegion) -> usize {
        let start = region.as_ptr() as usize;
        mapped_pages(&(start..start + region.size())).anonymous
    }

    fn unit(file: &[u8]) -> MmapRegion {
        let read = |part: &mut [u8], offset: u64| {
            let start = offset as usize;
            part.copy_from_slice(&file[start..start + part.len()]);
            Ok(())
        };
        Erased::new().unwrap().unit(file.len(), read).unwrap()
    }

    #[test]
    fn units_are_as_their_files() {
        // Erased parts at either end, in the middle, and a last one that is shorter; one that only begins as if it were.
        for parts in [[0, 1, 0, 0, 2, 0], [1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0], [2, 1, 2, 1, 2, 1]] {
            let mut file = Vec::new();
            for part in parts {
                let mut bytes = vec![ERASED; PART];
                match part {
                    1 => bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8),
                    2 => bytes[PART - 1] = 0,
                    _ => {}
                }
                file.extend(bytes);
            }
            file.truncate(file.len() - 3 * PAGE);
            let mut region = unit(&file);
            assert!(contents(&mut region) == file, "{parts:?}");
        }
    }

    #[test]
    fn erased_parts_share_memory_until_they_are_written() {
        let mut file = vec![ERASED; 20 * PART];
        file[7 * PART..8 * PART].fill(1);
        let mut region = unit(&file);
        assert_eq!(own(&region), PART / PAGE);
        let bytes = contents(&mut region);
        (bytes[3 * PART], bytes[4 * PART + 1]) = (7, 8);
        assert_eq!((bytes[2 * PART], bytes[5 * PART + 1]), (ERASED, ERASED), "each writes its own");
        assert_eq!(own(&region), PART / PAGE + 2);
    }

    #[test]
    fn what_reading_says_is_told() {
        let shorter = |_: &mut [u8], offset| match offset {
            0 => Ok(()),
            _ => Err(refused("read the file")(io::ErrorKind::UnexpectedEof.into())),
        };
        let failed = Erased::new().unwrap().unit(2 * PART, shorter).map(drop).unwrap_err();
        assert!(failed.to_string().contains("read the file"), "{failed}");
    }
}
