//! Files that shells read, read by shells.

use std::process::Command;

use super::fixture::{DISTRIBUTIONS, Fixture};
use crate::setup::contents;

/// Runs a script; what it prints.
fn shell(program: &str, script: &str) -> String {
    let done = Command::new(program).args(["-ec", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn grub_gets_the_words_once_more() {
    for text in ["GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n", "GRUB_CMDLINE_LINUX_DEFAULT='quiet splash'"]
    {
        let script = contents::grub_file(text, "intel_iommu=on i915.enable_gvt=1");
        let said = shell("sh", &format!("{script}\necho \"$GRUB_CMDLINE_LINUX_DEFAULT\""));
        assert_eq!(said, "quiet splash intel_iommu=on i915.enable_gvt=1\n");
    }
    let folder = contents::grub_folder("intel_iommu=on");
    let script = format!("GRUB_CMDLINE_LINUX_DEFAULT=quiet\n{folder}\necho \"$GRUB_CMDLINE_LINUX_DEFAULT\"");
    assert_eq!(shell("sh", &script), "quiet intel_iommu=on\n");
}

#[test]
fn mkinitcpio_loads_vfio_pci_first() {
    let text = contents::mkinitcpio("etc/modprobe.d/x.conf");
    let script = format!("MODULES=(btrfs ext4)\nFILES=()\n{text}\necho \"${{MODULES[@]}} ${{FILES[@]}}\"");
    assert_eq!(shell("bash", &script), "vfio_pci btrfs ext4 /etc/modprobe.d/x.conf\n");
    // With nothing in it either, whatever the shell's options.
    let script = format!("set -u\nMODULES=()\nFILES=()\n{text}\necho \"${{MODULES[@]}}\"");
    assert_eq!(shell("bash", &script), "vfio_pci\n");
}

#[test]
fn dracut_keeps_what_others_have_added() {
    let text = contents::dracut("etc/modprobe.d/x.conf");
    let script =
        format!("force_drivers=\" btrfs \"\ninstall_items=\n{text}\necho $force_drivers $install_items");
    assert_eq!(shell("bash", &script), "btrfs vfio-pci /etc/modprobe.d/x.conf\n");
}

#[test]
fn the_hook_names_nothing_that_it_needs_before() {
    let hook = contents::tools_hook();
    assert!(hook.starts_with("#!/bin/sh\n"));
    let script = format!("set -- prereqs\n{hook}");
    assert_eq!(shell("sh", &script), "");
    assert!(hook.ends_with("force_load vfio-pci\n"));
}

#[test]
fn words_go_to_the_end_of_the_kernels_line() {
    for (text, wanted) in [
        ("root=/dev/sda1 rw\n", "root=/dev/sda1 rw intel_iommu=on\n"),
        ("root=/dev/sda1 rw", "root=/dev/sda1 rw intel_iommu=on"),
        ("root=/dev/sda1 rw \n", "root=/dev/sda1 rw intel_iommu=on\n"),
        ("root=/dev/sda1\nrw\n", "root=/dev/sda1\nrw intel_iommu=on\n"),
        ("", "intel_iommu=on"),
    ] {
        assert_eq!(contents::kernel_file(text, "intel_iommu=on"), wanted, "{text:?}");
    }
}

#[test]
fn what_modules_wait_for_is_found_again() {
    let fixture = Fixture::new("debian");
    let plan = fixture.plan();
    let text = plan.files[0].content.text().unwrap();
    assert_eq!(
        contents::rivals(text).collect::<Vec<_>>(),
        ["nouveau", "nova_core", "nvidia", "snd_hda_intel"]
    );
}

/// kmod's own program reads the file; it is silent about what it understands.
#[test]
fn modprobe_understands_the_file() {
    let Some(modprobe) = crate::programs::find("modprobe", "/usr/sbin:/sbin".as_ref()) else { return };
    let fixture = Fixture::new("debian");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.conf"), fixture.plan().files[0].content.bytes()).unwrap();
    let done = Command::new(modprobe).arg("-C").arg(folder.path()).arg("--showconfig").output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(text.contains("options vfio_pci ids=10de:1c8d,10de:0fb9"), "{text}");
    assert!(text.contains("softdep nvidia pre: vfio-pci"), "{text}");
    assert!(!text.contains("ignoring"), "{text}");
}

/// Nothing is named as a file of another program's, and all can be told by their names.
#[test]
fn files_of_our_own_are_called_after_us() {
    for distribution in &DISTRIBUTIONS {
        for file in Fixture::new(distribution.name).plan().files {
            let own = file.path.contains("optimus-vmm-setup");
            assert!(
                own || ["etc/default/grub", "etc/kernel/cmdline"].contains(&file.path.as_str()),
                "{}",
                file.path
            );
        }
    }
}
