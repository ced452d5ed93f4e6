//! Arbitrary machines: none makes the builder panic, and what it builds, the firmware installs.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vocabulary::AddressRange;

use super::install::install;
use super::samples;
use super::simulator::sum;
use crate::*;

/// Functions with distinct addresses and names, none of them reserved, nested up to three buses deep.
fn functions() -> impl Strategy<Value = Vec<PciFunction>> {
    let leaf = Just(FunctionKind::Endpoint);
    let kind = leaf.prop_recursive(3, 40, 6, |kind| {
        vec(kind, 0..6).prop_map(|kinds| FunctionKind::Bridge { children: place(kinds) })
    });
    vec(kind, 0..12).prop_map(place)
}

/// Devices 1 to 30, two functions each.
fn place(kinds: Vec<FunctionKind>) -> Vec<PciFunction> {
    let place = |(index, kind): (usize, FunctionKind)| {
        let (device, function) = (1 + index as u8 / 2 * 5, index as u8 % 2 * 7);
        PciFunction { device, function, name: samples::name(&format!("D{index:X}")), kind, aml: vec![] }
    };
    kinds.into_iter().enumerate().map(place).collect()
}

fn ecam() -> impl Strategy<Value = Option<Ecam>> {
    let buses = prop_oneof![Just(64), Just(128), Just(256)];
    prop::option::of((0u64..0xFFF, buses).prop_map(|(index, buses)| Ecam { base: index << 28, buses }))
}

pub(crate) fn machine() -> impl Strategy<Value = Platform> {
    let apic_ids = vec(1u32..4, 1..40);
    (apic_ids, ecam(), functions(), any::<[bool; 10]>(), 0usize..30, 1u16..511).prop_map(
        |(steps, ecam, functions, flags, user_tables, pm_base)| {
            let mut last = 0;
            let cpus = steps.iter().map(|step| {
                last += step;
                Cpu { apic_id: last }
            });
            let [pvpanic, ps2, com1, rtc, fw_cfg, battery, mirror, thermal_zone, tpm, presence] = flags;
            let kind = if mirror { Battery::Mirror } else { Battery::Full };
            let laptop = samples::laptop();
            Platform {
                cpus: cpus.collect(),
                ecam,
                pm_base: pm_base << 7,
                pci: PciRoot { functions, ..laptop.pci },
                user_tables: vec![samples::ssdt(); user_tables],
                pvpanic,
                ps2,
                com1,
                rtc,
                fw_cfg,
                battery: battery.then_some(kind),
                tpm: tpm.then_some(Tpm { physical_presence: presence }),
                thermal_zone,
                ..laptop
            }
        },
    )
}

/// Some of them, the same at every run.
pub(crate) fn some_machines(count: usize) -> Vec<Platform> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| machine().new_tree(&mut runner).unwrap().current()).collect()
}

fn range(limit: u64) -> impl Strategy<Value = AddressRange> {
    (0..limit, 0..limit)
        .prop_map(|(start, end)| AddressRange::inclusive(start.min(end), start.max(end)).unwrap())
}

/// Whatever the types allow.
fn nonsense() -> impl Strategy<Value = Platform> {
    let edge = prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0u64..1 << 40];
    let ecam = prop::option::of((edge, any::<u16>()).prop_map(|(base, buses)| Ecam { base, buses }));
    let cpus = vec(any::<u32>(), 0..4);
    let io = vec((any::<u16>(), any::<u16>()).prop_map(|(start, end)| IoRange { start, end }), 0..3);
    let function = (any::<u8>(), any::<u8>(), "[A-C_]{1,4}", vec(any::<u8>(), 0..9));
    let functions = vec(function, 0..4);
    let windows = (vec(range(1 << 33), 0..3), vec(range(u64::MAX), 0..3), prop::option::of(any::<u16>()));
    let user = vec(vec(any::<u8>(), 0..64), 0..2);
    let vrom = prop::option::of((vec((0u8..34, 0u8..9), 0..4), vec(any::<u8>(), 0..9000)));
    (ecam, cpus, io, functions, windows, any::<u16>(), any::<[u8; 6]>(), user, vrom).prop_map(
        |(ecam, cpus, io, functions, (mmio32, mmio64, buses), pm_base, id, user_tables, vrom)| {
            let functions = functions.into_iter().map(|(device, function, name, aml)| PciFunction {
                aml,
                ..samples::endpoint(device, function, &name)
            });
            Platform {
                ecam,
                cpus: cpus.into_iter().map(|apic_id| Cpu { apic_id }).collect(),
                pci: PciRoot { buses, io, mmio32, mmio64, functions: functions.collect() },
                pm_base,
                oem: OemIds { id, ..OemIds::default() },
                user_tables,
                vrom: vrom.map(|(at, image)| Vrom { at, image: image.into() }),
                ..samples::laptop()
            }
        },
    )
}

/// One field of a good machine replaced by nonsense, so that the checks behind the first are reached.
fn half_sense() -> impl Strategy<Value = Platform> {
    (machine(), nonsense(), 0..9).prop_map(|(good, bad, which)| match which {
        0 => Platform { ecam: bad.ecam, ..good },
        1 => Platform { cpus: bad.cpus, ..good },
        2 => Platform { pci: PciRoot { io: bad.pci.io, ..good.pci }, ..good },
        3 => Platform { pci: PciRoot { mmio32: bad.pci.mmio32, ..good.pci }, ..good },
        4 => Platform { pci: PciRoot { mmio64: bad.pci.mmio64, ..good.pci }, ..good },
        5 => Platform { pci: PciRoot { functions: bad.pci.functions, ..good.pci }, ..good },
        6 | 7 => Platform { vrom: bad.vrom, ..good },
        _ => Platform { user_tables: bad.user_tables, ..good },
    })
}

/// What holds for every set that is built.
fn check(platform: &Platform, set: &TableSet) {
    assert!(set.tables.len().is_multiple_of(128 << 10) && set.loader.len().is_multiple_of(4096));
    let installed = install(set).unwrap();
    let with_ecam = usize::from(platform.ecam.is_some());
    let with_vrom = usize::from(platform.vrom.is_some());
    let with_tpm = usize::from(platform.tpm.is_some());
    assert_eq!(installed.tables.len(), 5 + with_ecam + with_vrom + with_tpm + platform.user_tables.len());
    for (_, table) in installed.tables.iter().filter(|(_, table)| !table.starts_with(b"FACS")) {
        assert_eq!(sum(table), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn machines_are_described(platform in machine()) {
        let set = build(&platform).unwrap();
        check(&platform, &set);
        prop_assert_eq!(build(&platform).unwrap(), set);
    }

    #[test]
    fn ecam_does_not_change_the_sizes(platform in machine(), other in ecam()) {
        let announced = build(&Platform { ecam: None, ..platform.clone() }).unwrap().sizes();
        let set = build(&Platform { ecam: other, ..platform }).unwrap().fit(announced).unwrap();
        prop_assert_eq!(set.sizes(), announced);
    }

    #[test]
    fn nonsense_is_refused_or_described(platform in prop_oneof![nonsense(), half_sense()]) {
        match build(&platform) {
            Ok(set) => check(&platform, &set),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
