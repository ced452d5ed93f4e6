//! The host bridge: its windows (`_CRS`), who controls PCI Express features (`_OSC`), and the devices on bus 0.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, Else, Equal, GreaterEqual, IO,
    If, Local, Method, Name, NotEqual, Or, ResourceTemplate, Return, SizeOf, Store, Uuid,
};
use vocabulary::interrupts::Pirq;
use vocabulary::memory::VGA;
use vocabulary::ports::{self, PCI_CONFIG};

use super::{adr, battery, function, hid, hidden, interrupt, local, lpc, uid};
use crate::aml::Terms;
use crate::platform::{NameSeg, Platform};

pub(super) const MEMORY_HUB: NameSeg = NameSeg::fixed(*b"MCHC");
pub(super) const MEMORY_HUB_ADDRESS: (u8, u8) = (0, 0);
pub(super) const FW_CFG: NameSeg = NameSeg::fixed(*b"FWCF");

/// `_OSC` of a PCI host bridge (PCI Firmware Specification 3.3, 4.5.1).
const OSC_UUID: &str = "33db4d5b-1ff7-401c-9657-7441c03dd766";

/// Control bits that the OS is given when it asks (PCI Firmware Specification 3.3, table 4-5): native hot-plug
/// for PCI Express and SHPC, PME, AER, and the PCI Express capability structure.
///
/// Nothing in this firmware handles any of these, so what the OS does not get, nobody would look after. The
/// topology is static and no port has a hot-plug slot; but withheld native hot-plug would make an OS look for
/// ACPI hot-plug methods. Latency tolerance reporting, bit 5, is not granted: no port of the machine has it.
const OSC_GRANTED: u8 = 0x1F;

/// Status bits of the first dword (§6.2.12.2).
const OSC_FAILURE: u8 = 1 << 1;
const OSC_UNKNOWN_UUID: u8 = 1 << 2;
const OSC_UNKNOWN_REVISION: u8 = 1 << 3;
const OSC_MASKED: u8 = 1 << 4;

pub(super) fn push(terms: &mut Terms, platform: &Platform) {
    let mut content = Terms::new();
    content.push(&hid("PNP0A08"));
    content.push(&Name::new("_CID".into(), &acpi_tables::aml::EISAName::new("PNP0A03")));
    content.push(&uid(0));
    push_osc(&mut content);
    push_windows(&mut content, platform);

    let devices: Vec<u8> = (0..32).collect();
    interrupt::push_routes(&mut content, &devices, Pirq::of_root_bus);

    let (device, function) = MEMORY_HUB_ADDRESS;
    content.push(&Device::new(MEMORY_HUB.path(), vec![&adr(device, function)]));
    lpc::push(&mut content, platform);
    if platform.fw_cfg {
        push_fw_cfg(&mut content);
    }
    function::push_root(&mut content, &platform.pci.functions);
    if let Some(battery) = platform.battery {
        battery::push(&mut content, battery);
    }
    terms.push(&Device::new("PCI0".into(), vec![&content]));
}

fn push_osc(terms: &mut Terms) {
    let (status, control, granted) = (local("CDW1"), local("CDW3"), Local(0));
    let set = |bit: &'static u8| Or::new(&status, &status, bit);

    let mut negotiate = Terms::new();
    negotiate.push(&CreateDWordField::new(&control, &Arg(3), &8u8));
    negotiate.push(&If::new(&NotEqual::new(&Arg(1), &1u8), vec![&set(&OSC_UNKNOWN_REVISION)]));
    negotiate.push(&And::new(&granted, &control, &OSC_GRANTED));
    negotiate.push(&If::new(&NotEqual::new(&control, &granted), vec![&set(&OSC_MASKED)]));
    negotiate.push(&Store::new(&control, &granted));

    // Reaching past a short buffer would abort the method.
    let mut known = Terms::new();
    known.push(&If::new(&GreaterEqual::new(&SizeOf::new(&Arg(3)), &12u8), vec![&negotiate]));
    known.push(&Else::new(vec![&set(&OSC_FAILURE)]));

    let mut body = Terms::new();
    body.push(&CreateDWordField::new(&status, &Arg(3), &0u8));
    body.push(&If::new(&Equal::new(&Arg(0), &Uuid::new(OSC_UUID)), vec![&known]));
    body.push(&Else::new(vec![&set(&OSC_UNKNOWN_UUID)]));
    body.push(&Return::new(&Arg(3)));
    terms.push(&Method::new("_OSC".into(), 4, true, vec![&body]));
}

/// What is passed on to PCI. An OS moves devices only within these windows.
fn push_windows(terms: &mut Terms, platform: &Platform) {
    let pci = &platform.pci;
    let mut resources: Vec<Box<dyn Aml>> = vec![
        Box::new(AddressSpace::new_bus_number(0u16, u16::from(platform.last_bus()))),
        // The configuration ports are the bridge's own.
        Box::new(IO::new(PCI_CONFIG.first(), PCI_CONFIG.first(), 1, PCI_CONFIG.count())),
    ];
    for window in &pci.io {
        resources.push(Box::new(AddressSpace::new_io(window.start, window.end, None)));
    }
    // VGA, for whichever function has its decoding on.
    let uncached = AddressSpaceCacheable::NotCacheable;
    resources.push(Box::new(AddressSpace::new_memory(
        uncached,
        true,
        VGA.base() as u32,
        VGA.last() as u32,
        None,
    )));
    for window in pci.mmio32_without(platform.ecam) {
        if let (Ok(start), Ok(end)) = (u32::try_from(window.base()), u32::try_from(window.last())) {
            resources.push(Box::new(AddressSpace::new_memory(uncached, true, start, end, None)));
        }
    }
    for window in pci.mmio64_without(platform.ecam) {
        let cached = AddressSpaceCacheable::Cacheable;
        resources.push(Box::new(AddressSpace::new_memory(cached, true, window.base(), window.last(), None)));
    }
    let resources: Vec<&dyn Aml> = resources.iter().map(|resource| resource.as_ref()).collect();
    terms.push(&Name::new("_CRS".into(), &ResourceTemplate::new(resources)));
}

/// fw_cfg (QEMU `docs/specs/fw_cfg.rst`), by the path that tables written for QEMU know it by.
fn push_fw_cfg(terms: &mut Terms) {
    let hid = Name::new("_HID".into(), &"QEMU0002");
    let ports = IO::new(ports::FW_CFG.first(), ports::FW_CFG.first(), 1, ports::FW_CFG.count());
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports]));
    terms.push(&Device::new(FW_CFG.path(), vec![&hid, &hidden(), &crs]));
}
