//! What a vCPU's thread notes for others to read at any time, while it runs: how often the guest was left, and the access
//! to a device that is being answered.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// What a guest accesses, and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A port.
    Port(u16),
    /// An address that is not RAM.
    Memory(u64),
}

impl Access {
    /// Guest-physical addresses have 52 bits at most, so this one is free.
    const PORT: u64 = 1 << 63;
    /// So that address 0 differs from [`Self::NONE`].
    const MEMORY: u64 = 1 << 62;
    const NONE: u64 = 0;

    fn to_bits(self) -> u64 {
        match self {
            Self::Port(port) => Self::PORT | u64::from(port),
            Self::Memory(address) => Self::MEMORY | address & (Self::MEMORY - 1),
        }
    }

    fn of_bits(bits: u64) -> Option<Self> {
        if bits & Self::PORT != 0 {
            // The lower half is the port.
            Some(Self::Port(bits as u16))
        } else if bits & Self::MEMORY != 0 {
            Some(Self::Memory(bits & (Self::MEMORY - 1)))
        } else {
            None
        }
    }
}

/// Where a vCPU was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The exits so far.
    pub exits: u64,
    /// What it had accessed, if that was not answered yet.
    pub access: Option<Access>,
}

/// The notes of one vCPU. They have cache lines of their own, since they are written at each exit, by its thread alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ExitTally {
    exits: AtomicU64,
    /// [`Access::to_bits`].
    access: AtomicU64,
    thread: AtomicI32,
}

impl ExitTally {
    /// By the vCPU's thread, at its beginning.
    pub(super) fn started(&self) {
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// By the vCPU's thread: the guest was left for an access, which is answered from now on.
    #[inline]
    pub(super) fn answering(&self, access: Access) {
        self.access.store(access.to_bits(), Ordering::Relaxed);
    }

    /// By the vCPU's thread: an exit was handled.
    #[inline]
    pub(super) fn handled(&self) {
        self.access.store(Access::NONE, Ordering::Relaxed);
        self.exits.store(self.exits().wrapping_add(1), Ordering::Relaxed);
    }

    /// The exits so far that were handled.
    pub fn exits(&self) -> u64 {
        self.exits.load(Ordering::Relaxed)
    }

    /// The number of its thread (gettid(2)); 0 before that has started.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Where the vCPU is now.
    pub fn moment(&self) -> Moment {
        Moment { exits: self.exits(), access: Access::of_bits(self.access.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_noted_while_it_is_answered() {
        let tally = ExitTally::default();
        assert_eq!(tally.moment(), Moment { exits: 0, access: None });
        for (exits, access) in (0..).zip([
            Access::Port(0),
            Access::Port(0x3f8),
            Access::Port(u16::MAX),
            Access::Memory(0),
            Access::Memory(0xfed0_0000),
            Access::Memory((1 << 52) - 1),
        ]) {
            tally.answering(access);
            assert_eq!(tally.moment(), Moment { exits, access: Some(access) });
            tally.handled();
            assert_eq!(tally.moment(), Moment { exits: exits + 1, access: None });
        }
    }
}
