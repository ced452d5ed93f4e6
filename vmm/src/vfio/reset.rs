//! Resets of passed-through functions. A function is reset alone where it can. Where only its bus or slot can be reset, as
//! with most GPUs, all functions there are reset together, if all are ours and a reset is due for each. That is so when the
//! machine or the bus is reset: all resets are announced before the first is performed, and that one serves all.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use devices::vfio::host::ResetDone;
use vocabulary::{HostPciAddress, LentDevice};

use super::bytes::{u16_at, u32_at};
use super::reset_methods::ResetMethods;
use crate::host::list;

/// `VFIO_PCI_HOT_RESET_FLAG_DEV_ID`: functions are named by the iommufd's IDs in place of groups.
const FLAG_DEV_ID: u32 = 1;
/// `VFIO_PCI_DEVID_NOT_OWNED`.
const NOT_OWNED: u32 = u32::MAX;

/// To whom a function belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// To whoever has this IOMMU group.
    Group(u32),
    /// To this VM.
    Us,
    /// To someone else.
    Other,
}

/// A function that a reset of a bus or slot reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Affected {
    /// Where it is.
    pub(super) address: LentDevice,
    /// Whose it is.
    pub(super) owner: Owner,
}

/// Reads a `struct vfio_pci_hot_reset_info`.
pub(super) fn affected(info: &[u8]) -> Option<Vec<Affected>> {
    let flags = u32_at(info, 4)?;
    let count = usize::try_from(u32_at(info, 8)?).ok()?;
    let functions = info.get(12..)?.chunks_exact(8).take(count).filter_map(|function| {
        let id = u32_at(function, 0)?;
        let [bus, devfn] = *function.get(6..8)? else { return None };
        let address = HostPciAddress::new(u16_at(function, 4)?, bus, devfn >> 3, devfn & 7)?.into();
        let owner = match id {
            _ if flags & FLAG_DEV_ID == 0 => Owner::Group(id),
            NOT_OWNED => Owner::Other,
            // Also a function that is not open, and whose group is ours.
            _ => Owner::Us,
        };
        Some(Affected { address, owner })
    });
    let functions: Vec<_> = functions.collect();
    // A function that cannot be read must not be taken for none.
    (functions.len() == count).then_some(functions)
}

/// One of our functions, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ours {
    /// Its IOMMU group.
    pub(super) group: u32,
    /// Whether a reset of it is due.
    pub(super) due: bool,
}

/// Whether a bus or slot may be reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes, by the owner of these groups; all `reached` functions are ours.
    Allowed {
        /// Each once.
        groups: Vec<u32>,
        /// Our functions that it resets.
        reached: Vec<LentDevice>,
    },
    /// No: these functions are not ours.
    NotOurs(Vec<LentDevice>),
    /// No: these functions of ours are in use.
    InUse(Vec<LentDevice>),
}

/// Decides about a reset that reaches `affected`, of which `ours` are open.
pub(super) fn decide(affected: &[Affected], ours: &BTreeMap<LentDevice, Ours>) -> Verdict {
    let mut groups = Vec::new();
    let (mut reached, mut foreign, mut in_use) = (Vec::new(), Vec::new(), Vec::new());
    for function in affected {
        let open = ours.get(&function.address);
        let owned = match function.owner {
            Owner::Us => true,
            Owner::Other => false,
            Owner::Group(group) => {
                let owned = ours.values().any(|ours| ours.group == group);
                if owned && !groups.contains(&group) {
                    groups.push(group);
                }
                owned
            }
        };
        match open {
            _ if !owned => foreign.push(function.address),
            Some(Ours { due: false, .. }) => in_use.push(function.address),
            Some(_) => reached.push(function.address),
            // Not open, but it came to us with its group.
            None => {}
        }
    }
    if !foreign.is_empty() {
        Verdict::NotOurs(foreign)
    } else if !in_use.is_empty() {
        Verdict::InUse(in_use)
    } else {
        Verdict::Allowed { groups, reached }
    }
}

/// What a reset does to a device. The kernel's implements it, and a made-up one in tests.
pub(super) trait Hardware: Send + Sync {
    /// By which methods its function can be reset; `None` if the kernel has no way.
    fn reset_methods(&self) -> Option<ResetMethods>;
    /// Whether it is a mediated device, which is on no bus and is always reset alone.
    fn is_mediated(&self) -> bool {
        false
    }
    /// Ends what the device does on its own: decoding and bus mastering off, power state D0.
    fn quiet(&self);
    /// Resets the function.
    fn reset_function(&self) -> io::Result<()>;
    /// The functions that a reset of its bus or slot reaches.
    fn affected(&self) -> io::Result<Vec<Affected>>;
    /// Resets its bus or slot, as the owner of `groups`.
    fn reset_bus(&self, groups: &[u32]) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    Yes,
    /// Another function's reset has reached it since.
    Done,
}

struct Member {
    group: u32,
    hardware: Weak<dyn Hardware>,
    due: Due,
    logged: bool,
}

/// The functions of this VM, which resets concern together.
#[derive(Default)]
pub(super) struct Resets {
    members: Mutex<BTreeMap<LentDevice, Member>>,
}

impl Resets {
    fn members(&self) -> MutexGuard<'_, BTreeMap<LentDevice, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a function.
    pub(super) fn join(&self, address: LentDevice, group: u32, hardware: Weak<dyn Hardware>) {
        self.members().insert(address, Member { group, hardware, due: Due::No, logged: false });
    }

    /// Says that a reset of the function is due.
    pub(super) fn announce(&self, address: LentDevice) {
        if let Some(member) = self.members().get_mut(&address) {
            member.due = Due::Yes;
        }
    }

    /// Resets the function. Nothing is due for it afterwards, whatever came of it.
    pub(super) fn reset(&self, address: LentDevice) -> io::Result<ResetDone> {
        let mut members = self.members();
        members.retain(|_, member| member.hardware.strong_count() > 0);
        let Some(member) = members.get_mut(&address) else { return Ok(ResetDone::Nothing) };
        let Some(hardware) = member.hardware.upgrade() else { return Ok(ResetDone::Nothing) };
        if member.due == Due::Done {
            member.due = Due::No;
            return Ok(ResetDone::Bus);
        }
        member.due = Due::Yes;
        let result = Attempt { address, hardware, members: &mut members }.run();
        if let Some(member) = members.get_mut(&address) {
            member.due = Due::No;
        }
        result
    }
}

/// One reset.
struct Attempt<'a> {
    address: LentDevice,
    hardware: Arc<dyn Hardware>,
    members: &'a mut BTreeMap<LentDevice, Member>,
}

impl Attempt<'_> {
    /// The mildest way that resets everything, then what else there is.
    fn run(mut self) -> io::Result<ResetDone> {
        let methods = self.hardware.reset_methods();
        self.hardware.quiet();
        if self.hardware.is_mediated() {
            return self.mediated();
        }
        let mut failure = None;
        if methods.is_some_and(ResetMethods::prefers_function) {
            match self.hardware.reset_function() {
                Ok(()) => return Ok(ResetDone::Function),
                Err(error) => failure = Some(error),
            }
        }
        let obstacle = match self.bus() {
            Ok(()) => return Ok(ResetDone::Bus),
            Err(obstacle) => obstacle,
        };
        if methods.is_some_and(|methods| !methods.prefers_function()) {
            match self.hardware.reset_function() {
                Ok(()) => return Ok(ResetDone::Function),
                Err(error) => failure = Some(error),
            }
        }
        self.log(failure.as_ref(), &obstacle);
        failure.map_or(Ok(ResetDone::Nothing), Err)
    }

    /// Mediated devices need not say that they can be reset: the kernel's samples can and do not.
    fn mediated(&mut self) -> io::Result<ResetDone> {
        let Err(error) = self.hardware.reset_function() else { return Ok(ResetDone::Function) };
        self.log(Some(&error), "there is no other way for a mediated device");
        match error.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => Ok(ResetDone::Nothing),
            _ => Err(error),
        }
    }

    /// Resets the bus or slot, or says why not.
    fn bus(&mut self) -> Result<(), String> {
        let affected = self.hardware.affected().map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => "its bus cannot be reset either".to_owned(),
            _ => format!("what a reset of its bus would reach is unknown: {error}"),
        })?;
        let ours = self
            .members
            .iter()
            .map(|(address, member)| (*address, Ours { group: member.group, due: member.due == Due::Yes }))
            .collect();
        let (groups, reached) = match decide(&affected, &ours) {
            Verdict::Allowed { groups, reached } => (groups, reached),
            Verdict::NotOurs(functions) => {
                return Err(format!(
                    "its bus has functions that are not passed through: {}. Pass them through, too",
                    list(&functions)
                ));
            }
            Verdict::InUse(functions) => {
                return Err(format!("its bus has functions that the guest uses: {}", list(&functions)));
            }
        };
        for address in reached.iter().filter(|address| **address != self.address) {
            if let Some(hardware) = self.members.get(address).and_then(|member| member.hardware.upgrade()) {
                hardware.quiet();
            }
        }
        self.hardware.reset_bus(&groups).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => {
                "its bus has functions that are not bound to vfio-pci (`lspci -k` shows the drivers)"
                    .to_owned()
            }
            _ => format!("the reset of its bus failed: {error}"),
        })?;
        for address in &reached {
            if let Some(member) = self.members.get_mut(address) {
                member.due = Due::Done;
            }
        }
        Ok(())
    }

    /// Once for each function: the guest can reset as often as it likes.
    fn log(&mut self, failure: Option<&io::Error>, obstacle: &str) {
        let Self { address, members, .. } = self;
        let Some(member) = members.get_mut(address).filter(|member| !member.logged) else { return };
        member.logged = true;
        let alone = failure.map_or_else(
            || "it has no reset of its own".to_owned(),
            |error| format!("its own reset failed: {error}"),
        );
        tracing::warn!(
            "{address} keeps its state when the machine is reset, which its driver in the guest may not expect: {alone}, \
             and {obstacle}"
        );
    }
}
