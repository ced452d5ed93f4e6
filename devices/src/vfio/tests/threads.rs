//! Virtual CPUs that write at the same time.

use std::thread;

use super::images::{DEVICE_CONTROL, MSI, MSIX};
use super::*;

const STEPS: u32 = 3000;

/// Small, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn virtual_cpu(bench: &Bench, seed: u64) {
    let mut random = Random(seed);
    let mut view = bench.memory.view();
    for _ in 0..STEPS {
        let bdf = [BEHIND, HERE][random.below(2) as usize];
        let value = random.below(8) as u8;
        match random.below(16) {
            0..6 => bench.write(bdf, reg::COMMAND, &[value, 0]),
            6 | 7 => bench.write(bdf, POWER_STATE, &[value & 3, 0]),
            8 => bench.write(bdf, 0x10, &(BAR0 as u32 + u32::from(value) * 0x1_0000).to_le_bytes()),
            9 => bench.write(PORT_BDF, reg::COMMAND, &[value, 0]),
            10 => bench.write(bdf, MSI + 2, &[value & 1, 0]),
            11 => bench.write(bdf, MSIX + 2, &[0, value << 5]),
            12 => bench.write(bdf, DEVICE_CONTROL + 1, &[value << 5]),
            13 => bench.write(PORT_BDF, 0x3e, &[value << 4, 0]),
            14 => {
                let _ = view.write(BAR1 + 0x2000 + u64::from(value) * 4, &[value; 4]);
            }
            _ => view.read(BAR1 + 0x2ffc, &mut [0; 8]),
        }
    }
}

#[test]
fn leave_what_one_would_leave() {
    let bench = Bench::with(vec![gpu_with(0x1_0000), gpu_with(0x1_0000)], &options());
    bench.root.reset();
    bench.open_port();
    bench.place(BEHIND);
    bench.place(HERE);
    thread::scope(|scope| {
        for seed in 1..=4 {
            let bench = &bench;
            scope.spawn(move || virtual_cpu(bench, seed));
        }
    });
    for (bdf, device) in [BEHIND, HERE].into_iter().zip(&bench.devices) {
        assert_eq!(bench.u16(bdf, reg::COMMAND) & 0x407, device.config_u16(reg::COMMAND) & 0x407, "at {bdf}");
    }
    // Everything still works.
    bench.open_port();
    bench.write(HERE, reg::COMMAND, &[0, 0]);
    bench.place(BEHIND);
    bench.write(BEHIND, POWER_STATE, &[0, 0]);
    bench.write(BEHIND, reg::COMMAND, &[7, 0]);
    assert_eq!(bench.windows.shown(), [(BAR0, 0x1_0000), (BAR1, 0x2000), (BAR1 + 0x4000, 0xc000)]);
    bench.root.reset();
    assert_eq!(bench.windows.shown(), []);
}

/// Another function's writes apply the buses' changes too: those of a device that has not been told yet included.
#[test]
fn a_wait_for_memory_leaves_other_functions_alone() {
    let devices = vec![gpu_with(0x1_0000), gpu_with(0x1_0000)];
    let bench = Bench::with(devices, &options());
    bench.place(HERE);
    let (waiting, go) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    bench.device().on_wait_for_dma(move || {
        waiting.0.send(()).unwrap();
        go.1.recv().unwrap();
    });
    thread::scope(|scope| {
        let bench = &bench;
        let writer = scope.spawn(move || bench.write(BEHIND, reg::COMMAND, &[6, 0]));
        waiting.1.recv().unwrap();
        bench.write(HERE, reg::COMMAND, &[2, 0]);
        assert_eq!(bench.windows.shown()[0].0, BAR0);
        assert_eq!(bench.u16(BEHIND, reg::COMMAND) & 4, 0, "the function itself can be read");
        go.0.send(()).unwrap();
        writer.join().unwrap();
    });
    assert_eq!(bench.u8(BEHIND, reg::COMMAND), 6);
}
