//! Port I/O and memory-mapped I/O dispatch.
//!
//! A bus is a set of regions that may overlap, as PCI BARs do while a guest moves them. Readers never lock: each vCPU
//! holds a [`BusView`], a snapshot of the flattened map that it renews when the bus's generation changed. A device may
//! therefore change the map from inside its own write handler.

mod map;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use map::FlatMap;
use vocabulary::AddressRange;

/// What a guest access asks of the machine as a whole. The vCPU that made the access performs it after the device
/// has returned and no lock of a device is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "an action that nobody performs is lost"]
pub enum Action {
    /// Nothing beyond the device.
    #[default]
    None,
    /// Reset the whole platform.
    Reset,
    /// The guest entered S5.
    PowerOff,
    /// The guest's kernel says that it has panicked (pvpanic).
    GuestPanicked,
}

/// A register block that the guest reaches through a bus.
///
/// `offset` counts from the start of the region; `data` has 1, 2, 4 or 8 bytes, little-endian, and lies within the
/// region. Reads of registers that do not exist fill `data` with ones.
pub trait BusDevice: Send + Sync {
    /// Reads `data.len()` bytes at `offset`.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Writes `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> Action;
}

/// Who answers where regions overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A PCI BAR, which the guest may put anywhere.
    Bar,
    /// A range of the platform, which BARs cannot hide.
    Platform,
}

/// Names a region for its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(u64);

struct Entry {
    id: RegionId,
    range: AddressRange,
    priority: Priority,
    device: Arc<dyn BusDevice>,
}

#[derive(Default)]
struct Regions {
    next_id: u64,
    entries: Vec<Entry>,
    flat: Arc<FlatMap>,
}

/// An address space: the 64 KiB of ports or the guest-physical memory that RAM does not answer.
#[derive(Default)]
pub struct Bus {
    regions: Mutex<Regions>,
    generation: AtomicU64,
}

impl Bus {
    /// An empty bus, where every read gives ones.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Regions> {
        // The map is replaced as a whole, so a panicking holder cannot leave it half-changed.
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, regions: &mut Regions) {
        regions.flat = Arc::new(FlatMap::new(&regions.entries));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Adds a region. Of overlapping regions the higher priority answers, among equals the older one.
    pub fn insert(&self, range: AddressRange, priority: Priority, device: Arc<dyn BusDevice>) -> RegionId {
        let mut regions = self.lock();
        let id = RegionId(regions.next_id);
        regions.next_id += 1;
        regions.entries.push(Entry { id, range, priority, device });
        self.publish(&mut regions);
        id
    }

    /// Removes a region; unknown ids are ignored.
    pub fn remove(&self, id: RegionId) {
        let mut regions = self.lock();
        regions.entries.retain(|entry| entry.id != id);
        self.publish(&mut regions);
    }

    /// Removes all regions. Devices that know the bus they are on are not freed before.
    pub fn clear(&self) {
        let mut regions = self.lock();
        regions.entries.clear();
        self.publish(&mut regions);
    }

    /// Whether a region other than `id` has an address in `range`.
    pub fn is_contested(&self, id: RegionId, range: AddressRange) -> bool {
        self.lock().entries.iter().any(|entry| entry.id != id && entry.range.overlaps(range))
    }

    /// A snapshot to dispatch through, one for each vCPU.
    pub fn view(self: &Arc<Self>) -> BusView {
        BusView { bus: Arc::clone(self), generation: u64::MAX, flat: Arc::default(), place: 0 }
    }
}

/// A vCPU's snapshot of a [`Bus`], renewed at the first access after a change.
pub struct BusView {
    bus: Arc<Bus>,
    generation: u64,
    flat: Arc<FlatMap>,
    /// Where the last access was: guests turn to a device several times in a row.
    place: usize,
}

impl BusView {
    #[inline]
    fn refresh(&mut self) {
        let generation = self.bus.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.flat = Arc::clone(&self.bus.lock().flat);
            self.generation = generation;
        }
    }

    /// Reads `data.len()` bytes at `address`; addresses that nobody answers read as ones.
    #[inline]
    pub fn read(&mut self, address: u64, data: &mut [u8]) {
        self.refresh();
        match self.flat.find(address, data.len(), &mut self.place) {
            map::Found::Whole(device, offset) => device.read(offset, data),
            map::Found::Nothing => data.fill(0xff),
            map::Found::Straddles => {
                for (index, byte) in data.iter_mut().enumerate() {
                    let address = address.wrapping_add(index as u64);
                    let byte = std::slice::from_mut(byte);
                    match self.flat.find(address, 1, &mut self.place) {
                        map::Found::Whole(device, offset) => device.read(offset, byte),
                        _ => byte.fill(0xff),
                    }
                }
            }
        }
    }

    /// Writes `data` at `address`; writes that nobody answers are lost.
    #[inline]
    pub fn write(&mut self, address: u64, data: &[u8]) -> Action {
        self.refresh();
        match self.flat.find(address, data.len(), &mut self.place) {
            map::Found::Whole(device, offset) => device.write(offset, data),
            map::Found::Nothing => Action::None,
            map::Found::Straddles => {
                let mut action = Action::None;
                for (index, byte) in data.iter().enumerate() {
                    let address = address.wrapping_add(index as u64);
                    if let map::Found::Whole(device, offset) = self.flat.find(address, 1, &mut self.place) {
                        match device.write(offset, std::slice::from_ref(byte)) {
                            Action::None => {}
                            asked => action = asked,
                        }
                    }
                }
                action
            }
        }
    }
}
