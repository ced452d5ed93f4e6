//! The words that the crates of this workspace share: types and numbers that say what the machine is, each once.
//!
//! Here is what two crates must agree on, such as a device model and the ACPI table that describes it. This crate knows
//! none of the others, does no I/O and makes no decision of its own.
//!
//! | module | what is in it |
//! |---|---|
//! | [`range`] | ranges of addresses |
//! | [`size`] | amounts of memory |
//! | [`pci`] | addresses of PCI functions, of the guest and of the host |
//! | [`ports`] | fixed I/O ports |
//! | [`memory`] | fixed guest-physical addresses |
//! | [`interrupts`] | ISA interrupts, PCI pins and the PIRQ router |
//! | [`pm`] | the power management block |
//! | [`battery`] | registers of the battery |
//! | [`tpm`] | registers of the TPM, and the memory for physical presence |
//! | [`thermal`] | the temperature of a machine |
//! | [`cpu`] | vendors, sockets, cores and threads, names of hypervisors |
//! | [`cpuid`] | bits of CPUID and their names |
//! | [`cpu_list`] | sets of the host's CPUs |
//! | [`hyperv`] | enlightenments of Hyper-V's interface |
//! | [`fw_cfg`] | contents of fw_cfg items |
//! | [`vfio`], [`mdev`] | devices of the host that the guest is lent |
//! | [`usb`] | how USB devices of the host are told apart |
//! | [`disk`] | formats of disk images |
//! | [`net`] | addresses of network cards, and ports that lead into the guest |
//! | [`hugepages`] | pages of the host behind guest memory |
//! | [`console`], [`vnc`] | where serial ports and the screen lead |
//! | [`resolution`] | display modes |
//! | [`path`] | paths of the host |
//! | [`scalar`] | what values of a configuration are read from |
//! | [`printable`] | text of strangers as a terminal may show it |

#![forbid(unsafe_code)]

pub mod battery;
pub mod console;
pub mod cpu;
pub mod cpu_list;
pub mod cpuid;
pub mod disk;
pub mod fw_cfg;
pub mod hugepages;
pub mod hyperv;
pub mod interrupts;
pub mod mdev;
pub mod memory;
pub mod net;
pub mod path;
pub mod pci;
pub mod pm;
pub mod ports;
pub mod printable;
pub mod range;
pub mod resolution;
pub mod scalar;
pub mod size;
pub mod thermal;
pub mod tpm;
pub mod usb;
pub mod vfio;
pub mod vnc;

pub use console::ConsoleSpec;
pub use cpu::{CpuVendor, Hypervisor, HypervisorVendor, Topology};
pub use cpu_list::CpuList;
pub use cpuid::{CpuFeature, CpuidBit};
pub use disk::DiskFormat;
pub use hugepages::Hugepages;
pub use hyperv::{Enlightenment, Enlightenments};
pub use mdev::{MdevParent, MdevType, NewMdev};
pub use net::{MacAddress, PortForward};
pub use pci::{Devfn, HostPciAddress, PciAddress};
pub use ports::Ports;
pub use range::AddressRange;
pub use resolution::Resolution;
pub use scalar::Scalar;
pub use size::ByteSize;
pub use usb::{UsbId, UsbPort};
pub use vfio::{LentDevice, VfioBackend};
pub use vnc::VncAddress;
