//! What keeps devices from being lent, found without a trace: nothing is locked, loaded or recorded, and no function that sleeps
//! is woken.

use std::sync::Arc;

use vocabulary::{HostPciAddress, LentDevice, VfioBackend};

use super::binding::journal::JournalDir;
use super::check::{Groups, answering, reachable, unready_of};
use super::{ChildWriter, HostFiles, HostFunction, Manager, NotLent, Obstacle, Unready, Wanted};

/// Everything that would keep `ready` functions, which must be bound to vfio-pci already, and `managed` ones, which are bound
/// at the start, from being lent; and those of `wanted` from being found or made. As [`check`](super::check()) and [`Manager::lend`] see it,
/// except that a function that sleeps is taken for one that answers, and that what other machines have on record is not read: a
/// machine that runs is found as the process that holds the device.
pub(crate) fn look(
    files: &HostFiles,
    ready: &[HostPciAddress],
    managed: &[HostPciAddress],
    wanted: &[Wanted],
    backend: VfioBackend,
) -> Vec<Obstacle> {
    let virtual_ones = wanted.iter().filter_map(|wanted| wanted.device().function());
    let ours: Vec<_> = ready.iter().chain(managed).copied().chain(virtual_ones).collect();
    let mut groups = Groups::default();
    let mut obstacles = unready_of(files, ready, &ours, backend, &mut groups, answers_or_sleeps);
    let manager = Manager::looking(files);
    let mut look_at = |address| match answers_or_sleeps(files, address) {
        Ok(function) => manager.in_the_way(function, &ours, &mut groups),
        Err(why) => vec![NotLent::from(why)],
    };
    let mut found: Vec<(LentDevice, Vec<NotLent>)> = Vec::new();
    found.extend(managed.iter().map(|address| ((*address).into(), look_at(*address))));
    for wanted in wanted {
        let in_the_way = match wanted {
            // What a start would load a module for may be there then.
            Wanted::Mediated(mdev) if files.lacks_gvt(mdev) => Vec::new(),
            Wanted::Mediated(mdev) => files.mdev_to_make(mdev).err().map(NotLent::from).into_iter().collect(),
            Wanted::Virtual(wanted) => match files.virtual_to_make(*wanted) {
                Ok(true) => Vec::new(),
                Ok(false) => look_at(wanted.function),
                Err(why) => vec![why.into()],
            },
        };
        found.push((wanted.device(), in_the_way));
    }
    let found = found.into_iter();
    obstacles
        .extend(found.flat_map(|(device, whys)| whys.into_iter().map(move |why| Obstacle::new(device, why))));
    obstacles
}

impl Manager {
    /// One that is never asked to change anything, so that its records have no place.
    pub(crate) fn looking(files: &HostFiles) -> Self {
        Self::with(files.clone(), Arc::new(ChildWriter), JournalDir::at(""))
    }
}

/// The function, if it can be reached and answers or sleeps.
fn answers_or_sleeps(files: &HostFiles, address: HostPciAddress) -> Result<HostFunction, Unready> {
    let function = reachable(files, address)?;
    if files.is_awake(address) { answering(files, function) } else { Ok(function) }
}
