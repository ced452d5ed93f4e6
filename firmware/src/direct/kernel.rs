//! The kernel that starts without firmware: opened, checked and placed before there is a machine, loaded when it starts,
//! and loaded again from the same files at each reset.
//!
//! A bzImage starts by its 64-bit entry (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"), an ELF file by
//! PVH (Xen, docs/misc/pvh.pandoc).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::bzimage::BzImage;
use linux_loader::loader::elf::Elf;
use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use linux_loader::loader::{KernelLoader, KernelLoaderResult};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryBackend};
use vocabulary::AddressRange;
use vocabulary::fw_cfg::Content;

use super::elf::{self, ElfKernel, ElfProblem};
use super::entry::Entry;
use super::layout::{self, BOOT_PARAMS, COMMAND_LINE, NoRoom, Placement, START_INFO, Wishes};
use super::memory_map;
use crate::fw_cfg::FileRange;
use crate::fw_cfg::kernel::{self, Format, KernelError};

/// Protocol version 2.12, since which a kernel says whether it has a 64-bit entry.
const SINCE_64BIT: u16 = 0x20c;
/// XLF_KERNEL_64 of `xloadflags`.
const HAS_64BIT_ENTRY: u16 = 1;
/// The 64-bit entry's offset from where the kernel is loaded.
const ENTRY_64: u64 = 0x200;
/// LOADED_HIGH and CAN_USE_HEAP of `loadflags`.
const LOADED_HIGH: u8 = 1;
const CAN_USE_HEAP: u8 = 0x80;
/// A loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xff;
/// The byte that tells where the header ends, and what it counts from.
const HEADER_END: usize = 0x201;

/// Longest command line of a kernel that does not say (COMMAND_LINE_SIZE of Linux on x86, less the NUL).
const ELF_CMDLINE: usize = 2047;
/// The kernel finds its initrd by 32 bits.
const ELF_INITRD_LAST: u64 = u32::MAX as u64;

/// What is in [`START_INFO`]'s page.
const MODULES: u64 = START_INFO + 0x40;
const MEMORY_MAP: u64 = START_INFO + 0x80;

#[derive(Debug)]
enum Kind {
    BzImage(Box<setup_header>),
    Elf(ElfKernel),
}

/// What the kernel is told beside its command line and its initrd.
#[derive(Debug, Clone, Copy)]
pub struct Handover<'a> {
    /// The memory map.
    pub memory: &'a [memory_map::Entry],
    /// ACPI's root pointer.
    pub rsdp: u64,
}

/// A kernel that can be started.
#[derive(Debug)]
pub struct DirectKernel {
    path: PathBuf,
    file: Arc<File>,
    kind: Kind,
    initrd: Option<(PathBuf, FileRange)>,
    /// With its NUL.
    cmdline: Vec<u8>,
    placement: Placement,
}

impl DirectKernel {
    /// Opens and checks a kernel, an optional initrd, and the command line, and finds room for them in RAM that ends at
    /// `low_ram_end` below 4 GiB.
    ///
    /// # Errors
    /// See [`KernelError`].
    pub fn open(
        kernel: &Path,
        initrd: Option<&Path>,
        cmdline: &str,
        low_ram_end: u64,
    ) -> Result<Self, KernelError> {
        let path = || PathBuf::from(kernel);
        let read = |source| KernelError::Open { path: path(), source };
        let (file, len) = kernel::open(kernel).map_err(read)?;
        let mut head = vec![0; kernel::HEAD.min(usize::try_from(len).unwrap_or(kernel::HEAD))];
        file.read_exact_at(&mut head, 0).map_err(read)?;
        let (kind, wishes, limit) = match Format::of(&head) {
            Format::Elf => {
                let elf = elf::inspect(&file, len).map_err(|problem| elf_error(kernel, len, problem))?;
                let wishes = elf_wishes(&elf).ok_or_else(|| KernelError::Malformed {
                    path: path(),
                    why: "it has no segment to load".into(),
                })?;
                (Kind::Elf(elf), wishes, ELF_CMDLINE)
            }
            _ => {
                let (header, checked) = kernel::setup(kernel, &head, len)?;
                let wishes = bzimage_wishes(kernel, &header, len.saturating_sub(checked.setup_size.into()))?;
                (Kind::BzImage(Box::new(cut_header(header))), wishes, checked.cmdline_limit)
            }
        };
        let initrd = initrd.map(|path| Ok((path.to_owned(), kernel::open_initrd(path)?))).transpose()?;
        let cmdline = kernel::check_cmdline(cmdline, limit, 0)?;
        let size = initrd.as_ref().map(|(_, range)| u64::from(range.len()));
        let placed = layout::available(low_ram_end)
            .ok_or(NoRoom::Kernel)
            .and_then(|available| layout::place(&wishes, size, available));
        let placement = placed.map_err(|lack| match (lack, &initrd) {
            (NoRoom::Initrd(room), Some((path, range))) => {
                KernelError::InitrdNoRoom { path: path.clone(), size: range.len().into(), room }
            }
            _ => KernelError::NoRoom { path: path(), base: wishes.base, size: wishes.size },
        })?;
        Ok(Self { path: path(), file, kind, initrd, cmdline, placement })
    }

    /// Loads everything into guest memory.
    ///
    /// # Errors
    /// A file has changed or can no longer be read.
    pub fn load<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        handover: &Handover<'_>,
    ) -> Result<Entry, KernelError> {
        let failed = |why: String| KernelError::Load { path: self.path.clone(), why };
        let in_memory = |error: vm_memory::GuestMemoryError| failed(error.to_string());
        if let (Some((path, range)), Some(place)) = (&self.initrd, self.placement.initrd) {
            range
                .load(memory, GuestAddress(place.base()))
                .map_err(|source| KernelError::Initrd { path: path.clone(), source })?;
        }
        memory.write_slice(&self.cmdline, GuestAddress(COMMAND_LINE)).map_err(in_memory)?;
        let entry = match &self.kind {
            Kind::BzImage(header) => {
                let base = self.placement.kernel.base();
                let loaded = BzImage::load(memory, Some(GuestAddress(base)), &mut &*self.file, None)
                    .map_err(|error| failed(error.to_string()))?;
                self.check_end(&loaded)?;
                let params = self.boot_params(header, handover);
                memory.write_obj(params, GuestAddress(BOOT_PARAMS)).map_err(in_memory)?;
                Entry::Linux64 { rip: base.saturating_add(ENTRY_64), boot_params: BOOT_PARAMS }
            }
            Kind::Elf(kernel) => {
                let len = self.file.metadata().map_err(|error| failed(error.to_string()))?.len();
                let again = elf::inspect(&self.file, len);
                if !again.is_ok_and(|again| again == *kernel) {
                    return Err(failed("its program headers or notes are others now".into()));
                }
                let loaded = Elf::load(memory, None, &mut &*self.file, None)
                    .map_err(|error| failed(error.to_string()))?;
                self.check_end(&loaded)?;
                // What the file does not have is zeros. After a reset the memory holds anything.
                for segment in &kernel.segments {
                    zero(memory, segment.range, segment.from_file).map_err(in_memory)?;
                }
                self.write_start_info(memory, handover).map_err(in_memory)?;
                Entry::Pvh { rip: kernel.entry, start_info: START_INFO as u32 }
            }
        };
        entry.write(memory).map_err(in_memory)?;
        Ok(entry)
    }

    /// That the file has not grown out of the place that was found for it.
    fn check_end(&self, loaded: &KernelLoaderResult) -> Result<(), KernelError> {
        if loaded.kernel_end > self.placement.kernel.last().saturating_add(1) {
            return Err(KernelError::Load { path: self.path.clone(), why: "it is larger now".into() });
        }
        Ok(())
    }

    fn boot_params(&self, header: &setup_header, handover: &Handover<'_>) -> boot_params {
        let mut hdr = *header;
        hdr.type_of_loader = UNDEFINED_LOADER;
        hdr.loadflags = hdr.loadflags & !CAN_USE_HEAP | LOADED_HIGH;
        hdr.cmd_line_ptr = COMMAND_LINE as u32;
        hdr.setup_data = 0;
        // Placed below 4 GiB, both.
        let initrd = self.placement.initrd;
        hdr.ramdisk_image = initrd.map_or(0, |range| range.base() as u32);
        hdr.ramdisk_size = initrd.map_or(0, |range| range.len() as u32);
        let mut params = boot_params { hdr, acpi_rsdp_addr: handover.rsdp, ..Default::default() };
        for entry in handover.memory.iter().take(params.e820_table.len()) {
            let index = usize::from(params.e820_entries);
            let (addr, size) = (entry.range.base(), entry.range.len());
            if let Some(slot) = params.e820_table.get_mut(index) {
                *slot = boot_e820_entry { addr, size, r#type: entry.kind as u32 };
                params.e820_entries += 1;
            }
        }
        params
    }

    fn write_start_info<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        handover: &Handover<'_>,
    ) -> Result<(), vm_memory::GuestMemoryError> {
        let initrd = self.placement.initrd;
        let info = hvm_start_info {
            magic: XEN_HVM_START_MAGIC_VALUE,
            version: 1,
            nr_modules: initrd.is_some().into(),
            modlist_paddr: initrd.map_or(0, |_| MODULES),
            cmdline_paddr: COMMAND_LINE,
            rsdp_paddr: handover.rsdp,
            memmap_paddr: MEMORY_MAP,
            memmap_entries: u32::try_from(handover.memory.len()).unwrap_or(0),
            ..Default::default()
        };
        memory.write_obj(info, GuestAddress(START_INFO))?;
        if let Some(range) = initrd {
            let module = hvm_modlist_entry { paddr: range.base(), size: range.len(), ..Default::default() };
            memory.write_obj(module, GuestAddress(MODULES))?;
        }
        let mut at = MEMORY_MAP;
        for entry in handover.memory {
            let (addr, size) = (entry.range.base(), entry.range.len());
            let entry = hvm_memmap_table_entry { addr, size, type_: entry.kind as u32, ..Default::default() };
            memory.write_obj(entry, GuestAddress(at))?;
            at += size_of::<hvm_memmap_table_entry>() as u64;
        }
        Ok(())
    }
}

/// Fills the end of a segment with zeros, from `from_file` bytes on.
fn zero<M: GuestMemoryBackend>(
    memory: &M,
    range: AddressRange,
    from_file: u64,
) -> Result<(), vm_memory::GuestMemoryError> {
    const STEP: u64 = 1 << 16;
    let zeros = vec![0; STEP as usize];
    let (mut at, end) = (range.base().saturating_add(from_file), range.last().saturating_add(1));
    while at < end {
        let step = STEP.min(end - at);
        memory.write_slice(zeros.get(..step as usize).unwrap_or_default(), GuestAddress(at))?;
        at += step;
    }
    Ok(())
}

fn elf_error(path: &Path, size: u64, problem: ElfProblem) -> KernelError {
    let path = path.to_owned();
    match problem {
        ElfProblem::Read(source) => KernelError::Open { path, source },
        ElfProblem::Not64Bit => KernelError::Not64Bit { path },
        ElfProblem::Machine(machine) => KernelError::Malformed {
            path,
            why: format!("it is an ELF file for another processor (machine {machine})"),
        },
        ElfProblem::Truncated(needed) => KernelError::Truncated { path, size, needed },
        ElfProblem::NoPvhEntry => KernelError::NoPvhEntry { path },
        ElfProblem::Malformed(why) => KernelError::Malformed { path, why },
    }
}

fn elf_wishes(elf: &ElfKernel) -> Option<Wishes> {
    let hull = elf.hull()?;
    Some(Wishes { base: hull.base(), size: hull.len(), movable: None, initrd_last: ELF_INITRD_LAST })
}

/// What the setup header asks for, with `payload` bytes to load.
fn bzimage_wishes(path: &Path, header: &setup_header, payload: u64) -> Result<Wishes, KernelError> {
    // Copied out: the header is a packed struct, of which no field may be borrowed.
    let (version, flags, alignment) = (header.version, header.xloadflags, header.kernel_alignment);
    let (preferred, init_size, initrd_last) = (header.pref_address, header.init_size, header.initrd_addr_max);
    if version < SINCE_64BIT || flags & HAS_64BIT_ENTRY == 0 {
        return Err(KernelError::Not64Bit { path: path.into() });
    }
    let malformed = |why: &str| KernelError::Malformed { path: path.into(), why: why.into() };
    if header.loadflags & LOADED_HIGH == 0 {
        return Err(malformed("its header says that it belongs below 1 MiB"));
    }
    let movable = header.relocatable_kernel != 0;
    if movable && !alignment.is_power_of_two() {
        return Err(malformed("its header asks for an alignment that is no power of two"));
    }
    let movable = movable.then(|| u64::from(alignment));
    let base = match movable {
        Some(step) => preferred.checked_next_multiple_of(step),
        None => Some(preferred),
    };
    let base = base.ok_or_else(|| malformed("its header asks for an address beyond all memory"))?;
    Ok(Wishes { base, size: payload.max(init_size.into()), movable, initrd_last: initrd_last.into() })
}

/// The setup header without what lies behind its end.
fn cut_header(mut header: setup_header) -> setup_header {
    let [_, length] = header.jump.to_le_bytes();
    let end = (HEADER_END + 1 + usize::from(length)).saturating_sub(kernel::SETUP_HEADER);
    if let Some(rest) = header.as_mut_slice().get_mut(end..) {
        rest.fill(0);
    }
    header
}

#[cfg(test)]
mod tests;
