//! What the guest's CPUs say of themselves: the host's CPUID as KVM supports it, with the topology and address width of
//! the plan (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E).

use std::arch::x86_64::__cpuid;

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};
use vocabulary::{CpuVendor, Topology};

/// What the plan asks of the CPUs.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Shape.
    pub topology: Topology,
    /// Guest-physical address bits; never more than the host's.
    pub physical_bits: u8,
}

/// Puts the host's brand string into the leaves that KVM leaves empty.
fn name_the_cpu(entries: &mut [kvm_cpuid_entry2]) {
    let named = __cpuid(0x8000_0000).eax >= 0x8000_0004;
    for entry in
        entries.iter_mut().filter(|entry| named && matches!(entry.function, 0x8000_0002..=0x8000_0004))
    {
        let host = __cpuid(entry.function);
        (entry.eax, entry.ebx, entry.ecx, entry.edx) = (host.eax, host.ebx, host.ecx, host.edx);
    }
}

/// Characters in registers, up to the first NUL; anything but printable ASCII becomes a question mark.
fn text(registers: &[u32]) -> String {
    let bytes = registers.iter().flat_map(|register| register.to_le_bytes());
    let text: String = bytes
        .take_while(|byte| *byte != 0)
        .map(|byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' })
        .collect();
    text.trim().to_owned()
}

fn field(value: &mut u32, high: u32, low: u32, content: u32) {
    let width = high - low + 1;
    let mask = (u32::MAX >> (u32::BITS - width)) << low;
    *value = *value & !mask | content << low & mask;
}

/// What KVM can show a guest on this host.
pub struct Supported {
    entries: Vec<kvm_cpuid_entry2>,
    /// The in-kernel APIC's TSC-deadline mode, which KVM_GET_SUPPORTED_CPUID leaves out (api.rst, 4.46).
    tsc_deadline: bool,
}

impl Supported {
    /// Asks KVM.
    ///
    /// # Errors
    /// Whatever KVM_GET_SUPPORTED_CPUID says.
    pub fn query(kvm: &Kvm) -> Result<Self, kvm_ioctls::Error> {
        let mut entries = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?.as_slice().to_vec();
        name_the_cpu(&mut entries);
        Ok(Self { entries, tsc_deadline: kvm.check_extension(Cap::TscDeadlineTimer) })
    }

    fn leaf(&self, function: u32) -> Option<&kvm_cpuid_entry2> {
        self.entries.iter().find(|entry| entry.function == function)
    }

    /// Width of the host's physical addresses in bits.
    pub fn physical_bits(&self) -> u8 {
        self.leaf(0x8000_0008).map_or(36, |entry| entry.eax as u8)
    }

    /// Whether pages of 1 GiB exist.
    pub fn gib_pages(&self) -> bool {
        self.leaf(0x8000_0001).is_some_and(|entry| entry.edx & 1 << 26 != 0)
    }

    /// Who made the CPU.
    pub fn vendor(&self) -> CpuVendor {
        self.leaf(0).map_or(CpuVendor::Other, |entry| CpuVendor::of(entry.ebx, entry.edx, entry.ecx))
    }

    /// The maker's name as leaf 0 spells it.
    pub fn manufacturer(&self) -> String {
        let registers = self.leaf(0).map_or([0; 3], |entry| [entry.ebx, entry.edx, entry.ecx]);
        text(&registers)
    }

    /// The brand string of leaves 0x80000002 to 0x80000004.
    pub fn brand(&self) -> String {
        let registers: Vec<u32> = (0x8000_0002..=0x8000_0004)
            .filter_map(|function| self.leaf(function))
            .flat_map(|entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
            .collect();
        text(&registers)
    }

    /// Leaf 1 EAX in bits 31:0 and EDX in bits 63:32, as SMBIOS wants it.
    pub fn processor_id(&self) -> u64 {
        self.leaf(1).map_or(0, |entry| u64::from(entry.edx) << 32 | u64::from(entry.eax))
    }

    /// The CPUID of the vCPU with `apic_id`; `None` if it has more leaves than KVM takes.
    pub fn for_vcpu(&self, profile: &Profile, apic_id: u32) -> Option<CpuId> {
        for_vcpu(&self.entries, self.tsc_deadline, profile, apic_id)
    }
}

/// The CPUID of the vCPU with `apic_id`, made from what KVM supports.
fn for_vcpu(
    supported: &[kvm_cpuid_entry2],
    tsc_deadline: bool,
    profile: &Profile,
    apic_id: u32,
) -> Option<CpuId> {
    let topology = profile.topology;
    let per_package = topology.cores.saturating_mul(topology.threads);
    let mut entries: Vec<kvm_cpuid_entry2> = Vec::with_capacity(supported.len() + 6);
    for entry in supported {
        let mut entry = *entry;
        match entry.function {
            0x1 => {
                field(&mut entry.ebx, 31, 24, apic_id & 0xff);
                field(&mut entry.ebx, 23, 16, (1 << topology.package_shift()).min(0xff));
                // The leaves from 0x4000_0000, with KVM's clock among them, are looked for only behind this bit, which KVM
                // itself leaves out.
                field(&mut entry.ecx, 31, 31, 1);
                field(&mut entry.ecx, 24, 24, u32::from(tsc_deadline));
                // HTT: the count above is valid.
                field(&mut entry.edx, 28, 28, u32::from(per_package > 1));
            }
            // Deterministic caches: how many IDs share each, and cores in the package.
            0x4 if entry.eax & 0x1f != 0 => {
                let level = entry.eax >> 5 & 7;
                let sharing = if level < 3 { topology.thread_bits() } else { topology.package_shift() };
                field(&mut entry.eax, 25, 14, (1 << sharing) - 1);
                field(&mut entry.eax, 31, 26, (1u32 << topology.core_bits()).min(64) - 1);
            }
            0x8000_001d if entry.eax & 0x1f != 0 => {
                let level = entry.eax >> 5 & 7;
                let sharing = if level < 3 { topology.thread_bits() } else { topology.package_shift() };
                field(&mut entry.eax, 25, 14, (1 << sharing) - 1);
            }
            // ARAT: KVM's APIC timer runs in every C-state.
            0x6 => field(&mut entry.eax, 2, 2, 1),
            // Five-level paging stays hidden: newer OVMF would enter it from the reset vector.
            0x7 if entry.index == 0 => field(&mut entry.ecx, 16, 16, 0),
            // Topology leaves are built below.
            0xb | 0x1f => continue,
            0x8000_0008 => {
                // Without five-level paging linear addresses have 48 bits. The guest-specific field (23:16) must agree
                // with the physical one.
                let linear = (entry.eax >> 8 & 0xff).min(48);
                field(&mut entry.eax, 15, 8, linear);
                field(&mut entry.eax, 7, 0, u32::from(profile.physical_bits));
                field(&mut entry.eax, 23, 16, 0);
                field(&mut entry.ecx, 7, 0, per_package.saturating_sub(1));
                field(&mut entry.ecx, 15, 12, topology.package_shift());
            }
            0x8000_001e => {
                entry.eax = apic_id;
                field(&mut entry.ebx, 7, 0, apic_id >> topology.thread_bits() & 0xff);
                field(&mut entry.ebx, 15, 8, topology.threads.saturating_sub(1));
                entry.ecx = 0;
            }
            _ => {}
        }
        entries.push(entry);
    }
    if supported.iter().any(|entry| entry.function == 0 && entry.eax >= 0xb) {
        entries.extend(extended_topology(topology, apic_id));
    }
    CpuId::from_entries(&entries).ok()
}

/// Leaf 0xB: threads, then cores, then the invalid level that ends the list.
fn extended_topology(topology: Topology, apic_id: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index: u32, kind: u32, shift: u32, count: u32| kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: count,
        ecx: kind << 8 | index,
        edx: apic_id,
        ..Default::default()
    };
    [
        level(0, 1, topology.thread_bits(), topology.threads),
        level(1, 2, topology.package_shift(), topology.cores.saturating_mul(topology.threads)),
        level(2, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_follow_the_topology() {
        let supported: Vec<kvm_cpuid_entry2> = [0u32, 1, 7, 0xb, 0x8000_0008]
            .into_iter()
            .map(|function| kvm_cpuid_entry2 { function, eax: 0x30, ecx: 1 << 16, ..Default::default() })
            .collect();
        let profile = Profile { topology: Topology { sockets: 1, cores: 4, threads: 2 }, physical_bits: 39 };
        let cpuid = for_vcpu(&supported, true, &profile, 5).unwrap();
        let leaf = |function, index| {
            *cpuid.as_slice().iter().find(|e| e.function == function && e.index == index).unwrap()
        };
        assert_eq!(leaf(1, 0).ebx >> 16, 0x0508, "initial APIC ID 5, 8 IDs in the package");
        assert_ne!(leaf(1, 0).edx & 1 << 28, 0, "HTT");
        assert_ne!(leaf(1, 0).ecx & 1 << 31, 0, "a hypervisor is present");
        assert_eq!(leaf(7, 0).ecx & 1 << 16, 0, "no LA57");
        assert_eq!((leaf(0xb, 0).eax, leaf(0xb, 0).ebx), (1, 2));
        assert_eq!((leaf(0xb, 1).eax, leaf(0xb, 1).ebx, leaf(0xb, 1).edx), (3, 8, 5));
        assert_eq!(leaf(0x8000_0008, 0).eax & 0xff, 39);
    }
}
