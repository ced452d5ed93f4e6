//! The table itself: for each byte, which bits are not the device's, what the guest reads there instead, which it may
//! change, and whether the device learns of writes.

use std::ops::Range;

use crate::pci::Bar;
use crate::pci::config::{CONVENTIONAL_SIZE, EXTENDED_SIZE, reg};

use super::Raw;
use super::mediated::Mediated;

/// One byte of the space.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// The bits that this table keeps: emulated ones, and writable ones whose truth the guest reads from the device.
    value: u8,
    power_on: u8,
    /// Bits that the guest reads from here and not from the device.
    emulated: u8,
    /// Bits of `value` that follow the guest's writes.
    writable: u8,
    /// The device gets to see writes.
    forwarded: bool,
}

/// A byte of the device that nothing is known about.
const REAL: Cell = Cell { value: 0, power_on: 0, emulated: 0, writable: 0, forwarded: true };
/// A byte that reads as zero and cannot be written.
const HIDDEN: Cell = Cell { value: 0, power_on: 0, emulated: 0xff, writable: 0, forwarded: false };

/// The PowerState field of the Power Management Control/Status register (PCIe 6.0, 7.5.2.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct PowerControl {
    /// The register's offset. The field is its bits 1:0.
    pub(super) register: u16,
    /// One bit for each state D0 to D3hot that the function has.
    pub(super) states: u8,
}

/// Which bits of a function's configuration space the guest reads from where, and which of its writes go where.
///
/// A register is the byte offset in the space. Accesses that reach beyond it are answered as far as it goes: reads
/// give ones there, writes are lost.
#[derive(Debug, Clone)]
pub struct Table {
    cells: Vec<Cell>,
    pub(super) bars: [Option<Bar>; 6],
    /// Bytes that the expansion ROM decodes.
    pub(super) rom: Option<u64>,
    pub(super) power: Option<PowerControl>,
    pub(super) mediated: Option<Mediated>,
}

impl Table {
    /// The conventional space, with all that the device has being real.
    pub(super) fn new(raw: &Raw<'_>) -> Self {
        let mut table = Self { cells: Vec::new(), bars: [None; 6], rom: None, power: None, mediated: None };
        table.grow(raw, CONVENTIONAL_SIZE);
        table
    }

    /// Adds the extended space.
    pub(super) fn extend(&mut self, raw: &Raw<'_>) {
        self.grow(raw, EXTENDED_SIZE);
    }

    fn grow(&mut self, raw: &Raw<'_>, size: usize) {
        self.cells.resize(usize::from(raw.len_below(size)).max(self.cells.len()), REAL);
        self.cells.resize(size, HIDDEN);
    }

    /// Answers for all of these bytes: they read as `data` after a reset, do not change, and writes end here.
    pub(super) fn emulate(&mut self, register: u16, data: &[u8]) {
        for (cell, &power_on) in self.cells.iter_mut().skip(register.into()).zip(data) {
            *cell = Cell { power_on, ..HIDDEN };
        }
    }

    /// Answers for the bits set in `mask`. Writes still go where they went.
    pub(super) fn emulate_bits(&mut self, register: u16, mask: &[u8], data: &[u8]) {
        for (cell, (mask, value)) in self.cells.iter_mut().skip(register.into()).zip(mask.iter().zip(data)) {
            cell.emulated |= mask;
            cell.power_on = cell.power_on & !mask | value & mask;
        }
    }

    /// Lets the guest change the bits set in `mask`. Bits that are not emulated are only remembered.
    pub(super) fn allow_write(&mut self, register: u16, mask: &[u8]) {
        for (cell, mask) in self.cells.iter_mut().skip(register.into()).zip(mask) {
            cell.writable |= mask;
        }
    }

    /// Lets the device see writes of `len` bytes at `register`, emulated or not.
    pub(super) fn forward(&mut self, register: u16, len: usize) {
        for cell in self.cells.iter_mut().skip(register.into()).take(len) {
            cell.forwarded = true;
        }
    }

    /// Makes a range read as zero and keeps writes from the device.
    pub(super) fn hide(&mut self, range: Range<u16>) {
        let len = range.len();
        for cell in self.cells.iter_mut().skip(range.start.into()).take(len) {
            *cell = HIDDEN;
        }
    }

    /// Size of the space in bytes: 256, or 4096 for a PCI Express function.
    pub fn size(&self) -> usize {
        self.cells.len()
    }

    /// The part of a read of `len` bytes at `register` that needs the device: the smallest range of registers that
    /// holds all bytes with real bits in them. `None` when this table knows it all.
    pub fn hardware_part(&self, register: u16, len: usize) -> Option<Range<u16>> {
        let cells = self.cells.iter().skip(register.into()).take(len).zip(register..);
        let mut real = cells.filter(|(cell, _)| cell.emulated != 0xff).map(|(_, at)| at);
        let first = real.next()?;
        Some(first..real.last().unwrap_or(first) + 1)
    }

    /// Completes a read at `register`. `data` holds what the device said, and anything outside of
    /// [`Table::hardware_part`].
    pub fn overlay(&self, register: u16, data: &mut [u8]) {
        let mut cells = self.cells.iter().skip(register.into());
        for byte in data {
            *byte = match cells.next() {
                Some(cell) => *byte & !cell.emulated | cell.value & cell.emulated,
                None => 0xff,
            };
        }
    }

    /// Takes over what the guest writes into bits that are kept here.
    pub fn write(&mut self, register: u16, data: &[u8]) {
        let power = self.power;
        for (at, &value) in (usize::from(register)..).zip(data) {
            let Some(cell) = self.cells.get_mut(at) else { return };
            // A state that the function does not have is discarded (7.5.2.2).
            let refused = |power: PowerControl| {
                at == usize::from(power.register) && power.states >> (value & 3) & 1 == 0
            };
            if !power.is_some_and(refused) {
                cell.value = cell.value & !cell.writable | value & cell.writable;
            }
        }
    }

    /// The parts of a write of `data` at `register` that the device is to see, each with its own register.
    ///
    /// BARs (but for mediated devices), the ROM's address, replaced IDs, MSI-X control and hidden capabilities stay here. What the device must
    /// know is passed on although it is emulated: the Command register, and MSI, which a mediated GPU of Intel's
    /// delivers only if its own copy is enabled.
    pub fn forwarded<'a>(&self, register: u16, data: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> {
        let forwards = move |at: &usize| {
            let cell = self.cells.get(usize::from(register) + at);
            cell.is_some_and(|cell| cell.forwarded)
        };
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = (at..data.len()).find(forwards)?;
            let end = (start..data.len()).find(|at| !forwards(at)).unwrap_or(data.len());
            at = end;
            let register = u16::try_from(usize::from(register) + start).ok()?;
            Some((register, data.get(start..end)?))
        })
    }

    /// The byte at `register` as far as it is kept here; real bits are zero.
    pub fn u8(&self, register: u16) -> u8 {
        self.cells.get(usize::from(register)).map_or(0, |cell| cell.value)
    }

    /// The word at `register` as far as it is kept here; real bits are zero.
    pub fn u16(&self, register: u16) -> u16 {
        u16::from_le_bytes([self.u8(register), self.u8(register.saturating_add(1))])
    }

    /// The dword at `register` as far as it is kept here; real bits are zero.
    pub fn u32(&self, register: u16) -> u32 {
        u32::from(self.u16(register)) | u32::from(self.u16(register.saturating_add(2))) << 16
    }

    /// The Command register: I/O, memory, bus mastering and INTx disable. The other bits are the device's and zero
    /// here.
    pub fn command(&self) -> u16 {
        self.u16(reg::COMMAND)
    }

    /// Shows no INTx pin, for good: the host cannot have the function interrupt by it.
    pub fn hide_interrupt_pin(&mut self) {
        self.emulate(reg::INTERRUPT_PIN, &[0]);
    }

    /// Back to the power-on state: no addresses, nothing decoded, no messages, D0.
    pub fn reset(&mut self) {
        // What exists does not change, only the bytes do.
        let Self { cells, bars: _, rom: _, power: _, mediated: _ } = self;
        for cell in cells {
            cell.value = cell.power_on;
        }
    }
}
