//! What the registers of a table make the function decode.

use vocabulary::AddressRange;

use crate::pci::config::{command, reg};
use crate::pci::{Bar, BarKind, Space};

use super::Table;

/// The ROM's base address register in a type 0 header (PCIe 6.0, 7.5.1.2.4).
pub(super) const ROM_REGISTER: u16 = 0x30;
/// Its enable bit.
pub(super) const ROM_ENABLE: u32 = 1;
/// First address that no x86 CPU reaches (Intel SDM volume 3A, 4.1.4: MAXPHYADDR is at most 52).
const UNREACHABLE: u64 = 1 << 52;

/// `size` bytes at `base`, unless that is an address that firmware means as "unassigned", or one that only stands in
/// the register while software sizes it: zero, or a range that reaches `end`.
fn assigned(base: u64, size: u64, end: u64) -> Option<AddressRange> {
    let range = AddressRange::new(base, size)?;
    (base != 0 && range.last() < end).then_some(range)
}

impl Table {
    /// The BARs by index.
    pub fn bars(&self) -> impl Iterator<Item = (usize, Bar)> + '_ {
        self.bars.iter().enumerate().filter_map(|(index, bar)| bar.map(|bar| (index, bar)))
    }

    /// Where BAR `index` points, whether or not it is decoded. `None` for no address, and for one that is there only
    /// while the BAR is sized.
    pub fn bar_range(&self, index: usize) -> Option<AddressRange> {
        let bar = (*self.bars.get(index)?)?;
        let register = reg::BAR0 + 4 * u16::try_from(index).ok()?;
        let low = u64::from(self.u32(register));
        match bar.kind {
            BarKind::Io => assigned(low & !3, bar.size, 0x1_0000),
            // The last byte below 4 GiB stays free, or a BAR that was written with ones to size it would be decoded.
            BarKind::Memory32 { .. } => assigned(low & !0xf, bar.size, 0xffff_ffff),
            BarKind::Memory64 { .. } => {
                let high = u64::from(self.u32(register + 4));
                assigned(low & !0xf | high << 32, bar.size, UNREACHABLE)
            }
        }
    }

    /// Where BAR `index` is decoded: where it points, while the Command register says so and the function is in D0.
    ///
    /// The kernel withdraws the device's memory by the same rule, and whoever reaches for it then gets SIGBUS.
    pub fn decoded_bar(&self, index: usize) -> Option<(Space, AddressRange)> {
        let bar = (*self.bars.get(index)?)?;
        let (space, enable) = match bar.kind {
            BarKind::Io => (Space::Io, command::IO),
            BarKind::Memory32 { .. } | BarKind::Memory64 { .. } => (Space::Memory, command::MEMORY),
        };
        if !self.decodes(enable) {
            return None;
        }
        Some((space, self.bar_range(index)?))
    }

    /// Where the expansion ROM is decoded: while its own enable bit and memory decoding are on, and in D0.
    pub fn decoded_rom(&self) -> Option<AddressRange> {
        let size = self.rom?;
        let register = self.u32(ROM_REGISTER);
        if !self.decodes(command::MEMORY) || register & ROM_ENABLE == 0 {
            return None;
        }
        assigned(u64::from(register & !0x7ff), size, 0xffff_ffff)
    }

    /// All that is decoded: each BAR by its index, and the expansion ROM.
    pub fn decoded(&self) -> ([Option<(Space, AddressRange)>; 6], Option<AddressRange>) {
        (std::array::from_fn(|index| self.decoded_bar(index)), self.decoded_rom())
    }

    /// Whether the function is in D0, where alone it decodes anything but configuration space.
    pub fn in_d0(&self) -> bool {
        self.power.is_none_or(|power| self.u8(power.register) & 3 == 0)
    }

    fn decodes(&self, enable: u16) -> bool {
        self.command() & enable != 0 && self.in_d0()
    }

    /// Whether a write of `len` bytes at `register` can change what is decoded.
    pub fn touches_decode(&self, register: u16, len: usize) -> bool {
        let start = usize::from(register);
        let touches = |first: u16, bytes: usize| {
            let first = usize::from(first);
            start < first + bytes && start + len > first
        };
        touches(reg::COMMAND, 2)
            || touches(reg::BAR0, 24)
            || touches(ROM_REGISTER, 4)
            || self.power.is_some_and(|power| touches(power.register, 1))
    }
}
