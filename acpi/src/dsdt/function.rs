//! One device per PCI function (§6.1.1), nested as the buses are.

use acpi_tables::aml::Device;
use vocabulary::interrupts::{Pin, Pirq};

use super::{adr, interrupt};
use crate::aml::Terms;
use crate::platform::{FunctionKind, PciFunction};

/// Where the pins of a bus lead: the four pins of its bridge, translated to router inputs.
pub(super) type Wires = [Pirq; 4];

/// The functions on bus 0.
pub(super) fn push_root(terms: &mut Terms, functions: &[PciFunction]) {
    for function in functions {
        let wires = Pin::ALL.map(|pin| Pirq::of_root_bus(function.device, pin));
        push(terms, function, wires);
    }
}

/// A function whose own pins lead to `wires`.
fn push(terms: &mut Terms, function: &PciFunction, wires: Wires) {
    let PciFunction { device, function, name, kind, aml } = function;
    let mut content = Terms::new();
    content.push(&adr(*device, *function));
    match kind {
        FunctionKind::Endpoint => {}
        FunctionKind::Bridge { children } => {
            // A PCI Express link has device 0 only, but a conventional bus or a switch has others.
            let mut devices: Vec<u8> = children.iter().map(|child| child.device).chain([0]).collect();
            devices.sort_unstable();
            devices.dedup();
            interrupt::push_routes(&mut content, &devices, |device, pin| through(wires, device, pin));
            for child in children {
                push(&mut content, child, Pin::ALL.map(|pin| through(wires, child.device, pin)));
            }
        }
    }
    content.push(&Terms::from(aml.clone()));
    terms.push(&Device::new(name.path(), vec![&content]));
}

/// Where a pin of `device` behind a bridge with these wires leads.
fn through(wires: Wires, device: u8, pin: Pin) -> Pirq {
    let [a, b, c, d] = wires;
    match pin.through_bridge(device).index() {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    }
}
