//! The PCI functions of the machine, with their names and interrupts.

use std::collections::BTreeSet;

use vocabulary::Devfn;
use vocabulary::interrupts::{Pin, Pirq};

use super::place::Taken;

/// What a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The memory controller hub, 00:00.0.
    HostBridge,
    /// The LPC bridge, 00:1f.0.
    Lpc,
    /// A root port; its number among the ports is also the secondary bus that OVMF gives it.
    RootPort {
        /// 1 for the first in address order.
        number: u8,
    },
    /// The configuration's disk of this index.
    Disk(usize),
    /// The random number generator.
    Rng,
    /// The passed-through function of this index in [`super::MachinePlan::passthrough`].
    Passthrough(usize),
}

/// One function of the machine.
#[derive(Debug, Clone)]
pub struct PlannedFunction {
    /// What it is.
    pub role: Role,
    /// Bus number after OVMF's enumeration.
    pub bus: u8,
    /// Device and function.
    pub at: Devfn,
    /// Name of its ACPI device, four characters.
    pub acpi_name: String,
    /// INTx pin (1 = INTA) and the global interrupt that it arrives at, for functions that have one. Unknown for
    /// passed-through functions, whose own pin decides.
    pub interrupt: Option<Intx>,
    /// Other functions share its device number, or it is to say so.
    pub multifunction: bool,
    /// For a root port, what sits behind it.
    pub children: Vec<PlannedFunction>,
}

/// A wired PCI interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intx {
    /// 1 = INTA … 4 = INTD.
    pub pin: u8,
    /// IOAPIC input, 16–23.
    pub gsi: u8,
}

/// All functions.
#[derive(Debug, Clone, Default)]
pub struct PciPlan {
    /// Bus 0 in address order.
    pub functions: Vec<PlannedFunction>,
}

impl PciPlan {
    /// All functions, parents before their children.
    pub fn iter(&self) -> impl Iterator<Item = &PlannedFunction> {
        self.functions.iter().flat_map(|function| std::iter::once(function).chain(&function.children))
    }
}

impl std::fmt::Display for PlannedFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}:{}", self.bus, self.at)
    }
}

/// The functions at their places, those behind root ports below these. `several` are the passed-through functions that
/// say that their device has several, whether or not it has.
pub(super) fn tree(taken: &Taken, several: &BTreeSet<usize>) -> Vec<PlannedFunction> {
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
        function.interrupt = intx(function.role, function.at, function.at);
        if let Role::RootPort { number } = function.role {
            function.children = on_bus(number);
            let port = function.at;
            for child in &mut function.children {
                child.interrupt = intx(child.role, port, child.at);
                if port.device() == 1 && child.at.function() == 0 {
                    child.acpi_name = "PEGP".into();
                }
            }
        }
    }
    functions
}

/// Root ports use the pin that their function number gives, so that those of one slot do not share a line; virtio
/// functions use INTA. Behind a root port the link's device 0 keeps its pin across the bridge, and the port's slot decides
/// (PCI-to-PCI Bridge 1.2, 9.1).
fn intx(role: Role, slot: Devfn, at: Devfn) -> Option<Intx> {
    let pin = match role {
        // The pin is the device's own, and nobody knows it before it is opened.
        Role::HostBridge | Role::Lpc | Role::Passthrough(_) => return None,
        Role::RootPort { .. } => at.function() % 4 + 1,
        Role::Disk(_) | Role::Rng => 1,
    };
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
