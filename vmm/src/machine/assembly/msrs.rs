//! Model-specific registers: what the plan, and this host, make of those that KVM does not know.

use kvm_ioctls::{Cap, Kvm, VmFd};
use vocabulary::cpuid::bits_named;

use crate::config::UnknownMsrs;
use crate::cpu::cpuid::{Profile, Supported};
use crate::cpu::msr::{self, Preset, Processor, Unknown};
use crate::finding::{Finding, Section};
use crate::host::HostFiles;
use crate::kvm::{HostError, setup};
use crate::plan::MachinePlan;

/// The parameter by which KVM ignores unknown registers of all guests.
const IGNORES_ALL: &str = "kvm/parameters/ignore_msrs";

/// What this host can do about registers that KVM does not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    /// KVM leaves the guest for them.
    pub(super) diverts: bool,
    /// KVM ignores them, whatever a machine says.
    pub(super) ignores_all: bool,
}

impl Host {
    pub(super) fn look(kvm: &Kvm) -> Self {
        Self { diverts: diverts(kvm), ignores_all: ignores_all(&HostFiles::default()) }
    }
}

/// Whether KVM can leave a guest for registers that it does not know.
fn diverts(kvm: &Kvm) -> bool {
    kvm.check_extension(Cap::X86UserSpaceMsr)
}

/// A kernel with KVM built in may have no such parameter.
fn ignores_all(files: &HostFiles) -> bool {
    files.module_switch(IGNORES_ALL) == Some(true)
}

/// Whether this host can do what the plan says; what the user should know of it, if it can.
///
/// # Errors
/// It cannot, with the line that asks for it.
pub(super) fn judge(plan: &MachinePlan, host: Host) -> Result<Option<Finding>, Finding> {
    let about = |message: &str| plan.problem(Section::Cpu.key("msrs"), message);
    match (plan.identity.msrs, host) {
        (UnknownMsrs::Fault, Host { ignores_all: true, .. }) => {
            let message = "KVM on this host ignores unknown model-specific registers of all guests, so that this one gets no exception \
                           for them, and they are not counted";
            let help = "write N to /sys/module/kvm/parameters/ignore_msrs and take `ignore_msrs=1` from /etc/modprobe.d and the kernel's \
                        command line, or write `msrs = \"ignore\"` in [cpu]";
            Ok(Some(about(message).with_help(help)))
        }
        (UnknownMsrs::Ignore, Host { diverts: false, ignores_all: false }) => {
            let message = "KVM on this host cannot ignore unknown model-specific registers for one machine alone \
                           (KVM_CAP_X86_USER_SPACE_MSR, Linux 5.10)";
            let help = "leave `msrs` out, or use a newer kernel; `ignore_msrs=1` of the module `kvm` ignores them for all guests";
            Err(about(message).with_help(help))
        }
        _ => Ok(None),
    }
}

/// What all vCPUs of a machine have in common.
pub(super) struct Registers {
    pub(super) processor: Processor,
    pub(super) unknown: Unknown,
    pub(super) preset: Preset,
}

impl Registers {
    /// Has KVM leave this VM for registers that it does not know, where it can.
    pub(super) fn divert(
        vm: &VmFd,
        kvm: &Kvm,
        supported: &Supported,
        plan: &MachinePlan,
        profile: &Profile,
    ) -> Result<Self, HostError> {
        if diverts(kvm) {
            msr::divert(vm).map_err(setup("have KVM tell of unknown model-specific registers"))?;
        }
        let table = supported.guest(profile, 0);
        let vmx = bits_named("vmx").iter().any(|bit| table.has(*bit));
        let vendor = supported.vendor();
        Ok(Self {
            processor: Processor { vendor, topology: plan.topology },
            unknown: match plan.identity.msrs {
                UnknownMsrs::Fault => Unknown::Fault,
                UnknownMsrs::Ignore => Unknown::Ignore,
            },
            preset: Preset::new(kvm, vendor, vmx),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machine::tests::machine;

    #[test]
    fn a_host_that_cannot_is_told_with_the_line() {
        let ignore = machine("[cpu]\nmsrs = \"ignore\"\n");
        let fault = machine("[cpu]\nmsrs = \"fault\"\n");
        let unwritten = machine("");
        for (plan, diverts, ignores_all, refused, warned) in [
            (&ignore, true, false, None, None),
            (&ignore, true, true, None, None),
            // The host does it already.
            (&ignore, false, true, None, None),
            (&ignore, false, false, Some("cannot ignore"), None),
            (&fault, true, false, None, None),
            // As on every kernel before.
            (&fault, false, false, None, None),
            (&fault, true, true, None, Some("KVM on this host ignores")),
            (&unwritten, false, true, None, Some("KVM on this host ignores")),
            (&unwritten, true, false, None, None),
        ] {
            let judged = judge(plan, Host { diverts, ignores_all });
            let at = (diverts, ignores_all, plan.identity.msrs);
            match (&judged, refused, warned) {
                (Err(problem), Some(words), None) => {
                    let text = problem.to_string();
                    assert!(text.contains(words) && text.contains(":6:8: "), "{at:?} {text}");
                }
                (Ok(Some(warning)), None, Some(words)) => {
                    assert!(warning.to_string().contains(words), "{at:?} {warning}");
                }
                (Ok(None), None, None) => {}
                _ => panic!("{at:?}: {judged:?}"),
            }
        }
    }

    #[test]
    fn the_modules_parameter_is_read_as_the_kernel_writes_it() {
        let root = tempfile::tempdir().unwrap();
        let files = HostFiles::at(root.path());
        assert!(!ignores_all(&files), "there is none");
        let folder = root.path().join("sys/module/kvm/parameters");
        fs::create_dir_all(&folder).unwrap();
        for (text, on) in [("Y\n", true), ("N\n", false), ("\n", false)] {
            fs::write(folder.join("ignore_msrs"), text).unwrap();
            assert_eq!(ignores_all(&files), on, "{text:?}");
        }
    }
}
