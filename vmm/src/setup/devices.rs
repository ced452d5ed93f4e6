//! Which functions of the host are to come to vfio-pci when it boots, and how.

use std::collections::BTreeSet;

use vocabulary::HostPciAddress;

use super::SetupError;
use crate::cli::BindWhen;
use crate::config::{self, GpuFunctions, Overrides};
use crate::host::{HostFiles, HostFunction, lends};

/// PCI vendor ID of NVIDIA, AMD and Intel.
const NVIDIA: u16 = 0x10de;
const AMD: u16 = 0x1002;
const INTEL: u16 = 0x8086;
/// Base classes (PCI Code and ID Assignment Specification 1.14, 1).
const DISPLAY: u32 = 0x03;
const BRIDGE: u32 = 0x06;

/// The devices that a host is to lend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Devices {
    /// Those that vfio-pci is to have from boot on.
    pub(super) at_boot: Vec<HostFunction>,
    /// Of those, the ones whose IDs another function has too, which the host keeps: they are told by their addresses.
    pub(super) by_address: BTreeSet<HostPciAddress>,
    /// Modules that would take them.
    pub(super) rivals: BTreeSet<String>,
    /// A virtual GPU of GVT-g is to be made.
    pub(super) gvt: bool,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
}

/// What an earlier setup has decided, which a host that was booted since no longer shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    /// Devices were to be bound at boot.
    pub(super) at_boot: bool,
    /// Modules that were to wait for vfio-pci.
    pub(super) rivals: BTreeSet<String>,
}

/// Finds them.
///
/// # Errors
/// The vm.toml is wrong.
pub(super) fn find(
    files: &HostFiles,
    config: Option<&std::path::Path>,
    bind: Option<BindWhen>,
    earlier: &Earlier,
) -> Result<Devices, SetupError> {
    let mut devices = Devices::default();
    let wanted = match config {
        Some(path) => of_machine(files, path, bind, &mut devices)?,
        None => of_laptop(files, bind, earlier, &mut devices),
    };
    let mut seen = BTreeSet::new();
    devices.at_boot = wanted.into_iter().filter(|function| seen.insert(function.address)).collect();
    if devices.at_boot.is_empty() {
        return Ok(devices);
    }
    devices.by_address = twins(files, &devices.at_boot);
    for function in &devices.at_boot {
        devices.rivals.extend(rivals(function).iter().map(|name| (*name).to_owned()));
        devices.rivals.extend(function.driver.as_deref().and_then(|driver| module(files, function, driver)));
    }
    for address in &devices.by_address {
        devices.notes.push(format!(
            "{address} is told from others of its IDs by a rule of udev, which comes too late where the initramfs has its driver: then that keeps it \
             until `sudo optimus-vmm host bind {address}` or a machine with `manage = true` takes it"
        ));
    }
    devices.rivals.extend(earlier.rivals.iter().cloned());
    let built_in = built_in(files);
    let stubborn: Vec<_> = devices.rivals.iter().filter(|name| built_in.contains(*name)).cloned().collect();
    for module in stubborn {
        devices.notes.push(format!(
            "{module} is a part of this kernel and may take its device before vfio-pci is there: `manage = true` or `optimus-vmm host bind` take it \
             from there"
        ));
        devices.rivals.remove(&module);
    }
    Ok(devices)
}

/// Those of a vm.toml: with `manage = false` they have to be bound before.
fn of_machine(
    files: &HostFiles,
    path: &std::path::Path,
    bind: Option<BindWhen>,
    devices: &mut Devices,
) -> Result<Vec<HostFunction>, SetupError> {
    let config =
        config::load(path, &Overrides::default()).map_err(|error| SetupError::Config(Box::new(error)))?;
    let mut wanted = Vec::new();
    for section in &config.passthrough {
        devices.gvt |= section.is_igpu() && section.host.uuid().is_some();
        // A virtual function that a run makes is there only then, and its parent is to stay with the driver that makes it.
        let Some(address) = section.host.function().filter(|_| !section.is_parent) else { continue };
        let at_boot = match bind {
            Some(when) => when == BindWhen::Boot,
            None => !section.manage,
        };
        if !at_boot {
            continue;
        }
        let Some(own) = files.function(address) else {
            devices
                .notes
                .push(format!("there is no {address} on this host, which the vm.toml names: it is left out"));
            continue;
        };
        match section.functions {
            GpuFunctions::All => wanted.extend(slot(files, &own)),
            GpuFunctions::Gpu => wanted.push(own),
        }
    }
    Ok(wanted)
}

/// The NVIDIA GPU, unless the host needs it for a screen.
fn of_laptop(
    files: &HostFiles,
    bind: Option<BindWhen>,
    earlier: &Earlier,
    devices: &mut Devices,
) -> Vec<HostFunction> {
    let gpus = functions(files);
    let mut gpus = gpus.into_iter().filter(|function| is_display(function) && function.vendor == NVIDIA);
    let Some(gpu) = gpus.next() else {
        devices
            .notes
            .push("there is no NVIDIA GPU here: no device is bound at boot. A vm.toml names others".into());
        return Vec::new();
    };
    let address = gpu.address;
    if let Some(other) = gpus.next() {
        devices.notes.push(format!(
            "there is another NVIDIA GPU, {}: this is about {address}; a vm.toml chooses",
            other.address
        ));
    }
    let at_boot = match bind {
        Some(when) => when == BindWhen::Boot,
        None if earlier.at_boot => true,
        None => match screen(files, address) {
            Some(why) => {
                devices.notes.push(format!(
                    "{address} is not bound at boot, because {why}: the host would be without it. `--bind boot` does it all the same"
                ));
                false
            }
            None => true,
        },
    };
    if at_boot { slot(files, &gpu) } else { Vec::new() }
}

/// Why the host needs this GPU for a screen.
fn screen(files: &HostFiles, gpu: HostPciAddress) -> Option<String> {
    if files.attribute(gpu, "boot_vga").is_ok_and(|boot| boot == "1") {
        return Some("the firmware shows its pictures on it".into());
    }
    let folder = format!("sys/bus/pci/devices/{gpu}/drm");
    let cards = files.names(&folder).into_iter().filter(|name| name.starts_with("card"));
    let mut connectors = cards.flat_map(|card| {
        let below = format!("{folder}/{card}");
        let names = files.names(&below).into_iter().filter(move |name| name.starts_with("card"));
        names.map(move |name| (format!("{below}/{name}/status"), name)).collect::<Vec<_>>()
    });
    let connected =
        connectors.find(|(status, _)| files.text(status).is_ok_and(|status| status == "connected"))?;
    let name = connected.1.split_once('-').map_or(connected.1.as_str(), |(_, name)| name);
    Some(format!("it drives the screen at {name}"))
}

/// All functions of the host.
fn functions(files: &HostFiles) -> Vec<HostFunction> {
    let addresses = files.names("sys/bus/pci/devices").into_iter().filter_map(|name| name.parse().ok());
    addresses.filter_map(|address| files.function(address)).collect()
}

/// The function, and those that share its slot: without bridges, and without virtual functions, which may have a number of their physical
/// function's slot (SR-IOV). A virtual function goes alone.
pub(super) fn slot(files: &HostFiles, own: &HostFunction) -> Vec<HostFunction> {
    let is_virtual = |function: &HostFunction| files.is_virtual(function.address);
    if is_virtual(own) {
        return vec![own.clone()];
    }
    let others = files.slot(own.address).into_iter();
    others.filter(|function| function.class >> 16 != BRIDGE && !is_virtual(function)).collect()
}

/// Whether it is a display controller.
pub(super) fn is_display(function: &HostFunction) -> bool {
    function.class >> 16 == DISPLAY
}

/// Functions whose IDs another one has that stays with the host.
fn twins(files: &HostFiles, chosen: &[HostFunction]) -> BTreeSet<HostPciAddress> {
    let stays = |other: &HostFunction| chosen.iter().all(|function| function.address != other.address);
    let others: Vec<_> = functions(files).into_iter().filter(stays).collect();
    let has_twin = |function: &&HostFunction| {
        others.iter().any(|other| (other.vendor, other.device) == (function.vendor, function.device))
    };
    chosen.iter().filter(has_twin).map(|function| function.address).collect()
}

/// Modules of Linux that take functions of this kind.
fn rivals(function: &HostFunction) -> &'static [&'static str] {
    match (function.class >> 8, function.vendor) {
        (0x0300..=0x03ff, NVIDIA) => &["nouveau", "nova_core", "nvidia"],
        (0x0300..=0x03ff, AMD) => &["amdgpu", "radeon"],
        (0x0300..=0x03ff, INTEL) => &["i915", "xe"],
        (0x0403, _) => &["snd_hda_intel"],
        (0x0c03, _) => &["xhci_pci"],
        (0x0c80, NVIDIA) => &["i2c_nvidia_gpu"],
        (0x0108, _) => &["nvme"],
        (0x0106, _) => &["ahci"],
        _ => &[],
    }
}

/// The module of the driver that has a function now.
fn module(files: &HostFiles, function: &HostFunction, driver: &str) -> Option<String> {
    let link = format!("sys/bus/pci/devices/{}/driver/module", function.address);
    let name = files.link_name(link).unwrap_or_else(|| driver.replace('-', "_"));
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (plain && !lends(driver) && driver != "pci-stub").then_some(name)
}

/// Modules that are a part of the kernel that runs.
fn built_in(files: &HostFiles) -> BTreeSet<String> {
    let release = files.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let list = files.text(format!("lib/modules/{release}/modules.builtin")).unwrap_or_default();
    let name = |line: &str| Some(line.rsplit('/').next()?.split_once(".ko")?.0.replace('-', "_"));
    list.lines().filter_map(name).collect()
}
