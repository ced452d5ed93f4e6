//! What a machine has once: ports, memory and interrupts at fixed places, with who has them.

use serde::Serialize;
use vocabulary::interrupts::{COM1_IRQ, KEYBOARD_IRQ, MOUSE_IRQ, PIT_IRQ, RTC_IRQ, SCI_IRQ};
use vocabulary::memory::{FLASH, IO_APIC, KVM_PAGES, LOCAL_APICS, ROOT_COMPLEX};
use vocabulary::{AddressRange, ConsoleSpec, ports};

use crate::config::{Config, Machine};
use crate::device::Resource;
use crate::finding::{Finding, Key};

/// Something at a fixed place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What it is.
    pub resource: Resource,
    /// Who has it, in words.
    pub owner: String,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Vec<Claim>);

/// I/O ports, as printed; the last one included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// What answers there.
    pub what: String,
}

/// The chipset's, which every machine has.
fn chipset(machine: &Machine, debugcon: &ConsoleSpec, flash: bool) -> Vec<Claim> {
    let ports = [
        (ports::PIC_MASTER, "interrupt controller (8259, first)"),
        (ports::PIT, "timer (8254)"),
        (ports::I8042_DATA, "keyboard controller, data"),
        (ports::I8042_COMMAND, "keyboard controller, commands"),
        (ports::RTC, "real-time clock and CMOS"),
        (ports::PORT_92, "fast A20 and reset"),
        (ports::PIC_SLAVE, "interrupt controller (8259, second)"),
        (ports::COM1, "serial port COM1"),
        (ports::PIC_ELCR, "interrupt controller, edge or level"),
        (ports::FW_CFG, "fw_cfg"),
        (ports::PCI_CONFIG, "PCI configuration, reset control"),
    ];
    let optional = [
        (*debugcon != ConsoleSpec::None).then_some((ports::DEBUGCON, "firmware's debug port")),
        machine.pvpanic.then_some((ports::PVPANIC, "pvpanic")),
    ];
    let memory = [
        (IO_APIC, "IOAPIC"),
        (ROOT_COMPLEX, "chipset configuration (RCBA)"),
        (LOCAL_APICS, "local APICs and message-signalled interrupts"),
        (KVM_PAGES, "KVM's own pages"),
    ];
    let flash = flash.then_some((FLASH, "firmware flash: variables, then code up to 4 GiB"));
    let interrupts = [
        (PIT_IRQ, "PIT"),
        (KEYBOARD_IRQ, "PS/2 keyboard"),
        (COM1_IRQ, "serial port COM1"),
        (RTC_IRQ, "real-time clock"),
        (SCI_IRQ, "ACPI (SCI)"),
        (MOUSE_IRQ, "PS/2 mouse"),
    ];
    let claim = |resource, owner: &str| Claim { resource, owner: owner.to_owned() };
    let ports = ports.into_iter().chain(optional.into_iter().flatten());
    ports
        .map(|(ports, owner)| claim(Resource::Ports(ports), owner))
        .chain(memory.into_iter().chain(flash).map(|(range, owner)| claim(Resource::Memory(range), owner)))
        .chain(interrupts.map(|(gsi, owner)| claim(Resource::Interrupt(gsi), owner)))
        .collect()
}

/// Gives the chipset's resources to it and devices theirs, unless somebody has them.
pub(super) fn plan(config: &Config, problems: &mut Vec<Finding>) -> Claims {
    let Config { machine, debugcon, devices, origin, firmware, .. } = config;
    let mut claims = Claims(chipset(machine, debugcon, firmware.is_some()));
    for device in devices.iter() {
        for resource in device.resources() {
            let claim = Claim { resource, owner: device.describe() };
            if let Err(message) = claims.add(claim) {
                problems.push(origin.problem(Key::from(device.section()), message));
            }
        }
    }
    claims
}

impl Claims {
    /// Adds one, or says who has it.
    fn add(&mut self, claim: Claim) -> Result<(), String> {
        if let Some(other) = self.0.iter().find(|other| overlap(other.resource, claim.resource)) {
            return Err(format!("{} has {} already", other.owner, shown(claim.resource)));
        }
        self.0.push(claim);
        Ok(())
    }

    /// Memory, in the order of the claims.
    pub(super) fn memory(&self) -> impl Iterator<Item = (AddressRange, &str)> {
        self.0.iter().filter_map(|claim| match claim.resource {
            Resource::Memory(range) => Some((range, claim.owner.as_str())),
            _ => None,
        })
    }

    /// Interrupts, in the order of the claims.
    pub(super) fn interrupts(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0.iter().filter_map(|claim| match claim.resource {
            Resource::Interrupt(gsi) => Some((gsi, claim.owner.as_str())),
            _ => None,
        })
    }

    /// Ports in ascending order.
    pub(super) fn ports(&self) -> Vec<PortRange> {
        let mut all: Vec<PortRange> = self
            .0
            .iter()
            .filter_map(|claim| match claim.resource {
                Resource::Ports(ports) => {
                    Some(PortRange { first: ports.first(), last: ports.last(), what: claim.owner.clone() })
                }
                _ => None,
            })
            .collect();
        all.sort_by_key(|range| range.first);
        all
    }
}

fn overlap(one: Resource, other: Resource) -> bool {
    match (one, other) {
        (Resource::Ports(one), Resource::Ports(other)) => one.range().overlaps(other.range()),
        (Resource::Memory(one), Resource::Memory(other)) => one.overlaps(other),
        (Resource::Interrupt(one), Resource::Interrupt(other)) => one == other,
        _ => false,
    }
}

fn shown(resource: Resource) -> String {
    match resource {
        Resource::Ports(ports) => format!("the I/O ports 0x{:x} to 0x{:x}", ports.first(), ports.last()),
        Resource::Memory(range) => format!("the memory 0x{:x} to 0x{:x}", range.base(), range.last()),
        Resource::Interrupt(gsi) => format!("interrupt {gsi}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(resource: Resource) -> Claim {
        Claim { resource, owner: "a device".into() }
    }

    #[test]
    fn the_chipset_is_without_conflicts() {
        let mut claims = Claims::default();
        for one in chipset(&Machine::default(), &ConsoleSpec::Stdio, true) {
            claims.add(one).unwrap();
        }
        assert!(claims.ports().windows(2).all(|pair| pair[0].last < pair[1].first));
    }

    #[test]
    fn what_somebody_has_is_refused_with_the_owner() {
        let mut claims = Claims(chipset(&Machine::default(), &ConsoleSpec::None, true));
        let tpm = AddressRange::inclusive(0xfed4_0000, 0xfed4_4fff).unwrap();
        claims.add(claim(Resource::Memory(tpm))).unwrap();
        claims.add(claim(Resource::Ports(ports::BATTERY))).unwrap();
        claims.add(claim(Resource::Interrupt(5))).unwrap();
        for (resource, message) in [
            (Resource::Memory(IO_APIC), "IOAPIC has the memory 0xfec00000 to 0xfec00fff already"),
            (Resource::Memory(tpm), "a device has the memory 0xfed40000 to 0xfed44fff already"),
            (Resource::Ports(ports::PVPANIC), "pvpanic has the I/O ports 0x505 to 0x505 already"),
            (Resource::Interrupt(SCI_IRQ), "ACPI (SCI) has interrupt 9 already"),
            (Resource::Interrupt(5), "a device has interrupt 5 already"),
        ] {
            assert_eq!(claims.add(claim(resource)).unwrap_err(), message);
        }
        // Nobody has it: the debug port leads nowhere.
        claims.add(claim(Resource::Ports(ports::DEBUGCON))).unwrap();
    }
}
