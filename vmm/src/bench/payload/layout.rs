//! Where things lie in guest memory, and what the shared page means.
//!
//! ```text
//! 00200000  instructions
//! 00203000  the shared page
//! 00204000  segment descriptors, and what LGDT and LIDT load
//! 00205000  interrupt descriptors
//! 00206000  page tables: 4 GiB to themselves in pages of 2 MiB, and behind them a window
//! 0020d000  the window's pages
//! 0020f000  stack, one page
//! 00210000  samples
//! 00300000  memory for DMA, one page
//! ```

/// Where the image is loaded.
pub(crate) const BASE: u64 = 0x20_0000;
/// The shared page.
pub(crate) const PAGE: u64 = 0x20_3000;
/// Segment descriptors.
pub(super) const GDT: u64 = 0x20_4000;
/// What LGDT loads.
pub(super) const GDTR: u64 = 0x20_4800;
/// What LIDT loads.
pub(super) const IDTR: u64 = 0x20_4810;
/// Interrupt descriptors.
pub(super) const IDT: u64 = 0x20_5000;
/// The page tables' first level.
pub(super) const PAGE_TABLES: u64 = 0x20_6000;
/// The last level of the window: 512 pages.
pub(crate) const WINDOW_PAGES: u64 = 0x20_d000;
/// The end of the stack.
pub(super) const STACK: u64 = 0x21_0000;
/// Samples, eight bytes each.
pub(crate) const SAMPLES: u64 = 0x21_0000;
/// As many as there is room for.
pub(crate) const MOST_SAMPLES: u64 = 0x1_0000;
/// A page for devices to read and write.
pub(crate) const BUFFER: u64 = 0x30_0000;
/// The end of all.
pub(super) const END: u64 = 0x30_1000;

/// Where the window is in the payload's address space: 512 pages of 4 KiB, uncached, of whatever is to be measured.
pub(crate) const WINDOW: u64 = 1 << 32;

/// The vector of interrupts that are measured.
pub(crate) const VECTOR: u8 = 0x20;

/// Offsets in the shared page, of eight bytes each unless told.
pub(crate) mod field {
    /// 1 once the payload runs.
    pub(crate) const UP: u64 = 0x00;
    /// The number of the command that is wanted; written last.
    pub(crate) const WANTED: u64 = 0x08;
    /// The number of the command that is done; written last by the payload.
    pub(crate) const DONE: u64 = 0x10;
    /// [`super::Kind`].
    pub(crate) const KIND: u64 = 0x18;
    /// An address, a port, or a register's number.
    pub(crate) const ADDRESS: u64 = 0x20;
    /// A value, a mask, or a number of ticks.
    pub(crate) const VALUE: u64 = 0x28;
    /// How many samples are taken at most, from 1 to [`super::MOST_SAMPLES`].
    pub(crate) const COUNT: u64 = 0x30;
    /// Ticks after which no further sample begins.
    pub(crate) const LIMIT: u64 = 0x38;
    /// Ticks that an interrupt or a register is waited for; of [`super::Kind::Spin`], what counts as stolen.
    pub(crate) const PATIENCE: u64 = 0x40;
    /// Where an interrupt's handler writes to; 0 is nowhere.
    pub(crate) const ACKNOWLEDGE: u64 = 0x48;
    /// What it writes, four bytes.
    pub(crate) const ACKNOWLEDGEMENT: u64 = 0x50;
    /// What a script waits for, four bytes.
    pub(crate) const EXPECTED: u64 = 0x58;
    /// A port that is written when a command is done; 0 is none.
    pub(crate) const DOORBELL: u64 = 0x60;
    /// How many steps there are, at least one.
    pub(crate) const STEP_COUNT: u64 = 0x68;
    /// How many samples were taken.
    pub(crate) const TAKEN: u64 = 0x80;
    /// How many interrupts did not come, or whether a register did not change.
    pub(crate) const LOST: u64 = 0x88;
    /// How many ticks the command took.
    pub(crate) const ELAPSED: u64 = 0x90;
    /// How many of them were stolen.
    pub(crate) const STOLEN: u64 = 0x98;
    /// The last value that was read.
    pub(crate) const SEEN: u64 = 0xa0;
    /// Of an exception its number and one more, then two words of its frame, then CR2; 0 is none.
    pub(crate) const FAULT: u64 = 0xa8;
    /// How many interrupts there were.
    pub(crate) const INTERRUPTS: u64 = 0xc8;
    /// When the last one was.
    pub(crate) const MOMENT: u64 = 0xd0;
    /// ECX of CPUID's leaf 1, four bytes.
    pub(crate) const FEATURES: u64 = 0xd8;
    /// The steps of a script, up to [`super::MOST_STEPS`]: address, value, and how many bytes, 4 or 8.
    pub(crate) const STEPS: u64 = 0x400;
}

/// As many steps as a script has at most.
pub(crate) const MOST_STEPS: usize = 32;

/// What the payload can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    /// Nothing: what the clock takes.
    Nothing = 0,
    /// CPUID.
    Cpuid = 1,
    /// A byte from a port.
    Port = 2,
    /// Four bytes from memory.
    Read = 3,
    /// Four bytes to memory.
    Write = 4,
    /// A configuration register by CF8 and CFC.
    Cf8 = 5,
    /// A write that raises an interrupt.
    Raise = 6,
    /// Halts until the local APIC's timer.
    Wake = 7,
    /// Spins.
    Spin = 8,
    /// Compares the time-stamp counter with a timer of 24 bits.
    Clock = 9,
    /// Writes, and waits for a register.
    Script = 10,
}
