//! The SATA controller with a driver that means no good, and with a disk and an optical drive at its ports: registers, command lists, tables,
//! frames and packets are whatever the input says (see `registers/script.rs`). Whatever it was told, it works for a proper driver afterwards.
#![no_main]

#[path = "virtio_queue/disk.rs"]
mod disk;
#[path = "registers/host.rs"]
mod host;
#[path = "registers/script.rs"]
mod script;

use std::io;
use std::sync::Arc;

use devices::GuestRam;
use devices::ahci::{Ahci, Attached, DiskIdentity, PORTS};
use devices::atapi::{Drive, Identity, Medium};
use devices::disk::engine::Disk;
use devices::disk::{Failures, OnError};
use libfuzzer_sys::fuzz_target;

use host::{Line, Vectors};
use script::Driver;

/// Blocks of the disc. The last ones cannot be read.
const BLOCKS: u32 = 40;
const GOOD: u32 = 36;
/// Where the registers of the two ports begin, the disk's and the drive's, and some of them.
const PORT: [u64; 2] = [0x100, 0x180];
const LIST: u64 = 0x00;
const FRAMES: u64 = 0x08;
const CAUSES: u64 = 0x10;
const COMMAND: u64 = 0x18;
const STATUS: u64 = 0x20;
const LINK: u64 = 0x2c;
const ACTIVE: u64 = 0x34;
const ISSUE: u64 = 0x38;

struct Disc;

impl Medium for Disc {
    fn blocks(&self) -> u32 {
        BLOCKS
    }

    fn read(&self, block: u32, data: &mut [u8]) -> io::Result<()> {
        assert!(!data.is_empty() && data.len().is_multiple_of(2048));
        assert!(u64::from(block) + data.len() as u64 / 2048 <= BLOCKS.into());
        if block >= GOOD {
            return Err(io::ErrorKind::Other.into());
        }
        data.fill(block as u8);
        Ok(())
    }
}

#[allow(clippy::unwrap_used, reason = "there is nothing to fuzz without a device")]
fn controller(ram: &GuestRam) -> Driver {
    let told = |text: &str| text.to_owned();
    let drive = Identity { model: told("DRIVE"), revision: told("1"), serial: told("2") };
    let drive = Drive::new(drive, Some((told("disc"), Arc::new(Disc))));
    let identity =
        DiskIdentity { model: told("DISK"), revision: told("1"), serial: told("2"), ssd: true, sector: 512 };
    let mut attached = [const { None }; PORTS];
    attached[0] = Some(Attached::Disk {
        disk: Disk::new(Box::new(disk::MemoryDisk::new(false))),
        identity,
        failures: Failures::new("disk", OnError::Report),
    });
    attached[1] = Some(Attached::Drive(drive));
    let function = Ahci::endpoint(attached, ram.clone(), &Vectors, Arc::new(Line)).unwrap();
    // The registers of the controller and of both ports, and a little beyond.
    Driver::new(function, 5, ram, |offset| u64::from(offset) & 0x1ff)
}

/// Has a command performed as a proper driver does, in slot 0, and returns the status.
fn command(driver: &Driver, port: u64, frame: &[u8], queued: bool) -> u32 {
    let header = [5 | 1 << 16, 0, 0x400, 0].map(u32::to_le_bytes).concat();
    let region = [0x2000, 0, 0, 0x1ff].map(u32::to_le_bytes).concat();
    for (at, bytes) in [(0, header.as_slice()), (0x400, frame), (0x480, &region)] {
        driver.put(at, bytes);
    }
    for (register, value) in [(CAUSES, u32::MAX), (ACTIVE, u32::from(queued)), (ISSUE, 1)] {
        driver.write(port + register, value);
    }
    assert_eq!((driver.read(port + ISSUE), driver.read(port + ACTIVE)), (0, 0), "it ends");
    driver.read(port + STATUS)
}

/// A driver that starts anew finds all as it should be.
fn check(driver: &Driver) {
    driver.write(4, 0x8000_0001);
    for port in PORT {
        for (register, value) in [(LINK, 0), (LIST, 0), (LIST + 4, 0), (FRAMES, 0x800), (FRAMES + 4, 0)] {
            driver.write(port + register, value);
        }
        driver.write(port + COMMAND, 0x10);
        assert_eq!(driver.read(port + COMMAND) & 0x8001, 0);
        driver.write(port + COMMAND, 0x11);
    }
    let [disk, drive] = PORT;
    assert_eq!(command(driver, disk, &[0x27, 0x80, 0xec, 0, 0, 0, 0, 0xa0, 0], false), 0x50);
    assert_eq!(driver.get(0x2000), [0x40, 0]);
    let mut log = [0x27, 0x80, 0x2f, 0, 0x10, 0, 0, 0x40, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(command(driver, disk, &log, false), 0x50);
    log[2] = 0x60;
    (log[3], log[12]) = (1, 0);
    assert_eq!(command(driver, disk, &log, true), 0x50);
    assert_eq!(command(driver, drive, &[0x27, 0x80, 0xa1, 0, 0, 0, 0, 0xa0, 0], false), 0x50);
    assert_eq!(driver.get(0x2000), [0xc0, 0x85]);
}

fuzz_target!(|data: &[u8]| {
    thread_local!(static MEMORY: GuestRam = {
        devices::virtio::work_inline();
        script::ram()
    });
    let Some((steps, memory)) = script::parse(data) else { return };
    MEMORY.with(|ram| {
        script::fill(ram, memory);
        let driver = controller(ram);
        driver.play(&steps);
        check(&driver);
    });
});
