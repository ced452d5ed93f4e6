//! MSI-X of an emulated function: the capability, and a BAR with the vector table and the pending bit array (PCIe 6.0,
//! 7.7.2).
//!
//! The function signals a vector's event whether the vector is masked or not: while it is unrouted the signal waits in
//! the event's counter, which is the pending bit.

pub(crate) mod event;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::{Action, BusDevice};
use crate::interrupt::MsiVector;

use super::{Bar, BarKind, ConfigSpace, capability};

pub use table::MAX_VECTORS;
use table::Table;

/// Message Control bits that the guest writes: MSI-X Enable and Function Mask.
pub(crate) const CONTROL_ENABLE: u16 = 1 << 15;
pub(crate) const CONTROL_FUNCTION_MASK: u16 = 1 << 14;

/// The MSI-X registers of one function. As a [`BusDevice`] it is the BAR that holds table and pending bits.
pub struct Msix {
    vectors: Vec<Arc<dyn MsiVector>>,
    table: Mutex<Table<Arc<dyn MsiVector>>>,
    enabled: AtomicBool,
}

impl Msix {
    /// Registers over `vectors`, of which the first [`MAX_VECTORS`] are used.
    pub fn new(mut vectors: Vec<Arc<dyn MsiVector>>) -> Arc<Self> {
        vectors.truncate(MAX_VECTORS);
        let table = Mutex::new(Table::new(vectors.iter().cloned()));
        Arc::new(Self { vectors, table, enabled: AtomicBool::new(false) })
    }

    fn table(&self) -> MutexGuard<'_, Table<Arc<dyn MsiVector>>> {
        // Registers: every state is one that a guest could have written.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether there is no vector, and so no capability.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Offset of the pending bit array in the BAR: behind the table, and for few vectors at half a page.
    fn pba_offset(table: &Table<Arc<dyn MsiVector>>) -> usize {
        table.size().next_multiple_of(0x800)
    }

    /// The BAR that table and pending bits need. It is 32 bits wide, since a table is not prefetchable and a bridge
    /// forwards only 32-bit addresses to such BARs.
    pub fn bar(&self) -> Bar {
        let table = self.table();
        let size = (Self::pba_offset(&table) + table.pending_size()).next_power_of_two().max(0x1000);
        Bar { kind: BarKind::Memory32 { prefetchable: false }, size: size as u64 }
    }

    /// Adds the capability, with table and pending bits in BAR `bar` (0–5). `None` without vectors or space.
    pub fn add_capability(&self, config: &mut ConfigSpace, bar: u8) -> Option<u16> {
        let control = u16::try_from(self.vectors.len().checked_sub(1)?).ok()?;
        let pba = u32::try_from(Self::pba_offset(&self.table())).ok()?;
        let mut body = [0; 10];
        let fields = control
            .to_le_bytes()
            .into_iter()
            .chain(u32::from(bar & 7).to_le_bytes())
            .chain((pba | u32::from(bar & 7)).to_le_bytes());
        for (byte, value) in body.iter_mut().zip(fields) {
            *byte = value;
        }
        let writable = (CONTROL_ENABLE | CONTROL_FUNCTION_MASK).to_le_bytes();
        config.add_capability(capability::MSIX, &body, &writable)
    }

    /// Takes over the Message Control register (offset 2 of the capability) after the guest has written it. Vectors
    /// interrupt only while the function is `active`: in D0, with bus mastering.
    pub fn set_control(&self, control: u16, active: bool) {
        let enabled = control & CONTROL_ENABLE != 0;
        self.table().set_ready(enabled && active && control & CONTROL_FUNCTION_MASK == 0);
        self.enabled.store(enabled, Ordering::Release);
    }

    /// Whether the guest has enabled MSI-X, which turns INTx off.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Interrupts through `vector`, or sets its pending bit while it is masked. Vectors that do not exist, and all of
    /// them while MSI-X is off, stay silent.
    pub fn trigger(&self, vector: u16) {
        if self.enabled()
            && let Some(vector) = self.vectors.get(usize::from(vector))
        {
            // Only a counter about to overflow refuses a write, and then a signal is due already.
            let _ = vector.event().write(1);
        }
    }

    /// The vector of this number while MSI-X is on: signalling its event is as good as [`Self::trigger`].
    pub fn vector(&self, vector: u16) -> Option<Arc<dyn MsiVector>> {
        self.vectors.get(usize::from(vector)).filter(|_| self.enabled()).cloned()
    }

    /// Back to power-on: off, all vectors masked, nothing pending.
    pub fn reset(&self) {
        let Self { vectors, table: _, enabled } = self;
        enabled.store(false, Ordering::Release);
        self.table().reset();
        for vector in vectors {
            event::drain(vector.event());
        }
    }
}

impl BusDevice for Msix {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let table = self.table();
        match offset.checked_sub(Self::pba_offset(&table) as u64) {
            Some(offset) => table.read_pending(offset, data),
            None => table.read(offset, data),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        // The pending bits, behind the table, are read-only.
        self.table().write(offset, data);
        Action::None
    }
}
