//! What the plan says of the processors.

use vocabulary::Enlightenment::{Avic, Ipi};
use vocabulary::Enlightenments;

use super::super::report::report;
use super::{config, plan};
use crate::host::{HardwareApic, HostFacts};

const GPU: &str = "[dgpu]\nhost = \"01:00.0\"\n";

fn text(toml: &str) -> String {
    report(&plan(config(toml)).unwrap(), &[]).text()
}

#[test]
fn the_plan_shows_what_cpuid_says_of_the_hypervisor() {
    for (toml, line) in [
        ("", "  CPUID shows KVM\n"),
        (
            GPU,
            "  CPUID shows a hypervisor, but not KVM, for the driver of [dgpu]; `hide_hypervisor = false` in [cpu] shows it\n",
        ),
        (
            "[cpu]\npreset = \"optimus\"",
            "  CPUID shows Hyper-V's interface, but not KVM, under the name \"GenuineIntel\"\n  \
             Hyper-V: relaxed, vapic, spinlocks, vpindex, time (8191 attempts at a spinlock)\n  without vmx, svm\n",
        ),
        (
            "[cpu]\nvendor_id = \"abc\"\nfeatures = { add = [\"avx2\"] }",
            "  CPUID shows KVM, under the name \"abc\"\n  with avx2\n",
        ),
        ("[cpu]\nhypervisor = false", "  CPUID shows no hypervisor\n"),
        (
            "[cpu]\nos = \"other\"\nhyperv = { relaxed = true, crash = true }",
            "  CPUID shows Hyper-V's interface and KVM's, under the name \"Microsoft Hv\"\n  Hyper-V: relaxed, crash\n",
        ),
        (
            "[cpu]\nmsrs = \"ignore\"",
            "  CPUID shows KVM\n  MSRs that nobody knows read as 0, and writes to them do nothing\n",
        ),
    ] {
        let text = text(toml);
        assert!(text.contains(line), "{toml}\n{text}");
    }
}

#[test]
fn what_a_guest_loses_is_told_with_the_line() {
    let warnings = |toml: &str| -> Vec<String> {
        let plan = plan(config(toml)).unwrap();
        let told = plan.warnings.iter().map(ToString::to_string);
        told.filter(|text| text.contains("hypervisor") || text.contains("laptop")).collect()
    };
    assert_eq!(warnings("[cpu]\nhide_hypervisor = true\n"), [""; 0]);
    assert_eq!(warnings(GPU), [""; 0], "the battery comes with the GPU");
    let [bit] = &warnings("[cpu]\nhypervisor = false\n")[..] else { panic!("one warning") };
    assert!(bit.starts_with("/vm/test.toml:6:14: without the hypervisor bit"), "{bit}");
    let none = format!("{GPU}[battery]\nmode = \"none\"\n");
    let [battery] = &warnings(&none)[..] else { panic!("one warning") };
    assert!(battery.contains(":8:8: the driver of [dgpu] does not see KVM"), "{battery}");
    // Whether or not the hypervisor is hidden.
    assert_eq!(warnings(&format!("[cpu]\nos = \"linux\"\n{none}")), [""; 0]);
    assert_eq!(warnings(&format!("[cpu]\nos = \"linux\"\nhide_hypervisor = true\n{none}")), [""; 0]);
}

#[test]
fn what_the_hosts_processors_do_better_is_left_to_them() {
    let on = |toml: &str, registers, ipis| {
        let facts = HostFacts { apic: HardwareApic { registers, ipis }, ..HostFacts::default() };
        let hyperv = super::super::plan(config(toml), &facts).unwrap().identity.hyperv;
        hyperv.on.and(Enlightenments::of(&[Avic, Ipi])).to_string()
    };
    let windows = "[cpu]\nos = \"windows\"\ncount = 2\n";
    assert_eq!(on(windows, false, false), "ipi");
    assert_eq!(on(windows, true, false), "ipi, avic");
    assert_eq!(on(windows, true, true), "avic");
    let written = format!("{windows}hyperv = {{ avic = true, ipi = true }}\n");
    assert_eq!(on(&written, false, true), "ipi, avic");
    let off = format!("{windows}hyperv = {{ avic = false, ipi = false }}\n");
    assert_eq!(on(&off, true, false), "");
    assert_eq!(on("", true, true), "");
}
