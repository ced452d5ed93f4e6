//! Whether the running machine is as planned: the bus numbers that the firmware has given.
//!
//! Buses are numbered by software, and every address behind a root port depends on it. The plan foretells the numbers;
//! this compares.

use devices::pci::Forwarding;
use vocabulary::Devfn;

use super::MachinePlan;
use crate::topology::Role;

/// What differs from the plan, in sentences; empty if the root ports have the buses that the plan says. `bridges` is what
/// the root ports forward to now.
pub fn bus_numbers(plan: &MachinePlan, bridges: &[(Devfn, Forwarding)]) -> Vec<String> {
    let ports = plan.pci.functions.iter().filter_map(|function| match function.role {
        Role::RootPort { number } => Some((function, number)),
        _ => None,
    });
    ports
        .filter_map(|(port, planned)| {
            let found =
                bridges.iter().find(|(at, _)| *at == port.at).map(|(_, forwarding)| forwarding.secondary);
            let now = match found {
                Some(bus) if bus == planned => return None,
                // Bus 0 is above the port: the register still has its reset value.
                Some(0) | None => "no bus".to_owned(),
                Some(bus) => format!("bus {bus:02x}"),
            };
            let behind: Vec<String> = port.children.iter().map(ToString::to_string).collect();
            let missed = match behind.as_slice() {
                [] => String::new(),
                _ => format!(", so that nothing is found at {}", behind.join(", ")),
            };
            Some(format!(
                "the firmware gave the root port {port} {now} where bus {planned:02x} was planned{missed}"
            ))
        })
        .collect()
}
