//! The card through its bus: a driver with a queue for commands and one or several pairs of others on one side, frames over a socket or a
//! peer of the test's on the other.

mod handed_over;
mod held_back;
mod lull;
mod several;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use super::*;
use crate::net::cable::Cable;
use crate::net::header::{self, Header};
use crate::net::stream::StreamPeer;
use crate::net::{Incoming, MOST_PIECES, Offloads, Outgoing, Peer, Sent};
use crate::virtio::feature as transport;
use crate::virtio::testing::{DATA, Driver, INDIRECT, NEXT, PATIENCE, WRITE};

const MAC: Mac = [0x52, 0x54, 0, 1, 2, 3];
/// Entries of a ring, and its distance from the next one.
const SIZE: u16 = 16;
const APART: u64 = 0x2000;
const ALL: Offloads = Offloads { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };

/// What a peer has done or is to do.
#[derive(Debug, Default)]
struct Log {
    sent: Vec<(Header, Vec<u8>)>,
    accepted: Vec<Offloads>,
    incoming: Vec<(Header, Vec<u8>)>,
    /// Sends are to be tried again later.
    busy: bool,
    /// When the card last asked for what is held back: in each turn, once it has looked at the driver's frames.
    asked: Option<Instant>,
    /// Whether frames are to come, each time that this was told.
    active: Vec<bool>,
}

/// A peer that can do everything. A socket wakes the card.
#[derive(Debug)]
struct Able {
    log: Arc<Mutex<Log>>,
    wake: UnixStream,
    /// The next frame, once it was looked at.
    next: Option<(Header, Vec<u8>)>,
}

impl Able {
    fn new(log: &Arc<Mutex<Log>>, wake: UnixStream) -> Self {
        wake.set_nonblocking(true).unwrap();
        Self { log: Arc::clone(log), wake, next: None }
    }
}

/// The bytes of a frame of the driver's.
fn content(frame: &Outgoing<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in frame.pieces {
        let mut copy = vec![0; piece.len()];
        piece.copy_to(&mut copy);
        bytes.extend(copy);
    }
    assert_eq!(bytes.len(), frame.len);
    bytes
}

impl Peer for Able {
    fn offloads(&self) -> Offloads {
        ALL
    }

    fn accept(&mut self, offloads: Offloads) {
        self.log.lock().unwrap().accepted.push(offloads);
    }

    fn set_active(&mut self, active: bool) {
        self.log.lock().unwrap().active.push(active);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>> {
        let mut log = self.log.lock().unwrap();
        if self.next.is_none() && !log.incoming.is_empty() {
            self.next = Some(log.incoming.remove(0));
        }
        if self.next.is_none() {
            let _ = io::Read::read(&mut self.wake, &mut [0; 16]);
        }
        Ok(self.next.as_ref().map(|(header, frame)| Incoming { header: *header, frame }))
    }

    fn consume(&mut self) {
        self.next = None;
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<Sent> {
        let mut log = self.log.lock().unwrap();
        if log.busy {
            return Ok(Sent::Later(0));
        }
        log.sent.extend(frames.iter().map(|frame| (frame.header, content(frame))));
        Ok(Sent::All)
    }

    fn is_blocked(&self) -> bool {
        self.log.lock().unwrap().asked = Some(Instant::now());
        false
    }
}

/// A driver's ring.
#[derive(Debug, Clone, Copy, Default)]
struct Ring {
    index: u16,
    next: u16,
    avail: u16,
    used: u16,
}

struct Guest {
    driver: Driver,
    cable: Arc<Cable>,
    rings: Vec<Ring>,
}

impl Guest {
    fn new(peer: Box<dyn Peer>, features: u64) -> Self {
        Self::of_cable(Cable::new(peer, true).unwrap(), features, 3)
    }

    /// With the first `rings` of the card's queues. The last of them is for commands.
    fn of_cable(cable: Arc<Cable>, features: u64, rings: u16) -> Self {
        let driver = Driver::new(VirtioNet::new(Arc::clone(&cable), MAC, 1500, true));
        let rings = (0..rings).map(|index| Ring { index, ..Ring::default() }).collect();
        let mut guest = Self { driver, cable, rings };
        guest.start(features);
        guest
    }

    fn start(&mut self, features: u64) {
        self.set_up(features);
        self.driver.set_status(15);
    }

    /// All up to DRIVER_OK.
    fn set_up(&mut self, features: u64) {
        assert!(self.driver.negotiate(features | transport::VERSION_1));
        for ring in &mut self.rings {
            *ring = Ring { index: ring.index, ..Ring::default() };
            let base = Self::base(ring.index);
            self.driver.ram.write_slice(&[0; APART as usize], GuestAddress(base)).unwrap();
            self.driver.write(1, 0x16, &ring.index.to_le_bytes());
            self.driver.write(1, 0x18, &SIZE.to_le_bytes());
            for (register, at) in [(0x20, base), (0x28, base + 0x800), (0x30, base + 0x1000)] {
                self.driver.write(1, register, &at.to_le_bytes());
            }
            self.driver.write(1, 0x1c, &1u16.to_le_bytes());
        }
    }

    fn base(ring: u16) -> u64 {
        0x1000 + APART * u64::from(ring)
    }

    /// Makes a chain of (address, length, flags) available and rings.
    fn offer(&mut self, ring: usize, buffers: &[(u64, u32, u16)]) {
        self.make_available(ring, buffers);
        self.ring(ring);
    }

    fn ring(&mut self, ring: usize) {
        let index = self.rings[ring].index;
        self.driver.write(2, 4 * u64::from(index), &index.to_le_bytes());
    }

    fn make_available(&mut self, ring: usize, buffers: &[(u64, u32, u16)]) {
        let ring = &mut self.rings[ring];
        let base = Self::base(ring.index);
        let head = ring.next;
        for (at, &(address, len, flags)) in buffers.iter().enumerate() {
            let index = ring.next;
            ring.next = (index + 1) % SIZE;
            let flags = if at + 1 < buffers.len() { flags | NEXT } else { flags };
            self.driver.describe(base, index, address, len, flags, ring.next);
        }
        let slot = base + 0x800 + 4 + 2 * u64::from(ring.avail % SIZE);
        self.driver.ram.write_obj(head, GuestAddress(slot)).unwrap();
        ring.avail = ring.avail.wrapping_add(1);
        self.driver.ram.write_obj(ring.avail, GuestAddress(base + 0x802)).unwrap();
    }

    fn used_index(&self, ring: usize) -> u16 {
        self.driver.ram.read_obj(GuestAddress(Self::base(self.rings[ring].index) + 0x1002)).unwrap()
    }

    /// Waits for the next used chain; the bytes written.
    fn used(&mut self, ring: usize) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        while self.used_index(ring) == self.rings[ring].used {
            assert!(Instant::now() < deadline, "ring {ring} stays as it is");
            std::thread::yield_now();
        }
        let ring = &mut self.rings[ring];
        let slot = Self::base(ring.index) + 0x1004 + 8 * u64::from(ring.used % SIZE);
        ring.used = ring.used.wrapping_add(1);
        self.driver.ram.read_obj(GuestAddress(slot + 4)).unwrap()
    }

    fn send(&mut self, header: Header, frame: &[u8]) {
        self.send_over(1, header, frame);
    }

    fn send_over(&mut self, ring: usize, header: Header, frame: &[u8]) {
        self.driver.ram.write_slice(&header.to_bytes(), GuestAddress(DATA)).unwrap();
        self.driver.ram.write_slice(frame, GuestAddress(DATA + 0x100)).unwrap();
        let len = u32::try_from(frame.len()).unwrap();
        self.offer(ring, &[(DATA, 12, 0), (DATA + 0x100, len, 0)]);
        self.used(ring);
    }

    fn command(&mut self, command: &[u8]) -> u8 {
        let ring = self.rings.len() - 1;
        self.driver.ram.write_slice(command, GuestAddress(DATA)).unwrap();
        let len = u32::try_from(command.len()).unwrap();
        self.offer(ring, &[(DATA, len, 0), (DATA + 0x8000, 1, WRITE)]);
        assert_eq!(self.used(ring), 1);
        self.driver.ram.read_obj(GuestAddress(DATA + 0x8000)).unwrap()
    }

    fn memory(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.driver.ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn config(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        self.driver.read(4, 0, &mut bytes);
        bytes
    }
}

/// A card whose frames go over a socket, and the other end.
fn over_stream(features: u64) -> (Guest, StreamPeer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = StreamPeer::new(ours, 1518).unwrap();
    (Guest::new(Box::new(peer), features), StreamPeer::new(theirs, 1518).unwrap())
}

/// A card whose peer can do everything, what the peer has done, and what wakes the card.
fn with_all(features: u64) -> (Guest, Arc<Mutex<Log>>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let log = Arc::new(Mutex::new(Log::default()));
    let peer = Able::new(&log, ours);
    (Guest::new(Box::new(peer), features), log, theirs)
}

fn frame(to: Mac, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..=255).cycle().take(len).collect();
    frame[..6].copy_from_slice(&to);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame
}

fn receive(peer: &mut StreamPeer) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(incoming) = peer.receive().unwrap() {
            let frame = incoming.frame.to_vec();
            peer.consume();
            return frame;
        }
        assert!(Instant::now() < deadline, "no frame comes");
        std::thread::yield_now();
    }
}

fn transmit(peer: &mut StreamPeer, frame: &[u8]) {
    let mut bytes = frame.to_vec();
    let pieces = [VolatileSlice::from(bytes.as_mut_slice())];
    let frame = Outgoing { header: Header::default(), pieces: &pieces, len: frame.len() };
    assert_eq!(peer.send(&[frame]).unwrap(), Sent::All);
}

const BASIC: u64 = feature::MAC | feature::STATUS | feature::MTU | feature::CTRL_VQ | feature::CTRL_RX;

#[test]
fn a_frame_goes_out_as_the_driver_wrote_it() {
    let (mut guest, mut peer) = over_stream(BASIC);
    let sent = frame([9; 6], 1514);
    guest.send(Header::default(), &sent);
    assert_eq!(receive(&mut peer), sent);
    assert_eq!(guest.cable.sent.totals().frames, 1);
    assert_eq!(guest.cable.sent.totals().bytes, 1514);
}

#[test]
fn frames_that_are_none_are_dropped_and_the_next_one_goes() {
    let (mut guest, mut peer) = over_stream(BASIC);
    guest.send(Header::default(), &[0; 13]);
    guest.send(Header::default(), &frame(MAC, 1519));
    // What was not negotiated.
    guest.send(Header { flags: 1, csum_start: 20, csum_offset: 2, ..Header::default() }, &frame(MAC, 60));
    // A buffer outside of RAM, and a chain of nothing.
    guest.offer(1, &[(DATA, 12, 0), (0x4000_0000, 60, 0)]);
    guest.used(1);
    guest.offer(1, &[(DATA, 0, 0)]);
    guest.used(1);
    guest.send(Header::default(), &frame(MAC, 60));
    assert_eq!(receive(&mut peer), frame(MAC, 60));
    let totals = guest.cable.sent.totals();
    assert_eq!((totals.frames, totals.dropped), (1, 5));
}

/// A table may be far longer than what one call writes, and than what a frame needs.
#[test]
fn a_frame_in_more_pieces_than_a_peer_takes_is_dropped() {
    const TABLE: u64 = DATA + 0x1_0000;
    let (mut guest, log, _wake) = with_all(BASIC | transport::INDIRECT_DESC);
    let most = u32::try_from(MOST_PIECES).unwrap();
    let sent = frame(MAC, MOST_PIECES + 1);
    guest.driver.ram.write_slice(&sent, GuestAddress(DATA + 0x100)).unwrap();
    for count in [most, most + 1, most] {
        // The header is in none of them.
        guest.driver.describe(TABLE, 0, DATA, 12, NEXT, 1);
        for piece in 1..=count {
            let (index, at) = (u16::try_from(piece).unwrap(), DATA + 0xff + u64::from(piece));
            guest.driver.describe(TABLE, index, at, 1, if piece < count { NEXT } else { 0 }, index + 1);
        }
        guest.offer(1, &[(TABLE, 16 * (count + 1), INDIRECT)]);
        guest.used(1);
    }
    let sent: Vec<_> = log.lock().unwrap().sent.iter().map(|(_, frame)| frame.len()).collect();
    assert_eq!(sent, [MOST_PIECES; 2]);
    assert_eq!(guest.cable.sent.totals().dropped, 1);
}

#[test]
fn a_frame_comes_in_with_a_header_of_nothing() {
    let (mut guest, mut peer) = over_stream(BASIC);
    guest.offer(0, &[(DATA, 12, WRITE), (DATA + 0x100, 1514, WRITE)]);
    let sent = frame([7; 6], 1000);
    transmit(&mut peer, &sent);
    assert_eq!(guest.used(0), 1012);
    // One buffer, as a device of version 1 always says.
    assert_eq!(guest.memory(DATA, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(guest.memory(DATA + 0x100, 1000), sent);
}

#[test]
fn frames_wait_for_buffers_and_none_is_lost() {
    let (mut guest, mut peer) = over_stream(BASIC);
    for value in 1..=50u8 {
        transmit(&mut peer, &frame([value & 0xfe; 6], 100 + usize::from(value)));
    }
    for value in 1..=50u32 {
        guest.offer(0, &[(DATA, 2000, WRITE)]);
        assert_eq!(guest.used(0), 112 + value);
    }
    assert_eq!(guest.cable.received.totals().dropped, 0);
}

#[test]
fn a_long_frame_is_spread_over_merged_buffers_all_at_once() {
    let (mut guest, mut peer) = over_stream(BASIC | feature::MRG_RXBUF);
    let sent = frame(MAC, 1500);
    // Cut where it hurts: within the header's count.
    guest.offer(0, &[(DATA, 11, WRITE)]);
    guest.offer(0, &[(DATA + 0x1000, 600, WRITE)]);
    transmit(&mut peer, &sent);
    // Not enough: nothing is used yet.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(guest.used_index(0), 0);
    guest.offer(0, &[(DATA + 0x2000, 4096, WRITE)]);
    assert_eq!([guest.used(0), guest.used(0), guest.used(0)], [11, 600, 1512 - 611]);
    assert_eq!(guest.memory(DATA + 10, 1), [3]);
    assert_eq!(guest.memory(DATA + 0x1000, 1), [0]);
    let got = [guest.memory(DATA + 0x1001, 599), guest.memory(DATA + 0x2000, 901)].concat();
    assert_eq!(got, sent);
}

#[test]
fn without_merging_a_frame_that_fits_no_buffer_is_dropped() {
    let (mut guest, mut peer) = over_stream(BASIC);
    guest.offer(0, &[(DATA, 200, WRITE)]);
    transmit(&mut peer, &frame(MAC, 189));
    transmit(&mut peer, &frame(MAC, 188));
    assert_eq!(guest.used(0), 200);
    assert_eq!(guest.cable.received.totals().dropped, 1);
}

#[test]
fn the_driver_filters_by_commands() {
    let (mut guest, mut peer) = over_stream(BASIC);
    assert_eq!(guest.command(&[0, 0, 0]), 0);
    assert_eq!(guest.command(&[0, 9, 0]), 1);
    guest.offer(0, &[(DATA + 0x1000, 2000, WRITE)]);
    transmit(&mut peer, &frame([8; 6], 500));
    transmit(&mut peer, &frame(MAC, 400));
    assert_eq!(guest.used(0), 412);
}

#[test]
fn offloads_are_the_peers_as_far_as_the_driver_takes_them() {
    let wanted = BASIC
        | feature::CSUM
        | feature::GUEST_CSUM
        | feature::GUEST_TSO4
        | feature::HOST_TSO4
        | feature::CTRL_GUEST_OFFLOADS;
    let (mut guest, log, mut wake) = with_all(wanted);
    let some = Offloads { checksum: true, tso4: true, ..Offloads::default() };
    let cut = Header {
        flags: 1,
        gso_type: 1,
        gso_size: 1448,
        hdr_len: 54,
        csum_start: 34,
        csum_offset: 16,
        ..Header::default()
    };
    // Longer than the network takes, as it is to be cut.
    guest.send(cut, &frame(MAC, 20_000));
    guest.send(Header { gso_type: 4, ..cut }, &frame(MAC, 20_000));
    {
        let mut log = log.lock().unwrap();
        assert_eq!(log.accepted, [some]);
        assert_eq!(log.sent, [(cut, frame(MAC, 20_000))]);
        log.incoming.push((cut, frame(MAC, 9000)));
    }
    guest.offer(0, &[(DATA, 12, WRITE), (DATA + 0x1000, 0xf000, WRITE)]);
    io::Write::write_all(&mut wake, &[1]).unwrap();
    assert_eq!(guest.used(0), 9012);
    let header = Header::from_bytes(&guest.memory(DATA, header::SIZE).try_into().unwrap());
    assert_eq!(header, Header { num_buffers: 1, ..cut });
    // The driver switches it off while it works.
    assert_eq!(guest.command(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0);
    assert_eq!(log.lock().unwrap().accepted, [some, Offloads::default()]);
    assert_eq!(guest.cable.sent.totals().dropped, 1);
}

#[test]
fn a_card_without_offloads_offers_none() {
    let cable = |peer: Box<dyn Peer>| Cable::new(peer, true).unwrap();
    let able = || {
        let (wake, _) = UnixStream::pair().unwrap();
        Box::new(Able::new(&Arc::default(), wake))
    };
    let tasks = feature::GUEST_OFFLOADS | feature::CSUM | feature::HOST_TSO4 | feature::HOST_USO;
    assert_eq!(VirtioNet::new(cable(able()), MAC, 1500, true).features() & tasks, tasks);
    assert_eq!(VirtioNet::new(cable(able()), MAC, 1500, false).features() & tasks, 0);
    let (stream, _) = UnixStream::pair().unwrap();
    let stream = Box::new(StreamPeer::new(stream, 1518).unwrap());
    assert_eq!(VirtioNet::new(cable(stream), MAC, 1500, true).features() & tasks, 0);
}

#[test]
fn a_busy_peer_gets_the_frame_later_and_once() {
    let (mut guest, log, _wake) = with_all(BASIC);
    log.lock().unwrap().busy = true;
    let sent = frame(MAC, 100);
    guest.driver.ram.write_slice(&sent, GuestAddress(DATA + 12)).unwrap();
    guest.offer(1, &[(DATA, 112, 0)]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(guest.used_index(1), 0);
    log.lock().unwrap().busy = false;
    guest.used(1);
    assert_eq!(log.lock().unwrap().sent, [(Header::default(), sent)]);
}

#[test]
fn the_cable_is_pulled_out_and_plugged_in() {
    let (mut guest, mut peer) = over_stream(BASIC | feature::GUEST_ANNOUNCE);
    assert_eq!(guest.config(), [0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0xdc, 5]);
    guest.cable.set_wanted(false);
    assert_eq!(guest.config()[6], 0);
    guest.send(Header::default(), &frame(MAC, 60));
    assert_eq!(guest.cable.sent.totals().dropped, 1);
    guest.cable.set_wanted(true);
    // The guest is to tell its neighbours where it is, and says when it has.
    assert_eq!(guest.config()[6], 3);
    assert_eq!(guest.command(&[3, 0]), 0);
    assert_eq!(guest.config()[6], 1);
    guest.send(Header::default(), &frame(MAC, 60));
    assert_eq!(receive(&mut peer), frame(MAC, 60));
}

#[test]
fn another_peer_takes_over_from_one_that_is_gone() {
    let (mut guest, peer) = over_stream(BASIC);
    drop(peer);
    let deadline = Instant::now() + PATIENCE;
    while guest.cable.is_up() {
        assert!(Instant::now() < deadline, "the loss goes unnoticed");
        std::thread::yield_now();
    }
    guest.send(Header::default(), &frame(MAC, 60));
    let (ours, theirs) = UnixStream::pair().unwrap();
    guest.cable.connect(Box::new(StreamPeer::new(ours, 1518).unwrap()));
    let mut peer = StreamPeer::new(theirs, 1518).unwrap();
    guest.send(Header::default(), &frame(MAC, 61));
    assert_eq!(receive(&mut peer).len(), 61);
    // A reset keeps the peer.
    guest.start(BASIC);
    guest.send(Header::default(), &frame(MAC, 62));
    assert_eq!(receive(&mut peer).len(), 62);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a driver puts into its rings, the card answers or asks for a reset, and works again after it.
    #[test]
    fn no_ring_stops_the_card_for_good(
        pairs in 1u16..3,
        chains in prop::collection::vec(
            (0usize..5, prop::collection::vec((0u64..0x60_0000, 0u32..70_000, prop::sample::select(vec![0, WRITE])), 1..4)),
            1..8,
        ),
        content in prop::collection::vec(any::<u8>(), 64),
        features: u64,
    ) {
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..pairs).map(|_| UnixStream::pair().unwrap()).unzip();
        let stream = |socket| StreamPeer::new(socket, 1518).unwrap();
        let peers = ours.into_iter().map(|socket| Box::new(stream(socket)) as Box<dyn Peer>).collect();
        let cable = Cable::of_queues(peers, true, None).unwrap();
        let several = if pairs > 1 { feature::MQ } else { 0 };
        let features = BASIC | several | feature::MRG_RXBUF | features & 0x3f_ffff & guest_features();
        let mut guest = Guest::of_cable(cable, features, 2 * pairs + 1);
        let mut others: Vec<_> = theirs.into_iter().map(stream).collect();
        let mut peer = others.remove(0);
        // All pairs are in use.
        prop_assert_eq!(guest.command(&[4, 0, pairs as u8, 0]), u8::from(pairs == 1));
        guest.driver.ram.write_slice(&content, GuestAddress(DATA)).unwrap();
        for (ring, buffers) in chains {
            let ring = ring % guest.rings.len();
            // The rings themselves are not to be written over: that would be another test.
            let buffers: Vec<_> = buffers.iter().map(|&(at, len, flags)| (at.max(DATA), len, flags)).collect();
            guest.offer(ring, &buffers);
        }
        transmit(&mut peer, &frame(MAC, 600));
        guest.start(BASIC | several);
        guest.send(Header::default(), &frame(MAC, 77));
        while receive(&mut peer).len() != 77 {}
    }
}

fn guest_features() -> u64 {
    let (stream, _) = UnixStream::pair().unwrap();
    let peer = Box::new(StreamPeer::new(stream, 1518).unwrap());
    VirtioNet::new(Cable::new(peer, true).unwrap(), MAC, 1500, true).features()
}
