//! MSI of a real device (PCIe 6.0, 7.7.1). The guest's message goes into the vectors' routes, never to the device, which
//! signals the host. Per-vector mask bits, where the capability has them, work in the device itself.

use std::io;
use std::sync::Arc;

use crate::interrupt::{MsiAllocator, MsiMessage, MsiVector};
use crate::pci::msix::event;
use crate::vfio::host::irq;

use super::error::MessageError;
use super::host_calls::HostCalls;

/// Most vectors that the capability can express.
const MAX_VECTORS: u32 = 32;

/// The registers of the MSI capability as the guest has written them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsiRegisters {
    /// MSI Enable.
    pub enabled: bool,
    /// Multiple Message Enable: the logarithm to base 2 of the number of vectors, 0–5. Larger values count as 5.
    pub multiple: u8,
    /// Message address and data. The device puts the vector's number into the low `multiple` bits of the data.
    pub message: MsiMessage,
}

impl MsiRegisters {
    /// Vectors that the guest has enabled.
    fn count(&self) -> usize {
        1 << self.multiple.min(5)
    }

    /// What the device sends for `vector`.
    fn message_of(&self, vector: usize) -> MsiMessage {
        let MsiMessage { address, data } = self.message;
        // Bits 1:0 of the address are zero: messages are dwords.
        MsiMessage { address: address & !3, data: data & !(self.count() as u32 - 1) | vector as u32 }
    }
}

struct Vector {
    handle: Arc<dyn MsiVector>,
    routed: Option<MsiMessage>,
}

/// The MSI vectors of a function.
pub(super) struct Msi {
    host: Arc<HostCalls>,
    allocator: Arc<dyn MsiAllocator>,
    /// Vectors that the device has.
    most: usize,
    registers: MsiRegisters,
    /// Made when first needed, and kept.
    vectors: Vec<Vector>,
    /// Vectors that the host signals now: fewer than the guest has enabled if the host is short of them.
    granted: usize,
}

impl Msi {
    /// `vectors` as the device has them, at most 32.
    pub(super) fn new(host: Arc<HostCalls>, allocator: Arc<dyn MsiAllocator>, vectors: u32) -> Self {
        Self {
            host,
            allocator,
            most: vectors.min(MAX_VECTORS) as usize,
            registers: MsiRegisters::default(),
            vectors: Vec::new(),
            granted: 0,
        }
    }

    /// Whether the function has MSI.
    pub(super) fn exists(&self) -> bool {
        self.most > 0
    }

    /// Whether the guest has enabled it.
    pub(super) fn enabled(&self) -> bool {
        self.registers.enabled && self.exists()
    }

    /// Vectors that the guest has enabled and the device has.
    fn wanted(&self) -> usize {
        self.registers.count().min(self.most)
    }

    /// Takes over what the guest wrote. True if the host must turn MSI off and on again for it.
    pub(super) fn set_registers(&mut self, registers: MsiRegisters) -> bool {
        let before = std::mem::replace(&mut self.registers, registers);
        before.count().min(self.most) != self.wanted()
    }

    /// Turns MSI on with the guest's registers. False, and off, if the host refuses.
    pub(super) fn start(&mut self) -> bool {
        match self.enable() {
            Ok(granted) => {
                self.granted = granted;
                self.update();
                true
            }
            Err(source) => {
                let device = self.host.name().to_owned();
                crate::limited_warn!("{}", MessageError::Kind { device, kind: "MSI", source });
                false
            }
        }
    }

    fn enable(&mut self) -> io::Result<usize> {
        let wanted = self.wanted();
        while self.vectors.len() < wanted {
            match self.allocator.allocate() {
                Ok(handle) => self.vectors.push(Vector { handle, routed: None }),
                Err(error) if self.vectors.is_empty() => return Err(error),
                Err(error) => {
                    self.complain(self.vectors.len(), "make an event for it", error);
                    break;
                }
            }
        }
        let events: Vec<_> =
            self.vectors.iter().take(wanted).map(|vector| Some(vector.handle.event())).collect();
        let granted = self.host.enable(irq::MSI, &events)?;
        if granted < wanted {
            crate::limited_debug!(
                device = self.host.name(),
                wanted,
                granted,
                "the guest gets fewer MSI vectors"
            );
        }
        Ok(granted)
    }

    /// Makes the routes of the vectors in use what the registers say.
    pub(super) fn update(&mut self) {
        for index in 0..self.granted {
            let wanted = self.registers.message_of(index);
            let Some(vector) = self.vectors.get_mut(index).filter(|vector| vector.routed != Some(wanted))
            else {
                continue;
            };
            let result = vector.handle.route(Some(wanted));
            vector.routed = result.is_ok().then_some(wanted);
            if let Err(error) = result {
                // The old message must not go on being delivered in place of the new one.
                let _ = vector.handle.route(None);
                self.complain(index, "route its message to the guest", error);
            }
        }
    }

    /// Turns MSI off. What was signalled and not delivered is forgotten.
    pub(super) fn stop(&mut self) {
        self.host.disable_irq(irq::MSI);
        for vector in self.vectors.iter_mut().take(self.granted) {
            if let Err(error) = vector.handle.route(None) {
                crate::limited_debug!(device = self.host.name(), %error, "an MSI vector could not be detached");
            }
            vector.routed = None;
            event::drain(vector.handle.event());
        }
        self.granted = 0;
    }

    fn complain(&self, vector: usize, doing: &'static str, source: io::Error) {
        let device = self.host.name().to_owned();
        crate::limited_warn!("{}", MessageError::Vector { device, vector, doing, source });
    }
}
