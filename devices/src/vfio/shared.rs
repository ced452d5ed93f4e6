//! What a passed-through function and its BARs share: configuration cycles, and the order in which the guest and the
//! device get to see what follows from them.
//!
//! Memory is taken from the guest before the device stops answering there (Memory Space Enable off, D3hot, a reset), and
//! given after the device answers. So a write that takes memory away reaches the device in [`Shared::settle`], when the
//! buses have followed. The root complex lets one such write at a time go all the way; only writes by way of a BAR may
//! come in between, and these wait behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pci::Written;
use crate::pci::config::{command, reg};

use super::config::{Access, Capabilities, OPREGION_ADDRESS, Table};
use super::host::{HostDevice, region};
use super::interrupt::{Interrupts, MsiRegisters};
use super::write::ConfigWrite;

/// What a guest's write leaves to do for the time after the buses have followed.
enum Deferred {
    /// A write to the device's own configuration space.
    Write(ConfigWrite),
    /// The write that starts a function-level reset.
    FunctionReset(ConfigWrite),
    /// Power-on reset.
    Reset,
}

/// What changes.
pub(super) struct State {
    pub(super) table: Table,
    pub(super) interrupts: Interrupts,
    deferred: Vec<Deferred>,
}

/// A function but for its BARs.
pub(super) struct Shared {
    pub(super) host: Arc<dyn HostDevice>,
    pub(super) capabilities: Capabilities,
    /// The Command register of the device at rest: no DMA, no interrupt, nothing decoded. What the host has decided
    /// otherwise, such as how errors are reported, is as it was found.
    idle_command: u16,
    state: Mutex<State>,
}

impl Shared {
    /// A function as at power-on. `command` is its Command register as the device was found.
    pub(super) fn new(
        host: Arc<dyn HostDevice>,
        command: u16,
        capabilities: Capabilities,
        table: Table,
        interrupts: Interrupts,
    ) -> Arc<Self> {
        let active = command::IO | command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;
        let state = Mutex::new(State { table, interrupts, deferred: Vec::new() });
        Arc::new(Self { host, capabilities, idle_command: command & !active, state })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Registers behind masks: every state is one that a guest could have written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config_read(&self, register: u16, data: &mut [u8]) {
        let state = self.lock();
        if let Some(part) = state.table.hardware_part(register, data.len()) {
            let from = usize::from(part.start - register);
            let real = data.get_mut(from..from + part.len()).unwrap_or_default();
            if self.host.read(region::CONFIG, u64::from(part.start), real).is_err() {
                // Nobody answers: the device is gone.
                data.fill(0xff);
                return;
            }
        }
        state.table.overlay(register, data);
    }

    /// Takes the lock twice: [`Shared::admit_bus_mastering`] may wait for long between a look at the table and the write.
    /// A write by way of a BAR may come in between and change what was seen, without harm: bus mastering that was on has
    /// waited for the guest's memory once, and the device finds it from then on.
    pub(super) fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let write = self.admit_bus_mastering(ConfigWrite::new(register, data));
        let mut state = self.lock();
        let State { table, interrupts, deferred } = &mut *state;
        if self.starts_function_reset(&write) {
            interrupts.before_reset();
            table.reset();
            deferred.push(Deferred::FunctionReset(write));
            return Written { decode_changed: true, ..Written::default() };
        }
        let (had_memory, before) = (decodes_memory(table), table.decoded());
        table.write(write.register(), write.data());
        let loses_memory = had_memory && !decodes_memory(table);
        // Later writes must not overtake one that waits.
        if loses_memory || !deferred.is_empty() {
            deferred.push(Deferred::Write(write));
        } else {
            self.pass_on(table, interrupts, &write);
        }
        let decode_changed = table.decoded() != before || !deferred.is_empty();
        Written { decode_changed, ..Written::default() }
    }

    /// Fills in the address of the OpRegion as firmware would, unless the guest's has done so. False if the function has no
    /// register for it.
    pub(super) fn preset_opregion(&self, address: u32) -> bool {
        let mut state = self.lock();
        let State { table, interrupts, deferred } = &mut *state;
        if !table.has_opregion_address() {
            return false;
        }
        if table.u32(OPREGION_ADDRESS) == 0 {
            let write = ConfigWrite::new(OPREGION_ADDRESS, &address.to_le_bytes());
            table.write(write.register(), write.data());
            if deferred.is_empty() {
                self.pass_on(table, interrupts, &write);
            } else {
                deferred.push(Deferred::Write(write));
            }
        }
        true
    }

    /// Holds a write that turns bus mastering on until the device finds the guest's memory; takes the bit out when it
    /// never will.
    fn admit_bus_mastering(&self, write: ConfigWrite) -> ConfigWrite {
        let bit = command::BUS_MASTER as u8;
        let sets = write.byte(reg::COMMAND).is_some_and(|byte| byte & bit != 0);
        if !sets || self.lock().table.command() & command::BUS_MASTER != 0 {
            return write;
        }
        // Without the function's lock: this may take as long as pinning all memory does.
        if self.host.wait_for_dma() { write } else { write.without(reg::COMMAND, bit) }
    }

    /// Initiate Function Level Reset in Device Control (PCIe 6.0, 7.5.3.4) or in the Advanced Features capability.
    pub(super) fn starts_function_reset(&self, write: &ConfigWrite) -> bool {
        let controls = self.capabilities.reset_controls.iter().flatten();
        controls.into_iter().any(|&(at, mask)| write.byte(at).is_some_and(|byte| byte & mask != 0))
    }

    /// Lets the device see what it is to see of a write that the table has, and then has its interrupts follow.
    fn pass_on(&self, table: &Table, interrupts: &mut Interrupts, write: &ConfigWrite) {
        self.forward(table, write);
        if let Some(msi) = &self.capabilities.msi
            && write.touches(msi.offset + 2, msi.size() - 2)
        {
            let vectors = msi.enabled(table);
            interrupts.set_msi(MsiRegisters {
                enabled: vectors > 0,
                multiple: vectors.checked_ilog2().unwrap_or_default() as u8,
                message: msi.message(table),
            });
        }
        if let Some(msix) = &self.capabilities.msix
            && write.touches(msix.offset + 2, 2)
        {
            interrupts.set_msix_control(msix.control(table));
        }
    }

    fn forward(&self, table: &Table, write: &ConfigWrite) {
        for (register, part) in table.forwarded(write.register(), write.data()) {
            for access in table.accesses(register, part) {
                if access.widen {
                    self.write_dword(access);
                } else {
                    self.write(access.register, access.data);
                }
            }
        }
    }

    /// Writes the dword around an access, with what the device has in it.
    fn write_dword(&self, access: Access<'_>) {
        let base = access.register & !3;
        let mut dword = [0; 4];
        if let Err(error) = self.host.read(region::CONFIG, base.into(), &mut dword) {
            crate::limited_debug!(device = self.host.name(), base, %error, "lost a configuration write");
            return;
        }
        let skipped = usize::from(access.register - base);
        dword.iter_mut().skip(skipped).zip(access.data).for_each(|(byte, value)| *byte = *value);
        self.write(base, &dword);
    }

    fn write(&self, register: u16, data: &[u8]) {
        if let Err(error) = self.host.write(region::CONFIG, u64::from(register), data) {
            crate::limited_debug!(device = self.host.name(), register, %error, "lost a configuration write");
        }
    }

    /// The machine, or the bus that the function is on, is reset.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.interrupts.before_reset();
        state.table.reset();
        state.deferred.push(Deferred::Reset);
        self.host.announce_reset();
    }

    /// The buses decode what the table says.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        let State { table, interrupts, deferred } = &mut *state;
        for deferred in std::mem::take(deferred) {
            match deferred {
                Deferred::Write(write) => self.pass_on(table, interrupts, &write),
                Deferred::FunctionReset(write) => {
                    // No DMA may be under way while the function resets.
                    self.quieten();
                    // The guest is told that it is in D0 afterwards.
                    self.wake();
                    self.forward(table, &write);
                    interrupts.after_reset();
                }
                Deferred::Reset => {
                    self.quieten();
                    self.wake();
                    if let Err(error) = self.host.reset() {
                        let device = self.host.name();
                        crate::limited_warn!(device, %error, "the device could not be reset");
                    }
                    interrupts.after_reset();
                }
            }
        }
    }

    /// Stops the device.
    fn quieten(&self) {
        self.write(reg::COMMAND, &self.idle_command.to_le_bytes());
    }

    /// Brings the device to D0, where it can be reset. Its memory is not decoded.
    fn wake(&self) {
        let Some(power) = self.capabilities.power else { return };
        let control = power + 4;
        let mut state = [0; 1];
        if self.host.read(region::CONFIG, u64::from(control), &mut state).is_ok() && state[0] & 3 != 0 {
            self.write(control, &[state[0] & !3]);
        }
    }
}

/// Whether the device's memory answers, as the guest knows it.
///
/// Ports do not matter for the order of things: each access to them traps, and gets ones when the device does not
/// answer.
fn decodes_memory(table: &Table) -> bool {
    table.in_d0() && table.command() & command::MEMORY != 0
}
