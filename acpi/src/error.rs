//! Why tables could not be built. All but [`Error::Script`] name something in the input that must change.

use crate::loader::ScriptError;
use crate::set::TableError;

/// What [`crate::build`] and [`crate::NameSeg::new`] refuse.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No CPU, or more than the DSDT can name.
    #[error("ACPI tables for {0} CPUs: between 1 and {max} are possible", max = crate::platform::MAX_CPUS)]
    CpuCount(usize),
    /// The APIC ids are not strictly ascending.
    #[error(
        "CPU {uid} has APIC id {apic_id}, which is not above the one before it; give every CPU a higher APIC id than the last"
    )]
    CpuOrder {
        /// Index of the CPU, which is its ACPI processor UID.
        uid: usize,
        /// Its APIC id.
        apic_id: u32,
    },
    /// An APIC id that is a broadcast address.
    #[error("CPU {uid} has APIC id {apic_id:#x}, which addresses all CPUs; use a lower one")]
    CpuBroadcast {
        /// Index of the CPU.
        uid: usize,
        /// Its APIC id.
        apic_id: u32,
    },
    /// The ECAM window cannot be described.
    #[error(
        "the ECAM window at {base:#x} for {buses} buses is not possible: it needs 1 to 256 buses, a base aligned to 1 MiB and an end below 2^52"
    )]
    Ecam {
        /// Guest physical address.
        base: u64,
        /// Number of buses.
        buses: u16,
    },
    /// There cannot be so many buses.
    #[error("there cannot be {0} PCI buses: a segment has 1 to 256")]
    Buses(u16),
    /// The power-management block is not where an ICH9 can have it.
    #[error(
        "the ACPI power-management block cannot be at I/O port {0:#x}: use a multiple of 0x80 that is not 0"
    )]
    PmBase(u16),
    /// An I/O window of the host bridge is impossible.
    #[error(
        "the PCI I/O window {start:#x}-{end:#x} is not possible: it must not be reversed, overlap another or contain the ports 0xcf8-0xcff"
    )]
    IoWindow {
        /// First port.
        start: u16,
        /// Last port.
        end: u16,
    },
    /// A memory window of the host bridge is impossible.
    #[error(
        "the PCI memory window {start:#x}-{end:#x} is not possible: it must not be reversed, overlap another, or leave {limits}"
    )]
    MemoryWindow {
        /// First address.
        start: u64,
        /// Last address.
        end: u64,
        /// The limits of its kind.
        limits: &'static str,
    },
    /// A name that is no ACPI NameSeg.
    #[error(
        "{0:?} is not an ACPI device name: use one to four of A-Z, 0-9 and _, not beginning with a digit"
    )]
    Name(String),
    /// Two devices of one parent have the same name, or a device has the name of a built-in one.
    #[error("the ACPI name {name} is used twice below {parent}; choose another")]
    NameTaken {
        /// The name.
        name: String,
        /// Path of the parent.
        parent: String,
    },
    /// Two PCI functions of one bus have the same address, or one has that of a built-in one.
    #[error("the PCI address {device:02x}.{function:x} below {parent} is used twice; move {name} elsewhere")]
    AddressTaken {
        /// Name of the later device.
        name: String,
        /// Path of the parent.
        parent: String,
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A device or function number that PCI does not have.
    #[error("{name} has the PCI address {device:02x}.{function:x}: devices go up to 1f, functions up to 7")]
    Address {
        /// Name of the device.
        name: String,
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// More bridges below each other than there are buses.
    #[error("the PCI tree below {0} is too deep: a segment has 256 buses")]
    Depth(String),
    /// OEM ids with characters outside of printable ASCII.
    #[error("the OEM ids of the ACPI tables contain characters that are not printable ASCII")]
    Oem,
    /// A user's table with a damaged header.
    #[error("user ACPI table {index} is not usable: {error}")]
    UserTable {
        /// Index in [`crate::Platform::user_tables`].
        index: usize,
        /// What is wrong with it.
        #[source]
        error: TableError,
    },
    /// A video BIOS of no or too many bytes.
    #[error("a video BIOS of {0} bytes cannot be offered by _ROM: 1 to {max} are possible", max = crate::vrom::MAX_IMAGE)]
    VromSize(usize),
    /// A video BIOS for a function that cannot be.
    #[error("there is no place for the video BIOS's _ROM: {reason}")]
    VromPlace {
        /// What is wrong with it.
        reason: String,
    },
    /// An OpRegion of no or too many bytes.
    #[error("an OpRegion of {0} bytes cannot be placed: 1 to {max} are possible", max = crate::opregion::MAX_OPREGION)]
    OpRegionSize(usize),
    /// More tables than OVMF installs.
    #[error("{0} ACPI tables are too many: the firmware installs at most {max}", max = crate::set::MAX_TABLES)]
    TooManyTables(usize),
    /// A table set that outgrew the size announced in the fw_cfg directory.
    #[error(
        "the ACPI {what} need {needed} bytes, but fw_cfg announced {announced}; restart the machine so that the sizes are announced anew"
    )]
    Outgrown {
        /// `tables`, `rsdp`, `loader` or `vrom`.
        what: &'static str,
        /// Bytes in use.
        needed: usize,
        /// Bytes announced.
        announced: usize,
    },
    /// The loader script could not be written: a mistake in this program.
    #[error("the ACPI loader script could not be written: {0}")]
    Script(#[from] ScriptError),
}
