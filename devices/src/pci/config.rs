//! The registers of one PCI function (PCIe 6.0, 7.5): bytes with masks of what the guest can write, base address
//! registers and capability lists.

use vocabulary::AddressRange;

use super::Space;

/// Size of the conventional configuration space, in bytes.
pub const CONVENTIONAL_SIZE: usize = 0x100;
/// Size of the extended configuration space, in bytes.
pub const EXTENDED_SIZE: usize = 0x1000;

/// Register offsets of the headers (PCIe 6.0, 7.5.1).
pub mod reg {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const VENDOR_ID: u16 = 0x00;
    pub const DEVICE_ID: u16 = 0x02;
    pub const COMMAND: u16 = 0x04;
    pub const STATUS: u16 = 0x06;
    pub const REVISION_ID: u16 = 0x08;
    pub const HEADER_TYPE: u16 = 0x0e;
    pub const BAR0: u16 = 0x10;
    pub const SUBSYSTEM_VENDOR_ID: u16 = 0x2c;
    pub const SUBSYSTEM_ID: u16 = 0x2e;
    pub const CAPABILITIES: u16 = 0x34;
    pub const INTERRUPT_LINE: u16 = 0x3c;
    pub const INTERRUPT_PIN: u16 = 0x3d;
}

/// Bits of the Command register (PCIe 6.0, 7.5.1.1.3).
pub mod command {
    /// The function decodes its I/O BARs.
    pub const IO: u16 = 1 << 0;
    /// The function decodes its memory BARs.
    pub const MEMORY: u16 = 1 << 1;
    /// The function may start transactions.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// The function may not assert INTx.
    pub const INTX_DISABLE: u16 = 1 << 10;
}

/// Bits of the Status register (PCIe 6.0, 7.5.1.1.4).
pub mod status {
    /// An INTx interrupt is pending.
    pub const INTERRUPT: u16 = 1 << 3;
    /// A capability list exists.
    pub const CAPABILITIES: u16 = 1 << 4;
    /// Error bits, cleared by writing ones.
    pub const ERRORS: u16 = 0xf900;
}

/// Who a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class code: base class in bits 23:16, sub-class in 15:8, programming interface in 7:0.
    pub class: u32,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// Kinds of base address registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// 32-bit memory.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// 64-bit memory, two registers wide.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

/// A base address register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// What it decodes.
    pub kind: BarKind,
    /// Bytes decoded: a power of two, at least 4 for I/O and 16 for memory.
    pub size: u64,
}

/// A function's registers: current bytes, what the guest can change, and the power-on state.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    write_one_to_clear: Vec<u8>,
    power_on: Vec<u8>,
    bars: [Option<Bar>; 6],
    last_capability: Option<u16>,
    last_extended: Option<u16>,
    next_free: usize,
}

impl ConfigSpace {
    fn new(size: usize, ids: Ids, header_type: u8) -> Self {
        let mut space = Self {
            bytes: vec![0; size],
            writable: vec![0; size],
            write_one_to_clear: vec![0; size],
            power_on: vec![0; size],
            bars: [None; 6],
            last_capability: None,
            last_extended: None,
            next_free: 0x40,
        };
        space.preset(reg::VENDOR_ID, &ids.vendor.to_le_bytes());
        space.preset(reg::DEVICE_ID, &ids.device.to_le_bytes());
        let [class0, class1, class2, _] = ids.class.to_le_bytes();
        space.preset(reg::REVISION_ID, &[ids.revision, class0, class1, class2]);
        space.preset(reg::HEADER_TYPE, &[header_type]);
        if header_type & 0x7f == 0 {
            space.preset(reg::SUBSYSTEM_VENDOR_ID, &ids.subsystem_vendor.to_le_bytes());
            space.preset(reg::SUBSYSTEM_ID, &ids.subsystem.to_le_bytes());
        }
        // SERR#, parity and INTx disable are ordinary storage; I/O and memory come with a BAR or window.
        space.allow_write(reg::COMMAND, &(command::BUS_MASTER | command::INTX_DISABLE | 0x140).to_le_bytes());
        space.clear_on_one(reg::STATUS, &status::ERRORS.to_le_bytes());
        space.allow_write(reg::INTERRUPT_LINE, &[0xff]);
        space
    }

    /// A type 0 function; `express` gives it the extended space.
    pub fn endpoint(ids: Ids, express: bool) -> Self {
        Self::new(if express { EXTENDED_SIZE } else { CONVENTIONAL_SIZE }, ids, 0)
    }

    /// A type 1 function (bridge) of PCI Express.
    pub fn bridge(ids: Ids) -> Self {
        Self::new(EXTENDED_SIZE, ids, 1)
    }

    /// Sets bytes now and for each reset. Bytes beyond the space are ignored.
    pub fn preset(&mut self, register: u16, data: &[u8]) {
        overlay(&mut self.bytes, register, data);
        overlay(&mut self.power_on, register, data);
    }

    /// Sets bytes now, as hardware does at run time; a reset forgets them.
    pub fn set(&mut self, register: u16, data: &[u8]) {
        overlay(&mut self.bytes, register, data);
    }

    /// Lets the guest write the bits set in `mask`, beside those it could before.
    pub fn allow_write(&mut self, register: u16, mask: &[u8]) {
        merge(&mut self.writable, register, mask);
    }

    /// Lets the guest clear the bits set in `mask` by writing ones.
    pub fn clear_on_one(&mut self, register: u16, mask: &[u8]) {
        merge(&mut self.write_one_to_clear, register, mask);
    }

    /// Marks the device as having several functions (header type bit 7).
    pub fn set_multifunction(&mut self) {
        let header_type = self.u8(reg::HEADER_TYPE);
        self.preset(reg::HEADER_TYPE, &[header_type | 0x80]);
    }

    /// Says which INTx pin the function uses: 1 = INTA … 4 = INTD, 0 none.
    pub fn set_interrupt_pin(&mut self, pin: u8) {
        self.preset(reg::INTERRUPT_PIN, &[pin]);
    }

    /// Adds a BAR at `index` (0–5; a 64-bit one takes the next too). Returns false, changing nothing, when the size is
    /// not a power of two, the index is taken or the register does not exist in this header type.
    pub fn add_bar(&mut self, index: usize, bar: Bar) -> bool {
        let wide = matches!(bar.kind, BarKind::Memory64 { .. });
        let registers = if self.u8(reg::HEADER_TYPE) & 0x7f == 0 { 6 } else { 2 };
        let smallest = if bar.kind == BarKind::Io { 4 } else { 16 };
        let fits = bar.size.is_power_of_two()
            && bar.size >= smallest
            && (wide || bar.size <= 1 << 31)
            && index + usize::from(wide) < registers
            && self.bars.get(index).is_some_and(Option::is_none);
        let Some(slot) = self.bars.get_mut(index).filter(|_| fits) else { return false };
        *slot = Some(bar);
        let register = reg::BAR0 + 4 * index as u16;
        let (flags, enable) = match bar.kind {
            BarKind::Io => (1u8, command::IO),
            BarKind::Memory32 { prefetchable } => (u8::from(prefetchable) << 3, command::MEMORY),
            BarKind::Memory64 { prefetchable } => (4 | u8::from(prefetchable) << 3, command::MEMORY),
        };
        let mask = !(bar.size - 1) & if bar.kind == BarKind::Io { !3 } else { !0xf };
        self.preset(register, &[flags]);
        self.allow_write(register, &mask.to_le_bytes()[..if wide { 8 } else { 4 }]);
        self.allow_write(reg::COMMAND, &enable.to_le_bytes());
        true
    }

    /// Capabilities that follow lie at `end` or behind it: what is before belongs to the device.
    pub fn keep_free(&mut self, end: u16) {
        self.next_free = self.next_free.max(usize::from(end).next_multiple_of(4));
    }

    /// Appends a capability: `body` follows the ID and next bytes, `writable` masks it from its first byte. Returns the
    /// capability's offset, `None` when the conventional space is full.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Option<u16> {
        let at = self.next_free;
        let end = at + 2 + body.len();
        if end > CONVENTIONAL_SIZE {
            return None;
        }
        let offset = at as u16;
        self.preset(offset, &[id, 0]);
        self.preset(offset + 2, body);
        self.allow_write(offset + 2, writable);
        match self.last_capability.replace(offset) {
            None => {
                self.preset(reg::CAPABILITIES, &[offset as u8]);
                let status = self.u16(reg::STATUS) | status::CAPABILITIES;
                self.preset(reg::STATUS, &status.to_le_bytes());
            }
            Some(previous) => self.preset(previous + 1, &[offset as u8]),
        }
        self.next_free = end.next_multiple_of(4);
        Some(offset)
    }

    /// Leaves what is before `register` free of further capabilities, for registers of the function's own there.
    pub fn skip_to(&mut self, register: u16) {
        self.next_free = self.next_free.max(usize::from(register).next_multiple_of(4));
    }

    /// Appends an extended capability of `4 + body.len()` bytes at `offset`, which the caller keeps free. Returns
    /// false when the function has no room there.
    pub fn add_extended_capability(&mut self, offset: u16, id: u16, version: u8, body: &[u8]) -> bool {
        let first = self.last_extended.is_none();
        if usize::from(offset) + 4 + body.len() > self.bytes.len() || (first && offset != 0x100) {
            return false;
        }
        let header = u32::from(id) | u32::from(version & 0xf) << 16;
        self.preset(offset, &header.to_le_bytes());
        self.preset(offset + 4, body);
        if let Some(previous) = self.last_extended.replace(offset) {
            let linked = self.u32(previous) | u32::from(offset) << 20;
            self.preset(previous, &linked.to_le_bytes());
        }
        true
    }

    /// Reads; registers beyond the function's space read as ones.
    pub fn read(&self, register: u16, data: &mut [u8]) {
        let at = usize::from(register);
        match self.bytes.get(at..at + data.len()) {
            Some(bytes) => data.copy_from_slice(bytes),
            None => data.fill(0xff),
        }
    }

    /// Writes what the masks allow.
    pub fn write(&mut self, register: u16, data: &[u8]) {
        for (at, &value) in (usize::from(register)..).zip(data) {
            let (Some(byte), Some(&mask), Some(&clear)) =
                (self.bytes.get_mut(at), self.writable.get(at), self.write_one_to_clear.get(at))
            else {
                return;
            };
            *byte = (*byte & !mask | value & mask) & !(value & clear);
        }
    }

    /// The byte at `register`, ones beyond the space.
    pub fn u8(&self, register: u16) -> u8 {
        let mut data = [0; 1];
        self.read(register, &mut data);
        u8::from_le_bytes(data)
    }

    /// The word at `register`, ones beyond the space.
    pub fn u16(&self, register: u16) -> u16 {
        let mut data = [0; 2];
        self.read(register, &mut data);
        u16::from_le_bytes(data)
    }

    /// The dword at `register`, ones beyond the space.
    pub fn u32(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    /// The Command register.
    pub fn command(&self) -> u16 {
        self.u16(reg::COMMAND)
    }

    /// The BARs by index.
    pub fn bars(&self) -> impl Iterator<Item = (usize, Bar)> + '_ {
        self.bars.iter().enumerate().filter_map(|(index, bar)| bar.map(|bar| (index, bar)))
    }

    /// Where BAR `index` points, whether or not decoding is on. `None` for address 0, which firmware uses for
    /// "unassigned", and for ranges past the end of the space.
    pub fn bar_range(&self, index: usize) -> Option<AddressRange> {
        let bar = (*self.bars.get(index)?)?;
        let register = reg::BAR0 + 4 * index as u16;
        let low = u64::from(self.u32(register));
        let base = match bar.kind {
            BarKind::Io => low & 0xfffc,
            BarKind::Memory32 { .. } => low & !0xf,
            BarKind::Memory64 { .. } => low & !0xf | u64::from(self.u32(register + 4)) << 32,
        };
        if base == 0 {
            return None;
        }
        AddressRange::new(base, bar.size)
    }

    /// Where BAR `index` is decoded: [`ConfigSpace::bar_range`] while the Command register turns it on.
    pub fn decoded_bar(&self, index: usize) -> Option<(Space, AddressRange)> {
        let bar = (*self.bars.get(index)?)?;
        let (space, enable) = match bar.kind {
            BarKind::Io => (Space::Io, command::IO),
            BarKind::Memory32 { .. } | BarKind::Memory64 { .. } => (Space::Memory, command::MEMORY),
        };
        if self.command() & enable == 0 {
            return None;
        }
        Some((space, self.bar_range(index)?))
    }

    /// Where each BAR is decoded, by index.
    pub fn decoded_bars(&self) -> [Option<(Space, AddressRange)>; 6] {
        std::array::from_fn(|index| self.decoded_bar(index))
    }

    /// Back to the power-on state.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.power_on);
    }
}

fn overlay(space: &mut [u8], register: u16, data: &[u8]) {
    for (byte, value) in space.iter_mut().skip(usize::from(register)).zip(data) {
        *byte = *value;
    }
}

fn merge(space: &mut [u8], register: u16, mask: &[u8]) {
    for (byte, value) in space.iter_mut().skip(usize::from(register)).zip(mask) {
        *byte |= *value;
    }
}
