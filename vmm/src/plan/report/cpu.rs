//! What the processors say of themselves, in the report.

use std::fmt::Write as _;

use serde::Serialize;
use vocabulary::{Enlightenment, Hypervisor};

use crate::config::{self, CpuIdentity};

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
        Ok(())
    }
}
