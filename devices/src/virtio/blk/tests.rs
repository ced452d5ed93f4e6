//! Tests of the block device.

mod device;
mod kill;
mod running;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::disk::engine::Disk as Image;
use crate::disk::tests::{contents, create, open_with, pattern, qemu_img, text};
use crate::disk::{BlockBackend, OnError};
use crate::virtio::testing::{DATA, Driver, WRITE};

/// Where requests of tests have their header, data and status.
const HEADER: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const BUFFER: u64 = DATA + 0x1000;

/// A disk and a driver that sends it one request after the other.
struct Disk {
    driver: Driver,
}

impl Disk {
    fn start(backend: Box<dyn BlockBackend>, features: u64) -> Self {
        Self::with(Image::new(backend), features, 1)
    }

    fn with(disk: Image, features: u64, queues: u16) -> Self {
        let failures = Failures::new("disk[0] (a.img)", OnError::Report);
        let options = Options { serial: "serial-of-the-disk-too-long", queues, failures };
        let mut driver = Driver::new(VirtioBlk::new(disk, options));
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
