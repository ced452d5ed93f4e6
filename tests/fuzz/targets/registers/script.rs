//! A driver that means no good: accesses to the registers of a function, and the memory behind them, are whatever the input says.
//!
//! An input is a number of steps (1 byte, of which 63 count), 8 bytes for each, and from there guest memory from address 0 on. A step is what
//! it does (1 byte), an offset (2), a length (1) and a value (4).

use std::sync::Arc;

use devices::GuestRam;
use devices::bus::BusDevice;
use devices::pci::PciFunction;
use vm_memory::{Bytes, GuestAddress};

/// Bytes of guest memory, from address 0 on.
pub(crate) const RAM: usize = 0x1_0000;
/// Where the function's registers are to be.
pub(crate) const BAR: u32 = 0xfe00_0000;

/// The Command register (PCIe 6.0, 7.5.1.1.3): memory decoding, with and without leave to access memory.
const COMMAND: u16 = 4;
const MEMORY: u16 = 2;
const BUS_MASTER: u16 = 4;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Write {
        offset: u16,
        len: usize,
        value: u32,
    },
    Read {
        offset: u16,
        len: usize,
    },
    /// Bus mastering is allowed, or not.
    Master(bool),
}

/// The steps of an input, and the memory behind them.
pub(crate) fn parse(data: &[u8]) -> Option<(Vec<Step>, &[u8])> {
    let (count, mut data) = data.split_first()?;
    let mut steps = Vec::new();
    for _ in 0..count % 64 {
        let (&[kind, o0, o1, len, v0, v1, v2, v3], rest) = data.split_first_chunk()?;
        data = rest;
        let (offset, value) = (u16::from_le_bytes([o0, o1]), u32::from_le_bytes([v0, v1, v2, v3]));
        // Dwords, but for the odd one.
        let len = if len & 0xf0 == 0xf0 { 1 << (len & 3) } else { 4 };
        steps.push(match kind {
            0xf0..=0xf7 => Step::Read { offset, len },
            0xf8..=0xff => Step::Master(value & 1 != 0),
            _ => Step::Write { offset, len, value },
        });
    }
    Some((steps, data))
}

/// A function and its driver.
pub(crate) struct Driver {
    pub(crate) function: Arc<dyn PciFunction>,
    registers: Arc<dyn BusDevice>,
    ram: GuestRam,
    /// Where its registers are, of those that an offset can say.
    place: fn(u16) -> u64,
}

impl Driver {
    /// Gives the function its addresses, by its BAR of this number, and leave to access memory.
    #[allow(clippy::unwrap_used, reason = "there is nothing to fuzz without registers")]
    pub(crate) fn new(
        function: Arc<dyn PciFunction>,
        bar: u16,
        ram: &GuestRam,
        place: fn(u16) -> u64,
    ) -> Self {
        let _ = function.config_write(0x10 + 4 * bar, &BAR.to_le_bytes());
        let _ = function.config_write(COMMAND, &(MEMORY | BUS_MASTER).to_le_bytes());
        let region =
            function.regions().into_iter().find(|region| region.range.base() == u64::from(BAR)).unwrap();
        Self { function, registers: region.device, ram: ram.clone(), place }
    }

    pub(crate) fn master(&self, allowed: bool) {
        let command = if allowed { MEMORY | BUS_MASTER } else { MEMORY };
        let _ = self.function.config_write(COMMAND, &command.to_le_bytes());
    }

    pub(crate) fn write(&self, offset: u64, value: u32) {
        let _ = self.registers.write(offset, &value.to_le_bytes());
    }

    pub(crate) fn read(&self, offset: u64) -> u32 {
        let mut value = [0; 4];
        self.registers.read(offset, &mut value);
        u32::from_le_bytes(value)
    }

    fn perform(&self, step: Step) {
        let mut bytes = [0; 8];
        match step {
            Step::Write { offset, len, value } => {
                let value = (u64::from(value) << 32 | u64::from(value)).to_le_bytes();
                let _ = self.registers.write((self.place)(offset), &value[..len]);
            }
            Step::Read { offset, len } => self.registers.read((self.place)(offset), &mut bytes[..len]),
            Step::Master(allowed) => self.master(allowed),
        }
    }

    /// Performs all steps, and the accesses once more without leave to access memory, which stays as it is.
    pub(crate) fn play(&self, steps: &[Step]) {
        steps.iter().for_each(|step| self.perform(*step));
        self.master(false);
        let before = contents(&self.ram);
        for step in steps.iter().filter(|step| !matches!(step, Step::Master(_))) {
            self.perform(*step);
        }
        assert!(before == contents(&self.ram), "memory has changed without bus mastering");
        self.master(true);
    }

    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        assert!(self.ram.write_slice(bytes, GuestAddress(at)).is_ok());
    }

    pub(crate) fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(self.ram.read_slice(&mut bytes, GuestAddress(at)).is_ok());
        bytes
    }
}

/// Memory for one function after the other.
#[allow(clippy::expect_used, reason = "there is nothing to fuzz without memory")]
pub(crate) fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), RAM)]).expect("there is memory")
}

/// Has memory hold this, and zeroes behind it.
pub(crate) fn fill(ram: &GuestRam, memory: &[u8]) {
    let mut all = vec![0; RAM];
    for (byte, value) in all.iter_mut().zip(memory) {
        *byte = *value;
    }
    assert!(ram.write_slice(&all, GuestAddress(0)).is_ok());
}

fn contents(ram: &GuestRam) -> Vec<u8> {
    let mut all = vec![0; RAM];
    assert!(ram.read_slice(&mut all, GuestAddress(0)).is_ok());
    all
}
