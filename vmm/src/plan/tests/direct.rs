//! What is planned and told differently where a kernel starts without firmware.

use super::*;

const KERNEL: &str = "[kernel]\nimage = \"/boot/vmlinuz\"\ninitrd = \"/boot/initrd\"\n";

fn direct(text: &str) -> MachinePlan {
    plan(config(&format!("{text}\n{KERNEL}boot = \"direct\"\n"))).unwrap()
}

#[test]
fn the_report_says_how_the_machine_starts() {
    let report = report::report(&direct(""), &[]);
    let text = report.text();
    assert!(
        text.contains("Starts without firmware\n  kernel    /boot/vmlinuz\n  initrd    /boot/initrd\n"),
        "{text}"
    );
    assert!(!text.contains("Firmware\n") && !text.contains("flash"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!((json["direct"]["kernel"].as_str(), json.get("firmware")), (Some("/boot/vmlinuz"), None));

    let text = report::report(&plan(config(KERNEL)).unwrap(), &[]).text();
    assert!(
        text.contains("  code      /vm/c.fd\n") && text.contains("  starts    /boot/vmlinuz\n"),
        "{text}"
    );
}

#[test]
fn what_only_firmware_does_is_told() {
    let text = "[machine]\nboot_menu = 5\n[[disk]]\npath = \"a.raw\"\n[[disk]]\npath = \"b.raw\"\nboot_index = 0\n\
                [[vfio]]\nhost = \"0000:03:00.0\"\nboot_index = 1\n[display]\n";
    let warnings: Vec<String> = direct(text).warnings.iter().map(ToString::to_string).collect();
    for expected in [
        "test.toml:6:13: the kernel starts without firmware, which would show the boot menu",
        "test.toml:11:14: the kernel starts without firmware, whose boot order this is a place in",
        "test.toml:14:14: the kernel starts without firmware, whose boot order this is a place in",
        "test.toml:15:1: the screen stays blank",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:#?}");
    }
    let by_firmware = plan(config(&format!("{text}{KERNEL}"))).unwrap().warnings;
    assert!(by_firmware.iter().all(|warning| !warning.to_string().contains("without firmware")));
}
