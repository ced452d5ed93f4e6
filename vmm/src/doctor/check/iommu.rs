//! The IOMMU and the kernel's command line.

use super::{Verdict, listed};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;
use crate::doctor::facts::iommu::Iommu;

/// Words that switch off what lending devices needs.
fn switches_off(word: &str) -> bool {
    let (name, values) = word.split_once('=').unwrap_or((word, ""));
    let has = |value: &str| values.split(',').any(|other| other == value);
    match name {
        "iommu" | "amd_iommu" | "intel_iommu" => has("off"),
        "noiommu" => true,
        _ => false,
    }
}

/// Words that switch off the remapping of interrupts.
fn stops_remapping(word: &str) -> bool {
    matches!(word, "intremap=off" | "nointremap")
}

pub(super) fn iommu(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(iommu) = &facts.iommu else { return Vec::new() };
    let source = "/sys/kernel/iommu_groups, /sys/class/iommu, /sys/firmware/acpi/tables";
    if iommu.groups > 0 {
        let units = match iommu.units.as_slice() {
            [] => String::new(),
            units => format!(", {}", listed(units)),
        };
        return vec![Verdict::ok(format!("{} IOMMU groups{units}", iommu.groups), source)];
    }
    let means = "no device can be lent: nothing would keep it to its guest's memory";
    vec![off(facts, iommu, distribution, source, means)]
}

fn off(facts: &Facts, iommu: &Iommu, distribution: Distribution, source: &str, means: &str) -> Verdict {
    let intel = facts.processor.as_ref().is_none_or(|processor| processor.is_intel());
    let words = facts.system.as_ref().map(|system| system.parameters.as_slice()).unwrap_or_default();
    let table = iommu.tables.first();
    if let Some(word) = words.iter().find(|word| switches_off(word)) {
        let found = format!("the IOMMU is off: `{word}` on the kernel's command line");
        return Verdict::blocks(found, source, means).with_fix(distribution.remove_parameter(word));
    }
    let (name, parameter) = if intel { ("VT-d", "intel_iommu=on") } else { ("IOMMU (AMD-Vi)", "iommu=pt") };
    match table {
        None if iommu.tables_known => Verdict::blocks(
            format!("the IOMMU is off: the firmware has no table {}", if intel { "DMAR" } else { "IVRS" }),
            source,
            means,
        )
        .with_fix(format!("switch on {name} in the firmware setup; then {}", distribution.add_parameters(parameter))),
        Some(table) if words.iter().any(|word| word == parameter) => Verdict::blocks(
            format!("there are no IOMMU groups, although the firmware has a table {table} and the command line `{parameter}`"),
            source,
            means,
        )
        .with_fix("`sudo dmesg | grep -e DMAR -e AMD-Vi` tells why; a kernel without CONFIG_INTEL_IOMMU or CONFIG_AMD_IOMMU has none"),
        Some(table) => Verdict::blocks(
            format!("the IOMMU is off in the kernel; the firmware has it on (table {table})"),
            source,
            means,
        )
        .with_fix(distribution.add_parameters(parameter)),
        None => Verdict::blocks("there are no IOMMU groups", source, means)
            .with_fix(format!("switch on {name} in the firmware setup; then {}", distribution.add_parameters(parameter))),
    }
}

pub(super) fn remapping(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(iommu) = facts.iommu.as_ref().filter(|iommu| iommu.groups > 0) else { return Vec::new() };
    let source = "/proc/interrupts";
    let words = facts.system.as_ref().map(|system| system.parameters.as_slice()).unwrap_or_default();
    let stopped = words.iter().find(|word| stops_remapping(word));
    match (iommu.remapping, iommu.unsafe_interrupts.as_slice()) {
        (Some(true), _) => vec![Verdict::ok("interrupts are remapped", source)],
        (None, _) => vec![Verdict::note(
            "whether interrupts are remapped cannot be read",
            source,
            "the kernel lends no device where they are not",
        )],
        (Some(false), []) => {
            let fix = match stopped {
                Some(word) => distribution.remove_parameter(word),
                None => format!(
                    "switch on x2APIC or interrupt remapping in the firmware setup. If you trust your guests: {}",
                    distribution.module_option("vfio_iommu_type1", "allow_unsafe_interrupts=1")
                ),
            };
            vec![
                Verdict::blocks(
                    "interrupts are not remapped",
                    source,
                    "the kernel refuses to lend devices: a guest could send any interrupt to the host",
                )
                .with_fix(fix),
            ]
        }
        (Some(false), modules) => vec![Verdict::warning(
            format!("interrupts are not remapped, and {} lends devices all the same", listed(modules)),
            format!("{source}, allow_unsafe_interrupts"),
            "a guest with a device can send any interrupt to the host: trust it",
        )],
    }
}

/// Words that bear on lending, with what they mean; those that switch the IOMMU off have findings of their own.
const WORDS: [(&str, &str); 7] = [
    ("intel_iommu=igfx_off", "the processor's GPU is behind no IOMMU, and cannot be lent; the dGPU can"),
    (
        "pcie_acs_override",
        "groups are smaller than the hardware's: devices of one slot or port can reach each other unseen, and a guest the host's",
    ),
    ("pcie_aspm=off", "owners report that GPUs could not be given back with it"),
    (
        "nomodeset",
        "no GPU has a display driver: the desktop draws on the firmware's framebuffer, which may be the dGPU's",
    ),
    ("pci=nommconf", "registers of PCI Express are out of reach, and much of a GPU with them"),
    ("vfio_iommu_type1.allow_unsafe_interrupts=1", "devices are lent without interrupt remapping"),
    ("vfio_pci.disable_vga=1", "VGA addresses of lent GPUs are left out, which laptops' GPUs do not need"),
];

pub(super) fn parameters(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(system) = &facts.system else { return Vec::new() };
    let source = "/proc/cmdline";
    let mut verdicts: Vec<_> = system
        .parameters
        .iter()
        .filter_map(|word| {
            let starts = |known: &str| word == known || word.starts_with(&format!("{known}="));
            let (known, means) = WORDS.iter().find(|(known, _)| starts(known))?;
            let verdict = Verdict::warning(format!("`{word}`"), source, *means);
            let harmless = matches!(*known, "intel_iommu=igfx_off" | "vfio_pci.disable_vga=1");
            Some(if harmless {
                Verdict::note(verdict.found, source, *means)
            } else {
                verdict.with_fix(distribution.remove_parameter(word))
            })
        })
        .collect();
    if verdicts.is_empty() {
        let told = |word: &&String| {
            [
                "iommu",
                "intel_iommu",
                "amd_iommu",
                "vfio-pci.ids",
                "i915.enable_gvt",
                "i915.enable_guc",
                "kvm.ignore_msrs",
            ]
            .iter()
            .any(|name| word.split('=').next() == Some(name))
        };
        let words: Vec<_> = system.parameters.iter().filter(told).map(|word| format!("`{word}`")).collect();
        let found = match words.as_slice() {
            [] => "nothing about IOMMU or passthrough".into(),
            words => listed(words),
        };
        verdicts.push(Verdict::ok(found, source));
    }
    verdicts
}
