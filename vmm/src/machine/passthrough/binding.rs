//! What a machine takes from the host, and all that is in the way of that: each with the line that wants the device.

use vocabulary::{HostPciAddress, LentDevice};

use crate::finding::{Finding, Findings, Key};
use crate::host::{
    self, BindError, Bound, GiveBackError, HostFiles, Manager, MdevError, NotLent, Obstacle, SriovError,
    Wanted, WantedMdev, WantedVirtual,
};
use crate::outcome::PassthroughError;
use crate::plan::{MachinePlan, PlannedPassthrough};

/// What was borrowed from the host for the time of a run.
///
/// Dropping it gives everything back, but tells of what goes wrong in the log only.
pub(in crate::machine) struct HostBinding {
    bound: Option<Bound>,
}

impl HostBinding {
    /// Checks all devices of the plan, binds those that are ours to manage, and
    /// makes the mediated ones and virtual functions that do not exist.
    ///
    /// `interrupted` says whether to give up: what was taken by then is given back.
    ///
    /// # Errors
    /// All that is in the way, while nothing is changed; after that, what fails first.
    pub(in crate::machine) fn take(
        plan: &MachinePlan,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Self, PassthroughError> {
        let all = || plan.passthrough.iter();
        if all().len() == 0 {
            return Ok(Self { bound: None });
        }
        let (managed, ready) = (functions(plan, true), functions(plan, false));
        let wanted: Vec<_> = all().filter_map(wanted).collect();
        let manager = match managed.is_empty() && wanted.is_empty() {
            true => None,
            false => Some(Manager::new()?),
        };
        let soon = wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Virtual(wanted) => Some(wanted.function),
            Wanted::Mediated(_) => None,
        });
        let soon: Vec<_> = managed.iter().copied().chain(soon).collect();
        let mut obstacles = host::check(&HostFiles::default(), &ready, &soon, plan.machine.vfio_backend);
        let bound = match manager {
            None => None,
            Some(manager) if obstacles.is_empty() => {
                match manager.lend(&plan.name, &managed, &wanted, interrupted) {
                    Ok(bound) => Some(bound),
                    Err(BindError::Refused(found)) => {
                        obstacles = found;
                        None
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // There is nothing to lend any more, but the user wants to know all there is to mend.
            Some(manager) => {
                obstacles.extend(manager.obstacles(&managed, &wanted, &ready, interrupted)?);
                None
            }
        };
        Findings::check(findings(plan, &obstacles))?;
        Ok(Self { bound })
    }

    /// Gives everything back. Every device has been closed.
    pub(in crate::machine) fn give_back(self) -> Result<(), GiveBackError> {
        self.bound.map_or(Ok(()), Bound::give_back)
    }
}

/// Functions that exist before the start, and are bound then or have to be bound already.
fn functions(plan: &MachinePlan, manage: bool) -> Vec<HostPciAddress> {
    let devices = plan.passthrough.iter();
    let devices = devices.filter(|device| device.manage == manage && device.parent.is_none());
    devices.filter_map(|device| device.host.function()).collect()
}

/// A device that is made if it does not exist.
fn wanted(device: &PlannedPassthrough) -> Option<Wanted> {
    match (device.host, device.parent) {
        (LentDevice::Function(function), Some(parent)) => Some(WantedVirtual { parent, function }.into()),
        (LentDevice::Function(_), None) => None,
        (LentDevice::Mediated(uuid), _) => Some(WantedMdev { uuid, create: device.create.clone() }.into()),
    }
}

/// What [`HostBinding::take`] would find in the way on a host, each with its line. Nothing is changed, and no device is woken.
pub fn refused_devices(plan: &MachinePlan, files: &HostFiles) -> Vec<Finding> {
    let wanted: Vec<_> = plan.passthrough.iter().filter_map(wanted).collect();
    let backend = plan.machine.vfio_backend;
    findings(plan, &host::look(files, &functions(plan, false), &functions(plan, true), &wanted, backend))
}

/// The obstacles, each with the line that wants the device.
fn findings(plan: &MachinePlan, obstacles: &[Obstacle]) -> Vec<Finding> {
    plan.passthrough
        .iter()
        .flat_map(|device| {
            let its = obstacles.iter().filter(|obstacle| obstacle.device == device.host);
            its.map(|obstacle| plan.problem(key(device, &obstacle.why), obstacle.to_string()).about_host())
        })
        .collect()
}

/// The key to blame.
fn key(device: &PlannedPassthrough, why: &NotLent) -> Key {
    device.section.key(match (device.host, why) {
        (
            LentDevice::Function(_),
            NotLent::Virtual(SriovError::Incapable { .. } | SriovError::NoneOffered { .. }),
        ) => "type",
        (LentDevice::Function(_), _) if device.parent.is_some() => "parent",
        (LentDevice::Function(_), _) => "host",
        (_, NotLent::Mdev(MdevError::NoType { .. } | MdevError::Full { .. })) if device.create.is_some() => {
            "type"
        }
        (LentDevice::Mediated(_), _) if device.create.is_some() => "parent",
        (LentDevice::Mediated(_), _) => "mdev",
    })
}

#[cfg(test)]
mod tests;
