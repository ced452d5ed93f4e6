//! Several queues, and what happens to a disk while its machine runs.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use vm_memory::VolatileSlice;

use super::*;
use crate::virtio::feature as transport;

const SIZE: u64 = 1 << 20;
/// Rings of queue 1, behind those of queue 0.
const RINGS: [u64; 3] = [0x8000, 0xa000, 0xc000];

#[test]
fn a_second_queue_works_beside_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    let image = Image::new(open_with(&path, |_| {}));
    let mut disk = Disk::with(image, feature::MQ | feature::FLUSH, 3);
    let data = pattern(1, 4096);
    disk.write(8, &data);
    let driver = &mut disk.driver;
    assert_ne!(driver.device_features() & feature::MQ, 0);
    assert_eq!(
        (driver.common_u16(0x12), driver.vectors.len()),
        (3, 4),
        "a vector each, and the configuration's"
    );
    let mut count = [0; 2];
    driver.read(4, 34, &mut count);
    assert_eq!(u16::from_le_bytes(count), 3);

    // Anew, with queues 0 and 2.
    assert!(driver.negotiate(feature::MQ | feature::FLUSH | transport::VERSION_1));
    driver.use_msix();
    driver.set_up_queue(64);
    let [desc, avail, used] = RINGS;
    driver.ram.write_slice(&[0; 0x6000], GuestAddress(desc)).unwrap();
    driver.write(1, 0x16, &2u16.to_le_bytes());
    driver.write(1, 0x18, &64u16.to_le_bytes());
    driver.write(1, 0x1a, &0u16.to_le_bytes());
    for (register, address) in [0x20, 0x28, 0x30].into_iter().zip(RINGS) {
        driver.write(1, register, &address.to_le_bytes());
    }
    driver.write(1, 0x1c, &1u16.to_le_bytes());
    driver.set_status(15);
    // A read in the one, while the other reads, too.
    let (header, status, room) = (DATA + 0x8000, DATA + 0x8100, DATA + 0x9000);
    driver.ram.write_obj(0u32, GuestAddress(header)).unwrap();
    driver.ram.write_obj(8u64, GuestAddress(header + 8)).unwrap();
    driver.ram.write_obj(0xeeu8, GuestAddress(status)).unwrap();
    driver.describe(desc, 0, header, 16, 1, 1);
    driver.describe(desc, 1, room, 4096, 1 | WRITE, 2);
    driver.describe(desc, 2, status, 1, WRITE, 0);
    driver.ram.write_obj(0u16, GuestAddress(avail + 4)).unwrap();
    driver.ram.store(1u16, GuestAddress(avail + 2), Ordering::SeqCst).unwrap();
    let region = driver.region(driver.structure(2).bar);
    region.doorbells[2].event.write(1).unwrap();
    assert_eq!(disk.read(8, 4096), data);
    let driver = &mut disk.driver;
    let deadline = Instant::now() + Duration::from_secs(20);
    while driver.ram.load::<u16>(GuestAddress(used + 2), Ordering::SeqCst).unwrap() == 0 {
        assert!(Instant::now() < deadline, "queue 2 did not answer");
        std::thread::yield_now();
    }
    assert_eq!(driver.ram.read_obj::<u8>(GuestAddress(status)).unwrap(), 0);
    let mut answer = vec![0; 4096];
    driver.ram.read_slice(&mut answer, GuestAddress(room)).unwrap();
    assert!(answer == data);
    driver.wait_vector(0);
}

/// A disk of memory that fails when it is told to.
#[derive(Default)]
struct Failing {
    bytes: Vec<u8>,
    full: Arc<AtomicBool>,
    /// Its next flush is the end of the thread.
    mad: Arc<AtomicBool>,
    /// Held while nothing is to be written.
    gate: Arc<Mutex<()>>,
    writes: Arc<AtomicUsize>,
    flushes: Arc<AtomicUsize>,
}

impl Failing {
    fn fail(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl BlockBackend for Failing {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_only(&self) -> bool {
        false
    }
    fn can_discard(&self) -> bool {
        false
    }
    fn topology(&self) -> Topology {
        Topology { physical_block: 512, optimal_io: 0, discard_granularity: 512 }
    }
    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let mut at = offset as usize;
        for buffer in buffers {
            buffer.copy_from(&self.bytes[at..at + buffer.len()]);
            at += buffer.len();
        }
        Ok(())
    }
    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.fail()?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock());
        let mut at = offset as usize;
        for buffer in buffers {
            at += buffer.copy_to(&mut self.bytes[at..at + buffer.len()]);
        }
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        assert!(!self.mad.load(Ordering::SeqCst), "as a test wants it");
        self.fail()?;
        // Who does not wait for it is ahead of it.
        std::thread::sleep(Duration::from_millis(50));
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&mut self, _: u64, _: u64, _: bool) -> io::Result<()> {
        self.fail()
    }
}

#[test]
fn what_stops_the_machine_is_done_again_when_it_goes_on() {
    let (full, said) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let mad = Arc::new(AtomicBool::new(false));
    let (bytes, again) = (vec![0; SIZE as usize], Arc::clone(&mad));
    let backend = Failing { bytes, full: Arc::clone(&full), mad: again, ..Failing::default() };
    let told = Arc::clone(&said);
    let on_error = OnError::Stop(Box::new(move |what| told.lock().unwrap().push(what.to_owned())));
    let failures = Failures::new("disk[0] (a.img)", on_error);
    let options = Options { queues: 1, failures: Arc::clone(&failures), ..Options::default() };
    let device = VirtioBlk::new(Image::new(Box::new(backend)), options);
    let mut disk = Disk { driver: Driver::new(device) };
    disk.driver.start(feature::FLUSH);
    let data = pattern(3, 512);
    let wait_for = |count: usize| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while said.lock().unwrap().len() < count {
            assert!(Instant::now() < deadline, "nobody was told");
            std::thread::yield_now();
        }
    };
    disk.offer(1, 5, &data, 0);
    wait_for(1);
    failures.resumed();
    wait_for(2);
    assert_eq!(disk.driver.used_index(), 0, "the guest does not know");
    assert_eq!(disk.buffer(512), data);
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    disk.driver.wait_used().unwrap();
    assert_eq!(disk.driver.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 0);
    assert_eq!(disk.read(5, 512), data);
    assert!(said.lock().unwrap()[0].starts_with("disk[0] (a.img): failed to write at byte 2560: "));
    // A reset forgets what has failed.
    full.store(true, Ordering::SeqCst);
    disk.offer(1, 5, &[0; 512], 0);
    wait_for(3);
    disk.driver.start(feature::FLUSH);
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    assert_eq!(disk.read(5, 512), data);
    // What cannot succeed any more does not stop the machine for ever: its guest is told.
    full.store(true, Ordering::SeqCst);
    disk.offer(4, 0, &[], 0);
    wait_for(4);
    mad.store(true, Ordering::SeqCst);
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    disk.driver.wait_used().unwrap();
    assert_eq!(disk.driver.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 1);
    assert_eq!(disk.request(1, 5, &data, 0), (1, 1));
    assert_eq!(said.lock().unwrap().len(), 4);
}

/// What was held is not repeated with memory that the driver may have given to others since.
#[test]
fn what_waits_for_the_machine_ends_without_bus_mastering() {
    ends_without_bus_mastering(Duration::ZERO);
}

/// It fails after the driver has begun to disable bus mastering, which waits for it.
#[test]
fn what_fails_while_bus_mastering_is_disabled_ends() {
    ends_without_bus_mastering(Duration::from_millis(50));
}

/// A request fails so long after its driver has begun to disable bus mastering.
fn ends_without_bus_mastering(late: Duration) {
    let (full, said) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(0)));
    let disabling = Arc::new(AtomicBool::new(late.is_zero()));
    let backend = Failing { bytes: vec![0; SIZE as usize], full: Arc::clone(&full), ..Failing::default() };
    let writes = Arc::clone(&backend.writes);
    let (told, begun) = (Arc::clone(&said), Arc::clone(&disabling));
    let stop = move |_: &str| {
        *told.lock().unwrap() += 1;
        while !begun.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        std::thread::sleep(late);
    };
    let failures = Failures::new("disk", OnError::Stop(Box::new(stop)));
    let options = Options { queues: 1, failures: Arc::clone(&failures), ..Options::default() };
    let device = VirtioBlk::new(Image::new(Box::new(backend)), options);
    let mut disk = Disk { driver: Driver::new(device) };
    disk.driver.start(feature::FLUSH);
    disk.offer(1, 5, &pattern(3, 512), 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while *said.lock().unwrap() == 0 {
        assert!(Instant::now() < deadline, "nobody was told");
        std::thread::yield_now();
    }
    let before = writes.load(Ordering::SeqCst);
    disabling.store(true, Ordering::SeqCst);
    disk.driver.config_write(4, &[2, 0]);
    assert_eq!(disk.driver.used_index(), 1, "it was returned before the memory was taken away");
    assert_eq!(disk.driver.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 1);
    disk.driver.wait_used().unwrap();
    full.store(false, Ordering::SeqCst);
    disk.driver.config_write(4, &[6, 0]);
    failures.resumed();
    assert_eq!(disk.read(5, 512), [0; 512]);
    assert_eq!(writes.load(Ordering::SeqCst), before);
}

#[test]
fn the_flush_of_a_cache_that_was_turned_off_is_done_again() {
    let (full, said) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
    let backend = Failing { bytes: vec![0; SIZE as usize], full: Arc::clone(&full), ..Failing::default() };
    let flushes = Arc::clone(&backend.flushes);
    let told = Arc::clone(&said);
    let failures = Failures::new("disk", OnError::Stop(Box::new(move |_| *told.lock().unwrap() += 1)));
    let options = Options { queues: 1, failures: Arc::clone(&failures), ..Options::default() };
    let device = VirtioBlk::new(Image::new(Box::new(backend)), options);
    let mut disk = Disk { driver: Driver::new(device) };
    disk.driver.start(feature::FLUSH | feature::CONFIG_WCE);
    full.store(true, Ordering::SeqCst);
    disk.driver.write(4, 32, &[0]);
    disk.read(5, 512);
    let until = |condition: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "nothing happens");
            std::thread::yield_now();
        }
    };
    until(&|| *said.lock().unwrap() == 1);
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    until(&|| flushes.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_write_that_outlasts_the_write_cache_is_durable() {
    let backend = Failing { bytes: vec![0; SIZE as usize], ..Failing::default() };
    let (gate, writes, flushes) =
        (Arc::clone(&backend.gate), Arc::clone(&backend.writes), Arc::clone(&backend.flushes));
    let mut disk = Disk::start(Box::new(backend), feature::FLUSH | feature::CONFIG_WCE);
    let held = gate.lock().unwrap();
    disk.offer(1, 5, &pattern(5, 512), 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while writes.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::yield_now();
    }
    disk.driver.write(4, 32, &[0]);
    drop(held);
    assert_eq!(disk.driver.wait_used().unwrap().1, 1);
    assert!(flushes.load(Ordering::SeqCst) >= 1);
    assert_eq!(disk.driver.ram.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), 0);
}

#[test]
fn a_disk_grows_and_its_driver_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    let options = Options { queues: 1, ..Options::default() };
    let device = VirtioBlk::new(Image::new(open_with(&path, |_| {})), options);
    let handle = device.handle();
    let mut disk = Disk { driver: Driver::new(device) };
    disk.driver.start(0);
    assert_eq!(disk.request(0, SIZE / 512, &[], 512).0, 1);
    for (size, why) in [(SIZE - 512, "can only grow"), (SIZE + 100, "no multiple")] {
        assert!(handle.grow(size).unwrap_err().to_string().contains(why), "{size}");
    }
    handle.grow(2 * SIZE).unwrap();
    disk.driver.wait_vector(0);
    let mut capacity = [0; 8];
    disk.driver.read(4, 0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), 2 * SIZE / 512);
    assert_eq!((handle.size(), std::fs::metadata(&path).unwrap().len()), (2 * SIZE, 2 * SIZE));
    let data = pattern(4, 512);
    disk.write(2 * SIZE / 512 - 1, &data);
    assert_eq!(disk.read(2 * SIZE / 512 - 1, 512), data);
    // Without a driver, too.
    disk.driver.set_status(0);
    handle.grow(3 * SIZE).unwrap();

    let qcow2 = create(dir.path(), "disk.qcow2", "qcow2", "", SIZE);
    let image = open_with(&qcow2, |options| options.format = Some(vocabulary::DiskFormat::Qcow2));
    let handle = VirtioBlk::new(Image::new(image), Options::default()).handle();
    assert!(handle.grow(2 * SIZE).unwrap_err().to_string().contains("of this format"));
}
