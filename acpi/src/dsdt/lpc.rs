//! The LPC bridge, 00:1f.0, with the ISA-style devices behind it.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO, Name, OpRegion,
    OpRegionSpace, Path, ResourceTemplate,
};
use vocabulary::interrupts::{CASCADE_IRQ, COM1_IRQ, KEYBOARD_IRQ, MOUSE_IRQ, PIT_IRQ, Pirq, RTC_IRQ};
use vocabulary::memory::ROOT_COMPLEX;
use vocabulary::pm;
use vocabulary::ports::{self, Ports};

use super::{adr, hid, hidden, uid};
use crate::aml::{IrqNoFlags, MemoryRange, Terms};
use crate::platform::{Battery, NameSeg, Platform};

pub(super) const NAME: NameSeg = NameSeg::fixed(*b"LPCB");
pub(super) const ADDRESS: (u8, u8) = (0x1F, 0);

/// PIRQ\[A-D\]_ROUT in the bridge's config space; PIRQ\[E-H\]_ROUT are eight bytes further on
/// (ICH9 datasheet 13.1.17, 13.1.19).
const ROUTE_OFFSET: u8 = 0x60;
const ROUTE_LENGTH: u8 = 0x0C;

/// Ports of the clock. The chipset decodes its banks a second time (ICH9 datasheet 13.6), so nothing else can be there.
const RTC_DECODED: u8 = 8;

/// Path of the register that routes a router input.
pub(super) fn route_path(pirq: Pirq) -> Path {
    Path::new(&format!("\\_SB_.PCI0.LPCB.PRQ{}", pirq.letter()))
}

pub(super) fn push(terms: &mut Terms, platform: &Platform) {
    let (device, function) = ADDRESS;
    let mut content = Terms::new();
    content.push(&adr(device, function));
    push_router_registers(&mut content);
    push_board(&mut content, platform);

    // Both are in KVM.
    let pic: [&dyn Aml; 4] =
        [&io(ports::PIC_MASTER), &io(ports::PIC_SLAVE), &io(ports::PIC_ELCR), &IrqNoFlags(CASCADE_IRQ)];
    push_device(&mut content, "PIC_", &[&hid("PNP0000")], &pic);
    push_device(&mut content, "TIMR", &[&hid("PNP0100")], &[&io(ports::PIT), &IrqNoFlags(PIT_IRQ)]);

    if platform.rtc {
        push_device(
            &mut content,
            "RTC_",
            &[&hid("PNP0B00")],
            &[&port(ports::RTC.first(), RTC_DECODED), &IrqNoFlags(RTC_IRQ)],
        );
    }
    if platform.ps2 {
        let keyboard: [&dyn Aml; 3] =
            [&io(ports::I8042_DATA), &io(ports::I8042_COMMAND), &IrqNoFlags(KEYBOARD_IRQ)];
        push_device(&mut content, "KBD_", &[&hid("PNP0303")], &keyboard);
        push_device(&mut content, "MOU_", &[&hid("PNP0F13")], &[&IrqNoFlags(MOUSE_IRQ)]);
    }
    if platform.com1 {
        let com1: [&dyn Aml; 2] = [&io(ports::COM1), &IrqNoFlags(COM1_IRQ)];
        push_device(&mut content, "COM1", &[&hid("PNP0501"), &uid(1)], &com1);
    }
    if platform.pvpanic {
        let hid = Name::new("_HID".into(), &"QEMU0001");
        push_device(&mut content, "PVPN", &[&hid, &hidden()], &[&io(ports::PVPANIC)]);
    }
    terms.push(&Device::new(NAME.path(), vec![&content]));
}

/// PRQA to PRQH, one byte each.
fn push_router_registers(terms: &mut Terms) {
    let field = |pirq: &Pirq| FieldEntry::Named([b'P', b'R', b'Q', pirq.letter() as u8], 8);
    let (low, high) = Pirq::ALL.split_at(4);
    let mut fields: Vec<FieldEntry> = low.iter().map(field).collect();
    fields.push(FieldEntry::Reserved(32));
    fields.extend(high.iter().map(field));
    terms.push(&OpRegion::new("PIRQ".into(), OpRegionSpace::PCIConfig, &ROUTE_OFFSET, &ROUTE_LENGTH));
    terms.push(&Field::new(
        "PIRQ".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        fields,
    ));
}

/// What the board itself takes and no other device names.
///
/// Port 0xCF9, the reset register, is not here: it lies within the configuration ports, which are the host
/// bridge's.
fn push_board(terms: &mut Terms, platform: &Platform) {
    let pm_block = port(platform.pm_base, pm::COUNT);
    let (post, port_92) = (io(ports::POST), io(ports::PORT_92));
    let battery = io(ports::BATTERY);
    let mut resources: Vec<&dyn Aml> = vec![&pm_block, &post, &port_92, &MemoryRange(ROOT_COMPLEX)];
    if platform.battery == Some(Battery::Mirror) {
        resources.push(&battery);
    }
    push_device(terms, "MBRD", &[&hid("PNP0C02")], &resources);
}

/// A device with these resources.
fn push_device(terms: &mut Terms, name: &str, objects: &[&dyn Aml], resources: &[&dyn Aml]) {
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(resources.to_vec()));
    let mut content = objects.to_vec();
    content.push(&crs);
    terms.push(&Device::new(name.into(), content));
}

/// Ports at a fixed place.
fn io(ports: Ports) -> IO {
    port(ports.first(), ports.count())
}

/// `length` ports from `first` on.
fn port(first: u16, length: u8) -> IO {
    IO::new(first, first, 1, length)
}
