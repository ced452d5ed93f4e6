//! The video BIOS: the ACPI device that its `_ROM` goes to, and the GPU that it must be for.

use std::path::PathBuf;

use firmware::option_rom::Expect;
use vocabulary::PciAddress;

use super::passthrough::PlannedPassthrough;
use super::pci::{PciPlan, PlannedFunction, Role};
use super::ports::GPU_PORT;
use crate::config::{Config, Passthrough, Vbios};
use crate::finding::{Finding, Section};

/// The video BIOS of the GPU, or of the place where one would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVbios {
    /// The file.
    pub file: PathBuf,
    /// The address whose ACPI device gets `_ROM`.
    pub guest: PciAddress,
    /// Device and function numbers from bus 0 to that address, those of the bridges first.
    pub at: Vec<(u8, u8)>,
    /// What the file must be for; `None` if nobody knows.
    pub expect: Option<Expect>,
}

/// Finds the device. Does so without complaint if that of a passed-through GPU has no place: that is told already.
pub(super) fn plan(
    config: &Config,
    pci: &PciPlan,
    passthrough: &[PlannedPassthrough],
    problems: &mut Vec<Finding>,
) -> Option<PlannedVbios> {
    let Vbios { file, guest, ids } = config.vbios.as_ref()?;
    let found = match passthrough.iter().position(|function| function.section == Section::Dgpu) {
        // The GPU comes before the functions that accompany it.
        Some(index) => {
            let at = path_to(pci, Role::Passthrough(index))?;
            Some((at, passthrough.get(index).and_then(expected)))
        }
        None => match place_without_gpu(pci, *guest) {
            Ok(at) => Some((at, ids.map(|(vendor, device)| Expect::new(vendor, device)))),
            // Where the section names a GPU, something else is wrong with that.
            Err(_) if config.passthrough.iter().any(Passthrough::is_dgpu) => None,
            Err((message, help)) => {
                problems.push(config.problem(Section::Dgpu.key("guest"), message).with_help(help));
                None
            }
        },
    };
    let (at, expect) = found?;
    Some(PlannedVbios { file: file.clone(), guest: *guest, at, expect })
}

fn slot(function: &PlannedFunction) -> (u8, u8) {
    (function.at.device(), function.at.function())
}

fn path_to(pci: &PciPlan, role: Role) -> Option<Vec<(u8, u8)>> {
    pci.functions.iter().find_map(|function| {
        if function.role == role {
            return Some(vec![slot(function)]);
        }
        let child = function.children.iter().find(|child| child.role == role)?;
        Some(vec![slot(function), slot(child)])
    })
}

/// A GPU's own IDs, and those that the guest sees.
fn expected(gpu: &PlannedPassthrough) -> Option<Expect> {
    let shown = (gpu.identity.vendor, gpu.identity.device);
    match (&gpu.facts, shown) {
        (Some(own), (vendor, device)) => {
            let shown = (vendor.unwrap_or(own.vendor), device.unwrap_or(own.device));
            let also = Some(shown).filter(|shown| *shown != (own.vendor, own.device));
            Some(Expect { vendor: own.vendor, device: own.device, also })
        }
        (None, (Some(vendor), Some(device))) => Some(Expect::new(vendor, device)),
        (None, _) => None,
    }
}

/// The place of an ACPI device that need not have a PCI function. On failure, why there is none and what to do.
fn place_without_gpu(pci: &PciPlan, guest: PciAddress) -> Result<Vec<(u8, u8)>, (String, &'static str)> {
    let here = (guest.device(), guest.function());
    if guest.bus() == 0 {
        let holder = pci.functions.iter().find(|function| slot(function) == here);
        return match holder.map(|function| function.role) {
            Some(Role::HostBridge | Role::Lpc) => {
                Err((format!("{guest} is a function of the chipset"), "give the video BIOS another address"))
            }
            Some(Role::RootPort { .. }) => {
                Err((format!("{guest} is a root port"), "give the video BIOS the address behind it"))
            }
            _ => Ok(vec![here]),
        };
    }
    if guest.device() != 0 {
        let message = format!(
            "{guest} has device number {}: the link of a root port has device 0 only",
            guest.device()
        );
        return Err((message, "write device 00"));
    }
    let port = |function: &&PlannedFunction| matches!(function.role, Role::RootPort { number } if number == guest.bus());
    let free = !pci.functions.iter().any(|function| slot(function) == GPU_PORT);
    match pci.functions.iter().find(port) {
        Some(port) => Ok(vec![slot(port), here]),
        // The tables make the bridge's device too, as if a laptop's GPU were there.
        None if guest.bus() == 1 && free => Ok(vec![GPU_PORT, here]),
        None => Err((
            format!("{guest} is on bus {:02x}, above which there is no root port", guest.bus()),
            "add [[root_port]] entries, or write an address on bus 00",
        )),
    }
}
