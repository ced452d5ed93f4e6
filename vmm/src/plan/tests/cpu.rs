//! What the plan says of the processors.

use super::super::report::report;
use super::{config, plan};

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
            "  CPUID shows a hypervisor, but not KVM, under the name \"GenuineIntel\"\n  without vmx, svm\n",
        ),
        (
            "[cpu]\nvendor_id = \"abc\"\nfeatures = { add = [\"avx2\"] }",
            "  CPUID shows KVM, under the name \"abc\"\n  with avx2\n",
        ),
        ("[cpu]\nhypervisor = false", "  CPUID shows no hypervisor\n"),
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
        told.filter(|text| text.contains("hypervisor")).collect()
    };
    assert_eq!(warnings("[cpu]\nhide_hypervisor = true\n"), [""; 0]);
    assert_eq!(warnings(GPU), [""; 0], "the battery comes with the GPU");
    let [bit] = &warnings("[cpu]\nhypervisor = false\n")[..] else { panic!("one warning") };
    assert!(bit.starts_with("/vm/test.toml:6:14: without the hypervisor bit"), "{bit}");
    let none = format!("{GPU}[battery]\nmode = \"none\"\n");
    let [battery] = &warnings(&none)[..] else { panic!("one warning") };
    assert!(battery.contains(":8:8: the driver of [dgpu] does not see KVM"), "{battery}");
    assert_eq!(warnings(&format!("[cpu]\nos = \"linux\"\n{none}")), [""; 0]);
}
