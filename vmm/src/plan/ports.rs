//! Root ports that nobody wrote down: the places where the plan adds them.
//!
//! OVMF numbers buses depth first in the order of device and function (edk2 MdeModulePkg/Bus/Pci/PciBusDxe/PciLib.c,
//! `PciScanBus`), whether or not anything sits behind a port. A port added behind all others therefore changes no
//! number; the one exception is 00:01.0, the place of a laptop's GPU, which is decided before any number is used.

use std::collections::BTreeSet;

use crate::topology::Slot;

/// The device numbers of the root ports of Intel's chipsets, which the plan prefers.
const CHIPSET_PORTS: std::ops::RangeInclusive<u8> = 0x1c..=0x1e;

/// The next device numbers to try: all that neither the chipset nor a laptop's GPUs have.
const OTHERS: std::ops::Range<u8> = 0x03..0x1c;

/// The root ports, in the order that gives them their buses.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(BTreeSet<Slot>);

impl Ports {
    /// The number of ports, which is also the highest bus.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds one. The bus behind it is its place in the order.
    pub(super) fn insert(&mut self, slot: Slot) {
        self.0.insert(slot);
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.0.contains(&slot)
    }

    /// The ports with the buses behind them.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u8, Slot)> {
        (1..=u8::MAX).zip(self.0.iter().copied())
    }

    /// A place behind all ports, where `taken` tells whether a place of bus 0 is in use.
    pub(super) fn next_place(&self, taken: impl Fn(Slot) -> bool) -> Option<Slot> {
        if self.count() >= usize::from(u8::MAX) {
            return None;
        }
        let last = self.0.last().copied();
        let fits = |&(device, function): &Slot| {
            let behind = last.is_none_or(|last| last < (device, function));
            // Further functions of a device are found if its function 0 is a port too, which says that it has them.
            let device_suits = match function {
                0 => (0..8).all(|function| !taken((device, function))),
                _ => self.contains((device, 0)),
            };
            behind && device_suits && !taken((device, function))
        };
        let chipset = CHIPSET_PORTS.flat_map(|device| (0..8).map(move |function| (device, function)));
        let others = OTHERS.map(|device| (device, 0));
        let beside_last =
            last.into_iter().flat_map(|(device, _)| (1..8).map(move |function| (device, function)));
        chipset.chain(others).chain(beside_last).find(fits)
    }
}
