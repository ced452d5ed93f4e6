//! NVIDIA's copy of configuration space in BAR 0.

use super::images::{DEVICE_CONTROL, MSI};
use super::*;
use crate::vfio::overlay::MIRROR;

const COPY: u64 = BAR0 + MIRROR.0;

fn spoofed() -> Bench {
    let identity = Identity { vendor: None, device: Some(0x1c8c), subsystem: Some((0x1043, 0x1234)) };
    let bench = Bench::with(vec![gpu()], &Options { identity, ..options() });
    bench.place(BEHIND);
    bench.write(BEHIND, reg::COMMAND, &[3, 0]);
    bench.device().poke(0, MIRROR.0, &[0xee; 0x1000]);
    bench.device().take_log();
    bench
}

#[test]
fn shows_what_configuration_space_shows() {
    let bench = spoofed();
    for register in (0..0x1000u16).step_by(4) {
        assert_eq!(
            bench.load::<4>(COPY + u64::from(register)),
            bench.read(BEHIND, register),
            "{register:#x}"
        );
    }
    assert_eq!(bench.load(COPY), 0x1c8c_10deu32.to_le_bytes());
    assert_eq!(bench.load(COPY + 2), [0x8c, 0x1c]);
    let wide: [u8; 8] = bench.load(COPY + 0x2a);
    assert_eq!(wide[2..6], [0x43, 0x10, 0x34, 0x12]);
    assert_eq!(bench.load(COPY + 0x10), (BAR0 as u32).to_le_bytes(), "the guest's addresses, not the host's");
}

#[test]
fn ends_where_it_ends() {
    let bench = spoofed();
    bench.device().poke(0, MIRROR.0 - 4, &[1, 2, 3, 4]);
    bench.device().poke(0, MIRROR.0 + MIRROR.1, &[5, 6, 7, 8]);
    assert_eq!(bench.load(COPY - 4), [1, 2, 3, 4, 0xde, 0x10, 0x8c, 0x1c]);
    assert_eq!(bench.load(COPY + 0xffe), [0, 0, 5, 6]);
    bench.store(COPY - 2, &[9; 4]);
    let left = Op::Write { index: 0, offset: MIRROR.0 - 2, data: vec![9; 2] };
    assert_eq!(
        bench.changes(),
        [left, forwarded(0, &[9; 2])],
        "the kernel drops what goes to read-only registers"
    );
    assert_eq!(bench.load(COPY), 0x1c8c_10deu32.to_le_bytes());
}

#[test]
fn acknowledgements_of_msi_reach_the_hardware() {
    let bench = spoofed();
    let hardware =
        |data: &[u8]| Op::Write { index: 0, offset: MIRROR.0 + u64::from(MSI), data: data.to_vec() };
    let copy = COPY + u64::from(MSI);
    bench.store(copy, &[0xff]);
    assert_eq!(bench.changes(), [hardware(&[0xff])]);
    bench.store(copy, &[0xff, 0xff]);
    assert_eq!(bench.changes(), [hardware(&[0xff, 0xff])]);
    // This is Message Control too, which is the host's in the hardware.
    bench.store(copy, &[0xff, 0xff, 0x80, 0x00]);
    assert_eq!(bench.changes(), [forwarded(MSI + 2, &[0x80, 0x00])]);
    bench.store(copy + 2, &[1, 0]);
    assert_eq!(bench.u16(BEHIND, MSI + 2), 0x81, "MSI can be enabled there");
}

#[test]
fn decoding_is_not_changed_there() {
    let bench = spoofed();
    let before: [u32; 16] = std::array::from_fn(|index| bench.u32(BEHIND, 4 * index as u16));
    for (register, data) in [
        (0x04u16, &[0u8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff][..]),
        (0x10, &[0xff; 8]),
        (0x13, &[0xff; 2]),
        (0x30, &[0xff; 4]),
        (POWER_STATE, &[3, 0]),
        (DEVICE_CONTROL, &[0, 0x80]),
    ] {
        bench.store(COPY + u64::from(register), data);
    }
    let ops = bench.changes();
    assert_eq!(
        ops,
        [forwarded(0x08, &[0xff; 4])],
        "the registers behind Command and Status are the device's own"
    );
    assert_eq!(before, std::array::from_fn(|index| bench.u32(BEHIND, 4 * index as u16)));
    assert_eq!(bench.windows.shown(), gpu_windows());
    assert_eq!(bench.u8(BEHIND, POWER_STATE) & 3, 0);
    bench.store(COPY + 0x3c, &[11]);
    assert_eq!(bench.u8(BEHIND, reg::INTERRUPT_LINE), 11);
}

#[test]
fn controllers_without_outputs_have_one() {
    for class in [[0x00, 0x03], [0x02, 0x03]] {
        let identity = Identity { vendor: None, device: Some(0x1c8c), subsystem: None };
        let bench = Bench::with(vec![gpu().with_config(0x0a, &class)], &Options { identity, ..options() });
        bench.place(BEHIND);
        bench.write(BEHIND, reg::COMMAND, &[3, 0]);
        bench.device().poke(0, MIRROR.0, &[0xee; 0x1000]);
        assert_eq!(bench.load::<4>(COPY), 0x1c8c_10deu32.to_le_bytes(), "class {class:02x?}");
        assert_eq!(bench.load::<4>(COPY + 8), bench.read(BEHIND, 8), "class {class:02x?}");
    }
}

#[test]
fn only_where_there_is_one() {
    // Another vendor's GPU, an audio function, a BAR that ends before.
    for other in
        [gpu().with_config(0, &[0x02, 0x10]), gpu().with_config(0x0a, &[0x03, 0x04]), gpu_with(0x8_0000)]
    {
        let bench = Bench::with(vec![other], &options());
        bench.place(BEHIND);
        bench.write(BEHIND, reg::COMMAND, &[3, 0]);
        assert_eq!(bench.windows.shown()[0].0, BAR0);
        assert!(bench.windows.shown()[0].1.is_power_of_two(), "no hole in BAR 0");
    }
}
