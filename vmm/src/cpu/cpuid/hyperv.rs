//! The leaves of Hyper-V's interface (Microsoft's Hypervisor Top-Level Functional Specification, "Microsoft Hypervisor CPUID
//! Leaves"): what KVM implements, cut down to the enlightenments that are asked for.
//!
//! | leaf | here |
//! |---|---|
//! | 0x40000000 | the highest leaf, and the hypervisor's name |
//! | 0x40000001 | "Hv#1": the interface, by which Windows and KVM know it |
//! | 0x40000002 | the version, as KVM has it |
//! | 0x40000003 | what the guest may use |
//! | 0x40000004 | what it is advised to use |
//! | 0x40000005 | limits, as KVM has them |
//!
//! Those of nested virtualization (0x4000000A) and of the debugger (0x40000080 and up) are left out.

use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::{Error, Kvm};
use vocabulary::cpuid::Register;
use vocabulary::{Enlightenment, Enlightenments, HypervisorVendor};

use super::table::{Table, leaf, register};
use crate::kvm::hyperv;

/// The name, and the highest leaf.
const VENDOR: u32 = 0x4000_0000;
/// The interface.
const INTERFACE: u32 = 0x4000_0001;
/// The version.
const VERSION: u32 = 0x4000_0002;
/// What may be used: EAX and EBX are privileges, EDX is features.
const FEATURES: u32 = 0x4000_0003;
/// What should be used.
const ADVICE: u32 = 0x4000_0004;
/// How much there may be of things.
const LIMITS: u32 = 0x4000_0005;

/// "Hv#1".
const SIGNATURE: u32 = 0x3123_7648;
/// The guest may make hypercalls (FEATURES, EAX). Everything is of use only with it.
const HYPERCALLS: u32 = 1 << 5;
/// The number of processors may change (FEATURES, EDX). It does not here, and KVM does not list the bit, but Windows has always
/// been run with it by QEMU and others.
const DYNAMIC_PARTITIONING: u32 = 1 << 3;
/// Advice to use the APIC's registers as MSRs (ADVICE, EAX). Where hardware virtualizes the APIC, its own are faster.
const APIC_BY_MSR: u32 = 1 << 3;
/// The number of attempts that says: never tell the hypervisor of a spinlock (ADVICE, EBX).
const NEVER: u32 = u32::MAX;

use Enlightenment::{
    Avic, Crash, Frequencies, Ipi, Relaxed, Reset, Runtime, Stimer, StimerDirect, Synic, Time, TlbFlush,
    Vapic, VpIndex,
};
use Register::{Eax, Edx};

/// The bits without which there is no such enlightenment.
const BITS: &[(Enlightenment, u32, Register, u32)] = &[
    (Runtime, FEATURES, Eax, 1 << 0),
    // The counter, and the page.
    (Time, FEATURES, Eax, 1 << 1 | 1 << 9),
    (Synic, FEATURES, Eax, 1 << 2),
    (Stimer, FEATURES, Eax, 1 << 3),
    (Vapic, FEATURES, Eax, 1 << 4),
    (VpIndex, FEATURES, Eax, 1 << 6),
    (Reset, FEATURES, Eax, 1 << 7),
    (Frequencies, FEATURES, Eax, 1 << 11),
    (Frequencies, FEATURES, Edx, 1 << 8),
    (Crash, FEATURES, Edx, 1 << 10),
    (StimerDirect, FEATURES, Edx, 1 << 19),
    // For more than 64 processors (bit 11), too.
    (TlbFlush, ADVICE, Eax, 1 << 2 | 1 << 11),
    (Ipi, ADVICE, Eax, 1 << 10 | 1 << 11),
    (Relaxed, ADVICE, Eax, 1 << 5),
    (Avic, ADVICE, Eax, 1 << 9),
];

/// Bits that come along if KVM has them.
const MORE: &[(Enlightenment, u32, Register, u32)] = &[
    (Vapic, ADVICE, Eax, APIC_BY_MSR),
    // Arguments in XMM registers, and ranges of addresses: fewer flushes of everything.
    (TlbFlush, FEATURES, Edx, 1 << 4 | 1 << 14),
];

/// What KVM implements of the interface.
#[derive(Debug, Default)]
pub struct Offer {
    leaves: Table,
    synic: bool,
}

impl Offer {
    /// Asks KVM.
    ///
    /// # Errors
    /// KVM has the interface and does not tell.
    pub(super) fn query(kvm: &Kvm) -> Result<Self, Error> {
        Ok(Self { leaves: Table::new(hyperv::leaves(kvm)?), synic: hyperv::has_synic(kvm) })
    }

    #[cfg(test)]
    pub(super) fn new(leaves: Vec<kvm_cpuid_entry2>, synic: bool) -> Self {
        Self { leaves: Table::new(leaves), synic }
    }

    fn bits(&self, leaf: u32, which: Register) -> u32 {
        self.leaves.get(leaf, 0).map_or(0, |entry| register(entry, which))
    }

    /// The enlightenments that a guest can have.
    pub(super) fn enlightenments(&self) -> Enlightenments {
        if self.bits(FEATURES, Eax) & HYPERCALLS == 0 {
            return Enlightenments::NONE;
        }
        let offered = |one: &Enlightenment| {
            let mut bits = BITS.iter().filter(|(owner, ..)| owner == one);
            bits.all(|(_, leaf, which, bits)| self.bits(*leaf, *which) & bits == *bits)
                && (self.synic || *one != Synic)
        };
        Enlightenment::ALL.into_iter().filter(offered).collect::<Enlightenments>().usable()
    }

    /// The leaves for a guest that has these, under this name.
    pub(super) fn leaves(
        &self,
        on: Enlightenments,
        retries: u32,
        vendor: HypervisorVendor,
    ) -> [kvm_cpuid_entry2; 6] {
        let bits = |leaf: u32, which: Register| {
            let of_leaf = BITS
                .iter()
                .chain(MORE)
                .filter(|(_, owner, register, _)| (*owner, *register) == (leaf, which));
            let wanted = of_leaf.filter(|(one, ..)| on.contains(*one)).fold(0, |sum, (.., bits)| sum | bits);
            wanted & self.bits(leaf, which)
        };
        let as_offered = |function| {
            let offered = self.leaves.get(function, 0).copied();
            offered.unwrap_or_else(|| leaf(function, [0; 4]))
        };
        let [ebx, ecx, edx] = vendor.registers();
        let mut advice = bits(ADVICE, Eax);
        if on.contains(Avic) {
            advice &= !APIC_BY_MSR;
        }
        let attempts = if on.contains(Enlightenment::Spinlocks) { retries } else { NEVER };
        [
            leaf(VENDOR, [LIMITS, ebx, ecx, edx]),
            leaf(INTERFACE, [SIGNATURE, 0, 0, 0]),
            as_offered(VERSION),
            leaf(
                FEATURES,
                [bits(FEATURES, Eax) | HYPERCALLS, 0, 0, bits(FEATURES, Edx) | DYNAMIC_PARTITIONING],
            ),
            leaf(ADVICE, [advice, attempts, 0, 0]),
            as_offered(LIMITS),
        ]
    }
}
