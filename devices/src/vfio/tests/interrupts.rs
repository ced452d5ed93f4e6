//! Interrupt capabilities: the device sees the guest's write before its interrupts follow.

use super::images::{MSI, MSIX};
use super::*;
use crate::interrupt::MsiMessage;
use crate::vfio::host::irq;

const TABLE: u64 = BAR1 + 0x2000;
const PENDING: u64 = BAR1 + 0x3000;

fn trigger(index: u32, first: u32, set: bool) -> Op {
    Op::SetTriggers { index, first, set: vec![set] }
}

#[test]
fn msi() {
    let bench = Bench::running();
    bench.write(BEHIND, MSI + 4, &0xfee0_1000u32.to_le_bytes());
    bench.write(BEHIND, MSI + 8, &[0; 4]);
    bench.write(BEHIND, MSI + 12, &[0x41, 0]);
    assert_eq!(bench.changes().len(), 3, "the device sees them, the host's interrupts are left alone");
    bench.write(BEHIND, MSI + 2, &[1, 0]);
    let expected = [forwarded(MSI + 2, &[1, 0]), Op::DisableIrq(irq::INTX), trigger(irq::MSI, 0, true)];
    assert_eq!(bench.changes(), expected);
    assert!(bench.device().interrupt(irq::MSI, 0));
    assert_eq!(bench.allocator.delivered(), [MsiMessage { address: 0xfee0_1000, data: 0x41 }]);
    bench.write(BEHIND, MSI, &[0x05, 0x78, 0x80, 0x00]);
    let ops = bench.changes();
    assert_eq!(ops[..2], [forwarded(MSI + 2, &[0x80, 0]), Op::DisableIrq(irq::MSI)]);
    assert_eq!(bench.device().triggers(), Some((irq::INTX, vec![0])));
}

#[test]
fn msix() {
    let bench = Bench::running();
    bench.store(TABLE + 16, &0xfee0_2000u64.to_le_bytes());
    bench.store(TABLE + 24, &[0x51, 0, 0, 0]);
    bench.store(TABLE + 28, &[0; 4]);
    assert_eq!(bench.changes(), [], "nothing before it is enabled");
    bench.write(BEHIND, MSIX + 2, &[0, 0x80]);
    let expected = [Op::DisableIrq(irq::INTX), trigger(irq::MSIX, 0, false), trigger(irq::MSIX, 1, true)];
    assert_eq!(bench.changes(), expected, "the device's own register is the kernel's");
    assert!(bench.device().interrupt(irq::MSIX, 1));
    assert_eq!(bench.allocator.delivered(), [MsiMessage { address: 0xfee0_2000, data: 0x51 }]);
    bench.store(TABLE + 28, &[1]);
    assert!(bench.device().interrupt(irq::MSIX, 1));
    assert_eq!(bench.load(PENDING), [2, 0, 0, 0, 0, 0, 0, 0]);
    bench.store(PENDING, &[0; 8]);
    assert_eq!(bench.load(PENDING), [2, 0, 0, 0, 0, 0, 0, 0], "read-only");
    bench.store(TABLE + 28, &[0]);
    assert_eq!(bench.allocator.delivered(), [MsiMessage { address: 0xfee0_2000, data: 0x51 }]);
    assert_eq!(bench.changes(), [], "masking is not the host's matter");
}

#[test]
fn intx() {
    let bench = Bench::running();
    assert!(bench.device().interrupt(irq::INTX, 0));
    assert!(bench.line.is_asserted());
    assert!(!bench.device().interrupt(irq::INTX, 0), "masked until it is acknowledged");
    bench.line.acknowledge();
    bench.write(BEHIND, reg::COMMAND, &[3, 4]);
    assert!(!bench.device().interrupt(irq::INTX, 0), "disabled in the Command register");
}
