use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use iommufd_ioctls::IommufdError;
use vfio_ioctls::VfioError as Crate;
use vmm_sys_util::errno::Error as Errno;

use super::super::check;
use super::super::error::{Holder, Neighbour, VfioError};
use super::super::explain::{Attempt, holders};
use super::super::space::{Offer, prefers_iommufd};
use super::super::sysfs::Sysfs;
use super::gpu;
use crate::config::VfioBackend;
use crate::host::HostFiles;

fn by_group() -> Attempt {
    Attempt {
        address: gpu(0),
        group: 13,
        cdev: None,
        holders: Vec::new(),
        obstacles: Vec::new(),
        answers: true,
        no_iommu: false,
    }
}

fn by_cdev() -> Attempt {
    Attempt { cdev: Some("/dev/vfio/devices/vfio0".into()), ..by_group() }
}

fn held(attempt: Attempt) -> Attempt {
    Attempt { holders: vec![Holder { pid: 77, name: "qemu-system-x86".into() }], ..attempt }
}

fn obstructed(attempt: Attempt) -> Attempt {
    let audio = Neighbour { name: "0000:01:00.1".into(), driver: "snd_hda_intel".into() };
    Attempt { obstacles: vec![audio], ..attempt }
}

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

#[test]
fn each_refusal_names_cause_and_remedy() {
    let group = |errno| Crate::OpenGroup(os(errno), "13".into());
    let fd = |errno| Crate::GroupGetDeviceFD(Errno::new(errno));
    let bind = |errno| Crate::VfioDeviceBindIommufd(Errno::new(errno));
    let attach = |errno| Crate::VfioDeviceAttachIommufdPt(Errno::new(errno));
    let iommu = |errno| Crate::ContainerSetIOMMU(Errno::new(errno));
    let iommufd = |errno| Crate::NewVfioIommufd(IommufdError::OpenIommufd(os(errno)));
    let table: Vec<(Attempt, Crate, &[&str])> = vec![
        (by_group(), Crate::OpenContainer(os(libc::ENOENT)), &["/dev/vfio/vfio", "modprobe vfio-pci"]),
        (
            by_group(),
            Crate::OpenContainer(os(libc::EACCES)),
            &["permission", "/dev/vfio/vfio", "KERNEL==\"vfio\", SUBSYSTEM==\"misc\""],
        ),
        (by_group(), Crate::VfioExtension, &["modprobe vfio_iommu_type1"]),
        (
            by_group(),
            group(libc::EACCES),
            &["permission", "/dev/vfio/13", "SUBSYSTEM==\"vfio\"", "udev", "root"],
        ),
        (held(by_group()), group(libc::EBUSY), &["/dev/vfio/13", "qemu-system-x86 (process 77)"]),
        (by_group(), group(libc::EBUSY), &["another process", "fuser -v /dev/vfio/13"]),
        (by_group(), group(libc::ENOENT), &["/dev/vfio/13", "CONFIG_VFIO_GROUP", "iommufd"]),
        (Attempt { no_iommu: true, ..by_group() }, group(libc::ENOENT), &["intel_iommu=on", "VT-d"]),
        (by_group(), group(libc::EMFILE), &["open its IOMMU group", "Too many open files"]),
        (
            obstructed(by_group()),
            Crate::GroupViable,
            &["group 13", "0000:01:00.1 has the driver snd_hda_intel", "driver/unbind"],
        ),
        (by_group(), Crate::GroupSetContainer, &["group 13", "dmesg"]),
        (by_group(), iommu(libc::EPERM), &["vfio_iommu_type1/parameters/allow_unsafe_interrupts"]),
        (by_group(), iommu(libc::EINVAL), &["RMRR", "dmesg"]),
        (by_group(), iommu(libc::ENODEV), &["modprobe vfio_iommu_type1"]),
        (obstructed(by_group()), fd(libc::EBUSY), &["snd_hda_intel"]),
        (by_group(), fd(libc::EACCES), &["token"]),
        (by_group(), fd(libc::EAGAIN), &["Try again"]),
        (by_group(), fd(libc::EIO), &["open it", "Input/output error"]),
        (
            Attempt { answers: false, ..by_group() },
            fd(libc::EIO),
            &["D3cold", "d3cold_allowed", "power/control"],
        ),
        (
            by_cdev(),
            Crate::OpenDeviceCdev(os(libc::EACCES)),
            &["/dev/vfio/devices/vfio0", "SUBSYSTEM==\"vfio-dev\""],
        ),
        (by_cdev(), Crate::OpenDeviceCdev(os(libc::EIO)), &["Input/output error"]),
        (held(by_cdev()), bind(libc::EINVAL), &["/dev/vfio/devices/vfio0", "process 77"]),
        (obstructed(by_cdev()), bind(libc::EBUSY), &["snd_hda_intel"]),
        (by_cdev(), attach(libc::EPERM), &["iommufd/parameters/allow_unsafe_interrupts"]),
        (by_cdev(), attach(libc::EINVAL), &["RMRR"]),
        (by_cdev(), iommufd(libc::ENOENT), &["/dev/iommu", "CONFIG_IOMMUFD", "backend = \"group\""]),
        (by_cdev(), iommufd(libc::EACCES), &["permission", "/dev/iommu", "KERNEL==\"iommu\""]),
        (by_cdev(), iommufd(libc::EMFILE), &["/dev/iommu", "Too many open files"]),
        (by_cdev(), Crate::InvalidVfioDev, &["vfio-dev", "CONFIG_VFIO_DEVICE_CDEV"]),
        (by_group(), Crate::SetDeviceAttr(Errno::new(libc::EINVAL)), &["known to KVM", "Invalid argument"]),
    ];
    for (attempt, error, words) in table {
        let cause = format!("{error:?}");
        let message = attempt.explain(error).to_string();
        assert!(message.starts_with("cannot pass 0000:01:00.0 through"), "{cause}: {message}");
        words.iter().for_each(|word| assert!(message.contains(word), "{cause}: {word}: {message}"));
    }
}

#[test]
fn iommufd_is_used_where_groups_are_not() {
    for (choice, iommufd, groups, expected) in [
        (VfioBackend::Auto, true, true, false),
        (VfioBackend::Auto, true, false, true),
        (VfioBackend::Auto, false, false, false),
        (VfioBackend::Group, true, false, false),
        (VfioBackend::Iommufd, false, true, true),
    ] {
        assert_eq!(prefers_iommufd(choice, Offer { iommufd, groups }), expected);
    }
}

/// A sysfs with functions, as name and driver, all in group 13.
fn sysfs(functions: &[(&str, Option<&str>)]) -> (tempfile::TempDir, Sysfs) {
    let root = tempfile::tempdir().unwrap();
    let group = root.path().join("kernel/iommu_groups/13");
    fs::create_dir_all(group.join("devices")).unwrap();
    for (name, driver) in functions {
        let device = root.path().join("bus/pci/devices").join(name);
        fs::create_dir_all(&device).unwrap();
        symlink(&group, device.join("iommu_group")).unwrap();
        symlink(&device, group.join("devices").join(name)).unwrap();
        if let Some(driver) = driver {
            symlink(Path::new("../../../../bus/pci/drivers").join(driver), device.join("driver")).unwrap();
        }
    }
    let sysfs = Sysfs::at(root.path());
    (root, sysfs)
}

#[test]
fn what_sysfs_shows_is_checked_first() {
    let (root, sysfs) = sysfs(&[
        ("0000:01:00.0", Some("vfio-pci")),
        ("0000:01:00.1", Some("snd_hda_intel")),
        ("0000:01:00.2", None),
        ("0000:01:00.3", Some("nvgrace-gpu-vfio-pci")),
    ]);
    assert_eq!(check(&sysfs, gpu(0)).unwrap(), 13);
    assert_eq!(check(&sysfs, gpu(3)).unwrap(), 13);
    for (function, words) in [
        (1, &["has the driver snd_hda_intel", "drivers_probe", "manage = true"][..]),
        (2, &["has no driver", "driver_override"]),
        (4, &["no such device", "lspci -D"]),
    ] {
        let message = check(&sysfs, gpu(function)).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(message.contains(word), "{word}: {message}"));
    }
    fs::remove_file(root.path().join("bus/pci/devices/0000:01:00.0/iommu_group")).unwrap();
    assert!(matches!(check(&sysfs, gpu(0)), Err(VfioError::NoIommu(_))));
}

#[test]
fn mediated_devices_need_any_driver_and_a_group() {
    let root = tempfile::tempdir().unwrap();
    let sysfs = Sysfs::at(root.path());
    let uuid = uuid::Uuid::from_u128(7);
    let device = crate::config::LentDevice::Mediated(uuid);
    let missing = check(&sysfs, device).unwrap_err().to_string();
    assert!(missing.contains("ls /sys/bus/mdev/devices"), "{missing}");
    let path = root.path().join("bus/mdev/devices").join(uuid.to_string());
    fs::create_dir_all(&path).unwrap();
    assert!(matches!(check(&sysfs, device), Err(VfioError::NotLent(_))));
    symlink("../../../bus/mdev/drivers/mbochs", path.join("driver")).unwrap();
    assert!(matches!(check(&sysfs, device), Err(VfioError::NotLent(_))));
    symlink("../../../kernel/iommu_groups/20", path.join("iommu_group")).unwrap();
    assert_eq!(check(&sysfs, device).unwrap(), 20);
    // It is on no bus that could give all ones.
    assert!(sysfs.answers(device));
}

#[test]
fn only_drivers_that_use_dma_are_in_the_way() {
    let (_root, sysfs) = sysfs(&[
        ("0000:00:01.0", Some("pcieport")),
        ("0000:01:00.0", Some("vfio-pci")),
        ("0000:01:00.3", Some("nvidia-gpu")),
        ("0000:01:00.1", Some("snd_hda_intel")),
        ("0000:01:00.2", None),
    ]);
    let names: Vec<_> = sysfs.obstacles(13).iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["0000:01:00.1 has the driver snd_hda_intel", "0000:01:00.3 has the driver nvidia-gpu"]
    );
    assert!(sysfs.obstacles(14).is_empty());
}

#[test]
fn a_dead_function_is_recognised() {
    let (root, sysfs) = sysfs(&[("0000:01:00.0", Some("vfio-pci"))]);
    let config = root.path().join("bus/pci/devices/0000:01:00.0/config");
    // Unreadable says nothing.
    assert!(sysfs.answers(gpu(0)));
    fs::write(&config, [0xff; 64]).unwrap();
    assert!(!sysfs.answers(gpu(0)));
    fs::write(&config, [0xde, 0x10, 0xff, 0xff]).unwrap();
    assert!(sysfs.answers(gpu(0)));
}

#[test]
fn the_name_of_the_device_file_is_found() {
    let (root, sysfs) = sysfs(&[("0000:01:00.0", Some("vfio-pci"))]);
    assert_eq!(sysfs.cdev(gpu(0)), None);
    fs::create_dir_all(root.path().join("bus/pci/devices/0000:01:00.0/vfio-dev/vfio3")).unwrap();
    assert_eq!(sysfs.cdev(gpu(0)).as_deref(), Some("vfio3"));
}

#[test]
fn holders_are_found_by_their_open_files() {
    let root = tempfile::tempdir().unwrap();
    let proc = root.path().join("proc");
    for (pid, name, target) in [
        ("20", "vmm", "/dev/vfio/13"),
        ("3", "bash", "/dev/null"),
        ("100", "other", "/dev/vfio/13"),
        ("self", "x", "/dev/vfio/13"),
    ] {
        let process = proc.join(pid);
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), format!("{name}\n")).unwrap();
        symlink(target, process.join("fd/5")).unwrap();
    }
    // Another user's.
    fs::create_dir(proc.join("4")).unwrap();
    let found = holders(&HostFiles::at(root.path()), &[PathBuf::from("/dev/vfio/13")]);
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["vmm (process 20)", "other (process 100)"]);
}
