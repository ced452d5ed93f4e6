//! Hyper-V's leaves, beside and without KVM's.

use vocabulary::Enlightenment;

use super::*;

fn all() -> Enlightenments {
    Enlightenment::ALL.into_iter().collect()
}

fn without(list: &[Enlightenment]) -> Enlightenments {
    all().without(Enlightenments::of(list)).usable()
}

fn table(hypervisor: Hypervisor, enlightenments: Enlightenments) -> Table {
    let profile = Profile { hypervisor, enlightenments, spinlock_retries: 8191, ..profile(1, 4, 2, 39) };
    supported(&host("i7-8750h")).guest(&profile, 0)
}

/// The leaf's four registers.
fn at(table: &Table, leaf: u32) -> [u32; 4] {
    table.get(leaf, 0).map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]).unwrap()
}

const BOTH: Hypervisor = Hypervisor::Present { kvm: true, vendor: None };
const ALONE: Hypervisor = Hypervisor::Present { kvm: false, vendor: None };

#[test]
fn the_interface_comes_first_and_kvm_beside_it() {
    for (hypervisor, expected) in [
        (BOTH, &[(0x4000_0000, "Microsoft Hv"), (0x4000_0100, "KVMKVMKVM")][..]),
        (ALONE, &[(0x4000_0000, "GenuineIntel")]),
        (Hypervisor::Present { kvm: false, vendor: "abc".parse().ok() }, &[(0x4000_0000, "abc")]),
    ] {
        let table = table(hypervisor, all());
        let found = names(&table);
        assert_eq!(found.iter().map(|(leaf, name)| (*leaf, name.as_str())).collect::<Vec<_>>(), expected);
        assert_eq!(at(&table, 0x4000_0000)[0], 0x4000_0005, "the highest");
        assert_eq!(at(&table, 0x4000_0001), [0x3123_7648, 0, 0, 0]);
        let of_hyperv = table.entries().iter().filter(|entry| entry.function & 0xffff_ff00 == 0x4000_0000);
        assert_eq!(of_hyperv.count(), 6, "neither the debugger's nor those of nested virtualization");
    }
    let aside = at(&table(BOTH, all()), 0x4000_0100);
    assert_eq!(aside[0], 0x4000_0101);
    golden("i7-8750h-4x2-windows", &table(BOTH, without(&[Enlightenment::Reset, Enlightenment::Avic])));
    golden(
        "i7-8750h-4x2-windows-hidden",
        &table(ALONE, without(&[Enlightenment::Reset, Enlightenment::Ipi])),
    );
    assert_eq!(names(&table(Hypervisor::Absent, all())), []);
}

/// As KVM lists them, but for privileges that nothing here serves (EBX, and EDX 1 and 11, of the debugger and of VMBus), clocks of
/// nested guests (EAX 13), the control that hides the invariant TSC (EAX 15), and the claim that threads of one core are never
/// those of two (4 EAX 18); with the bit that QEMU adds (EDX 3).
#[test]
fn all_that_is_served_is_shown() {
    let shown = table(BOTH, without(&[Enlightenment::Avic]));
    assert_eq!(at(&shown, 0x4000_0003), [0x0aff, 0, 0, 0x0008_4518]);
    assert_eq!(at(&shown, 0x4000_0004), [0x0c2c, 8191, 0, 0]);
    assert_eq!(at(&shown, 0x4000_0005), [0x1000, 64, 0, 0]);
    assert_eq!(at(&shown, 0x4000_0002), [0x3839, 0x000a_0000, 0, 0]);
    let avic = table(BOTH, all());
    assert_eq!(at(&avic, 0x4000_0004), [0x0e24, 8191, 0, 0], "the APIC's own registers are faster then");
    let few = table(BOTH, Enlightenments::of(&[Enlightenment::Relaxed]));
    assert_eq!(at(&few, 0x4000_0003), [0x20, 0, 0, 8], "hypercalls with everything");
    assert_eq!(at(&few, 0x4000_0004), [0x20, u32::MAX, 0, 0], "no spinlock is ever told of");
}

/// Each adds bits and takes none; nothing is shown that KVM does not list.
#[test]
fn each_enlightenment_has_its_bits() {
    let few = table(BOTH, Enlightenments::of(&[Enlightenment::VpIndex]));
    let offered = Table::new(enlightened());
    for one in Enlightenment::ALL.into_iter().filter(|one| *one != Enlightenment::VpIndex) {
        let more = table(BOTH, Enlightenments::of(&[Enlightenment::VpIndex, one]));
        let leaves = [0x4000_0003, 0x4000_0004];
        assert!(leaves.iter().any(|leaf| at(&few, *leaf) != at(&more, *leaf)), "{one}");
        for leaf in leaves {
            // EBX of advice is a number.
            for register in [0, 3] {
                let (few, more) = (at(&few, leaf)[register], at(&more, leaf)[register]);
                assert_eq!(few & !more, 0, "{one}");
                assert_eq!((more & !few) & !at(&offered, leaf)[register], 0, "{one}");
            }
        }
    }
}

#[test]
fn what_kvm_lacks_is_not_offered() {
    let offer = |change: &dyn Fn(&mut Vec<kvm_cpuid_entry2>), synic| {
        let mut leaves = enlightened();
        change(&mut leaves);
        hyperv::Offer::new(leaves, synic).enlightenments()
    };
    assert_eq!(offer(&|_| (), true), all());
    assert_eq!(
        offer(&|_| (), false),
        without(&[Enlightenment::Synic]),
        "what needs the controller is not there without"
    );
    assert_eq!(offer(&|leaves| leaves.clear(), true), Enlightenments::NONE, "built without");
    assert_eq!(offer(&|leaves| leaves[3].eax &= !(1 << 5), true), Enlightenments::NONE);
    let old = offer(&|leaves| (leaves[3].edx, leaves[4].eax) = (1 << 10, 0x2c), true);
    let newer = [
        Enlightenment::Frequencies,
        Enlightenment::StimerDirect,
        Enlightenment::TlbFlush,
        Enlightenment::Ipi,
        Enlightenment::Avic,
    ];
    assert_eq!(old, without(&newer));
}
