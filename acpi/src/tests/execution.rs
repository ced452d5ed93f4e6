//! The DSDT through ACPICA's interpreter, with the calls that an operating system makes.

use acpi_tables::Aml;
use acpi_tables::aml::{Arg, DeRefOf, Index, Method, MethodCall, Return, ZERO};
use vocabulary::interrupts::{Pin, Pirq};

use super::interpreter::{self, buffer, integers};
use super::{properties, samples};
use crate::*;

/// Makes the interpreter evaluate all of these, and returns what it says about each.
fn evaluate(platform: &Platform, calls: &[String]) -> Vec<String> {
    let tables = build(platform).unwrap().individual();
    let dsdt = tables.into_iter().find(|table| table.signature == *b"DSDT").unwrap();
    interpreter::evaluate(&[dsdt.bytes, probe()], calls)
}

/// An SSDT with `Method (ROUT, 1)`: one entry of the host bridge's `_PRT`, which is too long for the
/// interpreter to print as a whole.
fn probe() -> Vec<u8> {
    let mut body = Vec::new();
    let routes = MethodCall::new("\\_SB_.PCI0._PRT".into(), vec![]);
    let entry = Index::new(&ZERO, &routes, &Arg(0));
    Method::new("\\ROUT".into(), 1, false, vec![&Return::new(&DeRefOf::new(&entry))]).to_aml_bytes(&mut body);
    let mut table = fixed::table(*b"SSDT", 2, OemIds::default(), &body);
    table[9] = 0u8.wrapping_sub(super::simulator::sum(&table));
    table
}

/// The device names in an answer.
fn devices(answer: &str) -> Vec<&str> {
    let after_name = answer.split(" Name ").skip(1);
    after_name.filter_map(|text| text.split_whitespace().next()).collect()
}

fn call(text: &str) -> String {
    text.to_owned()
}

fn links(prefix: &str, letters: &str) -> Vec<String> {
    letters.chars().map(|letter| format!("{prefix}{letter}")).collect()
}

#[test]
fn soft_off_is_the_only_sleep_state() {
    for (which, platform) in samples::all() {
        let answers = evaluate(&platform, &[call("\\_S5")]);
        assert_eq!(integers(&answers[0]), [0, 0, 0, 0], "{which}");
        let dsdt = dsdt::dsdt(&platform);
        for state in [b"_S3_", b"_S4_"] {
            assert!(!dsdt.windows(4).any(|bytes| bytes == state), "{which}");
        }
    }
}

#[test]
fn root_bus_routes_follow_the_interrupt_mode() {
    for (mode, prefix) in [(0, "LNK"), (1, "GSI")] {
        for first in (0u32..128).step_by(32) {
            let mut calls = vec![format!("\\_PIC {mode}")];
            calls.extend((first..first + 32).map(|index| format!("\\ROUT {index}")));
            let answers = evaluate(&samples::laptop(), &calls);
            for (index, answer) in (first..).zip(&answers[1..]) {
                let (device, pin) = (index / 4, Pin::ALL[index as usize % 4]);
                let expected = Pirq::of_root_bus(device as u8, pin).letter();
                let address = u64::from(device) << 16 | 0xFFFF;
                assert_eq!(integers(answer), [address, pin.index().into(), 0], "entry {index}");
                assert_eq!(devices(answer), [format!("{prefix}{expected}")], "entry {index}");
            }
        }
    }
}

#[test]
fn routes_behind_bridges_are_rotated() {
    let root = "\\_SB.PCI0";
    let buses = ["PEG0", "RP01", "RP02", "RP02.UPSP", "RP02.UPSP.DSP0", "RP02.UPSP.DSP1", "RP08"];
    // The root ports of one slot share its wires; device 1 of a bus is one pin further on.
    let expected = ["FGHE", "ABCD", "ABCD", "ABCDBCDA", "ABCD", "BCDA", "ABCD"];
    for (mode, prefix) in [(0, "LNK"), (1, "GSI")] {
        let mut calls = vec![format!("\\_PIC {mode}")];
        calls.extend(buses.iter().map(|bus| format!("{root}.{bus}._PRT")));
        let answers = evaluate(&samples::laptop(), &calls);
        for ((answer, bus), letters) in answers[1..].iter().zip(buses).zip(expected) {
            assert_eq!(devices(answer), links(prefix, letters), "{bus}");
        }
        assert_eq!(integers(&answers[1]), [0xFFFF, 0, 0, 0xFFFF, 1, 0, 0xFFFF, 2, 0, 0xFFFF, 3, 0]);
    }
}

#[test]
fn link_devices_drive_the_router() {
    let set_10 = "\\_SB.LNKF._SRS (89 06 00 09 01 0A 00 00 00 79 00)";
    let calls = [
        "\\_SB.LNKF._DIS",
        "\\_SB.LNKF._STA",
        "\\_SB.LNKF._CRS",
        set_10,
        "\\_SB.LNKF._STA",
        "\\_SB.LNKF._CRS",
        "\\_SB.PCI0.LPCB.PRQF",
        "\\_SB.PCI0.LPCB.PRQB",
        "\\_SB.LNKF._PRS",
        "\\_SB.GSIF._CRS",
        "\\_SB.GSIH._PRS",
    ];
    let answers = evaluate(&samples::laptop(), &calls.map(call));
    assert_eq!(integers(&answers[1]), [0x09], "disabled");
    assert_eq!(buffer(&answers[2]), [0x89, 6, 0, 9, 1, 0, 0, 0, 0, 0x79, 0]);
    assert_eq!(integers(&answers[4]), [0x0B], "enabled");
    assert_eq!(buffer(&answers[5]), [0x89, 6, 0, 9, 1, 10, 0, 0, 0, 0x79, 0]);
    assert_eq!((integers(&answers[6]), integers(&answers[7])), (vec![10], vec![0]));
    assert_eq!(buffer(&answers[8])[3..17], [9, 3, 5, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0]);
    assert_eq!(buffer(&answers[9])[3..9], [9, 1, 21, 0, 0, 0]);
    assert_eq!(buffer(&answers[10])[3..9], [9, 1, 23, 0, 0, 0]);
}

#[test]
fn osc_grants_native_pci_express_control() {
    let pci = "(5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66)";
    let other = "(00 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66)";
    // Identifier, revision, buffer, answer.
    let cases = [
        (pci, 1, "0 0 0 0 1F 0 0 0 1F 0 0 0", "0 0 0 0 1F 0 0 0 1F 0 0 0"),
        (pci, 1, "0 0 0 0 1F 0 0 0 1D 0 0 0", "0 0 0 0 1F 0 0 0 1D 0 0 0"),
        (pci, 1, "1 0 0 0 1F 0 0 0 FF 01 0 0", "11 0 0 0 1F 0 0 0 1F 0 0 0"),
        (pci, 2, "0 0 0 0 1F 0 0 0 1F 0 0 0", "8 0 0 0 1F 0 0 0 1F 0 0 0"),
        (other, 1, "0 0 0 0 1F 0 0 0 FF 0 0 0", "4 0 0 0 1F 0 0 0 FF 0 0 0"),
        (pci, 1, "0 0 0 0 1F 0 0 0", "2 0 0 0 1F 0 0 0"),
    ];
    let calls = cases.map(|(uuid, revision, input, _)| {
        // The interpreter wants two digits.
        let bytes: Vec<String> = input.split(' ').map(|byte| format!("{byte:0>2}")).collect();
        let (dwords, input) = (bytes.len() / 4, bytes.join(" "));
        format!("\\_SB.PCI0._OSC {uuid} {revision} {dwords} ({input})")
    });
    for (which, platform) in samples::all() {
        for ((answer, call), (.., expected)) in evaluate(&platform, &calls).iter().zip(&calls).zip(cases) {
            let expected = expected.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap());
            assert_eq!(buffer(answer), expected.collect::<Vec<u8>>(), "{which}: {call}");
        }
    }
}

#[test]
fn host_bridge_windows_leave_out_ecam() {
    let windows = |platform: &Platform| -> Vec<(u64, u64)> {
        let bytes = buffer(&evaluate(platform, &[call("\\_SB.PCI0._CRS")])[0]);
        let field = |at: usize, size: usize| {
            bytes[at..at + size].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (mut at, mut found) = (0, Vec::new());
        loop {
            // Minimum and maximum follow the granularity, each as wide as the descriptor's name says.
            let size = match bytes[at] {
                0x79 => return found,
                0x47 => {
                    at += 8;
                    continue;
                }
                0x88 => 2,
                0x87 => 4,
                0x8A => 8,
                other => panic!("descriptor {other:#x} at {at}"),
            };
            let (start, end) = (field(at + 6 + size, size), field(at + 6 + 2 * size, size));
            assert_eq!(field(at + 6 + 4 * size, size), end - start + 1, "length");
            found.push((start, end));
            at += 3 + usize::from(bytes[at + 1]);
        }
    };
    assert_eq!(
        windows(&samples::laptop()),
        [
            (0, 15),
            (0, 0xCF7),
            (0xD00, 0xFFFF),
            (0xA_0000, 0xB_FFFF),
            (0x8000_0000, 0xDFFF_FFFF),
            (0xF000_0000, 0xFEBF_FFFF),
            (0x70_0000_0000, 0x7F_FFFF_FFFF),
        ]
    );
    assert_eq!(windows(&samples::smallest()), [(0, 0xFF), (0xA_0000, 0xB_FFFF)]);
    let many = windows(&samples::many_cpus());
    assert_eq!(many[0], (0, 63));
    assert_eq!(many[4..], [(0x8000_0000, 0xFEBF_FFFF)], "ECAM is elsewhere, and there is no 64-bit window");
}

#[test]
fn ecam_is_reserved() {
    let answers = evaluate(&samples::laptop(), &[call("\\_SB.DRAC._CRS")]);
    assert_eq!(buffer(&answers[0])[..12], [0x86, 9, 0, 1, 0, 0, 0, 0xE0, 0, 0, 0, 0x10]);
}

#[test]
fn cpu_uids_are_those_of_the_madt() {
    let answers =
        evaluate(&samples::many_cpus(), &["C000", "C007", "C12B"].map(|cpu| format!("\\_SB.{cpu}._UID")));
    let uids: Vec<u64> = answers.iter().flat_map(|answer| integers(answer)).collect();
    assert_eq!(uids, [0, 7, 299]);
}

#[test]
fn added_terms_are_part_of_the_device() {
    let mut platform = samples::laptop();
    let mut aml = Vec::new();
    Method::new("ROMX".into(), 2, true, vec![&Return::new(&Arg(1))]).to_aml_bytes(&mut aml);
    let FunctionKind::Bridge { children } = &mut platform.pci.functions[0].kind else {
        panic!("PEG0 is a bridge");
    };
    children[0].aml = aml;
    let answers = evaluate(&platform, &[call("\\_SB.PCI0.PEG0.PEGP.ROMX 0 0x1000")]);
    assert_eq!(integers(&answers[0]), [0x1000]);
}

#[test]
fn generated_machines_load() {
    for platform in properties::some_machines(12) {
        evaluate(&platform, &[call("\\_S5")]);
    }
}

#[test]
fn the_thermal_zone_is_warm_and_far_from_critical() {
    let answers = evaluate(&samples::laptop(), &[call("\\_TZ.TZ00._TMP"), call("\\_TZ.TZ00._CRT")]);
    // Tenths of a kelvin: 50 and 105 degrees.
    assert_eq!(integers(&answers[0]), [3232]);
    assert_eq!(integers(&answers[1]), [3782]);
    for (thermal_zone, there) in [(true, true), (false, false)] {
        let dsdt = dsdt::dsdt(&Platform { thermal_zone, ..samples::laptop() });
        assert_eq!(dsdt.windows(4).any(|bytes| bytes == b"TZ00"), there);
    }
}
