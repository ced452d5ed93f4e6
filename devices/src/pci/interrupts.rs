//! All interrupts of an emulated function: INTx, and MSI or MSI-X in its place when the guest has enabled it.
//!
//! A function interrupts in one of two ways. One whose registers hold an interrupt *condition* gives that to
//! [`Interrupts::set_condition`], and it becomes the level of INTx or messages of vector 0. One that knows its vectors uses
//! [`Interrupts::trigger`] while messages are enabled.

use std::sync::Arc;

use crate::interrupt::{IrqLine, MsiVector};

use super::ConfigSpace;
use super::config::{command, reg, status};
use super::intx::Intx;
use super::msi::Msi;
use super::msix::Msix;

/// MSI-X and where it lies.
struct MsixPart {
    msix: Arc<Msix>,
    bar: u8,
    capability: u16,
}

/// The interrupts of one function.
pub struct Interrupts {
    intx: Intx,
    msi: Option<Msi>,
    msix: Option<MsixPart>,
}

impl Interrupts {
    /// A function that interrupts by `line`, which is INTA.
    pub fn new(config: &mut ConfigSpace, line: Arc<dyn IrqLine>) -> Self {
        config.set_interrupt_pin(1);
        Self { intx: Intx::new(line), msi: None, msix: None }
    }

    /// Adds the MSI capability, for as many of `vectors` as make a power of two. False, adding nothing, without vectors or
    /// room.
    pub fn add_msi(
        &mut self,
        config: &mut ConfigSpace,
        vectors: Vec<Arc<dyn MsiVector>>,
        masking: bool,
    ) -> bool {
        self.msi = Msi::add(config, vectors, masking);
        self.msi.is_some()
    }

    /// Adds the MSI-X capability, with a BAR of its own at `bar` (0–5). False without vectors or room.
    pub fn add_msix(&mut self, config: &mut ConfigSpace, bar: u8, vectors: Vec<Arc<dyn MsiVector>>) -> bool {
        let msix = Msix::new(vectors);
        if !config.add_bar(usize::from(bar), msix.bar()) {
            return false;
        }
        self.msix = msix.add_capability(config, bar).map(|capability| MsixPart { msix, bar, capability });
        self.msix.is_some()
    }

    /// The BAR that holds the MSI-X registers.
    pub fn msix_bar(&self) -> Option<(u8, &Arc<Msix>)> {
        self.msix.as_ref().map(|part| (part.bar, &part.msix))
    }

    /// Whether the guest has enabled messages, which turn INTx off.
    pub fn messages_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(|part| part.msix.enabled())
            || self.msi.as_ref().is_some_and(Msi::enabled)
    }

    /// Interrupts through a vector of MSI-X, else of MSI. Silent while neither is enabled.
    pub fn trigger(&self, vector: u16) {
        match &self.msix {
            Some(part) if part.msix.enabled() => part.msix.trigger(vector),
            _ => self.msi.iter().for_each(|msi| msi.trigger(vector)),
        }
    }

    /// A vector of MSI-X while that is on, for who signals its event without this program's help.
    pub fn vector(&self, vector: u16) -> Option<Arc<dyn MsiVector>> {
        self.msix.as_ref()?.msix.vector(vector)
    }

    /// Takes over the function's interrupt condition, whenever it may have changed. A condition that arises sends a message
    /// if MSI is enabled.
    pub fn set_condition(&self, asserted: bool) {
        if self.intx.set_condition(asserted) {
            self.send();
        }
    }

    /// The function's interrupt condition.
    pub fn condition(&self) -> bool {
        self.intx.pending()
    }

    /// The guest has written to a register of the function. A condition that is still there sends another message: a driver
    /// that handles one cause of several for each interrupt counts on it, as if MSI were a level.
    pub(super) fn register_written(&self) {
        if self.condition() {
            self.send();
        }
    }

    /// The message of the condition.
    fn send(&self) {
        if let Some(msi) = &self.msi {
            msi.trigger(0);
        }
    }

    /// Takes over the registers after the guest has written some. `awake` is D0; `bus_master` says whether messages, which are
    /// writes to memory, may be sent; until then they wait.
    pub(super) fn follow(&self, config: &ConfigSpace, awake: bool, bus_master: bool) {
        if let Some(part) = &self.msix {
            part.msix.set_control(config.u16(part.capability + 2), bus_master);
        }
        let begun = self.msi.as_ref().is_some_and(|msi| msi.follow(config, bus_master));
        let disabled = config.command() & command::INTX_DISABLE != 0;
        self.intx.set_silenced(disabled || !awake || self.messages_enabled());
        if begun && self.condition() {
            self.send();
        }
    }

    /// Fills in what the registers say of pending interrupts for a read of `data` at `register`.
    pub(super) fn overlay(&self, register: u16, data: &mut [u8]) {
        let status_byte = usize::from(reg::STATUS).wrapping_sub(usize::from(register));
        if let Some(byte) = data.get_mut(status_byte)
            && self.condition()
        {
            *byte |= status::INTERRUPT as u8;
        }
        if let Some(msi) = &self.msi {
            msi.overlay_pending(register, data);
        }
    }

    /// Power-on state. The registers are the owner's to reset.
    pub(super) fn reset(&self) {
        let Self { intx, msi, msix } = self;
        intx.reset();
        msi.iter().for_each(Msi::reset);
        msix.iter().for_each(|part| part.msix.reset());
    }
}
