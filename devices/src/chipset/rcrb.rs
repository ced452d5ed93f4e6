//! The root complex register block that RCBA shows (ICH9 datasheet, chapter 10). The machine's interrupt wires are
//! fixed and nothing else in the block has an effect, so all of it is read-only.

use crate::bus::{Action, BusDevice};

/// Device 31 down to device 25 Interrupt Route: four bits each for INTA–INTD, 0 = PIRQA. Device 30's
/// register is reserved.
const INTERRUPT_ROUTES: [(u64, u16); 7] = [
    (0x3140, 0x3210),
    (0x3142, 0x0000),
    (0x3144, 0x3210),
    (0x3146, 0x3210),
    (0x3148, 0x3210),
    (0x314c, 0x3210),
    (0x3150, 0x3210),
];

/// General Control and Status. NO_REBOOT is strapped on: there is no TCO watchdog behind it, and a driver
/// that finds the strap leaves the watchdog alone.
const GCS: u64 = 0x3410;
const NO_REBOOT: u8 = 1 << 5;

/// The register block.
#[derive(Default)]
pub(super) struct RootComplexRegisters;

impl BusDevice for RootComplexRegisters {
    fn read(&self, offset: u64, data: &mut [u8]) {
        crate::bytewise::read(offset, data, |at| {
            let route = INTERRUPT_ROUTES.iter().find(|(register, _)| at & !1 == *register);
            match route {
                Some((_, value)) => value.to_le_bytes()[usize::from(at & 1 != 0)],
                None if at == GCS => NO_REBOOT,
                None => 0,
            }
        });
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Action {
        Action::None
    }
}
