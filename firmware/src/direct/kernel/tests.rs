//! Made-up kernels, right and wrong in each way that has an error of its own, and what is in guest memory after loading.

use std::fs;
use std::path::{Path, PathBuf};

use linux_loader::loader::elf::PvhBootCapability;
use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

use super::super::memory_map::memory_map;
use super::*;

const MIB: u64 = 1 << 20;
const RAM: u64 = 64 * MIB;

struct Files {
    dir: tempfile::TempDir,
    kernel: PathBuf,
    initrd: PathBuf,
}

fn files(kernel: &[u8], initrd: &[u8]) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let files = Files { kernel: dir.path().join("kernel"), initrd: dir.path().join("initrd"), dir };
    fs::write(&files.kernel, kernel).unwrap();
    fs::write(&files.initrd, initrd).unwrap();
    files
}

/// A bzImage of protocol 2.15 with 100 bytes of kernel, that wants to be at 2 MiB and needs 1 MiB.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024];
    put(&mut image, 0x1f1, &[1]);
    put(&mut image, 0x1f4, &6u32.to_le_bytes());
    put(&mut image, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut image, 0x202, b"HdrS\x0f\x02");
    put(&mut image, 0x210, &[0, 0x81]);
    put(&mut image, 0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(&mut image, 0x230, &(2 * MIB as u32).to_le_bytes());
    put(&mut image, 0x234, &[1, 21, 0x7f, 0]);
    put(&mut image, 0x238, &2047u32.to_le_bytes());
    put(&mut image, 0x250, &0x1234_5678u64.to_le_bytes());
    put(&mut image, 0x258, &(2 * MIB).to_le_bytes());
    put(&mut image, 0x260, &(MIB as u32).to_le_bytes());
    // Behind the end of the header.
    put(&mut image, 0x26c, b"code");
    image.extend(1..=100);
    image
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

struct Header {
    kind: u32,
    offset: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
}

fn elf_of(headers: &[Header], contents: &[(usize, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    put(&mut image, 0, b"\x7fELF\x02\x01\x01");
    put(&mut image, 16, &[2, 0, 62, 0, 1]);
    put(&mut image, 24, &(2 * MIB).to_le_bytes());
    put(&mut image, 32, &64u64.to_le_bytes());
    put(&mut image, 54, &56u16.to_le_bytes());
    put(&mut image, 56, &(headers.len() as u16).to_le_bytes());
    for (index, Header { kind, offset, paddr, filesz, memsz }) in headers.iter().enumerate() {
        let at = 64 + index * 56;
        put(&mut image, at, &kind.to_le_bytes());
        for (field, value) in [(8, offset), (16, paddr), (24, paddr), (32, filesz), (40, memsz)] {
            put(&mut image, at + field, &value.to_le_bytes());
        }
    }
    for (at, bytes) in contents {
        put(&mut image, *at, bytes);
    }
    image
}

/// Another note, then the entry point 2 MiB + 16.
const NOTES: &[u8] =
    b"\x04\0\0\0\x05\0\0\0\x01\0\0\0GNU\0hello\0\0\0\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\x10\0\x20\0";

fn headers() -> [Header; 3] {
    [
        Header { kind: 1, offset: 0x300, paddr: 2 * MIB, filesz: 32, memsz: 0x1_2345 },
        Header { kind: 4, offset: 0x200, paddr: 0, filesz: NOTES.len() as u64, memsz: 0 },
        // All of it is zeros, which linux-loader leaves to us.
        Header { kind: 1, offset: 0x320, paddr: 3 * MIB, filesz: 0, memsz: 0x1000 },
    ]
}

fn elf() -> Vec<u8> {
    elf_of(&headers(), &[(0x200, NOTES), (0x300, &[0x5a; 32])])
}

fn memory() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap()
}

fn read(memory: &GuestMemoryMmap<()>, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn u64_at(memory: &GuestMemoryMmap<()>, at: u64) -> u64 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

fn u32_at(memory: &GuestMemoryMmap<()>, at: u64) -> u32 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

fn start(kernel: &DirectKernel, memory: &GuestMemoryMmap<()>) -> Result<Entry, KernelError> {
    let map = memory_map(RAM, None, AddressRange::new(RAM - 8192, 4096), &[]);
    kernel.load(memory, &Handover { memory: &map, rsdp: 0xf_0000 })
}

/// The map in a guest's memory, as (base, length, type), of entries of this many bytes.
fn map_at(memory: &GuestMemoryMmap<()>, at: u64, count: u64, size: u64) -> Vec<(u64, u64, u32)> {
    let entry = |index| at + index * size;
    (0..count)
        .map(|index| (entry(index), entry(index) + 8, entry(index) + 16))
        .map(|(base, len, kind)| (u64_at(memory, base), u64_at(memory, len), u32_at(memory, kind)))
        .collect()
}

const MAP: [(u64, u64, u32); 5] = [
    (0, 0xa_0000, 1),
    (0xf_0000, 0x1_0000, 2),
    (MIB, RAM - 8192 - MIB, 1),
    (RAM - 8192, 4096, 4),
    (RAM - 4096, 4096, 1),
];

#[test]
fn bzimage_is_where_its_parameters_say() {
    let files = files(&bzimage(), b"the initrd");
    let open = DirectKernel::open(&files.kernel, Some(&files.initrd), " console=ttyS0 quiet\n", RAM);
    let (kernel, memory) = (open.unwrap(), memory());
    let entry = start(&kernel, &memory).unwrap();
    assert_eq!(entry, Entry::Linux64 { rip: 2 * MIB + 0x200, boot_params: 0x3000 });
    assert_eq!(read(&memory, 2 * MIB, 100), (1..=100).collect::<Vec<u8>>());

    let field = |at: u64| u32_at(&memory, 0x3000 + at);
    assert_eq!(read(&memory, 0x3202, 4), b"HdrS");
    assert_eq!(field(0x26c), 0, "the code behind the header is not part of it");
    assert_eq!(read(&memory, 0x3210, 2), [0xff, 1], "type_of_loader and loadflags");
    assert_eq!((field(0x250), u64_at(&memory, 0x3070)), (0, 0xf_0000));
    assert_eq!(read(&memory, field(0x228).into(), 22), b"console=ttyS0 quiet\0\0\0");
    let initrd = (field(0x218), field(0x21c));
    assert_eq!(initrd, ((RAM - layout::TABLES_ROOM) as u32 - 4096, 10));
    assert_eq!(read(&memory, initrd.0.into(), 10), b"the initrd");
    assert_eq!(read(&memory, 0x31e8, 1), [5]);
    assert_eq!(map_at(&memory, 0x32d0, 5, 20), MAP);

    // Once more after a guest has used its memory.
    memory.write_slice(&[0xee; 8192], GuestAddress(0x3000)).unwrap();
    memory.write_slice(&[0xee; 100], GuestAddress(2 * MIB)).unwrap();
    assert_eq!(start(&kernel, &memory).unwrap(), entry);
    assert_eq!(read(&memory, 2 * MIB, 100), (1..=100).collect::<Vec<u8>>());
    assert_eq!(map_at(&memory, 0x32d0, 5, 20), MAP);
}

#[test]
fn elf_kernel_finds_its_start_info() {
    let files = files(&elf(), b"the initrd");
    let kernel = DirectKernel::open(&files.kernel, Some(&files.initrd), "quiet", RAM).unwrap();
    let memory = memory();
    // As after a reset.
    memory.write_slice(&[0xee; 0x1_3000], GuestAddress(2 * MIB)).unwrap();
    memory.write_slice(&[0xee; 0x1001], GuestAddress(3 * MIB)).unwrap();
    let entry = start(&kernel, &memory).unwrap();
    assert_eq!(entry, Entry::Pvh { rip: 0x20_0010, start_info: 0x2000 });
    assert_eq!(read(&memory, 2 * MIB, 33), [&[0x5a; 32][..], &[0]].concat());
    assert_eq!(read(&memory, 2 * MIB + 0x1_2344, 2), [0, 0xee], "zeros up to the end of the segment");
    assert_eq!(read(&memory, 3 * MIB + 0xfff, 2), [0, 0xee]);

    assert_eq!(u64_at(&memory, 0x2000), 1 << 32 | 0x336e_c578, "magic and version");
    assert_eq!(u32_at(&memory, 0x200c), 1, "modules");
    let module = u64_at(&memory, 0x2010);
    assert_eq!(read(&memory, u64_at(&memory, module), 10), b"the initrd");
    assert_eq!(u64_at(&memory, module + 8), 10);
    assert_eq!(read(&memory, u64_at(&memory, 0x2018), 6), b"quiet\0");
    assert_eq!(u64_at(&memory, 0x2020), 0xf_0000);
    assert_eq!(map_at(&memory, u64_at(&memory, 0x2028), u32_at(&memory, 0x2030).into(), 24), MAP);

    // linux-loader's own reading agrees.
    let loaded = Elf::load(&memory, None, &mut &*kernel.file, None).unwrap();
    assert_eq!(loaded.pvh_boot_cap, PvhBootCapability::PvhEntryPresent(GuestAddress(0x20_0010)));
}

fn refused(image: &[u8]) -> String {
    let files = files(image, b"x");
    DirectKernel::open(&files.kernel, None, "", RAM).unwrap_err().to_string()
}

#[test]
fn wrong_kernels_are_refused() {
    let edited = |edits: &[(usize, &[u8])]| {
        let mut image = bzimage();
        edits.iter().for_each(|(at, bytes)| put(&mut image, at.to_owned(), bytes));
        refused(&image)
    };
    for (message, expected) in [
        (refused(b""), "is empty"),
        (refused(b"070701"), "it is an initrd"),
        (refused(&[0; 4096]), "the boot header is missing"),
        (refused(&bzimage()[..1100]), "is truncated"),
        (edited(&[(0x236, &[0])]), "is built for 32-bit x86"),
        (edited(&[(0x206, &[0x0b])]), "is built for 32-bit x86"),
        (edited(&[(0x211, &[0])]), "belongs below 1 MiB"),
        (edited(&[(0x230, &[3])]), "an alignment that is no power of two"),
        (edited(&[(0x258, &[0xff; 8])]), "an address beyond all memory"),
        (edited(&[(0x260, &[0xff; 4])]), "needs 4294967295 bytes of guest memory from 0x200000"),
        (edited(&[(0x234, &[0]), (0x258, &[0; 8])]), "needs 1048576 bytes of guest memory from 0x0"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let files = files(&bzimage(), &vec![0; 40 << 20]);
    let open = |initrd, cmdline: &str| DirectKernel::open(&files.kernel, initrd, cmdline, RAM);
    let message = open(Some(files.initrd.as_path()), "").unwrap_err().to_string();
    assert!(
        message.contains("has 41943040 bytes; behind the kernel there is room for 30408704"),
        "{message}"
    );
    let message = open(Some(Path::new("/nowhere")), "").unwrap_err().to_string();
    assert!(message.contains("cannot read the initrd /nowhere"), "{message}");
    assert!(open(None, &"x".repeat(2047)).is_ok());
    let message = open(None, &"x".repeat(2048)).unwrap_err().to_string();
    assert!(message.contains("has 2048 characters; this kernel takes 2047"), "{message}");
    let message = DirectKernel::open(&files.kernel, None, "", MIB).unwrap_err().to_string();
    assert!(message.contains("raise `memory`"), "{message}");
}

#[test]
fn wrong_elf_files_are_refused() {
    let edited = |edits: &[(usize, &[u8])]| {
        let mut image = elf();
        edits.iter().for_each(|(at, bytes)| put(&mut image, at.to_owned(), bytes));
        refused(&image)
    };
    let with = |change: fn(&mut [Header; 3])| {
        let mut headers = headers();
        change(&mut headers);
        refused(&elf_of(&headers, &[(0x200, NOTES)]))
    };
    for (message, expected) in [
        (edited(&[(4, &[1]), (18, &[3])]), "is built for 32-bit x86"),
        (edited(&[(4, &[1])]), "is built for 32-bit x86"),
        (edited(&[(18, &[183])]), "for another processor (machine 183)"),
        (edited(&[(5, &[2])]), "for another processor"),
        (edited(&[(54, &[64])]), "impossible place, size or number"),
        (edited(&[(56, &[0, 0])]), "impossible place, size or number"),
        (edited(&[(56, &[0xff, 0xff])]), "impossible place, size or number"),
        (edited(&[(32, &[0])]), "impossible place, size or number"),
        (edited(&[(39, &[0x7f])]), "is truncated"),
        (edited(&[(38, &[0xff; 2])]), "is truncated"),
        (refused(b"\x7fELF\x02\x01\x01"), "for another processor (machine 0)"),
        (edited(&[(0x200 + 32, &[7])]), "has no PVH entry point"),
        (edited(&[(0x200, &[0xff; 4])]), "has no PVH entry point"),
        (with(|headers| headers[0].filesz = 0x1_2346), "is truncated"),
        (with(|headers| headers[0].memsz = 31), "is larger in the file than in memory"),
        (with(|headers| headers[0].paddr = u64::MAX), "passes the end of the address space"),
        (with(|headers| headers[0].paddr = MIB - 1), "lies below 1 MiB"),
        (with(|headers| headers[0].paddr = 8 * MIB), "entry point is in none of its segments"),
        (with(|headers| headers[2].paddr = 1 << 40), "needs"),
        (with(|headers| headers[1].filesz = 1 << 20), "is truncated"),
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn changed_files_are_not_started() {
    for image in [bzimage(), elf()] {
        let files = files(&image, b"the initrd");
        let open = || DirectKernel::open(&files.kernel, Some(&files.initrd), "", RAM).unwrap();
        let kernel = open();
        let file = fs::OpenOptions::new().write(true).open(&files.kernel).unwrap();
        file.set_len(0x210).unwrap();
        assert!(start(&kernel, &memory()).is_err());
        fs::write(&files.kernel, &image).unwrap();
        assert!(start(&kernel, &memory()).is_ok(), "it is read anew each time");
        fs::write(&files.initrd, b"short").unwrap();
        let message = start(&kernel, &memory()).unwrap_err().to_string();
        assert!(message.contains("cannot read the initrd"), "{message}");
        drop(files.dir);
    }
    let files = files(&bzimage(), b"x");
    let kernel = DirectKernel::open(&files.kernel, None, "", RAM).unwrap();
    fs::OpenOptions::new().write(true).open(&files.kernel).unwrap().set_len(3 << 20).unwrap();
    let message = start(&kernel, &memory()).unwrap_err().to_string();
    assert!(message.contains("larger now"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn mutated_kernels_stay_in_ram(
        which in any::<bool>(), edits in prop::collection::vec((0usize..0x270, any::<u8>()), 1..6),
    ) {
        let mut image = if which { bzimage() } else { elf() };
        for (at, byte) in edits {
            image[at] = byte;
        }
        let files = files(&image, b"the initrd");
        match DirectKernel::open(&files.kernel, Some(&files.initrd), "quiet", RAM) {
            Ok(kernel) => { start(&kernel, &memory()).unwrap(); }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
