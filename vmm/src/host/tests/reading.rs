//! What is read of the host, and what makes a device unfit.

use std::fs;

use super::fake::{AUDIO, Fake, GPU, NVME, PORT, address, gpu_and_audio};
use crate::config::{GpuFunctions, Passthrough, RomSource, VfioBackend};
use crate::host::{Culprit, HostFacts, HostFunction, Unready, check};

pub(super) fn passthrough(host: &str) -> Passthrough {
    Passthrough {
        key: Passthrough::DGPU.into(),
        root_port: true,
        multifunction: None,
        host: address(host).into(),
        create: None,
        guest: None,
        vendor: None,
        device: None,
        subsystem: None,
        rom: RomSource::Off,
        functions: GpuFunctions::Gpu,
        boot_index: None,
        manage: false,
    }
}

#[test]
fn facts_have_the_slots_and_lack_what_is_missing() {
    let fake = Fake::new();
    let devices = [passthrough(GPU), passthrough("0000:05:00.0")];
    let facts = HostFacts::gather_from(&fake.files(), &devices);
    assert_eq!(facts.functions.keys().copied().collect::<Vec<_>>(), gpu_and_audio());
    assert_eq!(
        facts.functions[&address(GPU)],
        HostFunction {
            address: address(GPU),
            vendor: 0x10de,
            device: 0x1c8d,
            subsystem_vendor: 0x17aa,
            subsystem: 0x39d1,
            class: 0x03_0200,
            driver: Some("nouveau".into()),
            iommu_group: Some(1),
        }
    );
}

#[test]
fn a_group_without_iommu_does_not_count() {
    let fake = Fake::new();
    fake.file("sys/kernel/iommu_groups/1/name", "vfio-noiommu\n");
    assert_eq!(fake.files().function(address(GPU)).unwrap().iommu_group, None);
}

#[test]
fn ports_are_found_above_and_not_on_root_buses() {
    let files = Fake::new().files();
    assert_eq!(files.upstream_port(address(GPU)), None, "the host is gone");
    let fake = Fake::new();
    assert_eq!(fake.files().upstream_port(address(GPU)), Some(address(PORT)));
    assert_eq!(fake.files().upstream_port(address(PORT)), None);
}

fn complaint(fake: &Fake, host: &str) -> String {
    check(&fake.files(), &[address(host)], &[], VfioBackend::Auto).unwrap_err().to_string()
}

#[test]
fn unbound_devices_are_told_with_the_commands() {
    let fake = Fake::new();
    let said = complaint(&fake, GPU);
    for part in [
        "0000:01:00.0 is bound to nouveau, not bound to vfio-pci: set `manage = true`",
        "echo vfio-pci | sudo tee /sys/bus/pci/devices/0000:01:00.0/driver_override",
        "echo 0000:01:00.0 | sudo tee /sys/bus/pci/devices/0000:01:00.0/driver/unbind",
        "sudo tee /sys/bus/pci/drivers_probe`",
    ] {
        assert!(said.contains(part), "{said}");
    }
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{GPU}/driver"))).unwrap();
    let said = complaint(&fake, GPU);
    assert!(said.contains("is without driver") && !said.contains("unbind"), "{said}");
}

#[test]
fn missing_devices_and_bridges_are_told() {
    let fake = Fake::new();
    assert!(complaint(&fake, "0000:09:00.0").contains("this host has no PCI device 0000:09:00.0"));
    assert!(complaint(&fake, PORT).contains("is a PCI bridge"));
}

#[test]
fn no_iommu_is_told_by_its_cause() {
    let fake = Fake::new();
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{GPU}/iommu_group"))).unwrap();
    assert!(complaint(&fake, GPU).contains("leaves this device out"));
    fs::remove_dir_all(fake.root().join("sys/kernel/iommu_groups")).unwrap();
    assert!(complaint(&fake, GPU).contains("intel_iommu=on"));
    fake.file("proc/cpuinfo", "vendor_id\t: AuthenticAMD\n");
    assert!(complaint(&fake, GPU).contains("AMD-Vi"));
}

#[test]
fn all_ones_are_told_but_not_of_virtual_functions() {
    let fake = Fake::new();
    let config = fake.root().join(format!("sys/bus/pci/devices/{GPU}/config"));
    fs::write(&config, [0xff; 64]).unwrap();
    fake.attribute(GPU, "power_state", "D3cold\n");
    let said = complaint(&fake, GPU);
    assert!(said.contains("reads all ones (power state D3cold)"), "{said}");
    // A virtual function has all ones in its first two registers alone.
    let mut header = [0; 64];
    header[..4].fill(0xff);
    fs::write(&config, header).unwrap();
    assert!(!fake.files().all_ones(address(GPU)).unwrap());
    fs::write(&config, [0xff; 10]).unwrap();
    assert!(complaint(&fake, GPU).contains("cannot read the configuration space"));
}

#[test]
fn every_culprit_of_a_group_is_named() {
    let fake = Fake::new();
    fake.link(&format!("sys/bus/pci/devices/{GPU}/driver"), "drivers/vfio-pci");
    fake.function("0000:03:00.0", "", "0x8086 0x0001 0x028000", Some("iwlwifi"), Some(1));
    fake.function("0000:03:00.1", "", "0x8086 0x0002 0x058000", None, Some(1));
    fake.function("0000:03:00.2", "", "0x8086 0x0003 0x058000", Some("mlx5_vfio_pci"), Some(1));
    let functions = [address(GPU)];
    let error = check(&fake.files(), &functions, &[], VfioBackend::Auto).unwrap_err();
    let Unready::NotViable { group: 1, culprits, .. } = &error else { panic!("{error}") };
    let culprit = |name: &str, driver: &str| Culprit { name: name.into(), driver: driver.into() };
    assert_eq!(*culprits, [culprit(AUDIO, "snd_hda_intel"), culprit("0000:03:00.0", "iwlwifi")]);
    let said = error.to_string();
    assert!(said.contains("0000:01:00.1 (driver snd_hda_intel), 0000:03:00.0 (driver iwlwifi)"), "{said}");
    // What is about to be bound is in nobody's way.
    let soon = [address(AUDIO), address("0000:03:00.0")];
    check(&fake.files(), &functions, &soon, VfioBackend::Auto).unwrap();
}

#[test]
fn a_bound_device_is_ready() {
    let fake = Fake::new();
    fake.link(&format!("sys/bus/pci/devices/{NVME}/driver"), "drivers/vfio-pci");
    fake.file("dev/vfio/2", "");
    check(&fake.files(), &[address(NVME)], &[], VfioBackend::Auto).unwrap();
    assert!(fake.log().is_empty());
}
