//! What is refused, with words that help, and the windows around ECAM.

use vocabulary::AddressRange;

use super::*;
use crate::build;
use crate::tests::samples::{bridge, cpus, endpoint, laptop, smallest};

fn refused(platform: Platform) -> String {
    build(&platform).unwrap_err().to_string()
}

fn with_functions(functions: Vec<PciFunction>) -> Platform {
    Platform { pci: PciRoot { functions, ..PciRoot::default() }, ..smallest() }
}

#[test]
fn names_are_padded_or_refused() {
    assert_eq!(NameSeg::new("PEG0").unwrap().to_string(), "PEG0");
    assert_eq!(NameSeg::new("X").unwrap().to_string(), "X___");
    assert_eq!(NameSeg::new("X"), NameSeg::new("X___"));
    for name in ["", "0ABC", "abcd", "TOOLONG", "A.B", "Ä"] {
        assert_eq!(NameSeg::new(name), Err(Error::Name(name.to_owned())));
    }
}

#[test]
fn cpus_are_checked() {
    assert!(refused(Platform { cpus: vec![], ..smallest() }).contains("0 CPUs"));
    assert!(refused(Platform { cpus: cpus(4097), ..smallest() }).contains("between 1 and 4096"));
    assert!(build(&Platform { cpus: cpus(4096), ..smallest() }).is_ok());
    let same = vec![Cpu { apic_id: 1 }, Cpu { apic_id: 1 }];
    assert_eq!(build(&Platform { cpus: same, ..smallest() }), Err(Error::CpuOrder { uid: 1, apic_id: 1 }));
    let broadcast = vec![Cpu { apic_id: u32::MAX }];
    assert!(refused(Platform { cpus: broadcast, ..smallest() }).contains("addresses all CPUs"));
}

#[test]
fn ecam_is_checked() {
    let with = |base, buses| build(&Platform { ecam: Some(Ecam { base, buses }), ..smallest() });
    for (base, buses) in [(0, 1), (0xE000_0000, 256), ((1 << 52) - (1 << 28), 256)] {
        assert!(with(base, buses).is_ok(), "{base:#x} {buses}");
    }
    for (base, buses) in [(0, 0), (0, 257), (0x1000, 1), (1 << 52, 1), (u64::MAX << 20, 256)] {
        assert_eq!(with(base, buses), Err(Error::Ecam { base, buses }));
    }
}

#[test]
fn buses_are_those_of_the_machine_and_of_the_ecam() {
    let with = |buses, ecam: u16| {
        let pci = PciRoot { buses, ..PciRoot::default() };
        Platform { ecam: Some(Ecam { base: 0xE000_0000, buses: ecam }), pci, ..smallest() }
    };
    for (buses, ecam, last) in
        [(None, 256, 255), (None, 64, 63), (Some(16), 256, 15), (Some(128), 64, 63), (Some(1), 256, 0)]
    {
        assert_eq!(with(buses, ecam).last_bus(), last, "{buses:?} {ecam}");
        assert!(build(&with(buses, ecam)).is_ok());
    }
    assert_eq!(Platform { ecam: None, ..with(Some(32), 256) }.last_bus(), 31);
    for buses in [0, 257] {
        assert_eq!(build(&with(Some(buses), 256)), Err(Error::Buses(buses)));
    }
}

#[test]
fn ecam_is_cut_out_of_the_windows() {
    let range = |start, end| AddressRange::inclusive(start, end).unwrap();
    let pci = PciRoot { mmio32: vec![range(0x8000_0000, 0xFEBF_FFFF)], ..PciRoot::default() };
    let cut = |base| pci.mmio32_without(Some(Ecam { base, buses: 256 }));
    let low = range(0x8000_0000, 0xDFFF_FFFF);
    assert_eq!(cut(0xE000_0000), [low, range(0xF000_0000, 0xFEBF_FFFF)]);
    assert_eq!(cut(0x8000_0000), [range(0x9000_0000, 0xFEBF_FFFF)]);
    assert_eq!(cut(0xF000_0000), [range(0x8000_0000, 0xEFFF_FFFF)]);
    assert_eq!(cut(0), pci.mmio32);
    assert_eq!(cut(1 << 36), pci.mmio32);
    assert_eq!(pci.mmio32_without(None), pci.mmio32);
    let inside = PciRoot { mmio64: vec![range(0x10_0000_0000, 0x10_0FFF_FFFF)], ..PciRoot::default() };
    assert_eq!(inside.mmio64_without(Some(Ecam { base: 0x10_0000_0000, buses: 256 })), []);
}

#[test]
fn windows_are_checked() {
    let with_io = |start, end| {
        let io = vec![IoRange { start: 0x2000, end: 0x2FFF }, IoRange { start, end }];
        build(&Platform { pci: PciRoot { io, ..PciRoot::default() }, ..smallest() })
    };
    assert!(with_io(0x3000, 0xFFFF).is_ok());
    for (start, end) in [(0xCF8, 0xFFF), (0, 0xCFF), (2, 1), (0x2800, 0x3000), (0, 0xFFFF)] {
        assert_eq!(with_io(start, end), Err(Error::IoWindow { start, end }));
    }
    let with = |pci| Platform { pci, ..smallest() };
    let range = |start, end| vec![AddressRange::inclusive(start, end).unwrap()];
    assert!(build(&with(PciRoot { mmio32: range(1 << 20, 0xFFFF_FFFF), ..PciRoot::default() })).is_ok());
    assert!(build(&with(PciRoot { mmio64: range(1 << 32, (1 << 52) - 1), ..PciRoot::default() })).is_ok());
    for window in [range(0, 1 << 20), range(1 << 31, 1 << 32)] {
        let error = refused(with(PciRoot { mmio32: window, ..PciRoot::default() }));
        assert!(error.contains("1 MiB to 4 GiB"), "{error}");
    }
    for window in [range(1 << 31, 1 << 40), range(1 << 40, 1 << 52), range(0, u64::MAX)] {
        let error = refused(with(PciRoot { mmio64: window, ..PciRoot::default() }));
        assert!(error.contains("4 GiB to 2^52"), "{error}");
    }
    let twice = [range(1 << 32, 1 << 33), range(1 << 33, 1 << 34)].concat();
    refused(with(PciRoot { mmio64: twice, ..PciRoot::default() }));
}

#[test]
fn functions_are_checked() {
    let peg = || bridge(1, 0, "PEG0", vec![endpoint(0, 0, "PEGP")]);
    assert!(build(&with_functions(vec![peg(), bridge(1, 1, "PEG1", vec![endpoint(0, 0, "PEGP")])])).is_ok());
    for (functions, reason) in [
        (vec![peg(), endpoint(2, 0, "PEG0")], "PEG0 is used twice below \\_SB.PCI0"),
        (vec![peg(), endpoint(1, 0, "GFX0")], "01.0 below \\_SB.PCI0 is used twice; move GFX0"),
        (vec![endpoint(2, 0, "LPCB")], "LPCB is used twice"),
        (vec![endpoint(2, 0, "PRTA")], "PRTA is used twice"),
        (vec![endpoint(0, 0, "GFX0")], "00.0"),
        (vec![endpoint(0x1F, 0, "GFX0")], "1f.0"),
        (vec![endpoint(32, 0, "GFX0")], "devices go up to 1f"),
        (vec![endpoint(2, 8, "GFX0")], "functions up to 7"),
        (vec![bridge(1, 0, "PEG0", vec![endpoint(0, 0, "PRTP")])], "below \\_SB.PCI0.PEG0"),
        (vec![bridge(1, 0, "PEG0", vec![endpoint(0, 9, "PEGP")])], "PEGP has the PCI address"),
    ] {
        let error = refused(with_functions(functions));
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn bridges_cannot_outnumber_buses() {
    let chain = |depth| (0..depth).fold(endpoint(0, 0, "LAST"), |below, _| bridge(0, 0, "NEXT", vec![below]));
    let tree = |depth| with_functions(vec![PciFunction { device: 1, ..chain(depth) }]);
    assert!(build(&tree(255)).is_ok());
    assert!(refused(tree(256)).contains("too deep"));
}

#[test]
fn the_rest_is_checked() {
    for pm_base in [0, 0x640, 0x7F] {
        assert_eq!(build(&Platform { pm_base, ..smallest() }), Err(Error::PmBase(pm_base)));
    }
    assert!(build(&Platform { pm_base: 0xFF80, ..smallest() }).is_ok());
    let oem = OemIds { id: *b"a\0cdef", ..OemIds::default() };
    assert_eq!(build(&Platform { oem, ..laptop() }), Err(Error::Oem));
}
