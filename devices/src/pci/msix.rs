//! MSI-X of an emulated function: the capability, the vector table and the pending bit array (PCIe 6.0, 7.7.2).
//!
//! The table and the pending bits lie in a BAR of their own. A vector is *routed* while it can be delivered, that is
//! while MSI-X is enabled, the function is not masked and neither is the vector; what is triggered otherwise waits in
//! its pending bit. The route changes only when the message or that condition does.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::{Action, BusDevice};
use crate::interrupt::{MsiMessage, MsiVector};

use super::{Bar, BarKind, ConfigSpace, capability};

/// Most vectors that one function can have.
pub const MAX_VECTORS: usize = 2048;
/// Bytes of one table entry.
const ENTRY_SIZE: usize = 16;
/// Message Control bits that the guest writes: MSI-X Enable and Function Mask.
const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_FUNCTION_MASK: u16 = 1 << 14;

/// One table entry and what has become of it.
struct Vector {
    handle: Arc<dyn MsiVector>,
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
    /// MSI-X is on and the function as a whole is not masked.
    function_ready: bool,
    routed: Option<MsiMessage>,
}

impl Vector {
    fn new(handle: Arc<dyn MsiVector>) -> Self {
        // Vectors come out of reset masked (7.7.2.9).
        Self {
            handle,
            address: 0,
            data: 0,
            masked: true,
            pending: false,
            function_ready: false,
            routed: None,
        }
    }

    fn bytes(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        let fields = self.address.to_le_bytes().into_iter().chain(self.data.to_le_bytes());
        for (byte, value) in bytes.iter_mut().zip(fields.chain([u8::from(self.masked)])) {
            *byte = value;
        }
        bytes
    }

    fn set_bytes(&mut self, [a0, a1, a2, a3, a4, a5, a6, a7, d0, d1, d2, d3, mask, ..]: [u8; ENTRY_SIZE]) {
        // Bits 1:0 of the address are zero: messages are dwords.
        self.address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]) & !3;
        self.data = u32::from_le_bytes([d0, d1, d2, d3]);
        self.masked = mask & 1 != 0;
        self.update();
    }

    /// Makes the route what the registers say and delivers what was waiting for it.
    fn update(&mut self) {
        let deliverable = self.function_ready && !self.masked;
        let wanted = deliverable.then_some(MsiMessage { address: self.address, data: self.data });
        if wanted != self.routed {
            match self.handle.route(wanted) {
                Ok(()) => self.routed = wanted,
                Err(error) => {
                    // The vector stays pending until a later change of the entry succeeds.
                    self.routed = None;
                    tracing::warn!("cannot route an MSI-X vector: {error}");
                }
            }
        }
        if self.pending && self.routed.is_some() {
            self.pending = false;
            self.signal();
        }
    }

    fn signal(&self) {
        // Only a counter about to overflow refuses a write, and then a signal is due already.
        let _ = self.handle.event().write(1);
    }

    fn trigger(&mut self) {
        if self.routed.is_some() {
            self.signal();
        } else {
            self.pending = true;
        }
    }

    fn reset(&mut self) {
        let Self { handle: _, address, data, masked, pending, function_ready, routed: _ } = self;
        *address = 0;
        *data = 0;
        *masked = true;
        *pending = false;
        *function_ready = false;
        self.update();
    }
}

/// The MSI-X registers of one function. As a [`BusDevice`] it is the BAR that holds table and pending bits.
pub struct Msix {
    vectors: Vec<Mutex<Vector>>,
    enabled: AtomicBool,
}

impl Msix {
    /// Registers over `vectors`, of which the first [`MAX_VECTORS`] are used.
    pub fn new(vectors: Vec<Arc<dyn MsiVector>>) -> Arc<Self> {
        let vectors =
            vectors.into_iter().take(MAX_VECTORS).map(|handle| Mutex::new(Vector::new(handle))).collect();
        Arc::new(Self { vectors, enabled: AtomicBool::new(false) })
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
    fn pba_offset(&self) -> usize {
        (self.vectors.len() * ENTRY_SIZE).next_multiple_of(0x800)
    }

    fn pba_len(&self) -> usize {
        self.vectors.len().div_ceil(64) * 8
    }

    /// The BAR that table and pending bits need. It is 32 bits wide, since a table is not prefetchable and a bridge
    /// forwards only 32-bit addresses to such BARs.
    pub fn bar(&self) -> Bar {
        let size = (self.pba_offset() + self.pba_len()).next_power_of_two().max(0x1000);
        Bar { kind: BarKind::Memory32 { prefetchable: false }, size: size as u64 }
    }

    /// Adds the capability, with table and pending bits in BAR `bar` (0–5). `None` without vectors or space.
    pub fn add_capability(&self, config: &mut ConfigSpace, bar: u8) -> Option<u16> {
        let control = u16::try_from(self.vectors.len().checked_sub(1)?).ok()?;
        let pba = u32::try_from(self.pba_offset()).ok()?;
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

    /// Takes over the Message Control register (offset 2 of the capability) after the guest has written it.
    pub fn set_control(&self, control: u16) {
        let enabled = control & CONTROL_ENABLE != 0;
        let ready = enabled && control & CONTROL_FUNCTION_MASK == 0;
        for vector in &self.vectors {
            let mut vector = lock(vector);
            if vector.function_ready != ready {
                vector.function_ready = ready;
                vector.update();
            }
        }
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
            lock(vector).trigger();
        }
    }

    /// Back to power-on: off, all vectors masked, nothing pending.
    pub fn reset(&self) {
        let Self { vectors, enabled } = self;
        enabled.store(false, Ordering::Release);
        for vector in vectors {
            lock(vector).reset();
        }
    }

    fn pending_byte(&self, index: usize) -> u8 {
        let bits = self.vectors.iter().skip(index * 8).take(8).enumerate();
        bits.fold(0, |byte, (bit, vector)| byte | u8::from(lock(vector).pending) << bit)
    }
}

fn lock(vector: &Mutex<Vector>) -> MutexGuard<'_, Vector> {
    // Every change of a vector is complete before the lock is released.
    vector.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BusDevice for Msix {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let pba = self.pba_offset();
        for (at, byte) in (usize::try_from(offset).unwrap_or(usize::MAX)..).zip(data) {
            *byte = match self.vectors.get(at / ENTRY_SIZE) {
                Some(vector) => lock(vector).bytes().get(at % ENTRY_SIZE).copied().unwrap_or(0xff),
                None if at >= pba && at - pba < self.pba_len() => self.pending_byte(at - pba),
                None => 0xff,
            };
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = data;
        // An access that spans entries reaches each of them as one change.
        while let (Some(vector), false) = (self.vectors.get(at / ENTRY_SIZE), rest.is_empty()) {
            let within = at % ENTRY_SIZE;
            let (now, later) = rest.split_at(rest.len().min(ENTRY_SIZE - within));
            let mut vector = lock(vector);
            let mut bytes = vector.bytes();
            for (byte, value) in bytes.iter_mut().skip(within).zip(now) {
                *byte = *value;
            }
            vector.set_bytes(bytes);
            at += now.len();
            rest = later;
        }
        Action::None
    }
}
