//! Machines to test with.

use vocabulary::AddressRange;

use crate::*;

pub(crate) fn name(name: &str) -> NameSeg {
    NameSeg::new(name).unwrap()
}

pub(crate) fn endpoint(device: u8, function: u8, seg: &str) -> PciFunction {
    let kind = FunctionKind::Endpoint;
    PciFunction { device, function, name: name(seg), kind, aml: Vec::new() }
}

pub(crate) fn bridge(device: u8, function: u8, seg: &str, children: Vec<PciFunction>) -> PciFunction {
    let kind = FunctionKind::Bridge { children };
    PciFunction { device, function, name: name(seg), kind, aml: Vec::new() }
}

pub(crate) fn cpus(count: u32) -> Vec<Cpu> {
    (0..count).map(|apic_id| Cpu { apic_id }).collect()
}

/// One CPU, nothing optional, firmware that has not set up ECAM.
pub(crate) fn smallest() -> Platform {
    Platform {
        cpus: cpus(1),
        ecam: None,
        pm_base: 0x600,
        pm_profile: PmProfile::Unspecified,
        pci: PciRoot::default(),
        pvpanic: false,
        ps2: false,
        com1: false,
        rtc: false,
        fw_cfg: false,
        battery: None,
        tpm: None,
        thermal_zone: false,
        vrom: None,
        opregion: None,
        oem: OemIds::default(),
        user_tables: Vec::new(),
    }
}

/// An Optimus laptop: iGPU, dGPU behind a root port, more root ports in a multi-function slot, a switch.
pub(crate) fn laptop() -> Platform {
    let downstream = vec![
        bridge(0, 0, "DSP0", vec![endpoint(0, 0, "NVME")]),
        bridge(1, 0, "DSP1", vec![endpoint(0, 0, "NET")]),
    ];
    Platform {
        cpus: cpus(8),
        ecam: Some(Ecam { base: 0xE000_0000, buses: 256 }),
        pm_base: 0x600,
        pm_profile: PmProfile::Mobile,
        pci: PciRoot {
            buses: Some(16),
            io: vec![IoRange { start: 0, end: 0xCF7 }, IoRange { start: 0xD00, end: 0xFFFF }],
            mmio32: vec![AddressRange::inclusive(0x8000_0000, 0xFEBF_FFFF).unwrap()],
            mmio64: vec![AddressRange::inclusive(0x70_0000_0000, 0x7F_FFFF_FFFF).unwrap()],
            functions: vec![
                bridge(1, 0, "PEG0", vec![endpoint(0, 0, "PEGP"), endpoint(0, 1, "PEGA")]),
                endpoint(2, 0, "GFX0"),
                bridge(0x1C, 0, "RP01", vec![]),
                bridge(0x1C, 1, "RP02", vec![bridge(0, 0, "UPSP", downstream)]),
                bridge(0x1C, 7, "RP08", vec![endpoint(0, 0, "PXSX")]),
                endpoint(0x1F, 2, "SAT0"),
            ],
        },
        pvpanic: true,
        ps2: true,
        com1: true,
        rtc: true,
        fw_cfg: true,
        battery: Some(Battery::Full),
        tpm: Some(Tpm { physical_presence: false }),
        thermal_zone: true,
        vrom: None,
        opregion: None,
        oem: OemIds::default(),
        user_tables: vec![ssdt()],
    }
}

/// A server-like machine: CPUs beyond 8-bit APIC ids, ECAM above 4 GiB, no 64-bit window.
pub(crate) fn many_cpus() -> Platform {
    Platform {
        cpus: (0..300).map(|cpu| Cpu { apic_id: cpu * 2 }).collect(),
        ecam: Some(Ecam { base: 0x10_0000_0000, buses: 64 }),
        pci: PciRoot { buses: None, mmio64: Vec::new(), ..laptop().pci },
        user_tables: Vec::new(),
        ..laptop()
    }
}

/// The laptop with its dGPU's video BIOS and a battery that follows another.
pub(crate) fn optimus() -> Platform {
    Platform {
        battery: Some(Battery::Mirror),
        tpm: Some(Tpm { physical_presence: true }),
        vrom: Some(vrom(102_400)),
        ..laptop()
    }
}

/// A video BIOS of so many bytes for the laptop's dGPU; no two pages of it are the same.
pub(crate) fn vrom(size: u32) -> Vrom {
    let image = (0..size).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 24) as u8 ^ 0x55).collect();
    Vrom { at: vec![(1, 0), (0, 0)], image }
}

/// An OpRegion of so many bytes.
pub(crate) fn opregion(size: usize) -> Vec<u8> {
    let mut bytes = b"IntelGraphicsMem\x08\0\0\0".to_vec();
    bytes.extend((0..).map(|at: u32| (at.wrapping_mul(0x9E37_79B1) >> 24) as u8).take(size));
    bytes.truncate(size);
    bytes
}

/// All of them, with what a failure should call them.
pub(crate) fn all() -> [(&'static str, Platform); 5] {
    let one_cpu = Platform { cpus: cpus(1), ..laptop() };
    [
        ("smallest", smallest()),
        ("laptop", laptop()),
        ("many CPUs", many_cpus()),
        ("one CPU", one_cpu),
        ("Optimus", optimus()),
    ]
}

/// `Name (\USER, One)` in an SSDT.
pub(crate) fn ssdt() -> Vec<u8> {
    let mut table = b"SSDT\x2b\0\0\0\x02\0USERIDUSERTABL\x01\0\0\0INTL\x25\x09\x20\x20".to_vec();
    table.extend_from_slice(b"\x08\\USER\x01");
    assert_eq!(table.len(), 0x2B);
    table[9] = 0u8.wrapping_sub(super::simulator::sum(&table));
    table
}
