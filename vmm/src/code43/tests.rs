//! Conditions that hold and fail, and how that is told.

mod conditions;
mod planned;
mod report;

use super::facts::{
    Bar, Battery, BatteryMode, Facts, Gpu, Host, Hypervisor, Ids, Line, Live, Pair, Port, RomImage,
    RomMethod, Slot, Window,
};

const GTX_1050: Pair = Pair { vendor: 0x10de, device: 0x1c8d };
const LEGION: Pair = Pair { vendor: 0x17aa, device: 0x39d1 };

/// A muxless laptop with a GTX 1050 as its owner should have it, planned.
fn laptop() -> Facts {
    Facts {
        machine: "win10".into(),
        config: "vm.toml".into(),
        lines: [("dgpu.host", 3), ("dgpu.subsystem", 2), ("dgpu.vbios", 4), ("battery.mode", 7)]
            .map(|(key, line)| Line { key: key.into(), line })
            .into(),
        gpu: Some(Gpu {
            host: "0000:01:00.0".into(),
            bus: 1,
            at: Slot { device: 0, function: 0 },
            port: Some(Slot { device: 1, function: 0 }),
            own: Some(Ids { function: GTX_1050, subsystem: LEGION, class: 0x0302 }),
            driver: Some("vfio-pci".into()),
            group: Some(1),
            ..Gpu::default()
        }),
        rom_method: Some(RomMethod {
            device: "\\_SB.PCI0.PEG0.PEGP".into(),
            file: "vbios.rom".into(),
            expected: vec![GTX_1050],
            image: Some(RomImage {
                size: 169_472,
                ids: Some(GTX_1050),
                version: Some("86.07.3e.00.2f".into()),
                ..RomImage::default()
            }),
        }),
        hypervisor: Hypervisor { present: true, names: vec!["GenuineIntel".into()] },
        battery: Battery { mode: BatteryMode::Full, host: None },
        chassis: 10,
        window: Some(Window { base: 0x70_0000_0000, last: 0x7f_ffff_ffff }),
        host: Some(Host {
            answers: Some(true),
            power_state: Some("D0".into()),
            resets: Some("bus".into()),
            culprits: Vec::new(),
            bars: bars([None; 3]),
        }),
        ..Facts::default()
    }
}

/// BARs of a GTX 1050 at these addresses.
fn bars(bases: [Option<u64>; 3]) -> Vec<Bar> {
    let sizes = [(0, 16 << 20, false), (1, 256 << 20, true), (3, 32 << 20, true)];
    sizes.into_iter().zip(bases).map(|((index, size, high), base)| Bar { index, size, high, base }).collect()
}

/// The same laptop, running, with a driver that has started the GPU.
fn running() -> Facts {
    let window = |base, size| Window { base, last: base + size - 1 };
    Facts {
        host: None,
        window: None,
        live: Some(Live {
            ids: Ids { function: GTX_1050, subsystem: LEGION, class: 0x0302 },
            command: 0x0406,
            power: Some(0),
            bars: bars([Some(0xa000_0000), Some(0x70_0000_0000), Some(0x70_1000_0000)]),
            rom_bar: 0,
            port: Some(Port {
                ids: Pair { vendor: 0x8086, device: 0x1901 },
                command: 0x0406,
                secondary: 1,
                memory: vec![window(0xa000_0000, 32 << 20), window(0x70_0000_0000, 512 << 20)],
            }),
        }),
        ..laptop()
    }
}
