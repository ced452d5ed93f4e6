//! Where base address registers and bridge windows come to lie: a pure function of what functions ask for and of the
//! address ranges that there are.
//!
//! A bridge forwards three windows (PCI-to-PCI Bridge Architecture 1.2, 3.2.5): I/O in steps of 4 KiB, memory below 4 GiB
//! in steps of 1 MiB, and prefetchable memory, which may lie above 4 GiB. So a 64-bit register behind a bridge lies above
//! 4 GiB if it is prefetchable, and one on the root bus in any case; all others lie below, as with OVMF (edk2
//! MdeModulePkg/Bus/Pci/PciBusDxe).
//!
//! Everything has a power of two for its size or is a window, which is packed from its largest part on. Packing the
//! largest alignment first leaves no gap between registers.

use vocabulary::{AddressRange, PciAddress};

/// Step of I/O windows.
const IO_STEP: u64 = 1 << 12;
/// Step of memory windows.
const MEMORY_STEP: u64 = 1 << 20;

/// What a base address register decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory.
    Memory {
        /// The register has 64 bits.
        wide: bool,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM, below 4 GiB.
    Rom,
}

/// A register that wants addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Its offset in configuration space.
    pub register: u16,
    /// What it decodes.
    pub kind: BarKind,
    /// Bytes or ports, a power of two.
    pub size: u64,
}

/// What lies behind a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The bus behind it.
    pub secondary: u8,
    /// The highest bus behind it.
    pub subordinate: u8,
    /// Its prefetchable window has 64 bits. One of 32 bits stays closed.
    pub wide: bool,
    /// The functions on the secondary bus.
    pub behind: Vec<Function>,
}

/// A function, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its address, with the bus number that it has been given.
    pub at: PciAddress,
    /// Its registers.
    pub bars: Vec<Bar>,
    /// Of the INTx pin: 1 is INTA, 4 INTD, 0 none.
    pub pin: u8,
    /// What is behind it, if it is a bridge.
    pub bridge: Option<Bridge>,
}

/// What the root bus forwards. The ranges do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apertures {
    /// Ports.
    pub io: Vec<AddressRange>,
    /// Memory below 4 GiB.
    pub low: Vec<AddressRange>,
    /// Memory above 4 GiB; what finds no room here is put below.
    pub high: Vec<AddressRange>,
}

/// A register with its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The function.
    pub at: PciAddress,
    /// The register.
    pub bar: Bar,
    /// The first address.
    pub base: u64,
}

impl Assigned {
    /// All its addresses.
    pub fn range(self) -> Option<AddressRange> {
        AddressRange::new(self.base, self.bar.size)
    }
}

/// The open windows of a bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Windows {
    /// I/O.
    pub io: Option<AddressRange>,
    /// Memory below 4 GiB.
    pub memory: Option<AddressRange>,
    /// Prefetchable memory.
    pub prefetchable: Option<AddressRange>,
}

/// Who has which addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers, in no particular order.
    pub bars: Vec<Assigned>,
    /// Each bridge with its windows.
    pub windows: Vec<(PciAddress, Windows)>,
    /// Registers that have found no room.
    pub missing: Vec<(PciAddress, Bar)>,
}

/// The three kinds of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    Io,
    Low,
    High,
}

impl Pool {
    /// The pool of a register, with a 64-bit prefetchable window on the whole way (`wide`) and with a bridge above at all.
    fn of(kind: BarKind, wide: bool, bridged: bool) -> Self {
        match kind {
            BarKind::Io => Self::Io,
            BarKind::Memory { wide: true, prefetchable } if wide && (prefetchable || !bridged) => Self::High,
            BarKind::Memory { .. } | BarKind::Rom => Self::Low,
        }
    }

    fn step(self) -> u64 {
        match self {
            Self::Io => IO_STEP,
            Self::Low | Self::High => MEMORY_STEP,
        }
    }
}

/// Something that needs consecutive addresses.
struct Item {
    size: u64,
    align: u64,
    what: What,
}

enum What {
    Register(PciAddress, Bar),
    /// The window of this bridge, with what lies in it and at which offset.
    Window(PciAddress, Vec<(u64, Item)>),
}

/// Gives everything its addresses.
pub fn allocate(functions: &[Function], apertures: &Apertures) -> Resources {
    let mut resources = Resources::default();
    note_bridges(functions, &mut resources);
    let [io, low, high] = [Pool::Io, Pool::Low, Pool::High]
        .map(|pool| items(functions, pool, true, false, &mut resources.missing));
    let mut low_free = Free::new(&apertures.low);
    place(io, Pool::Io, &mut [&mut Free::new(&apertures.io)], &mut resources);
    place(low, Pool::Low, &mut [&mut low_free], &mut resources);
    place(high, Pool::High, &mut [&mut Free::new(&apertures.high), &mut low_free], &mut resources);
    resources
}

fn note_bridges(functions: &[Function], resources: &mut Resources) {
    for function in functions {
        if let Some(bridge) = &function.bridge {
            resources.windows.push((function.at, Windows::default()));
            note_bridges(&bridge.behind, resources);
        }
    }
}

/// What the functions of one bus need from a pool, the largest alignment first.
fn items(
    functions: &[Function],
    pool: Pool,
    wide: bool,
    bridged: bool,
    missing: &mut Vec<(PciAddress, Bar)>,
) -> Vec<Item> {
    let mut items = Vec::new();
    for function in functions {
        for bar in function.bars.iter().filter(|bar| Pool::of(bar.kind, wide, bridged) == pool) {
            // A register has at least 4 ports or 16 bytes, and two functions never share a page.
            let align = if pool == Pool::Io { bar.size } else { bar.size.max(IO_STEP) };
            let what = What::Register(function.at, *bar);
            items.push(Item { size: bar.size, align, what });
        }
        if let Some(bridge) = &function.bridge {
            let behind = items_behind(bridge, pool, wide, missing);
            match window(function.at, behind, pool.step()) {
                Ok(window) => items.extend(window),
                Err(lost) => lost.into_iter().for_each(|item| give_up(item, missing)),
            }
        }
    }
    items.sort_by_key(|item| std::cmp::Reverse((item.align, item.size)));
    items
}

fn items_behind(bridge: &Bridge, pool: Pool, wide: bool, missing: &mut Vec<(PciAddress, Bar)>) -> Vec<Item> {
    items(&bridge.behind, pool, wide && bridge.wide, true, missing)
}

/// One window around all of these; the items again if they need more than there are addresses.
fn window(at: PciAddress, items: Vec<Item>, step: u64) -> Result<Option<Item>, Vec<Item>> {
    let Some(align) = items.iter().map(|item| item.align.max(step)).max() else { return Ok(None) };
    let mut offsets = Vec::with_capacity(items.len());
    let mut end = 0u64;
    for item in &items {
        let offset = end.checked_next_multiple_of(item.align);
        let Some((offset, next)) = offset.and_then(|offset| Some((offset, offset.checked_add(item.size)?)))
        else {
            return Err(items);
        };
        offsets.push(offset);
        end = next;
    }
    let Some(size) = end.checked_next_multiple_of(step) else { return Err(items) };
    let inside = offsets.into_iter().zip(items).collect();
    Ok(Some(Item { size, align, what: What::Window(at, inside) }))
}

/// Places items in the first of the free ranges that has room.
fn place(items: Vec<Item>, pool: Pool, free: &mut [&mut Free], resources: &mut Resources) {
    for item in items {
        match free.iter_mut().find_map(|free| free.take(item.size, item.align)) {
            Some(base) => settle(item, base, pool, resources),
            None => give_up(item, &mut resources.missing),
        }
    }
}

/// Notes that `item` lies at `base`, and all that is in it.
fn settle(item: Item, base: u64, pool: Pool, resources: &mut Resources) {
    match item.what {
        What::Register(at, bar) => resources.bars.push(Assigned { at, bar, base }),
        What::Window(at, inside) => {
            let range = AddressRange::new(base, item.size);
            if let Some((_, windows)) = resources.windows.iter_mut().find(|(bridge, _)| *bridge == at) {
                match pool {
                    Pool::Io => windows.io = range,
                    Pool::Low => windows.memory = range,
                    Pool::High => windows.prefetchable = range,
                }
            }
            for (offset, item) in inside {
                settle(item, base.saturating_add(offset), pool, resources);
            }
        }
    }
}

fn give_up(item: Item, missing: &mut Vec<(PciAddress, Bar)>) {
    match item.what {
        What::Register(at, bar) => missing.push((at, bar)),
        What::Window(_, inside) => inside.into_iter().for_each(|(_, item)| give_up(item, missing)),
    }
}

/// What is left of an aperture, in ascending order.
struct Free(Vec<AddressRange>);

impl Free {
    fn new(ranges: &[AddressRange]) -> Self {
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable();
        Self(ranges)
    }

    /// Takes `size` addresses at the lowest multiple of `align` that there is.
    fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let (index, taken) = self.0.iter().enumerate().find_map(|(index, range)| {
            let taken = AddressRange::new(range.base().checked_next_multiple_of(align)?, size)?;
            range.covers(taken).then_some((index, taken))
        })?;
        let range = self.0.remove(index);
        let before = taken.base().checked_sub(1).and_then(|last| AddressRange::inclusive(range.base(), last));
        let behind = taken.last().checked_add(1).and_then(|base| AddressRange::inclusive(base, range.last()));
        let rest = [before, behind].into_iter().flatten();
        self.0.splice(index..index, rest);
        Some(taken.base())
    }
}
