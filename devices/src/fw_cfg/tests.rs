//! The device as a guest's driver sees it: keys, the directory, reads byte by byte and by DMA (QEMU
//! `docs/specs/fw_cfg.rst`), with contents that the host fails to read and descriptors that no driver would write.

mod whole;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};
use vocabulary::fw_cfg::Content;

use super::*;

const DESCRIPTOR: u64 = 0x1000;
const READ: u32 = 2;
const SKIP: u32 = 4;
const SELECT: u32 = 8;
const WRITE: u32 = 16;

#[derive(Default)]
struct Seen {
    first_reads: AtomicUsize,
    kernel_reads: AtomicUsize,
    selected: Mutex<Vec<String>>,
    written: Mutex<Vec<Vec<u8>>>,
    resets: AtomicUsize,
    made: AtomicUsize,
}

impl Observer for Seen {
    fn first_read(&self) {
        self.first_reads.fetch_add(1, Ordering::Relaxed);
    }
    fn selected(&self, name: &str) {
        self.selected.lock().unwrap().push(name.to_owned());
    }
    fn kernel_read(&self) {
        self.kernel_reads.fetch_add(1, Ordering::Relaxed);
    }
}

impl WriteListener for Seen {
    fn written(&self, contents: &[u8]) {
        self.written.lock().unwrap().push(contents.to_vec());
    }
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts reads, as a file would be read.
struct Counted(Vec<u8>, AtomicUsize);

impl Content for Counted {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }
    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        buf.copy_from_slice(&self.0[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }
}

struct Broken;

impl Content for Broken {
    fn len(&self) -> u32 {
        8
    }
    fn read_at(&self, _offset: u32, _buf: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("gone"))
    }
}

/// 2 MiB of RAM, a hole, and 64 KiB more.
fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 2 << 20), (GuestAddress(4 << 20), 1 << 16)]).unwrap()
}

fn image() -> Vec<u8> {
    (0..200_000u32).map(|index| (index % 241) as u8).collect()
}

struct Guest {
    fw_cfg: Arc<FwCfg>,
    ram: GuestRam,
    seen: Arc<Seen>,
    image: Arc<Counted>,
}

impl Guest {
    fn new() -> Self {
        let seen = Arc::<Seen>::default();
        let image = Arc::new(Counted(image(), AtomicUsize::new(0)));
        let ram = ram();
        let made = seen.clone();
        let provider: Provider = Box::new(move || {
            let turn = made.made.fetch_add(1, Ordering::Relaxed) as u8;
            Ok(vec![vec![turn + 1; 3], vec![turn + 0x81; 4]])
        });
        let fw_cfg = FwCfgBuilder::new()
            .file("etc/e820", vec![1, 2, 3, 4, 5])
            .file("broken", Broken)
            .writable("etc/ramfb", 28, seen.clone())
            .lazy(&[("etc/table-loader", 4), ("etc/acpi/tables", 4)], provider)
            .u16(keys::NB_CPUS, 4)
            .kernel(image.clone(), 1000)
            .initrd(vec![7; 3])
            .cmdline("quiet")
            .observer(seen.clone())
            .build(ram.clone())
            .unwrap();
        Self { fw_cfg, ram, seen, image }
    }

    fn select(&self, key: u16) {
        let _ = self.fw_cfg.write(0, &key.to_le_bytes());
    }

    fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; count];
        for byte in &mut bytes {
            self.fw_cfg.read(1, std::slice::from_mut(byte));
        }
        bytes
    }

    fn item(&self, key: u16, count: usize) -> Vec<u8> {
        self.select(key);
        self.bytes(count)
    }

    /// The directory as a guest parses it: name, key, size.
    fn directory(&self) -> Vec<(String, u16, u32)> {
        let count = u32::from_be_bytes(self.item(keys::DIRECTORY, 4).try_into().unwrap());
        (0..count)
            .map(|_| {
                let entry = self.bytes(64);
                let name = entry[8..].split(|byte| *byte == 0).next().unwrap();
                assert_eq!(entry[6..8], [0, 0]);
                (
                    String::from_utf8(name.to_vec()).unwrap(),
                    u16::from_be_bytes([entry[4], entry[5]]),
                    u32::from_be_bytes(entry[..4].try_into().unwrap()),
                )
            })
            .collect()
    }

    fn key(&self, name: &str) -> u16 {
        self.directory().into_iter().find(|entry| entry.0 == name).unwrap().1
    }

    /// Returns the control word afterwards.
    fn dma(&self, control: u32, len: u32, address: u64) -> u32 {
        let descriptor = [&control.to_be_bytes()[..], &len.to_be_bytes(), &address.to_be_bytes()].concat();
        self.ram.write_slice(&descriptor, GuestAddress(DESCRIPTOR)).unwrap();
        let _ = self.fw_cfg.write(4, &0u32.to_be_bytes());
        let _ = self.fw_cfg.write(8, &(DESCRIPTOR as u32).to_be_bytes());
        u32::from_be_bytes(self.ram.read_obj(GuestAddress(DESCRIPTOR)).unwrap())
    }

    fn ram(&self, address: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }
}

#[test]
fn firmware_finds_the_device() {
    let guest = Guest::new();
    assert_eq!(guest.bytes(4), b"QEMU", "selected from the start");
    assert_eq!(guest.item(keys::SIGNATURE, 6), b"QEMU\0\0");
    assert_eq!(guest.item(keys::ID, 4), [3, 0, 0, 0]);
    let mut signature = [0; 8];
    guest.fw_cfg.read(4, &mut signature);
    assert_eq!(u64::from_be_bytes(signature), 0x5145_4d55_2043_4647);
    guest.fw_cfg.read(10, &mut signature[..4]);
    assert_eq!(signature[..4], *b"FG\xff\xff");
    guest.fw_cfg.read(0, &mut signature[..2]);
    assert_eq!(signature[..2], [0xff, 0xff]);
    assert_eq!(guest.item(0x7777, 3), [0; 3], "no such key");
}

#[test]
fn directory_has_the_order_of_the_files() {
    let expected = [
        ("etc/e820", 0x20, 5),
        ("broken", 0x21, 8),
        ("etc/ramfb", 0x22, 28),
        ("etc/table-loader", 0x23, 4),
        ("etc/acpi/tables", 0x24, 4),
    ];
    assert_eq!(Guest::new().directory(), expected.map(|(name, key, size)| (name.to_owned(), key, size)));
}

#[test]
fn numbers_and_kernel() {
    let guest = Guest::new();
    let number = |key| u32::from_le_bytes(guest.item(key, 4).try_into().unwrap());
    assert_eq!(number(keys::NB_CPUS), 4);
    assert_eq!((number(keys::SETUP_SIZE), number(keys::KERNEL_SIZE)), (1000, 199_000));
    assert_eq!((number(keys::INITRD_SIZE), number(keys::CMDLINE_SIZE)), (3, 6));
    assert_eq!(guest.item(keys::CMDLINE_DATA, 8), b"quiet\0\0\0");
    assert_eq!(guest.item(keys::SETUP_DATA, 1001), [&image()[..1000], &[0]].concat());
    assert_eq!(guest.seen.kernel_reads.load(Ordering::Relaxed), 0);
    guest.select(keys::KERNEL_DATA);
    assert_eq!(guest.dma(READ, 199_000, 0x1_0000), 0);
    assert_eq!(guest.ram(0x1_0000, 199_000), image()[1000..]);
    assert_eq!(guest.seen.kernel_reads.load(Ordering::Relaxed), 1);
}

#[test]
fn single_bytes_and_streams_read_ahead() {
    let guest = Guest::new();
    guest.select(keys::KERNEL_DATA);
    let mut stream = vec![0; 3000];
    guest.fw_cfg.read_stream(&mut stream);
    stream.extend(guest.bytes(3000));
    stream.resize(26_000, 0);
    guest.fw_cfg.read_stream(&mut stream[6000..]);
    assert_eq!(stream, image()[1000..27_000]);
    assert!(guest.image.1.load(Ordering::Relaxed) <= 4);
    assert_eq!(guest.dma(SKIP, 10, 0), 0);
    assert_eq!(guest.bytes(2), image()[27_010..27_012]);
}

#[test]
fn dma_reads_skips_and_selects() {
    let guest = Guest::new();
    let key = u32::from(guest.key("etc/e820")) << 16;
    assert_eq!(guest.dma(key | SELECT | READ, 2, 0x2000), 0);
    assert_eq!(guest.dma(SKIP, 1, 0), 0);
    assert_eq!(guest.bytes(1), [4], "the data port goes on where DMA stopped");
    guest.ram.write_slice(&[0xee; 8], GuestAddress(0x2002)).unwrap();
    assert_eq!(guest.dma(READ, 4, 0x2002), 0);
    assert_eq!(guest.ram(0x2000, 8), [1, 2, 5, 0, 0, 0, 0xee, 0xee]);
    assert_eq!(guest.dma(SKIP, u32::MAX, 0), 0);
    assert_eq!(guest.dma(READ, 1, 0x2000), 0);
    assert_eq!(guest.ram(0x2000, 1), [0]);
    // One write of eight bytes; unknown keys read as zeros.
    guest
        .ram
        .write_slice(&[0x7f, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x20, 6], GuestAddress(0x3000))
        .unwrap();
    let _ = guest.fw_cfg.write(4, &0x3000u64.to_be_bytes());
    assert_eq!((guest.ram(0x3000, 4), guest.ram(0x2006, 1)), (vec![0; 4], vec![0]));
}

#[test]
fn address_halves_are_forgotten_after_a_transfer() {
    let guest = Guest::new();
    let _ = guest.fw_cfg.write(4, &1u32.to_be_bytes());
    let _ = guest.fw_cfg.write(8, &0u32.to_be_bytes());
    guest.ram.write_slice(&[0, 0, 0, 4, 0, 0, 0, 0], GuestAddress(0x3000)).unwrap();
    let _ = guest.fw_cfg.write(8, &0x3000u32.to_be_bytes());
    assert_eq!(guest.ram(0x3000, 4), [0; 4]);
}

#[test]
fn guest_writes_its_file_only() {
    let guest = Guest::new();
    guest.ram.write_slice(&[0xab; 40], GuestAddress(0x2000)).unwrap();
    guest.select(guest.key("etc/ramfb"));
    assert_eq!(guest.dma(SKIP, 20, 0), 0);
    assert_eq!(guest.dma(WRITE, 8, 0x2000), 0);
    assert_eq!(guest.dma(WRITE, 1, 0x2000), 1, "beyond the end");
    let expected = [&[0; 20][..], &[0xab; 8]].concat();
    assert_eq!(guest.item(guest.key("etc/ramfb"), 28), expected);
    assert_eq!(*guest.seen.written.lock().unwrap(), [expected]);
    for key in [keys::ID, guest.key("etc/e820"), guest.key("etc/table-loader"), 0x1234] {
        guest.select(key);
        assert_eq!(guest.dma(WRITE, 1, 0x2000), 1);
    }
}

#[test]
fn lazy_files_are_made_together_and_anew_after_reset() {
    let guest = Guest::new();
    let (loader, tables) = (guest.key("etc/table-loader"), guest.key("etc/acpi/tables"));
    assert_eq!(guest.seen.made.load(Ordering::Relaxed), 0);
    assert_eq!(guest.item(loader, 5), [1, 1, 1, 0, 0]);
    assert_eq!(guest.item(tables, 4), [0x81; 4]);
    guest.fw_cfg.reset();
    assert_eq!(guest.item(tables, 4), [0x82; 4]);
    assert_eq!(guest.item(loader, 4), [2, 2, 2, 0]);
    assert_eq!(guest.seen.made.load(Ordering::Relaxed), 2);
}

#[test]
fn unfit_lazy_files_read_as_zeros() {
    let unfit: [Provider; 3] = [
        Box::new(|| Err("no".into())),
        Box::new(|| Ok(vec![vec![1; 5], vec![]])),
        Box::new(|| Ok(vec![vec![1]])),
    ];
    for provider in unfit {
        let fw_cfg = FwCfgBuilder::new().lazy(&[("a", 4), ("b", 4)], provider).build(ram()).unwrap();
        let _ = fw_cfg.write(0, &[0x20, 0]);
        let mut bytes = [0xee; 8];
        fw_cfg.read_stream(&mut bytes);
        assert_eq!(bytes, [0; 8]);
    }
}

#[test]
fn host_read_error_is_told_by_dma() {
    let guest = Guest::new();
    guest.select(guest.key("broken"));
    assert_eq!(guest.dma(READ, 4, 0x2000), 1);
    assert_eq!(guest.bytes(9), [0; 9]);
}

#[test]
fn reset_arms_everything_again() {
    let guest = Guest::new();
    let key = guest.key("etc/ramfb");
    guest.select(key);
    guest.ram.write_slice(&[1; 28], GuestAddress(0x2000)).unwrap();
    assert_eq!(guest.dma(WRITE, 28, 0x2000), 0);
    let _ = guest.fw_cfg.write(4, &9u32.to_be_bytes());
    guest.fw_cfg.reset();
    assert_eq!(guest.seen.first_reads.load(Ordering::Relaxed), 1);
    assert_eq!(guest.bytes(4), b"QEMU");
    assert_eq!(guest.seen.first_reads.load(Ordering::Relaxed), 2);
    assert_eq!(guest.item(key, 28), [0; 28]);
    assert_eq!(guest.seen.resets.load(Ordering::Relaxed), 1);
    assert_eq!(*guest.seen.selected.lock().unwrap(), ["etc/ramfb", "etc/ramfb"]);
    assert_eq!(guest.dma(SKIP, 0, 0), 0);
}

#[test]
fn hostile_dma_is_refused() {
    let guest = Guest::new();
    let big = 2 << 20;
    for (len, address) in [
        (1, 3 << 20),
        (2, big - 1),
        (0x1_0001, 4 << 20),
        (u32::MAX, 0),
        (1, u64::MAX),
        (16, u64::MAX - 3),
        (u32::MAX, u64::MAX - 5),
    ] {
        for control in [READ, WRITE] {
            guest.select(guest.key("etc/ramfb"));
            assert_eq!(guest.dma(control, len, address), 1, "{len:#x} at {address:#x}");
        }
    }
    assert!(guest.seen.written.lock().unwrap().is_empty());
    // A buffer over its own descriptor: the answer wins.
    guest.select(keys::KERNEL_DATA);
    assert_eq!(guest.dma(READ, 64, DESCRIPTOR - 8), 0);
    assert_eq!(guest.ram(DESCRIPTOR + 4, 52), image()[1012..1064]);
    // Descriptors where no memory is, or half of one.
    for address in [3 << 20, big - 8, u64::MAX, u64::MAX - 7] {
        let _ = guest.fw_cfg.write(4, &address.to_be_bytes());
    }
    assert_eq!(guest.ram(big - 8, 4), [0, 0, 0, 1]);
}

#[test]
fn builder_refuses_conflicts() {
    let new = FwCfgBuilder::new;
    let long = "x".repeat(56);
    let cases = [
        (new().file("a", vec![]).writable("a", 1, Arc::<Seen>::default()), Error::DuplicateName("a".into())),
        (new().u16(5, 1).u32(5, 1), Error::DuplicateKey(5)),
        (new().u16(keys::DIRECTORY, 1), Error::ReservedKey(0x19)),
        (new().u16(0x20, 1), Error::ReservedKey(0x20)),
        (new().u16(0xc000, 1), Error::ReservedKey(0xc000)),
        (new().file("", vec![]), Error::Name(String::new())),
        (new().file("a\0b", vec![]), Error::Name("a\0b".into())),
        (new().file(&long, vec![]), Error::Name(long.clone())),
        (new().kernel(Arc::new(vec![0; 9]), 10), Error::KernelSetup { image: 9, setup: 10 }),
    ];
    for (builder, error) in cases {
        assert_eq!(builder.build(ram()).map(|_| ()), Err(error));
    }
    assert!(new().file(&long[1..], vec![]).u16(0x8000, 1).build(ram()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever the guest writes to the ports and into its descriptors, nothing panics and the items stay.
    #[test]
    fn random_access(
        steps in prop::collection::vec(
            (0u64..13, prop::collection::vec(any::<u8>(), 1..9), 0u32..32, 0u32..0x30,
             prop_oneof![0u32..64, any::<u32>()], prop_oneof![0u64..0x2000, any::<u64>()]),
            1..40),
    ) {
        let guest = Guest::new();
        for (offset, mut data, control, key, len, address) in steps {
            let _ = guest.fw_cfg.write(offset, &data);
            guest.fw_cfg.read(offset, &mut data);
            let answer = guest.dma(control | key << 16, len, address);
            prop_assert!(answer <= 1);
        }
        prop_assert_eq!(guest.item(keys::SIGNATURE, 4), b"QEMU");
        prop_assert_eq!(guest.item(guest.key("etc/e820"), 6), [1, 2, 3, 4, 5, 0]);
    }

    /// Reading in pieces, by whichever way, gives the item's bytes and then zeros.
    #[test]
    fn pieces_make_the_whole(pieces in prop::collection::vec((0u8..4, 1usize..70_000), 1..12)) {
        let guest = Guest::new();
        guest.select(keys::KERNEL_DATA);
        let mut expected = image();
        expected.drain(..1000);
        expected.resize(900_000, 0);
        let mut offset = 0;
        for (way, len) in pieces {
            let len = if way == 0 { len % 50 + 1 } else { len };
            let mut piece = vec![0xee; len];
            match way {
                0 => piece = guest.bytes(len),
                1 => guest.fw_cfg.read_stream(&mut piece),
                2 => {
                    prop_assert_eq!(guest.dma(READ, len as u32, 0x1_0000), 0);
                    piece = guest.ram(0x1_0000, len);
                }
                _ => {
                    prop_assert_eq!(guest.dma(SKIP, len as u32, 0), 0);
                    piece.copy_from_slice(&expected[offset..offset + len]);
                }
            }
            prop_assert!(piece == expected[offset..offset + len]);
            offset += len;
        }
    }
}
