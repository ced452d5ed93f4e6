//! What is said about images that cannot be used, and locks.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use vocabulary::DiskFormat;

use super::*;

fn refusal(path: &Path, change: impl FnOnce(&mut DiskOptions)) -> String {
    let mut options = DiskOptions::new(path);
    change(&mut options);
    match open_disk(&options) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let qcow2 = create(dir.path(), "image.bin", "qcow2", "", 1 << 20);
    let backed = dir.path().join("backed.qcow2");
    qemu_img_ok(&["create", "-q", "-f", "qcow2", "-b", text(&qcow2), "-F", "qcow2", text(&backed)]);
    let data_file = format!("data_file={}", text(&dir.path().join("external.data")));
    let external = create(dir.path(), "external.qcow2", "qcow2", &data_file, 1 << 20);
    let vdi = create(dir.path(), "a.vdi", "vdi", "", 1 << 20);
    let vmdk = create(dir.path(), "a.vmdk", "vmdk", "", 1 << 20);
    let vhdx = create(dir.path(), "a.vhdx", "vhdx", "", 1 << 20);
    let vpc = create(dir.path(), "a.vhd", "vpc", "", 1 << 20);
    let mut torn = std::fs::read(&qcow2).unwrap();
    torn.truncate(80);
    let cases: Vec<(PathBuf, Option<DiskFormat>, &[&str])> = vec![
        (dir.path().join("none.qcow2"), None, &["does not exist", "qemu-img create -f qcow2"]),
        (dir.path().join("none.img"), None, &["does not exist", "qemu-img create -f raw"]),
        (dir.path().to_owned(), None, &["a directory"]),
        ("/dev/null".into(), None, &["a character device"]),
        ("/sys/kernel/notes".into(), None, &["cannot be written", "readonly = true"]),
        (file("odd.img", &[1; 1000]), None, &["1000 bytes", "multiple of 512", "truncate"]),
        (file("empty.img", &[]), None, &["is empty"]),
        (file("text.qcow2", &[1; 1024]), None, &["not a qcow2 image", "format = \"raw\""]),
        (file("short.qcow2", b"QFI"), None, &["not a qcow2 image"]),
        (qcow2.clone(), Some(DiskFormat::Raw), &["is a qcow2 image", "format = \"qcow2\""]),
        (qcow2.clone(), None, &["is a qcow2 image"]),
        (vdi, None, &["VDI", "qemu-img convert"]),
        (vmdk, None, &["VMDK", "qemu-img convert"]),
        (vhdx, Some(DiskFormat::Qcow2), &["VHDX", "qemu-img convert"]),
        (vpc, None, &["VHD", "qemu-img convert"]),
        (backed, None, &["backing file", "image.bin", "backing = \"allow\""]),
        (external, None, &["external file"]),
        (file("torn.qcow2", &torn), None, &["cannot be used", "qemu-img check"]),
    ];
    for (path, format, words) in cases {
        let said = refusal(&path, |options| options.format = format);
        for word in words {
            assert!(said.contains(word), "{}: {said}", path.display());
        }
        assert!(said.contains(text(&path)), "{said}");
        assert!(!said.contains("Error {") && !said.contains("Kind("), "debug output: {said}");
    }
}

#[test]
fn backing_files_are_read_when_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let base = create(dir.path(), "base.qcow2", "qcow2", "", 1 << 20);
    let data = pattern(5, 4096);
    let mut disk = open_with(&base, |_| {});
    write(disk.as_mut(), 0, &data);
    drop(disk);
    let top = dir.path().join("top.qcow2");
    qemu_img_ok(&["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", text(&top)]);
    let mut disk = open_with(&top, |options| options.allow_backing = true);
    assert_eq!(read(disk.as_mut(), 0, 4096), data);
    write(disk.as_mut(), 512, &pattern(6, 512));
    assert!(matches!(open_disk(&DiskOptions::new(&base)), Err(DiskError::InUse { .. })));
    drop(disk);
    assert_eq!(contents(&base, "qcow2")[..4096], data);
    assert_eq!(contents(&top, "qcow2")[512..1024], pattern(6, 512));
}

#[test]
fn images_have_one_writer_or_many_readers() {
    let dir = tempfile::tempdir().unwrap();
    let read_only = |options: &mut DiskOptions| options.read_only = true;
    for (name, format) in [("a.img", "raw"), ("a.qcow2", "qcow2")] {
        let path = create(dir.path(), name, format, "", 1 << 20);
        let writer = open_with(&path, |_| {});
        assert!(refusal(&path, |_| {}).contains("in use by another process"));
        assert!(refusal(&path, read_only).contains("in use by another process"));
        let copy = dir.path().join("copy");
        let copying = ["convert", "-f", format, "-O", "raw", text(&path), text(&copy)];
        let refused = qemu_img(&copying);
        assert!(!refused.status.success(), "qemu-img notices us");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("lock"));
        drop(writer);
        let readers = [open_with(&path, read_only), open_with(&path, read_only)];
        assert!(refusal(&path, |_| {}).contains("in use by another process"));
        qemu_img_ok(&copying);
        drop(readers);
        open_with(&path, |_| {});
    }
}

#[test]
fn an_image_that_qemu_uses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "a.img", "raw", "", 1 << 20);
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "raw", text(&path)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs qemu-io (package qemu-utils)");
    qemu.stdin.as_mut().unwrap().write_all(b"read 0 512\n").unwrap();
    let mut line = String::new();
    BufReader::new(qemu.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(refusal(&path, |_| {}).contains("in use by another process"));
    assert!(refusal(&path, |options| options.read_only = true).contains("in use by another process"));
    qemu.stdin.take();
    qemu.wait().unwrap();
    open_with(&path, |_| {});
}
