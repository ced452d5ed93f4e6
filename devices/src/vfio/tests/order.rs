//! Memory is hidden before the device stops answering, and shown after it answers.

use super::*;

/// Splits a log at its `n`-th operation: sets have no order.
fn parts(ops: Vec<Op>, n: usize) -> (Vec<Op>, Vec<Op>) {
    let (first, second) = ops.split_at(n);
    (sorted(first.to_vec()), sorted(second.to_vec()))
}

#[test]
fn memory_decoding() {
    let bench = Bench::running();
    for (register, off, on) in [
        (reg::COMMAND, &[0u8][..], &[2u8][..]),
        (reg::COMMAND, &[1, 0], &[3, 0]),
        (reg::COMMAND, &[1, 0, 0, 0], &[3, 0, 0, 0]),
    ] {
        bench.write(BEHIND, register, off);
        assert_eq!(parts(bench.changes(), 4), (all_hidden(), vec![forwarded(register, off)]));
        assert_eq!(bench.u8(BEHIND, reg::COMMAND), off[0]);
        bench.write(BEHIND, register, on);
        assert_eq!(parts(bench.changes(), 1), (vec![forwarded(register, on)], all_shown()));
    }
}

#[test]
fn ports_for_memory_in_one_write() {
    let bench = Bench::running();
    bench.write(BEHIND, reg::COMMAND, &[1, 0]);
    bench.changes();
    bench.write(BEHIND, reg::COMMAND, &[2, 0]);
    assert_eq!(parts(bench.changes(), 1), (vec![forwarded(reg::COMMAND, &[2, 0])], all_shown()));
    bench.write(BEHIND, reg::COMMAND, &[1, 0]);
    assert_eq!(parts(bench.changes(), 4), (all_hidden(), vec![forwarded(reg::COMMAND, &[1, 0])]));
}

#[test]
fn power_states() {
    let bench = Bench::running();
    for width in [1, 2, 4] {
        let (sleep, wake) = (&[3, 0, 0, 0][..width], &[0; 4][..width]);
        bench.write(BEHIND, POWER_STATE, sleep);
        assert_eq!(parts(bench.changes(), 4), (all_hidden(), vec![forwarded(POWER_STATE, sleep)]));
        assert_eq!(bench.u8(BEHIND, POWER_STATE) & 3, 3);
        // Nothing is there to hide or to show.
        bench.write(BEHIND, reg::COMMAND, &[0, 0]);
        bench.write(BEHIND, reg::COMMAND, &[2, 0]);
        let twice = [forwarded(reg::COMMAND, &[0, 0]), forwarded(reg::COMMAND, &[2, 0])];
        assert_eq!(bench.changes(), twice);
        bench.write(BEHIND, POWER_STATE, wake);
        assert_eq!(parts(bench.changes(), 1), (vec![forwarded(POWER_STATE, wake)], all_shown()));
    }
    // The function has no D1.
    bench.write(BEHIND, POWER_STATE, &[1, 0]);
    assert_eq!(bench.windows.shown(), gpu_windows());
}

#[test]
fn a_write_by_way_of_a_bar_does_not_overtake() {
    let device = Arc::new(gpu());
    let function = function(&device, &options(), &FakeLine::new(), &Arc::default()).unwrap();
    use crate::pci::PciFunction as _;
    // Its BARs have no addresses yet.
    assert!(!function.config_write(reg::COMMAND, &[2, 0]).decode_changed);
    device.take_log();
    let written = function.config_write(reg::COMMAND, &[0, 0]);
    assert!(written.decode_changed, "nothing was decoded, but the device waits for the function to settle");
    // The mirror, while the buses have not followed yet.
    let _ = function.config_write(0x3c, &[5]);
    let _ = function.config_write(0x6a, &[1, 0]);
    assert_eq!(device.take_changes(), []);
    function.settle();
    let ops = device.take_changes();
    let writes = [
        forwarded(reg::COMMAND, &[0, 0]),
        forwarded(0x3c, &[5]),
        forwarded(0x6a, &[1, 0]),
        Op::DisableIrq(0),
        Op::SetTriggers { index: 1, first: 0, set: vec![true] },
    ];
    assert_eq!(ops, writes);
    function.settle();
    assert_eq!(device.take_changes(), []);
}
