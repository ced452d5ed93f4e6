//! A function with registers in one BAR and memory in another, which the guest reaches without a trap while it is decoded. It has no
//! interrupts and makes no DMA.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vocabulary::AddressRange;

use super::{Bar, BarKind, BarState, ConfigSpace, Ids, MappedPart, PciFunction, Region, Space, Written};
use crate::bus::BusDevice;
use crate::memory::HostMemory;

/// The BAR of the registers: 32 bits, not prefetchable.
pub(crate) struct RegistersBar {
    pub(crate) index: usize,
    /// In bytes, a power of two.
    pub(crate) size: u64,
    pub(crate) device: Arc<dyn BusDevice>,
}

/// The BAR of the memory, of its size.
pub(crate) struct MemoryBar {
    pub(crate) index: usize,
    pub(crate) kind: BarKind,
    pub(crate) memory: HostMemory,
    /// What answers where the memory cannot be reached without a trap.
    pub(crate) trapped: Arc<dyn BusDevice>,
}

/// The function.
pub struct MemoryFunction {
    config: Mutex<ConfigSpace>,
    registers: Arc<dyn BusDevice>,
    memory_bar: usize,
    trapped: Arc<dyn BusDevice>,
    mapped: Arc<[MappedPart]>,
    on_reset: Box<dyn Fn() + Send + Sync>,
}

impl MemoryFunction {
    /// A function with these BARs; `multifunction` says that others share its slot, and `on_reset` is told of each reset. `None` if the BARs do not fit.
    pub(crate) fn new(
        ids: Ids,
        multifunction: bool,
        registers: RegistersBar,
        memory: MemoryBar,
        on_reset: impl Fn() + Send + Sync + 'static,
    ) -> Option<Arc<Self>> {
        let mut config = ConfigSpace::endpoint(ids, false);
        if multifunction {
            config.set_multifunction();
        }
        let size = registers.size;
        let of_registers = Bar { kind: BarKind::Memory32 { prefetchable: false }, size };
        let of_memory = Bar { kind: memory.kind, size: memory.memory.len() };
        let fits = config.add_bar(registers.index, of_registers) && config.add_bar(memory.index, of_memory);
        fits.then(|| {
            Arc::new(Self {
                config: Mutex::new(config),
                registers: registers.device,
                memory_bar: memory.index,
                trapped: memory.trapped,
                mapped: Arc::new([MappedPart { offset: 0, memory: memory.memory }]),
                on_reset: Box::new(on_reset),
            })
        })
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        // Bytes behind masks: every state is one that a guest could have written.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn region(&self, index: usize, space: Space, range: AddressRange) -> Region {
        if index == self.memory_bar {
            Region::new(space, range, Arc::clone(&self.trapped)).with_mapped(Arc::clone(&self.mapped))
        } else {
            Region::new(space, range, Arc::clone(&self.registers))
        }
    }
}

impl PciFunction for MemoryFunction {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.config().read(register, data);
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let mut config = self.config();
        let before = config.decoded_bars();
        config.write(register, data);
        Written { decode_changed: config.decoded_bars() != before, ..Written::default() }
    }

    fn regions(&self) -> Vec<Region> {
        let decoded = self.config().decoded_bars();
        let decoded = decoded.into_iter().enumerate();
        decoded
            .filter_map(|(index, bar)| bar.map(|(space, range)| self.region(index, space, range)))
            .collect()
    }

    fn bars(&self) -> Vec<BarState> {
        let config = self.config();
        let range = |index| config.decoded_bar(index).map(|(_, range)| range);
        config.bars().map(|(index, bar)| BarState { index, bar, decoded: range(index) }).collect()
    }

    fn reset(&self) {
        (self.on_reset)();
        self.config().reset();
    }
}
