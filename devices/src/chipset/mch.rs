//! The memory controller hub's host bridge, 00:00.0 ("Intel 3 Series Express Chipset Family Datasheet", 316966,
//! chapter 5). It owns PCIEXBAR, which decides where the ECAM lies. RAM is not remapped here: the PAM and SMRAM
//! registers keep what is written and change nothing, because nothing lies beneath the RAM that they could uncover.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vocabulary::AddressRange;

use super::VENDOR;
use crate::bus::BusDevice;
use crate::pci::{ConfigSpace, Ids, PciFunction, Region, Space, Written};

/// "DRAM Controller" of the 82G33.
const DEVICE: u16 = 0x29c0;

/// PCI Express Register Range Base Address, 64 bits.
const PCIEXBAR: u16 = 0x60;
/// Programmable Attribute Map 0–6 and the legacy access control.
const PAM: u16 = 0x90;
/// System Management RAM Control: D_OPEN, D_CLS, D_LCK, G_SMRAME over a hard-wired C_BASE_SEG of 010b.
const SMRAM: u16 = 0x9d;

/// PCIEXBAREN.
const ENABLE: u64 = 1;
/// Base address bits that matter at every length, 35:28.
const BASE_256M: u64 = 0xf_f000_0000;
const MIB: u64 = 1 << 20;

/// The host bridge.
pub struct Mch {
    config: Mutex<ConfigSpace>,
    ecam: Arc<dyn BusDevice>,
}

impl Mch {
    /// A host bridge that shows `ecam` wherever the guest puts PCIEXBAR. Offset 0 of `ecam` is bus 0, device 0,
    /// function 0, register 0.
    pub fn new(ecam: Arc<dyn BusDevice>) -> Arc<Self> {
        let mut config = ConfigSpace::endpoint(
            Ids {
                vendor: VENDOR,
                device: DEVICE,
                revision: 0,
                class: 0x06_00_00,
                subsystem_vendor: VENDOR,
                subsystem: DEVICE,
            },
            false,
        );
        config.preset(PCIEXBAR, &0xe000_0000u64.to_le_bytes());
        // Bits 27 and 26 take part in the base only at the shorter lengths; bits 63:36 are reserved.
        config.allow_write(PCIEXBAR, &(BASE_256M | 0x0c00_0007).to_le_bytes());
        config.allow_write(PAM, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x83]);
        config.preset(SMRAM, &[0x02]);
        config.allow_write(SMRAM, &[0x78]);
        // ESMRAMC (0x9e) and the TSEG registers stay zero: the machine has no SMM, and firmware that needs it has to
        // find that out here.
        Arc::new(Self { config: Mutex::new(config), ecam })
    }

    fn lock(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the guest has put the ECAM: 256, 128 or 64 MiB, `None` while PCIEXBAR is off or its length reserved.
    pub fn ecam(&self) -> Option<AddressRange> {
        let config = self.lock();
        let register = u64::from(config.u32(PCIEXBAR)) | u64::from(config.u32(PCIEXBAR + 4)) << 32;
        drop(config);
        if register & ENABLE == 0 {
            return None;
        }
        let (mask, len) = match register >> 1 & 3 {
            0 => (BASE_256M, 256 * MIB),
            1 => (BASE_256M | 0x0800_0000, 128 * MIB),
            2 => (BASE_256M | 0x0c00_0000, 64 * MIB),
            _ => return None,
        };
        AddressRange::new(register & mask, len)
    }
}

impl PciFunction for Mch {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.lock().read(register, data);
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let before = self.ecam();
        self.lock().write(register, data);
        Written { decode_changed: self.ecam() != before, ..Written::default() }
    }

    fn regions(&self) -> Vec<Region> {
        self.ecam()
            .map(|range| Region::new(Space::Memory, range, Arc::clone(&self.ecam)).of_platform())
            .into_iter()
            .collect()
    }

    fn reset(&self) {
        let Self { config, ecam: _ } = self;
        config.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }
}
