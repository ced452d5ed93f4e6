//! Virtio devices with a driver that means no good: registers, rings and buffers are whatever the input says.
//!
//! An input is the number of the device, the features to accept, a number of register writes with the writes, for each queue its
//! size and the places of its rings (see `Input`), and from there the guest's memory from address 0 on. The device is started,
//! works through all that is available, is disturbed by the register writes, reset, and started again in the memory as it is then.
#![no_main]

#[path = "virtio_queue/chains.rs"]
mod chains;
#[path = "virtio_queue/disk.rs"]
mod disk;
#[path = "virtio_queue/driver.rs"]
mod driver;
#[path = "registers/host.rs"]
mod host;
#[path = "virtio_queue/input.rs"]
mod input;
#[path = "virtio_queue/peer.rs"]
mod peer;
#[path = "virtio_queue/proof.rs"]
mod proof;

use devices::GuestRam;
use devices::disk::engine::Disk;
use devices::disk::{Failures, OnError};
use devices::virtio::VirtioDevice;
use devices::virtio::blk::{self, VirtioBlk};
use devices::virtio::net::VirtioNet;
use devices::virtio::rng::VirtioRng;
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress};

use chains::Expected;
use driver::{BUS_MASTER, Driver};
use input::Input;

/// Devices by their number in the input.
const DEVICES: [fn() -> Box<dyn VirtioDevice>; 4] = [
    || disk(false, "serial-of-the-disk", 1),
    || disk(true, "", 2),
    || Box::new(VirtioRng::new()),
    || Box::new(VirtioNet::new(peer::cable(), [0x52, 0x54, 0, 1, 2, 3], 1500, true)),
];

fn disk(read_only: bool, serial: &str, queues: u16) -> Box<dyn VirtioDevice> {
    let image = Disk::new(Box::new(disk::MemoryDisk::new(read_only)));
    Box::new(VirtioBlk::new(
        image,
        blk::Options { serial, queues, failures: Failures::new("disk", OnError::Report) },
    ))
}

/// Two regions that touch, and one behind a gap.
const RAM: [(GuestAddress, usize); 3] =
    [(GuestAddress(0), 0x8000), (GuestAddress(0x8000), 0x4000), (GuestAddress(0x10000), 0x1000)];
/// The end of the last one.
const TOP: usize = 0x11000;

fuzz_target!(|data: &[u8]| {
    thread_local!(static MEMORY: GuestRam = {
        devices::virtio::work_inline();
        #[allow(clippy::expect_used, reason = "there is nothing to fuzz without memory")]
        let ram = GuestRam::from_ranges(&RAM).expect("there is memory");
        proof::prove(&ram);
        ram
    });
    let Some((input, memory)) = Input::parse(data) else { return };
    MEMORY.with(|ram| {
        fill(ram, memory);
        let Some(new) = DEVICES.get(usize::from(input.device) % DEVICES.len()) else { return };
        let driver = Driver::new(new(), ram, BUS_MASTER);
        driver.start(&input);

        let before = contents(ram);
        let expected: Option<Vec<_>> =
            driver.queues(&input).map(|queue| Expected::of(&queue, &before)).collect();
        driver.run();
        if let Some(expected) = expected {
            chains::check(&expected, &before, &contents(ram));
        }
        // Whatever it was told, it can be reset and works again.
        driver.disturb(&input);
        driver.start(&input);
        driver.run();
    });
});

fn fill(ram: &GuestRam, memory: &[u8]) {
    let mut all = [0; TOP];
    for (byte, value) in all.iter_mut().zip(memory) {
        *byte = *value;
    }
    for (base, len) in RAM {
        let at = base.0 as usize;
        assert!(ram.write_slice(&all[at..at + len], base).is_ok());
    }
}

/// All of memory by address; the gap is zero.
fn contents(ram: &GuestRam) -> Vec<u8> {
    let mut all = vec![0; TOP];
    for (base, len) in RAM {
        let at = base.0 as usize;
        assert!(ram.read_slice(&mut all[at..at + len], base).is_ok());
    }
    all
}
