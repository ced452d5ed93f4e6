//! `optimus-vmm plan --cpuid`: what the guest's CPUs would say of themselves on this host, without running it.

use serde::Serialize;
use vocabulary::{CpuFeature, CpuidBit};

use super::acpi::CpuFacts;
use super::hyperv;
use super::lacking::Lacking;
use crate::cpu::cpuid::{Difference, Profile, ShownCpu, Supported, differences, differences_text, processor};
use crate::finding::{Findings, Section};
use crate::kvm::{self, setup};
use crate::outcome::Failure;
use crate::plan::{CpuPlacement, MachinePlan};

/// What the plan asks of the CPUs.
pub(in crate::machine) fn profile(plan: &MachinePlan, supported: &Supported) -> Profile {
    let identity = &plan.identity;
    Profile {
        topology: plan.topology,
        physical_bits: CpuFacts::new(supported, plan).physical_bits,
        hypervisor: identity.hypervisor,
        enlightenments: identity.hyperv.on.and(supported.enlightenments()),
        spinlock_retries: identity.hyperv.retries,
        remove: identity.remove.iter().flat_map(CpuFeature::bits).copied().collect(),
    }
}

/// What this host cannot show: a problem if it is asked for by name, each with its line, else a warning.
pub(super) fn lacking(plan: &MachinePlan, supported: &Supported) -> Lacking {
    let mut lacking = hyperv::lacking(plan, supported);
    let table = supported.guest(&profile(plan, supported), 0);
    let problems = plan.identity.add.iter().filter_map(|feature| {
        let all = |shown: &dyn Fn(CpuidBit) -> bool| feature.bits().iter().all(|bit| shown(*bit));
        let why = if !all(&|bit| supported.has(bit)) {
            "which KVM does not offer on this host"
        } else if !all(&|bit| table.has(bit)) {
            "which needs something else that this guest does not have"
        } else {
            return None;
        };
        let key = Section::Cpu.key("features.add");
        let problem = plan.problem(key, format!("the CPU feature {feature} is asked for, {why}"));
        Some(problem.with_help("`optimus-vmm plan --cpuid=diff` shows what the guest gets without it"))
    });
    lacking.problems.extend(problems);
    lacking
}

/// What is to be shown of CPUID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Cpuid {
    /// All answers of all vCPUs.
    Guest {
        /// The vCPUs, in order.
        cpus: Vec<ShownCpu>,
    },
    /// What the first vCPU has different from the host.
    Diff {
        /// Register by register.
        differences: Vec<Difference>,
    },
}

impl Cpuid {
    /// For people; all answers in the form of `cpuid -r`.
    pub fn text(&self) -> String {
        match self {
            Self::Guest { cpus } => cpus.iter().map(ShownCpu::text).collect(),
            Self::Diff { differences } => differences_text(differences),
        }
    }
}

/// Asks KVM what it supports. `diff` is for what is different from the host.
///
/// # Errors
/// There is no KVM to ask, or it lacks a feature that is asked for.
pub fn cpuid(plan: &MachinePlan, diff: bool) -> Result<Cpuid, Failure> {
    let kvm = kvm::open()?;
    let on = plan.placement.as_ref().and_then(CpuPlacement::first);
    let supported = Supported::query(&kvm, on).map_err(setup("ask KVM for the CPUID it supports"))?;
    let lacking = lacking(plan, &supported);
    for warning in &lacking.warnings {
        tracing::warn!("{warning}");
    }
    Findings::check(lacking.problems)?;
    let profile = profile(plan, &supported);
    let table = |apic_id: u32| supported.guest(&profile, apic_id);
    Ok(if diff {
        let first = plan.apic_ids.first().copied().unwrap_or_default();
        Cpuid::Diff { differences: differences(&processor(on), &table(first)) }
    } else {
        let cpus = plan.apic_ids.iter().enumerate();
        Cpuid::Guest { cpus: cpus.map(|(index, &apic_id)| ShownCpu::new(index, &table(apic_id))).collect() }
    })
}
