//! Lanes against a model of the disk, and what a reset may rely on.

mod held;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use vm_memory::Bytes;

use super::*;
use crate::disk::SECTOR;
use crate::disk::tests::{create, open_with, pattern, text};

const SIZE: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// Two regions that touch, so that a piece can run over their border.
fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 8 << 20), (GuestAddress(8 << 20), 8 << 20)]).unwrap()
}

/// Collects until `count` requests are complete, sleeping as a worker does.
fn wait(lane: &mut Lane, count: usize) -> HashMap<u64, io::Result<()>> {
    lane.kick();
    let mut done = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while done.len() < count {
        lane.collect(&mut done);
        if done.len() < count && lane.prepare_to_wait() {
            while lane.event().read().is_err() {
                assert!(Instant::now() < deadline, "{} of {count} requests completed", done.len());
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }
    assert_eq!((done.len(), lane.in_flight()), (count, 0));
    done.into_iter().map(|done| (done.tag, done.result)).collect()
}

fn one(lane: &mut Lane, operation: Operation, pieces: &[Piece]) -> io::Result<()> {
    lane.submit(7, operation, pieces);
    wait(lane, 1).remove(&7).unwrap()
}

fn write_at(offset: u64) -> Operation {
    Operation::Write { offset, durable: false }
}

/// The ways to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Cached,
    CachedThreads,
    Direct,
    DirectThreads,
    Qcow2,
}

const WAYS: [Way; 5] = [Way::Cached, Way::CachedThreads, Way::Direct, Way::DirectThreads, Way::Qcow2];

struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    disk: Disk,
    way: Way,
}

impl Bench {
    fn new(way: Way) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let format = if way == Way::Qcow2 { "qcow2" } else { "raw" };
        let path = create(dir.path(), &format!("disk.{format}"), format, "", SIZE);
        let direct = matches!(way, Way::Direct | Way::DirectThreads);
        let disk = Disk::new(open_with(&path, |options| {
            options.direct = direct;
            options.format = Some(if way == Way::Qcow2 {
                vocabulary::DiskFormat::Qcow2
            } else {
                vocabulary::DiskFormat::Raw
            });
        }));
        Self { _dir: dir, path, disk, way }
    }

    fn lane(&self, ram: &GuestRam) -> Lane {
        let threads = matches!(self.way, Way::CachedThreads | Way::DirectThreads);
        let mut lane = Lane::new(Arc::clone(&self.disk.0), ram.clone(), threads).unwrap();
        // What a worker would do itself is done the other way every second time.
        lane.be_impatient();
        lane
    }
}

#[derive(Debug, Clone)]
enum Step {
    Read { sector: u64, sectors: u64, skew: u64 },
    Write { sector: u64, sectors: u64, skew: u64, durable: bool },
    Erase { sector: u64, sectors: u64, free: bool },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let sectors = SIZE / SECTOR / 16;
    let skew = prop_oneof![2 => Just(0u64), 1 => Just(512), 1 => 1u64..4096];
    let at = prop_oneof![Just(0u64), (0..sectors / 8).prop_map(|at| at * 8), 0..sectors];
    let len = prop_oneof![2 => Just(8u64), 1 => 1u64..20, 1 => Just(sectors)];
    let step = prop_oneof![
        3 => (at.clone(), len.clone(), skew.clone())
            .prop_map(|(sector, sectors, skew)| Step::Read { sector, sectors, skew }),
        4 => (at.clone(), len.clone(), skew, any::<bool>())
            .prop_map(|(sector, sectors, skew, durable)| Step::Write { sector, sectors, skew, durable }),
        1 => (at, len, any::<bool>()).prop_map(|(sector, sectors, free)| Step::Erase { sector, sectors, free }),
        1 => Just(Step::Flush),
    ];
    // A step of each round works in a sixteenth of the disk of its own.
    proptest::collection::vec(proptest::collection::vec(step, 1..16), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    /// Requests that are under way side by side, on two lanes, do what they would do one by one.
    #[test]
    fn requests_side_by_side_agree_with_a_model(rounds in steps(), seed in any::<u64>()) {
        for way in WAYS {
            let bench = Bench::new(way);
            let ram = ram();
            let mut lanes = [bench.lane(&ram), bench.lane(&ram)];
            let mut model = vec![0u8; SIZE as usize];
            let part = SIZE / 16;
            for (round, steps) in rounds.iter().enumerate() {
                let mut expected = HashMap::new();
                let mut counts = [0, 0];
                for (tag, step) in (0u64..).zip(steps) {
                    let lane = (tag % 2) as usize;
                    counts[lane] += 1;
                    let lane = &mut lanes[lane];
                    let base = tag * part;
                    let room = base + (1 << 20) * tag / 2; // Pieces may be as long as a part and lie anywhere.
                    let place = |sector: u64, sectors: u64| {
                        let sectors = sectors.min(part / SECTOR - sector);
                        (base + sector * SECTOR, sectors * SECTOR)
                    };
                    match *step {
                        Step::Read { sector, sectors, skew } => {
                            let (offset, len) = place(sector, sectors);
                            let pieces = cut(room + skew, len, seed ^ tag);
                            lane.submit(tag, Operation::Read { offset }, &pieces);
                            expected.insert(tag, (room + skew, model[offset as usize..][..len as usize].to_vec()));
                        }
                        Step::Write { sector, sectors, skew, durable } => {
                            let (offset, len) = place(sector, sectors);
                            let data = pattern(seed ^ tag ^ round as u64, len as usize);
                            ram.write_slice(&data, GuestAddress(room + skew)).unwrap();
                            lane.submit(tag, Operation::Write { offset, durable }, &cut(room + skew, len, seed ^ tag));
                            model[offset as usize..][..len as usize].copy_from_slice(&data);
                        }
                        Step::Erase { sector, sectors, free } => {
                            let (offset, len) = place(sector, sectors);
                            let how = if free { How::ZeroAndFree } else { How::Zero };
                            let ranges = vec![Erase { offset, len, how }];
                            lane.submit(tag, Operation::Erase { ranges, durable: free }, &[]);
                            model[offset as usize..][..len as usize].fill(0);
                        }
                        Step::Flush => lane.submit(tag, Operation::Flush, &[]),
                    }
                }
                for (lane, count) in lanes.iter_mut().zip(counts) {
                    for (tag, result) in wait(lane, count) {
                        prop_assert!(result.is_ok(), "{way:?}: request {tag}: {result:?}");
                    }
                }
                for (tag, (address, data)) in expected {
                    let mut read = vec![0; data.len()];
                    ram.read_slice(&mut read, GuestAddress(address)).unwrap();
                    prop_assert!(read == data, "{way:?}: request {tag} of round {round} read something else");
                }
            }
            drop(lanes);
            let Bench { _dir, path, disk, .. } = bench;
            drop(disk);
            let format = if way == Way::Qcow2 { "qcow2" } else { "raw" };
            prop_assert!(crate::disk::tests::contents(&path, format) == model, "{way:?}");
        }
    }
}

/// Guest memory from `address` on in one to four pieces.
fn cut(address: u64, len: u64, seed: u64) -> Vec<Piece> {
    let count = seed % 4 + 1;
    let unit = [1, 512, 4096][(seed >> 8) as usize % 3];
    let mut pieces = Vec::new();
    let mut at = 0;
    for _ in 1..count {
        let next = (at + (len - at) / 2) / unit * unit;
        if next > at {
            pieces.push(Piece { address: address + at, len: (next - at) as u32 });
            at = next;
        }
    }
    pieces.push(Piece { address: address + at, len: (len - at) as u32 });
    pieces
}

#[test]
fn what_is_wrong_with_a_request_is_told_by_its_completion() {
    for way in WAYS {
        let bench = Bench::new(way);
        let ram = ram();
        let mut lane = bench.lane(&ram);
        let sector = [Piece { address: 0, len: 512 }];
        for (operation, pieces, kind) in [
            (Operation::Read { offset: SIZE }, &sector[..], io::ErrorKind::InvalidInput),
            (Operation::Read { offset: u64::MAX - 5 }, &sector, io::ErrorKind::InvalidInput),
            (write_at(SIZE - 511), &sector, io::ErrorKind::InvalidInput),
            (
                Operation::Read { offset: 0 },
                &[Piece { address: 16 << 20, len: 512 }],
                io::ErrorKind::InvalidInput,
            ),
            (
                Operation::Erase {
                    ranges: vec![Erase { offset: 512, len: SIZE, how: How::Discard }],
                    durable: false,
                },
                &[],
                io::ErrorKind::InvalidInput,
            ),
        ] {
            let error = one(&mut lane, operation.clone(), pieces).unwrap_err();
            assert_eq!(error.kind(), kind, "{way:?} {operation:?}");
            assert!(!is_cancelled(&error));
        }
        assert!(one(&mut lane, Operation::Read { offset: 0 }, &[]).is_ok(), "of nothing");
        if way != Way::Qcow2 {
            // The file ends where the disk does not.
            std::fs::OpenOptions::new().write(true).open(&bench.path).unwrap().set_len(SIZE / 2).unwrap();
            let error =
                one(&mut lane, Operation::Read { offset: SIZE - 4096 }, &[Piece { address: 0, len: 4096 }]);
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{way:?}");
        }
    }
}

#[test]
fn a_read_only_disk_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    let disk = Disk::new(open_with(&path, |options| options.read_only = true));
    let mut lane = disk.lane(ram()).unwrap();
    let error = one(&mut lane, write_at(0), &[Piece { address: 0, len: 512 }]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let ranges = vec![Erase { offset: 0, len: 512, how: How::Zero }];
    let error = one(&mut lane, Operation::Erase { ranges, durable: false }, &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn reads_are_told_to_who_watches() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let disk = Disk::watched(open_with(&path, |_| {}), move || {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let mut lane = disk.lane(ram()).unwrap();
    one(&mut lane, write_at(0), &[Piece { address: 0, len: 512 }]).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 0);
    one(&mut lane, Operation::Read { offset: 0 }, &[Piece { address: 0, len: 512 }]).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// The kernel's own pattern in flight: lanes are given up in the middle of it again and again.
#[test]
fn after_a_drain_neither_memory_nor_image_change() {
    for way in WAYS {
        let bench = Bench::new(way);
        let ram = ram();
        let mut lane = bench.lane(&ram);
        for round in 0..40u64 {
            ram.write_slice(&vec![round as u8 + 1; 4 << 20], GuestAddress(0)).unwrap();
            for tag in 0..32 {
                let piece = [Piece { address: tag * (64 << 10), len: 64 << 10 }];
                let offset = tag * (64 << 10);
                lane.submit(
                    tag,
                    if tag % 2 == 0 { write_at(offset) } else { Operation::Read { offset } },
                    &piece,
                );
            }
            lane.kick();
            if round % 2 == 0 {
                lane.drain();
                assert_eq!(lane.in_flight(), 0);
            } else {
                drop(std::mem::replace(&mut lane, bench.lane(&ram)));
            }
            let memory = |ram: &GuestRam| {
                let mut all = vec![0; 4 << 20];
                ram.read_slice(&mut all, GuestAddress(0)).unwrap();
                all
            };
            let before = (memory(&ram), std::fs::read(&bench.path).unwrap());
            std::thread::sleep(Duration::from_millis(2));
            assert!(
                before == (memory(&ram), std::fs::read(&bench.path).unwrap()),
                "{way:?} in round {round}"
            );
        }
        // It works afterwards.
        one(&mut lane, write_at(0), &[Piece { address: 0, len: 4096 }]).unwrap();
    }
}

#[test]
fn what_the_kernel_does_not_take_fails_and_holds_up_nothing() {
    let sector = [Piece { address: 0, len: 512 }];
    // An error that may pass, and one that will not.
    for number in [libc::EAGAIN, libc::EBADF] {
        let bench = Bench::new(Way::Cached);
        let mut lane = bench.lane(&ram());
        // With the kernel before, and with the worker.
        for tag in 0..4 {
            lane.submit(tag, write_at(0), &sector);
        }
        assert!(wait(&mut lane, 4).values().all(Result::is_ok));
        let by_ring = lane.answer(number);
        for tag in 0..8 {
            lane.submit(tag, write_at(0), &sector);
        }
        let results = wait(&mut lane, 8);
        let failed: Vec<_> = results.values().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(failed.len(), if by_ring { 4 } else { 0 });
        assert!(failed.iter().all(|error| error.raw_os_error() == Some(number)), "{failed:?}");
        // What follows goes another way.
        for tag in 0..8 {
            lane.submit(tag, write_at(0), &sector);
        }
        assert!(wait(&mut lane, 8).values().all(Result::is_ok));
    }
    let bench = Bench::new(Way::Cached);
    let mut lane = bench.lane(&ram());
    for tag in 0..8 {
        lane.submit(tag, write_at(0), &sector);
    }
    lane.answer(libc::EAGAIN);
    lane.drain();
    assert_eq!(lane.in_flight(), 0);
}

/// Whoever opens the image next does not wait for the kernel to take a ring down.
#[test]
fn an_image_is_free_as_soon_as_its_disk_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    const ROUNDS: usize = 20;
    let free = |_: &usize| {
        let disk = Disk::new(open_with(&path, |_| {}));
        let mut lane = disk.lane(ram()).unwrap();
        lane.be_impatient();
        for tag in 0..4 {
            lane.submit(tag, write_at(0), &[Piece { address: 0, len: 512 }]);
        }
        wait(&mut lane, 4);
        drop((lane, disk));
        let mut options = crate::disk::DiskOptions::new(&path);
        options.format = Some(vocabulary::DiskFormat::Raw);
        crate::disk::open_disk(&options).is_ok()
    };
    let count = (0..ROUNDS).filter(free).count();
    // A program that another test is just starting has all files open until its exec.
    assert!(count > ROUNDS / 2, "{count} of {ROUNDS}");
}

#[test]
fn the_image_is_closed_with_its_last_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "disk.img", "raw", "", SIZE);
    let disk = Disk::new(open_with(&path, |_| {}));
    let mut lane = disk.lane(ram()).unwrap();
    drop(disk);
    lane.submit(0, Operation::Flush, &[]);
    drop(lane);
    // Locked by nobody any more.
    drop(open_with(&path, |_| {}));
    assert_eq!(std::fs::metadata(text(&path)).unwrap().len(), SIZE);
}
