//! The optional devices of a machine. Each has one file, in which all of it is found: its section of `vm.toml`, what it asks of the
//! machine plan, the host's files that it opens, and how it is put together. The models are in the crate `devices`.
//!
//! A device goes through these steps:
//!
//! 1. `…Section::resolve` makes it from its section, with everything that the section alone can have wrong;
//! 2. [`Spec`] says what the plan is to know: a place on the PCI bus, fixed resources, a place in the boot order, files;
//! 3. [`Spec::open`] opens the host's files, before KVM and before anything is taken from the host;
//! 4. [`Opened::build`] adds it to the machine.
//!
//! The chipset's devices, which every machine has, are not among them (`machine::assembly::build` reads like a schematic), nor are
//! passed-through ones, whose rules relate several of them.

pub(crate) mod ahci;
mod assembly;
pub(crate) mod audio;
pub(crate) mod battery;
mod boot_disk;
pub(crate) mod cdrom;
pub(crate) mod disk;
pub(crate) mod display;
pub(crate) mod evdev;
pub(crate) mod net;
pub(crate) mod rng;
pub(crate) mod screen;
pub(crate) mod shmem;
pub(crate) mod tpm;
mod trouble;
pub(crate) mod usb;
pub(crate) mod usb_device;
pub(crate) mod vbios;

use std::fmt;
use std::path::Path;

use devices::disk::DiskError;
use firmware::fw_cfg::bootorder::BootKind;
use vocabulary::ports::Ports;
use vocabulary::{AddressRange, PciAddress};

use crate::finding::{Finding, Key, Origin, Section};
use crate::topology::Placed;

pub use ahci::Ahci;
pub(crate) use assembly::{Assembly, Connection, Made, add_function};
pub use assembly::{DeviceError, Tables};
pub use audio::Audio;
pub use battery::Battery;
pub use cdrom::Cdrom;
pub use disk::Disk;
pub use display::Display;
pub use evdev::Evdev;
pub use net::Net;
pub use rng::Rng;
pub use shmem::Shmem;
pub use tpm::Tpm;
pub(crate) use tpm::TpmKind;
pub(crate) use trouble::Trouble;
pub use usb::Usb;
pub use usb_device::UsbHost;
pub use vbios::Vbios;

/// Makes the closed list of kinds, so that every kind is handled wherever devices are told apart.
macro_rules! devices {
    ($($kind:ident),*) => {
        /// An optional device, as its section asks for it.
        #[derive(Debug, Clone)]
        pub enum Device {
            $($kind($kind),)*
        }

        impl Device {
            /// What the plan and the start are to know of it.
            pub(crate) fn spec(&self) -> &dyn Spec {
                match self {
                    $(Self::$kind(device) => device,)*
                }
            }
        }

        $(
            impl From<$kind> for Device {
                fn from(device: $kind) -> Self {
                    Self::$kind(device)
                }
            }

            impl Kind for $kind {
                fn of(device: &Device) -> Option<&Self> {
                    match device {
                        Device::$kind(device) => Some(device),
                        _ => None,
                    }
                }

                fn of_mut(device: &mut Device) -> Option<&mut Self> {
                    match device {
                        Device::$kind(device) => Some(device),
                        _ => None,
                    }
                }
            }
        )*
    };
}

devices!(Disk, Net, Shmem, Rng, Cdrom, Ahci, Audio, Usb, UsbHost, Battery, Tpm, Display, Evdev, Vbios);

/// One kind of device.
pub trait Kind: Sized + 'static {
    /// The device, if it is of this kind.
    fn of(device: &Device) -> Option<&Self>;
    /// As [`Kind::of`].
    fn of_mut(device: &mut Device) -> Option<&mut Self>;
}

/// The optional devices of one machine, in the order in which the plan gives them places.
#[derive(Debug, Clone, Default)]
pub struct Devices(Vec<Device>);

impl Devices {
    /// All of one kind, in the order of the file.
    pub fn of<K: Kind>(&self) -> impl Iterator<Item = &K> {
        self.0.iter().filter_map(K::of)
    }

    /// The only one of a kind of which there is one at most.
    pub fn one<K: Kind>(&self) -> Option<&K> {
        self.of().next()
    }

    /// The number of the only one of a kind.
    pub(crate) fn number_of<K: Kind>(&self) -> Option<usize> {
        self.0.iter().position(|device| K::of(device).is_some())
    }

    /// As [`Self::one`].
    pub(crate) fn one_mut<K: Kind>(&mut self) -> Option<&mut K> {
        self.0.iter_mut().find_map(K::of_mut)
    }

    /// Adds some.
    pub(crate) fn add<D: Into<Device>>(&mut self, devices: impl IntoIterator<Item = D>) {
        self.0.extend(devices.into_iter().map(Into::into));
    }

    /// All of them; a device's number is its index in [`crate::topology::Role::Device`].
    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn Spec> {
        self.0.iter().map(Device::spec)
    }

    /// The device of this number.
    pub(crate) fn get(&self, index: usize) -> Option<&dyn Spec> {
        self.0.get(index).map(Device::spec)
    }
}

/// A function on the PCI bus that a device asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PciNeed {
    /// Where the user wants it.
    pub address: Option<PciAddress>,
    /// Its interrupt pin, 1 for INTA to 4 for INTD, 0 for none.
    pub pin: u8,
}

/// Something of which a machine has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// I/O ports at a fixed place.
    Ports(Ports),
    /// Memory at a fixed place.
    Memory(AddressRange),
    /// A global system interrupt that nobody else may raise.
    Interrupt(u8),
}

/// A device that the firmware may boot from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Its place in the order that the user wants.
    pub index: Option<u32>,
    /// How the firmware knows it.
    pub kind: BootKind,
}

/// A file of the host, and what it is called in messages.
pub(crate) type UsedFile<'a> = (String, &'a Path);

/// What the plan and the start are to know of a device. Pure but for [`Spec::open`].
pub(crate) trait Spec: fmt::Debug {
    /// The section that asks for it.
    fn section(&self) -> Section;

    /// What it is, as `optimus-vmm plan` shows it.
    fn describe(&self) -> String;

    /// Its function on the PCI bus.
    fn pci(&self) -> Option<PciNeed> {
        None
    }

    /// The key to blame for its place there.
    fn place_key(&self) -> Key {
        self.section().key("address")
    }

    /// What it occupies at fixed places.
    fn resources(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// Whether and when the firmware boots from it.
    fn boot(&self) -> Option<Boot> {
        None
    }

    /// The host's files that it is made from.
    fn files(&self) -> Vec<UsedFile<'_>> {
        Vec::new()
    }

    /// Its part of the ACPI tables; `tables` has the contents of its files.
    fn describe_to_acpi(&self, _platform: &mut acpi::Platform, _tables: &Tables) {}

    /// Opens and checks its files. `None` if something is wrong with them, which `opening` has then.
    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>>;
}

/// A device whose files are open.
pub(crate) trait Opened {
    /// Adds what its files hold for the ACPI tables.
    fn fill(&self, _tables: &mut Tables) {}

    /// Adds it to the machine. `placed` is its function, if it has asked for one.
    ///
    /// # Errors
    /// The host or the machine has no room for it.
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError>;
}

/// How far devices are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For a run: files are locked, addresses are taken.
    Run,
    /// To say what a run would refuse. Others may use the files at the same time.
    Look,
}

/// The opening of a machine's files: what was asked for, and what is wrong.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    /// The machine's name.
    pub name: &'a str,
    /// What for.
    pub purpose: Purpose,
    /// Where everything is written.
    pub origin: &'a Origin,
    /// What cannot be used, each with its line.
    pub problems: Vec<Finding>,
}

impl Opening<'_> {
    /// Notes a problem with the value of a key.
    pub(crate) fn problem(&mut self, key: Key, message: impl Into<String>) {
        self.problems.push(self.origin.problem(key, message));
    }

    /// Notes that the image which is the value of a section's `path` cannot be used.
    pub(crate) fn image_problem(&mut self, section: Section, error: &DiskError) {
        let problem = self.origin.problem(section.key("path"), format!("{section}: {error}"));
        match (error.is_in_use(), self.purpose) {
            (false, _) => self.problems.push(problem),
            // The file is right; somebody else is in the way.
            (true, Purpose::Run) => self.problems.push(problem.about_host()),
            (true, Purpose::Look) => {}
        }
    }
}
