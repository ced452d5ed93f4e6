//! What of the host the numbers depend on. Everything is read from files that anybody may read; what is not there stays unknown.

use statistics::Host;

use crate::host::HostFiles;

/// A TSC that counts at one pace, whatever the processor does.
pub(super) const INVARIANT: &str = "invariant";

/// How busy the host is: over 1, 5 and 15 minutes. To be read before anything is measured, which is load itself.
pub(super) fn load(files: &HostFiles) -> Option<String> {
    let text = files.text("proc/loadavg").ok().filter(|text| !text.is_empty());
    text.map(|load| load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Reads all but the load. `cpu`: the one that is measured on, whose frequency counts; the first policy's if that is open.
pub(super) fn facts(files: &HostFiles, cpu: Option<u32>) -> Host {
    let text = |path: &str| files.text(path).ok().filter(|text| !text.is_empty());
    let frequency = match cpu {
        Some(cpu) => format!("sys/devices/system/cpu/cpu{cpu}/cpufreq"),
        None => "sys/devices/system/cpu/cpufreq/policy0".into(),
    };
    let cpuinfo = text("proc/cpuinfo").unwrap_or_default();
    let cpu = |key: &str| field(&cpuinfo, key).map(str::to_owned);
    let flags = field(&cpuinfo, "flags").unwrap_or_default();
    Host {
        kernel: text("proc/sys/kernel/osrelease").map(|release| format!("Linux {release}")),
        cpu: cpu("model name"),
        cpus: u32::try_from(cpuinfo.lines().filter(|line| line.starts_with("processor")).count())
            .ok()
            .filter(|count| *count > 0),
        microcode: cpu("microcode"),
        kvm: kvm(files),
        iommu: iommu(files),
        governor: text(&format!("{frequency}/scaling_governor")),
        preference: text(&format!("{frequency}/energy_performance_preference")),
        power: power(files),
        clocksource: text("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        tsc: tsc(flags),
        mitigations: mitigations(files),
        huge_pages: huge_pages(files),
        posted_interrupts: posted_interrupts(files),
        load: None,
    }
}

/// The value of a key's first line: `model name : …`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, value)| (name.trim(), value.trim()))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// The vendor's module, and which of its helps are on.
fn kvm(files: &HostFiles) -> Option<String> {
    let (module, helps): (_, &[&str]) = [
        ("kvm_intel", ["ept", "enable_apicv", "vpid", "nested"].as_slice()),
        ("kvm_amd", ["npt", "avic", "vgif", "nested"].as_slice()),
    ]
    .into_iter()
    .find(|(module, _)| !files.names(format!("sys/module/{module}")).is_empty())?;
    let on = |help: &&str| files.module_switch(&format!("{module}/parameters/{help}")) == Some(true);
    let on: Vec<&str> = helps.iter().copied().filter(|help| on(help)).collect();
    Some(match on.as_slice() {
        [] => module.to_owned(),
        on => format!("{module} with {}", on.join(", ")),
    })
}

/// The IOMMUs, and whether devices are in groups.
fn iommu(files: &HostFiles) -> Option<String> {
    let units = files.names("sys/class/iommu");
    let groups = files.names("sys/kernel/iommu_groups").len();
    Some(match units.as_slice() {
        [] => "none".to_owned(),
        [first, ..] => format!("{first} of {}, {groups} groups", units.len()),
    })
}

fn power(files: &HostFiles) -> Option<String> {
    let supplies = files.names("sys/class/power_supply");
    let read =
        |name: &str, attribute: &str| files.text(format!("sys/class/power_supply/{name}/{attribute}")).ok();
    let mains: Vec<_> = supplies
        .iter()
        .filter(|name| read(name, "type").is_some_and(|kind| kind == "Mains" || kind == "USB"))
        .filter_map(|name| read(name, "online"))
        .collect();
    (!mains.is_empty())
        .then(|| if mains.iter().any(|online| online != "0") { "mains" } else { "battery" }.into())
}

/// Whether the TSC keeps its pace, as the kernel has found.
fn tsc(flags: &str) -> Option<String> {
    let has = |flag: &str| flags.split(' ').any(|word| word == flag);
    has("tsc").then(|| match (has("constant_tsc"), has("nonstop_tsc")) {
        (true, true) => INVARIANT.to_owned(),
        (true, false) => "constant, but stops in deep idle states".into(),
        _ => "not invariant".into(),
    })
}

/// What the kernel works against, in a few words.
fn mitigations(files: &HostFiles) -> Option<String> {
    const FOLDER: &str = "sys/devices/system/cpu/vulnerabilities";
    let names = files.names(FOLDER);
    let state = |name: &String| files.text(format!("{FOLDER}/{name}")).unwrap_or_default();
    let with = |start: &str| -> Vec<&str> {
        names.iter().filter(|name| state(name).starts_with(start)).map(String::as_str).collect()
    };
    let (mitigated, vulnerable) = (with("Mitigation"), with("Vulnerable"));
    let listed =
        |what: &str, names: &[&str]| (!names.is_empty()).then(|| format!("{what}: {}", names.join(" ")));
    let told: Vec<String> =
        [listed("mitigated", &mitigated), listed("vulnerable", &vulnerable)].into_iter().flatten().collect();
    (!names.is_empty()).then(|| if told.is_empty() { "none needed".into() } else { told.join("; ") })
}

fn huge_pages(files: &HostFiles) -> Option<String> {
    let transparent = files.text("sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let chosen = transparent.split(['[', ']']).nth(1).unwrap_or(&transparent);
    let set_aside = files.text("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").unwrap_or_default();
    Some(match set_aside.as_str() {
        "" | "0" => format!("transparent: {chosen}"),
        count => format!("transparent: {chosen}; {count} of 2 MiB set aside"),
    })
}

/// Whether interrupts of devices reach a running vCPU without an exit: the processor's part (APICv, AVIC) is KVM's to tell, the
/// IOMMU's is in its capabilities (Intel VT-d specification 4.1, 10.4.2, bit 59).
fn posted_interrupts(files: &HostFiles) -> Option<String> {
    let apic = files
        .module_switch("kvm_intel/parameters/enable_apicv")
        .or_else(|| files.module_switch("kvm_amd/parameters/avic"))?;
    let capabilities = files.text("sys/class/iommu/dmar0/intel-iommu/cap").ok();
    let posts =
        capabilities.and_then(|text| u64::from_str_radix(&text, 16).ok()).map(|bits| bits >> 59 & 1 == 1);
    Some(
        match (apic, posts) {
            (true, Some(true)) => "processor and IOMMU",
            (true, Some(false)) => "processor only",
            (true, None) => "processor; the IOMMU's part is not told",
            (false, _) => "no",
        }
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host(files: &[(&str, &str)]) -> Host {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = HostFiles::at(folder.path());
        Host { load: load(&files), ..facts(&files, None) }
    }

    #[test]
    fn the_measured_cpus_governor_counts() {
        let folder = tempfile::tempdir().unwrap();
        for (cpufreq, governor) in [("cpufreq/policy0", "powersave"), ("cpu4/cpufreq", "performance")] {
            let path = folder.path().join("sys/devices/system/cpu").join(cpufreq);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("scaling_governor"), format!("{governor}\n")).unwrap();
        }
        let files = HostFiles::at(folder.path());
        assert_eq!(facts(&files, Some(4)).governor.as_deref(), Some("performance"));
        assert_eq!(facts(&files, None).governor.as_deref(), Some("powersave"));
        assert_eq!(facts(&files, Some(5)).governor, None);
    }

    #[test]
    fn a_laptop_is_described() {
        let found = host(&[
            ("proc/sys/kernel/osrelease", "6.12.41\n"),
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7-11800H\nmicrocode\t: 0x50\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n\nprocessor\t: 1\n",
            ),
            ("sys/module/kvm_intel/parameters/ept", "Y\n"),
            ("sys/module/kvm_intel/parameters/enable_apicv", "Y\n"),
            ("sys/module/kvm_intel/parameters/nested", "N\n"),
            ("sys/class/iommu/dmar0/intel-iommu/cap", "c9de008cee690462\n"),
            ("sys/kernel/iommu_groups/0/type", "DMA\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n"),
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/AC/online", "0\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: Enhanced IBRS\n"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
            ("proc/loadavg", "0.10 0.20 0.30 1/200 3000\n"),
        ]);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            Host {
                kernel: some("Linux 6.12.41"),
                cpu: some("Intel(R) Core(TM) i7-11800H"),
                cpus: Some(2),
                microcode: some("0x50"),
                kvm: some("kvm_intel with ept, enable_apicv"),
                iommu: some("dmar0 of 1, 1 groups"),
                governor: some("powersave"),
                preference: None,
                power: some("battery"),
                clocksource: None,
                tsc: some("invariant"),
                mitigations: some("mitigated: spectre_v2"),
                huge_pages: some("transparent: madvise; 512 of 2 MiB set aside"),
                posted_interrupts: some("processor and IOMMU"),
                load: some("0.10 0.20 0.30"),
            }
        );
    }

    #[test]
    fn nothing_is_invented() {
        assert_eq!(host(&[]), Host { iommu: Some("none".into()), ..Host::default() });
    }
}
