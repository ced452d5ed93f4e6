//! `[cpu]`: how many processors there are, and what they say of themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::cpuid::{Register, bits_named, feature_names};
use vocabulary::scalar::Complaint;
use vocabulary::{CpuFeature, CpuidBit, Hypervisor, HypervisorVendor};

use super::super::Cpu;
use super::super::reading::suggest;
use super::hyperv::{Hyperv, HypervDefault, HypervSection};
use super::scheduling::PinSection;
use crate::finding::Resolver;
use crate::finding::Section;

/// The processors: either `topology` or `count`, by default one processor.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CpuSection {
    /// Sockets, cores per socket and threads per core, as `{ sockets = 1, cores = 4, threads = 2 }`.
    #[schemars(extend("x-default" = "one of each"))]
    pub topology: Option<TopologySection>,
    /// The number of vCPUs: short for so many cores of one thread in one socket.
    #[schemars(range(min = 1, max = 255), extend("x-default" = "`1`"))]
    pub count: Option<u32>,
    /// Width of guest physical addresses in bits. Less than the host's keeps BARs below the reach of a
    /// narrow IOMMU.
    #[schemars(range(min = 36, max = 52), extend("x-default" = "as the host's processor"))]
    pub phys_bits: Option<u8>,
    /// Which CPUs of the host vCPUs run on, by the numbers that `lscpu -e` shows: for each vCPU in turn one number, a list of
    /// numbers, or text as for `taskset -c`: `[[2, 8], [3, 9]]`, `[2, 3]`, `["2,8", "3-4"]`. All other threads of the machine get
    /// the CPUs that are left. `"auto"` chooses cores: the fast ones of a hybrid processor, below one L3 cache, and two threads of
    /// a core for two threads of a guest's core. See docs/latency.md.
    #[schemars(extend("x-default" = "wherever the host's scheduler puts them"))]
    pub pin: Option<PinSection>,
    /// For how many nanoseconds at most KVM keeps the CPU of a vCPU that halts, waiting for an interrupt: a shorter way to the
    /// interrupt's handler, for more power. 0 gives it away at once.
    #[schemars(range(max = 10_000_000), extend("x-default" = "the host's, `/sys/module/kvm/parameters/halt_poll_ns`"))]
    pub halt_poll_ns: Option<u32>,
    /// What runs in the guest. `"windows"`: it finds Hyper-V's interface, the real-time clock shows local time, and nested
    /// virtualization (VMX, SVM) is hidden, with which Windows may start a hypervisor of its own. `"linux"`: KVM is shown also beside
    /// a `[dgpu]`, for its clock. `"other"`: none of this. Each can be said otherwise: by `hyperv`, `rtc`, `features` and
    /// `hide_hypervisor`.
    #[schemars(extend("x-default" = "`\"other\"`"))]
    pub os: Option<Os>,
    /// A set of values for those of these keys that are not written. `"optimus"`, for Windows on an Optimus laptop's GPU:
    /// `os = "windows"`, `hide_hypervisor = true`, `vendor_id = "GenuineIntel"`, and a small set of `hyperv`. With another `os` there is no such set: of `hyperv`, what is
    /// written is on.
    #[schemars(extend("x-default" = "none"))]
    pub preset: Option<Preset>,
    /// Whether CPUID says that there is a hypervisor (leaf 1, ECX bit 31). `false` takes all paravirtual clocks and timers from the
    /// guest.
    #[schemars(extend("x-default" = "`true`"))]
    pub hypervisor: Option<bool>,
    /// Whether KVM's leaves and its name are taken out of CPUID. The guest still learns that there is a hypervisor, and finds
    /// what `hyperv` shows.
    #[schemars(extend("x-default" = "`false`; `true` with a `[dgpu]`, unless `os` is `\"linux\"`"))]
    pub hide_hypervisor: Option<bool>,
    /// The name of the hypervisor in CPUID leaf 0x40000000. KVM's leaves, if they are not hidden, are at 0x40000100 then.
    #[schemars(extend("x-default" = "KVM's own, none if it is hidden; for Hyper-V's interface `\"Microsoft Hv\"`, and `\"GenuineIntel\"` if KVM is hidden"))]
    pub vendor_id: Option<HypervisorVendor>,
    /// Features to show and to hide, as `{ add = ["vmx"], remove = ["avx512f"] }`.
    #[schemars(extend("x-default" = "as the host's, as far as KVM offers them"))]
    pub features: FeaturesSection,
    /// Hyper-V's interface, as `{ synic = false, stimer = false }`.
    #[schemars(extend("x-default" = "all that helps with `os = \"windows\"`, else none"))]
    pub hyperv: HypervSection,
    /// What an access to a model-specific register comes to that neither KVM nor the machine knows. `"fault"`: an exception (#GP), as
    /// on hardware. `"ignore"`: reads give 0 and writes do nothing, for drivers that do not expect the exception; it is for this machine
    /// alone, where `ignore_msrs` of the host's module `kvm` is for all. `optimus-vmm ctl NAME status` counts what was accessed.
    pub msrs: UnknownMsrs,
}

/// What an access to an unknown model-specific register comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UnknownMsrs {
    /// An exception in the guest.
    #[default]
    Fault,
    /// Reads give 0, and writes do nothing.
    Ignore,
}

/// What runs in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Os {
    /// Windows.
    Windows,
    /// Linux.
    Linux,
    /// Anything else.
    Other,
}

/// A set of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Preset {
    /// For Windows on an Optimus laptop's GPU.
    Optimus,
}

/// Features of the processors that are not as the host and KVM have them. A name is one of Linux' `/proc/cpuinfo` or of QEMU's
/// `-cpu`; what has none is written by leaf, sub-leaf, register and bit: `"0x7.0.ebx.16"`. What needs a feature that is hidden is
/// hidden with it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSection {
    /// Features that the guest must have: all that KVM offers are shown already, but for those that `os` hides. The machine does
    /// not start where KVM does not offer one.
    #[schemars(extend("x-default" = "none"))]
    pub add: Vec<CpuFeature>,
    /// Features that the guest must not see.
    #[schemars(extend("x-default" = "none"))]
    pub remove: Vec<CpuFeature>,
}

/// The shape of the processors. Their product is the number of vCPUs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopologySection {
    /// Processor packages.
    #[schemars(range(min = 1, max = 255))]
    pub sockets: u32,
    /// Cores in each socket.
    #[schemars(range(min = 1, max = 255))]
    pub cores: u32,
    /// Hardware threads of each core.
    #[schemars(range(min = 1, max = 255))]
    pub threads: u32,
}

impl Default for TopologySection {
    fn default() -> Self {
        Self { sockets: 1, cores: 1, threads: 1 }
    }
}

/// The highest APIC ID of xAPIC mode: 255 is the broadcast address (Intel SDM volume 3, "Physical Destination
/// Mode").
const APIC_ID_MAX: u32 = 254;

impl Resolver {
    /// The processors.
    pub fn cpu_count(&mut self, section: &CpuSection) -> Cpu {
        let phys_bits = section.phys_bits;
        let Some(topology) = &section.topology else {
            return Cpu { sockets: 1, cores: section.count.unwrap_or(1), threads: 1, phys_bits };
        };
        if section.count.is_some() {
            let message = "`count` and `topology` both give the number of processors";
            self.problem_with_help(Section::Cpu.key("count"), message, "leave one of them out");
        }
        let cpu =
            Cpu { sockets: topology.sockets, cores: topology.cores, threads: topology.threads, phys_bits };
        // APIC IDs have a field of whole bits for each level (Intel SDM volume 3, "Hierarchical
        // Mapping of Shared Resources"), so that a topology
        // may use up the IDs before it has that many processors.
        let next_bits = |count: u32| count.checked_next_power_of_two().map_or(32, u32::trailing_zeros);
        let (thread_bits, core_bits) = (next_bits(cpu.threads), next_bits(cpu.cores));
        let field = |count: u32, shift: u32| u64::from(count.saturating_sub(1)) << shift.min(32);
        let highest = field(cpu.threads, 0)
            | field(cpu.cores, thread_bits)
            | field(cpu.sockets, thread_bits + core_bits);
        if highest > u64::from(APIC_ID_MAX) {
            let message = format!(
                "{} × {} × {} processors need APIC IDs up to {highest}; the last one is {APIC_ID_MAX}, so that there \
                 are 255 of them at most",
                cpu.sockets, cpu.cores, cpu.threads
            );
            self.problem_with_help(Section::Cpu.key("topology"), message, "ask for fewer processors");
        }
        cpu
    }
}

/// What the processors say of themselves, beside what the host and the topology make them say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuIdentity {
    /// What runs in the guest.
    pub os: Os,
    /// What the guest finds of the hypervisor.
    pub hypervisor: Hypervisor,
    /// KVM is hidden because of a `[dgpu]`, and not because somebody wrote so.
    pub hidden_for_gpu: bool,
    /// What it may use of Hyper-V's interface.
    pub hyperv: Hyperv,
    /// Features that must be there.
    pub add: Vec<CpuFeature>,
    /// Features that are hidden.
    pub remove: Vec<CpuFeature>,
    /// What becomes of model-specific registers that nobody knows.
    pub msrs: UnknownMsrs,
}

/// Checks a feature's name, and says which one it may be meant to be.
pub fn check_feature(text: &str) -> Result<(), Complaint> {
    text.parse::<CpuFeature>().map(drop).map_err(|why| match suggest::closest(text, feature_names()) {
        Some(name) => format!("{why}; did you mean \"{name}\"?"),
        None => why,
    })
}

/// Nested virtualization.
const NESTED: [&str; 2] = ["vmx", "svm"];

/// Features that no key can change, with the reason. Those that are numbers are not among them.
const FIXED: &[(&str, &str)] = &[
    ("hypervisor", "write `hypervisor = false` to hide the hypervisor"),
    ("ht", "it follows `topology`"),
    ("topoext", "it follows `topology`"),
    ("cmp-legacy", "it follows `topology`"),
    ("osxsave", "the guest's system sets it"),
    ("ospke", "the guest's system sets it"),
    ("arat", "KVM's timer runs always"),
    ("la57", "OVMF would switch five-level paging on before it is ready"),
    ("hybrid", "all processors of a guest are of one kind"),
    ("sgx", "the machine has no protected memory"),
    ("sgxlc", "the machine has no protected memory"),
    ("fpu", "x86-64 processors have it"),
    ("tsc", "x86-64 processors have it"),
    ("msr", "x86-64 processors have it"),
    ("pae", "x86-64 processors have it"),
    ("cx8", "x86-64 processors have it"),
    ("apic", "x86-64 processors have it"),
    ("cmov", "x86-64 processors have it"),
    ("fxsr", "x86-64 processors have it"),
    ("sse", "x86-64 processors have it"),
    ("sse2", "x86-64 processors have it"),
    ("lm", "x86-64 processors have it"),
];

/// Why a bit cannot be changed, if so.
fn fixed(bit: CpuidBit) -> Option<&'static str> {
    // Leaves and registers of numbers, which the topology, the XSAVE states and the width of addresses decide.
    let numbers = match (bit.leaf, bit.index, bit.register) {
        (0x0 | 0x2 | 0x4 | 0x5 | 0xb | 0x1f | 0x4000_0000 | 0x8000_0000, ..) => true,
        (0x8000_0002..=0x8000_0006 | 0x8000_001d | 0x8000_001e | 0x8000_0026, ..) => true,
        (0x1, _, Register::Eax | Register::Ebx) => true,
        (0xd, 1, Register::Eax) => false,
        (0xd, ..) => true,
        (0x7, 0, Register::Eax) => true,
        (0x8000_0008, _, Register::Eax | Register::Ecx | Register::Edx) => true,
        _ => false,
    };
    let by_name = || FIXED.iter().find(|(name, _)| bits_named(name).contains(&bit)).map(|(_, why)| *why);
    if numbers { Some("it is part of a number that the machine decides") } else { by_name() }
}

impl Resolver {
    /// What the processors say of themselves, of which there are `count`. `gpu`: there is a `[dgpu]`.
    pub fn cpu_identity(&mut self, section: CpuSection, count: u32, gpu: bool) -> CpuIdentity {
        let optimus = section.preset == Some(Preset::Optimus);
        let os = section.os.unwrap_or(if optimus { Os::Windows } else { Os::Other });
        let for_gpu = gpu && os != Os::Linux;
        let hide = section.hide_hypervisor.unwrap_or(optimus || for_gpu);
        let vendor = section.vendor_id.or(optimus.then_some(HypervisorVendor::GENUINE_INTEL));
        let hypervisor = if section.hypervisor.unwrap_or(true) {
            Hypervisor::Present { kvm: !hide, vendor }
        } else {
            let written = [
                ("vendor_id", section.vendor_id.is_some()),
                ("hide_hypervisor", section.hide_hypervisor == Some(false)),
            ];
            for (key, _) in written.into_iter().filter(|(_, written)| *written) {
                let line = self.line_of(Section::Cpu.key("hypervisor"));
                let message = format!("`hypervisor = false`{line} leaves no hypervisor to say anything of");
                self.problem_with_help(Section::Cpu.key(key), message, "leave one of the two out");
            }
            Hypervisor::Absent
        };
        let default = match os {
            Os::Windows if optimus => HypervDefault::Optimus,
            Os::Windows => HypervDefault::Windows(count),
            Os::Linux | Os::Other => HypervDefault::None,
        };
        let hyperv = self.hyperv(&section.hyperv, default, hypervisor != Hypervisor::Absent);
        let FeaturesSection { add, mut remove } = section.features;
        self.check_features("features.add", &add);
        self.check_features("features.remove", &remove);
        let added = |bit: &CpuidBit| add.iter().any(|feature| feature.bits().contains(bit));
        for feature in remove.iter().filter(|feature| feature.bits().iter().any(added)) {
            let message = format!("{feature} is among the features to `add`, too");
            self.problems.push(self.origin.problem(Section::Cpu.key("features.remove"), message));
        }
        if os == Os::Windows {
            let nested = NESTED.iter().filter_map(|name| name.parse::<CpuFeature>().ok());
            let hidden = nested.filter(|feature| !feature.bits().iter().any(added));
            remove.extend(hidden.filter(|feature| !remove.contains(feature)).collect::<Vec<_>>());
        }
        let hidden_for_gpu =
            section.hide_hypervisor.is_none() && !optimus && for_gpu && hypervisor != Hypervisor::Absent;
        CpuIdentity { os, hypervisor, hidden_for_gpu, hyperv, add, remove, msrs: section.msrs }
    }

    fn check_features(&mut self, key: &'static str, features: &[CpuFeature]) {
        for feature in features {
            if let Some(why) = feature.bits().iter().find_map(|bit| fixed(*bit)) {
                let message = format!("the CPU feature {feature} cannot be changed: {why}");
                self.problem(Section::Cpu.key(key), message);
            }
        }
    }
}
