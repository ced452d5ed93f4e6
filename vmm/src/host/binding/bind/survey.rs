//! What stands against lending devices, and what has to be made first: found while nothing has been changed.

use std::fs::File;

use vocabulary::{HostPciAddress, LentDevice, NewMdev};

use super::Manager;
use crate::host::binding::claim;
use crate::host::binding::journal::Journal;
use crate::host::binding::step::Step;
use crate::host::check::{Groups, passable};
use crate::host::sysfs::lends;
use crate::host::{HostFunction, NotLent, Obstacle, Wanted, WantedVirtual};

/// What is known before a change.
pub(super) struct Survey {
    /// All that is wanted.
    pub(super) devices: Vec<LentDevice>,
    /// Records of crashed machines that had some of it.
    pub(super) leftovers: Vec<Journal>,
    /// The steps that make the mediated devices that do not exist.
    pub(super) made: Vec<Step>,
    /// The virtual functions that do not exist.
    pub(super) virtual_functions: Vec<WantedVirtual>,
    /// All that is in the way.
    pub(super) obstacles: Vec<Obstacle>,
}

impl Manager {
    /// Looks at everything that can be known before a change. `functions` are lent together with `others`.
    pub(super) fn survey(
        &self,
        lock: &File,
        functions: &[HostPciAddress],
        wanted: &[Wanted],
        others: &[HostPciAddress],
    ) -> Survey {
        let is_wanted = |address: &HostPciAddress| wanted.iter().any(|it| it.device() == (*address).into());
        let existing: Vec<_> = functions.iter().copied().filter(|address| !is_wanted(address)).collect();
        let devices: Vec<_> = existing
            .iter()
            .map(|address| LentDevice::Function(*address))
            .chain(wanted.iter().map(Wanted::device))
            .collect();
        let mut obstacles = Vec::new();
        let leftovers = claim::leftovers(self.journals.list(lock), &devices, &mut obstacles);
        // What else is the matter with a device is the other machine's doing.
        let taken: Vec<_> = obstacles.iter().map(|obstacle| obstacle.device).collect();
        let free = |device: LentDevice| !taken.contains(&device);
        let ours: Vec<_> =
            devices.iter().filter_map(|device| device.function()).chain(others.iter().copied()).collect();
        let mut groups = Groups::default();
        for address in existing.into_iter().filter(|address| free((*address).into())) {
            let found = self.look_at(address, &ours, &mut groups);
            obstacles.extend(found.into_iter().map(|why| Obstacle::new(address, why)));
        }
        let (mut made, mut virtual_functions) = (Vec::new(), Vec::new());
        for wanted in wanted.iter().filter(|wanted| free(wanted.device())) {
            let in_the_way = match wanted {
                Wanted::Mediated(mdev) => {
                    self.host.load_gvt(mdev);
                    match self.host.files.mdev_to_make(mdev) {
                        Ok(None) => Vec::new(),
                        Ok(Some(NewMdev { parent, kind })) => {
                            made.push(Step::Mdev { uuid: mdev.uuid, parent, kind });
                            Vec::new()
                        }
                        Err(why) => vec![why.into()],
                    }
                }
                Wanted::Virtual(wanted) => match self.host.files.virtual_to_make(*wanted) {
                    Ok(false) => self.look_at(wanted.function, &ours, &mut groups),
                    Ok(true) => {
                        virtual_functions.push(*wanted);
                        Vec::new()
                    }
                    Err(why) => vec![why.into()],
                },
            };
            obstacles.extend(in_the_way.into_iter().map(|why| Obstacle::new(wanted.device(), why)));
        }
        Survey { devices, leftovers, made, virtual_functions, obstacles }
    }

    /// What is in the way of a function that is to be bound.
    fn look_at(&self, address: HostPciAddress, ours: &[HostPciAddress], groups: &mut Groups) -> Vec<NotLent> {
        match passable(&self.host.files, address) {
            Ok(function) => self.in_the_way(function, ours, groups),
            Err(why) => vec![why.into()],
        }
    }

    /// What is in the way of a function that answers.
    pub(in crate::host) fn in_the_way(
        &self,
        function: HostFunction,
        ours: &[HostPciAddress],
        groups: &mut Groups,
    ) -> Vec<NotLent> {
        let (files, address) = (&self.host.files, function.address);
        let mut found = Vec::new();
        found.extend(groups.viable(files, &function, ours).err().map(NotLent::from));
        if function.driver.as_deref().is_some_and(lends) {
            return found;
        }
        found.extend(self.host.may_change(address).err().map(NotLent::from));
        if let Some(driver) = function.driver {
            let in_use = |source| NotLent::InUse { address, driver: driver.clone(), source };
            found.extend(files.uses(address).into_iter().map(in_use));
        }
        if found.is_empty() {
            files.warn_of_the_screen(address);
        }
        found
    }
}
