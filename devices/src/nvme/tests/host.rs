//! A driver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};
use vocabulary::DiskFormat;

use crate::GuestRam;
use crate::bus::BusDevice;
use crate::disk::engine::Disk;
use crate::disk::tests::{create, open_with};
use crate::disk::{BlockBackend, Failures, OnError};
use crate::interrupt::MsiMessage;
use crate::nvme::{Identity, Nvme};
use crate::pci::endpoint::Endpoint;
use crate::pci::msix::testing::FakeAllocator;
use crate::pci::{PciFunction, Placement};
use crate::test_support::{Line, Memory, memory_at, read_u32};

/// Where the admin queues are; the pair of I/O queues with identifier n is 0x4000 × n behind.
pub(super) const ASQ: u64 = 0x1_0000;
/// Entries of each.
pub(super) const ENTRIES: u32 = 32;
/// Bytes of the disk.
pub(super) const SIZE: u64 = 4 << 20;
/// Queue pairs beside the admin queues.
pub(super) const QUEUES: u16 = 4;
const BAR: u64 = 0xc000_0000;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Qcow2,
    ReadOnly,
}

/// A completion queue entry as the specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) result: u32,
    pub(super) head: u16,
    pub(super) queue: u16,
    pub(super) id: u16,
    /// Status Code Type and Status Code.
    pub(super) status: (u16, u16),
}

pub(super) type Dwords = [u32; 16];

#[derive(Default)]
struct Pair {
    tail: u32,
    head: u32,
    phase: bool,
}

pub(super) struct Host {
    file: Option<(tempfile::TempDir, PathBuf, Format)>,
    pub(super) function: Arc<Endpoint<Nvme>>,
    pub(super) bar: Arc<dyn BusDevice>,
    msix: Arc<dyn BusDevice>,
    pub(super) ram: GuestRam,
    pub(super) vectors: FakeAllocator,
    pub(super) line: Arc<Line>,
    pairs: Vec<Pair>,
    next_id: u16,
}

fn command(opcode: u32, namespace: u32, prps: (u64, u64), rest: [u32; 6]) -> Dwords {
    let mut dwords = [0; 16];
    dwords[0] = opcode;
    dwords[1] = namespace;
    dwords[6..10].copy_from_slice(&[
        prps.0 as u32,
        (prps.0 >> 32) as u32,
        prps.1 as u32,
        (prps.1 >> 32) as u32,
    ]);
    dwords[10..].copy_from_slice(&rest);
    dwords
}

/// Reads blocks into memory that needs no list: at most two pages.
pub(super) fn read(block: u32, count: u32, address: u64) -> Dwords {
    transfer(2, block, count, (address, (address | 0xfff) + 1))
}

pub(super) fn write(block: u32, count: u32, address: u64) -> Dwords {
    transfer(1, block, count, (address, (address | 0xfff) + 1))
}

pub(super) fn transfer(opcode: u32, block: u32, count: u32, prps: (u64, u64)) -> Dwords {
    command(opcode, 1, prps, [block, 0, count - 1, 0, 0, 0])
}

pub(super) fn plain(opcode: u32, rest: [u32; 6]) -> Dwords {
    command(opcode, 1, (0, 0), rest)
}

impl Host {
    /// A controller with bus mastering, not enabled.
    pub(super) fn new(format: Format) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = if format == Format::Qcow2 {
            create(dir.path(), "disk.qcow2", "qcow2", "", SIZE)
        } else {
            let path = dir.path().join("disk.raw");
            std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
            path
        };
        let image = open_with(&path, |options| {
            options.format = Some(if format == Format::Qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw });
            options.read_only = format == Format::ReadOnly;
            options.discard = true;
        });
        Self::over(image, Failures::new("disk", OnError::Report), Some((dir, path, format)))
    }

    /// The same over any image.
    pub(super) fn over(
        image: Box<dyn BlockBackend>,
        failures: Arc<Failures>,
        file: Option<(tempfile::TempDir, PathBuf, Format)>,
    ) -> Self {
        let ram =
            GuestRam::from_ranges(&[(GuestAddress(0), 4 << 20), (GuestAddress(4 << 20), 4 << 20)]).unwrap();
        let (vectors, line) = (FakeAllocator::default(), Arc::<Line>::default());
        let identity = Identity {
            serial: "serial-1".into(),
            model: "model".into(),
            firmware_revision: "1.2".into(),
            uuid: *b"0123456789abcdef",
        };
        let place = (Placement::Endpoint, &vectors as _, Arc::clone(&line) as _);
        let function =
            Nvme::endpoint(Disk::new(image), identity, failures, QUEUES, ram.clone(), place).unwrap();
        let _ = function.config_write(0x10, &(BAR as u32).to_le_bytes());
        let _ = function.config_write(0x20, &(BAR as u32 + 0x10_0000).to_le_bytes());
        let _ = function.config_write(4, &[6, 0]);
        let [bar, msix] = [BAR, BAR + 0x10_0000].map(|base| memory_at(function.as_ref(), base));
        let pairs = (0..=QUEUES).map(|_| Pair { phase: true, ..Pair::default() }).collect();
        Self { file, function, bar, msix, ram, vectors, line, pairs, next_id: 0x100 }
    }

    /// One that is enabled and has an I/O queue pair, 1.
    pub(super) fn with_queue(format: Format) -> Self {
        Self::new(format).queued()
    }

    /// This one, enabled, with such a pair.
    pub(super) fn queued(self) -> Self {
        let mut host = self;
        host.enable();
        host.create_pair(1, 1);
        host
    }

    pub(super) fn u32(&self, offset: u64) -> u32 {
        read_u32(self.bar.as_ref(), offset)
    }

    pub(super) fn u64(&self, offset: u64) -> u64 {
        u64::from(self.u32(offset)) | u64::from(self.u32(offset + 4)) << 32
    }

    pub(super) fn set(&self, offset: u64, value: u32) {
        let _ = self.bar.write(offset, &value.to_le_bytes());
    }

    pub(super) fn config(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.function.config_read(register, &mut data);
        u32::from_le_bytes(data)
    }

    pub(super) fn config_write(&self, register: u16, data: &[u8]) {
        let _ = self.function.config_write(register, data);
    }

    pub(super) fn place_admin_queues(&self) {
        self.set(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
        let _ = self.bar.write(0x28, &ASQ.to_le_bytes());
        let _ = self.bar.write(0x30, &(ASQ + 0x2000).to_le_bytes());
    }

    pub(super) fn enable(&self) {
        self.place_admin_queues();
        self.ram.write_slice(&[0; 0x4000], GuestAddress(ASQ)).unwrap();
        self.set(super::CC, 0x0046_0001);
    }

    /// Forgets all queues, as after a reset.
    pub(super) fn forget(&mut self) {
        self.pairs.iter_mut().for_each(|pair| *pair = Pair { phase: true, ..Pair::default() });
    }

    pub(super) fn create_pair(&mut self, id: u16, vector: u16) {
        let base = ASQ + 0x4000 * u64::from(id);
        self.ram.write_slice(&[0; 0x4000], GuestAddress(base)).unwrap();
        self.pairs[usize::from(id)] = Pair { phase: true, ..Pair::default() };
        let size = (ENTRIES - 1) << 16 | u32::from(id);
        let vector = u32::from(vector) << 16 | 3;
        assert_eq!(self.admin_at(5, base + 0x2000, [size, vector, 0, 0, 0, 0]).1, (0, 0));
        assert_eq!(self.admin_at(1, base, [size, u32::from(id) << 16 | 1, 0, 0, 0, 0]).1, (0, 0));
    }

    /// Writes a command into a queue without telling.
    pub(super) fn put(&mut self, queue: u16, mut dwords: Dwords) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        dwords[0] |= u32::from(self.next_id) << 16;
        let pair = &mut self.pairs[usize::from(queue)];
        let at = ASQ + 0x4000 * u64::from(queue) + u64::from(pair.tail) * 64;
        let bytes: Vec<u8> = dwords.iter().flat_map(|dword| dword.to_le_bytes()).collect();
        self.ram.write_slice(&bytes, GuestAddress(at)).unwrap();
        pair.tail = (pair.tail + 1) % ENTRIES;
        self.next_id
    }

    pub(super) fn tail(&self, queue: u16) -> u32 {
        self.pairs[usize::from(queue)].tail
    }

    pub(super) fn ring(&self, queue: u16) {
        self.set(0x1000 + 8 * u64::from(queue), self.tail(queue));
    }

    pub(super) fn submit(&mut self, queue: u16, dwords: Dwords) -> u16 {
        let id = self.put(queue, dwords);
        self.ring(queue);
        id
    }

    /// The next completion, which stays where it is.
    pub(super) fn peek(&self, queue: u16) -> Option<Entry> {
        let pair = &self.pairs[usize::from(queue)];
        let at = ASQ + 0x4000 * u64::from(queue) + 0x2000 + u64::from(pair.head) * 16;
        let dwords: [u32; 4] = self.ram.read_obj(GuestAddress(at)).unwrap();
        (dwords[3] >> 16 & 1 == u32::from(pair.phase)).then_some(Entry {
            result: dwords[0],
            head: dwords[2] as u16,
            queue: (dwords[2] >> 16) as u16,
            id: dwords[3] as u16,
            status: ((dwords[3] >> 25 & 7) as u16, (dwords[3] >> 17 & 0xff) as u16),
        })
    }

    /// Takes the next completion without telling.
    pub(super) fn take_silently(&mut self, queue: u16) -> Option<Entry> {
        let entry = self.peek(queue)?;
        let pair = &mut self.pairs[usize::from(queue)];
        pair.head = (pair.head + 1) % ENTRIES;
        pair.phase ^= pair.head == 0;
        Some(entry)
    }

    pub(super) fn head(&self, queue: u16) -> u32 {
        self.pairs[usize::from(queue)].head
    }

    pub(super) fn ring_head(&self, queue: u16) {
        self.set(0x1004 + 8 * u64::from(queue), self.head(queue));
    }

    pub(super) fn take(&mut self, queue: u16) -> Option<Entry> {
        let entry = self.take_silently(queue)?;
        self.ring_head(queue);
        Some(entry)
    }

    fn until<T>(&self, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    pub(super) fn await_news(&self, queue: u16) {
        self.until("no completion", || self.peek(queue));
    }

    pub(super) fn await_line(&self, high: bool) {
        self.until("INTx", || (self.line.is_high() == high).then_some(()));
    }

    pub(super) fn await_messages(&self, messages: &[MsiMessage]) {
        let mut all = Vec::new();
        self.until("messages", || {
            all.extend(self.vectors.delivered());
            (all == messages).then_some(())
        });
    }

    pub(super) fn wait(&mut self, queue: u16) -> Entry {
        self.await_news(queue);
        self.take(queue).unwrap()
    }

    /// Performs a command on queue 1: its status.
    pub(super) fn io(&mut self, dwords: Dwords) -> (u16, u16) {
        let id = self.submit(1, dwords);
        let entry = self.wait(1);
        assert_eq!((entry.id, entry.queue, u32::from(entry.head)), (id, 1, self.tail(1)));
        entry.status
    }

    pub(super) fn submit_admin(&mut self, opcode: u32, namespace: u32, rest: [u32; 6]) -> u16 {
        self.submit(0, command(opcode, namespace, (0x30_0000, 0x30_1000), rest))
    }

    /// Performs an admin command with data at 0x30_0000: dword 0 and the status.
    pub(super) fn admin(&mut self, opcode: u32, namespace: u32, rest: [u32; 6]) -> (u32, (u16, u16)) {
        let id = self.submit_admin(opcode, namespace, rest);
        let entry = self.take(0).expect("admin commands are performed when the doorbell rings");
        assert_eq!(entry.id, id);
        (entry.result, entry.status)
    }

    /// The same with data elsewhere.
    pub(super) fn admin_at(&mut self, opcode: u32, prp: u64, rest: [u32; 6]) -> (u32, (u16, u16)) {
        let id = self.submit(0, command(opcode, 0, (prp, 0x30_1000), rest));
        let entry = self.take(0).unwrap();
        assert_eq!(entry.id, id);
        (entry.result, entry.status)
    }

    /// The data of the last admin command.
    pub(super) fn data(&self, len: usize) -> Vec<u8> {
        self.bytes(0x30_0000, len)
    }

    pub(super) fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        self.ram.get(address, len)
    }

    /// What the image has, by another way.
    pub(super) fn image(&self, offset: usize, len: usize) -> Vec<u8> {
        let (_, path, format) = self.file.as_ref().unwrap();
        assert_ne!(*format, Format::Qcow2);
        std::fs::read(path).unwrap()[offset..offset + len].to_vec()
    }

    /// Enables MSI-X: vector n is message 0x40 + n.
    pub(super) fn use_msix(&self) {
        for vector in 0..=u32::from(QUEUES) {
            for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x40 + vector), (12, 0)] {
                let _ = self.msix.write(u64::from(vector) * 16 + at, &u32::to_le_bytes(value));
            }
        }
        let mut at = self.config(0x34) as u8;
        while self.config(at.into()) as u8 != 0x11 {
            at = (self.config(at.into()) >> 8) as u8;
            assert_ne!(at, 0);
        }
        self.config_write(u16::from(at) + 2, &[0, 0x80]);
    }

    pub(super) fn mask_vector(&self, vector: u32, masked: bool) {
        let _ = self.msix.write(u64::from(vector) * 16 + 12, &u32::from(masked).to_le_bytes());
    }
}
