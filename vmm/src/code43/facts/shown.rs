//! What follows from the facts: what the guest sees, where the plan and registers say it.

use std::fmt;

use super::{Facts, Pair, Slot, Window};
use crate::code43::driver::is_known;
use crate::finding::Key;

impl Facts {
    /// The line to look at for a key.
    pub(in crate::code43) fn line(&self, key: Key) -> Option<usize> {
        let key = key.to_string();
        self.lines.iter().find(|line| line.key == key).map(|line| line.line)
    }

    /// The IDs that the guest sees, as far as they are known.
    pub(in crate::code43) fn shown_ids(&self) -> Option<Pair> {
        let gpu = self.gpu.as_ref()?;
        if let Some(live) = &self.live {
            return Some(live.ids.function);
        }
        let own = gpu.own.map(|own| own.function);
        let vendor = gpu.vendor.or(own.map(|own| own.vendor))?;
        let device = gpu.device.or(own.map(|own| own.device))?;
        Some(Pair { vendor, device })
    }

    /// The subsystem that the guest sees, as far as it is known.
    pub(in crate::code43) fn shown_subsystem(&self) -> Option<Pair> {
        let gpu = self.gpu.as_ref()?;
        let planned = gpu.subsystem.or(gpu.own.map(|own| own.subsystem));
        self.live.as_ref().map(|live| live.ids.subsystem).or(planned)
    }

    /// The class, as far as it is known.
    pub(in crate::code43) fn class(&self) -> Option<u16> {
        let own = self.gpu.as_ref()?.own.map(|own| own.class);
        self.live.as_ref().map(|live| live.ids.class).or(own)
    }

    /// The chip: the GPU's own device ID, or else the one that the guest sees.
    pub(in crate::code43) fn chip(&self) -> Option<u16> {
        let own = self.gpu.as_ref()?.own.map(|own| own.function.device);
        own.or(self.shown_ids().map(|ids| ids.device))
    }

    /// The GPU's bus in the guest.
    pub(in crate::code43) fn bus(&self) -> Option<u8> {
        let port = self.live.as_ref().and_then(|live| live.port.as_ref());
        port.map(|port| port.secondary).or(self.gpu.as_ref().map(|gpu| gpu.bus))
    }

    /// The hypervisor's names that drivers recognise.
    pub(in crate::code43) fn known_hypervisors(&self) -> impl Iterator<Item = &str> {
        self.hypervisor.names.iter().map(String::as_str).filter(|name| is_known(name))
    }
}

impl Window {
    /// Its size in bytes.
    pub(in crate::code43) fn size(self) -> u64 {
        self.last.checked_sub(self.base).map_or(0, |length| length.saturating_add(1))
    }

    /// Whether all of a BAR lies in it.
    pub(in crate::code43) fn holds(self, base: u64, size: u64) -> bool {
        let last = base.saturating_add(size.saturating_sub(1));
        self.base <= base && last <= self.last
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.device, self.function)
    }
}
