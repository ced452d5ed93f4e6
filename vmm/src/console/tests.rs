//! Consoles over real files, sockets and pseudoterminals.

mod input;
mod output;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_manager::{EventManager, SubscriberOps};
use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;

const LONG: Duration = Duration::from_secs(10);

type Manager = EventManager<Box<dyn MutEventSubscriber + Send>>;

fn open(spec: &ConsoleSpec) -> Console {
    Console::open(spec, true, "serial port", None, &EventLog::disabled()).unwrap()
}

/// A receive FIFO of 16 bytes, as the 16550 has, whose guest reads when told.
struct Fifo {
    state: Mutex<(Vec<u8>, Vec<u8>)>,
    room: EventFd,
}

impl Fifo {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room: EventFd::new(EFD_NONBLOCK).unwrap() })
    }

    fn room(&self) -> EventFd {
        self.room.try_clone().unwrap()
    }

    /// The guest reads all there is. Returns everything it has ever read.
    fn drain(&self) -> Vec<u8> {
        let mut state = self.state.lock().unwrap();
        let (fifo, read) = &mut *state;
        if !fifo.is_empty() {
            read.append(fifo);
            self.room.write(1).unwrap();
        }
        read.clone()
    }
}

impl InputSink for Fifo {
    fn accept(&self, data: &[u8]) -> usize {
        let fifo = &mut self.state.lock().unwrap().0;
        let taken = data.len().min(16 - fifo.len());
        fifo.extend_from_slice(&data[..taken]);
        taken
    }
}

/// An event loop with the input of `console`.
fn attach(console: &mut Console, fifo: &Arc<Fifo>) -> (Manager, std::sync::mpsc::Receiver<Key>) {
    let (sender, keys) = std::sync::mpsc::channel();
    let sink: Arc<dyn InputSink> = Arc::<Fifo>::clone(fifo);
    let subscriber = console.subscriber(sink, fifo.room(), move |key| sender.send(key).unwrap());
    let mut manager = Manager::new().unwrap();
    manager.add_subscriber(subscriber.unwrap().unwrap());
    (manager, keys)
}

/// Runs the event loop until something holds.
fn run_until(manager: &mut Manager, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        manager.run_with_timeout(10).unwrap();
    }
}

/// Handles what the kernel has to tell already, as it has of sockets and pipes when a call returns. What a terminal is
/// written arrives later: see [`run_until`].
fn settle(manager: &mut Manager) {
    let mut rounds = 0;
    while manager.run_with_timeout(0).unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 1000, "the event loop spins");
    }
}

/// Waits until a device of `console` waits for room.
fn await_blocked(console: &Console) {
    let deadline = Instant::now() + LONG;
    while !console.channel.is_blocked() {
        assert!(Instant::now() < deadline, "the device never waits");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a console, which does not wait for ever.
fn assert_finishes(console: Console) {
    let (done, finished) = std::sync::mpsc::channel();
    thread::spawn(move || {
        console.finish();
        done.send(()).unwrap();
    });
    finished.recv_timeout(LONG).unwrap();
}

fn read_exactly(fd: &OwnedFd, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut count = 0;
    while count < length {
        let got = rustix::io::read(fd, &mut bytes[count..]).unwrap();
        assert!(got > 0, "ended after {count} of {length} bytes");
        count += got;
    }
    bytes
}
