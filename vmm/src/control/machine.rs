//! The machine as the control socket sees it: what can be asked of it, and what it is made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use devices::atapi::Drive;
use devices::audio::Monitor;
use devices::display::Screen;
use devices::input::Input;
use devices::net::cable::Cable;
use devices::pci::Placed;
use devices::virtio::blk::Handle;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::{MacAddress, VncAddress};

use crate::code43;
use crate::console::{InputSink, Tee};
use crate::evdev::Grab;
use crate::screenshot::MachineFile;
use crate::usb::Attachments;

/// What became of accesses to model-specific registers that KVM does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Msrs {
    /// One for each register and direction, in the order in which they were met.
    pub accesses: Vec<MsrAccess>,
    /// How many accesses to further registers there were, which are not told apart.
    pub beyond: u64,
}

/// Accesses of one kind to a model-specific register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MsrAccess {
    /// The register's number.
    pub index: u32,
    /// The vendor's name, if the machine knows the register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// `read` or `write`.
    pub access: &'static str,
    /// How often the machine answered with a value of its own.
    pub answered: u64,
    /// How often it read as 0, or was not written, because the user wants it so.
    pub ignored: u64,
    /// How often the guest got an exception (#GP).
    pub refused: u64,
}

/// What a client may have the machine do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineRequest {
    /// Press the power button.
    PowerButton,
    /// Press the reset button.
    Reset,
    /// End at once, in order.
    Quit,
}

/// What does not change while a machine runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// The shape of its processors.
    pub cpu: Shape,
    /// The size of its memory in bytes.
    pub memory: u64,
    /// Its devices of the host.
    pub devices: Vec<PassedDevice>,
    /// Its disks, in the order of vm.toml.
    pub disks: Vec<Disk>,
    /// Its CD drives, in the order of vm.toml.
    pub cdroms: Vec<CdDrive>,
    /// Its sound card, if it has one.
    pub sound: Option<Sound>,
    /// Its network cards, in the order of vm.toml.
    pub nets: Vec<NetworkCard>,
    /// Its character devices, and the control socket.
    pub chardevs: Vec<CharDevice>,
    /// Its VNC server, if it has one.
    pub vnc: Option<Vnc>,
    /// By which its input devices of the host are taken, if it has some.
    pub evdev: Option<Grab>,
    /// By which USB devices of the host come to it and go, if it has a USB controller.
    pub usb: Option<Attachments>,
    /// What the driver of its discrete GPU finds, but for registers.
    pub dgpu: code43::Facts,
}

/// The shape of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sockets.
    pub sockets: usize,
    /// Cores of each socket.
    pub cores: usize,
    /// Threads of each core.
    pub threads: usize,
}

impl Shape {
    /// The number of vCPUs.
    pub fn count(self) -> usize {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }
}

/// What the host's scheduler tells of a vCPU's thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Schedule {
    /// The CPUs of the host that it may run on, as `taskset -c` has them.
    pub cpus: String,
    /// How long it has run, in nanoseconds, if the kernel counts that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ran_ns: Option<u64>,
    /// How long it has waited for a CPU although the guest had work, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_ns: Option<u64>,
}

/// A device of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PassedDevice {
    /// Its section in vm.toml.
    pub key: String,
    /// Its PCI address on the host, or the UUID of a mediated device.
    pub host: String,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its image.
    pub path: PathBuf,
    /// The image's format, as QEMU calls it.
    pub format: &'static str,
    /// What the guest saw at the start, in bytes.
    pub size: u64,
    /// The guest cannot write.
    pub read_only: bool,
    /// It goes around the host's page cache.
    pub direct: bool,
    /// The disk itself, if it can be changed while the machine runs.
    pub handle: Option<Handle>,
}

/// A CD or DVD drive.
#[derive(Debug, Clone)]
pub struct CdDrive {
    /// What it is called: `cdrom[0]`.
    pub name: String,
    /// Through which discs are changed.
    pub drive: Arc<Drive>,
}

/// The sound card.
#[derive(Debug, Clone)]
pub struct Sound {
    /// Where its sound goes, as in vm.toml.
    pub backend: String,
    /// What has happened to it.
    pub monitor: Arc<Monitor>,
}

/// A network card.
#[derive(Debug, Clone)]
pub struct NetworkCard {
    /// What it is called: `net[0]`.
    pub name: String,
    /// Its address.
    pub mac: MacAddress,
    /// What carries its frames, in words.
    pub carrier: String,
    /// Its link and its counters.
    pub cable: Arc<Cable>,
}

/// A character device, as QMP's `ChardevInfo` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CharDevice {
    /// What it is.
    pub label: String,
    /// Where it leads: `pty:/dev/pts/1`, for example.
    pub filename: String,
    /// The machine uses it.
    pub frontend_open: bool,
}

/// A VNC server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vnc {
    /// Where it listens.
    pub address: VncAddress,
    /// Viewers need a password.
    pub password: bool,
}

/// Stops all vCPUs (`false`) or lets them go on (`true`), and says when that is done, or why it cannot be.
pub(super) type Run = dyn Fn(bool, Sender<Result<(), String>>) + Send + Sync;

/// The ends of a machine that commands act on.
pub struct Machine {
    /// What does not change.
    pub facts: Facts,
    /// When it started.
    pub began: Instant,
    /// How often its vCPUs have left the guest so far.
    pub exits: Box<dyn Fn() -> u64 + Send>,
    /// What became of accesses to registers that KVM does not know.
    pub msrs: Box<dyn Fn() -> Msrs + Send>,
    /// The numbers of its vCPUs' threads, in order.
    pub threads: Box<dyn Fn() -> Vec<i32> + Send>,
    /// How the host schedules its vCPUs, in order.
    pub schedules: Box<dyn Fn() -> Vec<Schedule> + Send>,
    /// Its PCI functions, as they are now.
    pub functions: Arc<dyn Fn() -> Vec<Placed> + Send + Sync>,
    /// Has the machine do something, from the event loop.
    pub ask: Box<dyn Fn(MachineRequest) + Send>,
    /// Stops its vCPUs and lets them go on, from the event loop.
    pub run: Arc<Run>,
    /// What COM1 wrote.
    pub output: Arc<Tee>,
    /// COM1's input.
    pub sink: Arc<dyn InputSink>,
    /// Signalled when COM1 takes more.
    pub room: EventFd,
    /// The guest's screen, if the machine has one.
    pub screen: Option<Arc<dyn Screen>>,
    /// The guest's keyboard and mouse.
    pub input: Option<Arc<dyn Input>>,
    /// What it is made from.
    pub files: Arc<[MachineFile]>,
}
