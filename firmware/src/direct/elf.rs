//! ELF kernels that start by PVH: what is checked of the file before anything is loaded.
//!
//! The entry point is in a note (name `Xen`, type 18), a physical address at which the kernel expects 32-bit protected
//! mode without paging (Xen, docs/misc/pvh.pandoc; "Tool Interface Standard ELF" 1.2 and the x86-64 psABI).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use vocabulary::AddressRange;

use super::layout::HIGH_RAM;

const EHDR: usize = 64;
const PHDR: usize = 56;
const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// More program headers than any kernel has.
const MOST_HEADERS: u16 = 128;
/// More notes, in bytes, than any kernel has.
const MOST_NOTES: u64 = 64 << 10;

/// A segment in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it lies.
    pub range: AddressRange,
    /// How much of it comes from the file; the rest is zeros.
    pub from_file: u64,
}

/// A kernel that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ElfKernel {
    /// In the order of the file.
    pub segments: Vec<Segment>,
    /// Where it starts.
    pub entry: u32,
}

impl ElfKernel {
    /// All that it occupies, with what is between segments.
    pub(super) fn hull(&self) -> Option<AddressRange> {
        let base = self.segments.iter().map(|segment| segment.range.base()).min()?;
        AddressRange::inclusive(base, self.segments.iter().map(|segment| segment.range.last()).max()?)
    }
}

/// Why a file cannot be loaded.
#[derive(Debug)]
pub(super) enum ElfProblem {
    /// Reading failed.
    Read(io::Error),
    /// Built for 32-bit processors.
    Not64Bit,
    /// Built for another processor.
    Machine(u16),
    /// The file should have this many bytes.
    Truncated(u64),
    /// It has no entry point for PVH.
    NoPvhEntry,
    /// Anything else.
    Malformed(String),
}

impl From<io::Error> for ElfProblem {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(source) = at.checked_add(N).and_then(|end| from.get(at..end)) {
        bytes.copy_from_slice(source);
    }
    bytes
}

fn u16_at(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(from, at))
}

fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(from, at))
}

fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(from, at))
}

/// Judges a file of `len` bytes that begins with the magic number.
pub(super) fn inspect(file: &File, len: u64) -> Result<ElfKernel, ElfProblem> {
    let mut head = [0; EHDR];
    let available = usize::try_from(len).map_or(EHDR, |len| len.min(EHDR));
    file.read_exact_at(head.get_mut(..available).unwrap_or_default(), 0)?;
    let [_, _, _, _, class, data, ..] = head;
    let machine = u16_at(&head, 18);
    match (class, data, machine) {
        (ELFCLASS64, ELFDATA2LSB, EM_X86_64) => {}
        (_, ELFDATA2LSB, EM_386 | EM_X86_64) => return Err(ElfProblem::Not64Bit),
        _ => return Err(ElfProblem::Machine(machine)),
    }
    let (offset, size, count) = (u64_at(&head, 32), u16_at(&head, 54), u16_at(&head, 56));
    if usize::from(size) != PHDR || count == 0 || count > MOST_HEADERS || offset < EHDR as u64 {
        return Err(ElfProblem::Malformed(
            "its program headers have an impossible place, size or number".into(),
        ));
    }
    within(offset, u64::from(size) * u64::from(count), len)?;
    let mut headers = vec![0; usize::from(count) * PHDR];
    file.read_exact_at(&mut headers, offset)?;

    let mut kernel = ElfKernel { segments: Vec::new(), entry: 0 };
    let mut entry = None;
    for header in headers.chunks_exact(PHDR) {
        match u32_at(header, 0) {
            PT_LOAD if u64_at(header, 40) > 0 => kernel.segments.push(segment(header, len)?),
            PT_NOTE if entry.is_none() => entry = note(file, header, len)?,
            _ => {}
        }
    }
    kernel.entry = entry.ok_or(ElfProblem::NoPvhEntry)?;
    if !kernel.segments.iter().any(|segment| segment.range.contains(kernel.entry.into())) {
        return Err(ElfProblem::Malformed("its entry point is in none of its segments".into()));
    }
    Ok(kernel)
}

/// That the file has `size` bytes at `offset`.
fn within(offset: u64, size: u64, len: u64) -> Result<(), ElfProblem> {
    let end = offset.checked_add(size);
    end.filter(|end| *end <= len).map(|_| ()).ok_or(ElfProblem::Truncated(end.unwrap_or(u64::MAX)))
}

fn segment(header: &[u8], len: u64) -> Result<Segment, ElfProblem> {
    let (offset, base) = (u64_at(header, 8), u64_at(header, 24));
    let (from_file, size) = (u64_at(header, 32), u64_at(header, 40));
    within(offset, from_file, len)?;
    let malformed = |what: &str| ElfProblem::Malformed(format!("its segment for {base:#x} {what}"));
    if from_file > size {
        return Err(malformed("is larger in the file than in memory"));
    }
    let range =
        AddressRange::new(base, size).ok_or_else(|| malformed("passes the end of the address space"))?;
    if base < HIGH_RAM {
        return Err(malformed("lies below 1 MiB, where boot parameters are"));
    }
    Ok(Segment { range, from_file })
}

/// The entry point, if it is among these notes.
fn note(file: &File, header: &[u8], len: u64) -> Result<Option<u32>, ElfProblem> {
    let (offset, size) = (u64_at(header, 8), u64_at(header, 32));
    within(offset, size, len)?;
    if size > MOST_NOTES {
        return Err(ElfProblem::Malformed("it has more than 64 KiB of notes".into()));
    }
    let mut notes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut notes, offset)?;
    let mut rest = notes.as_slice();
    // Name size, description size, type; then name and description, each filled up to four bytes.
    while let Some((head, behind)) = rest.split_at_checked(12) {
        let [name_size, size] = [u32_at(head, 0), u32_at(head, 4)].map(|size| size as usize);
        let Some((name, behind)) = behind.split_at_checked(name_size.next_multiple_of(4)) else { break };
        let Some((description, behind)) = behind.split_at_checked(size.next_multiple_of(4)) else { break };
        if u32_at(head, 8) == XEN_ELFNOTE_PHYS32_ENTRY && name == b"Xen\0" && size >= 4 {
            return Ok(Some(u32_at(description, 0)));
        }
        rest = behind;
    }
    Ok(None)
}
