//! The machine under construction, as an optional device sees it: what it can be connected to, and what comes of it for others.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use devices::GuestRam;
use devices::ahci::{Attached, PORTS};
use devices::bus::Bus;
use devices::chipset::{MirroredBattery, PowerManagement};
use devices::disk::Failures;
use devices::display::{PlaneSource, Ramfb, Screen};
use devices::input::Input;
use devices::interrupt::IrqLine;
use devices::pci::endpoint::{Endpoint, EndpointDevice};
use devices::pci::{PciFunction, Placement, RootComplex, TopologyError};
use devices::virtio::VirtioDevice;
use devices::virtio::blk::Handle;
use devices::virtio::pci::VirtioPci;

use super::Trouble;
use super::audio::AudioFacts;
use super::cdrom::CdromFacts;
use super::disk::DiskFacts;
use super::net::NetFacts;
use crate::evdev::{EvdevError, Server as EvdevServer};
use crate::events::EventLog;
use crate::kvm::irq::{Interrupts, Messages};
use crate::power_supply::PowerSupplies;
use crate::topology::Placed;
use crate::usb::{Ports, Server as UsbServer, UsbError};
use crate::vnc::{Server, VncError};

/// Why a device cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Its function cannot be made.
    #[error("{at}: {why}")]
    Function {
        /// Its address.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// Its place is not free, or there is no such place.
    #[error(transparent)]
    Place(#[from] TopologyError),
    /// The VNC server cannot serve.
    #[error(transparent)]
    Vnc(#[from] VncError),
    /// USB devices of the host cannot be had.
    #[error(transparent)]
    Usb(#[from] UsbError),
    /// Input devices of the host cannot be read.
    #[error(transparent)]
    Evdev(#[from] EvdevError),
}

/// Contents of devices' files that ACPI tables hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// The image that `_ROM` returns.
    pub vbios: Option<Arc<[u8]>>,
}

/// What optional devices bring along for others.
#[derive(Default)]
pub(crate) struct Made {
    /// What each does at a reset of the machine.
    pub resets: Vec<Box<dyn Fn() + Send + Sync>>,
    /// The host's power supplies, and the battery that follows them.
    pub power: Option<(PowerSupplies, Arc<MirroredBattery>)>,
    /// What the guest shows.
    pub screen: Option<Arc<dyn Screen>>,
    /// Through which the firmware shows something.
    pub ramfb: Option<Arc<Ramfb>>,
    /// Shows the screen to others. It is to end before the vCPUs do.
    pub vnc: Option<Server>,
    /// Reads input devices of the host. It is to end before the vCPUs do, too.
    pub evdev: Option<EvdevServer>,
    /// Where USB devices are plugged in while the machine runs.
    pub usb_ports: Option<Arc<dyn Ports>>,
    /// The USB devices of the host that the guest has. They are given back when the vCPUs have ended.
    pub usb: Option<UsbServer>,
    /// What a client of the control socket is told of the disks.
    pub disks: Vec<DiskFacts>,
    /// The disks that can be changed while the machine runs, by their numbers.
    pub disk_handles: HashMap<usize, Handle>,
    /// What is to be told when the machine goes on that they have stopped.
    pub disk_failures: Vec<Arc<Failures>>,
    /// What it is told of the CD drives, and by which their discs are changed.
    pub cdroms: Vec<CdromFacts>,
    /// What it is told of the sound card.
    pub audio: Option<AudioFacts>,
    /// What is connected to the SATA controller, by port.
    pub sata: [Option<Attached>; PORTS],
    /// What it is told of the network cards.
    pub nets: Vec<NetFacts>,
    /// Those who look after programs that devices need. Dropped, each ends its program.
    pub programs: Vec<Box<dyn Send>>,
    /// Files of fw_cfg that tell the firmware of devices.
    pub firmware_files: Vec<(&'static str, Vec<u8>)>,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("disks", &self.disks).finish_non_exhaustive()
    }
}

/// What an emulated endpoint is connected to.
pub(crate) struct Connection<'a> {
    /// Guest memory.
    pub ram: GuestRam,
    /// Where it sits.
    pub placement: Placement,
    /// Makes its message-signalled vectors.
    pub messages: &'a Messages,
    /// Its INTA.
    pub line: Arc<dyn IrqLine>,
}

/// The machine under construction.
pub(crate) struct Assembly<'a> {
    /// PCI.
    pub root: &'a Arc<RootComplex>,
    /// Ports.
    pub io: &'a Arc<Bus>,
    /// Memory that is not RAM.
    pub memory: &'a Arc<Bus>,
    /// The number of vCPUs.
    pub cpus: usize,
    /// Guest memory.
    pub ram: &'a GuestRam,
    /// Lines and messages.
    pub interrupts: &'a Arc<Interrupts>,
    /// ACPI registers, for general-purpose events.
    pub pm: &'a Arc<PowerManagement>,
    /// Keyboard and pointer: the PS/2 devices, and those that have taken their place.
    pub input: Arc<dyn Input>,
    /// What a virtual GPU shows.
    pub planes: Option<Arc<dyn PlaneSource>>,
    /// Who is told of disks that cannot go on.
    pub trouble: &'a Arc<Trouble>,
    /// What happened when.
    pub events: &'a EventLog,
    /// What the devices so far have brought along.
    pub made: Made,
}

impl Assembly<'_> {
    /// Calls `reset` when the machine is reset. All vCPUs are parked then.
    pub(crate) fn on_reset(&mut self, reset: impl Fn() + Send + Sync + 'static) {
        self.made.resets.push(Box::new(reset));
    }

    /// Puts a function into its place.
    pub(crate) fn add_function(
        &self,
        placed: Placed<'_>,
        function: Arc<dyn PciFunction>,
    ) -> Result<(), DeviceError> {
        add_function(self.root, placed, function).map_err(DeviceError::from)
    }

    /// Puts a virtio device into its place.
    pub(crate) fn add_virtio(
        &self,
        placed: Option<Placed<'_>>,
        device: Box<dyn VirtioDevice>,
    ) -> Result<(), DeviceError> {
        self.add_endpoint(placed, |connection| {
            let Connection { ram, placement, messages, line } = connection;
            VirtioPci::endpoint(device, ram, placement, messages, line)
        })
    }

    /// Puts the endpoint that `make` makes into its place.
    pub(crate) fn add_endpoint<D: EndpointDevice, E: fmt::Display>(
        &self,
        placed: Option<Placed<'_>>,
        make: impl FnOnce(Connection<'_>) -> Result<Arc<Endpoint<D>>, E>,
    ) -> Result<(), DeviceError> {
        // The plan gives a place to whoever asks for one.
        let Some(placed) = placed else { return Ok(()) };
        let planned = placed.function;
        let connection = Connection {
            ram: self.ram.clone(),
            placement: placed.placement(),
            messages: &Messages(Arc::clone(self.interrupts)),
            line: self.interrupts.line(planned.interrupt.map_or(0, |interrupt| interrupt.gsi)),
        };
        let function = make(connection)
            .map_err(|error| DeviceError::Function { at: planned.to_string(), why: error.to_string() })?;
        if planned.multifunction {
            function.set_multifunction();
        }
        self.add_function(placed, function)
    }
}

/// Puts a function into its place.
pub(crate) fn add_function(
    root: &RootComplex,
    placed: Placed<'_>,
    function: Arc<dyn PciFunction>,
) -> Result<(), TopologyError> {
    let at = placed.function.at;
    match placed.port {
        None => root.add(at, function),
        Some(port) => root.add_behind(port, at.function(), function),
    }
}
