//! The Trusted Platform Module 2.0: where its registers are, and the memory through which an operating system asks the firmware for what
//! only a person at the machine may have (TCG PC Client Physical Presence Interface 1.30).
//!
//! The places are those that PC firmware expects (TCG PC Client Platform TPM Profile 1.05, 6.2). The layout of the shared memory is the one
//! that OVMF and SeaBIOS know (edk2 `OvmfPkg/Include/IndustryStandard/QemuTpm.h`).

use crate::AddressRange;

/// Registers and buffer of locality 0 of the Command Response Buffer interface.
pub const CRB: AddressRange = AddressRange::fixed(0xfed4_0000, 0xfed4_0fff);

/// Where the control area, which the table TPM2 names, begins in [`CRB`].
pub const CONTROL_AREA: u64 = 0x40;

/// Where the buffer begins in [`CRB`]; it has the rest of it.
pub const BUFFER: u64 = 0x80;

/// Bytes of the buffer: the longest command and the longest response.
pub const BUFFER_SIZE: usize = (CRB.len() - BUFFER) as usize;

/// Memory that firmware and operating system share. It outlives resets, and is zero when the machine is switched on.
pub const PRESENCE: AddressRange = AddressRange::fixed(0xfed4_5000, 0xfed4_53ff);

/// In [`PRESENCE`]: the firmware's response to the last operation, a dword. Behind it are dwords with the operation that is asked for, its
/// parameter, and the last operation. Before it, from the beginning on, is how the firmware treats each of 256 operations, a byte each: 0 is
/// one that it does not know, 2 one that it refuses.
pub const PRESENCE_RESPONSE: u64 = 0x105;
/// In [`PRESENCE`]: bit 0 asks for memory to be cleared at the next reset (TCG PC Client Platform Reset Attack Mitigation 1.10), a byte.
pub const PRESENCE_CLEAR_MEMORY: u64 = 0x15a;

/// fw_cfg file that tells the firmware where [`PRESENCE`] is.
pub const CONFIG_FILE: &str = "etc/tpm/config";

/// Content of [`CONFIG_FILE`]: the address, 2 for a TPM 2.0, and 1 for version 1.30 of the interface.
pub const fn config() -> [u8; 6] {
    let [a, b, c, d, ..] = PRESENCE.base().to_le_bytes();
    [a, b, c, d, 2, 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{LOCAL_APICS, PLATFORM, ROOT_COMPLEX};

    #[test]
    fn its_places_are_the_platforms_and_apart() {
        assert!(PLATFORM.covers(CRB) && PLATFORM.covers(PRESENCE));
        let parts = [ROOT_COMPLEX, CRB, PRESENCE, LOCAL_APICS];
        assert!(parts.windows(2).all(|pair| pair[0].last() < pair[1].base()));
        assert_eq!(BUFFER_SIZE, 0xf80);
        assert_eq!(config(), [0x00, 0x50, 0xd4, 0xfe, 2, 1]);
    }
}
