//! `\_SB.PCI0.BAT0`, a control method battery (§10.2), `\_SB.PCI0.ADP1`, the power adapter (§10.3), and the event
//! by which a battery that follows the host's tells of changes (§5.6.4.1).

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Index, Local,
    Method, Name, Notify, ONE, OpRegion, OpRegionSpace, PackageBuilder, Path, Return, Scope, Store, ZERO,
};
use vocabulary::battery::{
    self as registers, EVENT_ADAPTER, EVENT_INFO, EVENT_STATUS, FLAG_ADAPTER, FLAG_BATTERY, GPE, UNKNOWN,
};
use vocabulary::ports::BATTERY as BATTERY_PORTS;

use super::{hid, local, uid};
use crate::aml::Terms;
use crate::platform::{Battery, NameSeg};

pub(super) const BATTERY: NameSeg = NameSeg::fixed(*b"BAT0");
pub(super) const ADAPTER: NameSeg = NameSeg::fixed(*b"ADP1");

/// `_STA` (§6.3.7): present, enabled, shown, working; bit 4 is that of the battery in its bay.
const STA_WITHOUT_BATTERY: u8 = 0x0F;
const STA_WITH_BATTERY: u8 = 0x1F;

/// Notifications of a battery (§5.6.6, table 5.156) and of an adapter (table 5.157).
const STATUS_CHANGED: u8 = 0x80;
const INFORMATION_CHANGED: u8 = 0x81;

/// An element of `_BIF`, `_BIX` or `_BST`.
#[derive(Clone, Copy)]
enum Value {
    Number(u32),
    /// A revision: as a byte, since compilers do not take `One` for it.
    Revision(u8),
    Text(&'static str),
    /// A register of the mirrored battery, and what it is in the constant one.
    Register(&'static str, u32),
}
use Value::{Number, Register, Revision, Text};

const UNIT: Value = Register("UNIT", 1);
const DESIGN: Value = Register("DSGN", 6000);
const LAST_FULL: Value = Register("LAST", 6000);
const RECHARGEABLE: Value = Number(1);
const DESIGN_VOLTAGE: Value = Register("DVOL", 14_800);
const WARNING: Value = Register("WARN", 600);
const LOW: Value = Register("LOWC", 300);
const GRANULARITY: Value = Register("GRAN", 60);
/// Model, serial number, type, OEM information.
const NAMES: [Value; 4] = [Text(""), Text(""), Text("LION"), Text("")];

/// §10.2.2.1.
const BIF: [Value; 13] = [
    UNIT,
    DESIGN,
    LAST_FULL,
    RECHARGEABLE,
    DESIGN_VOLTAGE,
    WARNING,
    LOW,
    GRANULARITY,
    GRANULARITY,
    NAMES[0],
    NAMES[1],
    NAMES[2],
    NAMES[3],
];

/// §10.2.2.2, revision 1.
const BIX: [Value; 21] = [
    Revision(1),
    UNIT,
    DESIGN,
    LAST_FULL,
    RECHARGEABLE,
    DESIGN_VOLTAGE,
    WARNING,
    LOW,
    Register("CYCL", 0),
    // Accuracy in thousandths of a percent; sampling times and averaging intervals, greatest and least.
    Number(100_000),
    Number(UNKNOWN),
    Number(UNKNOWN),
    Number(UNKNOWN),
    Number(UNKNOWN),
    GRANULARITY,
    GRANULARITY,
    NAMES[0],
    NAMES[1],
    NAMES[2],
    NAMES[3],
    // Not swappable.
    Number(0),
];

/// §10.2.2.11: neither charging nor discharging, 14.8 V.
const BST: [Value; 4] =
    [Register("STAT", 0), Register("RATE", 0), Register("REMN", 6000), Register("VOLT", 14_800)];

impl Aml for Value {
    /// As a constant; registers are filled in later in a mirrored battery.
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        match self {
            Number(number) | Register(_, number) => number.to_aml_bytes(sink),
            Revision(number) => {
                sink.byte(0x0A);
                sink.byte(*number);
            }
            Text(text) => text.to_aml_bytes(sink),
        }
    }
}

/// The devices on bus 0.
pub(super) fn push(terms: &mut Terms, battery: Battery) {
    let name = Name::new("_HID".into(), &"ACPI0003");
    let powers = powers_all();
    let source = match battery {
        Battery::Full => method("_PSR", &[&Return::new(&ONE)]),
        Battery::Mirror => {
            let flags = Path::new("\\_SB_.PCI0.BAT0.FLAG");
            let plugged_in = And::new(&ZERO, &flags, &FLAG_ADAPTER);
            let yes = Return::new(&ONE);
            method("_PSR", &[&If::new(&plugged_in, vec![&yes]), &Return::new(&ZERO)])
        }
    };
    terms.push(&Device::new(ADAPTER.path(), vec![&name, &uid(0), &powers, &source]));

    let mut content = Terms::new();
    content.push(&hid("PNP0C0A"));
    content.push(&uid(0));
    content.push(&powers);
    match battery {
        Battery::Full => {
            content.push(&method("_STA", &[&Return::new(&STA_WITH_BATTERY)]));
            for (name, values) in packages() {
                content.push(&method(name, &[&Return::new(&package(values))]));
            }
        }
        Battery::Mirror => {
            push_registers(&mut content);
            let flags = local("FLAG");
            let there = And::new(&ZERO, &flags, &FLAG_BATTERY);
            let yes = Return::new(&STA_WITH_BATTERY);
            let no = Return::new(&STA_WITHOUT_BATTERY);
            content.push(&method("_STA", &[&If::new(&there, vec![&yes]), &no]));
            for (name, values) in packages() {
                push_filled(&mut content, name, values);
            }
        }
    }
    terms.push(&Device::new(BATTERY.path(), vec![&content]));
}

/// `\_GPE._E10`, for the root of the namespace.
pub(super) fn push_event(terms: &mut Terms, battery: Battery) {
    if battery == Battery::Full {
        return;
    }
    let (battery, adapter) = (Path::new("\\_SB_.PCI0.BAT0"), Path::new("\\_SB_.PCI0.ADP1"));
    let events = Local(0);
    let register = Path::new("\\_SB_.PCI0.BAT0.EVNT");
    let mut body = Terms::new();
    body.push(&Store::new(&events, &register));
    for (bit, device, what) in [
        (EVENT_INFO, &battery, INFORMATION_CHANGED),
        (EVENT_STATUS, &battery, STATUS_CHANGED),
        (EVENT_ADAPTER, &adapter, STATUS_CHANGED),
    ] {
        let notify = Notify::new(device, &what);
        body.push(&If::new(&And::new(&ZERO, &events, &bit), vec![&notify]));
    }
    let name = format!("_E{GPE:02X}");
    let handler = Method::new(Path::new(&name), 0, true, vec![&body]);
    terms.push(&Scope::new("\\_GPE".into(), vec![&handler]));
}

fn packages() -> [(&'static str, &'static [Value]); 3] {
    [("_BIF", &BIF), ("_BIX", &BIX), ("_BST", &BST)]
}

fn package(values: &[Value]) -> PackageBuilder {
    let mut package = PackageBuilder::new();
    values.iter().for_each(|value| package.add_element(value));
    package
}

/// `_PCL` (§10.3.2): the whole machine.
fn powers_all() -> Name {
    let mut all = PackageBuilder::new();
    all.add_element(&Path::new("\\_SB_"));
    Name::new("_PCL".into(), &all)
}

fn method(name: &str, body: &[&dyn Aml]) -> Terms {
    let mut terms = Terms::new();
    terms.push(&Method::new(Path::new(name), 0, false, body.to_vec()));
    terms
}

fn push_registers(terms: &mut Terms) {
    let fields = registers::Register::ALL.map(|register| FieldEntry::Named(register.name(), 32));
    terms.push(&OpRegion::new(
        "BREG".into(),
        OpRegionSpace::SystemIO,
        &BATTERY_PORTS.first(),
        &BATTERY_PORTS.count(),
    ));
    terms.push(&Field::new(
        "BREG".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        fields.to_vec(),
    ));
}

/// A package, and the method that fills the registers' values into it and returns it.
fn push_filled(terms: &mut Terms, name: &str, values: &'static [Value]) {
    // "PBIF" for _BIF.
    let store = Path::new(&name.replacen('_', "P", 1));
    let mut body = Terms::new();
    for (index, value) in (0u8..).zip(values) {
        if let Register(register, _) = value {
            let element = Index::new(&ZERO, &store, &index);
            body.push(&Store::new(&element, &local(register)));
        }
    }
    body.push(&Return::new(&store));
    terms.push(&Name::new(Path::new(&name.replacen('_', "P", 1)), &package(values)));
    terms.push(&Method::new(Path::new(name), 0, true, vec![&body]));
}
