//! What the firmware reads through fw_cfg: memory map, CPUs, SMBIOS, boot order, kernel, the user's items, and the ACPI
//! tables, which are made when the firmware asks for them, after it has placed ECAM and BARs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::GuestRam;
use devices::chipset::Mch;
use devices::display::Ramfb;
use devices::fw_cfg::{FwCfg, FwCfgBuilder, Observer, keys};
use devices::pci::{RootComplex, Space};
use firmware::fw_cfg::e820::{Range, e820};
use firmware::fw_cfg::kernel::KernelHandoff;
use firmware::fw_cfg::smbios::{self, Smbios};
use firmware::fw_cfg::system_states;
use vocabulary::AddressRange;
use vocabulary::fw_cfg::Content;

use super::acpi::{self, CpuFacts};
use super::boot_order;
use crate::cpu::cpuid::Supported;
use crate::device::screen;
use crate::events::{Event, EventLog, Milestone};
use crate::machine::files::additions::Additions;
use crate::machine::passthrough::OpRegion;
use crate::outcome::Failure;
use crate::plan::{MachinePlan, verify};

/// What does not follow from the plan.
pub(in crate::machine) struct Extras {
    /// The user's files behind the ACPI tables.
    pub additions: Additions,
    /// What the firmware is to start.
    pub kernel: Option<KernelHandoff>,
    /// The user's items, by name.
    pub items: Vec<(String, Box<dyn Content>)>,
    /// What devices tell the firmware, by name.
    pub firmware_files: Vec<(&'static str, Vec<u8>)>,
    /// What the machine says of itself.
    pub smbios: Smbios,
    /// The display GPU's OpRegion.
    pub opregion: Option<OpRegion>,
}

/// Builds the device with everything in it.
pub(in crate::machine) fn build(
    plan: &Arc<MachinePlan>,
    supported: &Supported,
    live: Live,
    extras: Extras,
    ram: &GuestRam,
    events: &EventLog,
) -> Result<Arc<FwCfg>, Failure> {
    let cpu = CpuFacts::new(supported, plan);
    let cpus = u16::try_from(plan.apic_ids.len()).unwrap_or(u16::MAX);
    let highest = plan.apic_ids.iter().max().copied().unwrap_or(0);
    let mut builder = FwCfgBuilder::new()
        .u16(keys::NB_CPUS, cpus)
        .u16(keys::MAX_CPUS, u16::try_from(highest + 1).unwrap_or(u16::MAX))
        .u16(keys::BOOT_MENU, u16::from(plan.machine.boot_menu > 0))
        .file("etc/e820", memory_map(plan, cpu)?)
        .file("etc/system-states", system_states().to_vec());
    // Without firmware only drivers of the guest's read, whose progress is their own.
    if plan.firmware.is_some() {
        builder = builder.observer(Arc::new(Milestones(events.clone())));
    }
    if plan.machine.boot_menu > 0 {
        let milliseconds = u16::try_from(plan.machine.boot_menu.saturating_mul(1000)).unwrap_or(u16::MAX);
        builder = builder.file("etc/boot-menu-wait", milliseconds.to_le_bytes().to_vec());
    }
    if let Some(order) = boot_order::of(plan) {
        builder = builder.file("bootorder", order);
    }
    let Extras { mut additions, kernel, items, firmware_files, smbios, opregion } = extras;
    let Smbios { anchor, tables } = smbios;
    builder = builder.file(smbios::ANCHOR_FILE, anchor.to_vec()).file(smbios::TABLES_FILE, tables);
    if let Some(kernel) = kernel {
        builder = with_kernel(builder, kernel);
    }
    builder = screen::offer(builder, live.ramfb.as_ref());
    for (name, content) in firmware_files {
        builder = builder.file(name, content);
    }
    for (name, content) in items {
        builder = builder.file(&name, content);
    }
    if let Some(OpRegion { bytes, placed }) = opregion {
        // Firmware places a copy by the table loader; an option ROM may make one of its own from the first file.
        let size = ::acpi::OPREGION_ADDRESS_SIZE as u16;
        builder = builder.file("etc/igd-opregion", bytes.to_vec()).writable(
            ::acpi::OPREGION_ADDRESS_FILE,
            size,
            placed,
        );
        additions.opregion = Some(bytes);
    }
    let tables = Tables { plan: Arc::clone(plan), cpu, live, additions };
    builder = tables.announce(builder)?;
    Ok(builder.build(ram.clone())?)
}

fn memory_map(plan: &MachinePlan, cpu: CpuFacts) -> Result<Vec<u8>, Failure> {
    let high = plan.memory.high.map(|range| Range { base: range.base(), length: range.len() });
    Ok(e820(plan.memory.low.len(), high, &acpi::reserved(cpu))?)
}

fn with_kernel(builder: FwCfgBuilder, handoff: KernelHandoff) -> FwCfgBuilder {
    let size = |content: &dyn Content| content.len();
    // The numbered items are what every OVMF reads; newer ones look for files first and find none.
    let mut builder = builder
        .u32(keys::SETUP_SIZE, size(&handoff.setup))
        .item(keys::SETUP_DATA, handoff.setup)
        .u32(keys::KERNEL_SIZE, size(&handoff.kernel))
        .item(keys::KERNEL_DATA, handoff.kernel)
        .u32(keys::CMDLINE_SIZE, size(&handoff.cmdline))
        .item(keys::CMDLINE_DATA, handoff.cmdline);
    if let Some(initrd) = handoff.initrd {
        builder = builder.initrd(initrd);
    }
    builder
}

/// Where to look for what the firmware has programmed, and where it programs more.
pub(in crate::machine) struct Live {
    /// For the picture that it shows.
    pub ramfb: Option<Arc<Ramfb>>,
    /// For PCIEXBAR.
    pub mch: Arc<Mch>,
    /// For BARs and bridge windows.
    pub root: Arc<RootComplex>,
}

impl Live {
    fn look(&self) -> acpi::Firmware {
        let bars = self
            .root
            .decoded()
            .into_iter()
            .filter(|(space, _)| *space == Space::Memory)
            .map(|(_, range)| range);
        let bridges = self.root.bridges();
        let last_bus = bridges.iter().map(|(_, forwarding)| forwarding.subordinate).max().unwrap_or(0);
        let windows = bridges.into_iter().flat_map(|(_, forwarding)| forwarding.memory);
        let claimed: Vec<AddressRange> = bars.chain(windows).collect();
        acpi::Firmware { ecam: self.mch.ecam(), claimed, last_bus }
    }
}

/// The ACPI tables, made anew whenever firmware starts.
struct Tables {
    plan: Arc<MachinePlan>,
    cpu: CpuFacts,
    live: Live,
    additions: Additions,
}

impl Tables {
    fn announce(self, builder: FwCfgBuilder) -> Result<FwCfgBuilder, Failure> {
        let sizes = ::acpi::sizes(&self.platform(&acpi::Firmware::default())?)?;
        let size = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let files = [
            (::acpi::LOADER_FILE, size(sizes.loader)),
            (::acpi::TABLES_FILE, size(sizes.tables)),
            (::acpi::RSDP_FILE, size(sizes.rsdp)),
            (::acpi::VROM_FILE, size(sizes.vrom)),
            (::acpi::OPREGION_FILE, size(sizes.opregion)),
        ];
        // A file of no bytes could not be loaded, and nothing asks for it.
        let there = files.map(|(_, size)| size > 0);
        let files: Vec<_> = files.into_iter().filter(|(_, size)| *size > 0).collect();
        let told = AtomicBool::new(false);
        let provider = Box::new(move || {
            self.verify(&told);
            let set = self
                .platform(&self.live.look())
                .and_then(|platform| ::acpi::build(&platform)?.fit(sizes))
                .map_err(Box::new)?;
            let files = [set.loader, set.tables, set.rsdp, set.vrom, set.opregion];
            Ok(files.into_iter().zip(there).filter_map(|(file, there)| there.then_some(file)).collect())
        });
        Ok(builder.lazy(&files, provider))
    }

    /// Compares the buses that the firmware has numbered with the plan, by which the tables name devices and the user
    /// has chosen addresses. A guest can ask for the tables as often as it likes, but is told of once.
    fn verify(&self, told: &AtomicBool) {
        let differences = verify::bus_numbers(&self.plan, &self.live.root.bridges());
        if !differences.is_empty() && !told.swap(true, Ordering::Relaxed) {
            for difference in differences {
                tracing::error!(
                    "{difference}. Another firmware image may number buses as planned (`code` in [firmware])"
                );
            }
        }
    }

    fn platform(&self, firmware: &acpi::Firmware) -> Result<::acpi::Platform, ::acpi::Error> {
        acpi::platform(&self.plan, self.cpu, firmware, &self.additions)
    }
}

/// Tells the event log how far the firmware is.
struct Milestones(EventLog);

impl Observer for Milestones {
    fn first_read(&self) {
        self.0.reach(Milestone::FirmwareFwCfg, || Event::FirmwareFwCfg);
    }

    fn selected(&self, name: &str) {
        if name == ::acpi::LOADER_FILE {
            self.0.reach(Milestone::TableLoader, || Event::TableLoader);
        }
    }

    fn kernel_read(&self) {
        self.0.reach(Milestone::KernelHandedOver, || Event::KernelHandedOver);
    }
}
