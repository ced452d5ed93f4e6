//! The processors and KVM.

use serde::{Deserialize, Serialize};
use vocabulary::CpuList;

use crate::host::{HostCpu, HostFacts, HostFiles};
use crate::kvm;

/// Cores that are online, whatever the threads of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Cores {
    /// Those of the fast kind; all of a processor that has one kind.
    pub(in crate::doctor) fast: u32,
    /// A hybrid processor's E cores.
    pub(in crate::doctor) slow: u32,
}

/// Processors, and what KVM makes of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Processor {
    /// `GenuineIntel` or `AuthenticAMD`.
    pub(in crate::doctor) vendor: String,
    pub(in crate::doctor) model: String,
    /// `None` where the kernel's list of CPUs cannot be read.
    pub(in crate::doctor) cores: Option<Cores>,
    /// The processor's extension for guests: `vmx` or `svm`.
    pub(in crate::doctor) extension: Option<String>,
    /// It is virtual itself.
    pub(in crate::doctor) guest: bool,
    /// Bits of physical addresses.
    pub(in crate::doctor) physical_bits: Option<u32>,
    /// `dev/kvm` exists.
    pub(in crate::doctor) node: bool,
    /// `sys/class/misc/kvm` exists: KVM works, while the node is there before its module is loaded.
    pub(in crate::doctor) registered: bool,
    /// What is wrong with KVM, of this host only.
    pub(in crate::doctor) trouble: Option<String>,
    /// KVM was asked.
    pub(in crate::doctor) asked: bool,
    /// KVM says how it is with interrupt controllers.
    pub(in crate::doctor) apic_known: bool,
    /// Those of guests are virtualized by the processor.
    pub(in crate::doctor) apic: bool,
    /// And the interrupts between processors of a guest.
    pub(in crate::doctor) ipis: bool,
    /// `sys/module/kvm/parameters/ignore_msrs`.
    pub(in crate::doctor) ignore_msrs: Option<bool>,
    /// `proc/sys/kernel/split_lock_mitigate`.
    pub(in crate::doctor) split_lock: Option<String>,
    /// cpufreq's driver and governor of the first CPU.
    pub(in crate::doctor) governor: Option<(String, String)>,
    /// The energy preference, where a driver chooses frequencies by itself.
    pub(in crate::doctor) preference: Option<String>,
    pub(in crate::doctor) clocksource: Option<String>,
}

/// Where KVM says whether it virtualizes interrupt controllers.
const APIC: [&str; 2] =
    ["sys/module/kvm_intel/parameters/enable_apicv", "sys/module/kvm_amd/parameters/avic"];
/// The folder of the first CPU's frequency.
const CPUFREQ: &str = "sys/devices/system/cpu/cpu0/cpufreq";

impl Processor {
    pub(super) fn read(files: &HostFiles, live: bool) -> Self {
        let info = files.text("proc/cpuinfo").unwrap_or_default();
        let first = info.split("\n\n").next().unwrap_or_default();
        let field = |name: &str| {
            first.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let flags = field("flags").unwrap_or_default();
        let flag = |name: &str| flags.split(' ').any(|flag| flag == name);
        let bits = field("address sizes").and_then(|sizes| sizes.split(' ').next()?.parse().ok());
        let host = HostFacts::gather_from(files, std::iter::empty());
        let opened = live.then(kvm::open);
        Self {
            vendor: field("vendor_id").unwrap_or_default(),
            model: field("model name").unwrap_or_default(),
            cores: cores(files),
            extension: ["vmx", "svm"].into_iter().find(|name| flag(name)).map(str::to_owned),
            guest: flag("hypervisor"),
            physical_bits: bits,
            node: files.path("dev/kvm").exists(),
            registered: files.path("sys/class/misc/kvm").exists(),
            asked: opened.is_some(),
            trouble: opened.and_then(Result::err).map(|error| error.to_string()),
            apic_known: APIC.iter().any(|parameter| files.path(parameter).exists()),
            apic: host.apic.registers,
            ipis: host.apic.ipis,
            ignore_msrs: files.module_switch("kvm/parameters/ignore_msrs"),
            split_lock: files.text("proc/sys/kernel/split_lock_mitigate").ok(),
            governor: files
                .text(format!("{CPUFREQ}/scaling_driver"))
                .ok()
                .zip(files.text(format!("{CPUFREQ}/scaling_governor")).ok()),
            preference: files.text(format!("{CPUFREQ}/energy_performance_preference")).ok(),
            clocksource: host.clocksource,
        }
    }

    /// Whether it is Intel's.
    pub(in crate::doctor) fn is_intel(&self) -> bool {
        self.vendor == "GenuineIntel"
    }
}

fn cores(files: &HostFiles) -> Option<Cores> {
    let cpus = files.cpus(CpuList::default(), CpuList::default())?;
    // Each core is counted where its first thread is.
    let first = |cpu: &&HostCpu| cpu.core.first() == Some(cpu.number);
    let (slow, fast): (Vec<_>, Vec<_>) = cpus.online.iter().filter(first).partition(|cpu| cpu.efficient);
    let count = |cores: Vec<&HostCpu>| u32::try_from(cores.len()).unwrap_or(u32::MAX);
    Some(Cores { fast: count(fast), slow: count(slow) })
}
