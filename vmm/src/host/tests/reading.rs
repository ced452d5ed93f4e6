//! What is read of the host, and what makes a device unfit.

use std::fs;
use std::os::unix::fs::symlink;

use vocabulary::{LentDevice, VfioBackend};

use super::fake::{AUDIO, Fake, GPU, NVME, PORT, address, gpu_and_audio};
use crate::host::check::{culprits, lent};
use crate::host::{
    Culprit, HostFacts, HostFiles, HostFunction, MdevError, NotLent, Obstacle, Unready, check,
};

#[test]
fn facts_have_the_slots_and_lack_what_is_missing() {
    let fake = Fake::new();
    let devices = [GPU, "0000:05:00.0"].map(|device| LentDevice::Function(address(device)));
    let facts = HostFacts::gather_from(&fake.files(), devices.into_iter());
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
    let obstacles = check(&fake.files(), &[address(host)], &[address(AUDIO)], VfioBackend::Auto);
    let [only] = &obstacles[..] else { panic!("{obstacles:?}") };
    assert_eq!(only.device.function(), Some(address(host)));
    only.to_string()
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
    assert!(fake.files().answers(address(GPU)).unwrap());
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
    let obstacles = check(&fake.files(), &functions, &[], VfioBackend::Auto);
    let [Obstacle { why: NotLent::Function(error), .. }] = &obstacles[..] else { panic!("{obstacles:?}") };
    let Unready::NotViable { group: 1, culprits, .. } = error else { panic!("{error}") };
    let culprit = |name: &str, driver: &str| Culprit { name: name.into(), driver: driver.into() };
    assert_eq!(*culprits, [culprit(AUDIO, "snd_hda_intel"), culprit("0000:03:00.0", "iwlwifi")]);
    let said = error.to_string();
    assert!(said.contains("0000:01:00.1 (driver snd_hda_intel), 0000:03:00.0 (driver iwlwifi)"), "{said}");
    // What is about to be bound is in nobody's way.
    let soon = [address(AUDIO), address("0000:03:00.0")];
    assert!(check(&fake.files(), &functions, &soon, VfioBackend::Auto).is_empty());
}

#[test]
fn everything_in_the_way_is_told_and_a_group_once() {
    let fake = Fake::new();
    fake.function("0000:03:00.0", "", "0x8086 0x0001 0x028000", Some("iwlwifi"), Some(1));
    let functions = ["0000:09:00.0", GPU, AUDIO, PORT, NVME].map(address);
    let obstacles = check(&fake.files(), &functions, &[], VfioBackend::Auto);
    let expected = [
        "this host has no PCI device 0000:09:00.0",
        "0000:01:00.0 is bound to nouveau, not bound to vfio-pci",
        "the IOMMU group 1 of 0000:01:00.0 is not viable, because the host uses 0000:03:00.0 (driver iwlwifi)",
        "0000:01:00.1 is bound to snd_hda_intel, not bound to vfio-pci",
        "0000:00:01.0 is a PCI bridge",
        "0000:02:00.0 is bound to nvme, not bound to vfio-pci",
    ];
    assert_eq!(obstacles.len(), expected.len(), "{obstacles:?}");
    for (obstacle, expected) in obstacles.iter().zip(expected) {
        assert!(obstacle.to_string().starts_with(expected), "{obstacle}");
    }
}

#[test]
fn drivers_that_leave_dma_alone_are_in_nobodys_way() {
    let fake = Fake::new();
    for (function, driver) in [
        ("0000:03:00.0", "pci-stub"),
        ("0000:03:00.1", "shpchp"),
        ("0000:03:00.2", "nvgrace-gpu-vfio-pci"),
        ("0000:03:00.3", "vfio-platform"),
    ] {
        fake.function(function, "", "0x8086 0x0001 0x058000", Some(driver), Some(2));
    }
    let names: Vec<_> = culprits(&fake.files(), 2, &[]).into_iter().map(|culprit| culprit.name).collect();
    // Their port's driver is no obstacle either.
    assert_eq!(names, [NVME, "0000:03:00.3"]);
    assert_eq!(culprits(&fake.files(), 1, &gpu_and_audio()), []);
    assert_eq!(culprits(&fake.files(), 14, &[]), []);
}

#[test]
fn what_is_opened_must_be_lent() {
    let fake = Fake::new();
    for (driver, fits) in
        [("vfio-pci", true), ("nvgrace-gpu-vfio-pci", true), ("vfio-platform", false), ("nvme", false)]
    {
        fake.link(&format!("sys/bus/pci/devices/{NVME}/driver"), &format!("drivers/{driver}"));
        match lent(&fake.files(), address(NVME)) {
            Ok(group) => assert!(fits && group == 2, "{driver}"),
            Err(error) => assert!(!fits && error.to_string().contains(driver), "{error}"),
        }
    }
    assert!(matches!(lent(&fake.files(), address("0000:09:00.0")), Err(Unready::Missing { .. })));
}

#[test]
fn the_name_of_the_vfio_file_is_found() {
    let fake = Fake::new();
    let device = fake.files().function_path(address(NVME));
    assert_eq!(fake.files().vfio_file(&device), None);
    fake.attribute(NVME, "vfio-dev/vfio3/dev", "511:3\n");
    assert_eq!(fake.files().vfio_file(&device).as_deref(), Some("vfio3"));
}

#[test]
fn a_bound_device_is_ready() {
    let fake = Fake::new();
    fake.link(&format!("sys/bus/pci/devices/{NVME}/driver"), "drivers/vfio-pci");
    fake.file("dev/vfio/2", "");
    assert!(check(&fake.files(), &[address(NVME)], &[], VfioBackend::Auto).is_empty());
    assert!(fake.log().is_empty());
}

#[test]
fn mediated_devices_need_any_driver_and_a_group() {
    let root = tempfile::tempdir().unwrap();
    let files = HostFiles::at(root.path());
    let uuid = uuid::Uuid::from_u128(7);
    let device = LentDevice::Mediated(uuid);
    let missing = files.lent(device).unwrap_err().to_string();
    assert!(missing.contains("ls /sys/bus/mdev/devices"), "{missing}");
    let home = root.path().join("sys/devices/virtual/mbochs/mbochs").join(uuid.to_string());
    fs::create_dir_all(&home).unwrap();
    symlink("../mdev_supported_types/mbochs-small", home.join("mdev_type")).unwrap();
    fs::create_dir_all(root.path().join("sys/bus/mdev/devices")).unwrap();
    symlink(&home, root.path().join("sys/bus/mdev/devices").join(uuid.to_string())).unwrap();
    assert!(matches!(files.lent(device), Err(NotLent::Mdev(MdevError::NoDriver { .. }))));
    symlink("../../../bus/mdev/drivers/mbochs", home.join("driver")).unwrap();
    assert!(matches!(files.lent(device), Err(NotLent::Mdev(MdevError::NoGroup { .. }))));
    symlink("../../../kernel/iommu_groups/20", home.join("iommu_group")).unwrap();
    // The kernel gives the groups that it makes up for them the name of those without IOMMU.
    let group = root.path().join("sys/kernel/iommu_groups/20");
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("name"), "vfio-noiommu\n").unwrap();
    assert_eq!(files.lent(device).unwrap(), 20);
    assert_eq!(files.device_group(device), Some(20));
    // It is on no bus that could give all ones, and its group is its own.
    assert!(files.device_answers(device));
    assert_eq!(files.device_culprits(device, 20), []);
}

#[test]
fn the_render_node_is_the_gpus_own_if_it_has_one() {
    let fake = Fake::new();
    let files = fake.files();
    let uuid = "af5972fb-5530-41a7-0000-fd836204445b";
    assert!(files.render_nodes(LentDevice::Mediated(uuid.parse().unwrap())).is_empty());
    // The mediated device lies below the GPU in the tree of devices, the bus has links.
    let home = fake.files().path(format!("sys/devices/pci0000:00/0000:00:02.0/{uuid}"));
    fs::create_dir_all(&home).unwrap();
    for node in ["card1", "renderD129"] {
        fs::create_dir_all(home.parent().unwrap().join("drm").join(node)).unwrap();
    }
    for node in ["card0", "card1", "renderD128", "renderD129", "version"] {
        fs::create_dir_all(files.path(format!("sys/class/drm/{node}"))).unwrap();
    }
    let bus = files.path("sys/bus/mdev/devices");
    fs::create_dir_all(&bus).unwrap();
    symlink(&home, bus.join(uuid)).unwrap();
    let nodes = |device| -> Vec<_> {
        let nodes = files.render_nodes(device);
        nodes.into_iter().map(|node| node.strip_prefix(files.path("dev/dri")).unwrap().to_owned()).collect()
    };
    let of_mdev = nodes(LentDevice::Mediated(uuid.parse().unwrap()));
    assert_eq!(of_mdev, ["renderD129"].map(std::path::PathBuf::from));
    let of_another = nodes(address(GPU).into());
    assert_eq!(of_another, ["renderD128", "renderD129"].map(std::path::PathBuf::from));
}
