//! The two ports that reset the machine: the reset control register at 0xCF9 (ICH9 datasheet, 13.7, RST_CNT), which ACPI's
//! `RESET_REG` names (ACPI 6.5, 4.8.4.6), and port 0x92 (PORT92).

use std::sync::atomic::{AtomicU8, Ordering};

use crate::bus::{Action, BusDevice};
use crate::bytewise;

/// RST_CPU: starts a reset.
const RST_CPU: u8 = 1 << 2;
/// FULL_RST and SYS_RST: which kind of reset, of which this machine has one.
const KIND: u8 = 1 << 3 | 1 << 1;

/// The reset control register, one port.
#[derive(Debug, Default)]
pub struct ResetControl {
    kind: AtomicU8,
}

impl ResetControl {
    /// Puts the register in its power-on state.
    pub fn reset(&self) {
        let Self { kind } = self;
        kind.store(0, Ordering::Relaxed);
    }
}

impl BusDevice for ResetControl {
    fn read(&self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| if at == 0 { self.kind.load(Ordering::Relaxed) } else { 0xff });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        bytewise::write(offset, data, |at, value| {
            if at != 0 {
                return Action::None;
            }
            self.kind.store(value & KIND, Ordering::Relaxed);
            // RST_CPU never stays set, so every write of a one is the rising edge that resets.
            if value & RST_CPU != 0 { Action::Reset } else { Action::None }
        })
    }
}

/// INIT_NOW: a rising edge resets the processors.
const INIT_NOW: u8 = 1 << 0;
/// ALT_A20_GATE. KVM has no A20 gate, so the bit is only remembered.
const ALT_A20_GATE: u8 = 1 << 1;

/// Port 0x92, the fast way to A20 and reset, one port.
#[derive(Debug, Default)]
pub struct Port92 {
    value: AtomicU8,
}

impl Port92 {
    /// Puts the port in its power-on state.
    pub fn reset(&self) {
        let Self { value } = self;
        value.store(0, Ordering::Relaxed);
    }
}

impl BusDevice for Port92 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| if at == 0 { self.value.load(Ordering::Relaxed) } else { 0xff });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        bytewise::write(offset, data, |at, value| {
            if at != 0 {
                return Action::None;
            }
            let old = self.value.swap(value & (INIT_NOW | ALT_A20_GATE), Ordering::Relaxed);
            if value & !old & INIT_NOW != 0 { Action::Reset } else { Action::None }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vocabulary::ports::{RESET_CONTROL, RESET_CONTROL_VALUE};

    use super::*;
    use crate::bus::{Bus, Priority};

    #[test]
    fn reset_control_resets_on_rst_cpu_only() {
        let bus = Bus::new();
        let device = Arc::new(ResetControl::default());
        bus.insert(RESET_CONTROL.range(), Priority::Platform, device.clone());
        let mut view = bus.view();
        for value in 0..=0xff_u8 {
            let expected = if value & 4 != 0 { Action::Reset } else { Action::None };
            assert_eq!(view.write(u64::from(RESET_CONTROL.first()), &[value]), expected, "{value:#x}");
            let mut byte = [0xff];
            view.read(u64::from(RESET_CONTROL.first()), &mut byte);
            assert_eq!(byte[0], value & 0x0a);
        }
        device.reset();
        let mut byte = [0xff];
        view.read(u64::from(RESET_CONTROL.first()), &mut byte);
        assert_eq!(byte, [0]);
    }

    #[test]
    fn reset_value_of_acpi_resets() {
        assert_eq!(ResetControl::default().write(0, &[RESET_CONTROL_VALUE]), Action::Reset);
    }

    #[test]
    fn port_92_resets_on_the_rising_edge() {
        let device = Port92::default();
        assert_eq!(device.write(0, &[0x02]), Action::None, "A20 alone");
        let mut byte = [0];
        device.read(0, &mut byte);
        assert_eq!(byte, [0x02]);
        assert_eq!(device.write(0, &[0x03]), Action::Reset);
        assert_eq!(device.write(0, &[0x03]), Action::None, "no edge");
        device.reset();
        device.read(0, &mut byte);
        assert_eq!(byte, [0]);
        assert_eq!(device.write(0, &[0x01]), Action::Reset);
    }
}
