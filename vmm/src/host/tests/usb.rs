//! USB devices: what is read of them, what keeps them with the host, and how they come back after a crash.

mod laptop;
mod loans;

use std::fs;

use devices::usb::device::Speed;

use super::fake::Fake;
use crate::host::usb::UsbRefusal;
use laptop::{home, port};

pub(super) use laptop::react;

#[test]
fn devices_are_read_by_port_with_their_interfaces() {
    let fake = Fake::with_usb();
    let devices = fake.files().usb_devices();
    let shown: Vec<_> = devices.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "046d:c52b at port 1-4 (Logitech USB Receiver)",
            "05e3:0608 at port 1-5 (USB2.0 Hub)",
            "0781:5567 at port 1-5.2 (SanDisk Cruzer Blade) with the serial number 4C530001230608119073",
            "5986:9102 at port 1-7 (SunplusIT Inc BisonCam,NB Pro)",
            "27c6:5395 at port 1-8 (Goodix Fingerprint Device)",
            "8087:0aaa at port 1-10 (a device without a name)",
            "0bda:8153 at port 2-1 (Realtek USB 10/100/1000 LAN) with the serial number 000001",
        ]
    );
    let receiver = fake.usb("1-4");
    assert_eq!((receiver.bus, receiver.number, receiver.speed), (1, 3, Speed::Full));
    assert_eq!(receiver.node, fake.root().join("dev/bus/usb/001/003"));
    assert_eq!(receiver.drivers(), ["usbhid"]);
    let classes: Vec<_> =
        receiver.interfaces.iter().map(|it| (it.number, it.class, it.isochronous)).collect();
    assert_eq!(classes, [(0, [3, 1, 1], false), (1, [3, 1, 2], false), (2, [3, 0, 0], false)]);
    assert_eq!((fake.usb("2-1").speed, fake.usb("1-7").speed), (Speed::Super, Speed::High));
    let camera = fake.usb("1-7");
    assert_eq!(camera.interfaces.iter().map(|it| it.isochronous).collect::<Vec<_>>(), [false, true]);
    assert_eq!(fake.usb("1-8").drivers(), Vec::<&str>::new());
    // A kernel without USB.
    assert_eq!(Fake::new().files().usb_devices(), []);
}

#[test]
fn one_that_is_plugged_in_again_is_another() {
    let fake = Fake::with_usb();
    let before = fake.usb("1-4");
    assert!(before.is_same(&fake.usb("1-4")));
    fake.pull("1-4");
    assert_eq!(fake.files().usb_device(&port("1-4")), None);
    fake.plug("1-4", 12);
    assert!(!before.is_same(&fake.usb("1-4")));
}

#[test]
fn keyboards_are_known_by_their_ports() {
    let fake = Fake::with_usb();
    assert_eq!(fake.files().usb().keyboards, [None, Some(port("1-4"))]);
    fake.file("proc/bus/input/devices", "");
    assert_eq!(fake.files().usb().keyboards, []);
}

#[test]
fn what_cannot_be_passed_on_is_refused_with_what_can() {
    let fake = Fake::with_usb();
    for (name, words) in [
        ("1-5", &["it is a hub", "[[vfio]]"][..]),
        ("1-7", &["isochronous transfers (interface 1)", "[[vfio]]", "[audio]"]),
    ] {
        let refusal = fake.refusal(name).unwrap();
        assert!(words.iter().all(|word| refusal.to_string().contains(word)), "{refusal}");
        assert!(!refusal.is_passing());
    }
    // But for voice it works.
    assert_eq!(fake.refusal("1-10"), None);
    assert!(
        fake.usb("1-10").lacks_voice() && !fake.usb("1-4").lacks_voice() && !fake.usb("1-7").lacks_voice()
    );
    for name in ["1-4", "1-5.2", "1-8", "2-1"] {
        assert_eq!(fake.refusal(name), None, "{name}");
    }
}

#[test]
fn disks_that_the_host_uses_stay_with_it() {
    let fake = Fake::with_usb();
    fake.disk();
    assert_eq!(fake.refusal("1-5.2"), None);
    let refused = |words: &str, passing| {
        let refusal = fake.refusal("1-5.2").expect(words);
        assert!(refusal.to_string().contains(words), "{refusal}");
        assert_eq!(refusal.is_passing(), passing, "{refusal}");
    };
    fake.process(77, "blkid", "/dev/sdb");
    refused("blkid (process 77) has /dev/sdb", true);
    fake.file("sys/class/block/dm-0/dev", "253:0\n");
    fake.link("sys/class/block/sdb1/holders/dm-0", "../../dm-0");
    refused("/dev/dm-0 (LVM, encryption or RAID) is made from /dev/sdb1", false);
    fake.file("proc/swaps", "Filename Type Size Used Priority\n/dev/dm-0 partition 1 0 -2\n");
    refused("swaps to /dev/dm-0", false);
    fake.file("proc/self/mountinfo", "36 35 8:17 / /media/stick rw - vfat /dev/sdb1 rw\n");
    refused("/dev/sdb1 is mounted on /media/stick: `sudo umount /media/stick`", false);
}

/// The list of mounts names one device of each file system.
#[test]
fn a_disk_of_a_file_system_of_several_stays_with_it() {
    let fake = Fake::with_usb();
    fake.disk();
    fake.file("sys/fs/btrfs/features/raid1c34", "0\n");
    fake.file("sys/fs/btrfs/0f00/devices/sdc/size", "2048\n");
    assert_eq!(fake.refusal("1-5.2"), None);
    fake.file("sys/fs/btrfs/0f00/devices/sdb1/size", "2048\n");
    let refusal = fake.refusal("1-5.2").unwrap();
    assert!(refusal.to_string().starts_with("/dev/sdb1 is part of a btrfs of several devices"), "{refusal}");
    assert!(!refusal.is_passing());
}

#[test]
fn the_way_to_the_network_stays_with_the_host() {
    let fake = Fake::with_usb();
    fake.file(&format!("{}/2-1:1.0/net/enx1/uevent", home("2-1")), "INTERFACE=enx1\n");
    fake.file(
        "proc/net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nenx1 0000A8C0 0 1 0 0 0 00FFFFFF\n",
    );
    assert_eq!(fake.refusal("2-1"), None);
    fake.file("proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nenx1 00000000 0100A8C0 3 0 0 0 00000000\n");
    let refusal = fake.refusal("2-1").unwrap().to_string();
    assert!(refusal.contains("default route goes through enx1"), "{refusal}");
}

#[test]
fn who_else_drives_it_is_told() {
    let fake = Fake::with_usb();
    fake.link(&format!("{}/1-8:1.0/driver", home("1-8")), "../drivers/usbfs");
    fake.process(81, "fprintd", "/dev/bus/usb/001/007");
    let refusal = fake.refusal("1-8").unwrap();
    assert_eq!(
        refusal.to_string(),
        "another program uses it: fprintd (process 81) has /dev/bus/usb/001/007: end that first"
    );
    assert!(refusal.is_passing());
}

#[test]
fn nodes_and_configurations_that_are_not_there_yet_are_waited_for() {
    let fake = Fake::with_usb();
    fs::remove_file(fake.usb("1-8").node).unwrap();
    let refusal = fake.refusal("1-8").unwrap();
    assert!(matches!(refusal, UsbRefusal::NoNode(_)) && refusal.is_passing());
    fake.file(&format!("{}/bConfigurationValue", home("1-4")), "\n");
    let refusal = fake.refusal("1-4").unwrap();
    assert!(
        refusal.is_passing() && refusal.to_string().contains("/sys/bus/usb/devices/1-4/authorized"),
        "{refusal}"
    );
}

#[test]
fn rights_come_with_the_whole_rule() {
    let denied = UsbRefusal::Denied { node: "/dev/bus/usb/001/003".into(), id: "46d:c52b".parse().unwrap() };
    let text = denied.to_string();
    for words in [
        "/dev/bus/usb/001/003",
        "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"046d\", ATTR{idProduct}==\"c52b\", GROUP=\"kvm\", MODE=\"0660\", TAG+=\"uaccess\"",
        "/etc/udev/rules.d/70-guest-usb.rules",
        "sudo udevadm control --reload",
    ] {
        assert!(text.contains(words), "{text}");
    }
}
