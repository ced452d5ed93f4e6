//! Rings that the driver fills (xHCI 1.1, 4.9.2 and 4.9.3): of commands, and of transfers.

use crate::pci::dma::{Dma, DmaError};

use super::trb::{self, Trb, kind};

/// Links in a row. A driver has one at the end of each segment, and no segment without TRBs.
const LINKS: usize = 32;

/// The ring cannot be read, or has nothing but links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadRing;

/// Where the controller is in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ring {
    /// The next TRB.
    pub(super) at: u64,
    /// The cycle bit that TRBs have which are the controller's.
    pub(super) cycle: bool,
}

impl Ring {
    /// From a pointer whose bit 0 is the cycle bit.
    pub(super) fn from_pointer(pointer: u64) -> Self {
        Self { at: pointer & !0xf, cycle: pointer & 1 != 0 }
    }

    /// Such a pointer.
    pub(super) fn pointer(self) -> u64 {
        self.at | u64::from(self.cycle)
    }

    /// Takes the next TRB and its address; links are followed. `None` when the driver has put none there, or has disabled bus mastering: the ring stays as
    /// it is.
    pub(super) fn next(&mut self, dma: &Dma) -> Result<Option<(u64, Trb)>, BadRing> {
        let mut ring = *self;
        for _ in 0..LINKS {
            let mut bytes = [0; trb::SIZE as usize];
            match dma.read(ring.at, &mut bytes) {
                Ok(()) => {}
                Err(DmaError::Disabled) => return Ok(None),
                Err(DmaError::OutsideRam { .. }) => return Err(BadRing),
            }
            let trb = Trb::from_bytes(bytes);
            if trb.cycle() != ring.cycle {
                return Ok(None);
            }
            if trb.kind() != kind::LINK {
                let at = ring.at;
                ring.at = ring.at.wrapping_add(trb::SIZE);
                *self = ring;
                return Ok(Some((at, trb)));
            }
            ring.at = trb.parameter & !0xf;
            ring.cycle ^= trb.toggles();
        }
        Err(BadRing)
    }
}
