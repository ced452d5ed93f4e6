//! What CPUID says of the hypervisor: bit 31 of leaf 1's ECX, and the leaves from 0x40000000 on, which software looks for only
//! behind that bit (Linux `Documentation/virt/kvm/x86/cpuid.rst`). Software that knows KVM looks at every 0x100th leaf up to
//! 0x40010000 for its name.

use kvm_bindings::kvm_cpuid_entry2;
use vocabulary::Hypervisor;

use super::table::{Table, set_field};

/// Where the hypervisor's leaves start.
const FIRST: u32 = 0x4000_0000;
/// How far KVM's leaves move when another name is at the first one.
const ASIDE: u32 = 0x100;

fn is_hypervisors(leaf: u32) -> bool {
    leaf >> 28 == FIRST >> 28
}

/// Shows what is to be shown; `table` has KVM's own leaves at the usual place.
pub(super) fn describe(table: &mut Table, shown: Hypervisor) {
    // KVM itself leaves the bit out.
    let present = u32::from(shown != Hypervisor::Absent);
    table.edit(0x1, 0, |leaf| set_field(&mut leaf.ecx, 31, 31, present));
    let (kvm, vendor) = match shown {
        Hypervisor::Absent => (false, None),
        Hypervisor::Present { kvm: true, vendor: None } => return,
        Hypervisor::Present { kvm, vendor } => (kvm, Some(vendor.map_or([0; 3], |name| name.registers()))),
    };
    let kvms: Vec<kvm_cpuid_entry2> =
        table.entries().iter().filter(|entry| is_hypervisors(entry.function)).copied().collect();
    table.retain(|entry| !is_hypervisors(entry.function));
    // One leaf and a name, if there is one: without any leaf Intel's processors would answer with their highest basic one.
    if let Some([ebx, ecx, edx]) = vendor {
        table.put(kvm_cpuid_entry2 { function: FIRST, eax: FIRST, ebx, ecx, edx, ..Default::default() });
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
