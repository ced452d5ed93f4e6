//! Tests of the block device, its image formats and their opening.

mod device;
mod images;
mod kill;
mod open;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::testing::{DATA, Driver, WRITE};

/// Where requests of tests have their header, data and status.
const HEADER: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const BUFFER: u64 = DATA + 0x1000;

/// Bytes that differ from sector to sector and from seed to seed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
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
fn qemu_img(args: &[&str]) -> Output {
    Command::new("qemu-img").args(args).output().expect("these tests need qemu-img (package qemu-utils)")
}

fn qemu_img_ok(args: &[&str]) {
    let output = patiently(
        || qemu_img(args),
        |output| !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("lock"),
    );
    assert!(output.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Repeats while the result says that a file is locked. Tests run side by side, and a process that one of them is just
/// starting holds the locks of all until its exec, even of images that are closed already.
fn patiently<T>(mut attempt: impl FnMut() -> T, locked: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let result = attempt();
        if !locked(&result) || Instant::now() > deadline {
            return result;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An empty image of `size` bytes, made by qemu-img.
fn create(dir: &Path, name: &str, format: &str, options: &str, size: u64) -> PathBuf {
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
fn contents(path: &Path, format: &str) -> Vec<u8> {
    let raw = path.with_extension("contents");
    qemu_img_ok(&["convert", "-f", format, "-O", "raw", text(path), text(&raw)]);
    std::fs::read(raw).unwrap()
}

fn open_with(path: &Path, change: impl FnOnce(&mut DiskOptions)) -> Box<dyn BlockBackend> {
    let mut options = DiskOptions::new(path);
    change(&mut options);
    patiently(|| open_disk(&options), |opened| matches!(opened, Err(DiskError::InUse { .. }))).unwrap()
}

/// A disk and a driver that sends it one request after the other.
struct Disk {
    driver: Driver,
}

impl Disk {
    fn start(backend: Box<dyn BlockBackend>, features: u64) -> Self {
        let mut driver = Driver::new(VirtioBlk::new(backend, "serial-of-the-disk-too-long"));
        driver.start(features);
        Self { driver }
    }

    /// Offers a request with `out` for the device and `room` for its answer.
    fn offer(&mut self, kind: u32, sector: u64, out: &[u8], room: usize) {
        let ram = &self.driver.ram;
        ram.write_obj(kind, GuestAddress(HEADER)).unwrap();
        ram.write_obj(0u32, GuestAddress(HEADER + 4)).unwrap();
        ram.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
        ram.write_obj(0xeeu8, GuestAddress(STATUS)).unwrap();
        ram.write_slice(out, GuestAddress(BUFFER)).unwrap();
        let mut buffers = vec![(HEADER, 16, 0)];
        if !out.is_empty() {
            buffers.push((BUFFER, out.len() as u32, 0));
        }
        if room > 0 {
            buffers.push((BUFFER, room as u32, WRITE));
        }
        buffers.push((STATUS, 1, WRITE));
        self.driver.offer(&buffers);
        self.driver.ring();
    }

    /// Sends a request; returns its status and what was written to the room, with the status byte.
    fn request(&mut self, kind: u32, sector: u64, out: &[u8], room: usize) -> (u8, u32) {
        self.offer(kind, sector, out, room);
        let (_, written) = self.driver.wait_used().unwrap();
        (self.driver.ram.read_obj(GuestAddress(STATUS)).unwrap(), written)
    }

    fn buffer(&self, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.driver.ram.read_slice(&mut data, GuestAddress(BUFFER)).unwrap();
        data
    }

    fn read(&mut self, sector: u64, len: usize) -> Vec<u8> {
        assert_eq!(self.request(0, sector, &[], len), (0, len as u32 + 1));
        self.buffer(len)
    }

    fn write(&mut self, sector: u64, data: &[u8]) {
        assert_eq!(self.request(1, sector, data, 0), (0, 1));
    }
}
