//! The registers in the BAR (xHCI 1.1, 5.3–5.6 and 7). Every width is read and written, at any place: parts of a dword as they are, and a write
//! of a part leaves the flags in the rest of it alone that are cleared by writing ones.

use super::events::{BUSY, ENABLED, PENDING};
use super::{PORTS, SLOTS, State, USB2_PORTS, USB3_PORTS};

/// Bytes of the BAR.
pub(super) const SIZE: u64 = 0x4000;

/// Where the groups of registers begin.
const OPERATIONAL: u32 = 0x40;
const PORT_REGISTERS: u32 = OPERATIONAL + 0x400;
const PORT_SIZE: u32 = 0x10;
const PORTS_END: u32 = PORT_REGISTERS + PORT_SIZE * PORTS as u32;
const EXTENDED: u32 = 0x800;
const RUNTIME: u32 = 0x1000;
const INTERRUPTER: u32 = RUNTIME + 0x20;
const DOORBELLS: u32 = 0x2000;
const DOORBELLS_END: u32 = DOORBELLS + 4 * (SLOTS as u32 + 1);
const _: () = assert!(PORTS_END <= EXTENDED && DOORBELLS_END as u64 <= SIZE);

/// USBCMD.
pub(super) mod command {
    pub(in crate::usb::xhci) const RUN: u32 = 1;
    pub(super) const RESET: u32 = 1 << 1;
    pub(in crate::usb::xhci) const INTERRUPTS: u32 = 1 << 2;
    /// Host System Error Enable, which is kept: there is no such error.
    pub(super) const SYSTEM_ERRORS: u32 = 1 << 3;
    pub(super) const SAVE: u32 = 1 << 8;
    pub(super) const RESTORE: u32 = 1 << 9;
}

/// USBSTS.
pub(super) mod status {
    pub(super) const HALTED: u32 = 1;
    pub(in crate::usb::xhci) const EVENT: u32 = 1 << 3;
    pub(in crate::usb::xhci) const PORT_CHANGED: u32 = 1 << 4;
    pub(super) const RESTORE_ERROR: u32 = 1 << 10;
    /// Host Controller Error.
    pub(in crate::usb::xhci) const ERROR: u32 = 1 << 12;
    pub(super) const CLEARED: u32 = 1 << 2 | EVENT | PORT_CHANGED | RESTORE_ERROR;
}

/// CRCR.
const COMMANDS_STOP: u32 = 1 << 1;
const COMMANDS_ABORT: u32 = 1 << 2;
const COMMANDS_RUNNING: u32 = 1 << 3;

/// A Supported Protocol capability (7.2): `next` in dwords, 0 for the last; the revision; the first port from 1, and their number.
const fn protocol(next: u32, revision: u32, first: usize, count: usize) -> [u32; 4] {
    [2 | next << 8 | revision << 24, u32::from_le_bytes(*b"USB "), first as u32 | (count as u32) << 8, 0]
}
const USB3: [u32; 4] = protocol(4, 3, 1, USB3_PORTS);
const USB2: [u32; 4] = protocol(0, 2, 1 + USB3_PORTS, USB2_PORTS);

impl State {
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let Ok(offset) = u32::try_from(offset) else { return };
        for (at, byte) in (offset..).zip(data) {
            let [b0, b1, b2, b3] = self.dword(at & !3).to_le_bytes();
            *byte = match at & 3 {
                0 => b0,
                1 => b1,
                2 => b2,
                _ => b3,
            };
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(mut at) = u32::try_from(offset) else { return };
        let mut rest = data;
        while !rest.is_empty() {
            let shift = at & 3;
            let (part, more) = rest.split_at(rest.len().min((4 - shift) as usize));
            let (mut value, mut mask) = (0u32, 0u32);
            for (byte, place) in part.iter().zip(shift..) {
                value |= u32::from(*byte) << (8 * place);
                mask |= 0xff << (8 * place);
            }
            self.write_dword(at & !3, value, mask);
            let Some(next) = (at & !3).checked_add(4) else { return };
            (at, rest) = (next, more);
        }
    }

    fn dword(&self, at: u32) -> u32 {
        match at {
            // Version 1.0, which all drivers know.
            0x00 => OPERATIONAL | 0x0100 << 16,
            0x04 => SLOTS as u32 | 1 << 8 | (PORTS as u32) << 24,
            // Isochronous scheduling threshold, of which nothing depends; event ring segment tables of one entry; no scratchpad.
            0x08 => 0xf,
            // 64-bit addresses; extended capabilities.
            0x10 => 1 | (EXTENDED / 4) << 16,
            0x14 => DOORBELLS,
            0x18 => RUNTIME,
            OPERATIONAL..PORT_REGISTERS => self.operational(at - OPERATIONAL),
            PORT_REGISTERS..PORTS_END => self.port_register(at - PORT_REGISTERS),
            EXTENDED.. if at < EXTENDED + 0x20 => {
                let index = ((at - EXTENDED) / 4) as usize;
                USB3.iter().chain(&USB2).nth(index).copied().unwrap_or(0)
            }
            RUNTIME => self.microframe(),
            INTERRUPTER.. if at < INTERRUPTER + 0x20 => self.interrupter(at - INTERRUPTER),
            _ => 0,
        }
    }

    fn operational(&self, at: u32) -> u32 {
        match at {
            0x00 => self.command,
            0x04 => self.status | if self.is_running() { 0 } else { status::HALTED },
            // 4 KiB.
            0x08 => 1,
            0x14 => self.notifications,
            0x18 if self.commands_running => COMMANDS_RUNNING,
            0x30 => self.contexts as u32,
            0x34 => (self.contexts >> 32) as u32,
            0x38 => self.config,
            _ => 0,
        }
    }

    fn port_register(&self, at: u32) -> u32 {
        let Some(port) = self.ports.get((at / PORT_SIZE) as usize) else { return 0 };
        match at % PORT_SIZE {
            0 => port.status(),
            4 => port.power,
            _ => 0,
        }
    }

    fn interrupter(&self, at: u32) -> u32 {
        let events = &self.events;
        match at {
            0x00 => {
                let enabled = if events.enabled { ENABLED } else { 0 };
                enabled | if events.pending { PENDING } else { 0 }
            }
            0x04 => events.moderation,
            0x08 => events.table_size,
            0x10 => events.table as u32,
            0x14 => (events.table >> 32) as u32,
            0x18 => events.dequeue() as u32,
            0x1c => (events.dequeue() >> 32) as u32,
            _ => 0,
        }
    }

    /// MFINDEX: units of 125 µs while the controller runs.
    fn microframe(&self) -> u32 {
        if !self.is_running() {
            return 0;
        }
        (self.started.elapsed().as_micros() / 125) as u32 & 0x3fff
    }

    /// Writes the bits of `mask`.
    fn write_dword(&mut self, at: u32, value: u32, mask: u32) {
        let merged = |old: u32| old & !mask | value & mask;
        match at {
            OPERATIONAL..PORT_REGISTERS => self.write_operational(at - OPERATIONAL, value, mask),
            PORT_REGISTERS..PORTS_END => {
                let at = at - PORT_REGISTERS;
                let index = (at / PORT_SIZE) as usize;
                let Some(port) = self.ports.get_mut(index) else { return };
                match at % PORT_SIZE {
                    0 => {
                        // What is not written and would do something, does not.
                        let kept = port.status() & 0x0e00_c000;
                        if port.write(kept & !mask | value & mask) {
                            self.tell_port(index);
                        }
                        self.ports_changed();
                    }
                    4 => port.power = merged(port.power),
                    _ => {}
                }
            }
            INTERRUPTER.. if at < INTERRUPTER + 0x20 => self.write_interrupter(at - INTERRUPTER, value, mask),
            // A doorbell is a whole dword, and its target is in the lowest byte.
            DOORBELLS..DOORBELLS_END if mask & 0xff != 0 && self.is_running() => {
                let slot = ((at - DOORBELLS) / 4) as usize;
                match (slot, value & 0xff) {
                    (0, 0) => self.ring_commands(),
                    (0, _) => {}
                    (slot, target) => self.ring_endpoint(slot, target as usize),
                }
            }
            _ => {}
        }
    }

    fn write_operational(&mut self, at: u32, value: u32, mask: u32) {
        let merged = |old: u32| old & !mask | value & mask;
        match at {
            0x00 => self.write_command(merged(self.command)),
            0x04 => self.status &= !(value & mask & status::CLEARED),
            0x14 => self.notifications = merged(self.notifications) & 0xffff,
            0x18 => self.write_command_ring(value, mask),
            0x1c if !self.commands_running => {
                self.commands.at = set_high(self.commands.at, value, mask);
            }
            0x30 => self.contexts = set_low(self.contexts, value, mask) & !0x3f,
            0x34 => self.contexts = set_high(self.contexts, value, mask),
            0x38 => self.config = merged(self.config) & 0xff,
            _ => {}
        }
    }

    fn write_command(&mut self, value: u32) {
        if value & command::RESET != 0 {
            self.restart();
            return;
        }
        self.command = self.command & command::RUN | value & (command::INTERRUPTS | command::SYSTEM_ERRORS);
        if value & command::SAVE != 0 {
            self.status &= !status::RESTORE_ERROR;
        }
        if value & command::RESTORE != 0 {
            // What was saved is not kept: the driver initialises the controller anew.
            self.status |= status::RESTORE_ERROR;
        }
        match (value & command::RUN != 0, self.is_running()) {
            (true, false) => self.run(),
            (false, true) => self.halt(),
            _ => {}
        }
    }

    fn write_command_ring(&mut self, value: u32, mask: u32) {
        if !self.commands_running {
            // The cycle state is bit 0; the pointer's low bits are flags.
            self.commands.at = set_low(self.commands.at, value, mask) & !0x3f;
            if mask & 1 != 0 {
                self.commands.cycle = value & 1 != 0;
            }
        } else if value & mask & (COMMANDS_STOP | COMMANDS_ABORT) != 0 {
            self.stop_commands();
        }
    }

    fn write_interrupter(&mut self, at: u32, value: u32, mask: u32) {
        let events = &mut self.events;
        let merged = |old: u32| old & !mask | value & mask;
        match at {
            0x00 => {
                if value & mask & PENDING != 0 {
                    events.pending = false;
                }
                if mask & ENABLED != 0 {
                    events.enabled = value & ENABLED != 0;
                }
            }
            0x04 => events.moderation = merged(events.moderation),
            0x08 => events.table_size = merged(events.table_size) & 0xffff,
            0x10 => events.table = set_low(events.table, value, mask) & !0x3f,
            0x14 => {
                events.table = set_high(events.table, value, mask);
                // Software writes the upper half last (5.1).
                events.restart();
            }
            0x18 => {
                let busy = BUSY as u32;
                // Half a write of the flag's byte is none of the flag.
                let flags = if mask & busy != 0 { value } else { value & !busy };
                events.set_dequeue(u64::from(flags), u64::from(mask));
                self.resume();
            }
            0x1c => {
                events.set_dequeue(u64::from(value) << 32, u64::from(mask) << 32);
                self.resume();
            }
            _ => {}
        }
    }

    /// The driver has taken events: what waited for room goes on.
    fn resume(&mut self) {
        if self.events.is_backlogged() {
            self.events.flush(&self.dma);
            if !self.events.is_backlogged() {
                self.run_all();
            }
        }
    }

    /// Ports were written: devices learn of it, and a bus that is active again goes on.
    fn ports_changed(&mut self) {
        self.tell_bus();
        self.run_all();
    }
}

fn set_low(old: u64, value: u32, mask: u32) -> u64 {
    old & !u64::from(mask) | u64::from(value & mask)
}

fn set_high(old: u64, value: u32, mask: u32) -> u64 {
    old & !(u64::from(mask) << 32) | u64::from(value & mask) << 32
}
