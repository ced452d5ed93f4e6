//! Splits wide accesses for devices whose registers are single bytes, as the ISA bus does for 8-bit devices.

use crate::bus::Action;

/// Fills `data` from byte registers, lowest offset first.
pub(crate) fn read(offset: u64, data: &mut [u8], mut register: impl FnMut(u64) -> u8) {
    for (byte, at) in data.iter_mut().zip(offset..) {
        *byte = register(at);
    }
}

/// Hands `data` to byte registers, lowest offset first, and returns the last thing asked of the machine.
pub(crate) fn write(offset: u64, data: &[u8], mut register: impl FnMut(u64, u8) -> Action) -> Action {
    let mut action = Action::None;
    for (&byte, at) in data.iter().zip(offset..) {
        match register(at, byte) {
            Action::None => {}
            asked => action = asked,
        }
    }
    action
}
