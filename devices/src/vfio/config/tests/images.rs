//! Configuration spaces of devices, written by hand.

use super::*;

/// Registers, BARs and ROM of a device.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) bars: [Option<Bar>; 6],
    pub(super) rom_size: u64,
}

impl Image {
    pub(super) fn raw(&self) -> Raw<'_> {
        Raw { bytes: &self.bytes, bars: &self.bars, rom_size: self.rom_size }
    }

    pub(super) fn set(mut self, register: u16, data: &[u8]) -> Self {
        let at = usize::from(register);
        self.bytes[at..at + data.len()].copy_from_slice(data);
        self
    }

    pub(super) fn set32(self, register: u16, value: u32) -> Self {
        self.set(register, &value.to_le_bytes())
    }

    /// Lists standard capabilities at these offsets, with their bodies behind ID and pointer.
    pub(super) fn list(mut self, capabilities: &[(u16, u8, &[u8])]) -> Self {
        let nexts = capabilities.iter().skip(1).map(|(at, ..)| *at as u8).chain([0]);
        for (&(at, id, body), next) in capabilities.iter().zip(nexts) {
            self = self.set(at, &[id, next]).set(at + 2, body);
        }
        let status = self.bytes[6] | 0x10;
        let first = capabilities.first().map_or(0, |(at, ..)| *at as u8);
        self.set(reg::STATUS, &[status]).set(reg::CAPABILITIES, &[first])
    }

    /// Lists extended capabilities at these offsets, with their bodies behind the header.
    pub(super) fn list_extended(mut self, capabilities: &[(u16, u16, &[u8])]) -> Self {
        let nexts = capabilities.iter().skip(1).map(|(at, ..)| *at).chain([0]);
        for (&(at, id, body), next) in capabilities.iter().zip(nexts) {
            let header = u32::from(id) | 1 << 16 | u32::from(next) << 20;
            self = self.set32(at, header).set(at + 4, body);
        }
        self
    }
}

pub(super) fn options() -> Options {
    Options {
        mediated: false,
        identity: Identity::default(),
        multifunction: false,
        placement: Placement::Endpoint,
        rom: Rom::Image([].into()),
    }
}

pub(super) fn header(size: usize, ids: [u16; 2], class: u32, subsystem: [u16; 2]) -> Image {
    // Registers that nothing is known about show a pattern, so that it shows when they do.
    let image = Image { bytes: vec![0x5a; size], bars: [None; 6], rom_size: 0 };
    let [vendor, device] = ids.map(u16::to_le_bytes);
    let [subsystem_vendor, subsystem_device] = subsystem.map(u16::to_le_bytes);
    image
        .set(0, &[0; 0x40])
        .set(reg::VENDOR_ID, &vendor)
        .set(reg::DEVICE_ID, &device)
        .set32(reg::REVISION_ID, class << 8 | 0xa1)
        .set(0x0c, &[0x10, 0x20, 0, 0])
        .set(reg::SUBSYSTEM_VENDOR_ID, &subsystem_vendor)
        .set(reg::SUBSYSTEM_ID, &subsystem_device)
}

/// A conventional device without capabilities.
pub(super) fn conventional() -> Image {
    let mut image = header(0x100, [0x1234, 0x5678], 0x02_0000, [0x17aa, 0x39d1]);
    image.bars[0] = Some(Bar { kind: BarKind::Io, size: 0x20 });
    image.bars[1] = Some(Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x1000 });
    image.set(reg::INTERRUPT_PIN, &[2])
}

/// The display of Linux samples/vfio-mdev/mbochs.c, whose space is a byte short and whose Command register never
/// changes.
pub(super) fn mediated() -> Image {
    let mut image = header(0xff, [0x1234, 0x1111], 0x03_8000, [0x1af4, 0x1100]).set(reg::COMMAND, &[3, 0]);
    image.bars[0] = Some(Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x40_0000 });
    image.bars[2] = Some(Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x1000 });
    image
}

/// Bodies of the capabilities of [`nvidia`]: power management with D3hot and No_Soft_Reset, 64-bit MSI, an endpoint
/// of version 2 with function-level reset, 20 vendor bytes.
pub(super) const POWER: &[u8] = &[0x03, 0x00, 0x08, 0x00, 0x00, 0x00];
pub(super) const MSI: &[u8] = &[0x85, 0x00, 0x00, 0xf0, 0xe0, 0xfe, 0x01, 0x00, 0x00, 0x00, 0x41, 0x42];
pub(super) const EXPRESS: &[u8] = &[
    0x02, 0x00, 0x21, 0x89, 0x2c, 0x11, 0x30, 0x29, 0x09, 0x00, 0x03, 0x3d, 0x45, 0x00, 0x40, 0x01, 0x03,
    0x11,
];
const VENDOR: &[u8] = &[0x14, 0x01, 0x02, 0x03];

/// A laptop's GPU of NVIDIA's.
pub(super) fn nvidia() -> Image {
    let mut image = header(0x1000, [0x10de, 0x1c8d], 0x03_0200, [0x17aa, 0x39d1])
        .set(reg::INTERRUPT_PIN, &[1])
        .list(&[(0x60, 0x01, POWER), (0x68, 0x05, MSI), (0x78, 0x10, EXPRESS), (0xb4, 0x09, VENDOR)])
        .list_extended(&[
            (0x100, 0x02, &[0; 0x18]),
            (0x250, 0x18, &[0x03, 0x10, 0x03, 0x10]),
            (0x258, 0x1e, &[0xff; 0xc]),
            (0x128, 0x04, &[0; 0xc]),
            (0x420, 0x01, &[0; 0x44]),
            (0x600, 0x0b, &[0x01, 0x00, 0x41, 0x02]),
            (0x900, 0x19, &[0xff; 0x28]),
        ]);
    image.rom_size = 0x8_0000;
    image.bars[0] = Some(Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x100_0000 });
    image.bars[1] = Some(Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 0x1000_0000 });
    image.bars[3] = Some(Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 0x200_0000 });
    image.bars[5] = Some(Bar { kind: BarKind::Io, size: 0x80 });
    image
}
