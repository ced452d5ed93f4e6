//! The passed-through functions of the machine: which functions of the host the sections of the configuration mean, and
//! where the guest is to find them.

use std::collections::BTreeMap;

use devices::vfio::Identity;
use vocabulary::{HostPciAddress, LentDevice, NewMdev, PciAddress};

use crate::config::{Config, GpuFunctions, Passthrough, RomSource};
use crate::finding::{Finding, Key, Section};
use crate::host::{HostFacts, HostFunction, HostMdev};

/// One passed-through function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPassthrough {
    /// The section that asks for it: `[dgpu]`, `[igpu]` or a `[[vfio]]`.
    pub section: Section,
    /// Which device of the host it is.
    pub host: LentDevice,
    /// What a mediated device is made from if there is none of its UUID.
    pub create: Option<NewMdev>,
    /// The physical function of a virtual one that is made if there is none.
    pub parent: Option<HostPciAddress>,
    /// IDs that the guest sees in place of the device's own.
    pub identity: Identity,
    /// Its expansion ROM.
    pub rom: RomSource,
    /// Place in the firmware's boot order.
    pub boot_index: Option<u32>,
    /// Whether it is bound to vfio-pci at the start and given back at the end.
    pub manage: bool,
    /// Nobody has asked the host for it.
    pub unasked: bool,
    /// What the host says of it; `None` if the host has no such function, and for mediated devices.
    pub facts: Option<HostFunction>,
    /// What the host says of a mediated device that exists.
    pub mdev: Option<HostMdev>,
}

/// Where a passed-through function should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    At(PciAddress),
    /// Behind a root port of its own.
    OwnPort,
    /// To any free device number of bus 0.
    RootBus,
}

/// A passed-through function without its address.
#[derive(Debug, Clone)]
pub(super) struct Unplaced {
    /// Index into [`super::MachinePlan::passthrough`].
    pub index: usize,
    /// Where it should go.
    pub place: Place,
    /// The key to blame for the place.
    pub key: Key,
    /// The function of the same section that it accompanies.
    pub beside: Option<usize>,
    /// What its header is to say about other functions, if not what is so.
    pub multifunction: Option<bool>,
    /// The laptop's GPU itself.
    pub dgpu: bool,
    /// The display GPU.
    pub igpu: bool,
}

/// Everything that is passed through, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub functions: Vec<PlannedPassthrough>,
    pub unplaced: Vec<Unplaced>,
    pub warnings: Vec<Finding>,
}

/// Finds the functions that the sections mean.
pub(super) fn wanted(config: &Config, facts: &HostFacts, problems: &mut Vec<Finding>) -> Wanted {
    let mut wanted = Wanted::default();
    let mut owners: BTreeMap<LentDevice, Section> = BTreeMap::new();
    for section in &config.passthrough {
        let host = device(facts, section);
        if let Some(owner) = owners.get(&host) {
            problems.push(given_twice(config, section, host, *owner));
            continue;
        }
        let own = host.function().and_then(|address| facts.functions.get(&address));
        if let Some(problem) = own.and_then(|own| bridge(config, section, own)) {
            problems.push(problem);
            continue;
        }
        wanted.warnings.extend(own.into_iter().flat_map(|own| warnings(config, facts, section, own)));
        owners.insert(host, section.section);
        let index = wanted.functions.len();
        wanted.functions.push(PlannedPassthrough {
            section: section.section,
            host,
            create: section.create.clone(),
            parent: section.host.function().filter(|_| section.is_parent),
            identity: Identity {
                vendor: section.vendor,
                device: section.device,
                subsystem: section.subsystem,
            },
            rom: section.rom.clone(),
            boot_index: section.boot_index,
            manage: section.manage,
            unasked: facts.unasked,
            facts: own.cloned(),
            mdev: host.uuid().and_then(|uuid| facts.mdevs.get(&uuid).cloned()),
        });
        wanted.unplaced.push(Unplaced {
            index,
            place: match (section.guest, section.root_port) {
                (Some(guest), _) => Place::At(guest),
                (None, true) => Place::OwnPort,
                (None, false) => Place::RootBus,
            },
            key: section.section.key("guest"),
            beside: None,
            multifunction: section.multifunction,
            dgpu: section.is_dgpu(),
            igpu: section.is_igpu(),
        });
        for (own, guest) in companions(facts, section) {
            if let Some(owner) = owners.get(&own.address.into()) {
                problems.push(given_twice(config, section, own.address.into(), *owner));
                continue;
            }
            owners.insert(own.address.into(), section.section);
            wanted.unplaced.push(Unplaced {
                index: wanted.functions.len(),
                place: Place::At(guest),
                key: section.section.key("functions"),
                beside: Some(index),
                multifunction: None,
                dgpu: false,
                igpu: false,
            });
            wanted.functions.push(PlannedPassthrough {
                section: section.section,
                host: own.address.into(),
                create: None,
                parent: None,
                identity: Identity {
                    // All functions of a board's GPU carry the board's subsystem.
                    subsystem: section.subsystem.filter(|_| lacks_subsystem(own)),
                    ..Identity::default()
                },
                rom: RomSource::Off,
                boot_index: None,
                manage: section.manage,
                unasked: false,
                facts: Some(own.clone()),
                mdev: None,
            });
        }
    }
    wanted
}

/// The device that a section means. Where nobody has seen the first virtual function of a physical one, it is taken for the next in number, as it is
/// of Intel's GPUs.
fn device(facts: &HostFacts, section: &Passthrough) -> LentDevice {
    match section.host.function().filter(|_| section.is_parent) {
        Some(parent) => {
            let known = facts.virtual_functions.get(&parent).copied();
            known.or_else(|| parent.after(1)).unwrap_or(parent).into()
        }
        None => section.host,
    }
}

/// The other functions of the slot that come along, and their places: function numbers stay as on the host, except that
/// one whose number the GPU takes has the GPU's.
fn companions<'a>(
    facts: &'a HostFacts,
    section: &Passthrough,
) -> impl Iterator<Item = (&'a HostFunction, PciAddress)> {
    let host = section.host.function();
    let guest = section.guest.filter(|_| section.functions == GpuFunctions::All);
    let slot = |address: HostPciAddress| (address.segment(), address.bus(), address.device());
    facts.functions.values().filter_map(move |own| {
        let (guest, host) = (guest?, host?);
        if slot(own.address) != slot(host) || own.address == host || own.class >> 16 == class::BRIDGE {
            return None;
        }
        let number = match own.address.function() {
            taken if taken == guest.function() => host.function(),
            number => number,
        };
        Some((own, PciAddress::new(guest.bus(), guest.device(), number)?))
    })
}

/// Base classes and classes (PCI Code and ID Assignment Specification 1.14, 1).
pub(super) mod class {
    pub(in crate::plan) const DISPLAY: u32 = 0x03;
    pub(super) const BRIDGE: u32 = 0x06;
    pub(super) const PCI_TO_PCI_BRIDGE: u32 = 0x0604;
}

fn given_twice(config: &Config, section: &Passthrough, host: LentDevice, owner: Section) -> Finding {
    let line = |key| config.origin.line_of(owner.key(key));
    let line = line("host").or_else(|| line("mdev")).or_else(|| line("parent"));
    let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
    let message = format!("{host} is passed through by {}{line} already", owner.heading());
    let key = if section.is_parent { "parent" } else { "host" };
    let problem = config.problem(section.section.key(key), message);
    match owner {
        Section::Dgpu => problem.with_help(
            "leave this section out, or write `functions = \"gpu\"` in [dgpu] to give the other functions of the GPU's slot \
             sections of their own",
        ),
        _ => problem.with_help("leave one of the sections out"),
    }
}

fn bridge(config: &Config, section: &Passthrough, own: &HostFunction) -> Option<Finding> {
    (own.class >> 8 == class::PCI_TO_PCI_BRIDGE).then(|| {
        let message = format!("{} is a PCI bridge, which cannot be passed through", own.address);
        config
            .problem(section.section.key("host"), message)
            .with_help("name a device behind it: `lspci -D -tv` shows which there are")
    })
}

fn lacks_subsystem(own: &HostFunction) -> bool {
    own.subsystem_vendor == 0 || own.subsystem == 0
}

/// What need not be wrong, but makes the driver of a laptop's GPU give up.
fn warnings(config: &Config, facts: &HostFacts, section: &Passthrough, own: &HostFunction) -> Vec<Finding> {
    let mut warnings = Vec::new();
    if !section.is_dgpu() {
        return warnings;
    }
    let host = section.host;
    if own.class >> 16 != class::DISPLAY {
        let message = format!("{host} is no graphics controller: its class is {:04x}", own.class >> 8);
        let warning = config.problem(section.section.key("host"), message);
        let gpu = companions(facts, section).find(|(other, _)| other.class >> 16 == class::DISPLAY);
        warnings.push(match gpu {
            Some((gpu, _)) => warning.with_help(format!("the GPU of this slot is {}", gpu.address)),
            None => warning.with_help("`lspci -D -d ::03xx` lists the graphics controllers of this host"),
        });
    }
    if lacks_subsystem(own) && section.subsystem.is_none() {
        let message = format!(
            "the subsystem of {host} reads {:04x}:{:04x}, and the driver knows the laptop by it",
            own.subsystem_vendor, own.subsystem
        );
        warnings.push(config.problem(section.section.key("subsystem"), message).with_help(format!(
            "add `subsystem = \"VENDOR:DEVICE\"` to [dgpu]. Windows on the laptop itself shows it in the Device Manager, \
             among the GPU's hardware IDs: SUBSYS_39D117AA is \"17aa:39d1\". So does `lspci -nnk -s {host}`, once a driver of \
             the host has initialised the GPU"
        )));
    }
    warnings
}
