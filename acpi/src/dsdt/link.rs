//! Interrupt link devices (§6.2.13.1): the router in the LPC bridge, and the fixed wires to the I/O APIC.
//!
//! The wires are link devices, rather than plain numbers in `_PRT`, because only a descriptor can say that the
//! interrupts are active-high.

use acpi_tables::aml::{
    And, Arg, CreateDWordField, Device, Else, If, Local, Method, Name, Or, Path, ResourceTemplate, Return,
    Store, ZERO,
};
use vocabulary::interrupts::Pirq;

use super::{hid, local, lpc, uid};
use crate::aml::{Interrupts, Terms};

/// ISA interrupts that the router may use: those that the MADT describes as level-triggered, but for the
/// system control interrupt.
const PIC_CHOICES: [u32; 3] = [5, 10, 11];

/// PIRQx_ROUT (ICH9 datasheet 13.1.17): disabled.
const DISABLED: u8 = 0x80;
/// PIRQx_ROUT: the ISA interrupt.
const ROUTE: u8 = 0x0F;

/// `_STA` (§6.3.7) of an input that is disabled, and of one that is routed.
const PRESENT: u8 = 0x09;
const IN_USE: u8 = 0x0B;

/// The `_UID`s of the wires begin here, after those of the router.
const WIRE_UIDS: u32 = 0x10;

/// Offset of the first interrupt number in an extended interrupt descriptor (§6.4.3.6).
const NUMBER_OFFSET: u8 = 5;

/// Path of the link device in 8259 mode: `\_SB.LNKA` to `\_SB.LNKH`.
pub(super) fn pic_path(pirq: Pirq) -> Path {
    Path::new(&format!("\\_SB_.LNK{}", pirq.letter()))
}

/// Path of the link device in I/O APIC mode: `\_SB.GSIA` to `\_SB.GSIH`.
pub(super) fn apic_path(pirq: Pirq) -> Path {
    Path::new(&format!("\\_SB_.GSI{}", pirq.letter()))
}

/// The sixteen of them, into `\_SB`.
pub(super) fn push(terms: &mut Terms) {
    Pirq::ALL.into_iter().for_each(|pirq| push_router_input(terms, pirq));
    Pirq::ALL.into_iter().for_each(|pirq| push_wire(terms, pirq));
}

fn push_router_input(terms: &mut Terms, pirq: Pirq) {
    let register = lpc::route_path(pirq);
    let is_disabled = And::new(&ZERO, &register, &DISABLED);
    let number = local("INTN");
    let current = local("CRSB");

    let mut status = Terms::new();
    status.push(&If::new(&is_disabled, vec![&Return::new(&PRESENT)]));
    status.push(&Return::new(&IN_USE));

    let mut resources = Terms::new();
    resources.push(&CreateDWordField::new(&number, &current, &NUMBER_OFFSET));
    resources.push(&If::new(&is_disabled, vec![&Store::new(&number, &ZERO)]));
    resources.push(&Else::new(vec![&And::new(&number, &register, &ROUTE)]));
    resources.push(&Return::new(&current));

    let mut set = Terms::new();
    set.push(&CreateDWordField::new(&number, &Arg(0), &NUMBER_OFFSET));
    set.push(&And::new(&Local(0), &number, &ROUTE));
    set.push(&Store::new(&register, &Local(0)));

    let mut content = Terms::new();
    content.push(&hid("PNP0C0F"));
    content.push(&uid(pirq.index().into()));
    content.push(&Method::new("_STA".into(), 0, false, vec![&status]));
    content.push(&Method::new("_DIS".into(), 0, false, vec![&Or::new(&register, &register, &DISABLED)]));
    content.push(&Name::new("_PRS".into(), &ResourceTemplate::new(vec![&Interrupts(&PIC_CHOICES)])));
    content.push(&Name::new("CRSB".into(), &ResourceTemplate::new(vec![&Interrupts(&[0])])));
    content.push(&Method::new("_CRS".into(), 0, true, vec![&resources]));
    content.push(&Method::new("_SRS".into(), 1, true, vec![&set]));
    terms.push(&Device::new(Path::new(&format!("LNK{}", pirq.letter())), vec![&content]));
}

fn push_wire(terms: &mut Terms, pirq: Pirq) {
    let numbers = [pirq.gsi().into()];
    let interrupt = Interrupts(&numbers);
    let resources = ResourceTemplate::new(vec![&interrupt]);
    let mut content = Terms::new();
    content.push(&hid("PNP0C0F"));
    content.push(&uid(WIRE_UIDS + u32::from(pirq.index())));
    content.push(&Name::new("_PRS".into(), &resources));
    content.push(&Name::new("_CRS".into(), &resources));
    // An OS wants to disable and to set a link before it uses it; a wire has nothing to set.
    content.push(&Method::new("_DIS".into(), 0, false, vec![]));
    content.push(&Method::new("_SRS".into(), 1, false, vec![]));
    terms.push(&Device::new(Path::new(&format!("GSI{}", pirq.letter())), vec![&content]));
}
