//! Features that are nothing without another, or without a state component that XSAVE keeps (Intel SDM volume 1, chapters
//! 13 to 15; volume 2, the CPUID feature flags of instructions; Linux `arch/x86/kernel/cpu/cpuid-deps.c`).

use kvm_bindings::kvm_cpuid_entry2;
use vocabulary::cpuid::bits_named;

use super::table::Table;

/// A feature and what it needs.
#[rustfmt::skip]
const NEEDS: &[(&str, &[&str])] = &[
    ("sse2", &["sse"]),
    ("sse", &["fxsr"]),
    ("sse3", &["sse2"]),
    ("ssse3", &["sse3"]),
    ("sse4.1", &["ssse3"]),
    ("sse4.2", &["sse4.1"]),
    ("aes", &["sse2"]),
    ("pclmulqdq", &["sse2"]),
    ("sha-ni", &["sse2"]),
    ("gfni", &["sse2"]),
    ("xsaveopt", &["xsave"]),
    ("xgetbv1", &["xsave"]),
    ("xfd", &["xsave"]),
    ("xsaves", &["xsave"]),
    // Erratum 1386 takes XSAVES from some of AMD's. Kernels that find XSAVEC alone then hang (Linux arch/x86/kvm/x86.c).
    ("xsavec", &["xsave", "xsaves"]),
    ("pku", &["xsave"]),
    ("mpx", &["xsave"]),
    ("shstk", &["xsaves"]),
    ("avx", &["xsave"]),
    ("fma", &["avx"]),
    ("f16c", &["avx"]),
    ("xop", &["avx"]),
    ("fma4", &["avx"]),
    ("avx2", &["avx"]),
    ("vaes", &["avx"]),
    ("vpclmulqdq", &["avx"]),
    ("avx-vnni", &["avx2"]),
    ("avx-vnni-int8", &["avx2"]),
    ("avx-vnni-int16", &["avx2"]),
    ("avx-ne-convert", &["avx2"]),
    ("avx-ifma", &["avx2"]),
    ("sha512", &["avx2"]),
    ("sm3", &["avx"]),
    ("sm4", &["avx2"]),
    ("avx512f", &["avx2"]),
    ("avx512dq", &["avx512f"]),
    ("avx512ifma", &["avx512f"]),
    ("avx512pf", &["avx512f"]),
    ("avx512er", &["avx512f"]),
    ("avx512cd", &["avx512f"]),
    ("avx512bw", &["avx512f"]),
    ("avx512vl", &["avx512f"]),
    ("avx512-4vnniw", &["avx512f"]),
    ("avx512-4fmaps", &["avx512f"]),
    ("avx512-vpopcntdq", &["avx512f"]),
    ("avx512-vp2intersect", &["avx512f"]),
    ("avx512vbmi", &["avx512bw"]),
    ("avx512vbmi2", &["avx512bw"]),
    ("avx512vnni", &["avx512f"]),
    ("avx512bitalg", &["avx512bw"]),
    ("avx512-bf16", &["avx512bw"]),
    ("avx512-fp16", &["avx512bw"]),
    ("avx10", &["avx512f"]),
    ("amx-tile", &["xfd"]),
    ("amx-bf16", &["amx-tile"]),
    ("amx-int8", &["amx-tile"]),
    ("amx-fp16", &["amx-tile"]),
    ("amx-complex", &["amx-tile"]),
    ("apxf", &["xsave"]),
    // Nested virtualization of AMD's.
    ("npt", &["svm"]),
];

/// State components of XSAVE: their numbers, and the features of which one needs them.
const STATES: &[(&[u32], &[&str])] = &[
    (&[2], &["avx"]),
    (&[3, 4], &["mpx"]),
    (&[5, 6, 7], &["avx512f"]),
    (&[9], &["pku"]),
    (&[11, 12], &["shstk", "ibt"]),
    (&[17, 18], &["amx-tile"]),
    (&[19], &["apxf"]),
    // Of supervisors, which their features can do without.
    (&[8], &["intel-pt"]),
    (&[10], &["enqcmd"]),
    (&[13, 16], &["hwp"]),
    (&[14], &["uintr"]),
    (&[15], &["arch-lbr"]),
];

/// How many of [`STATES`] their features cannot do without.
const NEEDED_STATES: usize = 7;

/// The legacy region and the header of an XSAVE area, in bytes (SDM volume 1, 13.4).
const LEGACY_AND_HEADER: u32 = 512 + 64;

fn has(table: &Table, name: &str) -> bool {
    bits_named(name).into_iter().any(|bit| table.has(bit))
}

fn clear(table: &mut Table, name: &str) {
    bits_named(name).into_iter().for_each(|bit| table.set(bit, false));
}

/// The components that can be saved: those of users (XCR0) and those of supervisors (IA32_XSS).
fn components(table: &Table) -> (u64, u64) {
    let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let user = table.get(0xd, 0).map_or(0, |leaf| wide(leaf.eax, leaf.edx));
    let supervisor = table.get(0xd, 1).map_or(0, |leaf| wide(leaf.ecx, leaf.edx));
    (user, supervisor)
}

/// Takes away every feature that lacks what it needs, and every state component that no feature is left of.
pub(super) fn settle(table: &mut Table) {
    for (numbers, features) in STATES.iter().take(NEEDED_STATES) {
        let (user, supervisor) = components(table);
        if numbers.iter().any(|number| (user | supervisor) & 1 << number == 0) {
            features.iter().for_each(|feature| clear(table, feature));
        }
    }
    // Each round takes at least one away.
    loop {
        let lacking = NEEDS
            .iter()
            .find(|(feature, needs)| has(table, feature) && needs.iter().any(|need| !has(table, need)));
        let Some((feature, _)) = lacking else { break };
        clear(table, feature);
    }
    settle_components(table);
    if !has(table, "amx-tile") {
        // Tiles and their multiplication.
        table.retain(|entry| !matches!(entry.function, 0x1d | 0x1e));
    }
    if !has(table, "intel-pt") {
        table.retain(|entry| entry.function != 0x14);
    }
    if !has(table, "svm") {
        table.retain(|entry| entry.function != 0x8000_000a);
    }
    alias_leaf_1(table);
}

fn settle_components(table: &mut Table) {
    if !has(table, "xsave") {
        table.retain(|entry| entry.function != 0xd);
        return;
    }
    let gone = STATES
        .iter()
        .filter(|(_, features)| !features.iter().any(|feature| has(table, feature)))
        .flat_map(|(numbers, _)| numbers.iter())
        .fold(0u64, |gone, number| gone | 1 << number);
    let (user, supervisor) = components(table);
    let xsaves = has(table, "xsaves");
    let (user, supervisor) = (user & !gone, if xsaves { supervisor & !gone } else { 0 });
    table.retain(|entry| {
        let kept = 1u64.checked_shl(entry.index).is_some_and(|bit| (user | supervisor) & bit != 0);
        entry.function != 0xd || entry.index < 2 || kept
    });
    let end = |entry: &kvm_cpuid_entry2| entry.eax.saturating_add(entry.ebx);
    let of_users = |entry: &&kvm_cpuid_entry2| {
        entry.function == 0xd
            && entry.index >= 2
            && 1u64.checked_shl(entry.index).is_some_and(|bit| user & bit != 0)
    };
    let most = table.entries().iter().filter(of_users).map(end).max().unwrap_or(0).max(LEGACY_AND_HEADER);
    let compacted = xsaves || has(table, "xsavec");
    table.edit(0xd, 0, |leaf| {
        (leaf.eax, leaf.edx) = (user as u32, (user >> 32) as u32);
        // EBX is for what is enabled, at first the x87 state alone. KVM keeps it up to date.
        (leaf.ebx, leaf.ecx) = (LEGACY_AND_HEADER, most);
    });
    table.edit(0xd, 1, |leaf| {
        leaf.ebx = if compacted { LEGACY_AND_HEADER } else { 0 };
        (leaf.ecx, leaf.edx) = (supervisor as u32, (supervisor >> 32) as u32);
    });
}

/// AMD's leaf 0x80000001 repeats bits of leaf 1 in EDX: 0 to 9, 12 to 17, 23 and 24 (APM volume 3, E.4.2). Intel's does not.
fn alias_leaf_1(table: &mut Table) {
    const REPEATED: u32 = 0x0183_f3ff;
    let first = table.get(1, 0).map_or(0, |leaf| leaf.edx);
    table.edit(0x8000_0001, 0, |leaf| leaf.edx &= !REPEATED | first);
}

#[cfg(test)]
mod tests {
    use vocabulary::cpuid::{CpuidBit, Register};

    use super::*;

    #[test]
    fn all_names_are_known() {
        let needs = NEEDS.iter().flat_map(|(feature, needs)| needs.iter().chain([feature]));
        let states = STATES.iter().flat_map(|(_, features)| features.iter());
        for name in needs.chain(states) {
            assert_ne!(bits_named(name), [], "{name}");
        }
    }

    #[test]
    fn bits_are_repeated_only_where_the_maker_repeats_them() {
        let pae = CpuidBit { leaf: 1, index: 0, register: Register::Edx, bit: 6 };
        let leaf = |function, edx| kvm_cpuid_entry2 { function, edx, ..Default::default() };
        let mut amd = Table::new(vec![leaf(1, 0x40), leaf(0x8000_0001, 0x2000_0040)]);
        amd.set(pae, false);
        alias_leaf_1(&mut amd);
        assert_eq!(amd.get(0x8000_0001, 0).unwrap().edx, 0x2000_0000);
    }
}
