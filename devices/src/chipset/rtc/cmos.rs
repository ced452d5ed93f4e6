//! The battery-backed memory behind the clock's registers, and what firmware finds there before the first boot.

use super::{REGISTER_A, REGISTER_A_POWER_ON, REGISTER_B_POWER_ON};

/// RAM sizes that firmware finds in CMOS if it looks there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CmosMemory {
    /// Bytes of RAM from address 0.
    pub below_4g: u64,
    /// Bytes of RAM from 4 GiB.
    pub above_4g: u64,
}

pub(super) fn store(bank: &mut [u8; 128], index: u8, value: u8) {
    if let Some(byte) = bank.get_mut(usize::from(index)) {
        *byte = value;
    }
}

/// CMOS as a VM's battery keeps it before the first boot.
pub(super) fn initial_cmos(memory: CmosMemory) -> [u8; 128] {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    let mut cmos = [0; 128];
    let mut put = |at: u8, bytes: &[u8]| {
        for (index, &byte) in (at..).zip(bytes) {
            store(&mut cmos, index, byte);
        }
    };
    put(REGISTER_A, &[REGISTER_A_POWER_ON, REGISTER_B_POWER_ON]);
    // Equipment: PS/2 mouse and floating point unit.
    put(0x14, &[0x06]);
    let capped = |size: u64, max: u64| size.min(max).to_le_bytes();
    // KiB below 640 KiB and KiB above 1 MiB, the latter twice, as the IBM AT had them.
    put(0x15, &capped(640, 0xffff)[..2]);
    let extended = capped(memory.below_4g.saturating_sub(MIB) / KIB, 0xffff);
    put(0x17, &extended[..2]);
    put(0x30, &extended[..2]);
    // 64 KiB units above 16 MiB and above 4 GiB (edk2, OvmfPkg/Library/PlatformInitLib/MemDetect.c).
    put(0x34, &capped(memory.below_4g.saturating_sub(16 * MIB) / (64 * KIB), 0xffff)[..2]);
    put(0x5b, &capped(memory.above_4g / (64 * KIB), 0xff_ffff)[..3]);
    cmos
}
