//! `_ROM`, from the blob that the firmware loads to the bytes that a driver gets, through ACPICA's interpreter.

use acpi_tables::Aml;
use acpi_tables::aml::{
    BufferData, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, Method, OpRegion,
    OpRegionSpace, Path, Return, Scope, Store,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::install::install;
use super::interpreter::{self, buffer};
use super::samples::{self, bridge, endpoint, laptop, smallest, vrom};
use super::simulator::Installed;
use crate::*;

const NODE: &str = "\\_SB.PCI0.PEG0.PEGP";

/// A table that puts these bytes at an address of the simulated memory, when `\FILL` is called.
fn memory(address: u64, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let (address, length) = (address as u32, bytes.len() as u32);
    OpRegion::new("\\BLOB".into(), OpRegionSpace::SystemMemory, &address, &length).to_aml_bytes(&mut body);
    Field::new(
        "\\BLOB".into(),
        FieldAccessType::QWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        vec![FieldEntry::Named(*b"ALLB", bytes.len() * 8)],
    )
    .to_aml_bytes(&mut body);
    let (field, bytes) = (Path::new("\\ALLB"), BufferData::new(bytes.to_vec()));
    Method::new("\\FILL".into(), 0, false, vec![&Store::new(&field, &bytes)]).to_aml_bytes(&mut body);
    let mut table = fixed::table(*b"SSDT", 2, OemIds::default(), &body);
    table[9] = 0u8.wrapping_sub(super::simulator::sum(&table));
    table
}

/// The DSDT, our SSDT, and the user's tables, in the order in which operating systems load them.
fn aml(installed: &Installed) -> Vec<Vec<u8>> {
    let tables = installed.of(b"DSDT").into_iter().chain(installed.of(b"SSDT"));
    tables.map(<[u8]>::to_vec).collect()
}

/// What `_ROM` of `node` answers to each (offset, count).
fn read(platform: &Platform, node: &str, requests: &[(u64, u64)]) -> Vec<Vec<u8>> {
    let installed = install(&build(platform).unwrap()).unwrap();
    let blob = &installed.blobs[VROM_FILE];
    assert!(blob.base.is_multiple_of(4096) && blob.base < 1 << 32);
    let mut tables = aml(&installed);
    tables.push(memory(blob.base, &blob.bytes));
    let mut calls = vec!["\\FILL".to_owned()];
    calls.extend(requests.iter().map(|(offset, count)| format!("{node}._ROM 0x{offset:X} 0x{count:X}")));
    let answers = interpreter::evaluate(&tables, &calls);
    answers.iter().skip(1).map(|answer| buffer(answer)).collect()
}

/// What it must answer.
fn expected(image: &[u8], (offset, count): (u64, u64)) -> Vec<u8> {
    let count = count.min(4096) as usize;
    let rest = usize::try_from(offset).ok().and_then(|offset| image.get(offset..)).unwrap_or_default();
    let mut bytes = rest[..count.min(rest.len())].to_vec();
    bytes.resize(count, 0);
    bytes
}

fn check(platform: &Platform, node: &str, requests: &[(u64, u64)]) {
    let image = &platform.vrom.as_ref().unwrap().image;
    for (answer, request) in read(platform, node, requests).iter().zip(requests) {
        assert!(answer == &expected(image, *request), "{request:x?} of {:#x}", image.len());
    }
}

fn with(size: u32) -> Platform {
    Platform { vrom: Some(vrom(size)), ..samples::optimus() }
}

#[test]
fn every_kind_of_request_gets_all_its_bytes() {
    // The size of a real image, which does not end with a page.
    let size = 0x19_600;
    let end = u64::from(size);
    let requests = [
        (0, 0x1000),
        (0, 1),
        (0, 0),
        (1, 0x1000),
        (0xFFF, 2),
        (0x1000, 0x1000),
        (0x1235, 0x777),
        (0x7000, 0x1000),
        (0x7FFF, 2),
        (0x7ABC, 0x1000),
        (0x8000, 0x1000),
        (0xFFFF, 0x1000),
        (end - 1, 1),
        (end - 1, 0x1000),
        (end - 0x600, 0x1000),
        (end - 0x1000, 0x1000),
        (end, 0x1000),
        (end, 0),
        (end + 1, 16),
        (0x4_0000, 0x1000),
        (0, 0x1001),
        (0x10, 0x8000),
        (0x10, 0xFFFF_FFFF),
        (end - 8, 0x10_0000),
        (0xFFFF_F000, 0x1000),
        (0xFFFF_FFFF, 0x1000),
        (0xFFFF_FFFF_FFFF_FFFF, 0x1000),
        (0x1_0000_0000, 0x1000),
        (4, u64::MAX),
    ];
    check(&with(size), NODE, &requests);
}

#[test]
fn a_driver_reads_the_whole_image() {
    for size in [1, 0x200, 0x1000, 0x1001, 0x2_9600] {
        let platform = with(size);
        let requests: Vec<(u64, u64)> =
            (0..u64::from(size)).step_by(0x1000).map(|offset| (offset, 0x1000)).collect();
        let image: Vec<u8> = read(&platform, NODE, &requests).concat();
        let original = &platform.vrom.unwrap().image;
        assert!(image.len() == original.len().next_multiple_of(0x1000));
        assert!(image[..original.len()] == original[..], "{size:#x}");
        assert!(image[original.len()..].iter().all(|byte| *byte == 0), "{size:#x}");
    }
}

#[test]
fn images_of_several_mebibytes_work() {
    let size = (3 << 20) + 77;
    let end = u64::from(size);
    let requests =
        [(0, 0x1000), (0xF_FFFF, 0x1000), (0x10_0000, 0x1000), (0x2F_F123, 0x1000), (end - 78, 0x1000)];
    check(&with(size), NODE, &requests);
}

#[test]
fn any_request_of_any_image() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..12 {
        let size = (1u32..0x3_0000).new_tree(&mut runner).unwrap().current();
        let offset = 0..u64::from(size) + 0x3000;
        let request = (offset, 0u64..0x2000);
        let requests = proptest::collection::vec(request, 60).new_tree(&mut runner).unwrap().current();
        check(&with(size), NODE, &requests);
    }
}

#[test]
fn the_method_goes_where_the_gpu_is() {
    let place = |platform: Platform, at: &[(u8, u8)]| Platform {
        vrom: Some(Vrom { at: at.to_vec(), ..vrom(0x1800) }),
        ..platform
    };
    let with_functions = |functions: Vec<PciFunction>| Platform {
        pci: PciRoot { functions, ..PciRoot::default() },
        ..smallest()
    };
    let empty_port = || with_functions(vec![bridge(1, 0, "PEG0", vec![])]);
    let other_gpu = || with_functions(vec![bridge(1, 0, "PEG0", vec![endpoint(0, 1, "PEGP")])]);
    for (platform, at, node) in [
        // On a function of the plan.
        (laptop(), [(1, 0), (0, 0)].as_slice(), "\\_SB.PCI0.PEG0.PEGP"),
        (laptop(), &[(1, 0), (0, 1)], "\\_SB.PCI0.PEG0.PEGA"),
        (laptop(), &[(2, 0)], "\\_SB.PCI0.GFX0"),
        (laptop(), &[(0x1C, 7), (0, 0)], "\\_SB.PCI0.RP08.PXSX"),
        (laptop(), &[(0x1C, 1), (0, 0), (1, 0), (0, 0)], "\\_SB.PCI0.RP02.UPSP.DSP1.NET_"),
        // Where nothing is.
        (smallest(), &[(1, 0), (0, 0)], "\\_SB.PCI0.PEG0.PEGP"),
        (smallest(), &[(3, 0)], "\\_SB.PCI0.PEGP"),
        (empty_port(), &[(1, 0), (0, 0)], "\\_SB.PCI0.PEG0.PEGP"),
        (empty_port(), &[(2, 0), (0, 0)], "\\_SB.PCI0.PEG1.PEGP"),
        (other_gpu(), &[(1, 0), (0, 0)], "\\_SB.PCI0.PEG0.PEG0"),
    ] {
        let platform = place(platform, at);
        check(&platform, node, &[(0, 0x1000), (0x1000, 0x1000)]);
        let (device, function) = at.last().unwrap();
        let installed = install(&build(&platform).unwrap()).unwrap();
        let tables = aml(&installed);
        let address = interpreter::evaluate(&tables, &[format!("{node}._ADR")]);
        let expected = u64::from(*device) << 16 | u64::from(*function);
        assert_eq!(interpreter::integers(&address[0]), [expected], "{node}");
    }
}

#[test]
fn there_is_one_device_per_function() {
    let all = |platform: &Platform| -> usize {
        let tables = build(platform).unwrap().individual();
        let aml = tables.iter().filter(|table| [*b"DSDT", *b"SSDT"].contains(&table.signature));
        // Each device of a PCI function has one.
        aml.map(|table| table.bytes.windows(4).filter(|bytes| bytes == b"_ADR").count()).sum()
    };
    assert_eq!(all(&Platform { vrom: None, ..samples::optimus() }), all(&samples::optimus()));
}

#[test]
fn impossible_places_are_refused() {
    let refused = |at: &[(u8, u8)]| {
        let vrom = Some(Vrom { at: at.to_vec(), ..vrom(512) });
        build(&Platform { vrom, ..laptop() }).unwrap_err().to_string()
    };
    for (at, reason) in [
        ([].as_slice(), "leads nowhere"),
        (&[(0, 0); 256], "leads nowhere"),
        (&[(0, 0)], "a function of the chipset"),
        (&[(0x1F, 0), (0, 0)], "a function of the chipset"),
        (&[(32, 0)], "no PCI address 20.0"),
        (&[(1, 8)], "no PCI address 01.8"),
        (&[(2, 0), (0, 0)], "\\_SB_.PCI0.GFX0 is no bridge"),
    ] {
        let error = refused(at);
        assert!(error.contains(reason), "{error}");
    }
    for size in [0, vrom::MAX_IMAGE + 1] {
        let vrom = Some(Vrom { image: vec![0; size].into(), ..vrom(1) });
        assert_eq!(build(&Platform { vrom, ..laptop() }), Err(Error::VromSize(size)));
    }
}

#[test]
fn the_size_is_announced() {
    let set = build(&with(0x1801)).unwrap();
    assert_eq!(set.sizes().vrom, 0x1000 + 0x2000 + 0x1000);
    assert!(set.vrom[..0x1000].iter().all(|byte| *byte == 0), "no header where the pointer leads");
    let announced = Sizes { vrom: 0, ..set.sizes() };
    assert!(matches!(set.fit(announced), Err(Error::Outgrown { what: "vrom", .. })));
}

/// An SSDT with a method on the GPU's device, which it does not make.
fn extension() -> Vec<u8> {
    let five = Return::new(&5u8);
    let method = Method::new("MINE".into(), 0, false, vec![&five]);
    let mut body = Vec::new();
    Scope::new(NODE.replace("_SB", "_SB_").as_str().into(), vec![&method]).to_aml_bytes(&mut body);
    let mut table = fixed::table(*b"SSDT", 2, OemIds::default(), &body);
    table[9] = 0u8.wrapping_sub(super::simulator::sum(&table));
    table
}

#[test]
fn tables_of_the_users_extend_devices_of_ours() {
    // The device is in the DSDT with a GPU, and in the SSDT of `_ROM` without one.
    for platform in [with(4096), Platform { vrom: Some(vrom(4096)), ..smallest() }] {
        let set = build(&Platform { user_tables: vec![extension(), samples::ssdt()], ..platform }).unwrap();
        let answers =
            interpreter::evaluate(&aml(&install(&set).unwrap()), &[format!("{NODE}.MINE"), "\\USER".into()]);
        assert_eq!(interpreter::integers(&answers[0]), [5]);
        assert_eq!(interpreter::integers(&answers[1]), [1]);
    }
}
