//! What the processors say of themselves, in the report.

use std::fmt::Write as _;

use serde::Serialize;
use vocabulary::Hypervisor;

use crate::config::CpuIdentity;

/// What the guest finds in CPUID that is not the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Whether CPUID says that there is a hypervisor.
    pub hypervisor: bool,
    /// Whether KVM's leaves are there.
    pub kvm: bool,
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

impl From<&CpuIdentity> for Identity {
    fn from(identity: &CpuIdentity) -> Self {
        let (hypervisor, kvm, vendor) = match identity.hypervisor {
            Hypervisor::Absent => (false, false, None),
            Hypervisor::Present { kvm, vendor } => (true, kvm, vendor),
        };
        Self {
            hypervisor,
            kvm,
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
        let shown = match (self.hypervisor, self.kvm) {
            (false, _) => "no hypervisor",
            (true, true) => "KVM",
            (true, false) => "a hypervisor, but not KVM",
        };
        write!(out, "  CPUID shows {shown}")?;
        if let Some(name) = &self.vendor_id {
            write!(out, ", under the name \"{name}\"")?;
        }
        if self.hidden_for_dgpu {
            write!(out, ", for the driver of [dgpu]; `hide_hypervisor = false` in [cpu] shows it")?;
        }
        writeln!(out)?;
        for (what, features) in [("with", &self.add), ("without", &self.remove)] {
            if !features.is_empty() {
                writeln!(out, "  {what} {}", features.join(", "))?;
            }
        }
        Ok(())
    }
}
