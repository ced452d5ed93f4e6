//! The pvpanic port, by which a guest's kernel says that it has panicked (QEMU, docs/specs/pvpanic.rst, the ISA form).

use crate::bus::{Action, BusDevice};
use crate::bytewise;

/// The guest has panicked and stops.
const PANICKED: u8 = 1 << 0;
/// The guest has panicked and goes on in its crash kernel.
const CRASH_LOADED: u8 = 1 << 1;
/// The guest wants to be powered off.
const SHUTDOWN: u8 = 1 << 2;

/// The pvpanic device, one port.
#[derive(Debug, Default)]
pub struct Pvpanic;

impl BusDevice for Pvpanic {
    fn read(&self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| if at == 0 { PANICKED | CRASH_LOADED | SHUTDOWN } else { 0xff });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        bytewise::write(offset, data, |at, events| match (at, events) {
            (0, events) if events & PANICKED != 0 => Action::GuestPanicked,
            (0, events) if events & SHUTDOWN != 0 => Action::PowerOff,
            (0, events) if events & CRASH_LOADED != 0 => {
                crate::limited_debug!("guest panicked and started its crash kernel");
                Action::None
            }
            _ => Action::None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announces_and_reports_events() {
        let mut byte = [0];
        Pvpanic.read(0, &mut byte);
        assert_eq!(byte, [7]);
        let cases = [
            (0, Action::None),
            (1, Action::GuestPanicked),
            (2, Action::None),
            (3, Action::GuestPanicked),
            (4, Action::PowerOff),
            (5, Action::GuestPanicked),
            (0xf8, Action::None),
        ];
        for (events, expected) in cases {
            assert_eq!(Pvpanic.write(0, &[events]), expected, "{events:#x}");
        }
    }
}
