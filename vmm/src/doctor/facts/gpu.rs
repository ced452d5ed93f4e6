//! The host's GPUs, the one to lend, and its IOMMU group. A GPU that sleeps is not woken: what would be read from the device itself is left
//! out then.

use serde::{Deserialize, Serialize};
use vocabulary::HostPciAddress;

use crate::code43::NVIDIA;
use crate::host::{GuestGraphics, HostFiles, HostFunction, guest_graphics};

/// Where PCI functions are.
pub(in crate::doctor) const FUNCTIONS: &str = "sys/bus/pci/devices";
/// Base class of display controllers.
pub(in crate::doctor) const DISPLAY: u32 = 0x03;

/// A PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Function {
    pub(in crate::doctor) address: HostPciAddress,
    pub(in crate::doctor) vendor: u16,
    pub(in crate::doctor) device: u16,
    /// `None` where the files are missing, as in copies that lack them.
    pub(in crate::doctor) subsystem: Option<(u16, u16)>,
    /// Base class, sub-class, programming interface.
    pub(in crate::doctor) class: u32,
    pub(in crate::doctor) driver: Option<String>,
    pub(in crate::doctor) group: Option<u32>,
    /// Network interfaces that its driver has made.
    pub(in crate::doctor) interfaces: Vec<String>,
}

impl Function {
    fn of(files: &HostFiles, function: HostFunction) -> Self {
        let HostFunction { address, vendor, device, subsystem_vendor, subsystem, class, driver, iommu_group } =
            function;
        Self {
            address,
            vendor,
            device,
            subsystem: files
                .attribute(address, "subsystem_vendor")
                .is_ok()
                .then_some((subsystem_vendor, subsystem)),
            class,
            driver,
            group: iommu_group,
            interfaces: files.names(format!("{FUNCTIONS}/{address}/net")),
        }
    }

    /// Base class and sub-class.
    pub(in crate::doctor) fn kind(&self) -> u32 {
        self.class >> 8
    }

    /// Whether it is a bridge or a port, which stays with the host.
    pub(in crate::doctor) fn is_bridge(&self) -> bool {
        self.class >> 16 == 0x06
    }

    /// `10de:1c8d`.
    pub(in crate::doctor) fn ids(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// A socket or panel that a GPU drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Connector {
    /// `eDP-1`.
    pub(in crate::doctor) name: String,
    pub(in crate::doctor) connected: bool,
}

impl Connector {
    /// Whether it is the machine's own panel.
    pub(in crate::doctor) fn is_panel(&self) -> bool {
        ["eDP", "LVDS", "DSI"].iter().any(|kind| self.name.starts_with(kind))
    }
}

/// A display controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Display {
    pub(in crate::doctor) function: Function,
    /// The firmware has shown its pictures on it.
    pub(in crate::doctor) primary: bool,
    /// `None` where no driver tells.
    pub(in crate::doctor) connectors: Option<Vec<Connector>>,
    /// Virtual functions that its driver can make.
    pub(in crate::doctor) virtual_functions: Option<u32>,
    /// Those that it has.
    pub(in crate::doctor) virtual_now: Option<u32>,
    /// Whether it can have virtual GPUs by GVT-g; `None` for those of others than Intel and for unknown ones.
    pub(in crate::doctor) gvt: Option<Gvt>,
}

/// GVT-g of an Intel GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::doctor) enum Gvt {
    TooOld,
    TooNew,
    /// It offers these types.
    Offers(Vec<String>),
    /// It could, but does not: why, and what to do.
    Off(String, String),
}

/// The GPU to lend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Gpu {
    pub(in crate::doctor) address: HostPciAddress,
    /// All functions of its slot, itself among them.
    pub(in crate::doctor) slot: Vec<Function>,
    /// The port above it.
    pub(in crate::doctor) port: Option<HostPciAddress>,
    /// All functions of its IOMMU group, itself among them.
    pub(in crate::doctor) members: Vec<Function>,
    /// `power/runtime_status`, `power/control`, `power_state`, `d3cold_allowed`.
    pub(in crate::doctor) runtime: Option<String>,
    pub(in crate::doctor) control: Option<String>,
    pub(in crate::doctor) power_state: Option<String>,
    pub(in crate::doctor) d3cold: Option<String>,
    /// Whether its configuration space answers; `None` where that was not asked.
    pub(in crate::doctor) answers: Option<bool>,
    /// `reset_method`.
    pub(in crate::doctor) resets: Option<String>,
    /// Index and size of each memory BAR.
    pub(in crate::doctor) bars: Vec<(usize, u64)>,
    /// The kernel knows a ROM BAR or a copy of the ROM.
    pub(in crate::doctor) rom: bool,
}

impl Gpu {
    /// The GPU's own function.
    pub(in crate::doctor) fn function(&self) -> Option<&Function> {
        self.slot.iter().find(|function| function.address == self.address)
    }

    /// Whether a function is in its slot.
    pub(in crate::doctor) fn has(&self, address: HostPciAddress) -> bool {
        self.slot.iter().any(|function| function.address == address)
    }
}

/// What is on the PCI buses, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Pci {
    /// In the order of their addresses.
    pub(in crate::doctor) displays: Vec<Display>,
    pub(in crate::doctor) gpu: Option<Gpu>,
    /// Other NVIDIA GPUs.
    pub(in crate::doctor) others: Vec<HostPciAddress>,
}

impl Pci {
    pub(super) fn read(files: &HostFiles, named: Option<HostPciAddress>) -> Self {
        let displays: Vec<_> = displays(files).into_iter().map(|function| display(files, function)).collect();
        let gpu = choose(&displays, named);
        let others = displays.iter().map(|display| &display.function);
        let others = others.filter(|function| function.vendor == NVIDIA && Some(function.address) != gpu);
        Self {
            others: others.map(|function| function.address).collect(),
            gpu: gpu.and_then(|address| read_gpu(files, address)),
            displays,
        }
    }

    /// The other display controllers than the GPU to lend, virtual functions aside.
    pub(in crate::doctor) fn rest(&self) -> impl Iterator<Item = &Display> {
        let gpu = self.gpu.as_ref().map(|gpu| gpu.address);
        self.displays.iter().filter(move |display| Some(display.function.address) != gpu)
    }

    /// The display controller that is to be lent.
    pub(in crate::doctor) fn lent(&self) -> Option<&Display> {
        let gpu = self.gpu.as_ref()?.address;
        self.displays.iter().find(|display| display.function.address == gpu)
    }
}

/// Display controllers of a host, without virtual functions of others.
pub(in crate::doctor) fn displays(files: &HostFiles) -> Vec<Function> {
    let addresses = files.names(FUNCTIONS).into_iter().filter_map(|name| name.parse().ok());
    let own = |address: &HostPciAddress| !files.function_path(*address).join("physfn").exists();
    let functions = addresses.filter(own).filter_map(|address| files.function(address));
    functions
        .filter(|function| function.class >> 16 == DISPLAY)
        .map(|function| Function::of(files, function))
        .collect()
}

/// The GPU that a report is about.
pub(in crate::doctor) fn chosen(files: &HostFiles, named: Option<HostPciAddress>) -> Option<HostPciAddress> {
    let displays: Vec<_> = displays(files);
    named.or_else(|| {
        displays.iter().find(|function| function.vendor == NVIDIA).map(|function| function.address)
    })
}

/// The functions of the GPU's slot and group, bridges left out.
pub(in crate::doctor) fn affected(files: &HostFiles, gpu: HostPciAddress) -> Vec<HostPciAddress> {
    let mut all: Vec<_> = files.slot(gpu).into_iter().chain(members(files, gpu)).collect();
    all.sort_by_key(|function| function.address);
    all.dedup_by_key(|function| function.address);
    all.into_iter().filter(|function| function.class >> 16 != 0x06).map(|function| function.address).collect()
}

fn members(files: &HostFiles, gpu: HostPciAddress) -> Vec<HostFunction> {
    let group = files.function(gpu).and_then(|function| function.iommu_group);
    let names = group.map(|group| files.group_members(group)).unwrap_or_default();
    names.into_iter().filter_map(|member| files.function(member.address?)).collect()
}

fn choose(displays: &[Display], named: Option<HostPciAddress>) -> Option<HostPciAddress> {
    let nvidia = || displays.iter().find(|display| display.function.vendor == NVIDIA);
    named.or_else(|| nvidia().map(|display| display.function.address))
}

fn display(files: &HostFiles, function: Function) -> Display {
    let address = function.address;
    let number = |name| files.attribute(address, name).ok().and_then(|text| text.parse().ok());
    let cards: Vec<_> = files
        .names(format!("{FUNCTIONS}/{address}/drm"))
        .into_iter()
        .filter(|name| name.starts_with("card"))
        .collect();
    let makes_virtual = function.driver.as_deref().is_none_or(|driver| files.makes_virtual(driver));
    let virtual_functions = number("sriov_totalvfs").map(|total| if makes_virtual { total } else { 0 });
    let connectors = cards.iter().flat_map(|card| connectors(files, address, card)).collect();
    Display {
        primary: files.attribute(address, "boot_vga").is_ok_and(|boot| boot == "1"),
        connectors: (!cards.is_empty()).then_some(connectors),
        virtual_functions,
        virtual_now: virtual_functions.map(|_| files.virtual_count(address)),
        gvt: gvt(files, &function),
        function,
    }
}

fn connectors(files: &HostFiles, address: HostPciAddress, card: &str) -> Vec<Connector> {
    let folder = format!("{FUNCTIONS}/{address}/drm/{card}");
    let connector = |entry: String| {
        let name = entry.strip_prefix(card)?.strip_prefix('-')?.to_owned();
        let status = files.text(format!("{folder}/{entry}/status")).ok()?;
        // What has no monitor and never will is for writing pictures back to memory.
        (!name.starts_with("Writeback")).then_some(Connector { connected: status == "connected", name })
    };
    files.names(&folder).into_iter().filter_map(connector).collect()
}

fn gvt(files: &HostFiles, function: &Function) -> Option<Gvt> {
    const INTEL: u16 = 0x8086;
    if function.vendor != INTEL {
        return None;
    }
    Some(match guest_graphics(function.device) {
        GuestGraphics::Unknown => return None,
        GuestGraphics::TooOld => Gvt::TooOld,
        GuestGraphics::TooNew => Gvt::TooNew,
        GuestGraphics::Supported => {
            let types = files.names(format!("sys/class/mdev_bus/{}/mdev_supported_types", function.address));
            if types.is_empty() {
                let (why, cure) = files.no_gvt(function.driver.as_deref());
                Gvt::Off(why, cure)
            } else {
                Gvt::Offers(types)
            }
        }
    })
}

fn read_gpu(files: &HostFiles, address: HostPciAddress) -> Option<Gpu> {
    files.function(address)?;
    let own = |function| Function::of(files, function);
    let attribute = |name| files.attribute(address, name).ok();
    Some(Gpu {
        address,
        slot: files.slot(address).into_iter().map(own).collect(),
        port: files.upstream_port(address),
        members: members(files, address).into_iter().map(own).collect(),
        runtime: attribute("power/runtime_status"),
        control: attribute("power/control"),
        power_state: files.power_state(address),
        d3cold: attribute("d3cold_allowed"),
        answers: files.is_awake(address).then(|| files.answers(address).ok()).flatten(),
        resets: files.reset_methods(address),
        bars: files.memory_bars(address).into_iter().map(|bar| (bar.index, bar.size)).collect(),
        rom: files.function_path(address).join("rom").exists(),
    })
}
