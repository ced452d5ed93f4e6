//! Fields of the fixed tables at the offsets that ACPI 6.5 gives them.

use super::*;
use crate::platform::{Cpu, OemIds, Platform, PmProfile};
use crate::tests::samples;

fn number(table: &[u8], offset: usize, size: usize) -> u64 {
    table[offset..offset + size].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Signature, length, revision, checksum and ids (table 5.4).
fn check_header(table: &[u8], signature: &[u8; 4], revision: u8) {
    assert_eq!(&table[..4], signature);
    assert_eq!(number(table, 4, 4), table.len() as u64);
    assert_eq!(table[8..10], [revision, 0], "the firmware computes the checksum");
    assert_eq!(&table[10..16], b"OPTVMM");
    assert_eq!(&table[16..24], b"OPTVMQ35");
    assert_eq!(number(table, 24, 4), 1);
    assert_eq!(&table[28..32], b"OVMM");
    assert_eq!(number(table, 32, 4), 1);
}

/// Generic Address Structure of an I/O port (table 5.1).
fn io(bits: u8, access: u8, port: u16) -> Vec<u8> {
    let mut gas = vec![1, bits, 0, access];
    gas.extend_from_slice(&u64::from(port).to_le_bytes());
    gas
}

#[test]
fn fadt_fields() {
    let fadt = fadt(&samples::laptop());
    check_header(&fadt, b"FACP", 6);
    assert_eq!(fadt.len(), 276);
    // Offset, size, value (table 5.9).
    for (offset, size, value) in [
        (36, 4, 0),           // FIRMWARE_CTRL, by the loader
        (40, 4, 0),           // DSDT, by the loader
        (45, 1, 2),           // Preferred_PM_Profile: mobile
        (46, 2, 9),           // SCI_INT
        (48, 4, 0),           // SMI_CMD
        (52, 4, 0),           // ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
        (56, 4, 0x600),       // PM1a_EVT_BLK
        (60, 4, 0),           // PM1b_EVT_BLK
        (64, 4, 0x604),       // PM1a_CNT_BLK
        (68, 8, 0),           // PM1b_CNT_BLK, PM2_CNT_BLK
        (76, 4, 0x608),       // PM_TMR_BLK
        (80, 4, 0x620),       // GPE0_BLK
        (84, 4, 0),           // GPE1_BLK
        (88, 4, 0x0400_0204), // lengths of PM1_EVT, PM1_CNT, PM2_CNT, PM_TMR
        (92, 4, 0x0000_0010), // lengths of GPE0 and GPE1, GPE1_BASE, CST_CNT
        (96, 2, 0xFFF),       // P_LVL2_LAT
        (98, 2, 0xFFF),       // P_LVL3_LAT
        (108, 1, 0x32),       // CENTURY
        (109, 2, 0b11),       // IAPC_BOOT_ARCH: legacy devices, 8042
        (112, 4, 0x8465),     // Flags
        (128, 1, 0x0F),       // RESET_VALUE
        (131, 1, 3),          // FADT Minor Version
        (132, 8, 0),          // X_FIRMWARE_CTRL
        (140, 8, 0),          // X_DSDT, by the loader
        (268, 8, 0),          // Hypervisor Vendor Identity
    ] {
        assert_eq!(number(&fadt, offset, size), value, "offset {offset}");
    }
    let none = vec![0; 12];
    for (offset, address) in [
        (116, io(8, 1, 0xCF9)),   // RESET_REG
        (148, io(32, 2, 0x600)),  // X_PM1a_EVT_BLK
        (160, none.clone()),      // X_PM1b_EVT_BLK
        (172, io(16, 2, 0x604)),  // X_PM1a_CNT_BLK
        (184, none.clone()),      // X_PM1b_CNT_BLK
        (196, none.clone()),      // X_PM2_CNT_BLK
        (208, io(32, 3, 0x608)),  // X_PM_TMR_BLK
        (220, io(128, 1, 0x620)), // X_GPE0_BLK
        (232, none.clone()),      // X_GPE1_BLK
        (244, none.clone()),      // SLEEP_CONTROL_REG
        (256, none),              // SLEEP_STATUS_REG
    ] {
        assert_eq!(fadt[offset..offset + 12], address, "offset {offset}");
    }
}

#[test]
fn fadt_flags_follow_the_platform() {
    let flags = |platform: &Platform| number(&fadt(platform), 112, 4);
    // WBINVD, PROC_C1, SLP_BUTTON, FIX_RTC, RESET_REG_SUP, USE_PLATFORM_CLOCK.
    assert_eq!(flags(&samples::smallest()), 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 15);
    let nine = Platform { cpus: samples::cpus(9), ..samples::smallest() };
    assert_eq!(flags(&nine), flags(&samples::smallest()) | 1 << 18, "flat logical mode has 8 CPUs");

    let bare = fadt(&samples::smallest());
    assert_eq!(number(&bare, 109, 2), 1 << 5, "no CMOS clock");
    assert_eq!((bare[108], bare[45]), (0, 0));
    let desktop = Platform { pm_profile: PmProfile::Desktop, pm_base: 0xB000, ..samples::smallest() };
    let desktop = fadt(&desktop);
    assert_eq!((desktop[45], number(&desktop, 76, 4)), (1, 0xB008));
}

#[test]
fn facs_fields() {
    let facs = facs();
    assert_eq!(&facs[..4], b"FACS");
    assert_eq!(number(&facs, 4, 4), 64);
    assert_eq!(facs[32], 2, "version");
    assert!(facs[8..32].iter().chain(&facs[33..64]).all(|byte| *byte == 0));
}

#[test]
fn madt_entries() {
    let platform = Platform { cpus: vec![Cpu { apic_id: 0 }, Cpu { apic_id: 2 }], ..samples::smallest() };
    let madt = madt(&platform);
    check_header(&madt, b"APIC", 5);
    assert_eq!(number(&madt, 36, 4), 0xFEE0_0000);
    assert_eq!(number(&madt, 40, 4), 1, "PCAT_COMPAT");
    #[rustfmt::skip]
    let entries = [
        0, 8, 0, 0, 1, 0, 0, 0,
        0, 8, 1, 2, 1, 0, 0, 0,
        1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0,
        2, 10, 0, 0, 2, 0, 0, 0, 0, 0,
        2, 10, 0, 5, 5, 0, 0, 0, 0xD, 0,
        2, 10, 0, 9, 9, 0, 0, 0, 0xD, 0,
        2, 10, 0, 10, 10, 0, 0, 0, 0xD, 0,
        2, 10, 0, 11, 11, 0, 0, 0, 0xD, 0,
        4, 6, 0xFF, 0, 0, 1,
    ];
    assert_eq!(madt[44..], entries);
}

#[test]
fn high_apic_ids_take_x2apic_entries() {
    let cpus = vec![Cpu { apic_id: 254 }, Cpu { apic_id: 255 }, Cpu { apic_id: 0x1_0000 }];
    let madt = madt(&Platform { cpus, ..samples::smallest() });
    assert_eq!(madt[44..52], [0, 8, 0, 254, 1, 0, 0, 0]);
    assert_eq!(madt[52..68], [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(madt[68..84], [9, 16, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    let nmi = madt.len() - 12;
    assert_eq!(madt[nmi..], [10, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
}

#[test]
fn mcfg_allocation() {
    let ecam = crate::Ecam { base: 0xE000_0000, buses: 256 };
    let table = mcfg(ecam, 0xFF, OemIds::default());
    check_header(&table, b"MCFG", 1);
    assert_eq!(table[36..44], [0; 8]);
    assert_eq!(number(&table, 44, 8), 0xE000_0000);
    assert_eq!(table[52..], [0, 0, 0, 0xFF, 0, 0, 0, 0]);
    assert_eq!(mcfg(ecam, 15, OemIds::default())[55], 15);
}

#[test]
fn waet_says_the_pm_timer_is_good() {
    let waet = waet(OemIds::default());
    check_header(&waet, b"WAET", 1);
    assert_eq!(waet[36..], [2, 0, 0, 0]);
}

#[test]
fn root_tables() {
    let rsdt = rsdt(3, OemIds::default());
    check_header(&rsdt, b"RSDT", 1);
    assert_eq!(rsdt.len(), rsdt_entry(3));
    let rsdp = rsdp(OemIds::default());
    assert_eq!(rsdp, b"RSD PTR \0OPTVMM\0\0\0\0\0");
    assert_eq!((rsdp.len(), RSDP_CHECKSUM, RSDP_RSDT), (RSDP_SIZE, 8, 16));
}
