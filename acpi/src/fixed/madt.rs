//! MADT (§5.2.12): the CPUs' local APICs, the I/O APIC, and how ISA interrupts reach it.

use vocabulary::memory::{IO_APIC, LOCAL_APICS};

use super::header::table;
use crate::platform::Platform;

const REVISION: u8 = 5;

const LOCAL_APIC_ADDRESS: u32 = LOCAL_APICS.base() as u32;
const IO_APIC_ADDRESS: u32 = IO_APIC.base() as u32;

/// There are two 8259s as well.
const PCAT_COMPAT: u32 = 1;
/// Flags of a CPU entry.
const ENABLED: u32 = 1;

/// First APIC id that needs an x2APIC entry: 255 is the broadcast of the 8-bit ones.
const FIRST_X2APIC_ID: u32 = 255;

/// MPS INTI flags (§5.2.12.5): as the bus has it, or active-high and level-triggered.
const CONFORMING: u16 = 0;
const HIGH_LEVEL: u16 = 0b1101;

/// ISA interrupts that are not edge-triggered on the pin of the same number: source, pin, flags.
///
/// The timer reaches pin 2, as on every PC. The others are the system control interrupt and those that the
/// PIRQ router may use.
const OVERRIDES: [(u8, u32, u16); 5] =
    [(0, 2, CONFORMING), (5, 5, HIGH_LEVEL), (9, 9, HIGH_LEVEL), (10, 10, HIGH_LEVEL), (11, 11, HIGH_LEVEL)];

/// Local APIC pin of the non-maskable interrupt.
const NMI_LINT: u8 = 1;

pub(crate) fn madt(platform: &Platform) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&LOCAL_APIC_ADDRESS.to_le_bytes());
    body.extend_from_slice(&PCAT_COMPAT.to_le_bytes());

    let mut has_x2apic = false;
    for (uid, cpu) in (0u32..).zip(&platform.cpus) {
        match (u8::try_from(uid), u8::try_from(cpu.apic_id)) {
            (Ok(uid), Ok(apic_id)) if cpu.apic_id < FIRST_X2APIC_ID => {
                body.extend_from_slice(&[0, 8, uid, apic_id]);
                body.extend_from_slice(&ENABLED.to_le_bytes());
            }
            _ => {
                has_x2apic = true;
                body.extend_from_slice(&[9, 16, 0, 0]);
                for value in [cpu.apic_id, ENABLED, uid] {
                    body.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
    }

    body.extend_from_slice(&[1, 12, 0, 0]);
    body.extend_from_slice(&IO_APIC_ADDRESS.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());

    for (source, pin, flags) in OVERRIDES {
        body.extend_from_slice(&[2, 10, 0, source]);
        body.extend_from_slice(&pin.to_le_bytes());
        body.extend_from_slice(&flags.to_le_bytes());
    }

    // For all CPUs.
    body.extend_from_slice(&[4, 6, 0xFF]);
    body.extend_from_slice(&CONFORMING.to_le_bytes());
    body.push(NMI_LINT);
    if has_x2apic {
        body.extend_from_slice(&[10, 12]);
        body.extend_from_slice(&CONFORMING.to_le_bytes());
        body.extend_from_slice(&u32::MAX.to_le_bytes());
        body.extend_from_slice(&[NMI_LINT, 0, 0, 0]);
    }
    table(*b"APIC", REVISION, platform.oem, &body)
}
