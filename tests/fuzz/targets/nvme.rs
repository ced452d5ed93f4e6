//! An NVMe controller with a driver that means no good: registers, doorbells, queues, commands and lists are whatever the input says (see
//! `registers/script.rs`). Whatever it was told, it works for a proper driver afterwards.
#![no_main]

#[path = "virtio_queue/disk.rs"]
mod disk;
#[path = "registers/host.rs"]
mod host;
#[path = "registers/script.rs"]
mod script;

use std::sync::Arc;

use devices::GuestRam;
use devices::disk::engine::Disk;
use devices::disk::{Failures, OnError};
use devices::nvme::{Identity, Nvme};
use devices::pci::Placement;
use libfuzzer_sys::fuzz_target;

use host::{Line, Vectors};
use script::Driver;

/// I/O queue pairs.
const PAIRS: u16 = 2;
/// Registers: configuration, status, sizes and places of the admin queues; and the doorbells.
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const SIZES: u64 = 0x24;
const SUBMISSION: u64 = 0x28;
const COMPLETION: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;

#[allow(clippy::unwrap_used, reason = "there is nothing to fuzz without a device")]
fn controller(ram: &GuestRam) -> Driver {
    let image = Disk::new(Box::new(disk::MemoryDisk::new(false)));
    let identity = Identity {
        serial: "1".to_owned(),
        model: "2".to_owned(),
        firmware_revision: "3".to_owned(),
        uuid: *b"0123456789abcdef",
    };
    let failures = Failures::new("disk", OnError::Report);
    let place = (Placement::Endpoint, &Vectors as _, Arc::new(Line) as _);
    let function = Nvme::endpoint(image, identity, failures, PAIRS, ram.clone(), place).unwrap();
    // The registers, or the doorbells of all queues and one more.
    Driver::new(function, 0, ram, |offset| match offset {
        0x1000.. => DOORBELLS + (u64::from(offset) & 0x1f),
        _ => u64::from(offset) & 0x3f,
    })
}

/// Puts commands into the queue at `queue`, rings, and looks at what the queue of completions says.
fn submit(driver: &Driver, id: u64, queue: u64, commands: &[[u32; 16]]) {
    for (command, at) in commands.iter().zip((queue..).step_by(64)) {
        driver.put(at, &command.map(u32::to_le_bytes).concat());
    }
    driver.put(queue + 0x1000, &[0; 0x100]);
    driver.write(DOORBELLS + id * 8, commands.len() as u32);
    for at in (queue + 0x1000..).step_by(16).take(commands.len()) {
        let [_, _, _, _, _, _, status, status_high] = driver.get(at + 8);
        assert_eq!(u16::from_le_bytes([status, status_high]), 1, "new, and no error");
    }
}

/// A driver that starts anew finds all as it should be.
fn check(driver: &Driver) {
    driver.write(CONFIGURATION, 0);
    assert_eq!(driver.read(STATUS) & 1, 0);
    for (register, value) in [
        (SIZES, 0x000f_000f),
        (SUBMISSION, 0x1000),
        (SUBMISSION + 4, 0),
        (COMPLETION, 0x2000),
        (COMPLETION + 4, 0),
        (CONFIGURATION, 0x0046_0001),
    ] {
        driver.write(register, value);
    }
    assert_eq!(driver.read(STATUS), 1);
    let command = |code: u32, namespace: u32, prp: u32, rest: [u32; 4]| {
        let [d10, d11, d12, d13] = rest;
        [code, namespace, 0, 0, 0, 0, prp, 0, 0, 0, d10, d11, d12, d13, 0, 0]
    };
    // Identify the controller, and make a pair of queues.
    let admin = [
        command(6, 0, 0x5000, [1, 0, 0, 0]),
        command(5, 0, 0x4000, [0x000f_0001, 1, 0, 0]),
        command(1, 0, 0x3000, [0x000f_0001, 0x0001_0001, 0, 0]),
    ];
    submit(driver, 0, 0x1000, &admin);
    assert_eq!(driver.get(0x5000), [0x36, 0x1b]);
    // Write, flush and read a block.
    driver.put(0x5000, &[0x33; 512]);
    let blocks =
        [command(1, 1, 0x5000, [3, 0, 0, 0]), command(0, 1, 0, [0; 4]), command(2, 1, 0x5200, [3, 0, 0, 0])];
    submit(driver, 1, 0x3000, &blocks);
    assert_eq!(driver.get(0x5200), [0x33; 512]);
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
