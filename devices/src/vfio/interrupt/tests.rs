//! Interrupts of a made-up device, which keeps the rules of `VFIO_DEVICE_SET_IRQS`.

mod intx;
mod msi;
mod msix;
mod programs;

use std::io;
use std::sync::Arc;

use super::error::MessageError;
use super::*;
use crate::interrupt::MsiMessage;
use crate::pci::msix::testing::FakeAllocator;
use crate::vfio::testing::{FakeDevice, FakeLine, Op};

const ENABLE: u16 = 0x8000;
const FUNCTION_MASK: u16 = 0x4000;
const ADDRESS: u64 = 0xfee0_1000;

/// A function, and the world around it.
struct Bench {
    device: Arc<FakeDevice>,
    line: Arc<FakeLine>,
    allocator: Arc<FakeAllocator>,
    interrupts: Interrupts,
}

impl Bench {
    fn with(device: FakeDevice, allocator: FakeAllocator) -> Self {
        let (device, line, allocator) = (Arc::new(device), FakeLine::new(), Arc::new(allocator));
        let interrupts = Interrupts::new(device.clone(), Some(line.clone()), allocator.clone());
        Self { device, line, allocator, interrupts }
    }

    /// Started, with an empty log.
    fn started(device: FakeDevice) -> Self {
        let mut bench = Self::with(device, FakeAllocator::default());
        bench.interrupts.start().unwrap();
        bench.device.take_log();
        bench
    }

    fn mask(&mut self, vector: u64, masked: bool) {
        self.interrupts.write_table(vector * 16 + 12, &u32::from(masked).to_le_bytes());
    }

    /// Fills in a table entry and unmasks it.
    fn program(&mut self, vector: u64, data: u32) -> MsiMessage {
        self.interrupts.write_table(vector * 16, &ADDRESS.to_le_bytes());
        self.interrupts.write_table(vector * 16 + 8, &data.to_le_bytes());
        self.mask(vector, false);
        message(data)
    }

    fn pending(&self) -> u64 {
        let mut qword = [0; 8];
        self.interrupts.read_pba(0, &mut qword);
        u64::from_le_bytes(qword)
    }
}

fn message(data: u32) -> MsiMessage {
    MsiMessage { address: ADDRESS, data }
}

fn msi(multiple: u8, data: u32) -> MsiRegisters {
    MsiRegisters { enabled: true, multiple, message: message(data) }
}

/// A device with everything.
fn device() -> FakeDevice {
    FakeDevice::new().with_irq(irq::INTX, 1, false).with_irq(irq::MSI, 8, true).with_irq(irq::MSIX, 4, false)
}

/// Turning INTx on.
fn intx_on() -> [Op; 3] {
    [Op::SetTriggers { index: irq::INTX, first: 0, set: vec![true] }, Op::SetIntxUnmask, Op::UnmaskIntx]
}

fn set(index: u32, first: u32, set: &[bool]) -> Op {
    Op::SetTriggers { index, first, set: set.to_vec() }
}

#[test]
fn failures_name_the_device_and_what_helps() {
    let vector = |errno| {
        let (device, source) = ("0000:01:00.0".to_owned(), io::Error::from_raw_os_error(errno));
        let error = MessageError::Vector { device, vector: 3, doing: "have the host signal it", source };
        io::Error::from(error).to_string()
    };
    let full = vector(libc::ENOSPC);
    assert!(full.starts_with("0000:01:00.0: interrupt vector 3: cannot have the host signal it: "), "{full}");
    assert!(full.contains("unbind drivers"), "{full}");
    assert!(vector(libc::EMFILE).ends_with("(`ulimit -n`)"));
    assert!(vector(libc::EINVAL).ends_with("(os error 22)"));
}
