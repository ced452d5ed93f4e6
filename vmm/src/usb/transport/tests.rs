//! A device whose host is a script: what it is asked is recorded, and answered when the test says so.

mod anew;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use devices::usb::device::{Completion, Outcome, Setup, Speed, Transfer, Upstream, UsbDevice};

use super::HostDevice;
use super::host::{Ended, Failure, Host, HostError, Pipe, Pipes, Request};

/// What happens between a device and its host.
#[derive(Default)]
struct Wire {
    log: Vec<String>,
    /// Transfers under way, by endpoint; 0 is the control endpoint.
    flying: BTreeMap<u8, (Option<Ended>, Option<Waker>)>,
    /// Fails a transfer at once, from within.
    fails: Option<Failure>,
    /// A driver of the host's has it.
    taken: bool,
    /// Requests that begin so are not answered before the test lets them.
    held: Option<&'static str>,
    answers: Vec<Result<(), HostError>>,
}

#[derive(Clone, Default)]
struct Bench {
    wire: Arc<(Mutex<Wire>, Condvar)>,
}

impl Bench {
    fn lock(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.wire.0.lock().unwrap()
    }

    fn log(&self, what: impl Into<String>) {
        self.lock().log.push(what.into());
        self.wire.1.notify_all();
    }

    /// A request that waits for the device.
    fn wait(&self, what: String) {
        self.log(what.clone());
        let mut wire = self.lock();
        while wire.held.is_some_and(|held| what.starts_with(held)) {
            wire = self.wire.1.wait(wire).unwrap();
        }
    }

    /// One that can fail.
    fn ask(&self, what: String) -> Result<(), HostError> {
        self.wait(what);
        self.lock().answers.pop().unwrap_or(Ok(()))
    }

    fn hold(&self, held: Option<&'static str>) {
        self.lock().held = held;
        self.wire.1.notify_all();
    }

    /// Waits until something has happened, and takes the log up to there.
    fn expect(&self, what: &str) -> Vec<String> {
        let mut wire = self.lock();
        loop {
            if let Some(place) = wire.log.iter().position(|entry| entry == what) {
                return wire.log.drain(..=place).collect();
            }
            let (next, timeout) = self.wire.1.wait_timeout(wire, Duration::from_secs(20)).unwrap();
            assert!(!timeout.timed_out(), "{what} does not happen: {:?}", next.log);
            wire = next;
        }
    }

    /// Ends the transfer of an endpoint.
    fn end(&self, endpoint: u8, ended: Ended) {
        let waker = {
            let mut wire = self.lock();
            let flight = wire.flying.get_mut(&endpoint).expect("a transfer is under way");
            flight.0 = Some(ended);
            flight.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, endpoint: u8, waker: &Waker) -> Option<Ended> {
        let mut wire = self.lock();
        let flight = wire.flying.get_mut(&endpoint)?;
        flight.1 = Some(waker.clone());
        let ended = flight.0.take()?;
        wire.flying.remove(&endpoint);
        Some(ended)
    }
}

struct FakePipe(Bench, u8, u8, Option<Waker>);

impl Pipe for FakePipe {
    fn interface(&self) -> u8 {
        self.2
    }

    fn submit(&mut self, transfer: Transfer) {
        let what = match transfer {
            Transfer::In { length } => length.to_string(),
            Transfer::Out { data } => format!("{data:?}"),
            Transfer::Control { .. } => "of control".to_owned(),
        };
        let failure = self.0.lock().fails;
        let ended = failure.map(Ended::failed);
        assert!(self.0.lock().flying.insert(self.1, (ended, None)).is_none(), "one at a time");
        self.0.log(format!("submit {:#x} {what}", self.1));
        // As nusb does it: whoever waited for the last one is told within the call.
        if let Some(waker) = self.3.take().filter(|_| failure.is_some()) {
            waker.wake();
        }
    }

    fn poll(&mut self, waker: &Waker) -> Option<Ended> {
        self.3 = Some(waker.clone());
        self.0.poll(self.1, waker)
    }

    fn cancel(&mut self) {
        let flies = || self.0.lock().flying.contains_key(&self.1);
        if !flies() {
            return;
        }
        self.0.wait(format!("cancel {:#x}", self.1));
        if flies() {
            self.0.end(self.1, Ended::failed(Failure::Withdrawn));
        }
    }

    fn drain(&mut self, _: Duration) -> bool {
        self.0.lock().flying.remove(&self.1);
        true
    }

    fn clear_halt(&mut self) -> Result<(), HostError> {
        self.0.ask(format!("clear {:#x}", self.1))
    }
}

struct FakeHost(Bench);

impl FakeHost {
    fn pipes(&self, list: &[(u8, u8)]) -> Pipes {
        let pipe = |(address, interface): &(u8, u8)| {
            (*address, Box::new(FakePipe(self.0.clone(), *address, *interface, None)) as Box<dyn Pipe>)
        };
        list.iter().map(pipe).collect()
    }
}

impl Host for FakeHost {
    fn control(&mut self, setup: Setup, data: &[u8]) -> Request {
        self.0.lock().flying.insert(0, (None, None));
        self.0.log(format!("control {:x} {:x} {data:?}", setup.request_type, setup.request));
        let bench = self.0.clone();
        Box::pin(std::future::poll_fn(move |context| match bench.poll(0, context.waker()) {
            Some(ended) => Poll::Ready(ended),
            None => Poll::Pending,
        }))
    }

    fn configure(&mut self, value: u8, fresh: bool) -> Result<Pipes, HostError> {
        self.0.ask(format!("configure {value}{}", if fresh { " fresh" } else { "" }))?;
        Ok(self.pipes(&[(0x81, 0), (0x02, 0), (0x83, 1)]))
    }

    fn set_interface(&mut self, interface: u8, setting: u8) -> Result<Pipes, HostError> {
        self.0.ask(format!("interface {interface} {setting}"))?;
        Ok(self.pipes(&[(0x84, interface)]))
    }

    fn reset(&mut self) -> Result<(), HostError> {
        self.0.ask("reset".into())
    }

    fn keeps(&mut self) -> bool {
        let taken = self.0.lock().taken;
        self.0.log("keeps");
        !taken
    }

    fn release(&mut self) {
        self.0.log("release");
    }
}

/// A controller, which only listens.
struct Listener(Mutex<Sender<u8>>);

impl Upstream for Listener {
    fn finished(&self, endpoint: u8) {
        let _ = self.0.lock().unwrap().send(endpoint);
    }

    fn wake(&self) {}
}

struct Rig {
    bench: Bench,
    device: Arc<HostDevice>,
    news: Receiver<u8>,
    gone: Arc<AtomicUsize>,
}

impl Rig {
    fn new() -> Self {
        let bench = Bench::default();
        let gone = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&gone);
        let on_gone = Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let device =
            HostDevice::with(Box::new(FakeHost(bench.clone())), Speed::High, "a test", on_gone).unwrap();
        let (sender, news) = channel();
        device.connect(Arc::new(Listener(Mutex::new(sender))));
        Self { bench, device, news, gone }
    }

    /// Configured as 1.
    fn configured() -> Self {
        let rig = Self::new();
        assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
        rig.bench.expect("configure 1 fresh");
        rig
    }

    fn request(&self, packet: [u8; 8]) -> Option<Completion> {
        self.device.submit(0, Transfer::Control { setup: Setup::from_bytes(packet), data: Vec::new() })
    }

    /// The end of a transfer that is open.
    fn next(&self, endpoint: u8) -> Completion {
        loop {
            if let Some(completion) = self.device.take(endpoint) {
                return completion;
            }
            self.news.recv_timeout(Duration::from_secs(20)).expect("the device says when it has ended");
        }
    }

    fn control(&self, packet: [u8; 8]) -> Completion {
        self.request(packet).unwrap_or_else(|| self.next(0))
    }

    fn await_gone(&self) {
        for _ in 0..2000 {
            if self.gone.load(Ordering::SeqCst) != 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the device does not say that it is gone");
    }

    fn read(&self, endpoint: u8, length: usize) -> Option<Completion> {
        self.device.submit(endpoint, Transfer::In { length })
    }
}

fn sent(data: &[u8]) -> Ended {
    Ended { result: Ok(()), data: data.to_vec(), taken: 0 }
}

const DESCRIPTOR: [u8; 8] = [0x80, 6, 0, 1, 0, 0, 18, 0];

#[test]
fn transfers_go_to_the_host_and_their_ends_come_back() {
    let rig = Rig::configured();
    assert_eq!(rig.read(0x81, 100), None);
    rig.bench.expect("submit 0x81 100");
    assert_eq!(rig.device.take(0x81), None);
    rig.bench.end(0x81, sent(&[1, 2, 3]));
    assert_eq!(rig.next(0x81), Completion::sent(vec![1, 2, 3]));
    // Nothing, and more than there is room for.
    for (data, outcome, left) in [(0, Outcome::Done, 0), (4, Outcome::Done, 4), (5, Outcome::Babble, 4)] {
        assert_eq!(rig.read(0x81, 4), None);
        rig.bench.end(0x81, sent(&vec![7; data]));
        assert_eq!(rig.next(0x81), Completion { outcome, data: vec![7; left], taken: 0 });
    }
    assert_eq!(rig.device.submit(2, Transfer::Out { data: vec![9, 8] }), None);
    rig.bench.expect("submit 0x2 [9, 8]");
    rig.bench.end(2, Ended { result: Ok(()), data: Vec::new(), taken: 2 });
    assert_eq!(rig.next(2), Completion::took(2));
    for (failure, outcome) in [
        (Failure::Stall, Outcome::Stall),
        (Failure::Fault, Outcome::NoAnswer),
        (Failure::Withdrawn, Outcome::NoAnswer),
        (Failure::Refused(libc::ENOMEM), Outcome::NoAnswer),
    ] {
        assert_eq!(rig.read(0x83, 8), None);
        rig.bench.end(0x83, Ended::failed(failure));
        assert_eq!(rig.next(0x83), Completion::failed(outcome));
    }
    // Endpoints that there are not, and wrong ways.
    for (endpoint, transfer) in [
        (0x82, Transfer::In { length: 1 }),
        (0x01, Transfer::Out { data: Vec::new() }),
        (0x81, Transfer::Control { setup: Setup::default(), data: Vec::new() }),
    ] {
        assert_eq!(rig.device.submit(endpoint, transfer), Some(Completion::failed(Outcome::Stall)));
    }
}

/// nusb calls the waker within the call that fails, with the device's lock held.
#[test]
fn a_transfer_that_the_kernel_refuses_ends_at_once() {
    let rig = Rig::configured();
    assert_eq!(rig.read(0x81, 1), None);
    rig.bench.end(0x81, sent(&[]));
    rig.next(0x81);
    rig.bench.lock().fails = Some(Failure::Refused(libc::ENOMEM));
    assert_eq!(rig.read(0x81, 1), Some(Completion::failed(Outcome::NoAnswer)));
}

#[test]
fn what_is_the_hosts_is_not_forwarded() {
    let rig = Rig::new();
    for packet in [
        [0, 5, 7, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0],
        [0, 3, 48, 0, 0, 0, 0, 0],
        [0, 48, 0, 0, 0, 0, 6, 0],
        [0, 49, 40, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(
            rig.request(packet).map(|completion| completion.outcome),
            Some(Outcome::Done),
            "{packet:x?}"
        );
    }
    assert_eq!(rig.request([0x80, 8, 0, 0, 0, 0, 1, 0]), Some(Completion::sent(vec![0])));
    assert_eq!(rig.read(0x81, 8), Some(Completion::failed(Outcome::Stall)), "it is not configured");
    assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.request([0x80, 8, 0, 0, 0, 0, 1, 0]), Some(Completion::sent(vec![1])));
    assert_eq!(rig.bench.expect("configure 1 fresh"), ["configure 1 fresh"]);
    assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.bench.expect("configure 1").len(), 1, "set again, since it was set");
    assert_eq!(rig.control([1, 11, 2, 0, 1, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.bench.expect("interface 1 2").len(), 1);
    assert_eq!(rig.read(0x83, 8), Some(Completion::failed(Outcome::Stall)), "of the other setting");
    assert_eq!(rig.read(0x84, 8), None);
    assert_eq!(rig.control([2, 1, 0, 0, 0x81, 0, 0, 0]), Completion::took(0));
    rig.bench.expect("clear 0x81");
    assert_eq!(rig.control([2, 1, 0, 0, 0x8f, 0, 0, 0]), Completion::failed(Outcome::Stall));
    assert_eq!(rig.control([2, 1, 0, 0, 0, 0, 0, 0]), Completion::took(0));
    rig.bench.lock().answers.push(Err(HostError::Other("no".into())));
    assert_eq!(rig.control([0, 9, 2, 0, 0, 0, 0, 0]), Completion::failed(Outcome::Stall));
    assert_eq!(rig.control([0, 9, 0, 0, 0, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.request([0x80, 8, 0, 0, 0, 0, 1, 0]), Some(Completion::sent(vec![0])));
}

#[test]
fn the_device_answers_control_transfers_and_may_take_its_time() {
    let rig = Rig::new();
    assert_eq!(rig.request(DESCRIPTOR), None);
    rig.bench.expect("control 80 6 []");
    assert_eq!(rig.device.take(0), None);
    rig.bench.end(0, sent(&[18, 1]));
    assert_eq!(rig.next(0), Completion::sent(vec![18, 1]));
    // One that hangs is withdrawn at once, and the next is asked.
    assert_eq!(rig.request(DESCRIPTOR), None);
    rig.bench.expect("control 80 6 []");
    rig.device.cancel(0);
    assert_eq!(rig.request([0xc0, 7, 0, 0, 0, 0, 1, 0]), None);
    rig.bench.expect("control c0 7 []");
    rig.bench.end(0, Ended::failed(Failure::Stall));
    assert_eq!(rig.next(0), Completion::failed(Outcome::Stall));
    assert_eq!(rig.device.take(0), None);
}

/// The kernel waits for the host's controller, and the guest does not.
#[test]
fn withdrawing_waits_for_nobody_and_loses_nothing() {
    let rig = Rig::configured();
    rig.bench.hold(Some("cancel"));
    assert_eq!(rig.read(0x81, 8), None);
    rig.device.cancel(0x81);
    rig.bench.expect("cancel 0x81");
    // What the guest wants meanwhile, here and elsewhere, waits for it.
    assert_eq!(rig.read(0x81, 8), None);
    assert_eq!(rig.device.submit(2, Transfer::Out { data: vec![1] }), None);
    assert_eq!(rig.read(0x83, 4), None);
    rig.device.cancel(0x83);
    assert!(rig.bench.lock().log.is_empty());
    rig.bench.hold(None);
    let log = [rig.bench.expect("submit 0x2 [1]"), rig.bench.expect("submit 0x81 8")].concat();
    assert_eq!(log.len(), 2, "{log:?}");
    rig.bench.end(0x81, sent(&[5]));
    assert_eq!(rig.next(0x81), Completion::sent(vec![5]));

    // It had ended when it was withdrawn: what came belongs to the next, in parts if that is smaller.
    assert_eq!(rig.read(0x81, 8), None);
    rig.bench.end(0x81, sent(&[1, 2, 3]));
    rig.device.cancel(0x81);
    assert_eq!(rig.read(0x81, 2), Some(Completion::sent(vec![1, 2])));
    assert_eq!(rig.read(0x81, 2), Some(Completion::sent(vec![3])));
    assert_eq!(rig.read(0x81, 2), None);
    rig.device.cancel(0x81);
    rig.device.cancel(0x81);
}

#[test]
fn a_transfer_is_withdrawn_while_the_device_hangs_in_a_control_transfer() {
    let rig = Rig::configured();
    assert_eq!(rig.read(0x81, 8), None);
    assert_eq!(rig.request(DESCRIPTOR), None);
    rig.bench.expect("control 80 6 []");
    rig.device.cancel(0x81);
    rig.bench.expect("cancel 0x81");
    rig.bench.end(0, sent(&[]));
    assert_eq!(rig.next(0), Completion::sent(Vec::new()));
}

#[test]
fn transfers_end_though_the_worker_is_elsewhere() {
    let rig = Rig::configured();
    assert_eq!(rig.read(0x81, 8), None);
    rig.bench.hold(Some("clear"));
    assert_eq!(rig.request([2, 1, 0, 0, 0x81, 0, 0, 0]), None);
    rig.bench.expect("clear 0x81");
    // The worker has the endpoint while its transfer ends.
    rig.bench.end(0x81, sent(&[6]));
    assert_eq!(rig.device.take(0x81), None);
    rig.bench.hold(None);
    assert_eq!(rig.next(0x81), Completion::sent(vec![6]));
    assert_eq!(rig.next(0), Completion::took(0));
}

#[test]
fn a_reset_of_the_port_resets_a_device_that_was_used() {
    let rig = Rig::new();
    rig.device.reset();
    assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.bench.expect("configure 1 fresh").len(), 1, "it was not used");
    assert_eq!(rig.read(0x81, 8), None);
    rig.device.reset();
    assert_eq!(rig.device.take(0x81), None);
    assert_eq!(rig.read(0x81, 8), Some(Completion::failed(Outcome::Stall)));
    rig.bench.expect("reset");
    rig.device.reset();
    assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.bench.expect("configure 1 fresh").len(), 1, "only once");
    // A reset while the configuration is set: the endpoints are not there.
    rig.device.reset();
    rig.bench.expect("reset");
    rig.bench.hold(Some("configure"));
    assert_eq!(rig.request([0, 9, 1, 0, 0, 0, 0, 0]), None);
    rig.bench.expect("configure 1 fresh");
    rig.device.reset();
    rig.bench.hold(None);
    rig.bench.expect("reset");
    assert_eq!(rig.device.take(0), None);
    assert_eq!(rig.read(0x81, 8), Some(Completion::failed(Outcome::Stall)));
    // A device that does not come back from it works on.
    assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
    rig.bench.lock().answers.push(Err(HostError::Other("no".into())));
    rig.device.reset();
    rig.bench.expect("reset");
    assert_eq!(rig.control([0, 9, 1, 0, 0, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.gone.load(Ordering::SeqCst), 0);
}

#[test]
fn a_device_that_is_gone_says_so_once() {
    let rig = Rig::configured();
    assert_eq!((rig.read(0x81, 8), rig.read(0x83, 8)), (None, None));
    for endpoint in [0x81, 0x83] {
        rig.bench.end(endpoint, Ended::failed(Failure::Gone));
        assert_eq!(rig.next(endpoint), Completion::failed(Outcome::NoAnswer));
    }
    rig.await_gone();
    assert_eq!(rig.request(DESCRIPTOR), Some(Completion::failed(Outcome::NoAnswer)));
    assert_eq!(rig.read(0x81, 8), Some(Completion::failed(Outcome::NoAnswer)));
    rig.device.disconnect();
    assert!(rig.device.close());
    assert_eq!(rig.gone.load(Ordering::SeqCst), 1);
}

/// While the host slept its port has lost power, and the host's driver has it.
#[test]
fn what_a_driver_has_taken_is_gone() {
    let rig = Rig::configured();
    rig.device.check();
    rig.bench.expect("keeps");
    assert_eq!(rig.read(0x81, 8), None);
    rig.bench.lock().taken = true;
    // One look answers all who have asked by then.
    rig.bench.hold(Some("clear"));
    assert_eq!(rig.request([2, 1, 0, 0, 2, 0, 0, 0]), None);
    rig.bench.expect("clear 0x2");
    rig.device.check();
    rig.device.check();
    assert_eq!(rig.gone.load(Ordering::SeqCst), 0);
    rig.bench.hold(None);
    rig.await_gone();
    assert_eq!(rig.read(0x83, 8), Some(Completion::failed(Outcome::NoAnswer)));
    assert!(rig.device.close());
    let log = rig.bench.expect("release");
    assert_eq!(log.iter().filter(|what| *what == "keeps").count(), 1, "{log:?}");
    assert_eq!(rig.gone.load(Ordering::SeqCst), 1);
}

#[test]
fn closing_withdraws_everything_and_gives_the_device_back() {
    let rig = Rig::configured();
    assert_eq!((rig.read(0x81, 8), rig.request(DESCRIPTOR)), (None, None));
    rig.bench.expect("control 80 6 []");
    rig.device.disconnect();
    // The worker may be at a request that the kernel does not end, and goes on when it does.
    rig.bench.hold(Some("cancel"));
    assert!(!rig.device.close_within(Duration::from_millis(20)));
    rig.bench.hold(None);
    assert!(rig.device.close());
    assert!(rig.bench.expect("release").contains(&"cancel 0x81".to_owned()));
    assert!(rig.device.close());
    assert_eq!(rig.request(DESCRIPTOR), Some(Completion::failed(Outcome::NoAnswer)));
    drop(rig.device);
    assert!(rig.bench.lock().log.is_empty());
    // Dropping is closing.
    let rig = Rig::new();
    drop(rig.device);
    rig.bench.expect("release");
}
