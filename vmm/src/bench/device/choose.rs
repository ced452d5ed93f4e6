//! Which function of the machine is measured.

use vocabulary::{HostPciAddress, LentDevice, PciAddress};

use crate::cli::DeviceAddress;
use crate::finding::Section;
use crate::plan::MachinePlan;
use crate::topology::{Placed, Role};

/// A function that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) struct Chosen {
    /// Where the guest has it.
    pub(in crate::bench) at: PciAddress,
    /// The device number on bus 0 by which its interrupt pin is wired.
    pub(super) slot: u8,
    /// Which of the host's it is.
    pub(in crate::bench) host: Option<LentDevice>,
}

/// What the user names is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThere {
    /// In the machine.
    #[error("the machine has no function at {0}: `optimus-vmm plan` shows those that it has")]
    Guest(PciAddress),
    /// Among those that are passed through.
    #[error("{0} of the host is not passed through: add `[[vfio]]` with `host = \"{0}\"` to the vm.toml")]
    Host(HostPciAddress),
}

/// The function that is wanted; else the laptop's GPU, else the first that is passed through, else none.
pub(in crate::bench) fn choose(
    plan: &MachinePlan,
    wanted: Option<DeviceAddress>,
) -> Result<Option<Chosen>, NotThere> {
    let passed = |index: usize| plan.pci.of_role(Role::Passthrough(index));
    let at = |placed: &Placed<'_>| PciAddress::on(placed.function.bus, placed.function.at);
    let placed = match wanted {
        Some(DeviceAddress::Guest(address)) => {
            let found = plan.pci.placed().find(|placed| at(placed) == address);
            Some(found.ok_or(NotThere::Guest(address))?)
        }
        Some(DeviceAddress::Host(address)) => {
            let index = plan.passthrough.iter().position(|device| device.host.function() == Some(address));
            Some(index.and_then(passed).ok_or(NotThere::Host(address))?)
        }
        None => {
            let gpu = plan.passthrough.iter().position(|device| device.section == Section::Dgpu);
            let first = (!plan.passthrough.is_empty()).then_some(0);
            gpu.or(first).and_then(passed)
        }
    };
    Ok(placed.map(|placed| Chosen {
        at: at(&placed),
        slot: placed.root_slot().device(),
        host: match placed.function.role {
            Role::Passthrough(index) => plan.passthrough.get(index).map(|device| device.host),
            _ => None,
        },
    }))
}
