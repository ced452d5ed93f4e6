//! Hyper-V's interface.

use std::collections::BTreeSet;

use vocabulary::{Enlightenment, Enlightenments};

use super::super::Hyperv;
use super::parse;

fn hyperv(cpu: &str) -> Hyperv {
    parse(&format!("[cpu]\n{cpu}\n")).unwrap().identity.hyperv
}

const WINDOWS: &str = "relaxed, vapic, spinlocks, vpindex, runtime, time, frequencies, synic, stimer, stimer_direct, avic, crash";

#[test]
fn windows_has_what_helps_it() {
    for (cpu, on) in [
        ("", ""),
        ("os = \"linux\"", ""),
        ("os = \"windows\"", WINDOWS),
        ("preset = \"optimus\"", "relaxed, vapic, spinlocks, vpindex, time"),
        ("preset = \"optimus\"\nos = \"windows\"", "relaxed, vapic, spinlocks, vpindex, time"),
        ("preset = \"optimus\"\nos = \"other\"", ""),
        ("os = \"windows\"\nhypervisor = false", ""),
        ("hypervisor = false\nhyperv = { relaxed = false, spinlocks = false }", ""),
        ("hyperv = { relaxed = true }", "relaxed"),
        ("os = \"linux\"\nhyperv = { vpindex = true, time = true }", "vpindex, time"),
        (
            "preset = \"optimus\"\nhyperv = { crash = true, vapic = false }",
            "relaxed, spinlocks, vpindex, time, crash",
        ),
        (
            "os = \"windows\"\nhyperv = { reset = true, avic = false, crash = false, spinlocks = false }",
            &WINDOWS
                .replace(", avic, crash", "")
                .replace("spinlocks, ", "")
                .replace("frequencies", "frequencies, reset"),
        ),
    ] {
        assert_eq!(hyperv(cpu).on.to_string(), on, "{cpu}");
    }
    let several = Enlightenments::of(&[Enlightenment::TlbFlush, Enlightenment::Ipi]);
    let many = hyperv("os = \"windows\"\ncount = 2").on;
    assert_eq!(many.without(several).to_string(), WINDOWS);
    assert_eq!(many.and(several), several);
}

#[test]
fn what_is_not_written_gives_way() {
    let without_index = hyperv("os = \"windows\"\ncount = 2\nhyperv = { vpindex = false }");
    assert_eq!(without_index.on.to_string(), "relaxed, vapic, spinlocks, runtime, frequencies, avic, crash");
    assert_eq!(without_index.written.to_string(), "vpindex");
}

#[test]
fn spinlocks_have_a_number() {
    assert_eq!(hyperv("os = \"windows\"").retries, 8191);
    let given = hyperv("hyperv = { spinlocks = 4095 }");
    assert_eq!((given.retries, given.on.to_string().as_str()), (4095, "spinlocks"));
}

/// Keys with which one is usable.
fn needed(one: Enlightenment) -> BTreeSet<String> {
    let needs = one.needs().iter();
    needs.flat_map(|need| needed(*need).into_iter().chain([format!("{need} = true\n")])).collect()
}

/// Every key reaches the enlightenment of its name.
#[test]
fn keys_and_enlightenments_have_the_same_names() {
    for one in Enlightenment::ALL {
        let value = if one == Enlightenment::Spinlocks { "4095" } else { "true" };
        let needed: String = needed(one).into_iter().collect();
        let found = parse(&format!("[cpu.hyperv]\n{one} = {value}\n{needed}")).unwrap().identity.hyperv;
        assert!(found.on.contains(one) && found.written == found.on, "{one}: {found:?}");
        let off = parse(&format!("[cpu]\nos = \"windows\"\ncount = 2\n[cpu.hyperv]\n{one} = false\n"));
        let off = off.unwrap().identity.hyperv;
        assert!(!off.on.contains(one) && off.written == Enlightenments::of(&[one]), "{off:?}");
    }
}
