//! Guest memory as devices see it.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, MemoryRegionAddress};

/// Guest RAM. Cloning is cheap: the mappings are shared.
pub type GuestRam = vm_memory::GuestMemoryMmap<()>;

/// Writes zeros over all of guest memory that holds something else, a piece at a time. What was never written stays so, and takes nothing
/// of the host's memory: in memory that is shared, where the host would allocate what is read, holes of its file are left out
/// (lseek(2), SEEK_DATA). Huge pages have no such holes.
///
/// # Errors
/// The memory cannot be reached.
pub fn clear(ram: &GuestRam) -> Result<(), GuestMemoryError> {
    const PIECE: usize = 64 << 10;
    let (zeros, mut found) = (vec![0; PIECE], vec![0; PIECE]);
    for region in ram.iter() {
        let (mut at, mut end) = (0, 0);
        while at < region.len() {
            if at >= end {
                let Some(data) = next_data(region, at) else { break };
                (at, end) = data;
            }
            let len = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            let (Some(found), Some(zeros)) = (found.get_mut(..len), zeros.get(..len)) else { break };
            let place = MemoryRegionAddress(at);
            region.read_slice(found, place)?;
            if found != zeros {
                region.write_slice(zeros, place)?;
            }
            at += len as u64;
        }
    }
    Ok(())
}

/// Where the next data in a region begin, at `from` or behind it, and where they end. All is data if the host cannot tell.
fn next_data(region: &impl GuestMemoryRegion, from: u64) -> Option<(u64, u64)> {
    let all = Some((from, region.len()));
    let Some(file) = region.file_offset() else { return all };
    let begin = match seek(file.file(), SeekFrom::Data(file.start() + from)) {
        Ok(at) => at.saturating_sub(file.start()).max(from),
        // There are none.
        Err(Errno::NXIO) => return None,
        Err(_) => return all,
    };
    let end = seek(file.file(), SeekFrom::Hole(file.start() + begin));
    let end = end.map_or(region.len(), |at| at.saturating_sub(file.start()).min(region.len()));
    (begin < end).then_some((begin, end))
}

/// A window of guest-physical memory backed by host memory that the guest may read and execute but not write: its
/// writes arrive at the device that owns the window. Hidden, every access arrives there.
///
/// KVM implements it as a memory slot with `KVM_MEM_READONLY` (Documentation/virt/kvm/api.rst, 4.35).
pub trait RomSlot: Send + Sync {
    /// Lets the guest read and execute the backing memory natively.
    fn show(&self) -> io::Result<()>;
    /// Makes every access trap.
    fn hide(&self) -> io::Result<()>;
}

/// A piece of the host's memory that a device lends to the guest: a real device's BAR, memory of a file, or a ROM's contents.
///
/// Devices pass it on and never look inside: memory of a real device may vanish while it is not decoded.
#[derive(Clone)]
pub struct HostMemory {
    address: u64,
    len: u64,
    kind: HostMemoryKind,
    keep: Arc<dyn Any + Send + Sync>,
}

/// What a guest may do with lent memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostMemoryKind {
    /// Memory of a real device: read and write natively; other devices may reach it by DMA.
    Device,
    /// Memory that programs of the host share: the same.
    Shared,
    /// Memory of an emulated device, such as a framebuffer: read and write natively; no other device reaches it.
    Emulated,
    /// Reads are native, writes arrive at the region's device.
    Rom,
}

impl HostMemory {
    /// `len` bytes from `address` in this process, both multiples of the page size, which stay mapped for as long as
    /// `keep` lives.
    pub fn new(address: u64, len: u64, kind: HostMemoryKind, keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { address, len, kind, keep }
    }

    /// Address in this process.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to lend.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the guest may do with it.
    pub fn kind(&self) -> HostMemoryKind {
        self.kind
    }

    /// Whether both are the same piece of the same mapping.
    pub fn is(&self, other: &Self) -> bool {
        self.address == other.address && self.len == other.len && Arc::ptr_eq(&self.keep, &other.keep)
    }
}

impl fmt::Debug for HostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostMemory")
            .field("address", &format_args!("{:#x}", self.address))
            .field("len", &format_args!("{:#x}", self.len))
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Shows lent memory in the guest's address space, where it is reached without a trap.
///
/// KVM implements it as memory slots, and real devices see it as a target of their DMA.
pub trait WindowMapper: Send + Sync {
    /// Shows `memory` at `base`, a multiple of the page size. On an error nothing is shown and every access traps, which
    /// is slower but right.
    fn map(&self, base: u64, memory: &HostMemory) -> io::Result<()>;
    /// Undoes a successful [`WindowMapper::map`] with the same arguments. When it returns, no vCPU and no other device
    /// reaches the memory any more.
    fn unmap(&self, base: u64, memory: &HostMemory);
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;

    #[test]
    fn all_memory_is_cleared() {
        // Sizes that are no multiples of a piece.
        let ranges = [(GuestAddress(0), 0x2_3000), (GuestAddress(1 << 32), 0x1000)];
        let ram = GuestRam::from_ranges(&ranges).unwrap();
        let places = [0, 0xffff, 0x1_0000, 0x2_2fff, 1 << 32, (1 << 32) + 0xfff];
        for at in places {
            ram.write_obj(7u8, GuestAddress(at)).unwrap();
        }
        clear(&ram).unwrap();
        for at in places {
            assert_eq!(ram.read_obj::<u8>(GuestAddress(at)).unwrap(), 0, "{at:#x}");
        }
    }

    #[test]
    fn shared_memory_that_was_never_written_is_not_allocated() {
        const LEN: usize = 16 << 20;
        let file = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = std::fs::File::from(file);
        file.set_len(LEN as u64).unwrap();
        let backing = vm_memory::FileOffset::new(file.try_clone().unwrap(), 0);
        let ram = GuestRam::from_ranges_with_files([(GuestAddress(0), LEN, Some(backing))]).unwrap();
        let places = [0x3000, 5 << 20, LEN as u64 - 1];
        for at in places {
            ram.write_obj(7u8, GuestAddress(at)).unwrap();
        }
        let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        let before = blocks();
        clear(&ram).unwrap();
        assert_eq!(blocks(), before);
        for at in places {
            assert_eq!(ram.read_obj::<u8>(GuestAddress(at)).unwrap(), 0, "{at:#x}");
        }
    }
}
