//! What the processors say of themselves, in the report.

use std::fmt::Write as _;

use serde::Serialize;
use vocabulary::{ByteSize, Enlightenment, Hypervisor};

use crate::config::{self, CpuIdentity, UnknownMsrs};
use crate::plan::{Choice, CpuPlacement, MachinePlan};

/// The processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cpus {
    /// Packages.
    pub sockets: u32,
    /// Cores of each.
    pub cores: u32,
    /// Threads of each core.
    pub threads: u32,
    /// The APIC ID of each vCPU.
    pub apic_ids: Vec<u32>,
    /// Where they run on the host, if that is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How long KVM keeps the CPU of a halted one at most, in nanoseconds, if that is not the host's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt_poll_ns: Option<u32>,
}

impl From<&MachinePlan> for Cpus {
    fn from(plan: &MachinePlan) -> Self {
        Self {
            sockets: plan.topology.sockets,
            cores: plan.topology.cores,
            threads: plan.topology.threads,
            apic_ids: plan.apic_ids.clone(),
            placement: plan.placement.as_ref().map(Placement::from),
            halt_poll_ns: plan.halt_poll_ns,
        }
    }
}

impl Cpus {
    /// Its lines, with the amount of memory.
    pub(super) fn write(&self, out: &mut String, memory: ByteSize) -> std::fmt::Result {
        let Self { sockets, cores, threads, apic_ids, placement, halt_poll_ns } = self;
        writeln!(
            out,
            "  {} vCPU(s): {sockets} socket(s) × {cores} core(s) × {threads} thread(s); {memory} of memory",
            apic_ids.len(),
        )?;
        if let Some(placement) = placement {
            placement.write(out)?;
        }
        match halt_poll_ns {
            Some(nanoseconds) => writeln!(out, "  a halted vCPU keeps its CPU for {nanoseconds} ns at most"),
            None => Ok(()),
        }
    }
}

/// Which of the host's CPUs threads run on, each in the kernel's notation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// How it was decided: `written`, `cores` (each core of the guest has one of the host), `shared`, or `open`: by the host, which was not
    /// asked.
    pub choice: &'static str,
    /// The CPUs of each vCPU.
    pub vcpus: Vec<String>,
    /// Those of all other threads, if there are any left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<String>,
    /// The host's CPUs are known, and with them what is left.
    #[serde(skip)]
    host_known: bool,
}

impl From<&CpuPlacement> for Placement {
    fn from(placement: &CpuPlacement) -> Self {
        Self {
            choice: match placement.choice {
                Choice::Written => "written",
                Choice::Cores => "cores",
                Choice::Shared => "shared",
                Choice::Open => "open",
            },
            vcpus: placement.vcpus.iter().map(ToString::to_string).collect(),
            others: placement.others.as_ref().map(ToString::to_string),
            host_known: !placement.given.is_empty(),
        }
    }
}

impl Placement {
    /// Its lines below the number of processors.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        if self.vcpus.is_empty() {
            return writeln!(out, "  which CPUs vCPUs and all other threads run on depends on the host");
        }
        for (index, cpus) in self.vcpus.iter().enumerate() {
            writeln!(out, "  vCPU {index} runs on the host's CPU {cpus}")?;
        }
        match &self.others {
            Some(cpus) => writeln!(out, "  all other threads run on {cpus}"),
            None if !self.host_known => {
                writeln!(out, "  which CPUs all other threads run on depends on the host")
            }
            None => writeln!(out, "  all other threads run beside them: no CPU is left"),
        }
    }
}

/// What the guest finds in CPUID that is not the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Whether CPUID says that there is a hypervisor.
    pub hypervisor: bool,
    /// Whether KVM's leaves are there.
    pub kvm: bool,
    /// What is offered of Hyper-V's interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hyperv: Option<Hyperv>,
    /// The name that replaces KVM's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<String>,
    /// KVM is hidden because of `[dgpu]`, without a word in the file.
    pub hidden_for_dgpu: bool,
    /// Features that the host must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Features that are hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// What becomes of model-specific registers that nobody knows.
    pub msrs: UnknownMsrs,
}

/// Hyper-V's interface, as far as KVM implements it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hyperv {
    /// The enlightenments, by their keys.
    pub enlightenments: Vec<String>,
    /// How often the guest is to try to get a spinlock before it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spinlock_retries: Option<u32>,
}

impl From<&config::Hyperv> for Hyperv {
    fn from(hyperv: &config::Hyperv) -> Self {
        Self {
            enlightenments: hyperv.on.iter().map(|one| one.to_string()).collect(),
            spinlock_retries: hyperv.on.contains(Enlightenment::Spinlocks).then_some(hyperv.retries),
        }
    }
}

impl From<&CpuIdentity> for Identity {
    fn from(identity: &CpuIdentity) -> Self {
        let (hypervisor, kvm) = match identity.hypervisor {
            Hypervisor::Absent => (false, false),
            Hypervisor::Present { kvm, .. } => (true, kvm),
        };
        let hyperv = &identity.hyperv;
        let vendor = identity.hypervisor.vendor(!hyperv.on.is_empty());
        Self {
            hypervisor,
            kvm,
            hyperv: (!hyperv.on.is_empty()).then(|| Hyperv::from(hyperv)),
            vendor_id: vendor.map(|name| name.to_string()),
            hidden_for_dgpu: identity.hidden_for_gpu,
            add: identity.add.iter().map(ToString::to_string).collect(),
            remove: identity.remove.iter().map(ToString::to_string).collect(),
            msrs: identity.msrs,
        }
    }
}

impl Identity {
    /// Its lines below the number of processors.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let shown = match (self.hypervisor, &self.hyperv, self.kvm) {
            (false, ..) => "no hypervisor",
            (true, None, true) => "KVM",
            (true, None, false) => "a hypervisor, but not KVM",
            (true, Some(_), true) => "Hyper-V's interface and KVM's",
            (true, Some(_), false) => "Hyper-V's interface, but not KVM",
        };
        write!(out, "  CPUID shows {shown}")?;
        if let Some(name) = &self.vendor_id {
            write!(out, ", under the name \"{name}\"")?;
        }
        if self.hidden_for_dgpu {
            write!(out, ", for the driver of [dgpu]; `hide_hypervisor = false` in [cpu] shows it")?;
        }
        writeln!(out)?;
        if let Some(Hyperv { enlightenments, spinlock_retries }) = &self.hyperv {
            write!(out, "  Hyper-V: {}", enlightenments.join(", "))?;
            match spinlock_retries {
                Some(times) => writeln!(out, " ({times} attempts at a spinlock)")?,
                None => writeln!(out)?,
            }
        }
        for (what, features) in [("with", &self.add), ("without", &self.remove)] {
            if !features.is_empty() {
                writeln!(out, "  {what} {}", features.join(", "))?;
            }
        }
        match self.msrs {
            UnknownMsrs::Fault => Ok(()),
            UnknownMsrs::Ignore => {
                writeln!(out, "  MSRs that nobody knows read as 0, and writes to them do nothing")
            }
        }
    }
}
