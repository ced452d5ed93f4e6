//! Whatever a guest writes, no promise is broken.

use proptest::prelude::*;

use super::images::{AF_CONTROL, DEVICE_CONTROL, MSI, MSIX};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(PciAddress, u16, Vec<u8>),
    Store(u64, Vec<u8>),
    Load(u64, usize),
    Reset,
}

fn registers() -> impl Strategy<Value = u16> {
    let known = prop::sample::select(vec![
        0x04,
        0x04,
        0x04,
        0x04,
        0x10,
        0x14,
        0x18,
        0x1c,
        0x20,
        0x24,
        0x28,
        0x2c,
        0x30,
        0x3c,
        0x3e,
        POWER_STATE,
        POWER_STATE,
        MSI,
        MSI + 2,
        MSI + 4,
        MSI + 12,
        MSIX,
        MSIX + 2,
        DEVICE_CONTROL,
        DEVICE_CONTROL + 1,
        AF_CONTROL,
    ]);
    prop_oneof![9 => known, 1 => 0u16..0x1000]
}

/// Writes that do something: addresses that lie in windows, small values, and anything.
fn write() -> impl Strategy<Value = Step> {
    let bdf = prop::sample::select(vec![BEHIND, BEHIND, HERE, HERE, PORT_BDF]);
    let address = (0u32..4, 0u32..4)
        .prop_map(|(page, low)| [0xc000_0000, 0xc001_0000, 0xc002_0000, 0][page as usize] | low);
    let value =
        prop_oneof![3 => 0u32..8, 3 => address, 1 => any::<u32>(), 1 => Just(0x8000), 1 => Just(u32::MAX)];
    (bdf, registers(), prop::sample::select(vec![1usize, 2, 4]), value).prop_map(
        |(bdf, register, width, value)| {
            let register = register & !(width as u16 - 1);
            Step::Write(bdf, register, value.to_le_bytes()[..width].to_vec())
        },
    )
}

fn address() -> impl Strategy<Value = u64> {
    let base = prop::sample::select(vec![
        0xc000_0000,
        0xc001_0000,
        BAR1,
        0xc000_2000,
        0xc001_2000,
        0xc000_3000,
        BAR1 + 0x2000,
        BAR5,
    ]);
    (base, 0u64..0x40).prop_map(|(base, offset)| base + offset)
}

fn step() -> impl Strategy<Value = Step> {
    let data = (prop::sample::select(vec![1usize, 2, 4, 8]), any::<u64>());
    prop_oneof![
        12 => write(),
        3 => (address(), data).prop_map(|(at, (width, value))| Step::Store(at, value.to_le_bytes()[..width].to_vec())),
        2 => (address(), prop::sample::select(vec![1usize, 2, 4, 8])).prop_map(|(at, width)| Step::Load(at, width)),
        1 => Just(Step::Reset),
    ]
}

/// The base and last byte of the memory BARs and the ROM as their registers say, from outside.
fn ranges(bench: &Bench, bdf: PciAddress) -> Vec<(u64, u64)> {
    if bench.u16(bdf, reg::COMMAND) & command::MEMORY == 0 || bench.u8(bdf, POWER_STATE) & 3 != 0 {
        return Vec::new();
    }
    let bar0 = u64::from(bench.u32(bdf, 0x10));
    let bar1 = u64::from(bench.u32(bdf, 0x14) & !0xf) | u64::from(bench.u32(bdf, 0x18)) << 32;
    let rom = bench.u32(bdf, 0x30);
    let mut ranges = vec![(bar0, bar0.saturating_add(0xffff)), (bar1, bar1.saturating_add(0xffff))];
    if rom & 1 != 0 {
        ranges.push((u64::from(rom & !1), u64::from(rom & !1) + 0xfff));
    }
    ranges
}

/// What the port forwards of memory.
fn forwards(bench: &Bench) -> Vec<(u64, u64)> {
    if bench.u16(PORT_BDF, reg::COMMAND) & command::MEMORY == 0 {
        return Vec::new();
    }
    let (memory, prefetchable) = (bench.u32(PORT_BDF, 0x20), bench.u32(PORT_BDF, 0x24));
    let [low, high] = [memory << 16 & 0xfff0_0000, memory & 0xfff0_0000 | 0xf_ffff].map(u64::from);
    let upper = [0x28, 0x2c].map(|at| u64::from(bench.u32(PORT_BDF, at)) << 32);
    let lower = [prefetchable << 16 & 0xfff0_0000, prefetchable & 0xfff0_0000 | 0xf_ffff].map(u64::from);
    vec![(low, high), (upper[0] | lower[0], upper[1] | lower[1])]
}

fn inside(inner: (u64, u64), outer: &[(u64, u64)]) -> bool {
    outer.iter().any(|&(base, last)| base <= inner.0 && inner.1 <= last)
}

/// All that is promised about windows, after each step. (That none is shown or lost at the wrong moment, the devices watch
/// themselves.)
fn check(bench: &Bench) {
    // Cycles reach the function only under the bus number that the guest gave the port.
    let reachable = bench.u8(PORT_BDF, 0x19) == 1;
    let forwarded = forwards(bench);
    let mut decoded = ranges(bench, HERE);
    if reachable {
        decoded.extend(ranges(bench, BEHIND).into_iter().filter(|range| inside(*range, &forwarded)));
    }
    for (base, len) in bench.windows.shown() {
        let window = (base, base + len - 1);
        assert!(!reachable || inside(window, &decoded), "{window:x?} in {decoded:x?}");
        assert!(base % 0x1000 == 0 && len % 0x1000 == 0);
    }
    for (bdf, device) in [BEHIND, HERE].into_iter().zip(&bench.devices) {
        if bdf == HERE || reachable {
            assert_eq!(bench.u16(bdf, reg::COMMAND) & 0x407, guest_command(device), "at {bdf}");
        }
    }
    assert_eq!(bench.violations(), [""; 0]);
}

fn guest_command(device: &FakeDevice) -> u16 {
    device.config_u16(reg::COMMAND) & 0x407
}

fn snapshot(bench: &Bench) -> Vec<u32> {
    let own = |bdf| {
        (0..0x1000u16)
            .step_by(4)
            .filter(|at| ![0x3c, DEVICE_CONTROL, MSI].contains(at))
            .map(move |at| bench.u32(bdf, at))
    };
    own(BEHIND).chain(own(HERE)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn keep_every_promise(steps in prop::collection::vec(step(), 1..60)) {
        let rom = Rom::Image(vec![0x55; 0x1000].into());
        let options = Options { rom, ..options() };
        let bench = Bench::with(vec![gpu_with(0x1_0000), gpu_with(0x1_0000)], &options);
        // Devices come with memory decoding on.
        bench.root.reset();
        bench.open_port();
        let fresh = snapshot(&bench);
        for bdf in [BEHIND, HERE] {
            bench.place(bdf);
            bench.write(bdf, 0x10, &(if bdf == HERE { 0xc001_0000u32 } else { 0xc000_0000 }).to_le_bytes());
            bench.write(bdf, reg::COMMAND, &[7, 0]);
        }
        check(&bench);
        for step in &steps {
            match step {
                Step::Write(bdf, register, data) => {
                    let _ = bench.root.config_write(*bdf, *register, data);
                }
                Step::Store(address, data) => {
                    let _ = bench.memory.view().write(*address, data);
                    let _ = bench.io.view().write(*address, data);
                }
                Step::Load(address, width) => {
                    bench.memory.view().read(*address, &mut vec![0; *width]);
                    bench.io.view().read(*address, &mut vec![0; *width]);
                }
                Step::Reset => bench.root.reset(),
            }
            check(&bench);
        }
        bench.root.reset();
        prop_assert_eq!(bench.windows.shown(), []);
        bench.open_port();
        prop_assert_eq!(snapshot(&bench), fresh);
    }
}
