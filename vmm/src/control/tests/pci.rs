//! `query-pci` of a small machine.

use std::sync::Arc;

use ::devices::pci::{
    Bar, BarKind, BarState, ConfigSpace, Forwarding, Ids, PciFunction, Placed, Region, Written,
};
use ::vocabulary::AddressRange;
use vocabulary::Devfn;

use super::*;

/// A function with these registers and BARs.
struct Function {
    config: ConfigSpace,
    bars: Vec<BarState>,
    bridge: Option<Forwarding>,
}

impl PciFunction for Function {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.config.read(register, data);
    }
    fn config_write(&self, _: u16, _: &[u8]) -> Written {
        Written::default()
    }
    fn regions(&self) -> Vec<Region> {
        Vec::new()
    }
    fn bars(&self) -> Vec<BarState> {
        self.bars.clone()
    }
    fn bridge(&self) -> Option<Forwarding> {
        self.bridge.clone()
    }
    fn reset(&self) {}
}

/// A host bridge, a root port with a GPU behind it, and one that the firmware has not given a bus number.
pub(super) fn functions() -> Vec<Placed> {
    let at = |device, function| Devfn::new(device, function).unwrap();
    let ids = |device, class| Ids {
        vendor: 0x8086,
        device,
        class,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
        revision: 0,
    };
    let place = |behind, at, config, bars, bridge| Placed {
        behind,
        at,
        function: Arc::new(Function { config, bars, bridge }) as Arc<dyn PciFunction>,
    };
    let port = |secondary| {
        let mut config = ConfigSpace::bridge(ids(0x1901, 0x06_04_00));
        config.set_interrupt_pin(1);
        config.set(0x18, &[0, secondary, secondary]);
        config.set(0x1c, &[0xf0, 0]);
        config.set(0x20, &[0x00, 0xa0, 0xf0, 0xa0]);
        config.set(0x24, &[0x01, 0xb0, 0xf1, 0xbf, 2, 0, 0, 0, 2, 0, 0, 0]);
        (
            config,
            Some(Forwarding {
                secondary,
                subordinate: secondary,
                memory: AddressRange::new(0xa000_0000, 16 << 20).into_iter().collect(),
                ..Forwarding::default()
            }),
        )
    };
    let mut gpu = ConfigSpace::endpoint(ids(0x1f91, 0x03_00_00), true);
    gpu.set_interrupt_pin(1);
    gpu.set(0x3c, &[11]);
    let memory = Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 256 << 20 };
    let ports = Bar { kind: BarKind::Io, size: 128 };
    let bars = vec![
        BarState { index: 1, bar: memory, decoded: AddressRange::new(0x2_b000_0000, 256 << 20) },
        BarState { index: 5, bar: ports, decoded: None },
    ];
    let ((first, open), (second, closed)) = (port(1), port(0));
    vec![
        place(None, at(0, 0), ConfigSpace::endpoint(ids(0x29c0, 0x06_00_00), false), vec![], None),
        place(None, at(1, 0), first, vec![], open),
        place(Some(at(1, 0)), at(0, 0), gpu, bars, None),
        place(None, at(2, 0), second, vec![], closed),
    ]
}

#[test]
fn functions_are_described_as_qemu_describes_them() {
    let rig = Rig::new();
    let mut client = rig.client();
    let told = client.ask("query-pci", json!({}))["return"].clone();
    let expected = json!([{ "bus": 0, "devices": [
        {
            "bus": 0, "slot": 0, "function": 0, "class_info": { "desc": "Host bridge", "class": 0x600 },
            "id": { "device": 0x29c0, "vendor": 0x8086, "subsystem": 0x1100, "subsystem-vendor": 0x1af4 },
            "irq_pin": 0, "qdev_id": "", "regions": [],
        },
        {
            "bus": 0, "slot": 1, "function": 0, "class_info": { "desc": "PCI bridge", "class": 0x604 },
            "id": { "device": 0x1901, "vendor": 0x8086 }, "irq": 0, "irq_pin": 1, "qdev_id": "",
            "pci_bridge": {
                "bus": {
                    "number": 0, "secondary": 1, "subordinate": 1,
                    "io_range": { "base": 0xf000, "limit": 0x0fff },
                    "memory_range": { "base": 0xa000_0000_u64, "limit": 0xa0ff_ffff_u64 },
                    "prefetchable_range": { "base": 0x2_b000_0000_u64, "limit": 0x2_bfff_ffff_u64 },
                },
                "devices": [{
                    "bus": 1, "slot": 0, "function": 0, "class_info": { "desc": "VGA controller", "class": 0x300 },
                    "id": { "device": 0x1f91, "vendor": 0x8086, "subsystem": 0x1100, "subsystem-vendor": 0x1af4 },
                    "irq": 11, "irq_pin": 1, "qdev_id": "",
                    "regions": [
                        {
                            "bar": 1, "type": "memory", "address": 0x2_b000_0000_u64, "size": 256 << 20,
                            "prefetch": true, "mem_type_64": true,
                        },
                        { "bar": 5, "type": "io", "address": -1, "size": 128 },
                    ],
                }],
            },
            "regions": [],
        },
        {
            "bus": 0, "slot": 2, "function": 0, "class_info": { "desc": "PCI bridge", "class": 0x604 },
            "id": { "device": 0x1901, "vendor": 0x8086 }, "irq": 0, "irq_pin": 1, "qdev_id": "",
            "pci_bridge": { "bus": told[0]["devices"][2]["pci_bridge"]["bus"] },
            "regions": [],
        },
    ] }]);
    assert_eq!(told, expected);
}

#[test]
fn the_monitor_shows_them_as_qemus_does() {
    let rig = Rig::new();
    let mut client = rig.client();
    let text = client.ask("human-monitor-command", json!({ "command-line": "info pci" }))["return"].clone();
    let text = text.as_str().unwrap();
    for part in [
        "  Bus  0, device   0, function 0:\r\n    Host bridge: PCI device 8086:29c0\r\n      PCI subsystem 1af4:1100\r\n      id \"\"\r\n",
        "      secondary bus 1.\r\n      subordinate bus 1.\r\n      IO range [0xf000, 0x0fff]\r\n",
        "  Bus  1, device   0, function 0:\r\n    VGA controller: PCI device 8086:1f91\r\n",
        "      IRQ 11, pin A\r\n      BAR1: 64 bit prefetchable memory at 0x2b0000000 [0x2bfffffff].\r\n",
        "      BAR5: I/O at 0xffffffffffffffff [0x007e].\r\n",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn the_gpu_is_told_with_its_registers_and_those_of_its_port() {
    let rig = Rig::new();
    let mut client = rig.client();
    let told = client.ask("x-query-dgpu", json!({}))["return"].clone();
    assert_eq!(told["gpu"]["host"], "0000:01:00.0");
    let expected = json!({
        "ids": {
            "function": { "vendor": 0x8086, "device": 0x1f91 }, "class": 0x300,
            "subsystem": { "vendor": 0x1af4, "device": 0x1100 },
        },
        "command": 0, "rom-bar": 0,
        "bars": [{ "index": 1, "size": 256 << 20, "high": true, "base": 0x2_b000_0000_u64 }],
        "port": {
            "ids": { "vendor": 0x8086, "device": 0x1901 }, "command": 0, "secondary": 1,
            "memory": [{ "base": 0xa000_0000_u64, "last": 0xa0ff_ffff_u64 }],
        },
    });
    assert_eq!(told["live"], expected);
}
