//! What CPUID says of the hypervisor: bit 31 of leaf 1's ECX, and the leaves from 0x40000000 on, which software looks for only
//! behind that bit (Linux `Documentation/virt/kvm/x86/cpuid.rst`). Software that knows KVM looks at every 0x100th leaf up to
//! 0x40010000 for its name; KVM itself finds its leaves so, and Hyper-V's by what the second one says (`hyperv`).

use kvm_bindings::kvm_cpuid_entry2;
use vocabulary::{Hypervisor, HypervisorVendor};

use super::Profile;
use super::hyperv::Offer;
use super::table::{Table, leaf, set_field};

/// Where the hypervisor's leaves start.
const FIRST: u32 = 0x4000_0000;
/// How far KVM's leaves move when another name is at the first one.
const ASIDE: u32 = 0x100;

fn is_hypervisors(leaf: u32) -> bool {
    leaf >> 28 == FIRST >> 28
}

/// Shows what is to be shown; `table` has KVM's own leaves at the usual place, and `hyperv` is what KVM has of Hyper-V's interface.
pub(super) fn describe(table: &mut Table, profile: &Profile, hyperv: &Offer) {
    let Profile { hypervisor: shown, enlightenments, spinlock_retries, .. } = *profile;
    // KVM itself leaves the bit out.
    let present = u32::from(shown != Hypervisor::Absent);
    table.edit(0x1, 0, |leaf| set_field(&mut leaf.ecx, 31, 31, present));
    let vendor = shown.vendor(!enlightenments.is_empty());
    let kvm = match shown {
        Hypervisor::Present { kvm: true, .. } if vendor.is_none() => return,
        Hypervisor::Present { kvm, .. } => kvm,
        Hypervisor::Absent => false,
    };
    let kvms: Vec<kvm_cpuid_entry2> =
        table.entries().iter().filter(|entry| is_hypervisors(entry.function)).copied().collect();
    table.retain(|entry| !is_hypervisors(entry.function));
    match vendor {
        Some(name) if !enlightenments.is_empty() => {
            let leaves = hyperv.leaves(enlightenments, spinlock_retries, name);
            leaves.into_iter().for_each(|leaf| table.put(leaf));
        }
        // One leaf and a name, if there is one: without any leaf Intel's processors would answer with their highest basic one.
        _ if shown != Hypervisor::Absent => {
            let [ebx, ecx, edx] = vendor.map_or([0; 3], HypervisorVendor::registers);
            table.put(leaf(FIRST, [FIRST, ebx, ecx, edx]));
        }
        _ => {}
    }
    for mut entry in kvms.into_iter().filter(|_| kvm) {
        if entry.function == FIRST {
            // The highest of them.
            entry.eax = entry.eax.max(FIRST) | ASIDE;
        }
        entry.function |= ASIDE;
        table.put(entry);
    }
}
