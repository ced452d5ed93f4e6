//! What the processors say of themselves.

use vocabulary::{CpuFeature, Hypervisor, HypervisorVendor};

use super::super::{Config, CpuIdentity, Os, Rtc};
use super::parse;
use crate::device::Battery;
use crate::device::battery::BatteryMode;
use crate::finding::Section;

const GPU: &str = "[dgpu]\nhost = \"01:00.0\"\n";
const KVM: Hypervisor = Hypervisor::Present { kvm: true, vendor: None };
const HIDDEN: Hypervisor = Hypervisor::Present { kvm: false, vendor: None };

fn config(cpu: &str) -> Config {
    parse(&format!("[cpu]\n{cpu}\n")).unwrap()
}

fn identity(cpu: &str) -> CpuIdentity {
    config(cpu).identity
}

fn features(list: &[CpuFeature]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn the_hypervisor_is_shown_unless_the_file_says_otherwise() {
    let vendor: Option<HypervisorVendor> = "abc".parse().ok();
    for (cpu, hypervisor) in [
        ("", KVM),
        ("hide_hypervisor = true", HIDDEN),
        ("hypervisor = false", Hypervisor::Absent),
        ("hypervisor = false\nhide_hypervisor = true", Hypervisor::Absent),
        ("vendor_id = \"abc\"", Hypervisor::Present { kvm: true, vendor }),
        ("vendor_id = \"abc\"\nhide_hypervisor = true", Hypervisor::Present { kvm: false, vendor }),
        ("os = \"windows\"", KVM),
    ] {
        assert_eq!(identity(cpu).hypervisor, hypervisor, "{cpu}");
    }
}

#[test]
fn a_gpu_hides_kvm_unless_the_file_says_otherwise() {
    for (cpu, hypervisor, for_gpu) in [
        ("", HIDDEN, true),
        ("os = \"windows\"", HIDDEN, true),
        ("os = \"linux\"", KVM, false),
        ("os = \"linux\"\nhide_hypervisor = true", HIDDEN, false),
        ("hide_hypervisor = false", KVM, false),
        ("hide_hypervisor = true", HIDDEN, false),
        ("hypervisor = false", Hypervisor::Absent, false),
    ] {
        let identity = parse(&format!("[cpu]\n{cpu}\n{GPU}")).unwrap().identity;
        assert_eq!((identity.hypervisor, identity.hidden_for_gpu), (hypervisor, for_gpu), "{cpu}");
    }
}

#[test]
fn a_gpu_brings_a_battery_unless_the_file_says_otherwise() {
    let battery = |text: &str| parse(text).unwrap().devices.one::<Battery>().map(|battery| battery.mode);
    assert_eq!(battery(""), None);
    assert_eq!(battery(GPU), Some(BatteryMode::Full));
    assert_eq!(battery(&format!("{GPU}[battery]\nmode = \"mirror\"")), Some(BatteryMode::Mirror));
    assert_eq!(battery(&format!("{GPU}[battery]\nmode = \"none\"")), None);
    assert_eq!(battery("[battery]\nmode = \"full\""), Some(BatteryMode::Full));
}

#[test]
fn windows_has_local_time_and_no_nested_virtualization() {
    let windows = config("os = \"windows\"");
    assert_eq!((windows.machine.rtc, windows.identity.os), (Rtc::Localtime, Os::Windows));
    assert_eq!(features(&windows.identity.remove), ["vmx", "svm"]);
    let otherwise =
        parse("[machine]\nrtc = \"utc\"\n[cpu]\nos = \"windows\"\nfeatures = { add = [\"vmx\"] }").unwrap();
    assert_eq!(otherwise.machine.rtc, Rtc::Utc);
    assert_eq!(features(&otherwise.identity.remove), ["svm"]);
    for os in ["linux", "other"] {
        let other = config(&format!("os = \"{os}\""));
        assert_eq!((other.machine.rtc, other.identity.remove), (Rtc::Utc, Vec::new()), "{os}");
    }
}

#[test]
fn a_preset_gives_way_to_what_is_written() {
    let optimus = config("preset = \"optimus\"");
    let vendor = Some(HypervisorVendor::GENUINE_INTEL);
    assert_eq!(optimus.identity.hypervisor, Hypervisor::Present { kvm: false, vendor });
    assert_eq!((optimus.identity.os, optimus.machine.rtc), (Os::Windows, Rtc::Localtime));
    let written =
        config("preset = \"optimus\"\nos = \"other\"\nhide_hypervisor = false\nvendor_id = \"abc\"");
    let vendor = "abc".parse().ok();
    assert_eq!(written.identity.hypervisor, Hypervisor::Present { kvm: true, vendor });
    assert_eq!((written.identity.os, written.machine.rtc), (Os::Other, Rtc::Utc));
    assert_eq!(identity("preset = \"optimus\"\nhypervisor = false").hypervisor, Hypervisor::Absent);
}

#[test]
fn features_are_found_by_line() {
    let cpu = "features = { add = [\"vmx\", \"0x7.0.ebx.5\"], remove = [\"avx512f\", \"sse4_1\"] }";
    let config = config(cpu);
    assert_eq!(features(&config.identity.add), ["vmx", "0x7.0.ebx.5"]);
    assert_eq!(features(&config.identity.remove), ["avx512f", "sse4_1"]);
    let place = config.locate(Section::Cpu.key("features.add")).unwrap();
    assert_eq!((place.line, place.column), (2, 20));
}

#[test]
fn a_machine_without_hypervisor_has_no_devices_of_qemus() {
    let devices = |text: &str| {
        let machine = parse(text).unwrap().machine;
        (machine.pvpanic, machine.fw_cfg_device)
    };
    assert_eq!(devices(""), (true, true));
    assert_eq!(devices("[cpu]\nhide_hypervisor = true"), (true, true));
    assert_eq!(devices("[machine]\npvpanic = false\nfw_cfg_device = false"), (false, false));
    let absent = "[cpu]\nhypervisor = false\n";
    assert_eq!(devices(absent), (false, false));
    assert_eq!(devices(&format!("{absent}[machine]\npvpanic = true\nfw_cfg_device = true")), (true, true));
    // What the user adds is to be found.
    for addition in
        ["[[fw_cfg]]\nname = \"opt/org.example/a\"\nstring = \"b\"", "[[acpi.table]]\nfile = \"a.aml\""]
    {
        assert_eq!(devices(&format!("{absent}{addition}")), (false, true), "{addition}");
        let written = format!("{absent}[machine]\nfw_cfg_device = false\n{addition}");
        assert_eq!(devices(&written), (false, false), "{addition}");
    }
}
