//! MSI of an emulated function: the capability, and vectors that are routed as it says (PCIe 6.0, 7.7.1).
//!
//! The function signals a vector's event whether the vector is masked or not: while it is unrouted the signal waits in
//! the event's counter, which is the pending bit.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::interrupt::{MsiMessage, MsiVector};

use super::msix::event;
use super::route::Route;
use super::{ConfigSpace, capability};

/// Most vectors that one function can have.
pub const MAX_VECTORS: usize = 32;

/// Message Control: MSI Enable, Multiple Message Capable and Enable, 64-bit addresses, Per-Vector Masking Capable.
const ENABLE: u16 = 1 << 0;
const CAPABLE_SHIFT: u32 = 1;
const GRANTED_SHIFT: u32 = 4;
const WIDE: u16 = 1 << 7;
const MASKING: u16 = 1 << 8;

/// The form of the capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Binary logarithm of the number of vectors, 0–5.
    pub vectors_log2: u8,
    /// Addresses have 64 bits.
    pub wide: bool,
    /// Each vector can be masked.
    pub masking: bool,
}

impl Layout {
    /// Offset of Message Data in the capability.
    fn data(self) -> u16 {
        if self.wide { 0x0c } else { 0x08 }
    }

    /// Offset of the mask bits, which the pending bits follow.
    fn mask(self) -> u16 {
        self.data() + 4
    }

    /// Appends the capability, switched off. `None` when there is no room.
    pub fn append(self, config: &mut ConfigSpace) -> Option<u16> {
        let vectors = u16::from(self.vectors_log2.min(5));
        let mut control = vectors << CAPABLE_SHIFT;
        if self.wide {
            control |= WIDE;
        }
        let mut len = self.data() + 2;
        if self.masking {
            control |= MASKING;
            len = self.mask() + 8;
        }
        let mut body = vec![0; usize::from(len - 2)];
        for (byte, value) in body.iter_mut().zip(control.to_le_bytes()) {
            *byte = value;
        }
        let at = config.add_capability(capability::MSI, &body, &[])?;
        let granted = if vectors == 0 { 0 } else { 7 << GRANTED_SHIFT };
        config.allow_write(at + 2, &(ENABLE | granted).to_le_bytes());
        // Messages are dwords.
        config.allow_write(at + 4, &[0xfc, 0xff, 0xff, 0xff]);
        if self.wide {
            config.allow_write(at + 8, &[0xff; 4]);
        }
        config.allow_write(at + self.data(), &[0xff; 2]);
        if self.masking {
            let every = u32::MAX >> (32 - (1u32 << vectors));
            config.allow_write(at + self.mask(), &every.to_le_bytes());
        }
        Some(at)
    }
}

/// The MSI registers of one function and what they drive.
pub struct Msi {
    at: u16,
    layout: Layout,
    vectors: Vec<Arc<dyn MsiVector>>,
    routes: Mutex<Vec<Route<Arc<dyn MsiVector>>>>,
    enabled: AtomicBool,
    /// Vectors that the guest has granted, a power of two.
    granted: AtomicUsize,
}

impl Msi {
    /// Adds the capability for `vectors`, of which the largest power of two up to [`MAX_VECTORS`] is used, with 64-bit
    /// addresses. `None` without vectors or room.
    pub fn add(
        config: &mut ConfigSpace,
        mut vectors: Vec<Arc<dyn MsiVector>>,
        masking: bool,
    ) -> Option<Self> {
        let log2 = vectors.len().min(MAX_VECTORS).checked_ilog2()?;
        vectors.truncate(1 << log2);
        let layout = Layout { vectors_log2: u8::try_from(log2).ok()?, wide: true, masking };
        let at = layout.append(config)?;
        let routes = Mutex::new(vectors.iter().cloned().map(Route::new).collect());
        Some(Self {
            at,
            layout,
            vectors,
            routes,
            enabled: AtomicBool::new(false),
            granted: AtomicUsize::new(1),
        })
    }

    fn routes(&self) -> MutexGuard<'_, Vec<Route<Arc<dyn MsiVector>>>> {
        // What each vector was last routed to: true at all times.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the guest has enabled MSI, which turns INTx off.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Takes over the registers after the guest has written some. Vectors interrupt only while the function is `active`: in
    /// D0, with bus mastering. Returns whether MSI has just been enabled.
    pub fn follow(&self, config: &ConfigSpace, active: bool) -> bool {
        let control = config.u16(self.at + 2);
        let enabled = control & ENABLE != 0;
        let granted = 1usize << (control >> GRANTED_SHIFT & 7).min(u16::from(self.layout.vectors_log2));
        let high = if self.layout.wide { config.u32(self.at + 8) } else { 0 };
        let address = u64::from(config.u32(self.at + 4)) | u64::from(high) << 32;
        let data = u32::from(config.u16(self.at + self.layout.data()));
        let masks = if self.layout.masking { config.u32(self.at + self.layout.mask()) } else { 0 };
        for (index, route) in self.routes().iter_mut().enumerate() {
            let deliverable = enabled && active && index < granted && masks >> index & 1 == 0;
            // A function changes the low bits of the data to tell its vectors apart (7.7.1.5).
            let data = data & !(granted as u32 - 1) | index as u32;
            route.set("MSI", index, deliverable.then_some(MsiMessage { address, data }));
        }
        self.granted.store(granted, Ordering::Release);
        let before = self.enabled.swap(enabled, Ordering::AcqRel);
        enabled && !before
    }

    /// Interrupts through `vector`, or sets its pending bit while it is masked. When the guest has granted fewer vectors, some
    /// share one. Silent while MSI is off.
    pub fn trigger(&self, vector: u16) {
        if !self.enabled() {
            return;
        }
        let vector = usize::from(vector) & (self.granted.load(Ordering::Acquire) - 1);
        if let Some(vector) = self.vectors.get(vector) {
            // Only a counter about to overflow refuses a write, and then a signal is due already.
            let _ = vector.event().write(1);
        }
    }

    /// Fills in the pending bits for a read of `data` at `register`.
    pub fn overlay_pending(&self, register: u16, data: &mut [u8]) {
        if !self.layout.masking {
            return;
        }
        let pending = self.at + self.layout.mask() + 4;
        if register >= pending + 4 || usize::from(register) + data.len() <= usize::from(pending) {
            return;
        }
        let bits = self
            .routes()
            .iter()
            .enumerate()
            .fold(0u32, |bits, (index, route)| bits | u32::from(route.pending()) << index);
        for (at, byte) in (register..).zip(data) {
            if let Some(value) =
                at.checked_sub(pending).and_then(|at| bits.to_le_bytes().get(usize::from(at)).copied())
            {
                *byte = value;
            }
        }
    }

    /// Back to power-on: off, nothing pending. The registers are the owner's to reset.
    pub fn reset(&self) {
        let Self { at: _, layout: _, vectors, routes: _, enabled, granted } = self;
        enabled.store(false, Ordering::Release);
        granted.store(1, Ordering::Release);
        for (index, route) in self.routes().iter_mut().enumerate() {
            route.set("MSI", index, None);
        }
        for vector in vectors {
            event::drain(vector.event());
        }
    }
}
