//! Resets: the memory goes first, then DMA, then the function; afterwards all is as at power-on.

use super::images::{AF_CONTROL, DEVICE_CONTROL, MSI, MSIX};
use super::*;
use crate::vfio::host::{ResetDone, irq};

fn intx_on() -> [Op; 3] {
    [Op::SetTriggers { index: irq::INTX, first: 0, set: vec![true] }, Op::SetIntxUnmask, Op::UnmaskIntx]
}

/// All registers but those that the host keeps through a reset.
fn registers(bench: &Bench) -> Vec<u32> {
    (0..0x1000u16)
        .step_by(4)
        .filter(|at| ![0x3c, DEVICE_CONTROL].contains(at))
        .map(|at| bench.u32(BEHIND, at))
        .collect()
}

/// In use, with bus mastering and MSI.
fn busy() -> (Bench, Vec<u32>) {
    let bench = Bench::gpu();
    let fresh = registers(&bench);
    bench.place(BEHIND);
    bench.write(BEHIND, reg::COMMAND, &[7, 4]);
    bench.write(BEHIND, MSI + 4, &0xfee0_0000u32.to_le_bytes());
    bench.write(BEHIND, MSI + 2, &[1, 0]);
    assert_eq!(bench.device().triggers(), Some((irq::MSI, vec![0])));
    bench.device().take_log();
    (bench, fresh)
}

fn is_fresh(bench: &Bench, fresh: &[u32]) {
    assert_eq!(bench.windows.shown(), []);
    assert_eq!(registers(bench), fresh);
    assert_eq!(bench.device().config_u16(reg::COMMAND), 0);
    assert_eq!(bench.device().triggers(), Some((irq::INTX, vec![0])));
    assert!(bench.line.is_connected());
    assert_eq!(bench.allocator.routed(), []);
}

#[test]
fn of_the_function() {
    for (register, data) in [
        (DEVICE_CONTROL, &[0x30, 0xa9][..]),
        (DEVICE_CONTROL + 1, &[0x80]),
        (DEVICE_CONTROL, &[0x30, 0xa9, 0, 0]),
        (AF_CONTROL, &[1]),
        (AF_CONTROL, &[1, 0]),
    ] {
        let (bench, fresh) = busy();
        bench.write(BEHIND, register, data);
        let ops = bench.changes();
        assert_eq!(ops[0], Op::DisableIrq(irq::MSI));
        assert_eq!(sorted(ops[1..5].to_vec()), all_hidden());
        let expected = [forwarded(reg::COMMAND, &[0, 0]), forwarded(register, data)];
        assert_eq!(ops[5..], [&expected[..], &intx_on()].concat());
        is_fresh(&bench, &fresh);
    }
}

#[test]
fn of_the_function_in_its_sleep() {
    let (bench, fresh) = busy();
    bench.write(BEHIND, POWER_STATE, &[3, 0]);
    bench.device().take_log();
    bench.write(BEHIND, DEVICE_CONTROL + 1, &[0x80]);
    let woken = [forwarded(reg::COMMAND, &[0, 0]), forwarded(POWER_STATE, &[8])];
    assert_eq!(bench.changes()[1..3], woken);
    is_fresh(&bench, &fresh);
}

#[test]
fn without_the_bit_nothing_is_reset() {
    let (bench, _) = busy();
    bench.write(BEHIND, DEVICE_CONTROL, &[0x30, 0x29]);
    bench.write(BEHIND, AF_CONTROL, &[0xfe]);
    bench.write(BEHIND, DEVICE_CONTROL - 1, &[0x80]);
    assert_eq!(bench.windows.shown(), gpu_windows());
    assert_eq!(bench.u16(BEHIND, reg::COMMAND), 0x407);
}

#[test]
fn of_the_bus_and_of_the_machine() {
    for machine in [false, true] {
        for asleep in [false, true] {
            let (bench, fresh) = busy();
            bench.device().set_reset(ResetDone::Bus);
            if asleep {
                bench.write(BEHIND, POWER_STATE, &[3, 0]);
                bench.device().take_log();
            }
            if machine {
                bench.root.reset();
            } else {
                bench.write(PORT_BDF, 0x3e, &[0x40, 0]);
            }
            let ops = bench.changes();
            assert_eq!(ops[..2], [Op::DisableIrq(irq::MSI), Op::AnnounceReset]);
            let windows = if asleep { 0 } else { 4 };
            assert_eq!(sorted(ops[2..2 + windows].to_vec()), if asleep { vec![] } else { all_hidden() });
            let mut expected = vec![forwarded(reg::COMMAND, &[0, 0])];
            expected.extend(asleep.then(|| forwarded(POWER_STATE, &[8])));
            expected.push(Op::Reset);
            expected.extend(intx_on());
            assert_eq!(ops[2 + windows..], expected);
            if machine {
                bench.open_port();
            }
            is_fresh(&bench, &fresh);
        }
    }
}

#[test]
fn all_functions_are_announced_before_the_first_is_reset() {
    let devices: Vec<_> = (0..2).map(|_| Arc::new(gpu_with(0x1000))).collect();
    let root = RootComplex::new(Bus::new(), Bus::new(), Arc::new(NoDoorbells), Arc::new(Windows::default()));
    let link = Link { width: 16, speed: 3 };
    let port = RootPortOptions { multifunction: false, slot: 1, occupied: true, link, interrupt_pin: 1 };
    root.add(PORT, Arc::new(RootPort::new(port))).unwrap();
    for (number, device) in devices.iter().enumerate() {
        let function = function(device, &options(), &FakeLine::new(), &Arc::default()).unwrap();
        root.add_behind(PORT, number as u8, function).unwrap();
    }
    root.seal();
    for device in &devices {
        device.take_log();
    }
    // The first looks at the second's log when it is reset.
    let other = Arc::clone(&devices[1]);
    devices[0].on_reset(move || assert!(other.take_log().contains(&Op::AnnounceReset)));
    root.reset();
    let _ = root.config_write(PORT_BDF, 0x3e, &[0x40, 0]);
    for device in &devices {
        assert!(device.take_log().contains(&Op::Reset));
    }
}

#[test]
fn of_a_device_that_is_gone() {
    let (bench, _) = busy();
    bench.device().vanish();
    bench.root.reset();
    bench.open_port();
    assert_eq!(bench.u32(BEHIND, 0), u32::MAX);
    bench.write(BEHIND, reg::COMMAND, &[7, 0]);
    bench.write(BEHIND, MSIX + 2, &[0, 0x80]);
    bench.write(BEHIND, DEVICE_CONTROL, &[0, 0x80]);
}
