//! Golden tables: CPUs of laptops, from public dumps, through what KVM takes away, to what a guest sees.
//!
//! `hosts/*.txt` are the processors' own answers; `guests/*.txt` the guests', to be read before they are committed:
//! `UPDATE_GOLDEN=1 cargo test -p vmm` writes them anew.

use std::path::{Path, PathBuf};

use kvm_bindings::kvm_cpuid_entry2;
use vocabulary::cpuid::bits_named;

use super::*;

mod hyperv_leaves;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cpu/cpuid/tests").join(name)
}

/// Reads a table as `cpuid -r` writes it.
fn parse(text: &str) -> Table {
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let entries = text.lines().filter(|line| line.starts_with("   ")).map(|line| {
        let (key, answer) = line.split_once(": ").unwrap();
        let (leaf, index) = key.trim().split_once(' ').unwrap();
        let mut registers = answer.split(' ').map(|register| number(register.split_once('=').unwrap().1));
        let mut next = || registers.next().unwrap();
        kvm_cpuid_entry2 {
            function: number(leaf),
            index: number(index),
            eax: next(),
            ebx: next(),
            ecx: next(),
            edx: next(),
            ..Default::default()
        }
    });
    Table::new(entries.collect())
}

fn host(name: &str) -> Table {
    parse(&std::fs::read_to_string(path(&format!("hosts/{name}.txt"))).unwrap())
}

/// What KVM_GET_SUPPORTED_CPUID gives on this host, near enough (Linux arch/x86/kvm/cpuid.c). Features that need a newer KVM,
/// hybrid parts and SGX are left in: the guest's table must not depend on KVM for what this machine cannot have.
fn supported(host: &Table) -> Supported {
    let mut table = host.clone();
    table.edit(0x1, 0, |leaf| {
        leaf.ecx &= 0x76fa_3203;
        leaf.edx &= 0x0f8b_fbff & !(1 << 28);
    });
    // On every host (kvm_arch_capabilities in arch/x86/kvm/x86.c).
    table.edit(0x7, 0, |leaf| leaf.edx |= 1 << 29);
    table.edit_all(0x5, |leaf| (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0));
    table.edit(0x6, 0, |leaf| (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (4, 0, 0, 0));
    table.retain(|entry| {
        let numbers = entry.function & 0x7fff_ffff;
        let zeros = (entry.eax | entry.ebx | entry.ecx | entry.edx) == 0 && entry.index == 0;
        !zeros && !matches!(entry.function, 0xf | 0x10 | 0x15..=0x19 | 0x1b | 0x1c) && numbers < 0x40
    });
    table.put(leaf(0x4000_0000, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]));
    table.put(leaf(0x4000_0001, [0x0100_7efb, 0, 0, 0]));
    Supported::new(table, true, hyperv::Offer::new(enlightened(), true))
}

/// What KVM_GET_SUPPORTED_HV_CPUID gave on Linux 6.12 (AMD, without nested virtualization), in its order.
fn enlightened() -> Vec<kvm_cpuid_entry2> {
    let leaves = [
        (0x4000_0000, [0x4000_0082, 0x756e_694c, 0x564b_2078, 0x7648_204d]),
        (0x4000_0001, [0x3123_7648, 0, 0, 0]),
        (0x4000_0002, [0x3839, 0x000a_0000, 0, 0]),
        (0x4000_0003, [0xaaff, 0x0010_0830, 0, 0x0008_4d12]),
        (0x4000_0004, [0x0004_0e2c, 0xfff, 0, 0]),
        (0x4000_0005, [0x1000, 64, 0, 0]),
        (0x4000_0080, [0x4000_0082, 0x7263_694d, 0x666f_736f, 0x5356_2074]),
        (0x4000_0081, [0x3123_5356, 0, 0, 0]),
        (0x4000_0082, [2, 0, 0, 0]),
    ];
    leaves.map(|(function, registers)| leaf(function, registers)).to_vec()
}

fn profile(sockets: u32, cores: u32, threads: u32, physical_bits: u8) -> Profile {
    let hypervisor = Hypervisor::Present { kvm: true, vendor: None };
    Profile {
        topology: Topology { sockets, cores, threads },
        physical_bits,
        hypervisor,
        enlightenments: Enlightenments::NONE,
        spinlock_retries: 0,
        remove: Vec::new(),
    }
}

/// Compares a guest's table with the golden one.
fn golden(name: &str, table: &Table) {
    let path = path(&format!("guests/{name}.txt"));
    let text = ShownCpu::new(0, table).text();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{name}");
}

fn has(table: &Table, name: &str) -> bool {
    bits_named(name).into_iter().any(|bit| table.has(bit))
}

/// How many APIC IDs share each cache.
fn sharing(table: &Table, leaf: u32) -> Vec<u32> {
    let caches = table.entries().iter().filter(|entry| entry.function == leaf && field(entry.eax, 4, 0) != 0);
    caches.map(|cache| field(cache.eax, 25, 14) + 1).collect()
}

/// What holds of every guest's table.
fn check(table: &Table, topology: Topology, apic_id: u32) {
    let at = |leaf, index| *table.get(leaf, index).unwrap_or_else(|| panic!("{leaf:#x}.{index}"));
    assert_eq!(at(1, 0).ebx >> 24, apic_id & 0xff);
    let levels: Vec<_> = (0..3).map(|index| at(0xb, index)).collect();
    assert_eq!(
        levels.iter().map(|level| level.edx).collect::<Vec<_>>(),
        [apic_id; 3],
        "in the invalid level, too"
    );
    assert_eq!((levels[0].eax, levels[0].ebx), (topology.thread_bits(), topology.threads));
    assert_eq!((levels[1].eax, levels[1].ebx), (topology.package_shift(), topology.cores * topology.threads));
    for (leaf, index) in [(0x1f, 0), (0x1a, 0), (0x12, 0), (0x8000_0026, 0)] {
        assert!(table.get(leaf, index).is_none(), "{leaf:#x}");
    }
    for name in ["hybrid", "sgx", "sgxlc", "la57"] {
        assert!(!has(table, name), "{name}");
    }
    // What is saved is what the size says.
    let (user, most) = (at(0xd, 0).eax, at(0xd, 0).ecx);
    let parts: Vec<_> = (2..32).filter(|index| user & 1 << index != 0).map(|index| at(0xd, index)).collect();
    assert_eq!(most, parts.iter().map(|part| part.eax + part.ebx).max().unwrap_or(576));
    for (component, name) in [(2, "avx"), (3, "mpx"), (5, "avx512f"), (9, "pku"), (18, "amx-tile")] {
        assert_eq!(user & 1 << component != 0, has(table, name), "{name}");
    }
    assert!(table.for_kvm().is_some());
}

#[test]
fn intel() {
    let supported = supported(&host("i7-8750h"));
    assert_eq!(supported.brand(), "Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz");
    let profile = profile(1, 4, 2, 39);
    let table = supported.guest(&profile, 5);
    check(&table, profile.topology, 5);
    assert_eq!(sharing(&table, 4), [2, 2, 2, 8], "a package of 8 IDs in the L3 of 16");
    assert_eq!(table.get(4, 0).unwrap().eax >> 26, 3, "IDs of cores in the package, less one");
    assert_eq!(table.get(0x8000_0008, 0).unwrap().ecx, 0, "no field of AMD's");
    assert!(!has(&table, "topoext"));
    assert!(has(&table, "invtsc") && has(&table, "tsc-deadline") && has(&table, "hypervisor"));
    assert!(has(&table, "arch-capabilities"));
    golden("i7-8750h-4x2", &table);
}

#[test]
fn amd() {
    let supported = supported(&host("ryzen-7-5800h"));
    let profile = profile(1, 6, 2, 48);
    let table = supported.guest(&profile, 11);
    check(&table, profile.topology, 11);
    assert_eq!(sharing(&table, 0x8000_001d), [2, 2, 2, 16], "one L3 for all");
    let leaf = table.get(0x8000_001e, 0).unwrap();
    assert_eq!((leaf.eax, leaf.ebx, leaf.ecx), (11, 0x0105, 0), "core 5, two threads each, node 0");
    assert_eq!(table.get(0x8000_0008, 0).unwrap().ecx & 0xf0ff, 0x400b);
    assert!(has(&table, "topoext") && has(&table, "cmp-legacy") && has(&table, "invtsc"));
    assert!(supported.table.has(bits_named("arch-capabilities")[0]) && !has(&table, "arch-capabilities"));
    golden("ryzen-7-5800h-6x2", &table);
}

/// Four cores share an L3, so eight have two of them.
#[test]
fn two_ccx() {
    let mut supported = supported(&host("ryzen-7-4800h"));
    // KVM takes the bit from what the kernel uses, and the kernel may not use it.
    bits_named("topoext").into_iter().for_each(|bit| supported.table.set(bit, false));
    let eight = profile(1, 8, 2, 44);
    let table = supported.guest(&eight, 9);
    check(&table, eight.topology, 9);
    assert_eq!(sharing(&table, 0x8000_001d), [2, 2, 2, 8]);
    assert!(has(&table, "topoext"), "else threads are taken for cores");
    golden("ryzen-7-4800h-8x2", &table);
    let two = supported.guest(&profile(2, 2, 2, 44), 5);
    assert_eq!(sharing(&two, 0x8000_001d), [2, 2, 2, 4], "no cache is in two packages");
    assert_eq!(two.get(0x8000_001e, 0).unwrap().ecx, 1, "the node of the second package");
}

#[test]
fn hybrid() {
    let supported = supported(&host("i9-13900h"));
    let profile = profile(1, 6, 2, 46);
    let table = supported.guest(&profile, 0);
    check(&table, profile.topology, 0);
    assert_eq!(sharing(&table, 4), [2, 2, 2, 16]);
    assert_eq!(field(table.get(4, 2).unwrap().eax, 4, 0), 3, "the L2 of a P core");
    golden("i9-13900h-6x2", &table);
}

/// The names that drivers look for, at all places where they look, as NVIDIA's does up to 0x40000F00 and Linux up to 0x40010000.
fn names(table: &Table) -> Vec<(u32, String)> {
    let leaves = (0x4000_0000..0x4001_0000).step_by(0x100).filter_map(|leaf| table.get(leaf, 0));
    leaves.map(|leaf| (leaf.function, text(&[leaf.ebx, leaf.ecx, leaf.edx]))).collect()
}

#[test]
fn the_hypervisor_is_shown_as_asked() {
    let supported = supported(&host("i7-8750h"));
    let table = |hypervisor| supported.guest(&Profile { hypervisor, ..profile(1, 4, 2, 39) }, 0);
    let vendor = "abcdef".parse().ok();
    for (hypervisor, bit, expected) in [
        (Hypervisor::Present { kvm: true, vendor: None }, true, &[(0x4000_0000, "KVMKVMKVM")][..]),
        (
            Hypervisor::Present { kvm: true, vendor },
            true,
            &[(0x4000_0000, "abcdef"), (0x4000_0100, "KVMKVMKVM")],
        ),
        (Hypervisor::Present { kvm: false, vendor }, true, &[(0x4000_0000, "abcdef")]),
        (Hypervisor::Present { kvm: false, vendor: None }, true, &[(0x4000_0000, "")]),
        (Hypervisor::Absent, false, &[]),
    ] {
        let table = table(hypervisor);
        assert_eq!(has(&table, "hypervisor"), bit, "{hypervisor:?}");
        let found = names(&table);
        assert_eq!(found.iter().map(|(leaf, name)| (*leaf, name.as_str())).collect::<Vec<_>>(), expected);
        let most = found.first().map(|(leaf, _)| table.get(*leaf, 0).unwrap().eax);
        let kvm_first = expected.first().is_some_and(|(_, name)| *name == "KVMKVMKVM");
        assert_eq!(most, bit.then_some(0x4000_0000 + u32::from(kvm_first)));
        let beyond = table.entries().iter().filter(|entry| entry.function >> 28 == 4).count();
        assert_eq!(beyond, found.len() + found.iter().filter(|(_, name)| name == "KVMKVMKVM").count());
    }
    let aside = table(Hypervisor::Present { kvm: true, vendor });
    assert_eq!(aside.get(0x4000_0100, 0).unwrap().eax, 0x4000_0101);
    assert_eq!(aside.get(0x4000_0101, 0).unwrap().eax, 0x0100_7efb, "KVM's features");
}

#[test]
fn a_feature_that_is_taken_away_takes_others_along() {
    let supported = supported(&host("i9-13900h"));
    let without = |names: &[&str]| {
        let remove = names.iter().flat_map(|name| bits_named(name)).collect();
        let profile = Profile { remove, ..profile(1, 6, 2, 46) };
        let table = supported.guest(&profile, 0);
        check(&table, profile.topology, 0);
        table
    };
    let table = without(&["avx", "tsc-deadline", "invtsc"]);
    for name in ["avx", "avx2", "vaes", "fma", "tsc-deadline", "invtsc"] {
        assert!(!has(&table, name), "{name}");
    }
    assert_eq!(table.get(0xd, 0).unwrap().eax, 0x203, "PKRU is left");
    assert!(has(&table, "aes"));
    assert!(without(&["xsaves"]).get(0xd, 1).is_some_and(|leaf| leaf.ecx == 0), "no state of supervisors");
    let none = supported.guest(&Profile { remove: bits_named("xsave"), ..profile(1, 1, 1, 46) }, 0);
    assert!(none.get(0xd, 0).is_none() && !has(&none, "pku") && !has(&none, "xsavec"));
}

/// Threads of a core share its caches, also where the host has only one of each.
#[test]
fn caches_belong_to_cores() {
    let mut host = supported(&host("i7-8750h"));
    host.table.edit_all(4, |cache| set_field(&mut cache.eax, 25, 14, 0));
    assert_eq!(sharing(&host.guest(&profile(1, 2, 2, 39), 0), 4), [2, 2, 2, 2]);
    assert_eq!(sharing(&host.guest(&profile(1, 1, 1, 39), 0), 4), [1, 1, 1, 1]);
}

#[test]
fn a_feature_goes_with_the_state_that_it_needs() {
    let mut host = supported(&host("i9-13900h"));
    // A KVM without permission for AVX's state, say.
    host.table.edit(0xd, 0, |leaf| leaf.eax &= !4);
    let table = host.guest(&profile(1, 1, 1, 46), 0);
    for name in ["avx", "avx2", "fma", "f16c", "vaes", "vpclmulqdq", "avx-vnni"] {
        assert!(!has(&table, name), "{name}");
    }
    assert!(has(&table, "aes") && has(&table, "pku") && has(&table, "xsaves"));
    check(&table, profile(1, 1, 1, 46).topology, 0);
}

#[test]
fn xsavec_does_not_stay_without_xsaves() {
    let mut host = supported(&host("ryzen-7-4800h"));
    bits_named("xsaves").into_iter().for_each(|bit| host.table.set(bit, false));
    let table = host.guest(&profile(1, 1, 1, 44), 0);
    assert!(!has(&table, "xsavec") && has(&table, "xsaveopt"));
}

#[test]
fn differences_are_named() {
    let host = host("i9-13900h");
    let guest = supported(&host).guest(&profile(1, 6, 2, 46), 0);
    let differences = differences(&host, &guest);
    let of = |leaf, register: &str| {
        differences
            .iter()
            .find(|found| (found.leaf, found.index) == (leaf, 0) && found.register == register)
            .unwrap()
    };
    assert!(of(7, "edx").hidden.contains(&"hybrid".to_owned()));
    assert_eq!(of(1, "ecx").added, ["hypervisor"]);
    assert!(of(0x1a, "eax").hidden.is_empty(), "no flags");
    let text = differences_text(&differences);
    assert!(text.contains("0x0000001a 0x00 eax       40000001  00000000"), "{text}");
}

/// The sums over a package, which firmware of these laptops shows for all their cores: the R720's i5-7300HQ, of the i7-8750H's
/// kind, has 256 KiB, 1 MiB and its L3.
#[test]
fn caches_are_counted_by_the_package() {
    let caches = |name: &str, sockets, cores, threads| {
        let profile = profile(sockets, cores, threads, 39);
        let ids: Vec<u32> =
            (0..profile.topology.count()).map(|index| profile.topology.apic_id(index)).collect();
        let caches = supported(&host(name)).caches(&profile, &ids);
        caches.iter().map(|cache| (cache.level, cache.size >> 10, cache.ways)).collect::<Vec<_>>()
    };
    assert_eq!(caches("i7-8750h", 1, 4, 1), [(1, 256, 8), (2, 1024, 4), (3, 9216, 12)]);
    assert_eq!(caches("i7-8750h", 2, 3, 2), [(1, 192, 8), (2, 768, 4), (3, 9216, 12)], "of one package");
    assert_eq!(caches("ryzen-7-5800h", 1, 8, 2), [(1, 512, 8), (2, 4096, 8), (3, 16384, 16)]);
    // Four cores share an L3, so five have two of them.
    assert_eq!(caches("ryzen-7-4800h", 1, 5, 2), [(1, 320, 8), (2, 2560, 8), (3, 8192, 16)]);
    assert_eq!(caches("i9-13900h", 1, 6, 2), [(1, 480, 12), (2, 7680, 10), (3, 24576, 12)]);
    let mut silent = supported(&host("i7-8750h"));
    silent.table.retain(|entry| entry.function != 4);
    assert_eq!(silent.caches(&profile(1, 1, 1, 39), &[0]), []);
}
