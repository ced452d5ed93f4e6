//! `query-pci`: the PCI functions and what their registers say now (PCIe 6.0, 7.5.1), shaped as QEMU shapes it; `x-query-dgpu`: what
//! NVIDIA's driver finds of the discrete GPU, for `explain code43`.

use std::fmt::Write;

use ::devices::pci::config::reg;
use ::devices::pci::{BarKind, BarState, Forwarding, Placed};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Command, Nothing, Slow, slow};
use crate::code43;

#[derive(Serialize, JsonSchema)]
pub(in crate::control) struct PciInfo {
    bus: u8,
    devices: Vec<Device>,
}

#[derive(Serialize, JsonSchema)]
struct Device {
    bus: u8,
    slot: u8,
    function: u8,
    class_info: Class,
    id: Ids,
    /// The line that the firmware noted, for a function that has an interrupt pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    irq: Option<u8>,
    irq_pin: u8,
    /// Functions have no names here.
    qdev_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pci_bridge: Option<Bridge>,
    regions: Vec<BarInfo>,
}

#[derive(Serialize, JsonSchema)]
struct Class {
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<&'static str>,
    class: u16,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Ids {
    device: u16,
    vendor: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsystem: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsystem_vendor: Option<u16>,
}

#[derive(Serialize, JsonSchema)]
struct Bridge {
    bus: Secondary,
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<Device>>,
}

#[derive(Serialize, JsonSchema)]
struct Secondary {
    number: u8,
    secondary: u8,
    subordinate: u8,
    io_range: Window,
    memory_range: Window,
    prefetchable_range: Window,
}

/// A window of a bridge; closed, its limit is below its base.
#[derive(Serialize, JsonSchema)]
struct Window {
    base: u64,
    limit: u64,
}

#[derive(Serialize, JsonSchema)]
struct BarInfo {
    bar: usize,
    r#type: &'static str,
    /// −1 while the guest has not placed it.
    address: i64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefetch: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_type_64: Option<bool>,
}

pub(super) fn commands() -> Vec<Command> {
    // A real function's registers are read from the device.
    vec![
        slow::<Nothing, Vec<PciInfo>>("query-pci", |_, Nothing {}| Ok(Slow::Pci { text: false })),
        slow::<Nothing, code43::Facts>("x-query-dgpu", |context, Nothing {}| {
            Ok(Slow::Dgpu(Box::new(context.machine.facts.dgpu.clone())))
        }),
    ]
}

/// Describes functions, bridges before what is behind them.
pub(in crate::control) fn describe(functions: &[Placed]) -> Vec<PciInfo> {
    let mut devices = Vec::new();
    for placed in functions.iter().filter(|placed| placed.behind.is_none()) {
        let bridge = placed.function.bridge().map(|forwarding| {
            let behind = functions.iter().filter(|child| child.behind == Some(placed.at));
            // Nobody can reach them before the bridge has been given a bus number.
            let devices = (forwarding.secondary != 0)
                .then(|| behind.map(|child| device(child, forwarding.secondary, None)).collect());
            Bridge { bus: secondary(placed, &forwarding), devices }
        });
        devices.push(device(placed, 0, bridge));
    }
    vec![PciInfo { bus: 0, devices }]
}

fn read<const N: usize>(placed: &Placed, register: u16) -> [u8; N] {
    let mut data = [0; N];
    placed.function.config_read(register, &mut data);
    data
}

fn word(placed: &Placed, register: u16) -> u16 {
    u16::from_le_bytes(read(placed, register))
}

fn device(placed: &Placed, bus: u8, pci_bridge: Option<Bridge>) -> Device {
    let class = word(placed, reg::REVISION_ID + 2);
    let [pin] = read(placed, reg::INTERRUPT_PIN);
    let [line] = read(placed, reg::INTERRUPT_LINE);
    let own = |register| pci_bridge.is_none().then(|| word(placed, register));
    Device {
        bus,
        slot: placed.at.device(),
        function: placed.at.function(),
        class_info: Class { desc: class_name(class), class },
        id: Ids {
            device: word(placed, reg::DEVICE_ID),
            vendor: word(placed, reg::VENDOR_ID),
            subsystem: own(reg::SUBSYSTEM_ID),
            subsystem_vendor: own(reg::SUBSYSTEM_VENDOR_ID),
        },
        irq: (pin != 0).then_some(line),
        irq_pin: pin,
        qdev_id: "",
        regions: placed.function.bars().into_iter().map(region).collect(),
        pci_bridge,
    }
}

fn region(BarState { index, bar, decoded }: BarState) -> BarInfo {
    let (r#type, prefetch, mem_type_64) = match bar.kind {
        BarKind::Io => ("io", None, None),
        BarKind::Memory32 { prefetchable } => ("memory", Some(prefetchable), Some(false)),
        BarKind::Memory64 { prefetchable } => ("memory", Some(prefetchable), Some(true)),
    };
    let address = decoded.and_then(|range| i64::try_from(range.base()).ok()).unwrap_or(-1);
    BarInfo { bar: index, r#type, address, size: bar.size, prefetch, mem_type_64 }
}

/// The windows as the registers of a type 1 header give them (PCIe 6.0, 7.5.1.3).
fn secondary(placed: &Placed, forwarding: &Forwarding) -> Secondary {
    let [number] = read(placed, 0x18);
    let [io_base, io_limit]: [u8; 2] = read(placed, 0x1c);
    let wide = |low: u16, high: u16| {
        let high = u32::from_le_bytes(read(placed, high));
        u64::from(high) << 32 | u64::from(word(placed, low) & 0xfff0) << 16
    };
    let memory = |register| u64::from(word(placed, register) & 0xfff0) << 16;
    Secondary {
        number,
        secondary: forwarding.secondary,
        subordinate: forwarding.subordinate,
        io_range: Window {
            base: u64::from(io_base & 0xf0) << 8,
            limit: u64::from(io_limit & 0xf0) << 8 | 0xfff,
        },
        memory_range: Window { base: memory(0x20), limit: memory(0x22) | 0xf_ffff },
        prefetchable_range: Window { base: wide(0x24, 0x28), limit: wide(0x26, 0x2c) | 0xf_ffff },
    }
}

/// What QEMU calls a class: base class in bits 15:8, sub-class in 7:0.
fn class_name(class: u16) -> Option<&'static str> {
    Some(match class {
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0104 => "RAID controller",
        0x0106 => "SATA controller",
        0x0107 => "SAS controller",
        0x0180 => "Storage controller",
        0x0200 => "Ethernet controller",
        0x0280 => "Network controller",
        0x0300 => "VGA controller",
        0x0302 => "3D controller",
        0x0380 => "Display controller",
        0x0401 | 0x0403 => "Audio controller",
        0x0480 => "Multimedia controller",
        0x0500 => "RAM controller",
        0x0580 => "Memory controller",
        0x0600 => "Host bridge",
        0x0601 => "ISA bridge",
        0x0604 => "PCI bridge",
        0x0680 => "Bridge",
        0x0700 => "Serial port",
        0x0c00 => "Firewire controller",
        0x0c03 => "USB controller",
        0x0c05 => "SMBus",
        _ => return None,
    })
}

/// What `info pci` shows.
pub(in crate::control) fn text(functions: &[Placed]) -> String {
    let mut lines = String::new();
    for PciInfo { devices, .. } in describe(functions) {
        devices.iter().for_each(|device| device.write(&mut lines));
    }
    lines
}

impl Device {
    fn write(&self, lines: &mut String) {
        let Self { bus, slot, function, class_info: Class { desc, class }, id, irq, irq_pin, .. } = self;
        let name = desc.map_or_else(|| format!("Class {class:04}"), str::to_owned);
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = write!(lines, "{text}\r\n");
        };
        line(format_args!("  Bus {bus:2}, device {slot:3}, function {function}:"));
        line(format_args!("    {name}: PCI device {:04x}:{:04x}", id.vendor, id.device));
        if let (Some(vendor), Some(subsystem)) = (id.subsystem_vendor, id.subsystem) {
            line(format_args!("      PCI subsystem {vendor:04x}:{subsystem:04x}"));
        }
        if let Some(irq) = irq {
            line(format_args!("      IRQ {irq}, pin {}", char::from(b'A' + (irq_pin.saturating_sub(1) & 3))));
        }
        if let Some(Bridge { bus, .. }) = &self.pci_bridge {
            line(format_args!("      BUS {}.", bus.number));
            line(format_args!("      secondary bus {}.", bus.secondary));
            line(format_args!("      subordinate bus {}.", bus.subordinate));
            for (what, digits, Window { base, limit }) in [
                ("IO", 4, &bus.io_range),
                ("memory", 8, &bus.memory_range),
                ("prefetchable memory", 8, &bus.prefetchable_range),
            ] {
                line(format_args!("      {what} range [0x{base:0digits$x}, 0x{limit:0digits$x}]"));
            }
        }
        for BarInfo { bar, r#type, address, size, prefetch, mem_type_64 } in &self.regions {
            let what = match *r#type {
                "io" => "I/O".to_owned(),
                _ => format!(
                    "{} bit{} memory",
                    if *mem_type_64 == Some(true) { 64 } else { 32 },
                    if *prefetch == Some(true) { " prefetchable" } else { "" }
                ),
            };
            let end = address.wrapping_add_unsigned(size.wrapping_sub(1));
            let digits = if *r#type == "io" { 4 } else { 8 };
            line(format_args!("      BAR{bar}: {what} at 0x{address:0digits$x} [0x{end:0digits$x}]."));
        }
        line(format_args!("      id \"\""));
        for child in self.pci_bridge.iter().flat_map(|bridge| bridge.devices.iter().flatten()) {
            child.write(lines);
        }
    }
}
