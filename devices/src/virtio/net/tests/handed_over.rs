//! Rings in the hands of the kernel, whose part the test plays: it signals, uses chains and says how far it has come.

use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::net::{KernelRing, KernelWorker, NotStarted, VhostError};
use crate::pci::PciFunction as _;
use crate::pci::config::command;

/// What the kernel was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// To begin, with the available rings' next entries.
    Start([u16; 2]),
    /// To signal something else for this ring.
    Call(usize),
    Stop,
}

#[derive(Debug, Default)]
struct Kernel {
    told: Vec<Told>,
    features: u64,
    /// Where it was at each stop.
    next: [u16; 2],
    /// Events of both rings.
    kick: Vec<EventFd>,
    call: Vec<EventFd>,
    error: Vec<EventFd>,
    /// It does not take rings.
    refuses: bool,
    /// It has come so far when it finds that it cannot take both rings.
    fails_after: Option<[u16; 2]>,
    /// The peer says that there is no such worker now.
    away: bool,
}

#[derive(Debug)]
struct Handing {
    able: Able,
    kernel: Arc<Mutex<Kernel>>,
}

impl Peer for Handing {
    fn offloads(&self) -> Offloads {
        self.able.offloads()
    }

    fn accept(&mut self, offloads: Offloads) {
        self.able.accept(offloads);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.able.descriptor()
    }

    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>> {
        self.able.receive()
    }

    fn consume(&mut self) {
        self.able.consume();
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<Sent> {
        self.able.send(frames)
    }

    fn in_kernel(&mut self) -> Option<&mut dyn KernelWorker> {
        let away = self.kernel.lock().unwrap().away;
        (!away).then_some(self as _)
    }
}

impl KernelWorker for Handing {
    fn start(
        &mut self,
        _ram: &crate::GuestRam,
        features: u64,
        rings: [KernelRing<'_>; 2],
    ) -> Result<(), NotStarted> {
        let mut kernel = self.kernel.lock().unwrap();
        if kernel.refuses {
            return Err(VhostError::Lacks(0).into());
        }
        let of = |event: fn(&KernelRing<'_>) -> EventFd| rings.iter().map(event).collect::<Vec<_>>();
        kernel.kick = of(|ring| ring.kick.try_clone().unwrap());
        kernel.call = of(|ring| ring.call.try_clone().unwrap());
        kernel.error = of(|ring| ring.error.try_clone().unwrap());
        kernel.features = features;
        kernel.next = rings.map(|ring| ring.next);
        kernel.told.push(Told::Start(rings.map(|ring| ring.next)));
        match kernel.fails_after {
            Some(next) => {
                kernel.next = next;
                Err(NotStarted { error: VhostError::Lacks(0), begun: true })
            }
            None => Ok(()),
        }
    }

    fn set_call(&mut self, ring: usize, call: &EventFd) -> Result<(), VhostError> {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.call[ring] = call.try_clone().unwrap();
        kernel.told.push(Told::Call(ring));
        Ok(())
    }

    fn stop(&mut self) -> Result<[u16; 2], VhostError> {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.told.push(Told::Stop);
        Ok(kernel.next)
    }
}

/// A card whose frames the kernel can move, the kernel, and what this program has done with frames.
fn with_kernel(features: u64) -> (Guest, Arc<Mutex<Kernel>>, Arc<Mutex<Log>>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (log, kernel) = (Arc::new(Mutex::new(Log::default())), Arc::new(Mutex::new(Kernel::default())));
    let able = Able::new(&log, ours);
    let guest = Guest::new(Box::new(Handing { able, kernel: Arc::clone(&kernel) }), features);
    (guest, kernel, log, theirs)
}

fn wait(kernel: &Mutex<Kernel>, what: &str, done: impl Fn(&Kernel) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(&kernel.lock().unwrap()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", kernel.lock().unwrap().told);
        std::thread::yield_now();
    }
}

fn wait_told(kernel: &Mutex<Kernel>, wanted: &[Told]) {
    wait(kernel, &format!("not {wanted:?}"), |kernel| kernel.told == wanted);
}

pub(super) fn bus_master(guest: &Guest, on: bool) {
    let master = if on { command::BUS_MASTER } else { 0 };
    guest.driver.config_write(0x04, &(command::MEMORY | master).to_le_bytes());
}

/// Uses the next chain of a ring as the kernel would.
fn use_chain(guest: &Guest, kernel: &Mutex<Kernel>, ring: u16) {
    let index = usize::from(ring);
    let used = guest.used_index(index);
    let ram = &guest.driver.ram;
    let base = Guest::base(ring);
    let next = kernel.lock().unwrap().next[index];
    let head: u16 = ram.read_obj(GuestAddress(base + 0x804 + 2 * u64::from(next % SIZE))).unwrap();
    ram.write_obj(u32::from(head), GuestAddress(base + 0x1004 + 8 * u64::from(used % SIZE))).unwrap();
    ram.write_obj(used.wrapping_add(1), GuestAddress(base + 0x1002)).unwrap();
    kernel.lock().unwrap().next[index] = next.wrapping_add(1);
}

#[test]
fn the_kernel_has_the_rings_and_the_doorbells() {
    let (mut guest, kernel, log, _wake) = with_kernel(BASIC | feature::MRG_RXBUF);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    assert_eq!(kernel.lock().unwrap().features & feature::MRG_RXBUF, feature::MRG_RXBUF);
    let kick = kernel.lock().unwrap().kick[1].try_clone().unwrap();
    // It is rung once for what came before.
    assert_eq!(kick.read().unwrap(), 1);
    guest.offer(1, &[(DATA, 72, 0)]);
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(kick.read().unwrap(), 1, "the card has answered a doorbell that is not its own");
    assert!(log.lock().unwrap().sent.is_empty());
    // Commands are the card's.
    assert_eq!(guest.command(&[0, 0, 0]), 0);
    assert_eq!(kernel.lock().unwrap().told.len(), 1);
}

#[test]
fn without_a_link_frames_are_dropped_here_from_where_the_kernel_was() {
    let (mut guest, kernel, log, _wake) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    for _ in 0..3 {
        guest.offer(1, &[(DATA, 72, 0)]);
    }
    use_chain(&guest, &kernel, 1);
    use_chain(&guest, &kernel, 1);
    guest.cable.set_wanted(false);
    for _ in 0..3 {
        guest.used(1);
    }
    assert_eq!(guest.cable.sent.totals().dropped, 1);
    guest.cable.set_wanted(true);
    wait_told(&kernel, &[Told::Start([0, 0]), Told::Stop, Told::Start([0, 3])]);
    assert!(log.lock().unwrap().sent.is_empty());
}

/// The write that disables bus mastering returns after the kernel has stopped.
#[test]
fn bus_mastering_ends_what_the_kernel_does() {
    let (guest, kernel, ..) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    for round in 1..=20 {
        bus_master(&guest, false);
        assert_eq!(kernel.lock().unwrap().told.last(), Some(&Told::Stop));
        bus_master(&guest, true);
        wait(&kernel, "no start", |kernel| kernel.told.len() == 2 * round + 1);
    }
    assert_eq!(kernel.lock().unwrap().told.last(), Some(&Told::Start([0, 0])));
}

#[test]
fn interrupts_take_the_drivers_way() {
    let (guest, kernel, ..) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    let signal = |ring: usize| kernel.lock().unwrap().call[ring].write(1).unwrap();
    let high = || guest.driver.line.high.load(std::sync::atomic::Ordering::SeqCst);
    // INTx, through this program.
    signal(1);
    let deadline = Instant::now() + PATIENCE;
    while !high() {
        assert!(Instant::now() < deadline, "no interrupt");
        std::thread::yield_now();
    }
    let mut isr = [0];
    guest.driver.read(3, 0, &mut isr);
    assert!(isr == [1] && !high());
    // MSI-X, whose vector 1 becomes that of ring 0: the kernel signals it by itself.
    guest.driver.use_msix();
    wait(&kernel, "no other way", |kernel| kernel.told.last() == Some(&Told::Call(0)));
    // What might have been missed.
    guest.driver.wait_vector(1);
    signal(0);
    assert_eq!(guest.driver.vectors[1].event.read().unwrap(), 1);
    signal(1);
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!high() && guest.driver.vectors[1].event.read().is_err(), "ring 1 has no vector");
    // And back.
    let capability = guest.driver.capabilities(0x11)[0];
    guest.driver.config_write(capability + 2, &0u16.to_le_bytes());
    let calls = |kernel: &Kernel| kernel.told.iter().filter(|told| **told == Told::Call(0)).count();
    wait(&kernel, "no way back", |kernel| calls(kernel) == 2);
    signal(0);
    while !high() {
        assert!(Instant::now() < deadline, "no interrupt");
        std::thread::yield_now();
    }
}

#[test]
fn a_vector_that_was_there_before_is_the_kernels_from_the_start() {
    let (mut guest, kernel, ..) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    guest.set_up(BASIC);
    guest.driver.use_msix();
    guest.driver.set_status(15);
    wait(&kernel, "no second start", |kernel| kernel.told.ends_with(&[Told::Stop, Told::Start([0, 0])]));
    kernel.lock().unwrap().call[0].write(1).unwrap();
    assert_eq!(guest.driver.vectors[1].event.read().unwrap(), 1);
}

#[test]
fn a_reset_stops_the_kernel_before_it_is_done() {
    let (mut guest, kernel, ..) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    guest.offer(1, &[(DATA, 72, 0)]);
    use_chain(&guest, &kernel, 1);
    guest.driver.set_status(0);
    assert_eq!(kernel.lock().unwrap().told, [Told::Start([0, 0]), Told::Stop]);
    guest.start(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0]), Told::Stop, Told::Start([0, 0])]);
    // So does a reset of the function.
    guest.driver.function.reset();
    assert_eq!(kernel.lock().unwrap().told.last(), Some(&Told::Stop));
}

#[test]
fn what_the_kernel_does_not_take_is_done_here() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let (log, kernel) = (Arc::new(Mutex::new(Log::default())), Arc::new(Mutex::new(Kernel::default())));
    kernel.lock().unwrap().refuses = true;
    let able = Able::new(&log, ours);
    let mut guest = Guest::new(Box::new(Handing { able, kernel: Arc::clone(&kernel) }), BASIC);
    guest.send(Header::default(), &frame(MAC, 60));
    assert_eq!(log.lock().unwrap().sent.len(), 1);
    assert!(kernel.lock().unwrap().told.is_empty());
    // The next driver's rings may be others.
    kernel.lock().unwrap().refuses = false;
    guest.start(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
}

#[test]
fn what_the_kernel_has_begun_is_gone_on_with_here() {
    let (mut guest, kernel, log, _wake) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    bus_master(&guest, false);
    for _ in 0..3 {
        guest.offer(1, &[(DATA, 72, 0)]);
    }
    use_chain(&guest, &kernel, 1);
    use_chain(&guest, &kernel, 1);
    // As if it had used them in its second attempt.
    kernel.lock().unwrap().fails_after = Some([0, 2]);
    kernel.lock().unwrap().told.clear();
    bus_master(&guest, true);
    for _ in 0..3 {
        guest.used(1);
    }
    assert_eq!(kernel.lock().unwrap().told, [Told::Start([0, 0]), Told::Stop]);
    assert_eq!(log.lock().unwrap().sent.len(), 1);
}

#[test]
fn a_ring_in_two_pieces_of_memory_is_served_here() {
    let (mut guest, kernel, log, _wake) = with_kernel(BASIC);
    guest.set_up(BASIC);
    // Where two regions of the host's memory meet.
    guest.driver.write(1, 0x16, &0u16.to_le_bytes());
    guest.driver.set_status(0);
    let place = (1u64 << 20) - 0x10;
    assert!(guest.driver.negotiate(BASIC | transport::VERSION_1));
    for index in 0..3u16 {
        guest.rings[usize::from(index)] = Ring { index, ..Ring::default() };
        let base = Guest::base(index);
        guest.driver.ram.write_slice(&[0; APART as usize], GuestAddress(base)).unwrap();
        guest.driver.write(1, 0x16, &index.to_le_bytes());
        guest.driver.write(1, 0x18, &SIZE.to_le_bytes());
        let descriptors = if index == 0 { place } else { base };
        for (register, at) in [(0x20, descriptors), (0x28, base + 0x800), (0x30, base + 0x1000)] {
            guest.driver.write(1, register, &at.to_le_bytes());
        }
        guest.driver.write(1, 0x1c, &1u16.to_le_bytes());
    }
    let before = kernel.lock().unwrap().told.len();
    guest.driver.set_status(15);
    guest.send(Header::default(), &frame(MAC, 60));
    assert_eq!(log.lock().unwrap().sent.len(), 1);
    assert_eq!(kernel.lock().unwrap().told.len(), before);
}

#[test]
fn a_ring_that_the_kernel_finds_malformed_is_judged_here() {
    let (mut guest, kernel, log, _wake) = with_kernel(BASIC);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    guest.driver.ram.write_slice(&frame(MAC, 60), GuestAddress(DATA + 12)).unwrap();
    guest.offer(1, &[(DATA, 72, 0)]);
    kernel.lock().unwrap().error[1].write(1).unwrap();
    guest.used(1);
    assert_eq!(kernel.lock().unwrap().told, [Told::Start([0, 0]), Told::Stop]);
    assert_eq!(log.lock().unwrap().sent.len(), 1);
    assert_eq!(guest.driver.status() & 64, 0, "there was nothing wrong with it");
    assert!(!guest.cable.is_moved_by_kernel());
    guest.start(BASIC);
    wait(&kernel, "no second attempt", |kernel| kernel.told.len() == 3);
    assert!(guest.cable.is_moved_by_kernel());
}

/// Buffers that wait for the rest of a frame are the kernel's again.
#[test]
fn chains_in_hand_are_put_back() {
    let (ours, mut wake) = UnixStream::pair().unwrap();
    let (log, kernel) = (Arc::new(Mutex::new(Log::default())), Arc::new(Mutex::new(Kernel::default())));
    let able = Able::new(&log, ours);
    let mut guest =
        Guest::new(Box::new(Handing { able, kernel: Arc::clone(&kernel) }), BASIC | feature::MRG_RXBUF);
    wait_told(&kernel, &[Told::Start([0, 0])]);
    // Work goes on without the kernel.
    bus_master(&guest, false);
    kernel.lock().unwrap().away = true;
    bus_master(&guest, true);
    log.lock().unwrap().busy = true;
    guest.offer(0, &[(DATA, 200, WRITE)]);
    guest.offer(0, &[(DATA, 200, WRITE)]);
    guest.offer(1, &[(DATA, 72, 0)]);
    log.lock().unwrap().incoming.push((Header::default(), frame(MAC, 1000)));
    io::Write::write_all(&mut wake, &[1]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !log.lock().unwrap().incoming.is_empty() {
        assert!(Instant::now() < deadline, "the frame is not looked at");
        std::thread::yield_now();
    }
    bus_master(&guest, false);
    kernel.lock().unwrap().away = false;
    bus_master(&guest, true);
    wait_told(&kernel, &[Told::Start([0, 0]), Told::Stop, Told::Start([0, 0])]);
    assert_eq!((guest.used_index(0), guest.used_index(1)), (0, 0));
    assert_eq!(guest.cable.received.totals().dropped, 1);
}
