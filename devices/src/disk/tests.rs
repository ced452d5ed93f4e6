//! Tests of images against independent readers and writers of them, and what tests of devices need of images.

mod backing;
mod damage;
mod failing;
pub(crate) mod gated;
mod header;
mod images;
mod open;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use vm_memory::VolatileSlice;

use super::*;

/// Bytes that differ from sector to sector and from seed to seed.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Runs qemu-img, the independent reader of our images.
pub(crate) fn qemu_img(args: &[&str]) -> Output {
    Command::new("qemu-img").args(args).output().expect("these tests need qemu-img (package qemu-utils)")
}

pub(crate) fn qemu_img_ok(args: &[&str]) {
    // For an encrypted image it measures the processor, which fails where that is busy.
    let passing = ["lock", "accurate CPU usage"];
    let output = patiently(
        || qemu_img(args),
        |output| {
            let said = String::from_utf8_lossy(&output.stderr);
            !output.status.success() && passing.iter().any(|word| said.contains(word))
        },
    );
    assert!(output.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Has qemu-io perform `commands` on a qcow2 image.
fn qemu_io(path: &Path, commands: &[&str]) {
    let mut qemu = Command::new("qemu-io");
    for command in commands {
        qemu.args(["-c", command]);
    }
    let output = qemu.args(["-f", "qcow2", text(path)]).output();
    let output = output.expect("these tests need qemu-io (package qemu-utils)");
    assert!(output.status.success(), "{output:?}");
}

/// The error of an image that is refused.
fn refused(path: &Path, change: impl FnOnce(&mut DiskOptions)) -> DiskError {
    let mut options = DiskOptions::new(path);
    change(&mut options);
    let opened = open_patiently(&options);
    opened.err().unwrap_or_else(|| panic!("{} was opened", path.display()))
}

/// Writes `bytes` at `offset` of a file.
fn edit(path: &Path, offset: u64, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, offset).unwrap();
}

/// The big-endian value at `offset` of a file.
fn u64_at(path: &Path, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    let file = std::fs::File::open(path).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, offset).unwrap();
    u64::from_be_bytes(bytes)
}

/// Repeats while the result says that a file is locked. Tests run side by side, and a process that one of them is just
/// starting holds the locks of all until its exec, even of images that are closed already.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> T, locked: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let result = attempt();
        if !locked(&result) || Instant::now() > deadline {
            return result;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Opens an image, or one with backing files, that nobody has open but for the moment of [`patiently`].
fn open_patiently(options: &DiskOptions) -> Result<Box<dyn BlockBackend>, DiskError> {
    patiently(|| open_disk(options), |opened| opened.as_ref().is_err_and(DiskError::is_in_use))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An empty image of `size` bytes, made by qemu-img.
pub(crate) fn create(dir: &Path, name: &str, format: &str, options: &str, size: u64) -> PathBuf {
    let path = dir.join(name);
    let size = size.to_string();
    let mut args = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        args.extend(["-o", options]);
    }
    args.extend([text(&path), &size]);
    qemu_img_ok(&args);
    path
}

/// The disk's bytes as qemu-img reads them.
pub(crate) fn contents(path: &Path, format: &str) -> Vec<u8> {
    let raw = path.with_extension("contents");
    qemu_img_ok(&["convert", "-f", format, "-O", "raw", text(path), text(&raw)]);
    std::fs::read(raw).unwrap()
}

pub(crate) fn open_with(path: &Path, change: impl FnOnce(&mut DiskOptions)) -> Box<dyn BlockBackend> {
    let mut options = DiskOptions::new(path);
    change(&mut options);
    open_patiently(&options).unwrap()
}

/// What `disk` has at `offset`.
fn try_read(disk: &mut dyn BlockBackend, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let mut data = vec![0xcc; len];
    disk.read(offset, &[VolatileSlice::from(data.as_mut_slice())])?;
    Ok(data)
}

fn try_write(disk: &mut dyn BlockBackend, offset: u64, data: &[u8]) -> std::io::Result<()> {
    disk.write(offset, &[VolatileSlice::from(data.to_vec().as_mut_slice())])
}

fn read(disk: &mut dyn BlockBackend, offset: u64, len: usize) -> Vec<u8> {
    try_read(disk, offset, len).unwrap()
}

fn write(disk: &mut dyn BlockBackend, offset: u64, data: &[u8]) {
    try_write(disk, offset, data).unwrap();
}
