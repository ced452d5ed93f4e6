//! Requests through the rings.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use vm_memory::VolatileSlice;

use super::*;
use crate::pci::PciFunction;
use crate::pci::config::{command, reg};
use crate::virtio::feature as transport;
use crate::virtio::testing::{DESC, INDIRECT};

const SIZE: u64 = 1 << 20;
const ALL: u64 = transport::EVENT_IDX
    | transport::INDIRECT_DESC
    | feature::FLUSH
    | feature::CONFIG_WCE
    | feature::DISCARD
    | feature::WRITE_ZEROES;

fn raw_disk(dir: &tempfile::TempDir) -> Disk {
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    Disk::start(open_with(&path, |_| {}), ALL)
}

fn config<const N: usize>(disk: &Disk, offset: u64) -> [u8; N] {
    let mut data = [0; N];
    disk.driver.read(4, offset, &mut data);
    data
}

fn segment(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

#[test]
fn the_configuration_tells_sizes_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let disk = raw_disk(&dir);
    assert_eq!(disk.driver.config_u32(0), 0x1042_1af4);
    assert_eq!(disk.driver.config_u32(8) >> 8, 0x01_0000);
    assert_eq!(u64::from_le_bytes(config(&disk, 0)), SIZE / 512);
    assert_eq!(u32::from_le_bytes(config(&disk, 12)), 254, "seg_max");
    assert_eq!(u32::from_le_bytes(config(&disk, 20)), 512, "blk_size");
    assert_eq!(config(&disk, 24), [3, 0, 8, 0], "4096-byte physical blocks");
    assert_eq!(config(&disk, 32), [1], "writeback");
    assert_eq!(u16::from_le_bytes(config(&disk, 34)), 1, "num_queues");
    assert_eq!(u32::from_le_bytes(config(&disk, 36)), (1 << 22) - 1);
    assert_eq!(u32::from_le_bytes(config(&disk, 40)), 32);
    assert_eq!(u32::from_le_bytes(config(&disk, 44)), 8, "discard alignment");
    assert_eq!(u32::from_le_bytes(config(&disk, 48)), 1 << 17);
    assert_eq!(config(&disk, 56), [1], "zeroing may unmap");
    assert_eq!(config(&disk, 60), [0; 8]);
}

#[test]
fn requests_do_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = raw_disk(&dir);
    let data = pattern(1, 8192);
    disk.write(3, &data);
    assert_eq!(disk.read(3, 8192), data);
    assert_eq!(disk.read(SIZE / 512 - 1, 512), [0; 512], "the last sector");
    assert_eq!(disk.request(4, 77, &[], 0), (0, 1), "a flush ignores the sector");
    assert_eq!(disk.request(8, 0, &[], 20), (0, 21));
    assert_eq!(disk.buffer(20), b"serial-of-the-disk-t");
    assert_eq!(disk.request(11, 0, &segment(3, 4, 0), 0), (0, 1));
    assert_eq!(disk.request(13, 0, &[segment(7, 1, 0), segment(9, 1, 1)].concat(), 0), (0, 1));
    let after = disk.read(7, 4 * 512);
    assert_eq!((&after[..512], &after[1024..1536]), (&[0; 512][..], &[0; 512][..]));
    assert_eq!(after[512..1024], data[5 * 512..6 * 512]);
}

/// Name, request type, sector, data to the device, room for data from it, expected status.
type BadRequest = (&'static str, u32, u64, Vec<u8>, usize, u8);

#[test]
fn bad_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = raw_disk(&dir);
    let last = SIZE / 512 - 1;
    let table: [BadRequest; 22] = [
        ("read past the end", 0, last, vec![], 1024, 1),
        ("read beyond the end", 0, last + 1, vec![], 512, 1),
        ("read of an offset that overflows", 0, u64::MAX, vec![], 512, 1),
        ("read of an end that overflows", 0, u64::MAX / 512, vec![], 512, 1),
        ("read of a part of a sector", 0, 0, vec![], 511, 1),
        ("write past the end", 1, last, vec![1; 1024], 0, 1),
        ("write of an offset that overflows", 1, 1 << 60, vec![1; 512], 0, 1),
        ("write of a part of a sector", 1, 0, vec![1; 100], 0, 1),
        ("SCSI command", 2, 0, vec![], 0, 2),
        ("unknown type", 99, 0, vec![], 512, 2),
        ("secure erase", 14, 0, segment(0, 1, 0), 0, 2),
        ("ID with little room", 8, 0, vec![], 19, 1),
        ("discard without segments", 11, 0, vec![], 0, 1),
        ("discard with part of a segment", 11, 0, vec![0; 15], 0, 1),
        ("discard with too many segments", 11, 0, segment(0, 1, 0).repeat(33), 0, 1),
        ("discard past the end", 11, 0, segment(last, 2, 0), 0, 1),
        ("discard of a sector that overflows", 11, 0, segment(u64::MAX, u32::MAX, 0), 0, 1),
        ("discard with the unmap flag", 11, 0, segment(0, 1, 1), 0, 2),
        ("discard with an unknown flag", 11, 0, segment(0, 1, 2), 0, 2),
        ("zeroes past the end", 13, 0, segment(0, u32::MAX, 0), 0, 1),
        ("zeroes with an unknown flag", 13, 0, segment(0, 1, 3), 0, 2),
        ("a good segment before a bad one", 13, 0, [segment(0, 1, 0), segment(last, 2, 0)].concat(), 0, 1),
    ];
    let first = pattern(2, 512);
    disk.write(0, &first);
    for (name, kind, sector, out, room, status) in table {
        assert_eq!(disk.request(kind, sector, &out, room), (status, 1), "{name}");
    }
    assert_eq!(disk.read(0, 512), first, "nothing was touched");
}

#[test]
fn read_only_disks_refuse_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    let mut disk = Disk::start(open_with(&path, |options| options.read_only = true), feature::RO);
    assert_ne!(disk.driver.device_features() & feature::RO, 0);
    assert_eq!(disk.driver.device_features() & (feature::DISCARD | feature::WRITE_ZEROES), 0);
    assert_eq!(disk.request(1, 0, &[1; 512], 0), (1, 1));
    assert_eq!(disk.request(11, 0, &segment(0, 1, 0), 0), (1, 1));
    assert_eq!(disk.request(13, 0, &segment(0, 1, 0), 0), (1, 1));
    assert_eq!(disk.request(4, 0, &[], 0), (0, 1));
    assert_eq!(disk.read(0, 512), [0; 512]);
}

#[test]
fn any_framing_of_a_request_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = raw_disk(&dir);
    let data = pattern(3, 1024);
    let d = &mut disk.driver;
    d.ram.write_obj(1u32, GuestAddress(HEADER)).unwrap();
    d.ram.write_obj(5u64, GuestAddress(HEADER + 8)).unwrap();
    d.ram.write_slice(&data, GuestAddress(HEADER + 16)).unwrap();
    // Header and data in odd pieces, with an empty one.
    d.offer(&[
        (HEADER, 3, 0),
        (HEADER + 3, 0, 0),
        (HEADER + 3, 20, 0),
        (HEADER + 23, 1017, 0),
        (STATUS, 1, WRITE),
    ]);
    d.ring();
    d.wait_used().unwrap();
    assert_eq!(d.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 0);
    // An indirect table; the answer runs over the border of two regions, with the status behind it.
    let table = DATA + 0x800;
    let room = (1u64 << 20) - 700;
    d.ram.write_obj(0u32, GuestAddress(HEADER)).unwrap();
    d.describe(table, 0, HEADER, 16, 1, 1);
    d.describe(table, 1, room, 1025, WRITE, 0);
    d.offer(&[(table, 32, INDIRECT)]);
    d.ring();
    assert_eq!(d.wait_used().unwrap().1, 1025);
    let mut answer = vec![0; 1025];
    d.ram.read_slice(&mut answer, GuestAddress(room)).unwrap();
    assert_eq!((&answer[..1024], answer[1024]), (&data[..], 0));
}

#[test]
fn data_outside_of_ram_is_an_error_and_no_status_a_broken_ring() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = raw_disk(&dir);
    disk.driver.offer(&[(HEADER, 16, 0), (3 << 20, 512, WRITE), (STATUS, 1, WRITE)]);
    disk.driver.ring();
    disk.driver.wait_used().unwrap();
    assert_eq!(disk.driver.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 1);
    let broken: [&[(u64, u32, u16)]; 6] = [
        &[(HEADER, 16, 0)],
        &[(HEADER, 15, 0), (STATUS, 1, WRITE)],
        &[(STATUS, 1, WRITE)],
        &[(HEADER, 16, 0), (3 << 20, 1, WRITE)],
        &[(STATUS, 1, WRITE), (HEADER, 16, 0)],
        // A descriptor of nothing is not where the status goes.
        &[(HEADER, 16, 0), (u64::MAX, 2, WRITE), (STATUS, 0, WRITE)],
    ];
    for chain in broken {
        disk.driver.offer(chain);
        disk.driver.ring();
        disk.driver.wait_needs_reset();
        disk.driver.start(ALL);
        assert_eq!(disk.read(0, 512), [0; 512]);
    }
}

/// A disk that is slow, counts its flushes and fails beyond its first half.
struct Slow {
    size: u64,
    delay: Duration,
    flushes: Arc<AtomicUsize>,
    /// Reads, writes and discards.
    calls: Arc<AtomicUsize>,
}

impl Slow {
    fn work(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.delay);
    }
}

impl BlockBackend for Slow {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        false
    }
    fn can_discard(&self) -> bool {
        self.size > SIZE
    }
    fn topology(&self) -> Topology {
        Topology { physical_block: 512, optimal_io: 0, discard_granularity: 512 }
    }
    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.work();
        if offset >= self.size / 2 {
            return Err(io::Error::other("bad sector"));
        }
        buffers.iter().for_each(|buffer| buffer.copy_from(&vec![0x5au8; buffer.len()]));
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.work();
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        self.work();
        Ok(())
    }
    fn write_zeroes(&mut self, _: u64, _: u64, _: bool) -> io::Result<()> {
        self.work();
        Ok(())
    }
}

fn slow(delay: Duration, features: u64) -> (Disk, Arc<AtomicUsize>) {
    let flushes = Arc::new(AtomicUsize::new(0));
    let calls = Arc::default();
    let disk =
        Disk::start(Box::new(Slow { size: SIZE, delay, flushes: Arc::clone(&flushes), calls }), features);
    (disk, flushes)
}

/// Starts a request for which a large disk is called many times, each of which takes a while; resets the device during
/// it, and says how many calls there were.
/// How a driver makes an end of a request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By the device's status.
    DeviceReset,
    /// As a reset of the machine or of the bus does.
    FunctionReset,
    /// By the Command register.
    NoBusMaster,
}

/// How often a slow backend is called until such an end has come.
fn calls_until(end: End, offer: impl FnOnce(&mut Disk)) -> usize {
    let calls = Arc::new(AtomicUsize::new(0));
    let (delay, flushes) = (Duration::from_millis(100), Arc::default());
    let backend = Slow { size: 64 << 30, delay, flushes, calls: Arc::clone(&calls) };
    let mut disk = Disk::start(Box::new(backend), ALL);
    offer(&mut disk);
    disk.driver.ring();
    while calls.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    match end {
        End::DeviceReset => {
            disk.driver.set_status(0);
            assert_eq!(disk.driver.status(), 0);
        }
        End::FunctionReset => disk.driver.function.reset(),
        End::NoBusMaster => disk.driver.config_write(reg::COMMAND, &command::MEMORY.to_le_bytes()),
    }
    let count = calls.load(Ordering::SeqCst);
    std::thread::sleep(2 * delay);
    assert_eq!(calls.load(Ordering::SeqCst), count, "it went on");
    match end {
        End::DeviceReset => {}
        End::FunctionReset => disk.driver.enable_bars(),
        End::NoBusMaster => {
            let both = command::MEMORY | command::BUS_MASTER;
            disk.driver.config_write(reg::COMMAND, &both.to_le_bytes());
            disk.driver.set_status(0);
        }
    }
    disk.driver.start(ALL);
    assert_eq!(disk.read(0, 512), [0x5a; 512]);
    count
}

#[test]
fn a_reset_does_not_wait_for_the_end_of_a_long_request() {
    // The same MiB of RAM again and again.
    const PARTS: usize = 60;
    for end in [End::DeviceReset, End::FunctionReset, End::NoBusMaster] {
        for (kind, flags) in [(0u32, WRITE), (1, 0)] {
            let calls = calls_until(end, |disk| {
                disk.driver.ram.write_obj(kind, GuestAddress(HEADER)).unwrap();
                disk.driver.ram.write_obj(0u64, GuestAddress(HEADER + 8)).unwrap();
                let mut buffers = vec![(HEADER, 16, 0)];
                buffers.extend([(1 << 20, 1 << 20, flags); PARTS]);
                buffers.push((STATUS, 1, WRITE));
                disk.driver.offer(&buffers);
            });
            assert!(calls < PARTS, "{end:?} {kind}: {calls}");
        }
        for (kind, sectors) in [(11u32, (1 << 22) - 1), (13, 1 << 17)] {
            let segments: Vec<u8> = (0..32).flat_map(|at| segment(at << 22, sectors, 0)).collect();
            let calls = calls_until(end, |disk| {
                disk.driver.ram.write_obj(kind, GuestAddress(HEADER)).unwrap();
                disk.driver.ram.write_slice(&segments, GuestAddress(BUFFER)).unwrap();
                disk.driver.offer(&[(HEADER, 16, 0), (BUFFER, segments.len() as u32, 0), (STATUS, 1, WRITE)]);
            });
            assert!(calls < 100, "{end:?} {kind}: {calls}");
        }
    }
}

#[test]
fn long_requests_are_done_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", 8 << 20);
    let mut disk = Disk::start(open_with(&path, |_| {}), ALL);
    let data = pattern(9, 1 << 20);
    let ram = &disk.driver.ram;
    ram.write_slice(&data, GuestAddress(1 << 20)).unwrap();
    ram.write_obj(1u32, GuestAddress(HEADER)).unwrap();
    ram.write_obj(1u64, GuestAddress(HEADER + 8)).unwrap();
    // Pieces that do not end where buffers do.
    let odd = 3907 * 256;
    let parts = [(1 << 20, odd, 0), ((1 << 20) + 512, 1 << 19, 0), (1 << 20, odd, 0)];
    disk.driver.offer(&[&[(HEADER, 16, 0)], &parts[..], &[(STATUS, 1, WRITE)]].concat());
    disk.driver.ring();
    disk.driver.wait_used().unwrap();
    assert_eq!(disk.driver.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 0);
    let len = odd as usize;
    let written = [&data[..len], &data[512..512 + (1 << 19)], &data[..len]].concat();
    let now = std::fs::read(&path).unwrap();
    assert!(
        now[512..512 + written.len()] == written && now[512 + written.len()..].iter().all(|&byte| byte == 0)
    );
    // Zeroes over more than one piece, from within one.
    assert_eq!(disk.request(13, 3, &segment(3, 10_000, 0), 0), (0, 1));
    let now = std::fs::read(&path).unwrap();
    assert!(
        now[512..1536] == written[..1024] && now[1536..].iter().take(10_000 * 512).all(|&byte| byte == 0)
    );
}

#[test]
fn a_failing_image_is_an_error_of_the_request() {
    let (mut disk, _) = slow(Duration::ZERO, ALL & !feature::DISCARD);
    assert_eq!(disk.request(0, 1500, &[], 512), (1, 1));
    assert_eq!(disk.read(0, 512), [0x5a; 512]);
}

#[test]
fn the_cache_mode_decides_when_writes_are_durable() {
    let (mut disk, flushes) = slow(Duration::ZERO, feature::FLUSH | feature::CONFIG_WCE);
    let count = || flushes.load(Ordering::SeqCst);
    disk.write(0, &[1; 512]);
    assert_eq!(count(), 0, "writeback");
    disk.driver.write(4, 32, &[0]);
    disk.write(0, &[1; 512]);
    let turned_off = count();
    assert!(turned_off >= 2, "one flush for what was cached and one for the write");
    assert_eq!(config(&disk, 32), [0]);
    disk.request(13, 0, &segment(0, 1, 0), 0);
    assert_eq!(count(), turned_off + 1);
    disk.driver.write(4, 32, &[1]);
    disk.write(0, &[1; 512]);
    assert_eq!(count(), turned_off + 1);
    // A driver that can neither flush nor choose.
    disk.driver.start(0);
    disk.write(0, &[1; 512]);
    assert_eq!(count(), turned_off + 2);
    disk.driver.start(feature::FLUSH);
    disk.write(0, &[1; 512]);
    assert_eq!(count(), turned_off + 2);
}

#[test]
fn after_a_reset_no_request_touches_memory() {
    let (mut disk, _) = slow(Duration::from_millis(30), 0);
    for _ in 0..5 {
        disk.driver.start(0);
        for _ in 0..16 {
            disk.offer(0, 0, &[], 512);
        }
        std::thread::sleep(Duration::from_millis(40));
        disk.driver.set_status(0);
        assert_eq!(disk.driver.status(), 0);
        let used = disk.driver.used_index();
        assert!(used < 16, "the reset did not wait for all of them");
        disk.driver.ram.write_slice(&[0; 512], GuestAddress(BUFFER)).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(disk.buffer(512), [0; 512]);
        assert_eq!(disk.driver.used_index(), used);
    }
    disk.driver.start(0);
    assert_eq!(disk.read(0, 512), [0x5a; 512]);
}

#[test]
fn a_full_queue_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = raw_disk(&dir);
    for _ in 0..40 {
        for _ in 0..16 {
            disk.driver.offer(&[(HEADER, 16, 0), (BUFFER, 512, WRITE), (STATUS, 1, WRITE)]);
        }
        disk.driver.ring();
        let first = disk.driver.next_descriptor();
        let mut heads: Vec<_> = (0..16u32).map(|_| disk.driver.wait_used().unwrap().0).collect();
        heads.sort_unstable();
        let mut expected: Vec<_> = (1..=16u32).map(|back| (u32::from(first) + 64 - 3 * back) % 64).collect();
        expected.sort_unstable();
        assert_eq!(heads, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Arbitrary chains of arbitrary requests: answered or refused, and the disk works after a reset.
    #[test]
    fn hostile_requests_are_survived(
        descriptors in proptest::collection::vec(
            (prop_oneof![4 => Just(HEADER), 4 => Just(BUFFER), 1 => Just(DESC), 1 => any::<u64>()],
             prop_oneof![Just(16u32), Just(1), Just(512), any::<u32>()], 0u16..8, 0u16..66), 64),
        headers in proptest::collection::vec((0u32..20, any::<u64>()), 16),
        heads in proptest::collection::vec(0u16..66, 1..30),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = raw_disk(&dir);
        for (at, (kind, sector)) in headers.into_iter().enumerate() {
            disk.driver.ram.write_obj(kind, GuestAddress(HEADER + 16 * at as u64)).unwrap();
            disk.driver.ram.write_obj(sector >> (at * 4), GuestAddress(HEADER + 16 * at as u64 + 8)).unwrap();
        }
        for (at, &(addr, len, flags, next)) in descriptors.iter().enumerate() {
            let addr = if addr == HEADER { addr + 16 * (at as u64 % 16) } else { addr };
            disk.driver.describe(DESC, at as u16, addr, len, flags, next);
        }
        for head in heads {
            disk.driver.publish(head);
        }
        disk.driver.ring();
        std::thread::sleep(Duration::from_millis(2));
        disk.driver.start(ALL);
        let data = pattern(4, 1024);
        disk.write(10, &data);
        prop_assert_eq!(disk.read(10, 1024), data);
        prop_assert_eq!(std::fs::metadata(dir.path().join("disk.img")).unwrap().len(), SIZE);
    }
}
