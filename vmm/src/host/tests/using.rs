//! Who uses a device: processes, file systems, swap, other block devices, routes.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use super::fake::{AUDIO, Fake, GPU, NVME, address};
use crate::host::usage::InUse;
use crate::host::{BindError, Holders, HostFiles, NotLent, Obstacle};
use crate::privileges;

/// Gives the NVMe disk a namespace with a partition, with a volume of LVM on that.
fn disk(fake: &Fake, home: &str) {
    fake.file(&format!("{home}/nvme0n1/uevent"), "MAJOR=259\nMINOR=0\nDEVNAME=nvme0n1\nDEVTYPE=disk\n");
    fake.file(&format!("{home}/nvme0n1/nvme0n1p2/uevent"), "DEVNAME=nvme0n1p2\nDEVTYPE=partition\n");
    fake.file(&format!("{home}/nvme0n1/nvme0n1p2/dev"), "259:2\n");
    fake.link("sys/class/block/nvme0n1", &format!("../../../{home}/nvme0n1"));
    fake.link("sys/class/block/nvme0n1p2", &format!("../../../{home}/nvme0n1/nvme0n1p2"));
}

const DIRECT: &str = "sys/devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0";

/// Gives the NVMe disk virtual functions.
fn three_virtual(fake: &Fake) {
    for index in 0..3 {
        fake.link(
            &format!("sys/bus/pci/devices/{NVME}/virtfn{index}"),
            &format!("../0000:02:00.{}", index + 1),
        );
    }
}

/// All that is in the way of binding a function, if that is uses of the host.
fn uses_of(fake: &Fake, host: &str) -> Vec<InUse> {
    let error = fake.manager().bind("vm", &[address(host)]).unwrap_err();
    assert!(fake.log().is_empty(), "{:?}", fake.log());
    assert!(fake.journal_names().is_empty());
    let BindError::Refused(obstacles) = error else { panic!("{error}") };
    let uses = obstacles.into_iter().map(|Obstacle { why, .. }| match why {
        NotLent::InUse { source, .. } => source,
        other => panic!("{other}"),
    });
    uses.collect()
}

fn use_of(fake: &Fake, host: &str) -> InUse {
    let [only] = <[InUse; 1]>::try_from(uses_of(fake, host)).unwrap();
    only
}

#[test]
fn an_unused_disk_is_spare() {
    let fake = Fake::new();
    disk(&fake, DIRECT);
    fake.file("proc/self/mountinfo", "25 1 259:9 / / rw - ext4 /dev/nvme1n1p2 rw\n");
    assert_eq!(fake.files().uses(address(NVME)), []);
}

#[test]
fn mounts_are_found_by_number_and_by_name() {
    for mounts in [
        "25 1 259:2 / /mnt/a\\040b rw,relatime shared:1 - ext4 /dev/root rw\n",
        "25 1 0:33 /@ /mnt/a\\040b rw - btrfs /dev/nvme0n1p2 rw\n",
    ] {
        let fake = Fake::new();
        disk(&fake, DIRECT);
        fake.file("proc/self/mountinfo", mounts);
        assert_eq!(
            use_of(&fake, NVME),
            InUse::Mounted { device: "nvme0n1p2".into(), mount_point: "/mnt/a b".into() }
        );
    }
}

#[test]
fn all_uses_of_all_devices_are_told_before_any_change() {
    let fake = Fake::new();
    disk(&fake, DIRECT);
    fake.file(&format!("{DIRECT}/nvme0n1/nvme0n1p3/uevent"), "DEVNAME=nvme0n1p3\nDEVTYPE=partition\n");
    fake.file(&format!("{DIRECT}/nvme0n1/nvme0n1p3/dev"), "259:3\n");
    fake.link("sys/class/block/nvme0n1p3", &format!("../../../{DIRECT}/nvme0n1/nvme0n1p3"));
    fake.file("proc/swaps", "Filename\tType\n/dev/nvme0n1p3 partition 1 0 -2\n");
    fake.file("proc/self/mountinfo", "25 1 259:2 / /home rw - ext4 /dev/nvme0n1p2 rw\n");
    three_virtual(&fake);
    assert_eq!(
        uses_of(&fake, NVME),
        [
            InUse::VirtualFunctions { address: address(NVME), count: 3 },
            InUse::Mounted { device: "nvme0n1p2".into(), mount_point: "/home".into() },
            InUse::Swap { device: "nvme0n1p3".into() },
        ]
    );
    let taken = fake.manager().bind("first", &[address(GPU), address(AUDIO)]).unwrap();
    let log = fake.log().len();
    let functions = [GPU, NVME, "0000:09:00.0"].map(address);
    let error = fake.manager().bind("second", &functions).unwrap_err();
    let BindError::Refused(obstacles) = &error else { panic!("{error}") };
    let devices: Vec<_> = obstacles.iter().map(|obstacle| obstacle.device.to_string()).collect();
    assert_eq!(devices, [GPU, NVME, NVME, NVME, "0000:09:00.0"], "{error}");
    // The same without a start.
    let again = fake.manager().obstacles(&functions, &[], &[], &|| false).unwrap();
    assert_eq!(
        again.iter().map(|obstacle| format!("{obstacle}\n")).collect::<String>().trim_end(),
        error.to_string()
    );
    assert_eq!(fake.log().len(), log);
    taken.give_back().unwrap();
}

#[test]
fn namespaces_of_multipath_are_found() {
    let fake = Fake::new();
    fake.file(&format!("{DIRECT}/nvme0c0n1/uevent"), "DEVTYPE=disk\n");
    disk(&fake, "sys/devices/virtual/nvme-subsystem/nvme-subsys0");
    fake.file("proc/self/mountinfo", "25 1 259:2 / /home rw - ext4 /dev/nvme0n1p2 rw\n");
    assert!(matches!(use_of(&fake, NVME), InUse::Mounted { mount_point, .. } if mount_point == "/home"));
}

#[test]
fn swap_and_what_is_made_from_a_disk_are_found() {
    let fake = Fake::new();
    disk(&fake, DIRECT);
    fake.file(&format!("{DIRECT}/nvme0n1/nvme0n1p2/holders/dm-0/dev"), "253:0\n");
    fake.file("sys/class/block/dm-0/dev", "253:0\n");
    assert_eq!(use_of(&fake, NVME), InUse::Stacked { device: "nvme0n1p2".into(), upper: "dm-0".into() });
    fake.file("proc/swaps", "Filename\tType\n/dev/dm-0 partition 1 0 -2\n");
    assert_eq!(use_of(&fake, NVME), InUse::Swap { device: "dm-0".into() });
    fake.file("proc/self/mountinfo", "25 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n");
    assert_eq!(use_of(&fake, NVME), InUse::Mounted { device: "dm-0".into(), mount_point: "/".into() });
}

#[test]
fn the_way_out_is_not_taken_away_but_other_interfaces_are() {
    let fake = Fake::new();
    fake.attribute(NVME, "net/eth1/flags", "0x1003\n");
    let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU\n";
    fake.file("proc/net/route", &format!("{head}eth1 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0\n"));
    assert_eq!(fake.files().uses(address(NVME)), []);
    fake.file("proc/net/route", &format!("{head}eth1 00000000 0100A8C0 0003 0 0 0 00000000 0\n"));
    assert_eq!(use_of(&fake, NVME), InUse::DefaultRoute { interface: "eth1".into() });
    // Through a bridge.
    fake.file("proc/net/route", &format!("{head}br0 00000000 0100A8C0 0003 0 0 0 00000000 0\n"));
    assert_eq!(fake.files().uses(address(NVME)), []);
    fake.file("sys/class/net/eth1/upper_br0", "");
    assert_eq!(use_of(&fake, NVME), InUse::DefaultRoute { interface: "eth1".into() });
    // By IPv6.
    fake.file("proc/net/route", head);
    let zero = "0".repeat(32);
    fake.file("proc/net/ipv6_route", &format!("{zero} 00 {zero} 00 fe80 0 0 0 3 eth1\n"));
    assert_eq!(use_of(&fake, NVME), InUse::DefaultRoute { interface: "eth1".into() });
}

#[test]
fn virtual_functions_keep_their_parent() {
    let fake = Fake::new();
    three_virtual(&fake);
    assert_eq!(use_of(&fake, NVME), InUse::VirtualFunctions { address: address(NVME), count: 3 });
}

#[test]
fn processes_are_named_with_nodes_and_cures() {
    let fake = Fake::new();
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{AUDIO}/driver"))).unwrap();
    fake.attribute(GPU, "drm/card1/uevent", "MAJOR=226\nMINOR=1\nDEVNAME=dri/card1\nDEVTYPE=drm_minor\n");
    fake.process(812, "Xorg", "/dev/dri/card1");
    fake.process(90, "nvidia-persiste", "/dev/dri/card1 (deleted)");
    // Another GPU's, and ourselves.
    fake.process(813, "Xwayland", "/dev/dri/card0");
    fake.process(std::process::id(), "optimus-vmm", "/dev/dri/card1");
    let InUse::Held { holders } = use_of(&fake, GPU) else { panic!() };
    assert_eq!(holders.found.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [90, 812]);
    assert_eq!(
        holders.to_string(),
        "nvidia-persiste (process 90) has /dev/dri/card1; Xorg (process 812) has /dev/dri/card1"
    );
    let said = fake.manager().bind("vm", &[address(GPU)]).unwrap_err().to_string();
    assert!(said.contains("systemctl stop nvidia-persistenced") && said.contains("log out"), "{said}");
}

#[test]
fn nodes_of_nvidia_are_found_by_the_drivers_table() {
    let fake = Fake::new();
    fake.link(&format!("sys/bus/pci/devices/{GPU}/driver"), "drivers/nvidia");
    fake.file("dev/nvidia0", "");
    fake.file("dev/nvidia1", "");
    fake.process(7, "cuda", "/dev/nvidia1");
    fake.process(8, "other", "/dev/nvidiactl");
    assert_eq!(fake.files().holders(&[address(GPU)]).found.len(), 1);
    let information = format!("proc/driver/nvidia/gpus/{GPU}/information");
    fake.file(&information, "Model: \t\t GTX\nDevice Minor: \t 0\n");
    assert!(fake.files().holders(&[address(GPU)]).found.is_empty());
    fake.file(&information, "Device Minor: \t 1\n");
    assert_eq!(fake.files().holders(&[address(GPU)]).found[0].pid, 7);
}

#[test]
fn users_of_vfio_are_found() {
    let fake = Fake::new();
    fake.link(&format!("sys/bus/pci/devices/{GPU}/driver"), "drivers/vfio-pci");
    fake.attribute(GPU, "vfio-dev/vfio3/uevent", "DEVNAME=vfio/devices/vfio3\n");
    fake.process(31, "qemu-system-x86", "/dev/vfio/1");
    fake.process(32, "optimus-vmm", "/dev/vfio/devices/vfio3");
    fake.process(33, "qemu-system-x86", "/dev/vfio/2");
    let holders = fake.files().holders(&[address(GPU)]);
    assert_eq!(holders.found.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [31, 32]);
}

/// Of a process with more privileges it is told that there are descriptors, and not of what.
#[test]
fn processes_that_cannot_be_looked_at_are_counted_after_privileges_are_given_up() {
    let mut other = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let looks = thread::spawn(|| {
        let look = || HostFiles::default().holders_of(&["null".to_owned()].into());
        let before = look();
        privileges::drop_unneeded();
        (before, look())
    })
    .join();
    other.kill().unwrap();
    other.wait().unwrap();
    let (before, after) = looks.unwrap();
    let found = |holders: &Holders| holders.found.iter().any(|holder| holder.pid == other.id());
    assert!(found(&before), "{before:?}");
    // Without root's privileges it has none more.
    assert!(found(&after) || after.unseen > before.unseen, "{after:?}");
}
