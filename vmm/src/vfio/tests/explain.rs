use std::io;

use iommufd_ioctls::IommufdError;
use vfio_ioctls::VfioError as Crate;
use vmm_sys_util::errno::Error as Errno;
use vocabulary::VfioBackend;

use super::super::explain::Attempt;
use super::super::space::{Offer, prefers_iommufd};
use super::gpu;
use crate::host::{Culprit, Holder, Holders, HostFiles};

fn by_group() -> Attempt {
    Attempt {
        files: HostFiles::at("/nonexistent"),
        address: gpu(0),
        group: 13,
        cdev: None,
        holders: Holders::default(),
        culprits: Vec::new(),
        answers: true,
    }
}

fn by_cdev() -> Attempt {
    Attempt { cdev: Some("/dev/vfio/devices/vfio0".into()), ..by_group() }
}

fn held(attempt: Attempt) -> Attempt {
    let nodes = ["/dev/vfio/13".to_owned()].into();
    let holder = Holder { pid: 77, command: "qemu-system-x86".into(), nodes };
    Attempt { holders: Holders { found: vec![holder], unseen: 0 }, ..attempt }
}

/// As after this process has given up its privileges.
fn unseen(attempt: Attempt) -> Attempt {
    Attempt { holders: Holders { found: Vec::new(), unseen: 5 }, ..attempt }
}

fn obstructed(attempt: Attempt) -> Attempt {
    let audio = Culprit { name: "0000:01:00.1".into(), driver: "snd_hda_intel".into() };
    Attempt { culprits: vec![audio], ..attempt }
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
        (
            held(by_group()),
            group(libc::EBUSY),
            &["/dev/vfio/13", "qemu-system-x86 (process 77)", "shut down"],
        ),
        (by_group(), group(libc::EBUSY), &["another process", "fuser -v /dev/vfio/13"]),
        (by_group(), group(libc::ENOENT), &["/dev/vfio/13", "CONFIG_VFIO_GROUP", "iommufd"]),
        (by_group(), group(libc::EMFILE), &["open its IOMMU group", "Too many open files"]),
        (
            obstructed(by_group()),
            Crate::GroupViable,
            &["group 13", "0000:01:00.1 (driver snd_hda_intel)", "functions = \"all\""],
        ),
        (by_group(), Crate::GroupSetContainer, &["group 13", "dmesg"]),
        (by_group(), iommu(libc::EPERM), &["vfio_iommu_type1/parameters/allow_unsafe_interrupts"]),
        (by_group(), iommu(libc::EINVAL), &["RMRR", "dmesg"]),
        (by_group(), iommu(libc::ENODEV), &["modprobe vfio_iommu_type1"]),
        (obstructed(by_group()), fd(libc::EBUSY), &["snd_hda_intel"]),
        (obstructed(unseen(by_group())), fd(libc::EBUSY), &["snd_hda_intel"]),
        (by_group(), fd(libc::EBUSY), &["group 13", "dmesg"]),
        (unseen(by_group()), fd(libc::EBUSY), &["in use", "fuser -v /dev/vfio/13"]),
        (by_group(), fd(libc::EACCES), &["token"]),
        (by_group(), fd(libc::EAGAIN), &["Try again"]),
        (by_group(), fd(libc::EIO), &["open it", "Input/output error"]),
        (Attempt { answers: false, ..by_group() }, fd(libc::EIO), &["reads all ones", "power/control"]),
        (
            by_cdev(),
            Crate::OpenDeviceCdev(os(libc::EACCES)),
            &["/dev/vfio/devices/vfio0", "SUBSYSTEM==\"vfio-dev\""],
        ),
        (by_cdev(), Crate::OpenDeviceCdev(os(libc::EIO)), &["Input/output error"]),
        (held(by_cdev()), bind(libc::EINVAL), &["in use", "process 77"]),
        (unseen(by_cdev()), bind(libc::EINVAL), &["in use", "fuser -v /dev/vfio/devices/vfio0"]),
        (unseen(by_cdev()), bind(libc::EBUSY), &["in use", "fuser -v /dev/vfio/devices/vfio0"]),
        (obstructed(by_cdev()), bind(libc::EBUSY), &["snd_hda_intel"]),
        (by_cdev(), attach(libc::EPERM), &["iommufd/parameters/allow_unsafe_interrupts"]),
        (by_cdev(), attach(libc::EINVAL), &["RMRR"]),
        (by_cdev(), iommufd(libc::ENOENT), &["/dev/iommu", "CONFIG_IOMMUFD", "`vfio_backend = \"group\"`"]),
        (by_cdev(), iommufd(libc::EACCES), &["permission", "/dev/iommu", "KERNEL==\"iommu\""]),
        (by_cdev(), iommufd(libc::EMFILE), &["/dev/iommu", "Too many open files"]),
        (by_cdev(), Crate::InvalidVfioDev, &["vfio-dev", "CONFIG_VFIO_DEVICE_CDEV"]),
        (by_group(), Crate::SetDeviceAttr(Errno::new(libc::EINVAL)), &["known to KVM", "Invalid argument"]),
    ];
    for (attempt, error, words) in table {
        let cause = format!("{error:?}");
        let message = attempt.explain(error).to_string();
        assert!(message.contains("0000:01:00.0"), "{cause}: {message}");
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
