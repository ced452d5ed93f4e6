//! Accesses to the BARs of a passed-through function that trap: to pages that are not mapped, to MSI-X registers, which
//! are ours, and to NVIDIA's copy of configuration space.

use std::sync::Arc;

use crate::bus::{Action, AddressRange, BusDevice};

use super::function::Shared;

/// NVIDIA GPUs show their configuration space in BAR 0 too. Drivers read their IDs there and acknowledge MSI by a write
/// to the ID of its capability, so the guest must find there what it finds in configuration space.
pub(super) const MIRROR: (u64, u64) = (0x8_8000, 0x1000);

/// Registers inside a BAR that are not the device's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    /// The MSI-X table.
    MsixTable,
    /// The MSI-X pending bits.
    MsixPending,
    /// [`MIRROR`].
    ConfigMirror,
}

/// One BAR.
pub(super) struct BarAccess {
    shared: Arc<Shared>,
    /// Its index, which is that of its VFIO region.
    index: u32,
    overlays: Vec<(AddressRange, Overlay)>,
}

impl BarAccess {
    pub(super) fn new(shared: Arc<Shared>, index: u32, overlays: Vec<(AddressRange, Overlay)>) -> Arc<Self> {
        Arc::new(Self { shared, index, overlays })
    }

    fn overlay(&self, offset: u64) -> Option<(AddressRange, Overlay)> {
        self.overlays.iter().find(|(range, _)| range.contains(offset)).copied()
    }
}

impl BusDevice for BarAccess {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match self.overlay(offset) {
            Some((range, Overlay::MsixTable)) => {
                self.shared.lock().interrupts.read_table(offset - range.base(), data);
            }
            Some((range, Overlay::MsixPending)) => {
                self.shared.lock().interrupts.read_pba(offset - range.base(), data);
            }
            Some((range, Overlay::ConfigMirror)) => {
                for (register, bytes) in pieces_mut(offset - range.base(), data) {
                    self.shared.config_read(register, bytes);
                }
            }
            None => {
                // Memory decoding may just have been turned off, or the device may sleep: nobody answers.
                if self.shared.host.read(self.index, offset, data).is_err() {
                    data.fill(0xff);
                }
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match self.overlay(offset) {
            Some((range, Overlay::MsixTable)) => {
                self.shared.lock().interrupts.write_table(offset - range.base(), data);
            }
            Some((_, Overlay::MsixPending)) => {}
            Some((range, Overlay::ConfigMirror)) => {
                for (register, bytes) in pieces(offset - range.base(), data) {
                    self.shared.mirror_write(register, bytes);
                }
            }
            None => {
                // A write that reaches nobody is lost, as on a real bus.
                if let Err(error) = self.shared.host.write(self.index, offset, data) {
                    tracing::debug!(device = self.shared.host.name(), bar = self.index, %error, "lost a write");
                }
            }
        }
        Action::None
    }
}

/// Cuts an access to configuration space at dword boundaries.
fn pieces(offset: u64, data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut at = u16::try_from(offset).unwrap_or(u16::MAX);
    let mut rest = data;
    std::iter::from_fn(move || {
        let (now, later) = rest.split_at(rest.len().min(4 - usize::from(at % 4)));
        let register = at;
        at = at.saturating_add(now.len() as u16);
        rest = later;
        (!now.is_empty()).then_some((register, now))
    })
}

fn pieces_mut(offset: u64, data: &mut [u8]) -> impl Iterator<Item = (u16, &mut [u8])> {
    let mut at = u16::try_from(offset).unwrap_or(u16::MAX);
    let mut rest = data;
    std::iter::from_fn(move || {
        let len = rest.len().min(4 - usize::from(at % 4));
        let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
        let register = at;
        at = at.saturating_add(now.len() as u16);
        rest = later;
        (!now.is_empty()).then_some((register, now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_cut_at_dwords() {
        let cut = |offset, len| {
            pieces(offset, &[0; 8][..len])
                .map(|(register, bytes)| (register, bytes.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(0, 4), [(0, 4)]);
        assert_eq!(cut(3, 1), [(3, 1)]);
        assert_eq!(cut(3, 2), [(3, 1), (4, 1)]);
        assert_eq!(cut(2, 8), [(2, 2), (4, 4), (8, 2)]);
        let mut data = [0; 8];
        let lens: Vec<_> =
            pieces_mut(2, &mut data).map(|(register, bytes)| (register, bytes.len())).collect();
        assert_eq!(lens, [(2, 2), (4, 4), (8, 2)]);
    }
}
