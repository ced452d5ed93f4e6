//! An archive of a host is read as the host itself.

use std::fs;
use std::process::Command;

use super::fixture::Fixture;
use super::laptops;
use crate::doctor::capture;
use crate::doctor::facts::{Context, Facts};
use crate::doctor::report::Report;

/// What is known of an archive of a host, unpacked by tar(1), and the archive's names.
fn through_an_archive(fixture: &Fixture) -> (Facts, String) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("host.tar");
    let context = Context { capture: Some(file.clone()), ..fixture.context() };
    let count = capture::write(&context).unwrap();
    assert!(count >= 15, "{count}");
    // Not over a file that is there.
    assert!(capture::write(&context).unwrap_err().contains("there is a file of this name"));
    let root = place.path().join("root");
    fs::create_dir(&root).unwrap();
    let done = Command::new("tar").args(["-xf"]).arg(&file).arg("-C").arg(&root).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let listed = Command::new("tar").arg("-tf").arg(&file).output().unwrap();
    let facts = Facts::of(&Context { sysroot: Some(root), ..Context::default() });
    (facts, String::from_utf8(listed.stdout).unwrap())
}

#[test]
fn reports_are_the_same() {
    for (name, description) in laptops::all() {
        let fixture = Fixture::new(&description);
        let (there, _) = through_an_archive(&fixture);
        assert_eq!(Report::new(&there).text(), fixture.report().text(), "{name}");
    }
}

/// Two fast cores of two threads each and one slow one, CPU 5 offline.
#[test]
fn cores_are_counted_here_and_there() {
    let fixture = Fixture::new(
        "cpu GenuineIntel vmx 39 Model
        file sys/devices/system/cpu/online 0-4
        file sys/devices/cpu_atom/cpus 4-5
        file sys/devices/system/cpu/cpu0/topology/core_cpus_list 0-1
        file sys/devices/system/cpu/cpu1/topology/core_cpus_list 0-1
        file sys/devices/system/cpu/cpu2/topology/thread_siblings_list 2-3
        file sys/devices/system/cpu/cpu3/topology/thread_siblings_list 2-3
        file sys/devices/system/cpu/cpu4/topology/core_cpus_list 4
        model LENOVO | 80WW | X | 1 | 2 | 10
        os arch - Arch Linux
        kernel 6.12.1",
    );
    let (there, _) = through_an_archive(&fixture);
    for facts in [&fixture.facts(), &there] {
        let cores = facts.processor.as_ref().and_then(|processor| processor.cores).unwrap();
        assert_eq!((cores.fast, cores.slow), (2, 1));
    }
}

#[test]
fn what_tells_one_machine_from_another_stays_out() {
    let fixture = Fixture::new(
        "model LENOVO | 80WW | ? | ? | ? | 10
        os arch - Arch Linux
        kernel 6.12.1
        cpu GenuineIntel vmx 39 Model
        cmdline root=UUID=SECRET-1 intel_iommu=on hostname=SECRET-2
        pci 00:01.0 8086:1901 060400 pcieport - 1
        pci 01:00.0 10de:1c8d 030200 nouveau 17aa:39d1 1 00:01.0
        pci 02:00.0 8086:24fd 028000 iwlwifi - 1 00:01.0
        attribute 01:00.0 power/runtime_status active
        folder sys/bus/pci/devices/0000:02:00.0/net/wlx001122aabbcc
        file sys/bus/pci/devices/0000:02:00.0/net/wlx001122aabbcc/address 00:11:22:aa:bb:cc
        file sys/class/dmi/id/product_serial SECRET-3
        file sys/class/dmi/id/product_uuid SECRET-4
        file etc/hostname SECRET-5
        file proc/self/mountinfo 1_/home/SECRET-6
        file sys/class/power_supply/BAT0/type Battery
        file sys/class/power_supply/BAT0/serial_number SECRET-7
        process 812 Xorg /dev/dri/card1 01:00.0",
    );
    let mut config = vec![0u8; 256];
    config[0x50..0x58].copy_from_slice(b"SECRET-8");
    fs::write(fixture.root().join("sys/bus/pci/devices/0000:01:00.0/config"), config).unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("host.tar");
    capture::write(&Context { capture: Some(file.clone()), ..fixture.context() }).unwrap();
    let bytes = fs::read(&file).unwrap();
    let has = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(!has("SECRET") && !has("001122aabbcc") && !has("00:11:22"));
    // What the report is made from is there.
    assert!(has("intel_iommu=on") && has("Xorg") && has("80WW"));
    let (there, names) = through_an_archive(&fixture);
    let there = Report::new(&there).text();
    assert!(there.contains("Xorg (process 812) has /dev/dri/card1 open"), "{there}");
    assert!(names.contains("sys/class/power_supply/BAT0/type") && !names.contains("serial"), "{names}");
}
