//! Sockets, cores and threads, in every leaf that tells of them.
//!
//! Intel SDM volume 2A, CPUID leaves 1, 4 and 0xB; AMD APM volume 3, appendix E.3.2, E.4.7, E.4.15 and E.4.16.

use kvm_bindings::kvm_cpuid_entry2;
use vocabulary::Topology;
use vocabulary::cpuid::{CpuidBit, Register};

use super::table::{Table, field, set_field};

/// Which processors share the topology leaves of AMD's.
fn is_like_amd(table: &Table) -> bool {
    table.get(0, 0).is_some_and(|leaf| {
        matches!(
            (leaf.ebx, leaf.edx, leaf.ecx),
            // AuthenticAMD, HygonGenuine
            (0x6874_7541, 0x6974_6e65, 0x444d_4163) | (0x6f67_7948, 0x6e65_476e, 0x656e_6975)
        )
    })
}

/// How many APIC IDs share a cache, less one: as many as on the host, but whole cores, and nothing outside of the package.
fn shared_by(host: u32, level: u32, topology: Topology) -> u32 {
    let core = 1u32 << topology.thread_bits();
    let most = if level < 3 { core } else { 1 << topology.package_shift() };
    // The field counts IDs; software rounds it up to whole bits of them.
    let ids = host.saturating_add(1).next_power_of_two();
    match ids.clamp(core, most) {
        same if same == ids => host,
        other => other - 1,
    }
}

/// Deterministic cache parameters, which leaves 4 and 0x8000001D have alike.
fn describe_cache(cache: &mut kvm_cpuid_entry2, topology: Topology) {
    if field(cache.eax, 4, 0) != 0 {
        let shared = shared_by(field(cache.eax, 25, 14), field(cache.eax, 7, 5), topology);
        set_field(&mut cache.eax, 25, 14, shared);
    }
}

/// Leaf 0xB: threads, then cores, then the invalid level that ends the list. EDX is the x2APIC ID in all of them.
fn extended(topology: Topology, apic_id: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index: u32, kind: u32, shift: u32, count: u32| kvm_cpuid_entry2 {
        function: 0xb,
        index,
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

/// Describes the CPU with `apic_id`.
pub(super) fn describe(table: &mut Table, topology: Topology, apic_id: u32) {
    let per_package = topology.cores.saturating_mul(topology.threads);
    let several = u32::from(per_package > 1);
    table.edit(0x1, 0, |leaf| {
        set_field(&mut leaf.ebx, 31, 24, apic_id & 0xff);
        set_field(&mut leaf.ebx, 23, 16, (1 << topology.package_shift()).min(0xff));
        // HTT: the count above is valid.
        set_field(&mut leaf.edx, 28, 28, several);
    });
    table.edit_all(0x4, |cache| {
        describe_cache(cache, topology);
        if field(cache.eax, 4, 0) != 0 {
            set_field(&mut cache.eax, 31, 26, (1u32 << topology.core_bits()).min(64) - 1);
        }
    });
    // The host's own levels, and those of dies and modules (0x1F) and of AMD's (0x80000026), which the guest has none of.
    table.retain(|entry| !matches!(entry.function, 0xb | 0x1f | 0x8000_0026));
    if table.get(0, 0).is_some_and(|leaf| leaf.eax >= 0xb) {
        extended(topology, apic_id).into_iter().for_each(|level| table.put_indexed(level));
    }
    if is_like_amd(table) {
        describe_amd(table, topology, apic_id, several);
    }
}

fn describe_amd(table: &mut Table, topology: Topology, apic_id: u32, several: u32) {
    const TOPOEXT: CpuidBit = CpuidBit { leaf: 0x8000_0001, index: 0, register: Register::Ecx, bit: 22 };
    table.edit(0x8000_0008, 0, |leaf| {
        set_field(&mut leaf.ecx, 7, 0, topology.cores.saturating_mul(topology.threads).saturating_sub(1));
        set_field(&mut leaf.ecx, 15, 12, topology.package_shift());
    });
    // CmpLegacy goes with HTT.
    table.edit(0x8000_0001, 0, |leaf| set_field(&mut leaf.ecx, 1, 1, several));
    table.edit_all(0x8000_001d, |cache| describe_cache(cache, topology));
    if table.get(0x8000_0000, 0).is_some_and(|leaf| leaf.eax >= 0x8000_001e) {
        // Without it threads are taken for cores. KVM leaves the leaf to us, whatever it says of the bit.
        table.set(TOPOEXT, true);
        let (mut ebx, mut ecx) = (0, 0);
        set_field(&mut ebx, 7, 0, apic_id >> topology.thread_bits());
        set_field(&mut ebx, 15, 8, topology.threads.saturating_sub(1));
        // A package is one node.
        set_field(&mut ecx, 7, 0, apic_id >> topology.package_shift());
        table.put(kvm_cpuid_entry2 {
            function: 0x8000_001e,
            eax: apic_id,
            ebx,
            ecx,
            ..kvm_cpuid_entry2::default()
        });
    }
}
