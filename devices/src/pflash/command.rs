//! The command state machine of an Intel-style flash chip with an 8-bit bus: a pure function from write cycles to
//! effects.
//!
//! The commands are those of the Intel/Sharp extended command set (JEDEC JEP137 vendor code 0001h; Intel 28F128J3
//! datasheet, "Device Commands"), with the habits of the chip that OVMF was written against (edk2
//! `OvmfPkg/QemuFlashFvbServicesRuntimeDxe`):
//! - Clear Status Register also returns to the array, and the register reads 00h afterwards. OVMF tells flash from RAM
//!   and ROM by that.
//! - Programming stores the byte; it does not only clear bits. OVMF's variable driver relies on nothing more.
//! - The erase happens at the first cycle of its command, D0h merely concludes it.

use bitflags::bitflags;

/// What erases at once: OVMF's firmware volume block size.
pub(super) const BLOCK_SIZE: usize = 0x1000;

/// Largest buffered program, and its alignment. A count byte cannot ask for more on an 8-bit bus.
pub(super) const BUFFER_SIZE: usize = 256;

const PROGRAM_ALTERNATE: u8 = 0x10;
const ERASE: u8 = 0x20;
const PROGRAM: u8 = 0x40;
const CLEAR_STATUS: u8 = 0x50;
const READ_STATUS: u8 = 0x70;
const READ_ID: u8 = 0x90;
const READ_QUERY: u8 = 0x98;
const CONFIRM: u8 = 0xd0;
const BUFFERED_PROGRAM: u8 = 0xe8;
const READ_ARRAY: u8 = 0xff;

bitflags! {
    /// The status register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(super) struct Status: u8 {
        /// SR.7: the write state machine is ready.
        const READY = 0x80;
        /// SR.5: an erase failed.
        const ERASE_ERROR = 0x20;
        /// SR.4: a program failed.
        const PROGRAM_ERROR = 0x10;
    }
}

/// Both error bits together say that the guest broke a command sequence.
const SEQUENCE_ERROR: Status = Status::ERASE_ERROR.union(Status::PROGRAM_ERROR);

/// What read cycles return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The contents.
    Array,
    /// The status register, at every address.
    Status,
    /// Manufacturer and device code.
    Identifier,
    /// The CFI table.
    Query,
}

/// What the next write cycle means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cycle {
    Command,
    ProgramData,
    EraseConfirm,
    BufferCount,
    BufferData { left: usize },
    BufferConfirm,
}

/// A change to the contents. Offsets lie within the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Store `byte` at `offset`.
    Program {
        offset: usize,
        byte: u8,
    },
    /// Fill the block that starts at `block` with ones.
    Erase {
        block: usize,
    },
    /// Store what [`Machine::buffer`] holds.
    ProgramBuffer,
}

/// The bytes of a buffered program that waits for its confirmation.
#[derive(Debug, Clone)]
pub(super) struct ProgramBuffer {
    /// Start of the aligned window that the first data cycle chose.
    base: Option<usize>,
    bytes: [Option<u8>; BUFFER_SIZE],
    /// A data cycle lay outside of the window or of the unit.
    stray: bool,
}

impl ProgramBuffer {
    const EMPTY: Self = Self { base: None, bytes: [None; BUFFER_SIZE], stray: false };

    fn load(&mut self, offset: usize, byte: u8) {
        let base = *self.base.get_or_insert(offset - offset % BUFFER_SIZE);
        match offset.checked_sub(base).and_then(|index| self.bytes.get_mut(index)) {
            Some(slot) => *slot = Some(byte),
            None => self.stray = true,
        }
    }

    /// The loaded bytes with their offsets, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        let base = self.base.unwrap_or(0);
        self.bytes
            .iter()
            .enumerate()
            .filter_map(move |(index, byte)| Some((base.checked_add(index)?, (*byte)?)))
    }
}

/// The chip's registers.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Size of the unit in bytes, a multiple of [`BLOCK_SIZE`].
    size: usize,
    writable: bool,
    view: View,
    /// The status view was entered by 10h from the array, and nobody has asked for the status since.
    unasked: bool,
    cycle: Cycle,
    status: Status,
    buffer: ProgramBuffer,
}

impl Machine {
    pub(super) fn new(size: usize, writable: bool) -> Self {
        Self {
            size,
            writable,
            view: View::Array,
            unasked: false,
            cycle: Cycle::Command,
            status: Status::empty(),
            buffer: ProgramBuffer::EMPTY,
        }
    }

    pub(super) fn reset(&mut self) {
        let Self { size: _, writable: _, view, unasked, cycle, status, buffer } = self;
        *view = View::Array;
        *unasked = false;
        *cycle = Cycle::Command;
        *status = Status::empty();
        *buffer = ProgramBuffer::EMPTY;
    }

    pub(super) fn view(&self) -> View {
        self.view
    }

    pub(super) fn status(&self) -> Status {
        self.status
    }

    pub(super) fn buffer(&self) -> &ProgramBuffer {
        &self.buffer
    }

    /// Sets error bits for an effect that could not be carried out.
    pub(super) fn fail(&mut self, errors: Status) {
        self.status |= errors;
    }

    /// Whether read cycles must reach this model rather than the contents.
    ///
    /// That a program command needs no trap is what keeps tens of thousands of single-byte programs from switching
    /// the memory slot to and fro. It holds for 10h alone, which is what edk2 writes: it never reads between the
    /// programs of a run, and asks with 70h when it wants the status. Linux and U-Boot poll the status straight after
    /// a program, but they write 40h.
    pub(super) fn traps_reads(&self) -> bool {
        self.view != View::Array && !self.unasked
    }

    /// One write cycle; `offset` lies within the unit.
    pub(super) fn write(&mut self, offset: usize, byte: u8) -> Effect {
        match std::mem::replace(&mut self.cycle, Cycle::Command) {
            Cycle::Command => self.command(offset, byte),
            Cycle::ProgramData => {
                self.status |= Status::READY;
                if self.writable {
                    Effect::Program { offset, byte }
                } else {
                    self.status |= Status::PROGRAM_ERROR;
                    Effect::None
                }
            }
            Cycle::EraseConfirm => {
                if byte != CONFIRM {
                    self.show(View::Array);
                }
                Effect::None
            }
            Cycle::BufferCount => {
                self.buffer = ProgramBuffer::EMPTY;
                self.cycle = Cycle::BufferData { left: usize::from(byte) };
                Effect::None
            }
            Cycle::BufferData { left } => {
                self.buffer.load(offset, byte);
                self.cycle =
                    left.checked_sub(1).map_or(Cycle::BufferConfirm, |left| Cycle::BufferData { left });
                Effect::None
            }
            Cycle::BufferConfirm => self.confirm_buffer(byte),
        }
    }

    fn command(&mut self, offset: usize, byte: u8) -> Effect {
        match byte {
            PROGRAM_ALTERNATE => {
                let unasked = self.unasked || self.view == View::Array;
                self.show(View::Status);
                self.unasked = unasked;
                self.cycle = Cycle::ProgramData;
            }
            PROGRAM => {
                self.show(View::Status);
                self.cycle = Cycle::ProgramData;
            }
            ERASE => {
                self.show(View::Status);
                self.status |= Status::READY;
                self.cycle = Cycle::EraseConfirm;
                if self.writable {
                    return Effect::Erase { block: offset - offset % BLOCK_SIZE };
                }
                self.status |= Status::ERASE_ERROR;
            }
            BUFFERED_PROGRAM => {
                self.show(View::Status);
                self.status |= Status::READY;
                self.cycle = Cycle::BufferCount;
            }
            READ_STATUS => self.show(View::Status),
            READ_ID => self.show(View::Identifier),
            READ_QUERY => self.show(View::Query),
            CLEAR_STATUS => {
                self.status = Status::empty();
                self.show(View::Array);
            }
            READ_ARRAY => self.show(View::Array),
            // Other vendors' reset commands and everything else.
            _ => self.show(View::Array),
        }
        Effect::None
    }

    fn confirm_buffer(&mut self, byte: u8) -> Effect {
        self.status |= Status::READY;
        let complete = byte == CONFIRM && !self.buffer.stray;
        if !complete {
            self.status |= SEQUENCE_ERROR;
        } else if !self.writable {
            self.status |= Status::PROGRAM_ERROR;
        } else {
            return Effect::ProgramBuffer;
        }
        Effect::None
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.unasked = false;
    }

    /// Size of the unit in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
