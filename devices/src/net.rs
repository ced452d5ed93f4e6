//! What carries a network card's frames on the host, behind one interface: a TAP interface of the kernel's ([`tap`]), or a program
//! that takes frames from a stream socket ([`stream`]), such as passt. With a TAP interface, the kernel can move frames by itself ([`vhost`]).
//!
//! A frame is one of Ethernet (IEEE 802.3, without the frame check sequence), and goes with a header that says what is left to do to it
//! ([`header::Header`]). [`cable::Cable`] is what a card and the host's side share: whether there is a link, through whom frames
//! go, and how many went.

pub mod cable;
pub mod header;
mod pieces;
pub mod stream;
pub mod tap;
pub mod vhost;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

use vm_memory::VolatileSlice;
use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;

use header::Header;

pub use vhost::VhostError;

/// Bytes of an Ethernet header: destination, source, type.
pub const ETHERNET_HEADER: usize = 14;
/// Bytes that an 802.1Q tag adds to it.
pub const VLAN_TAG: usize = 4;
/// The longest frame: an IP packet of 64 KiB that is yet to be cut into segments, behind a tagged header.
pub const LONGEST_FRAME: usize = 65_535 + ETHERNET_HEADER + VLAN_TAG;
/// In how many pieces of memory a frame may be: with what goes before it, a peer writes it by one call.
pub const MOST_PIECES: usize = pieces::MOST - 1;

/// What a peer or a card can do to a frame that the other side has left undone (virtio 1.2, 5.1.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Complete a checksum.
    pub checksum: bool,
    /// Cut TCP over IPv4.
    pub tso4: bool,
    /// Cut TCP over IPv6.
    pub tso6: bool,
    /// Cut TCP with explicit congestion notification.
    pub ecn: bool,
    /// Cut UDP over IPv4 and IPv6.
    pub uso: bool,
}

impl Offloads {
    /// What both can do. Cutting needs checksums, and ECN needs one of the kinds of TCP.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let checksum = self.checksum && other.checksum;
        let (tso4, tso6) = (checksum && self.tso4 && other.tso4, checksum && self.tso6 && other.tso6);
        Self {
            checksum,
            tso4,
            tso6,
            ecn: (tso4 || tso6) && self.ecn && other.ecn,
            uso: checksum && self.uso && other.uso,
        }
    }
}

/// A frame for a peer, where the driver has put it. The driver may change its bytes at any time; length and header are what was checked.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// What is left to do to it.
    pub header: Header,
    /// Its bytes, in this order.
    pub pieces: &'a [VolatileSlice<'a>],
    /// How many, from [`ETHERNET_HEADER`] to [`LONGEST_FRAME`].
    pub len: usize,
}

/// A frame from a peer, in the peer's own memory.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// What is left to do to it.
    pub header: Header,
    /// From [`ETHERNET_HEADER`] to [`LONGEST_FRAME`] bytes.
    pub frame: &'a [u8],
}

/// What became of frames for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All are gone.
    All,
    /// Those before this one are gone. The peer takes nothing now; this and the others are to be offered again when the descriptor is ready
    /// for writing.
    Later(usize),
    /// Those before this one are gone. This one is none that the peer takes, and is lost.
    Refused(usize),
}

/// What carries frames. Its descriptor never blocks.
pub trait Peer: Send + Debug {
    /// What it can do to frames of the guest's.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    /// The guest takes frames with this left undone; nothing of it until this is called, and again after a reset.
    fn accept(&mut self, _offloads: Offloads) {}

    /// Readable when there may be a frame, and writable when there is room for one.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The next frame, which is the same one until [`Self::consume`] is called; `None` when there is none now.
    ///
    /// # Errors
    /// The peer is gone.
    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>>;

    /// The frame that [`Self::receive`] has shown is done with.
    fn consume(&mut self);

    /// Hands it frames.
    ///
    /// # Errors
    /// The peer is gone.
    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<Sent>;

    /// Whether it holds a part of a frame back, until its descriptor is ready for writing.
    fn is_blocked(&self) -> bool {
        false
    }

    /// Goes on with what it held back.
    ///
    /// # Errors
    /// The peer is gone.
    fn unblock(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Frames are to come through this peer, or not. One of several to the same interface gets none while it is idle.
    fn set_active(&mut self, _active: bool) {}

    /// What moves frames between this peer and the driver's rings without this program's help, if there is such a thing.
    fn in_kernel(&mut self) -> Option<&mut dyn KernelWorker> {
        None
    }
}

/// A driver's ring, for the kernel.
#[derive(Debug, Clone, Copy)]
pub struct KernelRing<'a> {
    /// Entries.
    pub size: u16,
    /// Index of the available ring's next entry.
    pub next: u16,
    /// Address in this process of the descriptors, all of which are in one piece there.
    pub descriptors: u64,
    /// Of the available ring.
    pub available: u64,
    /// Of the used ring.
    pub used: u64,
    /// Signalled by the driver when it has made buffers available.
    pub kick: &'a EventFd,
    /// To be signalled for the driver when buffers were used.
    pub call: &'a EventFd,
    /// To be signalled when something is wrong with the ring, or with what its frames go to.
    pub error: &'a EventFd,
}

/// Why a worker of the kernel's does not work on rings.
#[derive(Debug)]
pub struct NotStarted {
    /// What is wrong.
    pub error: VhostError,
    /// It has begun with one of them: [`KernelWorker::stop`] says how far it came.
    pub begun: bool,
}

impl From<VhostError> for NotStarted {
    fn from(error: VhostError) -> Self {
        Self { error, begun: false }
    }
}

/// A worker of the kernel's, which moves frames between a peer and a pair of rings.
pub trait KernelWorker {
    /// Begins to work on `rings`, for received and for sent frames, in `ram`. `features` is what the driver has accepted.
    ///
    /// # Errors
    /// The kernel cannot work on these. It has none of them then, unless it has begun.
    fn start(&mut self, ram: &GuestRam, features: u64, rings: [KernelRing<'_>; 2]) -> Result<(), NotStarted>;

    /// Signals `call` for ring `ring`, 0 or 1, from now on.
    ///
    /// # Errors
    /// The kernel does not take it.
    fn set_call(&mut self, ring: usize, call: &EventFd) -> Result<(), VhostError>;

    /// Ends the work. When it returns, no guest memory is accessed any more. The available rings' next entries.
    ///
    /// # Errors
    /// The kernel does not say where it was.
    fn stop(&mut self) -> Result<[u16; 2], VhostError>;
}
