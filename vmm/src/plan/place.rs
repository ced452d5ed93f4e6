//! Where each PCI function sits.
//!
//! OVMF numbers buses depth first in the order of device and function, so with root ports on bus 0 only, the n-th
//! port's secondary bus is bus n. Addresses in the configuration are read against that.

use std::collections::{BTreeMap, BTreeSet};

use vocabulary::PciAddress;

use super::passthrough::{Place, Unplaced};
use super::pci;
use super::ports::Ports;
use crate::config::Config;
use crate::finding::{Finding, Key, Section};
use crate::topology::{GPU_PORT, PciPlan, PlannedFunction, Role, Slot};

/// The chipset's own places and those that a laptop's GPUs have, which devices without an address do not take.
pub(super) const HOST_BRIDGE: Slot = (0x00, 0);
const LPC: Slot = (0x1f, 0);
/// Where Intel's GPUs are.
const IGPU: Slot = (0x02, 0);
const KEPT_FOR_GPUS: [u8; 2] = [0x01, 0x02];

/// A function whose place is to be found.
struct Request<'a> {
    role: Role,
    /// The key to blame for the place.
    key: Key,
    address: Option<PciAddress>,
    /// What more there is to know of a passed-through function.
    unplaced: Option<&'a Unplaced>,
}

fn requests<'a>(config: &Config, unplaced: &'a [Unplaced]) -> Vec<Request<'a>> {
    let devices = config.devices.iter().enumerate().filter_map(|(index, device)| {
        let address = device.pci()?.address;
        Some(Request { role: Role::Device(index), key: device.place_key(), address, unplaced: None })
    });
    let passthrough = unplaced.iter().map(|unplaced| Request {
        role: Role::Passthrough(unplaced.index),
        key: unplaced.key,
        address: match unplaced.place {
            Place::At(address) => Some(address),
            Place::OwnPort | Place::RootBus => None,
        },
        unplaced: Some(unplaced),
    });
    devices.chain(passthrough).collect()
}

/// Who holds a place (bus, device, function), and the key to blame; the chipset has none.
pub(super) type Taken = BTreeMap<(u8, u8, u8), (Role, Option<Key>)>;

/// A plan under way.
pub(super) struct Planner<'a> {
    config: &'a Config,
    problems: &'a mut Vec<Finding>,
    pub(super) taken: Taken,
    ports: Ports,
}

impl Planner<'_> {
    pub(super) fn problem(&mut self, key: Key, message: String) {
        self.problems.push(self.config.problem(key, message));
    }

    pub(super) fn problem_with_help(&mut self, key: Key, message: String, help: impl Into<String>) {
        self.problems.push(self.config.problem(key, message).with_help(help));
    }

    /// Who has a place, in words.
    fn holder(&self, place: (u8, u8, u8)) -> Option<String> {
        let (_, key) = self.taken.get(&place)?;
        Some(key.map_or_else(|| "the chipset".to_owned(), |key| format!("`{key}`")))
    }

    /// Takes a place, or tells who has it.
    fn take(&mut self, place: (u8, u8, u8), role: Role, key: Key) -> bool {
        if let Some(other) = self.holder(place) {
            let (bus, device, function) = place;
            let message = format!("{bus:02x}:{device:02x}.{function} is taken by {other} already");
            let of_host = |role: &Role| matches!(role, Role::Passthrough(_));
            let about_host = of_host(&role) || self.taken.get(&place).is_some_and(|(role, _)| of_host(role));
            let problem = self.config.problem(key, message);
            self.problems.push(if about_host { problem.about_host() } else { problem });
            return false;
        }
        self.taken.insert(place, (role, Some(key)));
        true
    }

    fn take_port(&mut self, (device, function): Slot, key: Key) {
        // The number is known when all ports are.
        if self.take((0, device, function), Role::RootPort { number: 0 }, key) {
            self.ports.insert((device, function));
        }
    }

    fn free_port(&self, ports: &Ports) -> Option<Slot> {
        ports.next_place(|(device, function)| self.taken.contains_key(&(0, device, function)))
    }
}

/// Places everything. The order matters: what the user has placed comes first, then the ports that these places need,
/// and what the plan may place as it likes comes last, behind all ports there are. So it shifts no bus that an address
/// of the user's is on.
pub(super) fn plan(config: &Config, unplaced: &[Unplaced], problems: &mut Vec<Finding>) -> PciPlan {
    let mut planner = Planner { config, problems, taken: Taken::new(), ports: Ports::default() };
    for ((device, function), role) in [(HOST_BRIDGE, Role::HostBridge), (LPC, Role::Lpc)] {
        planner.taken.insert((0, device, function), (role, None));
    }
    for (index, port) in config.root_ports.iter().enumerate() {
        let key = Section::RootPort(index).key("address");
        if port.address.bus() != 0 {
            planner.problem(key, format!("a root port sits on bus 0, not at {}", port.address));
            continue;
        }
        planner.take_port((port.address.device(), port.address.function()), key);
    }
    let (placed, free): (Vec<_>, Vec<_>) =
        requests(config, unplaced).into_iter().partition(|request| request.address.is_some());
    let (on_root_bus, behind_ports): (Vec<_>, Vec<_>) = placed
        .into_iter()
        .filter_map(|request| Some((request.address?, request)))
        .partition(|(address, _)| address.bus() == 0);
    // Of a section whose first function has no place, the others need none.
    let mut without_place: BTreeSet<usize> = BTreeSet::new();
    for (address, request) in &on_root_bus {
        planner.place(*address, request, &mut without_place);
    }
    planner.add_ports(&behind_ports);
    for (address, request) in &behind_ports {
        planner.place(*address, request, &mut without_place);
    }
    let (own_port, root_bus): (Vec<_>, Vec<_>) = free
        .into_iter()
        .partition(|request| request.unplaced.is_some_and(|unplaced| unplaced.place == Place::OwnPort));
    for request in own_port {
        planner.place_behind_own_port(&request);
    }
    // The USB controller, which comes along with a display without being asked for, moves nobody.
    let (of_itself, asked): (Vec<_>, Vec<_>) =
        root_bus.into_iter().partition(|request| is_usb(config, request.role));
    for request in asked.iter().chain(&of_itself) {
        planner.place_on_root_bus(request);
    }
    planner.number_ports();
    planner.check_function_zero();
    let several = planner.several_functions(unplaced);
    let mut functions = pci::tree(&planner.taken, &config.devices, &several);
    name_display(&mut functions, unplaced);
    PciPlan { functions }
}

fn is_usb(config: &Config, role: Role) -> bool {
    matches!(role, Role::Device(index) if config.devices.get(index).is_some_and(|device| device.section() == Section::Usb))
}

/// The display GPU has the name that it has on laptops if it is in its place there.
fn name_display(functions: &mut [PlannedFunction], unplaced: &[Unplaced]) {
    let igpu =
        |role| unplaced.iter().any(|unplaced| unplaced.igpu && role == Role::Passthrough(unplaced.index));
    for function in functions.iter_mut().filter(|function| igpu(function.role)) {
        if (function.at.device(), function.at.function()) == IGPU {
            function.acpi_name = "GFX0".into();
        }
    }
}

impl Planner<'_> {
    /// Puts a function where the user wants it.
    fn place(&mut self, address: PciAddress, request: &Request<'_>, without_place: &mut BTreeSet<usize>) {
        if request
            .unplaced
            .and_then(|unplaced| unplaced.beside)
            .is_some_and(|first| without_place.contains(&first))
        {
            return;
        }
        let (bus, device, function) = (address.bus(), address.device(), address.function());
        let count = self.ports.count();
        let placed = if usize::from(bus) > count {
            // Why there is no port above a passed-through function is told already.
            if request.unplaced.is_none() {
                let message = match count {
                    0 => format!(
                        "{address} is on bus {bus}, but the machine has only bus 0: add a [[root_port]]"
                    ),
                    count => format!(
                        "{address} is on bus {bus}, but {count} root port(s) make buses 1 to {count} only: \
                         add [[root_port]] entries"
                    ),
                };
                self.problem(request.key, message);
            }
            false
        } else if bus != 0 && device != 0 {
            let message =
                format!("{address} has device number {device}: the link of a root port has device 0 only");
            self.problem(request.key, message);
            false
        } else {
            self.take((bus, device, function), request.role, request.key)
        };
        if let Some(unplaced) = request.unplaced.filter(|_| !placed) {
            without_place.insert(unplaced.index);
        }
    }

    /// Adds the root ports that passed-through functions need above their addresses.
    fn add_ports(&mut self, behind_ports: &[(PciAddress, Request<'_>)]) {
        let mut asked: Vec<(u8, Key, bool)> = behind_ports
            .iter()
            .filter_map(|(address, request)| Some((address.bus(), request.unplaced?)))
            .filter(|(_, unplaced)| unplaced.beside.is_none())
            .map(|(bus, unplaced)| (bus, unplaced.key, unplaced.dgpu))
            .collect();
        asked.sort_unstable();
        if let Some((_, key, _)) = asked.iter().find(|(bus, _, dgpu)| *dgpu && *bus == 1)
            && !self.ports.contains(GPU_PORT)
        {
            self.add_gpu_port(*key);
        }
        for (bus, key, _) in asked {
            let (bus, count) = (usize::from(bus), self.ports.count());
            if bus <= count {
                continue;
            }
            if bus > count.saturating_add(1) {
                self.complain_about_gap(key, bus);
            } else if let Some(slot) = self.free_port(&self.ports) {
                self.take_port(slot, key);
            } else {
                self.complain_about_ports(key);
            }
        }
    }

    fn add_gpu_port(&mut self, key: Key) {
        let (device, function) = GPU_PORT;
        match self.holder((0, device, function)) {
            None => self.take_port(GPU_PORT, key),
            Some(holder) => {
                let message = format!("the GPU needs a root port at 00:01.0, which is taken by {holder}");
                let problem = self.config.problem(key, message).about_host();
                self.problems.push(problem.with_help(format!("give {holder} another address")));
            }
        }
    }

    fn complain_about_gap(&mut self, key: Key, bus: usize) {
        let count = self.ports.count();
        let mut ports = self.ports.clone();
        let missing: Option<Vec<String>> = (count.saturating_add(1)..bus)
            .map(|_| {
                let slot = self.free_port(&ports)?;
                ports.insert(slot);
                Some(format!("\"00:{:02x}.{}\"", slot.0, slot.1))
            })
            .collect();
        let have = match count {
            0 => "there is no root port".to_owned(),
            count => format!("the root ports make buses up to {count:02x}"),
        };
        let next = count.saturating_add(1);
        let message = format!("bus {bus:02x} exists only if each bus before it has a root port, and {have}");
        let help = match missing {
            Some(missing) if missing.len() <= 4 => {
                format!("add a [[root_port]] at {}, or ask for bus {next:02x}", missing.join(" and one at "))
            }
            _ => format!("ask for bus {next:02x}"),
        };
        self.problem_with_help(key, message, help);
    }

    fn complain_about_ports(&mut self, key: Key) {
        let message = "there is no room on bus 0 for another root port behind the last one".to_owned();
        self.problem_with_help(
            key,
            message,
            "give the [[root_port]] sections lower addresses, or remove some",
        );
    }

    /// Gives a function a port of its own, and with it the next bus.
    fn place_behind_own_port(&mut self, request: &Request<'_>) {
        let Some(slot) = self.free_port(&self.ports) else {
            self.complain_about_ports(request.key);
            return;
        };
        self.take_port(slot, request.key);
        if let Ok(bus) = u8::try_from(self.ports.count()) {
            self.take((bus, 0, 0), request.role, request.key);
        }
    }

    fn place_on_root_bus(&mut self, request: &Request<'_>) {
        let unused = (3..0x1f)
            .chain(KEPT_FOR_GPUS)
            .find(|&device| self.taken.range((0, device, 0)..=(0, device, u8::MAX)).next().is_none());
        match unused {
            Some(device) => {
                self.take((0, device, 0), request.role, request.key);
            }
            None => self.problem(
                request.key,
                "bus 0 has no free device number left: give devices addresses behind a [[root_port]]".into(),
            ),
        }
    }

    fn number_ports(&mut self) {
        for (number, (device, function)) in self.ports.numbered() {
            if let Some((role, _)) = self.taken.get_mut(&(0, device, function)) {
                *role = Role::RootPort { number };
            }
        }
    }
}
