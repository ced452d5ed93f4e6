//! The PCI function of the adapter.

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Bochs, Registers, Trapped};
use crate::memory::{HostMemory, HostMemoryKind};
use crate::pci::{BarKind, Ids, MemoryBar, MemoryFunction, RegistersBar};

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

impl Bochs {
    /// The adapter's function. `multifunction` says that its device number has other functions. `None` if no BAR is as large as the
    /// framebuffer.
    pub fn function(self: &Arc<Self>, multifunction: bool) -> Option<Arc<MemoryFunction>> {
        let adapter = Arc::clone(self);
        let address = adapter.framebuffer.get_host_address(GuestAddress(0)).ok()? as u64;
        let keep = Arc::new(adapter.framebuffer.clone());
        let memory = MemoryBar {
            index: FRAMEBUFFER_BAR,
            // Below 4 GiB, as QEMU has it: not every firmware shows a framebuffer above.
            kind: BarKind::Memory32 { prefetchable: true },
            memory: HostMemory::new(address, adapter.len, HostMemoryKind::Emulated, keep),
            trapped: Arc::new(Trapped(Arc::clone(&adapter))),
        };
        let device = Arc::new(Registers(Arc::clone(&adapter)));
        let registers = RegistersBar { index: REGISTERS_BAR, size: REGISTERS_SIZE, device };
        MemoryFunction::new(IDS, multifunction, registers, memory, move || adapter.reset())
    }
}
