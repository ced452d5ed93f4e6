//! Accesses to the BARs of a passed-through function that trap: to pages that are not mapped, and to registers that are
//! not the device's own.

use std::io;
use std::sync::Arc;

use vocabulary::AddressRange;

use crate::bus::{Action, BusDevice};

use super::overlay::Overlay;
use super::shared::Shared;

/// One BAR.
pub(super) struct BarAccess {
    shared: Arc<Shared>,
    /// Its index, which is that of its VFIO region.
    index: u32,
    overlays: Vec<(AddressRange, Overlay)>,
}

/// A part of an access that has one owner.
struct Part {
    offset: u64,
    len: usize,
    /// Who answers in the device's place, and at which offset of its own.
    overlay: Option<(Overlay, u64)>,
}

impl BarAccess {
    pub(super) fn new(shared: Arc<Shared>, index: u32, overlays: Vec<(AddressRange, Overlay)>) -> Arc<Self> {
        Arc::new(Self { shared, index, overlays })
    }

    /// The first part of an access of `len` bytes, which is not 0.
    fn first_part(&self, offset: u64, len: usize) -> Part {
        let here = self.overlays.iter().find(|(range, _)| range.contains(offset));
        let last = match here {
            Some((range, _)) => range.last(),
            None => {
                let bases = self.overlays.iter().map(|(range, _)| range.base());
                bases.filter(|base| *base > offset).min().map_or(u64::MAX, |base| base - 1)
            }
        };
        let room = usize::try_from(last - offset).unwrap_or(usize::MAX).saturating_add(1);
        let overlay = here.map(|(range, overlay)| (*overlay, offset - range.base()));
        Part { offset, len: len.min(room), overlay }
    }

    fn tell(&self, what: &str, offset: u64, error: &io::Error) {
        let (device, bar) = (self.shared.host.name(), self.index);
        crate::limited_debug!(device, bar, offset, %error, "{what} reached nobody");
    }

    fn read_part(&self, part: &Part, data: &mut [u8]) {
        match part.overlay {
            Some((Overlay::MsixTable, at)) => self.shared.lock().interrupts.read_table(at, data),
            Some((Overlay::MsixPending, at)) => self.shared.lock().interrupts.read_pba(at, data),
            Some((Overlay::ConfigMirror, at)) => self.shared.mirror_read(at, data),
            None => {
                // Memory decoding may just have been turned off, or the device may sleep, or have lent only a part of
                // the BAR: nobody answers.
                if let Err(error) = self.shared.host.read(self.index, part.offset, data) {
                    data.fill(0xff);
                    self.tell("a read", part.offset, &error);
                }
            }
        }
    }

    fn write_part(&self, part: &Part, data: &[u8]) {
        match part.overlay {
            Some((Overlay::MsixTable, at)) => self.shared.lock().interrupts.write_table(at, data),
            Some((Overlay::MsixPending, _)) => {}
            Some((Overlay::ConfigMirror, at)) => self.shared.mirror_write(at, data),
            None => {
                // A write that reaches nobody is lost, as on a real bus.
                if let Err(error) = self.shared.host.write(self.index, part.offset, data) {
                    self.tell("a write", part.offset, &error);
                }
            }
        }
    }
}

impl BusDevice for BarAccess {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let part = self.first_part(at, rest.len());
            let (now, later) = rest.split_at_mut(part.len);
            self.read_part(&part, now);
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let part = self.first_part(at, rest.len());
            let (now, later) = rest.split_at(part.len);
            self.write_part(&part, now);
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        Action::None
    }
}
