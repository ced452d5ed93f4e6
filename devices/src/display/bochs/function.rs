//! The PCI function of the adapter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{GuestAddress, GuestMemoryBackend};
use vocabulary::AddressRange;

use super::{Bochs, Registers, Trapped};
use crate::bus::BusDevice;
use crate::memory::{HostMemory, HostMemoryKind};
use crate::pci::{Bar, BarKind, BarState, ConfigSpace, Ids, MappedPart, PciFunction, Region, Space, Written};

/// The IDs that drivers look for. From revision 2 on there are extended registers.
const IDS: Ids = Ids {
    vendor: 0x1234,
    device: 0x1111,
    revision: 2,
    // Display controller, other than VGA and XGA.
    class: 0x03_8000,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};
const FRAMEBUFFER_BAR: usize = 0;
const REGISTERS_BAR: usize = 2;
const REGISTERS_SIZE: u64 = 0x1000;

/// The function.
pub struct BochsFunction {
    adapter: Arc<Bochs>,
    config: Mutex<ConfigSpace>,
    registers: Arc<dyn BusDevice>,
    trapped: Arc<dyn BusDevice>,
    mapped: Arc<[MappedPart]>,
}

impl BochsFunction {
    /// The function of `adapter`. `multifunction` says that its device number has other functions. `None` if no BAR is as large as the
    /// framebuffer.
    pub fn new(adapter: Arc<Bochs>, multifunction: bool) -> Option<Arc<Self>> {
        let mut config = ConfigSpace::endpoint(IDS, false);
        // Below 4 GiB, as QEMU has it: not every firmware shows a framebuffer above.
        let framebuffer = Bar { kind: BarKind::Memory32 { prefetchable: true }, size: adapter.len };
        let registers = Bar { kind: BarKind::Memory32 { prefetchable: false }, size: REGISTERS_SIZE };
        if !config.add_bar(FRAMEBUFFER_BAR, framebuffer) || !config.add_bar(REGISTERS_BAR, registers) {
            return None;
        }
        if multifunction {
            config.set_multifunction();
        }
        let address = adapter.framebuffer.get_host_address(GuestAddress(0)).ok()? as u64;
        let keep = Arc::new(adapter.framebuffer.clone());
        let memory = HostMemory::new(address, adapter.len, HostMemoryKind::Emulated, keep);
        Some(Arc::new(Self {
            config: Mutex::new(config),
            registers: Arc::new(Registers(Arc::clone(&adapter))),
            trapped: Arc::new(Trapped(Arc::clone(&adapter))),
            mapped: Arc::new([MappedPart { offset: 0, memory }]),
            adapter,
        }))
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        // Bytes behind masks: every state is one that a guest could have written.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn region(&self, index: usize, space: Space, range: AddressRange) -> Region {
        match index {
            FRAMEBUFFER_BAR => {
                Region::new(space, range, Arc::clone(&self.trapped)).with_mapped(Arc::clone(&self.mapped))
            }
            _ => Region::new(space, range, Arc::clone(&self.registers)),
        }
    }
}

impl PciFunction for BochsFunction {
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
        self.adapter.reset();
        self.config().reset();
    }
}
