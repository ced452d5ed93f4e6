//! Configuration cycles: which bits are real, how the Command register is written, and bus mastering.

use super::*;
use crate::vfio::host::irq;

#[test]
fn dwords_that_are_partly_real() {
    let bench = Bench::gpu();
    // Cache line size, latency timer, header type, BIST: the third is ours.
    assert_eq!(bench.read(BEHIND, 0x0c), [0x10, 0x20, 0x00, 0x00]);
    assert_eq!(bench.read(BEHIND, 0x78), [0x10, 0xb0, 0x02, 0x00]);
    let reads = bench.device().take_log();
    assert!(reads.iter().all(|op| matches!(op, Op::Read { index: 7, .. })), "{reads:?}");
    assert_eq!(bench.read(BEHIND, 0x10), [0; 4]);
    assert_eq!(bench.device().take_log(), [], "BARs are known");
    // A guest may read any part.
    let dword: [u8; 4] = bench.read(BEHIND, 0x78);
    for at in 0..4u16 {
        assert_eq!(bench.u8(BEHIND, 0x78 + at), dword[usize::from(at)]);
    }
    assert_eq!(bench.read(BEHIND, 0x7a), [dword[2], dword[3]]);
}

#[test]
fn identity() {
    let identity = Identity { vendor: None, device: Some(0x1c8c), subsystem: Some((0x1043, 0x1234)) };
    let bench = Bench::with(vec![gpu()], &Options { identity, multifunction: true, ..options() });
    assert_eq!(bench.u32(BEHIND, 0), 0x1c8c_10de);
    assert_eq!(bench.u32(BEHIND, 0x2c), 0x1234_1043);
    assert_eq!(bench.u8(BEHIND, reg::HEADER_TYPE), 0x80);
}

#[test]
fn writes_of_every_width_reach_the_command_register() {
    let bench = Bench::gpu();
    for (register, data) in [
        (reg::COMMAND, &[0x03u8][..]),
        (reg::COMMAND + 1, &[0x04]),
        (reg::COMMAND, &[0x07, 0x00]),
        (reg::COMMAND, &[0x02, 0x04, 0x00, 0xf9]),
    ] {
        bench.write(BEHIND, register, data);
        let ops: Vec<_> = bench.changes().into_iter().filter(|op| *op != Op::WaitForDma).collect();
        assert_eq!(ops, [forwarded(register, data)]);
        assert_eq!(bench.u16(BEHIND, reg::COMMAND), bench.device().config_u16(reg::COMMAND));
    }
    assert_eq!(bench.u16(BEHIND, reg::COMMAND), 0x402);
}

#[test]
fn bus_mastering_waits_for_memory_once() {
    let bench = Bench::gpu();
    bench.write(BEHIND, reg::COMMAND, &[2, 0]);
    bench.write(BEHIND, reg::COMMAND + 1, &[4]);
    bench.changes();
    bench.write(BEHIND, reg::COMMAND, &[6, 0]);
    assert_eq!(bench.changes(), [Op::WaitForDma, forwarded(reg::COMMAND, &[6, 0])]);
    bench.write(BEHIND, reg::COMMAND, &[7, 0]);
    assert_eq!(bench.changes(), [forwarded(reg::COMMAND, &[7, 0])]);
    bench.write(BEHIND, reg::COMMAND, &[3, 0]);
    bench.write(BEHIND, reg::COMMAND, &[4]);
    assert!(bench.changes().contains(&Op::WaitForDma));
}

#[test]
fn bus_mastering_that_never_comes_is_not_there() {
    let bench = Bench::gpu();
    bench.device().set_dma(false);
    for data in [&[0x06u8][..], &[0x06, 0x04], &[0x06, 0x00, 0x00, 0xf9]] {
        bench.write(BEHIND, reg::COMMAND, data);
        let mut without = data.to_vec();
        without[0] = 2;
        assert_eq!(bench.changes(), [Op::WaitForDma, forwarded(reg::COMMAND, &without)]);
        assert_eq!(bench.u8(BEHIND, reg::COMMAND), 2, "what the guest reads back");
        assert_eq!(bench.device().config_u16(reg::COMMAND) & 0xff, 2);
    }
    // Once it comes, it is waited for again.
    bench.device().set_dma(true);
    bench.write(BEHIND, reg::COMMAND, &[6, 0]);
    assert_eq!(bench.u8(BEHIND, reg::COMMAND), 6);
}

#[test]
fn a_device_that_is_gone_reads_as_ones() {
    let identity = Identity { device: Some(0x1c8c), ..Identity::default() };
    let bench = Bench::with(vec![gpu()], &Options { identity, ..options() });
    bench.place(BEHIND);
    bench.write(BEHIND, reg::COMMAND, &[3, 0]);
    bench.device().vanish();
    assert_eq!(bench.u32(BEHIND, 0), u32::MAX, "replaced IDs too");
    assert_eq!(bench.u32(BEHIND, 4), u32::MAX);
    assert_eq!(bench.load(BAR1 + 0x2ff0), [0xff; 8]);
    bench.store(BAR1 + 0x2ff0, &[1; 8]);
    bench.write(BEHIND, reg::COMMAND, &[0, 0]);
    bench.write(BEHIND, POWER_STATE, &[3, 0]);
    assert_eq!(bench.windows.shown(), []);
}

#[test]
fn a_pin_that_the_host_refuses_is_not_shown() {
    let device = gpu();
    device.refuse_triggers(irq::INTX, Some(libc::EBUSY));
    let bench = Bench::with(vec![device], &options());
    assert_eq!(bench.u8(BEHIND, reg::INTERRUPT_PIN), 0);
    bench.root.reset();
    bench.open_port();
    assert_eq!(bench.u8(BEHIND, reg::INTERRUPT_PIN), 0);
    assert_eq!(Bench::gpu().u8(BEHIND, reg::INTERRUPT_PIN), 1);
}

#[test]
fn what_cannot_be_passed_through_is_named() {
    let fails = |device: FakeDevice| {
        let device = Arc::new(device);
        let error =
            function(&device, &options(), &FakeLine::new(), &Arc::default()).err().unwrap().to_string();
        assert!(error.contains("0000:01:00.0"), "{error}");
        error
    };
    let gone = gpu_with(0x1000);
    gone.vanish();
    assert!(fails(gone).contains("configuration space"));
    fails(gpu_with(0x1000).with_config(reg::HEADER_TYPE, &[1]));
    let silent = FakeDevice::new().with_config(0, &[0xde, 0x10, 0x8d, 0x1c]).with_config(0x3d, &[1]);
    let silent = silent.with_irq(irq::INTX, 1, false);
    silent.refuse_triggers(irq::INTX, Some(libc::EBUSY));
    assert!(fails(silent).contains("INTx"));
}
