//! The checks that let every builder behind them work without failing.

use vocabulary::AddressRange;
use vocabulary::memory::FOUR_GIB;
use vocabulary::ports::PCI_CONFIG;

use super::{FunctionKind, NameSeg, PciFunction, PciRoot, Platform};
use crate::dsdt;
use crate::error::Error;

/// Most CPUs there can be: the DSDT names them with three hexadecimal digits.
pub const MAX_CPUS: usize = 4096;

/// Highest physical address an x86 CPU can have (Intel SDM volume 3, 4.1.4: MAXPHYADDR is at most 52).
pub(super) const HIGHEST_ADDRESS: u64 = (1 << 52) - 1;

/// x2APIC ids from here on are broadcasts or reserved (Intel SDM volume 3, 11.12.9).
const BROADCAST_APIC_ID: u32 = 0xFFFF_FFFF;

/// Buses of a segment.
pub(super) const BUSES: u16 = 256;

/// Bridges below each other: each takes a bus of the 256.
const MAX_DEPTH: usize = 255;

pub(super) fn platform(platform: &Platform) -> Result<(), Error> {
    cpus(platform)?;
    if let Some(ecam) = platform.ecam {
        let aligned = ecam.base.is_multiple_of(1 << 20);
        if !(1..=BUSES).contains(&ecam.buses) || !aligned || ecam.range().is_none() {
            return Err(Error::Ecam { base: ecam.base, buses: ecam.buses });
        }
    }
    if platform.pm_base == 0 || !platform.pm_base.is_multiple_of(0x80) {
        return Err(Error::PmBase(platform.pm_base));
    }
    let oem = platform.oem;
    if !oem.id.iter().chain(&oem.table_id).all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(Error::Oem);
    }
    if let Some(buses) = platform.pci.buses.filter(|buses| !(1..=BUSES).contains(buses)) {
        return Err(Error::Buses(buses));
    }
    windows(&platform.pci)?;
    let root = "\\_SB.PCI0".to_owned();
    functions(&platform.pci.functions, &dsdt::ROOT_BUS_NAMES, &dsdt::ROOT_BUS_ADDRESSES, root, 0)
}

fn cpus(platform: &Platform) -> Result<(), Error> {
    if !(1..=MAX_CPUS).contains(&platform.cpus.len()) {
        return Err(Error::CpuCount(platform.cpus.len()));
    }
    let mut last = None;
    for (uid, cpu) in platform.cpus.iter().enumerate() {
        // Ascending ids are unique ids, and they never give a CPU with an 8-bit APIC id a UID that the
        // 8-bit field of its MADT entry cannot hold.
        if last.is_some_and(|last| cpu.apic_id <= last) {
            return Err(Error::CpuOrder { uid, apic_id: cpu.apic_id });
        }
        if cpu.apic_id == BROADCAST_APIC_ID {
            return Err(Error::CpuBroadcast { uid, apic_id: cpu.apic_id });
        }
        last = Some(cpu.apic_id);
    }
    Ok(())
}

fn windows(pci: &PciRoot) -> Result<(), Error> {
    for (index, window) in pci.io.iter().enumerate() {
        let overlaps = |other: &super::IoRange| window.start <= other.end && other.start <= window.end;
        let config = super::IoRange { start: PCI_CONFIG.first(), end: PCI_CONFIG.last() };
        if window.start > window.end || overlaps(&config) || pci.io.iter().take(index).any(overlaps) {
            return Err(Error::IoWindow { start: window.start, end: window.end });
        }
    }
    memory_windows(&pci.mmio32, (1 << 20, FOUR_GIB - 1), "1 MiB to 4 GiB")?;
    memory_windows(&pci.mmio64, (FOUR_GIB, HIGHEST_ADDRESS), "4 GiB to 2^52")
}

fn memory_windows(
    windows: &[AddressRange],
    (first, last): (u64, u64),
    limits_text: &'static str,
) -> Result<(), Error> {
    for (index, window) in windows.iter().enumerate() {
        let (start, end) = (window.base(), window.last());
        if start < first || end > last || windows.iter().take(index).any(|other| other.overlaps(*window)) {
            return Err(Error::MemoryWindow { start, end, limits: limits_text });
        }
    }
    Ok(())
}

fn functions(
    functions: &[PciFunction],
    names: &[NameSeg],
    addresses: &[(u8, u8)],
    parent: String,
    depth: usize,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth(parent));
    }
    let mut names = names.to_vec();
    let mut addresses = addresses.to_vec();
    for entry in functions {
        let PciFunction { device, function, name, ref kind, aml: _ } = *entry;
        if device > 31 || function > 7 {
            return Err(Error::Address { name: name.to_string(), device, function });
        }
        if names.contains(&name) {
            return Err(Error::NameTaken { name: name.to_string(), parent });
        }
        if addresses.contains(&(device, function)) {
            return Err(Error::AddressTaken { name: name.to_string(), parent, device, function });
        }
        names.push(name);
        addresses.push((device, function));
        if let FunctionKind::Bridge { children } = kind {
            let path = format!("{parent}.{name}");
            self::functions(children, &dsdt::ANY_BUS_NAMES, &[], path, depth.saturating_add(1))?;
        }
    }
    Ok(())
}
