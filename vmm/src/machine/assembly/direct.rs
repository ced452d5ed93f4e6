//! Starts the kernel without firmware: does what firmware would have done before it, through the guest's own buses, so
//! that every device sees what it would see from firmware. Done again at each reset.

use std::sync::Arc;

use ::acpi::loader::{Executed, Zone, execute};
use devices::fw_cfg::FwCfg;
use devices::pci::RootComplex;
use firmware::direct::entry::Entry;
use firmware::direct::kernel::{DirectKernel, Handover};
use firmware::direct::memory_map::memory_map;
use firmware::direct::pci::{self, Bar, ConfigAccess};
use firmware::direct::tables::TableRoom;
use firmware::direct::{chipset, mtrr};
use firmware::fw_cfg::smbios;
use vm_memory::{Bytes, GuestAddress};
use vocabulary::{AddressRange, PciAddress, ports};

use super::acpi::{self, CpuFacts};
use super::build::Board;
use crate::cpu::cpuid::Supported;
use crate::events::{Event, EventLog, Milestone};
use crate::outcome::{Failure, TablesError};
use crate::plan::MachinePlan;

/// A kernel that starts without firmware, and what has to be known of the machine for that.
pub(in crate::machine) struct Direct {
    kernel: DirectKernel,
    plan: Arc<MachinePlan>,
    cpu: CpuFacts,
}

/// Configuration cycles, as firmware makes them.
struct Cycles<'a>(&'a RootComplex);

impl ConfigAccess for Cycles<'_> {
    fn read(&self, at: PciAddress, register: u16, bytes: u8) -> u32 {
        let mut data = [0; 4];
        if let Some(data) = data.get_mut(..bytes.into()) {
            self.0.config_read(at, register, data);
        }
        u32::from_le_bytes(data)
    }

    fn write(&self, at: PciAddress, register: u16, value: u32, bytes: u8) {
        if let Some(data) = value.to_le_bytes().get(..bytes.into()) {
            // No register that is written here asks for more than a device does itself.
            let _ = self.0.config_write(at, register, data);
        }
    }
}

impl Direct {
    pub(in crate::machine) fn new(
        kernel: DirectKernel,
        plan: &Arc<MachinePlan>,
        supported: &Supported,
    ) -> Self {
        Self { kernel, plan: Arc::clone(plan), cpu: CpuFacts::new(supported, plan) }
    }

    /// Memory types of each processor, as model-specific registers and their values.
    pub(in crate::machine) fn memory_types(&self) -> Vec<(u32, u64)> {
        mtrr::registers(self.cpu.physical_bits, self.high_window())
    }

    /// What functions are given above 4 GiB.
    fn high_window(&self) -> Option<AddressRange> {
        let [_, newest] = acpi::expected_windows(&self.plan, self.cpu);
        newest
    }

    /// Sets up chipset and devices, puts tables, kernel and initrd into guest memory, and tells how the boot processor
    /// begins. All devices are in their power-on state.
    ///
    /// # Errors
    /// A file has changed or can no longer be read, or the tables need more memory than is set aside for them.
    pub(in crate::machine) fn start(&self, board: &Board) -> Result<Entry, Failure> {
        let cycles = Cycles(&board.devices.root);
        chipset::set_up(&cycles);
        translate_keys(board);
        let low_ram_end = self.plan.memory.low.last().saturating_add(1);
        let resources = pci::set_up(&cycles, &chipset::apertures(low_ram_end, self.high_window()));
        for (at, Bar { register, size, .. }) in resources.missing {
            devices::limited_warn!(
                "{at} has no addresses for the {size:#x} bytes of its register {register:#x}: there is no room left"
            );
        }
        let mut room = TableRoom::new(low_ram_end);
        let tables = install(&board.devices.fw_cfg, &mut room)?;
        let smbios = smbios_tables(&board.devices.fw_cfg, &mut room)?;
        let blobs = tables
            .blobs
            .iter()
            .map(|blob| (blob.base, &blob.bytes))
            .chain(smbios.iter().map(|(base, bytes)| (*base, bytes)));
        for (base, bytes) in blobs {
            board.ram.write_slice(bytes, GuestAddress(base)).map_err(TablesError::from)?;
        }
        let memory = memory_map(low_ram_end, self.plan.memory.high, room.used(), &self.reserved());
        let rsdp = tables.blob(::acpi::RSDP_FILE).map_or(0, |blob| blob.base);
        Ok(self.kernel.load(&board.ram, &Handover { memory: &memory, rsdp })?)
    }

    /// What is no RAM and not for devices either.
    fn reserved(&self) -> Vec<AddressRange> {
        let fixed = acpi::reserved(self.cpu).into_iter();
        fixed.filter_map(|range| AddressRange::new(range.base, range.length)).chain(chipset::ecam()).collect()
    }
}

impl Board {
    /// Readies a kernel that starts without firmware, if there is one, and says how the boot processor begins.
    ///
    /// # Errors
    /// See [`Direct::start`].
    pub(in crate::machine) fn start_directly(&self, events: &EventLog) -> Result<Option<Entry>, Failure> {
        let entry = self.direct.as_ref().map(|direct| direct.start(self)).transpose()?;
        if entry.is_some() {
            events.reach(Milestone::KernelHandedOver, || Event::KernelHandedOver);
        }
        Ok(entry)
    }
}

/// Leaves the keyboard controller as OVMF does: it translates scan codes to set 1, which PCs are known by (edk2
/// OvmfPkg/Library/PlatformBootManagerLib; IBM PS/2 Hardware Interface Technical Reference, keyboard controller).
fn translate_keys(board: &Board) {
    /// Interrupts of keyboard and mouse, system flag, mouse off until its driver comes, translation.
    const COMMAND_BYTE: u8 = 0x67;
    const WRITE_COMMAND_BYTE: u8 = 0x60;
    let mut io = board.io.view();
    // What the keyboard says after power-on: firmware takes it.
    io.read(ports::I8042_DATA.first().into(), &mut [0]);
    for (ports, value) in [(ports::I8042_COMMAND, WRITE_COMMAND_BYTE), (ports::I8042_DATA, COMMAND_BYTE)] {
        // The controller resets the machine by other commands only.
        let _ = io.write(ports.first().into(), &[value]);
    }
}

/// Does what the table-loader script says.
fn install(fw_cfg: &FwCfg, room: &mut TableRoom) -> Result<Executed, TablesError> {
    let file = |name: &str| fw_cfg.file(name).and_then(Result::ok);
    let script = file(::acpi::LOADER_FILE).unwrap_or_default();
    let place = |size: usize, align, zone| room.place(size as u64, align, zone == Zone::FSegment);
    let executed = execute(&script, file, place)?;
    for pointer in &executed.pointers {
        if !fw_cfg.write_file(&pointer.file, pointer.offset, &pointer.bytes) {
            return Err(TablesError::Address(pointer.file.clone()));
        }
    }
    Ok(executed)
}

/// The SMBIOS tables and the entry point that leads to them.
fn smbios_tables(fw_cfg: &FwCfg, room: &mut TableRoom) -> Result<[(u64, Vec<u8>); 2], TablesError> {
    let tables = fw_cfg.file(smbios::TABLES_FILE).and_then(Result::ok).unwrap_or_default();
    let lack = || TablesError::Smbios(tables.len());
    let base = room.place(tables.len() as u64, 16, false).ok_or_else(lack)?;
    let anchor = smbios::anchor(u32::try_from(tables.len()).map_err(|_| lack())?, base);
    let entry_point = room.place(anchor.len() as u64, 16, true).ok_or_else(lack)?;
    Ok([(base, tables), (entry_point, anchor.to_vec())])
}
