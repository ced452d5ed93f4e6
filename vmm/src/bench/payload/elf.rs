//! The file: one segment, and a note with PVH's entry.

use super::code;
use super::layout::{BASE, END, GDT, GDTR, IDT, IDTR, PAGE_TABLES, STACK, VECTOR, WINDOW_PAGES};

const HEADERS: usize = 0x1000;
const PAGE: u64 = 0x1000;
/// Vectors with a descriptor of their own.
const VECTORS: u64 = 256;
/// The one that local APICs send in place of an interrupt that has gone.
const SPURIOUS: u64 = 0xff;

/// Offsets into the instructions.
struct Offsets {
    entry: u32,
    interrupt: u32,
    spurious: u32,
    faults: u32,
}

impl Offsets {
    fn of(code: &[u8]) -> Self {
        let mut words = code
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        let mut next = || words.next().unwrap_or_default();
        Self { entry: next(), interrupt: next(), spurious: next(), faults: next() }
    }
}

/// What is loaded at [`BASE`].
struct Memory(Vec<u8>);

impl Memory {
    fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = usize::try_from(address.saturating_sub(BASE)).unwrap_or(usize::MAX);
        self.0.iter_mut().skip(at).zip(bytes).for_each(|(to, byte)| *to = *byte);
    }

    fn put_u64(&mut self, address: u64, value: u64) {
        self.put(address, &value.to_le_bytes());
    }
}

/// The payload as an ELF file for x86-64 that a PVH loader starts.
pub(crate) fn image() -> Vec<u8> {
    let code = code();
    let offsets = Offsets::of(code);
    let mut memory = Memory(vec![0; usize::try_from(STACK - BASE).unwrap_or_default()]);
    memory.put(BASE, code);
    descriptors(&mut memory);
    interrupts(&mut memory, &offsets);
    page_tables(&mut memory);
    let mut file = headers(offsets.entry);
    file.resize(HEADERS, 0);
    file.extend(memory.0);
    file
}

/// Code of 64 bits at 8, data at 16 (Intel SDM volume 3, 3.4.5); what LGDT and LIDT load.
fn descriptors(memory: &mut Memory) {
    memory.put_u64(GDT + 8, 0x00af_9b00_0000_ffff);
    memory.put_u64(GDT + 16, 0x00cf_9300_0000_ffff);
    let pointer = |memory: &mut Memory, at: u64, limit: u16, base: u64| {
        memory.put(at, &limit.to_le_bytes());
        memory.put_u64(at + 2, base);
    };
    pointer(memory, GDTR, 23, GDT);
    pointer(memory, IDTR, 0xfff, IDT);
}

/// Interrupt gates (Intel SDM volume 3, 7.14.1).
fn interrupts(memory: &mut Memory, offsets: &Offsets) {
    for vector in 0..VECTORS {
        let handler = BASE
            + u64::from(match vector {
                0..32 => offsets.faults + 16 * vector as u32,
                _ if vector == u64::from(VECTOR) => offsets.interrupt,
                SPURIOUS => offsets.spurious,
                _ => continue,
            });
        let gate = handler & 0xffff | 8 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
        memory.put_u64(IDT + vector * 16, gate);
        memory.put_u64(IDT + vector * 16 + 8, handler >> 32);
    }
}

/// Two levels, four tables of 2 MiB pages, and one that leads to the window's.
fn page_tables(memory: &mut Memory) {
    /// Present and writable; and of 2 MiB.
    const TABLE: u64 = 3;
    const LARGE: u64 = 0x83;
    memory.put_u64(PAGE_TABLES, (PAGE_TABLES + PAGE) | TABLE);
    for table in 0..5 {
        memory.put_u64(PAGE_TABLES + PAGE + table * 8, (PAGE_TABLES + (2 + table) * PAGE) | TABLE);
    }
    for index in 0..4 * 512 {
        memory.put_u64(PAGE_TABLES + 2 * PAGE + index * 8, index << 21 | LARGE);
    }
    memory.put_u64(PAGE_TABLES + 6 * PAGE, WINDOW_PAGES | TABLE);
}

/// ELF's header, two program headers, the note ("Tool Interface Standard ELF" 1.2; Xen, public/elfnote.h).
fn headers(entry: u32) -> Vec<u8> {
    const EHDR: u16 = 64;
    const PHDR: u16 = 56;
    const NOTE: u64 = 0x200;
    let entry = BASE + u64::from(entry);
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let (two, four, eight) = (
        |out: &mut Vec<u8>, value: u16| out.extend(value.to_le_bytes()),
        |out: &mut Vec<u8>, value: u32| out.extend(value.to_le_bytes()),
        |out: &mut Vec<u8>, value: u64| out.extend(value.to_le_bytes()),
    );
    two(&mut out, 2); // an executable
    two(&mut out, 62); // x86-64
    four(&mut out, 1);
    eight(&mut out, entry);
    eight(&mut out, EHDR.into());
    eight(&mut out, 0); // no sections
    four(&mut out, 0);
    for value in [EHDR, PHDR, 2, 0, 0, 0] {
        two(&mut out, value);
    }
    let loaded = (1, 7, HEADERS as u64, BASE, STACK - BASE, END - BASE, PAGE);
    let note = (4, 4, NOTE, 0, 20, 20, 4);
    for (kind, flags, offset, address, file, size, align) in [loaded, note] {
        four(&mut out, kind);
        four(&mut out, flags);
        for value in [offset, address, address, file, size, align] {
            eight(&mut out, value);
        }
    }
    out.resize(NOTE as usize, 0);
    four(&mut out, 4);
    four(&mut out, 4);
    four(&mut out, 18); // XEN_ELFNOTE_PHYS32_ENTRY
    out.extend(b"Xen\0");
    four(&mut out, entry as u32);
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn instructions_end_before_the_shared_page_and_handlers_are_among_them() {
        let code = code();
        assert!(BASE + code.len() as u64 <= super::super::layout::PAGE, "{}", code.len());
        let Offsets { entry, interrupt, spurious, faults } = Offsets::of(code);
        assert_eq!(entry, 16);
        assert_eq!(faults % 16, 0);
        // PUSH of the vector, at each of them.
        for vector in 0..32 {
            let at = (faults + 16 * vector) as usize;
            assert_eq!(code[at..at + 2], [0x6a, vector as u8]);
        }
        for offset in [interrupt, spurious] {
            assert!((entry..faults).contains(&offset));
        }
        // IRETQ is all of the spurious one.
        assert_eq!(code[spurious as usize..][..2], [0x48, 0xcf]);
    }

    #[test]
    fn addresses_are_translated_to_themselves_and_the_window_is_behind_them() {
        let file = image();
        let entry = |at: u64| {
            let at = HEADERS + usize::try_from(at - BASE).unwrap();
            u64::from_le_bytes(file[at..at + 8].try_into().unwrap())
        };
        let walk = |address: u64| {
            let mut table = PAGE_TABLES;
            for shift in [39, 30, 21] {
                let found = entry(table + (address >> shift & 511) * 8);
                if found & 1 == 0 {
                    return None;
                }
                if found & 0x80 != 0 {
                    return Some((found & !0xfff) + (address & 0x1f_ffff));
                }
                table = found & !0xfff;
            }
            Some(table)
        };
        for address in [0, 0x20_3000, 0xfee0_00b0, 0xffff_ffff] {
            assert_eq!(walk(address), Some(address));
        }
        assert_eq!(walk(super::super::layout::WINDOW), Some(WINDOW_PAGES));
        assert_eq!(walk(5 << 30), None);
    }

    /// What binutils make of it.
    #[test]
    fn readelf_finds_one_segment_and_the_entry() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&image()).unwrap();
        let Ok(said) = Command::new("readelf").args(["-W", "-l", "-n"]).arg(file.path()).output() else {
            eprintln!("there is no readelf");
            return;
        };
        let said = String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap();
        let one =
            "LOAD           0x001000 0x0000000000200000 0x0000000000200000 0x010000 0x101000 RWE 0x1000";
        assert!(said.contains(one), "{said}");
        assert!(said.contains("Xen") && !said.contains("Warning") && !said.contains("Error"), "{said}");
    }
}
