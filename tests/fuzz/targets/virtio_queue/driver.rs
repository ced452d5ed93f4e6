//! A driver that sets a device up through its BAR (virtio 1.2, 3.1 and 4.1.4), as the input says.

use std::sync::Arc;

use devices::GuestRam;
use devices::pci::{PciFunction, Placement, Region};
use devices::virtio::VirtioDevice;
use devices::virtio::pci::VirtioPci;

use crate::host::{Line, Vectors};
use crate::input::{Input, QueueSetup};

/// Registers of the common configuration, at offset 0 of BAR 0 (virtio 1.2, 4.1.4.3).
const FEATURE_SELECT: u64 = 8;
const FEATURES: u64 = 0x0c;
const DEVICE_FEATURES: u64 = 4;
const QUEUES: u64 = 0x12;
const STATUS: u64 = 0x14;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_DESC: u64 = 0x20;
const QUEUE_AVAIL: u64 = 0x28;
const QUEUE_USED: u64 = 0x30;
const VERSION_1: u64 = 1 << 32;
const BAR_SIZE: u64 = 0x4000;

/// The Command register and its bits (PCIe 6.0, 7.5.1.1.3).
const COMMAND: u16 = 4;
const MEMORY: u16 = 2;
pub(crate) const BUS_MASTER: u16 = 4;

pub(crate) struct Driver {
    registers: Region,
    /// The size of each queue at most.
    sizes: Vec<u16>,
    offered: u64,
}

impl Driver {
    #[allow(clippy::unwrap_used, reason = "there is nothing to fuzz without a device")]
    /// `bus_master`: [`BUS_MASTER`], or 0 so that the device may not touch memory.
    pub(crate) fn new(device: Box<dyn VirtioDevice>, ram: &GuestRam, bus_master: u16) -> Self {
        let function =
            VirtioPci::endpoint(device, ram.clone(), Placement::Endpoint, &Vectors, Arc::new(Line)).unwrap();
        // BAR 0, memory decoding, and leave to access memory.
        let _ = function.config_write(0x10, &0xfe00_0000_u32.to_le_bytes());
        let _ = function.config_write(0x14, &0xfe01_0000_u32.to_le_bytes());
        let _ = function.config_write(COMMAND, &(MEMORY | bus_master).to_le_bytes());
        let registers =
            function.regions().into_iter().find(|region| region.range.base() == 0xfe00_0000).unwrap();
        let mut driver = Self { registers, sizes: vec![], offered: 0 };
        for index in 0..driver.read(QUEUES, 2) {
            driver.write(QUEUE_SELECT, 2, index);
            driver.sizes.push(driver.read(QUEUE_SIZE, 2) as u16);
        }
        for half in 0..2 {
            driver.write(0, 4, half);
            driver.offered |= driver.read(DEVICE_FEATURES, 4) << (32 * half);
        }
        driver
    }

    /// The queues as they are set up: a size that the device does not have is not taken.
    pub(crate) fn queues(&self, input: &Input) -> impl Iterator<Item = QueueSetup> {
        let sizes = self.sizes.iter();
        sizes.zip(input.queues()).map(|(most, queue)| QueueSetup { size: queue.size.min(*most), ..queue })
    }

    /// What is accepted of the features.
    fn features(&self, input: &Input) -> u64 {
        (input.features | VERSION_1) & self.offered
    }

    fn read(&self, register: u64, len: usize) -> u64 {
        let mut value = [0; 8];
        self.registers.device.read(register, &mut value[..len]);
        u64::from_le_bytes(value)
    }

    fn write(&self, register: u64, len: usize, value: u64) {
        let _ = self.registers.device.write(register, &value.to_le_bytes()[..len]);
    }

    /// Sets everything up, but for the last step.
    pub(crate) fn start(&self, input: &Input) {
        self.stop();
        self.write(STATUS, 1, 1);
        self.write(STATUS, 1, 3);
        let features = self.features(input);
        for half in 0..2 {
            self.write(FEATURE_SELECT, 4, half);
            self.write(FEATURES, 4, features >> (32 * half) & 0xffff_ffff);
        }
        self.write(STATUS, 1, 11);
        for (index, queue) in self.queues(input).enumerate() {
            self.write(QUEUE_SELECT, 2, index as u64);
            self.write(QUEUE_SIZE, 2, queue.size.into());
            self.write(QUEUE_DESC, 8, queue.desc);
            self.write(QUEUE_AVAIL, 8, queue.avail);
            self.write(QUEUE_USED, 8, queue.used);
            self.write(QUEUE_ENABLE, 2, 1);
        }
    }

    /// Sets DRIVER_OK. The device works until nothing is available any more.
    pub(crate) fn run(&self) {
        if self.read(STATUS, 1) & 8 != 0 {
            self.write(STATUS, 1, 15);
        }
    }

    /// Writes to any registers, and looks at all of them.
    pub(crate) fn disturb(&self, input: &Input) {
        for write in &input.writes {
            self.write(u64::from(write.offset) % BAR_SIZE, write.len, write.value);
        }
        for register in (0..0x40).step_by(4) {
            self.read(register, 4);
            self.read(0x2000 + register, 4);
        }
    }

    pub(crate) fn stop(&self) {
        self.write(STATUS, 1, 0);
        assert_eq!(self.read(STATUS, 1), 0);
    }
}
