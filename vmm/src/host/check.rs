//! What keeps a device from being passed through, found before anything is opened or changed.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use vocabulary::{HostPciAddress, VfioBackend};

use super::files::names;
use super::sysfs::{VFIO_PCI, leaves_dma, lends};
use super::{GroupMember, HostFiles, HostFunction, Obstacle};

/// A device that makes an IOMMU group unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// Its name in sysfs: a PCI address.
    pub name: String,
    /// The driver that has it.
    pub driver: String,
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (driver {})", self.name, self.driver)
    }
}

/// Why a device cannot be passed through. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// There is no such function.
    #[error("this host has no PCI device {address}: `lspci -D` lists those it has")]
    Missing {
        /// The function.
        address: HostPciAddress,
    },
    /// A bridge cannot be lent.
    #[error("{address} is a PCI bridge, which cannot be passed through: name the device below it")]
    Bridge {
        /// The function.
        address: HostPciAddress,
    },
    /// No IOMMU confines its memory accesses.
    #[error("{address} is behind no IOMMU, without which no guest may have it: {cure}")]
    NoIommu {
        /// The function.
        address: HostPciAddress,
        /// What to do.
        cure: &'static str,
    },
    /// It does not answer.
    #[error(
        "the configuration space of {address} reads all ones (power state {state}): it has no power or has left the \
         bus. Turn off what powers it down (bbswitch, acpi_call, a vendor's switch), try `echo on | sudo tee \
         /sys/bus/pci/devices/{address}/power/control`, and if that does not bring it back switch the host off and on"
    )]
    AllOnes {
        /// The function.
        address: HostPciAddress,
        /// Its power state as the kernel believes it.
        state: String,
    },
    /// Its configuration space cannot be read.
    #[error("cannot read the configuration space of {address}: {source}; see `sudo dmesg | tail`")]
    Config {
        /// The function.
        address: HostPciAddress,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others use the group.
    #[error("the IOMMU group {group} of {address} is not viable, because the host uses {}: {}",
        list(culprits), cure_for(*address, culprits))]
    NotViable {
        /// The function.
        address: HostPciAddress,
        /// Its group.
        group: u32,
        /// All devices of the group that are in the way.
        culprits: Vec<Culprit>,
    },
    /// Another driver has it, and nobody asked us to change that.
    #[error("{address} is {}, not bound to vfio-pci: set `manage = true`, or bind it with `{}`",
        driver.as_ref().map_or("without driver".into(), |name| format!("bound to {name}")),
        commands(*address, driver.is_some()))]
    NotBound {
        /// The function.
        address: HostPciAddress,
        /// The driver that has it.
        driver: Option<String>,
    },
    /// We may not open it.
    #[error(
        "no permission to open {} for {address}: run as root, or let the group kvm have VFIO with the udev rule \
         `SUBSYSTEM==\"vfio|vfio-dev\", GROUP=\"kvm\", MODE=\"0660\"` (and `KERNEL==\"iommu\", GROUP=\"kvm\", \
         MODE=\"0660\"`) in /etc/udev/rules.d/70-vfio.rules, then `sudo udevadm control --reload && sudo udevadm \
         trigger`", node.display()
    )]
    Denied {
        /// The function.
        address: HostPciAddress,
        /// The node.
        node: PathBuf,
    },
}

/// Checks functions that are to be passed through with `manage = false`: they exist, answer, are bound to vfio-pci in
/// viable groups behind an IOMMU, and may be opened. `soon` are functions that [`Manager::lend`](super::Manager::lend)
/// will bind in the same run; they are in nobody's way. Changes nothing, but wakes a function that sleeps.
///
/// Returns everything that is in the way, in the order of `functions`.
pub fn check(
    files: &HostFiles,
    functions: &[HostPciAddress],
    soon: &[HostPciAddress],
    backend: VfioBackend,
) -> Vec<Obstacle> {
    // One that is not bound is told of by itself, and not as in the way of the others.
    let ours: Vec<_> = functions.iter().chain(soon).copied().collect();
    let mut groups = Groups::default();
    unready_of(files, functions, &ours, backend, &mut groups, passable)
}

/// What is in the way of each of `functions`, which `reach` looks up.
pub(super) fn unready_of(
    files: &HostFiles,
    functions: &[HostPciAddress],
    ours: &[HostPciAddress],
    backend: VfioBackend,
    groups: &mut Groups,
    reach: fn(&HostFiles, HostPciAddress) -> Result<HostFunction, Unready>,
) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    for address in functions.iter().copied() {
        let found = match reach(files, address) {
            Ok(function) => unready(files, &function, ours, backend, groups),
            Err(why) => vec![why],
        };
        obstacles.extend(found.into_iter().map(|why| Obstacle::new(address, why)));
    }
    obstacles
}

/// What is in the way of a function that answers.
fn unready(
    files: &HostFiles,
    function: &HostFunction,
    ours: &[HostPciAddress],
    backend: VfioBackend,
    groups: &mut Groups,
) -> Vec<Unready> {
    let openable = may_open(function.address, &vfio_nodes(files, function, backend), |path| {
        Ok(rustix::fs::accessat(
            rustix::fs::CWD,
            path,
            rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK,
            rustix::fs::AtFlags::EACCESS,
        )?)
    });
    let results = [bound(function), groups.viable(files, function, ours), openable];
    results.into_iter().filter_map(Result::err).collect()
}

/// Groups whose state is told already: it is that of all functions in them.
#[derive(Default)]
pub(super) struct Groups(BTreeSet<u32>);

impl Groups {
    /// [`viable`], once for each group.
    pub(super) fn viable(
        &mut self,
        files: &HostFiles,
        function: &HostFunction,
        ours: &[HostPciAddress],
    ) -> Result<(), Unready> {
        match function.iommu_group {
            Some(group) if self.0.insert(group) => viable(files, function, group, ours),
            _ => Ok(()),
        }
    }
}

/// The IOMMU group of a function that is to be opened now.
///
/// # Errors
///
/// Its driver does not lend it, or one of [`passable`]'s.
pub(super) fn lent(files: &HostFiles, address: HostPciAddress) -> Result<u32, Unready> {
    let function = passable(files, address)?;
    bound(&function)?;
    function.iommu_group.ok_or_else(|| no_iommu(files, address))
}

/// Whether the function's driver lends it.
fn bound(function: &HostFunction) -> Result<(), Unready> {
    if function.driver.as_deref().is_some_and(lends) {
        Ok(())
    } else {
        Err(Unready::NotBound { address: function.address, driver: function.driver.clone() })
    }
}

/// The function, if it is there, no bridge, behind an IOMMU, and answers.
pub(super) fn passable(files: &HostFiles, address: HostPciAddress) -> Result<HostFunction, Unready> {
    answering(files, reachable(files, address)?)
}

/// The function, if it answers. Wakes one that sleeps.
pub(super) fn answering(files: &HostFiles, function: HostFunction) -> Result<HostFunction, Unready> {
    let address = function.address;
    match files.answers(address) {
        Ok(true) => Ok(function),
        Ok(false) => Err(all_ones(files, address)),
        Err(source) => Err(Unready::Config { address, source }),
    }
}

/// The function, if it is there, no bridge, and behind an IOMMU.
pub(super) fn reachable(files: &HostFiles, address: HostPciAddress) -> Result<HostFunction, Unready> {
    let function = files.function(address).ok_or(Unready::Missing { address })?;
    if function.class >> 16 == 0x06 && matches!(function.class >> 8 & 0xff, 0x04 | 0x07 | 0x08 | 0x09) {
        return Err(Unready::Bridge { address });
    }
    if function.iommu_group.is_none() {
        return Err(no_iommu(files, address));
    }
    Ok(function)
}

/// That the function does not answer.
pub(crate) fn all_ones(files: &HostFiles, address: HostPciAddress) -> Unready {
    let state = files.attribute(address, "power_state").unwrap_or_else(|_| "unknown".into());
    Unready::AllOnes { address, state }
}

/// That the function is behind no IOMMU.
fn no_iommu(files: &HostFiles, address: HostPciAddress) -> Unready {
    Unready::NoIommu { address, cure: iommu_cure(files) }
}

/// Whether the function's group holds no device that a driver of the host uses, apart from `ours`.
///
/// Linux `drivers/iommu/iommu.c`, `iommu_group_claim_dma_owner()`: devices without driver, and those of drivers that
/// leave DMA to their user, may stay.
fn viable(
    files: &HostFiles,
    function: &HostFunction,
    group: u32,
    ours: &[HostPciAddress],
) -> Result<(), Unready> {
    let culprits = culprits(files, group, ours);
    if culprits.is_empty() {
        Ok(())
    } else {
        Err(Unready::NotViable { address: function.address, group, culprits })
    }
}

/// The devices of `group`, apart from `ours`, whose drivers use DMA.
pub(super) fn culprits(files: &HostFiles, group: u32, ours: &[HostPciAddress]) -> Vec<Culprit> {
    let culprit = |GroupMember { name, address, driver }| {
        let driver = driver.filter(|driver| !leaves_dma(driver))?;
        (!address.is_some_and(|address| ours.contains(&address))).then_some(Culprit { name, driver })
    };
    files.group_members(group).into_iter().filter_map(culprit).collect()
}

/// The nodes by which VFIO gives the function out; those that exist.
fn vfio_nodes(files: &HostFiles, function: &HostFunction, backend: VfioBackend) -> Vec<PathBuf> {
    let group = function.iommu_group.map(|group| format!("dev/vfio/{group}"));
    let device = files.vfio_file(&files.function_path(function.address));
    let devices = device.into_iter().map(|name| format!("dev/vfio/devices/{name}"));
    let (group, devices) = match backend {
        VfioBackend::Auto => (group, Some(devices)),
        VfioBackend::Group => (group, None),
        VfioBackend::Iommufd => (None, Some(devices)),
    };
    let nodes = group.into_iter().chain(devices.into_iter().flatten()).map(|node| files.path(node));
    nodes.filter(|node| node.exists()).collect()
}

/// Complains if there are nodes and none of them may be opened. If there is none, opening says more than we know.
fn may_open(
    address: HostPciAddress,
    nodes: &[PathBuf],
    can: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), Unready> {
    let denied =
        |node: &&PathBuf| can(node).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    match nodes.first() {
        Some(node) if nodes.iter().all(|node| denied(&node)) => {
            Err(Unready::Denied { address, node: node.clone() })
        }
        _ => Ok(()),
    }
}

fn iommu_cure(files: &HostFiles) -> &'static str {
    if !names(&files.path("sys/kernel/iommu_groups")).is_empty() {
        return "the host has an IOMMU that leaves this device out; remove options such as `intel_iommu=igfx_off` \
                from the kernel's command line, and look at `sudo dmesg | grep -e DMAR -e AMD-Vi`";
    }
    let cpu = files.text("proc/cpuinfo").unwrap_or_default();
    if cpu.contains("AuthenticAMD") {
        "turn on AMD-Vi (IOMMU) in the firmware setup, remove `amd_iommu=off` from the kernel's command line, and \
         reboot"
    } else if cpu.contains("GenuineIntel") {
        "turn on VT-d in the firmware setup, add `intel_iommu=on` to the kernel's command line, and reboot"
    } else {
        "turn on the IOMMU in the firmware setup and on the kernel's command line, and reboot"
    }
}

/// Commands that bind a function by hand.
fn commands(address: HostPciAddress, has_driver: bool) -> String {
    let device = format!("/sys/bus/pci/devices/{address}");
    let unbind = if has_driver {
        format!("echo {address} | sudo tee {device}/driver/unbind && ")
    } else {
        String::new()
    };
    format!(
        "sudo modprobe {VFIO_PCI} && echo {VFIO_PCI} | sudo tee {device}/driver_override && {unbind}echo {address} | \
         sudo tee /sys/bus/pci/drivers_probe"
    )
}

pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn cure_for(address: HostPciAddress, culprits: &[Culprit]) -> String {
    let same_slot = |culprit: &Culprit| {
        culprit.name.parse::<HostPciAddress>().is_ok_and(|it| {
            (it.segment(), it.bus(), it.device()) == (address.segment(), address.bus(), address.device())
        })
    };
    if culprits.iter().all(same_slot) {
        return "pass these functions through too (`functions = \"all\"` in [dgpu], or a [[vfio]] for each)"
            .into();
    }
    let unbind: Vec<_> = culprits
        .iter()
        .map(|Culprit { name, .. }| {
            format!("`echo {name} | sudo tee /sys/bus/pci/devices/{name}/driver/unbind`")
        })
        .collect();
    format!(
        "pass these devices through too, or take them from the host with {}; a group that mixes unrelated devices can \
         only be split by another slot or by firmware with ACS",
        unbind.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_that_opens_is_enough() {
        let address: HostPciAddress = "01:00.0".parse().unwrap();
        let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let nodes = [PathBuf::from("/dev/vfio/12"), PathBuf::from("/dev/vfio/devices/vfio0")];
        let error = may_open(address, &nodes, denied).unwrap_err().to_string();
        assert!(error.contains("no permission to open /dev/vfio/12 for 0000:01:00.0"), "{error}");
        may_open(address, &[], denied).unwrap();
        may_open(address, &nodes, |path| {
            if path.ends_with("12") { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        })
        .unwrap();
        // Not a question of permission: opening it will tell.
        may_open(address, &nodes, |_| Err(io::ErrorKind::NotFound.into())).unwrap();
    }

    #[test]
    fn the_cure_depends_on_where_the_culprits_are() {
        let address = "01:00.0".parse().unwrap();
        let culprit = |name: &str| Culprit { name: name.into(), driver: "snd_hda_intel".into() };
        assert!(cure_for(address, &[culprit("0000:01:00.1")]).contains("functions = \"all\""));
        let cure = cure_for(address, &[culprit("0000:01:00.1"), culprit("0000:02:00.0")]);
        assert!(cure.contains("/sys/bus/pci/devices/0000:02:00.0/driver/unbind"), "{cure}");
    }
}
