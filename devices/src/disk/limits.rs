//! Sizes that accesses to a raw image should have: a block device says so itself (Linux's Documentation/ABI/stable/sysfs-block, `queue/`),
//! and a file is made of the page cache's pages.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, minor};

use super::backend::{SECTOR, Topology};

/// Block size of the page cache and of common file systems.
const PAGE: u32 = 4096;
/// No disk has larger blocks.
const MOST: u32 = 1 << 20;

/// Sizes for `file`, to which O_DIRECT writes in units of `direct` bytes, if it is used that way.
pub(super) fn topology(file: &File, direct: Option<u32>) -> Topology {
    let of_device = file
        .metadata()
        .ok()
        .filter(|metadata| metadata.file_type().is_block_device())
        .map(|metadata| of_device(metadata.rdev()));
    let base =
        of_device.unwrap_or(Topology { physical_block: PAGE, optimal_io: 0, discard_granularity: PAGE });
    match direct {
        // What goes through the page cache is read around in its pages.
        None => Topology { physical_block: base.physical_block.max(PAGE), ..base },
        Some(alignment) if of_device.is_none() => {
            Topology { physical_block: alignment.max(SECTOR as u32), ..base }
        }
        Some(alignment) => Topology { physical_block: base.physical_block.max(alignment), ..base },
    }
}

fn of_device(number: u64) -> Topology {
    let device = Path::new("/sys/dev/block").join(format!("{}:{}", major(number), minor(number)));
    // A partition has the limits of its disk.
    let read = |name: &str| {
        [device.join("queue"), device.join("../queue")]
            .iter()
            .find_map(|folder| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok())
    };
    sensible(read("physical_block_size"), read("optimal_io_size"), read("discard_granularity"))
}

/// What makes sense of a device's own words, in bytes: some USB bridges and arrays say anything.
fn sensible(physical: Option<u64>, optimal: Option<u64>, discard: Option<u64>) -> Topology {
    let power = |value: Option<u64>| {
        let value = u32::try_from(value?).ok()?;
        (value.is_power_of_two() && (SECTOR as u32..=MOST).contains(&value)).then_some(value)
    };
    let physical_block = power(physical).unwrap_or(PAGE);
    let optimal_io = optimal
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| value.is_multiple_of(physical_block))
        .unwrap_or(0);
    // Of SSDs it may be larger than any block.
    let discard_granularity = discard
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| value.is_power_of_two() && *value >= physical_block)
        .unwrap_or(physical_block);
    Topology { physical_block, optimal_io, discard_granularity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_say_is_believed_within_reason() {
        for (words, expected) in [
            ((Some(512), Some(0), Some(512)), (512, 0, 512)),
            ((Some(4096), Some(1 << 20), Some(1 << 21)), (4096, 1 << 20, 1 << 21)),
            // A stripe of three disks.
            ((Some(4096), Some(3 << 16), Some(0)), (4096, 3 << 16, 4096)),
            // USB bridges.
            ((Some(4096), Some(33_553_920), Some(1000)), (4096, 0, 4096)),
            ((Some(0), Some(u64::MAX), None), (4096, 0, 4096)),
            ((Some(3000), Some(512), Some(512)), (4096, 0, 4096)),
            ((None, None, None), (4096, 0, 4096)),
        ] {
            let (physical, optimal, discard) = words;
            let Topology { physical_block, optimal_io, discard_granularity } =
                sensible(physical, optimal, discard);
            assert_eq!((physical_block, optimal_io, discard_granularity), expected, "{words:?}");
        }
    }

    #[test]
    fn files_are_made_of_pages() {
        let file = tempfile::tempfile().unwrap();
        let page = Topology { physical_block: 4096, optimal_io: 0, discard_granularity: 4096 };
        assert_eq!(topology(&file, None), page);
        assert_eq!(topology(&file, Some(512)), Topology { physical_block: 512, ..page });
    }
}
