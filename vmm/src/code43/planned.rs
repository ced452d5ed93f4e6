//! What a driver would find in a planned machine, and what its host says.

use std::path::Path;

use firmware::input;
use firmware::option_rom::{self, Expect, Problem, Severity};
use vocabulary::{AddressRange, Hypervisor as Shown};

use super::condition::key;
use super::driver::KVM;
use super::facts::{
    Bar, Battery, BatteryMode, Facts, Firmware, Gpu, Host, HostBattery, Hypervisor, Ids, Line, Os, Pair,
    RomBar, RomImage, RomMethod, Slot, Window,
};
use crate::config::{self, CpuIdentity, FirmwareKind, RomSource};
use crate::device::{self, Vbios};
use crate::finding::Section;
use crate::host::{HostFiles, HostFunction};
use crate::plan::{MachinePlan, PlannedPassthrough};
use crate::power_supply::PowerSupplies;
use crate::topology::{PciPlan, Role};

/// What the plan alone says.
pub fn facts(plan: &MachinePlan) -> Facts {
    let gpu = gpu_of(plan);
    Facts {
        machine: plan.name.clone(),
        config: plan.origin.file().display().to_string(),
        lines: key::ALL
            .into_iter()
            .filter_map(|key| Some(Line { key: key.to_string(), line: plan.problem(key, "").line()? }))
            .collect(),
        gpu: gpu.and_then(|(index, gpu)| planned_gpu(&plan.pci, index, gpu)),
        rom_method: plan.devices.one::<Vbios>().map(|vbios| rom_method(&plan.pci, vbios)),
        rom_bar: match gpu.map(|(_, gpu)| &gpu.rom) {
            None | Some(RomSource::Off) => RomBar::Off,
            Some(RomSource::Host) => RomBar::Host,
            Some(RomSource::File(_)) => RomBar::File,
        },
        os: match plan.identity.os {
            config::Os::Windows => Os::Windows,
            config::Os::Linux => Os::Linux,
            config::Os::Other => Os::Other,
        },
        hypervisor: hypervisor(&plan.identity),
        battery: Battery {
            mode: match plan.devices.one::<device::Battery>().map(|battery| battery.mode) {
                None => BatteryMode::None,
                Some(device::battery::BatteryMode::Full) => BatteryMode::Full,
                Some(device::battery::BatteryMode::Mirror) => BatteryMode::Mirror,
            },
            host: None,
        },
        chassis: plan.smbios.chassis_type.number(),
        firmware: match plan.firmware.as_ref().map(|firmware| firmware.kind) {
            None => Firmware::None,
            Some(FirmwareKind::Ovmf) => Firmware::Ovmf,
            Some(FirmwareKind::Raw) => Firmware::Raw,
        },
        tables: plan.acpi_tables.len(),
        window: None,
        host: None,
        live: None,
    }
}

/// Adds what the host's files say now. `window` is where the firmware will put large BARs.
pub fn look(facts: &mut Facts, plan: &MachinePlan, files: &HostFiles, window: Option<AddressRange>) {
    facts.window = window.map(|range| Window { base: range.base(), last: range.last() });
    if let (Some(method), Some(vbios)) = (&mut facts.rom_method, plan.devices.one::<Vbios>()) {
        method.image = Some(rom_file(&vbios.file, vbios.expect));
    }
    facts.host = Some(gpu_of(plan).map(|(_, gpu)| host(plan, gpu, files)).unwrap_or_default());
    look_at_battery(facts);
}

/// Takes out what the host's own identity decides, for a plan that was made without it.
pub fn leave_out_identity(facts: &mut Facts, plan: &MachinePlan) {
    if plan.smbios.mirror_host && plan.origin.line_of(key::CHASSIS).is_none() {
        facts.chassis = 0;
    }
}

/// Adds the image that `_ROM` of a running machine returns.
pub fn loaded(facts: &mut Facts, image: &[u8]) {
    if let Some(method) = &mut facts.rom_method {
        let mut expected = method.expected.iter().map(|ids| (ids.vendor, ids.device));
        let first = expected.next();
        let also = expected.next();
        method.image = Some(rom_image(image, first.map(|(vendor, device)| Expect { vendor, device, also })));
    }
}

/// Adds what the host's battery shows now, if the guest's follows it.
pub fn look_at_battery(facts: &mut Facts) {
    if facts.battery.mode == BatteryMode::Mirror {
        let battery = PowerSupplies::of_host().read().battery;
        let discharging = battery.is_some_and(|battery| battery.discharging);
        facts.battery.host = Some(HostBattery { present: battery.is_some(), discharging });
    }
}

/// The GPU of `[dgpu]`: it comes before the functions that accompany it.
fn gpu_of(plan: &MachinePlan) -> Option<(usize, &PlannedPassthrough)> {
    plan.passthrough.iter().enumerate().find(|(_, function)| function.section == Section::Dgpu)
}

fn planned_gpu(pci: &PciPlan, index: usize, gpu: &PlannedPassthrough) -> Option<Gpu> {
    let placed = pci.of_role(Role::Passthrough(index))?;
    let PlannedPassthrough { host, identity, facts, .. } = gpu;
    let slot = |at: vocabulary::Devfn| Slot { device: at.device(), function: at.function() };
    let pair = |(vendor, device)| Pair { vendor, device };
    Some(Gpu {
        host: host.to_string(),
        bus: placed.function.bus,
        at: slot(placed.function.at),
        port: placed.port.map(slot),
        own: facts.as_ref().map(ids),
        vendor: identity.vendor,
        device: identity.device,
        subsystem: identity.subsystem.map(pair),
        driver: facts.as_ref().and_then(|own| own.driver.clone()),
        group: facts.as_ref().and_then(|own| own.iommu_group),
    })
}

fn ids(own: &HostFunction) -> Ids {
    Ids {
        function: Pair { vendor: own.vendor, device: own.device },
        subsystem: Pair { vendor: own.subsystem_vendor, device: own.subsystem },
        class: (own.class >> 8) as u16,
    }
}

fn rom_method(pci: &PciPlan, vbios: &Vbios) -> RomMethod {
    let Vbios { file, guest, ids: _, at, expect } = vbios;
    let ids = expect.iter().flat_map(|expect| [Some((expect.vendor, expect.device)), expect.also]);
    let expected = ids.flatten().map(|(vendor, device)| Pair { vendor, device }).collect();
    let device = acpi_path(pci, at).unwrap_or_else(|| format!("the device of {guest}"));
    RomMethod { device, file: file.display().to_string(), expected, image: None }
}

/// The ACPI device at the end of this way from bus 0, if all of its functions exist.
fn acpi_path(pci: &PciPlan, at: &[(u8, u8)]) -> Option<String> {
    let mut path = "\\_SB.PCI0".to_owned();
    let mut functions = &pci.functions;
    for step in at {
        let here =
            functions.iter().find(|function| (function.at.device(), function.at.function()) == *step)?;
        path.push('.');
        path.push_str(&here.acpi_name);
        functions = &here.children;
    }
    Some(path)
}

fn hypervisor(identity: &CpuIdentity) -> Hypervisor {
    let shown = identity.hypervisor;
    let vendor = shown.vendor(!identity.hyperv.on.is_empty()).map(|vendor| vendor.to_string());
    let kvm = matches!(shown, Shown::Present { kvm: true, .. }).then(|| KVM.to_owned());
    Hypervisor { present: shown != Shown::Absent, names: vendor.into_iter().chain(kvm).collect() }
}

/// What is in the file of a video BIOS.
fn rom_file(path: &Path, expect: Option<Expect>) -> RomImage {
    match input::read(path, option_rom::MAX_SIZE as u64) {
        Ok(bytes) => rom_image(&bytes, expect),
        Err(error) => {
            let unreadable = Some(format!("cannot read {}: {error}", path.display()));
            RomImage { unreadable, ..RomImage::default() }
        }
    }
}

/// What these bytes are as a video BIOS.
pub(super) fn rom_image(bytes: &[u8], expect: Option<Expect>) -> RomImage {
    let rom = match option_rom::parse(bytes) {
        Ok(rom) => rom,
        Err(error) => return RomImage { damage: vec![error.to_string()], ..RomImage::default() },
    };
    let errors = rom.findings(expect).into_iter().filter(|problem| problem.severity() == Severity::Error);
    let (others, damage): (Vec<_>, Vec<_>) =
        errors.partition(|problem| matches!(problem, Problem::OtherDevice { .. }));
    RomImage {
        size: rom.chain(bytes).len(),
        ids: rom.main().map(|main| Pair { vendor: main.vendor, device: main.device }),
        version: rom.label(bytes).version,
        unreadable: None,
        damage: damage.iter().map(ToString::to_string).collect(),
        mismatch: others.first().map(ToString::to_string),
    }
}

fn host(plan: &MachinePlan, gpu: &PlannedPassthrough, files: &HostFiles) -> Host {
    let (Some(address), Some(own)) = (gpu.host.function(), &gpu.facts) else { return Host::default() };
    let ours: Vec<_> = plan.passthrough.iter().filter_map(|device| device.host.function()).collect();
    let culprits = own.iommu_group.map(|group| files.group_users(group, &ours)).unwrap_or_default();
    let answers = files.answers(address).ok();
    Host {
        answers,
        power_state: files.power_state(address),
        resets: files.reset_methods(address),
        culprits: culprits.iter().map(ToString::to_string).collect(),
        bars: files
            .memory_bars(address)
            .into_iter()
            .map(|bar| Bar {
                index: bar.index,
                size: bar.size,
                high: bar.wide && bar.prefetchable,
                base: None,
            })
            .collect(),
    }
}
