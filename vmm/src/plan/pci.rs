//! From places to functions with their names and interrupts.

use std::collections::BTreeSet;

use vocabulary::Devfn;
use vocabulary::interrupts::{Pin, Pirq};

use super::place::Taken;
use crate::device::Devices;
use crate::topology::{Intx, PlannedFunction, Role};

/// The functions at their places, those behind root ports below these. `several` are the passed-through functions that
/// say that their device has several, whether or not it has.
pub(super) fn tree(taken: &Taken, devices: &Devices, several: &BTreeSet<usize>) -> Vec<PlannedFunction> {
    let on_bus = |bus: u8| -> Vec<PlannedFunction> {
        taken
            .iter()
            .filter(|((on, _, _), _)| *on == bus)
            .filter_map(|(&(_, device, function), &(role, _))| {
                let at = Devfn::new(device, function)?;
                let shared =
                    taken.keys().any(|&(on, dev, fun)| on == bus && dev == device && fun != function);
                let said = matches!(role, Role::Passthrough(index) if several.contains(&index));
                Some(PlannedFunction {
                    role,
                    bus,
                    at,
                    acpi_name: acpi_name(role, bus, at),
                    interrupt: None,
                    multifunction: shared || said,
                    children: Vec::new(),
                })
            })
            .collect()
    };
    let mut functions = on_bus(0);
    for function in &mut functions {
        function.interrupt = intx(devices, function.role, function.at, function.at);
        if let Role::RootPort { number } = function.role {
            function.children = on_bus(number);
            let port = function.at;
            for child in &mut function.children {
                child.interrupt = intx(devices, child.role, port, child.at);
                if port.device() == 1 && child.at.function() == 0 {
                    child.acpi_name = "PEGP".into();
                }
            }
        }
    }
    functions
}

/// Root ports use the pin that their function number gives, so that those of one slot do not share a line; other
/// devices use their own. Behind a root port the link's device 0 keeps its pin across the bridge, and the port's slot decides
/// (PCI-to-PCI Bridge 1.2, 9.1).
fn intx(devices: &Devices, role: Role, slot: Devfn, at: Devfn) -> Option<Intx> {
    let pin = match role {
        // The pin is the device's own, and nobody knows it before it is opened.
        Role::HostBridge | Role::Lpc | Role::Passthrough(_) => return None,
        Role::RootPort { .. } => at.function() % 4 + 1,
        Role::Device(index) => devices.get(index)?.pci()?.pin,
    };
    if pin == 0 {
        return None;
    }
    // GSIs 16–23.
    let gsi = Pirq::of_root_bus(slot.device(), Pin::wrapping(pin)).gsi();
    Some(Intx { pin, gsi })
}

/// PEG0 … for the ports of slot 1 with PEGP behind, as on laptops, where drivers look for these names; elsewhere names
/// that say the place.
fn acpi_name(role: Role, bus: u8, at: Devfn) -> String {
    match role {
        Role::HostBridge => "MCHC".into(),
        Role::Lpc => "LPCB".into(),
        Role::RootPort { .. } if at.device() == 1 => format!("PEG{:X}", at.function()),
        Role::RootPort { number } => format!("RP{number:02X}"),
        _ if bus == 0 => format!("D{:02X}{:X}", at.device(), at.function()),
        _ if at.function() == 0 => "PXSX".into(),
        _ => format!("PXS{:X}", at.function()),
    }
}
