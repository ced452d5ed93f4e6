//! Disks and files that are made, and those that are left alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use vocabulary::{ByteSize, DiskFormat};

use super::{args, survey};
use crate::init::files::{Disk, make_disk, written};
use crate::init::{InitError, write};

const HOST: &str = "cpu GenuineIntel vmx 39 Model";

/// Runs it in a folder; the words are about files there.
fn init(folder: &Path, words: &[&str]) -> Result<(), InitError> {
    let config = folder.join("vm.toml");
    let words = [&["--yes", config.to_str().unwrap()], words].concat();
    write(&args(&words), &survey(HOST), None).map(drop)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_sparse_disk_is_made_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &["--disk-size", "3G"]).unwrap();
    assert_eq!(names(folder.path()), ["vm.raw", "vm.toml"]);
    let disk = folder.path().join("vm.raw");
    let made = fs::metadata(&disk).unwrap();
    assert_eq!((made.len(), made.blocks(), made.permissions().mode() & 0o777), (3 << 30, 0, 0o600));
    let text = fs::read_to_string(folder.path().join("vm.toml")).unwrap();
    assert!(text.contains("\npath = \"vm.raw\"\n"), "{text}");
    // Again: not over the file, and with --force not over the disk.
    fs::write(&disk, "the guest's").unwrap();
    let error = init(folder.path(), &[]).unwrap_err();
    assert!(error.to_string().contains("`--force`"), "{error}");
    fs::write(folder.path().join("vm.toml"), "mine").unwrap();
    let error = init(folder.path(), &["--force", "--disk-size", "3G"]).unwrap_err();
    assert!(error.to_string().contains("is never overwritten"), "{error}");
    assert_eq!(fs::read(folder.path().join("vm.toml")).unwrap(), b"mine");
    init(folder.path(), &["--force"]).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("vm.toml")).unwrap(), text);
    assert_eq!(fs::read(&disk).unwrap(), b"the guest's");
    // One that was made meanwhile is not replaced either.
    assert!(matches!(
        make_disk(&disk, DiskFormat::Raw, ByteSize::from_mib(1)),
        Err(InitError::DiskExists { .. })
    ));
    assert_eq!(names(folder.path()), ["vm.raw", "vm.toml"]);
}

/// A machine that cannot be leaves nothing behind.
#[test]
fn what_is_refused_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder.raw")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("link.raw")).unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (folder_raw, link_raw, vmdk, deep) =
        (at("folder.raw"), at("link.raw"), at("disk.vmdk"), at("no/disk.raw"));
    for (words, message) in [
        (&["--memory", "100M"][..], "256M"),
        (&["--disk-size", "0"], "makes no sense"),
        (&["--disk-size", "1000"], "multiple of 1M"),
        (&["--disk", &folder_raw], "it is a directory"),
        (&["--disk", &link_raw], "leads to nothing"),
        (&["--disk", &vmdk], "let it end in `.raw`"),
        (&["--disk", &deep], "mkdir -p"),
        (&["--disk", "/dev/no-such-disk"], "no block device"),
        (&["--iso", &folder_raw], "it is a directory"),
    ] {
        let error = init(folder.path(), words).unwrap_err();
        assert!(error.to_string().contains(message), "{message}: {error}");
        assert_eq!(names(folder.path()), ["folder.raw", "link.raw"]);
    }
    // A link in the place of the file is in the way, too.
    std::os::unix::fs::symlink("nowhere", folder.path().join("vm.toml")).unwrap();
    assert!(matches!(init(folder.path(), &[]), Err(InitError::Exists { .. })));
}

/// QEMU's own tool says what the image is.
#[test]
fn a_qcow2_image_is_made_by_qemu_img() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("skipped: no qemu-img");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("system.qcow2");
    init(folder.path(), &["--disk", disk.to_str().unwrap(), "--disk-size", "5G"]).unwrap();
    assert_eq!(names(folder.path()), ["system.qcow2", "vm.toml"]);
    assert_eq!(fs::metadata(&disk).unwrap().permissions().mode() & 0o777, 0o600);
    let said = Command::new("qemu-img").args(["info", "--output=json"]).arg(&disk).output().unwrap().stdout;
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((&said["format"], &said["virtual-size"]), (&"qcow2".into(), &(5_u64 << 30).into()));
    let text = fs::read_to_string(folder.path().join("vm.toml")).unwrap();
    assert!(text.contains("\npath = \"system.qcow2\"\n"), "{text}");
}

#[test]
fn files_beside_are_named_and_others_by_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    for (path, expected) in [
        (folder.path().join("a.iso"), "a.iso".to_owned()),
        (folder.path().join("./a.iso"), "a.iso".into()),
        (link.join("a.iso"), "a.iso".into()),
        ("/iso/a.iso".into(), "/iso/a.iso".into()),
    ] {
        assert_eq!(written(&path, folder.path()).unwrap(), expected);
    }
    let wrong: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff.iso");
    assert!(matches!(written(Path::new(wrong), folder.path()), Err(InitError::NotText { .. })));
    assert_eq!(Disk::at(Path::new("/dev/null")).unwrap_err().status(), 2);
}
