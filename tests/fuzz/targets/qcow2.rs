//! qcow2 images and what is done to them. The input is a count of operations, eight bytes for each, and the image.
//!
//! Whatever the image is, nothing panics. If it is accepted for writing, it is consistent: then it holds what is written
//! to it, its metadata stays consistent at any moment, and what was flushed is there after a kill. With QEMU_IMG_CHECK
//! in the environment, qemu-img judges too, which is slow.
#![no_main]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::Command;

use devices::disk::{BlockBackend, DiskOptions, SECTOR, open_disk};
use libfuzzer_sys::fuzz_target;
use vm_memory::VolatileSlice;
use vocabulary::DiskFormat;

/// Sectors of the disk that are used, at its beginning and at its end.
const WINDOW: u64 = 4096;
/// Most sectors of an operation.
const MAX: u64 = 512;

fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else { return };
    let Some((operations, image)) = rest.split_at_checked(usize::from(count) * 8) else { return };
    let (operations, _) = operations.as_chunks::<8>();
    let file = memory(image);
    read_only(&file, operations);
    let Ok(disk) = open(&file, false) else { return };
    let mut machine = Machine { file, disk, sectors: HashMap::new(), flushed: HashMap::new() };
    for operation in operations {
        if !machine.perform(*operation) {
            // Compressed data that is none: nothing is promised any more but consistency.
            return machine.end();
        }
    }
    machine.end();
});

type Sector = [u8; SECTOR as usize];

/// A disk and what it must hold.
struct Machine {
    file: File,
    disk: Box<dyn BlockBackend>,
    /// Sectors that were read or written.
    sectors: HashMap<u64, Sector>,
    /// Those that were flushed and not changed since.
    flushed: HashMap<u64, Sector>,
}

impl Machine {
    /// Says whether the image still keeps its promises.
    fn perform(&mut self, operation: [u8; 8]) -> bool {
        let [kind, seed, from @ ..] = operation;
        let [a, b, c, d, e, f] = from.map(u64::from);
        let total = self.disk.size() / SECTOR;
        let window = total.min(WINDOW);
        let start = (a | b << 8) % window + if e & 1 == 0 { 0 } else { total - window };
        let len = ((c | d << 8) % MAX + 1).min(total - start);
        let sectors = start..start + len;
        let (offset, bytes) = (start * SECTOR, len * SECTOR);
        let done = match kind % 8 {
            0..=2 => {
                let mut data: Vec<u8> = sectors.clone().flat_map(|sector| pattern(sector, seed)).collect();
                self.forget(start, len);
                let done = self.disk.write(offset, &[VolatileSlice::from(data.as_mut_slice())]);
                if done.is_ok() {
                    for sector in sectors {
                        self.sectors.insert(sector, pattern(sector, seed));
                    }
                }
                done
            }
            3 => {
                if f & 1 != 0 {
                    self.killed();
                }
                self.compare(start, len, false)
            }
            4 => {
                self.flushed.retain(|sector, _| !(start..start + len).contains(sector));
                self.disk.discard(offset, bytes).and_then(|()| self.compare(start, len, true))
            }
            5 => {
                self.forget(start, len);
                let done = self.disk.write_zeroes(offset, bytes, f & 1 == 0);
                if done.is_ok() {
                    self.sectors.extend(sectors.map(|sector| (sector, [0; SECTOR as usize])));
                }
                done
            }
            6 => {
                let done = self.disk.flush();
                assert!(done.is_ok(), "{done:?}");
                self.flushed.clone_from(&self.sectors);
                self.killed();
                done
            }
            _ => {
                self.reopen();
                Ok(())
            }
        };
        match done {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                assert!(!error.to_string().contains("damaged"), "an image that was accepted: {error}");
                false
            }
        }
    }

    /// What is written now may or may not be there until the next flush.
    fn forget(&mut self, start: u64, len: u64) {
        for sector in start..start + len {
            self.sectors.remove(&sector);
            self.flushed.remove(&sector);
        }
    }

    /// Reads sectors; `zeroes` may have replaced what was there.
    fn compare(&mut self, start: u64, len: u64, zeroes: bool) -> io::Result<()> {
        let data = read(self.disk.as_mut(), start, len)?;
        let (now, _) = data.as_chunks::<{ SECTOR as usize }>();
        for (sector, now) in (start..).zip(now) {
            let before = self.sectors.insert(sector, *now);
            if let Some(before) = before {
                assert!(*now == before || zeroes && *now == [0; SECTOR as usize], "sector {sector}");
            }
        }
        Ok(())
    }

    /// Closes the image and opens it again.
    fn reopen(&mut self) {
        self.disk = Box::new(Nothing);
        self.disk = open(&self.file, false).unwrap_or_else(|error| panic!("after closing it: {error}"));
    }

    /// Looks at the image as a kill at this moment would leave it.
    fn killed(&self) {
        let bytes = std::fs::read(path(&self.file)).unwrap_or_default();
        let copy = memory(&bytes);
        check(&copy);
        let mut disk = open(&copy, false).unwrap_or_else(|error| panic!("after a kill: {error}"));
        for (sector, data) in &self.flushed {
            let now = read(disk.as_mut(), *sector, 1);
            assert!(now.is_ok_and(|now| now == data), "sector {sector} was flushed");
        }
    }

    fn end(mut self) {
        self.killed();
        self.reopen();
        check(&self.file);
        let sectors = std::mem::take(&mut self.sectors);
        for (sector, data) in sectors {
            let now = read(self.disk.as_mut(), sector, 1);
            assert!(now.is_ok_and(|now| now == data), "sector {sector}");
        }
    }
}

/// Reads what the operations name from an image that is not written to.
fn read_only(file: &File, operations: &[[u8; 8]]) {
    let Ok(mut disk) = open(file, true) else { return };
    let total = disk.size() / SECTOR;
    for [_, _, a, b, c, d, e, f] in operations {
        let start = u64::from_le_bytes([*a, *b, *e, *f, 0, 0, 0, 0]) % total;
        let len = (u64::from(*c) | u64::from(*d) << 8) % MAX + 1;
        // Any answer is right.
        let _ = read(disk.as_mut(), start, len.min(total - start));
    }
}

fn read(disk: &mut dyn BlockBackend, start: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0xcc; (len * SECTOR) as usize];
    disk.read(start * SECTOR, &[VolatileSlice::from(data.as_mut_slice())])?;
    Ok(data)
}

fn pattern(sector: u64, seed: u8) -> Sector {
    std::array::from_fn(|at| (sector as u8).wrapping_mul(31).wrapping_add(seed).wrapping_add(at as u8) | 1)
}

fn open(file: &File, read_only: bool) -> Result<Box<dyn BlockBackend>, devices::disk::DiskError> {
    let mut options = DiskOptions::new(path(file));
    options.format = Some(DiskFormat::Qcow2);
    options.read_only = read_only;
    open_disk(&options)
}

fn path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A file in memory.
fn memory(bytes: &[u8]) -> File {
    let created = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(created.unwrap_or_else(|error| panic!("{error}")));
    file.write_all(bytes).unwrap_or_else(|error| panic!("{error}"));
    file
}

/// Has qemu-img look for anything but leaks, when asked to.
fn check(file: &File) {
    if std::env::var_os("QEMU_IMG_CHECK").is_some() {
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let output = Command::new("qemu-img").args(["check", "-U", "-f", "qcow2", &path]).output();
        let output = output.unwrap_or_else(|error| panic!("{error}"));
        // Old programs left out parts of snapshots' entries, which QEMU adds when it writes the table.
        let old = String::from_utf8_lossy(&output.stderr).contains("snapshot table entry");
        assert!(old || matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    }
}

/// What stands in for a disk that is closed.
struct Nothing;

impl BlockBackend for Nothing {
    fn size(&self) -> u64 {
        0
    }
    fn read_only(&self) -> bool {
        true
    }
    fn can_discard(&self) -> bool {
        false
    }
    fn topology(&self) -> devices::disk::Topology {
        devices::disk::Topology { physical_block: 512, optimal_io: 0, discard_granularity: 512 }
    }
    fn read(&mut self, _: u64, _: &[VolatileSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write(&mut self, _: u64, _: &[VolatileSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write_zeroes(&mut self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
