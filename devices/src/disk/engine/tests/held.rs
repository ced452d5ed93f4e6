//! Lanes over an image that takes its time: whom it holds up, and how its requests are given up.

use super::*;

/// A backend that takes its time, counts, and waits where it is held.
struct Slow {
    delay: Duration,
    /// It computes that long, where it would sleep.
    computes: Arc<AtomicBool>,
    /// Calls by the thread of the test.
    own: Arc<AtomicUsize>,
    owner: std::thread::ThreadId,
    calls: Arc<AtomicUsize>,
    fail: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
}

impl Slow {
    fn work(&self) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.own.fetch_add(usize::from(std::thread::current().id() == self.owner), Ordering::SeqCst);
        let begun = Instant::now();
        if self.computes.load(Ordering::SeqCst) {
            while begun.elapsed() < self.delay {
                std::hint::spin_loop();
            }
        } else {
            std::thread::sleep(self.delay);
        }
        let begun = Instant::now();
        while self.held.load(Ordering::SeqCst) {
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        if self.fail.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl BlockBackend for Slow {
    fn size(&self) -> u64 {
        64 << 30
    }
    fn read_only(&self) -> bool {
        false
    }
    fn can_discard(&self) -> bool {
        true
    }
    fn topology(&self) -> Topology {
        Topology { physical_block: 512, optimal_io: 0, discard_granularity: 512 }
    }
    fn read(&mut self, _: u64, _: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.work()
    }
    fn write(&mut self, _: u64, _: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.work()
    }
    fn flush(&mut self) -> io::Result<()> {
        self.work()
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        self.work()
    }
    fn write_zeroes(&mut self, _: u64, _: u64, _: bool) -> io::Result<()> {
        self.work()
    }
}

/// What a test has in its hands of a [`Slow`] disk.
#[derive(Default)]
struct Hold {
    computes: Arc<AtomicBool>,
    own: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    fail: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
}

fn slow(delay: Duration) -> (Disk, Hold) {
    let hold = Hold::default();
    let slow = Slow {
        delay,
        computes: Arc::clone(&hold.computes),
        own: Arc::clone(&hold.own),
        owner: std::thread::current().id(),
        calls: Arc::clone(&hold.calls),
        fail: Arc::clone(&hold.fail),
        held: Arc::clone(&hold.held),
    };
    (Disk::new(Box::new(slow)), hold)
}

#[test]
fn long_requests_are_given_up_between_pieces() {
    let (disk, Hold { calls, held, .. }) = slow(Duration::ZERO);
    let mut lane = disk.lane(ram()).unwrap();
    let pieces = [Piece { address: 0, len: 1 << 20 }; 100];
    let ranges = vec![Erase { offset: 0, len: 32 << 30, how: How::Discard }];
    for operation in [write_at(0), Operation::Erase { ranges, durable: true }] {
        let before = calls.load(Ordering::SeqCst);
        held.store(true, Ordering::SeqCst);
        let pieces = if matches!(operation, Operation::Write { .. }) { &pieces[..] } else { &[] };
        lane.submit(1, operation, pieces);
        lane.submit(2, Operation::Flush, &[]);
        lane.kick();
        while calls.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        lane.cancel();
        held.store(false, Ordering::SeqCst);
        let results = wait(&mut lane, 2);
        assert!(is_cancelled(results[&1].as_ref().unwrap_err()));
        let after = calls.load(Ordering::SeqCst);
        assert!(after <= before + 2, "a piece and the flush may have begun, not {}", after - before);
        // Nothing begins until the lane is told so.
        assert!(is_cancelled(&one(&mut lane, Operation::Flush, &[]).unwrap_err()));
        lane.go_on();
    }
    assert!(one(&mut lane, Operation::Flush, &[]).is_ok());
}

#[test]
fn a_slow_image_holds_up_no_worker() {
    let (disk, Hold { fail, held, .. }) = slow(Duration::from_millis(5));
    let mut lane = disk.lane(ram()).unwrap();
    let sector = [Piece { address: 0, len: 512 }];
    // The first is the worker's own; it learns from that.
    lane.submit(0, write_at(0), &sector);
    held.store(true, Ordering::SeqCst);
    for tag in 1..20 {
        // Were it the worker's own, it would wait, and fail.
        lane.submit(tag, write_at(0), &sector);
    }
    assert_eq!(lane.in_flight(), 20);
    held.store(false, Ordering::SeqCst);
    assert!(wait(&mut lane, 20).values().all(Result::is_ok));
    fail.store(true, Ordering::SeqCst);
    assert_eq!(one(&mut lane, write_at(0), &sector).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(one(&mut lane, Operation::Flush, &[]).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn what_waits_for_a_processor_stays_with_the_worker() {
    let (disk, Hold { computes, own, .. }) = slow(Duration::from_millis(3));
    let mut lane = disk.lane(ram()).unwrap();
    let sector = [Piece { address: 0, len: 512 }];
    let of_ten = |lane: &mut Lane| {
        let before = own.load(Ordering::SeqCst);
        for _ in 0..10 {
            one(lane, write_at(0), &sector).unwrap();
        }
        own.load(Ordering::SeqCst) - before
    };
    computes.store(true, Ordering::SeqCst);
    // Nothing is known of the first: some follow that are others'.
    assert_eq!(of_ten(&mut lane), 1);
    for _ in 0..6 {
        of_ten(&mut lane);
    }
    assert_eq!(of_ten(&mut lane), 10);
    // When it does sleep, that is seen at once.
    computes.store(false, Ordering::SeqCst);
    assert_eq!(of_ten(&mut lane), 1);
}
