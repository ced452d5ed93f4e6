//! Processors, KVM, and what costs guests time.

use super::Verdict;
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::modules::Module;
use crate::doctor::facts::{Facts, Processor};

pub(super) fn virtualization(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(processor) = &facts.processor else { return Vec::new() };
    let source = "/proc/cpuinfo";
    let model = match processor.model.as_str() {
        "" => "the processor",
        model => model,
    };
    vec![match processor.extension.as_deref() {
        Some(extension) => {
            let inside = if processor.guest { "; the host is a virtual machine itself" } else { "" };
            Verdict::ok(
                format!("{model} has {}{inside}", if extension == "vmx" { "VT-x" } else { "AMD-V" }),
                source,
            )
        }
        // A KVM without hardware below it, as clouds have.
        None if processor.registered && processor.trouble.is_none() => Verdict::warning(
            format!("{model} shows neither VT-x nor AMD-V, and yet there is a KVM"),
            source,
            "such a KVM runs some guests and no firmware: a machine tells when it starts",
        )
        .with_fix("run on a host of its own, or on one whose cloud offers nested virtualization"),
        None => Verdict::blocks(
            format!("{model} shows neither VT-x nor AMD-V"),
            source,
            "no guest runs: it is switched off in the firmware setup, or the processor has none",
        )
        .with_fix(if processor.is_intel() {
            "switch on Intel Virtualization Technology (VT-x) in the firmware setup"
        } else {
            "switch on SVM Mode (AMD-V) in the firmware setup"
        }),
    }]
}

pub(super) fn kvm(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(processor) = &facts.processor else { return Vec::new() };
    let module = if processor.is_intel() { "kvm_intel" } else { "kvm_amd" };
    let source = if processor.asked { "/dev/kvm, asked" } else { "/dev/kvm" };
    let load = format!("`sudo modprobe {module}`, which `sudo dmesg | tail` explains if it fails");
    vec![match &processor.trouble {
        _ if !processor.node => {
            let state = facts.system.as_ref().map_or(Module::Unknown, |system| system.module(module));
            let why = match state {
                Module::Absent => format!("there is no /dev/kvm, and this kernel has no module {module}"),
                _ => "there is no /dev/kvm".to_owned(),
            };
            Verdict::blocks(why, source, "no machine starts").with_fix(match state {
                Module::Absent => "use your distribution's own kernel, or build yours with CONFIG_KVM; after an update of the kernel, reboot".into(),
                _ => load,
            })
        }
        Some(trouble) => {
            // The message ends with what to do.
            let (why, cure) = trouble.split_once(": ").unwrap_or((trouble, "see docs/host.md"));
            Verdict::blocks(why, source, "no machine starts").with_fix(cure)
        }
        None if processor.asked => Verdict::ok("KVM has all that machines need", source),
        None => Verdict::ok("there is a /dev/kvm", source),
    }]
}

pub(super) fn apic(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(processor) = facts.processor.as_ref().filter(|processor| processor.apic_known) else {
        return Vec::new();
    };
    let (name, source) = match processor.is_intel() {
        true => ("APICv", "/sys/module/kvm_intel/parameters/enable_apicv"),
        false => ("AVIC", "/sys/module/kvm_amd/parameters/avic"),
    };
    vec![match (processor.apic, processor.ipis) {
        (true, true) => Verdict::ok(format!("{name}, also for interrupts between vCPUs"), source),
        (true, false) => Verdict::ok(name, source),
        (false, _) if processor.is_intel() => Verdict::note(
            format!("no {name}"),
            source,
            "interrupts reach guests a little later; many laptops' processors have none",
        ),
        (false, _) => Verdict::note(
            format!("no {name}"),
            source,
            "interrupts reach guests a little later; many kernels leave it off",
        )
        .with_fix(distribution.module_option("kvm_amd", "avic=1")),
    }]
}

pub(super) fn msrs(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(value) = facts.processor.as_ref().and_then(|processor| processor.ignore_msrs) else {
        return Vec::new();
    };
    let source = "/sys/module/kvm/parameters/ignore_msrs";
    vec![match value {
        true => Verdict::note(
            "KVM ignores unknown registers of all guests",
            source,
            "machines need not set `msrs`, and cannot count or refuse such accesses",
        ),
        false => Verdict::ok("each machine decides by `msrs` what unknown registers do", source),
    }]
}

pub(super) fn split_lock(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(value) = facts.processor.as_ref().and_then(|processor| processor.split_lock.as_deref()) else {
        return Vec::new();
    };
    let source = "/proc/sys/kernel/split_lock_mitigate";
    vec![match (value, facts.parameter("split_lock_detect")) {
        ("0", _) | (_, Some("off")) => Verdict::ok("split locks are not slowed down", source),
        _ => Verdict::note(
            "threads that lock memory across cache lines are slowed down",
            source,
            "some games and copy protections in Windows stutter badly; others do not notice",
        )
        .with_fix(distribution.sysctl("kernel.split_lock_mitigate=0")),
    }]
}

/// Whether the driver chooses frequencies by itself, and the governor's name means little.
fn is_autonomous(driver: &str) -> bool {
    driver == "intel_pstate" || driver.starts_with("amd-pstate") || driver.starts_with("amd_pstate")
}

pub(super) fn governor(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(Processor { governor: Some((driver, governor)), preference, .. }) = &facts.processor else {
        return Vec::new();
    };
    let source = "/sys/devices/system/cpu/cpu0/cpufreq";
    let preference = preference.as_ref().map(|word| format!(", preference {word}")).unwrap_or_default();
    let found = format!("{driver}, governor {governor}{preference}");
    let saves = governor == "powersave" && !is_autonomous(driver) || preference.ends_with(" power");
    vec![match saves {
        true => Verdict::note(found, source, "processors stay slow to save power, guests' too")
            .with_fix("`sudo cpupower frequency-set -g performance`, or `powerprofilesctl set performance`, for the time of a run"),
        false => Verdict::ok(found, source),
    }]
}

pub(super) fn clocksource(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(name) = facts.processor.as_ref().and_then(|processor| processor.clocksource.as_deref()) else {
        return Vec::new();
    };
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    vec![match name {
        "tsc" => Verdict::ok("the TSC", source),
        // A virtual host's own.
        "kvm-clock" | "hyperv_clocksource_tsc_page" => Verdict::ok(name, source),
        other => Verdict::warning(
            format!("the host reads the time from {other}, not from the TSC"),
            source,
            "guests leave to the host each time they read the clock, which costs games much",
        )
        .with_fix("`sudo dmesg | grep -i -e tsc -e clocksource` tells why; a newer firmware, or `tsc=reliable` on the kernel's command line, has helped others"),
    }]
}
