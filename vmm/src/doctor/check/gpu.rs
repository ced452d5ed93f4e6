//! The GPU itself: power, resets, functions, memory, IDs, video BIOS.

use super::{Verdict, function, listed};
use crate::code43::{NVIDIA, has_own_rom};
use crate::doctor::distribution::{Distribution, Package};
use crate::doctor::facts::Facts;
use crate::doctor::facts::modules::Module;
use vocabulary::ByteSize;

pub(super) fn power(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let at = function(gpu.address);
    let state = gpu.power_state.as_deref().unwrap_or("an unknown state");
    let status = gpu.runtime.as_deref().unwrap_or("unknown");
    let found = format!("{state}, runtime status {status}");
    let source = format!("{at}/power_state, power/runtime_status");
    vec![match (gpu.answers, status) {
        (Some(false), _) => Verdict::blocks(
            format!("the GPU reads all ones ({found})"),
            format!("{at}/config"),
            "it has no power or has left the bus, and cannot be lent",
        )
        .with_fix(format!(
            "turn off what powers it down (bbswitch, acpi_call, a vendor's switch), `echo on | sudo tee {at}/power/control`, and if that does not bring it \
             back switch the host off and on"
        )),
        (_, "error") => Verdict::warning(
            format!("the kernel failed to change the GPU's power state ({found})"),
            source,
            "a GPU that does not wake is lost until a reboot",
        )
        .with_fix(format!("`echo on | sudo tee {at}/power/control`, and `sudo dmesg | grep {}`", gpu.address)),
        (None, "suspended" | "suspending") => Verdict::ok(format!("the GPU sleeps ({found}), and was not woken"), source),
        (None, _) => Verdict::note(
            format!("whether the GPU answers cannot be read ({found})"),
            format!("{at}/config"),
            "a start looks again",
        ),
        (Some(true), _) => Verdict::ok(format!("the GPU answers ({found})"), source),
    }]
}

pub(super) fn reset(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let source = format!("{}/reset_method", function(gpu.address));
    let alone = gpu.slot.iter().filter(|function| !function.is_bridge()).count() == 1;
    vec![match gpu.resets.as_deref() {
        None => Verdict::note(
            "the kernel knows no way to reset the GPU, or does not tell (Linux before 5.15)",
            source,
            "between guests it is reset by its bus, if all of its functions are lent; a driver in the second guest may not start",
        )
        .with_fix("leave `functions` in [dgpu] at `\"all\"`; if a second start fails, suspend the host once or reboot it"),
        Some(methods) if methods.split(' ').any(|method| method == "flr") => {
            Verdict::ok(format!("the GPU can be reset alone ({methods})"), source)
        }
        Some(methods) if methods.split(' ').any(|method| method == "bus") && alone => {
            Verdict::ok(format!("the GPU is reset by its bus ({methods}), where it is alone"), source)
        }
        Some(methods) if methods.split(' ').any(|method| method == "bus") => Verdict::ok(
            format!("the GPU is reset by its bus ({methods}), together with the other functions of its slot"),
            source,
        ),
        Some("pm") => Verdict::note(
            "the GPU is reset by its power state only (pm)",
            source,
            "that resets little: a bus reset is tried first, if all functions of the slot are lent",
        ),
        Some(methods) => Verdict::ok(format!("the GPU can be reset ({methods})"), source),
    }]
}

pub(super) fn functions(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let what = |kind: u32| match kind {
        0x0300 => "VGA",
        0x0302 => "3D controller",
        0x0380 => "display controller",
        0x0403 => "audio",
        0x0c03 => "USB",
        0x0c80 => "USB-C",
        _ => "another device",
    };
    let list: Vec<_> = gpu
        .slot
        .iter()
        .map(|function| {
            format!(".{} {} ({})", function.address.function(), function.ids(), what(function.kind()))
        })
        .collect();
    let alone = if gpu.slot.len() == 1 { "; no audio function: laptops often switch it off" } else { "" };
    vec![Verdict::ok(format!("{}{alone}", list.join(", ")), function(gpu.address))]
}

pub(super) fn bars(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    const GIB: u64 = 1 << 30;
    let Some(gpu) = facts.gpu().filter(|gpu| !gpu.bars.is_empty()) else { return Vec::new() };
    let bits = facts.processor.as_ref().and_then(|processor| processor.physical_bits);
    let list: Vec<_> =
        gpu.bars.iter().map(|(index, size)| format!("BAR{index} {}", ByteSize::from_bytes(*size))).collect();
    let width = bits.map(|bits| format!("; physical addresses have {bits} bits")).unwrap_or_default();
    let source = format!("{}/resource, /proc/cpuinfo", function(gpu.address));
    let largest = gpu.bars.iter().map(|(_, size)| *size).max().unwrap_or_default();
    vec![if largest >= 4 * GIB {
        Verdict::note(
            format!("{}{width}", listed(&list)),
            source,
            "Resizable BAR is on: the guest needs a large window above 4 GiB, which OVMF has on processors with 39 bits of addresses and more; `optimus-vmm \
             plan` says whether it fits",
        )
    } else {
        Verdict::ok(format!("{}{width}", listed(&list)), source)
    }]
}

pub(super) fn subsystem(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let Some(own) = gpu.function() else { return Vec::new() };
    let Some((vendor, device)) = own.subsystem else { return Vec::new() };
    let source = format!("{}/subsystem_vendor, subsystem_device", function(gpu.address));
    if vendor == 0 || device == 0 {
        return vec![
            Verdict::warning(
                format!("the GPU's subsystem reads {vendor:04x}:{device:04x}"),
                source,
                "Windows chooses no driver for a GPU that names no laptop",
            )
            .with_fix(format!(
                "write `subsystem = \"VENDOR:DEVICE\"` in [dgpu]: the laptop's, which Windows on it shows in the Device Manager as SUBSYS_DDDDVVVV. `lspci -nnk -s {}` \
                 may show it once a driver has initialised the GPU",
                gpu.address
            )),
        ];
    }
    let zero: Vec<_> = gpu
        .slot
        .iter()
        .filter(|other| {
            other.address != own.address
                && other.subsystem.is_some_and(|(vendor, device)| vendor == 0 || device == 0)
        })
        .map(|other| other.address)
        .collect();
    let rest = match zero.as_slice() {
        [] => String::new(),
        zero => {
            format!("; {} read{} zero, as is usual", listed(zero), if zero.len() == 1 { "s" } else { "" })
        }
    };
    vec![Verdict::ok(format!("{vendor:04x}:{device:04x}{rest}"), source)]
}

pub(super) fn vbios(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let Some(own) = gpu.function().filter(|own| own.vendor == NVIDIA) else { return Vec::new() };
    let source = format!("class, device and rom in {}", function(gpu.address));
    if has_own_rom(own.device) {
        let found = format!("{} is of Turing or later, with a video BIOS of its own", own.ids());
        return vec![Verdict::ok(format!("{found}: `vbios` in [dgpu] is not needed"), source)];
    }
    let acpi_call = facts.system.as_ref().map_or(Module::Unknown, |system| system.module("acpi_call"));
    let rom = match (gpu.rom, own.kind()) {
        (true, _) => "it has a ROM BAR, which may be empty",
        (false, 0x0302) => "it has no ROM BAR, as is usual without outputs",
        (false, _) => "it has no ROM BAR",
    };
    let dump = format!(
        "`sudo optimus-vmm vbios dump --host {}` (the ROM BAR, then the host's ACPI method _ROM)",
        gpu.address
    );
    let install = match acpi_call {
        Module::Present | Module::Available => String::new(),
        Module::Absent => {
            format!(", for which acpi_call is missing here: {}", distribution.install(Package::AcpiCall))
        }
        Module::Unknown => {
            format!(", which needs the module acpi_call: {}", distribution.install(Package::AcpiCall))
        }
    };
    let find = "`optimus-vmm vbios find` with the vendor's BIOS update, or with the file SYSTEM of Windows' registry on this laptop";
    vec![
        Verdict::note(
            format!("{} is from before Turing; {rom}", own.ids()),
            source,
            match own.kind() {
                0x0302 => "the guest's driver gets the video BIOS by `vbios` in [dgpu], and needs it",
                _ => "the guest's driver gets the video BIOS by `vbios` in [dgpu], and needs it where the GPU's own ROM is missing or empty",
            },
        )
        .with_fix(format!("in this order: 1. {dump}{install}; 2. {find}. docs/vbios.md tells more")),
    ]
}
