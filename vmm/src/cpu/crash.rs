//! What a guest reports of its own crash by Hyper-V's crash registers, HV_X64_MSR_CRASH_P0 to P4 and CRASH_CTL (Microsoft's
//! Hypervisor Top Level Functional Specification).
//!
//! The guest writes five parameters and then the control register. It does so only where that says that somebody listens
//! ([`allow_reports`]). The same register could announce a text of the guest's last words; KVM neither offers that to guests
//! nor keeps it of what they write, so a report has parameters and no text.

use std::fmt;

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::{Error, VcpuFd};

const GUEST_OS_ID: u32 = 0x4000_0000;
const CRASH_P0: u32 = 0x4000_0100;
const CRASH_CTL: u32 = 0x4000_0105;
/// In CRASH_CTL, for the guest to read: it may report. Written, it reports.
const CRASH_NOTIFY: u64 = 1 << 63;

/// Bug checks of Windows (bugcodes.h of the Windows Driver Kit) that have to do with processors, firmware, and devices that
/// are passed through or emulated.
const BUG_CHECKS: [(u64, &str); 22] = [
    (0x0a, "IRQL_NOT_LESS_OR_EQUAL"),
    (0x1e, "KMODE_EXCEPTION_NOT_HANDLED"),
    (0x3b, "SYSTEM_SERVICE_EXCEPTION"),
    (0x50, "PAGE_FAULT_IN_NONPAGED_AREA"),
    (0x5c, "HAL_INITIALIZATION_FAILED"),
    (0x7b, "INACCESSIBLE_BOOT_DEVICE"),
    (0x7e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"),
    (0x9f, "DRIVER_POWER_STATE_FAILURE"),
    (0xa5, "ACPI_BIOS_ERROR"),
    (0xd1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL"),
    (0xe2, "MANUALLY_INITIATED_CRASH"),
    (0xef, "CRITICAL_PROCESS_DIED"),
    (0x101, "CLOCK_WATCHDOG_TIMEOUT"),
    (0x109, "CRITICAL_STRUCTURE_CORRUPTION"),
    (0x113, "VIDEO_DXGKRNL_FATAL_ERROR"),
    (0x116, "VIDEO_TDR_FAILURE"),
    (0x117, "VIDEO_TDR_TIMEOUT_DETECTED"),
    (0x119, "VIDEO_SCHEDULER_INTERNAL_ERROR"),
    (0x124, "WHEA_UNCORRECTABLE_ERROR"),
    (0x133, "DPC_WATCHDOG_VIOLATION"),
    (0x139, "KERNEL_SECURITY_CHECK_FAILURE"),
    (0x154, "UNEXPECTED_STORE_EXCEPTION"),
];

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Windows: the first parameter is the code of a bug check, the others are what that code says.
    Windows,
    /// Linux: an error, its identity, and the registers RIP, RAX and RSP (hyperv_report_panic of drivers/hv/hv_common.c).
    Linux,
    /// Another one, whose parameters mean what it likes.
    Other,
}

impl System {
    /// In a word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Linux => "linux",
            Self::Other => "other",
        }
    }

    /// From HV_X64_MSR_GUEST_OS_ID: bit 63 is for systems whose source is open, with their kind in bits 62 to 56; of the
    /// others bits 62 to 48 are the vendor.
    fn of(id: u64) -> Self {
        const LINUX: u64 = 1;
        const MICROSOFT: u64 = 1;
        match (id >> 63, id >> 56 & 0x7f, id >> 48 & 0x7fff) {
            (1, LINUX, _) => Self::Linux,
            (0, _, MICROSOFT) => Self::Windows,
            _ => Self::Other,
        }
    }
}

/// A guest's report of its crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestCrash {
    /// Who reports.
    pub system: System,
    /// What it says: HV_X64_MSR_CRASH_P0 to P4.
    pub parameters: [u64; 5],
}

impl GuestCrash {
    /// Reads the registers of a vCPU that has just reported.
    ///
    /// # Errors
    /// KVM does not show them.
    pub(super) fn read(vcpu: &VcpuFd) -> Result<Self, Error> {
        let indices = std::iter::once(GUEST_OS_ID).chain(CRASH_P0..CRASH_CTL);
        let entries: Vec<_> = indices.map(|index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut msrs = Msrs::from_entries(&entries).map_err(|_| Error::new(libc::E2BIG))?;
        if vcpu.get_msrs(&mut msrs)? < entries.len() {
            return Err(Error::new(libc::ENXIO));
        }
        match msrs.as_slice() {
            [id, p0, p1, p2, p3, p4] => {
                Ok(Self { system: System::of(id.data), parameters: [p0, p1, p2, p3, p4].map(|msr| msr.data) })
            }
            _ => Err(Error::new(libc::ENXIO)),
        }
    }

    /// The name of Windows' bug check.
    pub fn bug_check(&self) -> Option<&'static str> {
        let [code, ..] = self.parameters;
        let known = BUG_CHECKS.iter().find(|(each, _)| *each == code);
        known.filter(|_| self.system == System::Windows).map(|(_, name)| *name)
    }
}

impl fmt::Display for GuestCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p0, p1, p2, p3, p4] = self.parameters;
        match self.system {
            System::Windows => {
                let name = self.bug_check().map(|name| format!(" ({name})")).unwrap_or_default();
                write!(f, "Windows stopped: {p0:#010x}{name}, {p1:#x} {p2:#x} {p3:#x} {p4:#x}")
            }
            System::Linux => {
                write!(f, "Linux panicked (error {p0:#x}): RIP {p2:#018x} RAX {p3:#x} RSP {p4:#018x}")
            }
            System::Other => {
                write!(f, "the guest's system stopped: {p0:#x} {p1:#x} {p2:#x} {p3:#x} {p4:#x}")
            }
        }
    }
}

/// Lets the guest report its crash; once for a VM, by any vCPU, before the power-on state of one is taken. On a host whose
/// KVM has no Hyper-V there is no such register, and nobody to use it.
pub fn allow_reports(vcpu: &VcpuFd) {
    let entry = kvm_msr_entry { index: CRASH_CTL, data: CRASH_NOTIFY, ..Default::default() };
    let written = Msrs::from_entries(&[entry]).ok().map(|msrs| vcpu.set_msrs(&msrs));
    if !matches!(written, Some(Ok(1))) {
        tracing::debug!("this host's KVM has no crash registers of Hyper-V");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_tell_who_they_are() {
        for (id, system) in [
            // Windows NT, 10.0, build 22621.
            (0x0001_040a_0000_585d, System::Windows),
            // Linux 6.12.
            (0x8100_0006_0c00_0000, System::Linux),
            // FreeBSD; another vendor; nobody.
            (0x8200_0000_0000_0000, System::Other),
            (0x0002_0400_0000_0000, System::Other),
            (0, System::Other),
        ] {
            assert_eq!(System::of(id), system, "{id:#x}");
        }
    }

    #[test]
    fn reports_are_told_in_the_words_of_their_system() {
        let said = |system, parameters| GuestCrash { system, parameters }.to_string();
        assert_eq!(
            said(System::Windows, [0x116, 0xffff_8e0f_1234_5010, 0xffff_f803_0000_0000, 0, 0xd]),
            "Windows stopped: 0x00000116 (VIDEO_TDR_FAILURE), 0xffff8e0f12345010 0xfffff80300000000 0x0 0xd"
        );
        assert_eq!(
            said(System::Windows, [0xc000_021a, 1, 2, 3, 4]),
            "Windows stopped: 0xc000021a, 0x1 0x2 0x3 0x4"
        );
        assert_eq!(
            said(System::Linux, [0, 0x8100 << 48, 0xffff_ffff_8110_0000, 0x1f, 0xffff_c900_0000_3e58]),
            "Linux panicked (error 0x0): RIP 0xffffffff81100000 RAX 0x1f RSP 0xffffc90000003e58"
        );
        assert_eq!(
            said(System::Other, [0x116, 1, 2, 3, 4]),
            "the guest's system stopped: 0x116 0x1 0x2 0x3 0x4"
        );
    }

    #[test]
    fn names_are_those_of_windows_codes_alone() {
        let named = |system, code| GuestCrash { system, parameters: [code, 0, 0, 0, 0] }.bug_check();
        for (code, name) in BUG_CHECKS {
            assert_eq!(named(System::Windows, code), Some(name));
            assert_eq!(named(System::Linux, code), None);
        }
        assert!(BUG_CHECKS.is_sorted_by_key(|(code, _)| *code));
        // The lower half of a code is not the code.
        assert_eq!(named(System::Windows, 1 << 32 | 0x116), None);
    }
}
