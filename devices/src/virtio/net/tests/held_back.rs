//! Frames that a peer has taken and not passed on yet, when the driver's part is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::sockopt::set_socket_send_buffer_size;

use super::handed_over::bus_master;
use super::*;

/// The other side gets the end of a frame, whatever the driver does meanwhile, and nothing that was not sent.
#[test]
fn without_bus_mastering_what_was_sent_goes_on() {
    const FRAMES: u16 = 12;
    let (ours, theirs) = UnixStream::pair().unwrap();
    // Two or three frames.
    set_socket_send_buffer_size(&ours, 4096).unwrap();
    let mut guest = Guest::new(Box::new(StreamPeer::new(ours, 1518).unwrap()), BASIC);
    guest.driver.ram.write_slice(&frame(MAC, 1514), GuestAddress(DATA + 12)).unwrap();
    for _ in 0..FRAMES {
        guest.offer(1, &[(DATA, 1526, 0)]);
    }
    let mut sent = 0;
    while sent == 0 || sent != guest.used_index(1) {
        sent = guest.used_index(1);
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    bus_master(&guest, false);
    // It may have gone on before that.
    sent = guest.used_index(1);
    assert!(sent < FRAMES);
    let mut peer = StreamPeer::new(theirs, 1518).unwrap();
    for _ in 0..sent {
        assert_eq!(receive(&mut peer), frame(MAC, 1514));
    }
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(peer.receive().unwrap().is_none(), "a frame was read without bus mastering");
    bus_master(&guest, true);
    for _ in sent..FRAMES {
        assert_eq!(receive(&mut peer), frame(MAC, 1514));
    }
}

/// Holds back what it gets until it may pass it on, of which its descriptor tells nobody.
#[derive(Debug)]
struct Holding {
    silent: UnixStream,
    holds: Arc<AtomicBool>,
    may: Arc<AtomicBool>,
    /// How often it was asked to.
    asked: Arc<AtomicUsize>,
}

impl Peer for Holding {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.silent.as_fd()
    }

    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>> {
        Ok(None)
    }

    fn consume(&mut self) {}

    fn send(&mut self, _frames: &[Outgoing<'_>]) -> io::Result<Sent> {
        self.holds.store(true, Ordering::SeqCst);
        Ok(Sent::All)
    }

    fn is_blocked(&self) -> bool {
        self.holds.load(Ordering::SeqCst)
    }

    fn unblock(&mut self) -> io::Result<()> {
        self.holds.fetch_and(!self.may.load(Ordering::SeqCst), Ordering::SeqCst);
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_reset_leaves_nothing_behind_that_the_other_side_takes() {
    let (mut silent, _unread) = UnixStream::pair().unwrap();
    silent.set_nonblocking(true).unwrap();
    while io::Write::write(&mut silent, &[0; 4096]).is_ok() {}
    let (holds, may) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let asked = Arc::new(AtomicUsize::new(0));
    let peer =
        Holding { silent, holds: Arc::clone(&holds), may: Arc::clone(&may), asked: Arc::clone(&asked) };
    let mut guest = Guest::new(Box::new(peer), BASIC);
    guest.send(Header::default(), &frame(MAC, 60));
    // One that takes nothing does not hold the driver up for long.
    let begun = Instant::now();
    guest.driver.set_status(0);
    assert!(begun.elapsed() < PATIENCE && holds.load(Ordering::SeqCst));
    let before = asked.load(Ordering::SeqCst);
    guest.start(BASIC);
    let deadline = Instant::now() + PATIENCE;
    while asked.load(Ordering::SeqCst) == before {
        assert!(Instant::now() < deadline, "the next worker does not look after it");
        std::thread::yield_now();
    }
    // The worker has asked in vain, and sleeps.
    std::thread::sleep(std::time::Duration::from_millis(30));
    may.store(true, Ordering::SeqCst);
    guest.driver.set_status(0);
    assert!(!holds.load(Ordering::SeqCst), "it is left behind");
}
