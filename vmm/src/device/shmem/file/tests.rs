//! Files of shared memory on real file systems: which are made, taken and refused, and that the mapping is the file.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::*;

const SIZE: u64 = 2 << 20;

fn at(path: PathBuf) -> Shmem {
    Shmem { index: 0, path, size: ByteSize::from_bytes(SIZE), group: None, address: None }
}

fn folder() -> (TempDir, Shmem) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    (folder, at(path))
}

/// As systemd-tmpfiles(8) makes it.
fn private(shmem: &Shmem) {
    std::fs::set_permissions(&shmem.path, PermissionsExt::from_mode(MODE)).unwrap();
}

#[test]
fn a_file_is_made_for_its_owner_and_group_and_kept() {
    let (_folder, shmem) = folder();
    assert!(open(&shmem, Purpose::Look).unwrap().is_none());
    assert!(!shmem.path.exists(), "looking has made it");
    let mut file = open(&shmem, Purpose::Run).unwrap().unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (SIZE, MODE));
    assert_eq!(metadata.blocks() * 512, SIZE, "all of it is taken at once");
    file.write_all(b"kept").unwrap();
    drop(file);
    // The next run, and one that only looks, find it as it is.
    assert!(open(&shmem, Purpose::Look).unwrap().is_none());
    drop(open(&shmem, Purpose::Run).unwrap().unwrap());
    assert!(std::fs::read(&shmem.path).unwrap().starts_with(b"kept"));
}

#[test]
fn an_empty_file_of_systemd_is_filled() {
    let (_folder, shmem) = folder();
    File::create(&shmem.path).unwrap();
    private(&shmem);
    open(&shmem, Purpose::Run).unwrap().unwrap();
    assert_eq!(shmem.path.metadata().unwrap().len(), SIZE);
}

#[test]
fn a_file_of_another_size_is_left_as_it_is() {
    let (_folder, shmem) = folder();
    std::fs::write(&shmem.path, vec![7; 4096]).unwrap();
    for purpose in [Purpose::Look, Purpose::Run] {
        let error = open(&shmem, purpose).unwrap_err();
        assert!(matches!(*error, ShmemError::Size { found: 4096, wanted: SIZE, .. }), "{error}");
        assert!(error.help(&shmem).contains("rm "));
    }
    assert_eq!(std::fs::read(&shmem.path).unwrap(), [7; 4096]);
}

#[test]
fn what_is_no_file_is_refused_and_does_not_hold_up_the_start() {
    let (folder, shmem) = folder();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let error = open(&at(fifo), Purpose::Run).unwrap_err();
    assert!(matches!(*error, ShmemError::Kind { .. }), "{error}");
    let error = open(&at(folder.path().into()), Purpose::Run).unwrap_err();
    assert!(matches!(*error, ShmemError::Open { .. }), "{error}");
    // Somebody else's link in /dev/shm would lead to a file of this user's.
    let target = folder.path().join("precious");
    std::fs::write(&target, b"").unwrap();
    symlink(&target, &shmem.path).unwrap();
    let error = open(&shmem, Purpose::Run).unwrap_err();
    assert!(matches!(*error, ShmemError::Open { .. }), "{error}");
    assert_eq!(target.metadata().unwrap().len(), 0);
}

#[test]
fn a_missing_folder_and_group_are_told() {
    let (folder, mut shmem) = folder();
    let nowhere = at(folder.path().join("none/memory"));
    for purpose in [Purpose::Look, Purpose::Run] {
        let error = open(&nowhere, purpose).unwrap_err();
        assert!(matches!(*error, ShmemError::Make { .. }), "{error}");
        shmem.group = Some("no-such-group".into());
        let error = open(&shmem, purpose).unwrap_err();
        assert_eq!(error.key(), "group");
        assert!(error.to_string().contains("this host has no such group"), "{error}");
        assert!(!shmem.path.exists());
    }
}

#[test]
fn files_of_strangers_are_refused_also_to_root() {
    let (_folder, shmem) = folder();
    std::fs::write(&shmem.path, vec![0; SIZE as usize]).unwrap();
    private(&shmem);
    // Nobody's, since root's files are trusted and tests may be root's.
    if Uid::effective().is_root() {
        std::os::unix::fs::chown(&shmem.path, Some(65_534), None).unwrap();
    }
    let metadata = shmem.path.metadata().unwrap();
    let owner = metadata.uid();
    assert!(check(&shmem, &metadata, owner, None).is_ok());
    // Root under sudo takes its caller's, and no other's.
    assert!(check(&shmem, &metadata, 0, Some(owner)).is_ok());
    for (me, caller) in [(0, None), (0, Some(owner + 1)), (owner + 1, None)] {
        let error = check(&shmem, &metadata, me, caller).unwrap_err();
        assert!(matches!(*error, ShmemError::Owner { .. }), "{error}");
    }
}

#[test]
fn a_file_that_everybody_may_read_is_refused() {
    let (_folder, shmem) = folder();
    std::fs::write(&shmem.path, vec![0; SIZE as usize]).unwrap();
    for (mode, fine) in [(0o644, false), (0o662, false), (0o660, true), (0o600, true)] {
        std::fs::set_permissions(&shmem.path, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(open(&shmem, Purpose::Look).is_ok(), fine, "{mode:o}");
    }
}

#[test]
fn two_machines_do_not_share_a_file() {
    let (_folder, shmem) = folder();
    let first = open(&shmem, Purpose::Run).unwrap().unwrap();
    let error = open(&shmem, Purpose::Run).unwrap_err();
    assert!(matches!(*error, ShmemError::Used { .. }), "{error}");
    assert!(open(&shmem, Purpose::Look).unwrap().is_none(), "looking takes nothing");
    drop(first);
    open(&shmem, Purpose::Run).unwrap().unwrap();
}

#[test]
fn a_device_that_is_not_there_is_not_made() {
    let shmem = at("/dev/kvmfr-of-a-test".into());
    for purpose in [Purpose::Look, Purpose::Run] {
        let error = open(&shmem, purpose).unwrap_err();
        assert!(matches!(*error, ShmemError::NoDevice { .. }), "{error}");
        assert!(error.help(&shmem).contains("modprobe kvmfr"), "{}", error.help(&shmem));
        assert!(!shmem.path.exists());
    }
}

#[test]
fn a_device_without_such_memory_is_refused() {
    // A device has its memory already; this one has none.
    let mut shmem = at("/dev/full".into());
    shmem.size = ByteSize::from_mib(1);
    let file = open(&shmem, Purpose::Run).unwrap().unwrap();
    let Err(error) = map(&shmem, &file) else { panic!("/dev/full was mapped") };
    assert!(matches!(*error, ShmemError::Map { .. }), "{error}");
    assert!(error.help(&shmem).contains("static_size_mb=1"), "{}", error.help(&shmem));
}

#[test]
fn the_mapping_is_the_file() {
    let (_folder, shmem) = folder();
    let file = open(&shmem, Purpose::Run).unwrap().unwrap();
    let mapping = map(&shmem, &file).unwrap();
    assert_eq!(mapping.len(), SIZE);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.starts_with(&format!("{:x}-", mapping.address()))).unwrap();
    assert!(line.contains("rw-s") && line.ends_with(&*shmem.path.to_string_lossy()), "{line}");
}
