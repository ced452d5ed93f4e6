//! Where each PCI function sits.
//!
//! OVMF numbers buses depth first in the order of device and function, so with root ports on bus 0 only, the n-th
//! port's secondary bus is bus n. Addresses in the configuration are read against that.

use std::collections::BTreeMap;

use devices::pci::Devfn;

use crate::config::{Config, Diagnostic, PciAddress};

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
    /// INTx pin (1 = INTA) and the global interrupt that it arrives at, for functions that have one.
    pub interrupt: Option<Intx>,
    /// Other functions share its device number.
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

/// The chipset's own places and those that a laptop's GPUs have, which devices without an address do not take.
const HOST_BRIDGE: (u8, u8) = (0x00, 0);
const LPC: (u8, u8) = (0x1f, 0);
const KEPT_FOR_GPUS: [u8; 2] = [0x01, 0x02];

struct Request {
    role: Role,
    key: String,
    address: Option<PciAddress>,
}

fn requests(config: &Config) -> Vec<Request> {
    let disks = config.disks.iter().enumerate().map(|(index, disk)| Request {
        role: Role::Disk(index),
        key: format!("disk[{index}].address"),
        address: disk.address,
    });
    let rng = config.rng.iter().map(|rng| Request {
        role: Role::Rng,
        key: "rng.address".into(),
        address: rng.address,
    });
    disks.chain(rng).collect()
}

/// Who holds a place, and the key to blame.
type Taken = BTreeMap<(u8, u8, u8), (Role, String)>;

struct Planner<'a> {
    config: &'a Config,
    problems: &'a mut Vec<Diagnostic>,
    taken: Taken,
}

impl Planner<'_> {
    fn problem(&mut self, key: &str, message: String) {
        self.problems.push(self.config.problem(key, message));
    }

    fn take(&mut self, place: (u8, u8, u8), role: Role, key: &str) {
        let (bus, device, function) = place;
        if let Some((_, other)) = self.taken.get(&place) {
            let other = if other.is_empty() { "the chipset".to_owned() } else { format!("`{other}`") };
            let message = format!("{bus:02x}:{device:02x}.{function} is taken by {other} already");
            self.problem(key, message);
            return;
        }
        self.taken.insert(place, (role, key.to_owned()));
    }
}

pub(super) fn plan(config: &Config, problems: &mut Vec<Diagnostic>) -> PciPlan {
    let mut planner = Planner { config, problems, taken: Taken::new() };
    for ((device, function), role) in [(HOST_BRIDGE, Role::HostBridge), (LPC, Role::Lpc)] {
        planner.take((0, device, function), role, "");
    }

    let mut ports: Vec<(PciAddress, String)> = Vec::new();
    for (index, port) in config.root_ports.iter().enumerate() {
        let key = format!("root_port[{index}].address");
        if port.address.bus() != 0 {
            planner.problem(&key, format!("a root port sits on bus 0, not at {}", port.address));
            continue;
        }
        ports.push((port.address, key));
    }
    ports.sort_by_key(|(address, _)| (address.device(), address.function()));
    for (index, (address, key)) in ports.iter().enumerate() {
        let number = index as u8 + 1;
        planner.take((0, address.device(), address.function()), Role::RootPort { number }, key);
    }

    let (placed, free): (Vec<_>, Vec<_>) =
        requests(config).into_iter().partition(|request| request.address.is_some());
    for request in placed {
        let Some(address) = request.address else { continue };
        let (bus, device, function) = (address.bus(), address.device(), address.function());
        if usize::from(bus) > ports.len() {
            let message = match ports.len() {
                0 => {
                    format!("{address} is on bus {bus}, but the machine has only bus 0: add a [[root_port]]")
                }
                count => format!(
                    "{address} is on bus {bus}, but {count} root port(s) make buses 1 to {count} only: \
                     add [[root_port]] entries"
                ),
            };
            planner.problem(&request.key, message);
        } else if bus != 0 && device != 0 {
            let message =
                format!("{address} has device number {device}: the link of a root port has device 0 only");
            planner.problem(&request.key, message);
        } else {
            planner.take((bus, device, function), request.role, &request.key);
        }
    }
    for request in free {
        let unused = (3..0x1f)
            .chain(KEPT_FOR_GPUS)
            .find(|&device| !planner.taken.keys().any(|&(bus, taken, _)| bus == 0 && taken == device));
        match unused {
            Some(device) => planner.take((0, device, 0), request.role, &request.key),
            None => planner.problem(
                &request.key,
                "bus 0 has no free device number left: give devices addresses behind a [[root_port]]".into(),
            ),
        }
    }
    check_function_zero(&mut planner);
    PciPlan { functions: tree(&planner.taken) }
}

/// A device whose function 0 is missing is never found: firmware probes function 0 first.
fn check_function_zero(planner: &mut Planner<'_>) {
    let missing: Vec<_> = planner
        .taken
        .iter()
        .filter(|((bus, device, function), _)| {
            *function != 0 && !planner.taken.contains_key(&(*bus, *device, 0))
        })
        .map(|(&place, (_, key))| (place, key.clone()))
        .collect();
    for ((bus, device, function), key) in missing {
        let message = format!(
            "{bus:02x}:{device:02x}.{function} would never be found, because nothing is at {bus:02x}:{device:02x}.0"
        );
        planner.problem(&key, message);
    }
}

fn tree(taken: &Taken) -> Vec<PlannedFunction> {
    let on_bus = |bus: u8| -> Vec<PlannedFunction> {
        taken
            .iter()
            .filter(|((on, _, _), _)| *on == bus)
            .filter_map(|(&(_, device, function), &(role, _))| {
                let at = Devfn::new(device, function)?;
                let multifunction =
                    taken.keys().any(|&(on, dev, fun)| on == bus && dev == device && fun != function);
                Some(PlannedFunction {
                    role,
                    bus,
                    at,
                    acpi_name: acpi_name(role, bus, at),
                    interrupt: None,
                    multifunction,
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
        Role::HostBridge | Role::Lpc => return None,
        Role::RootPort { .. } => at.function() % 4 + 1,
        Role::Disk(_) | Role::Rng => 1,
    };
    // GSIs 16–23.
    let gsi = devices::chipset::gsi_of(slot.device(), pin) as u8;
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
        Role::Disk(_) | Role::Rng if bus == 0 => format!("D{:02X}{:X}", at.device(), at.function()),
        Role::Disk(_) | Role::Rng if at.function() == 0 => "PXSX".into(),
        Role::Disk(_) | Role::Rng => format!("PXS{:X}", at.function()),
    }
}
