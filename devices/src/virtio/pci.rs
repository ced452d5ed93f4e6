//! The modern PCI transport (virtio 1.2, 4.1): a PCI Express function with the vendor capabilities that lead to the
//! structures in its BAR, and MSI-X in another.
//!
//! Both BARs are 32 bits wide and not prefetchable: reading the ISR status changes it, and a bridge forwards
//! addresses above 4 GiB to prefetchable BARs only.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::GuestRam;
use crate::bus::{Action, BusDevice};
use crate::interrupt::{IrqLine, MsiAllocator, MsiVector};
use crate::pci::dma::Dma;
use crate::pci::endpoint::{self, Endpoint, EndpointDevice};
use crate::pci::express::Express;
use crate::pci::interrupts::Interrupts;
use crate::pci::{Bar, BarKind, ConfigSpace, Doorbell, Ids, Placement, capability};

use super::VirtioDevice;
use super::interrupt::Interrupt;
use super::registers::{self, Registers, Window};

/// Vendor ID of virtio devices, and their subsystem vendor (4.1.2).
pub const VENDOR_ID: u16 = 0x1af4;
/// A modern device's ID is this plus its type.
pub const DEVICE_ID_BASE: u16 = 0x1040;

const REGISTERS_BAR: u8 = 0;
const MSIX_BAR: u8 = 1;

/// Structure types of the vendor capabilities (4.1.4).
mod cfg_type {
    pub(super) const COMMON: u8 = 1;
    pub(super) const NOTIFY: u8 = 2;
    pub(super) const ISR: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
    pub(super) const PCI: u8 = 5;
}

/// Why a virtio function could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VirtioPciError {
    /// No event or vector.
    #[error("cannot allocate the interrupts and doorbells of a virtio device: {0}")]
    Allocate(#[from] io::Error),
    /// The device type asks for what the transport has no room for.
    #[error("a virtio device of type {device_type} with {queues} queues does not fit the PCI transport")]
    TooLarge {
        /// The device type.
        device_type: u16,
        /// Its number of queues.
        queues: usize,
    },
}

/// A virtio device behind its transport, which is a PCI endpoint.
pub struct VirtioPci {
    registers: Arc<Registers>,
    interrupts: Arc<Interrupts>,
    /// Offset of the configuration access capability.
    access_capability: u16,
}

impl VirtioPci {
    /// Puts `device` on the PCI transport. It works in `ram`, and interrupts through a vector for its configuration
    /// and one for each queue, all from `msi`, or through `line` (INTA) while the guest leaves MSI-X off.
    pub fn endpoint(
        device: Box<dyn VirtioDevice>,
        ram: GuestRam,
        placement: Placement,
        msi: &dyn MsiAllocator,
        line: Arc<dyn IrqLine>,
    ) -> Result<Arc<Endpoint<Self>>, VirtioPciError> {
        let queues = device.queue_sizes().len();
        let device_type = device.device_type();
        let too_large = || VirtioPciError::TooLarge { device_type, queues };
        if queues > registers::MAX_QUEUES {
            return Err(too_large());
        }
        let vectors = (0..=queues).map(|_| msi.allocate()).collect::<io::Result<_>>()?;
        let mut config = ConfigSpace::endpoint(
            Ids {
                vendor: VENDOR_ID,
                device: DEVICE_ID_BASE.wrapping_add(device_type),
                revision: 1,
                class: device.class(),
                subsystem_vendor: VENDOR_ID,
                subsystem: 0x1100,
            },
            true,
        );
        let mut interrupts = Interrupts::new(&mut config, line);
        let access_capability =
            lay_out(&mut config, &mut interrupts, vectors, placement).ok_or_else(too_large)?;
        let interrupts = Arc::new(interrupts);
        let dma = Dma::new(ram);
        let interrupt = Interrupt::new(Arc::clone(&interrupts), queues);
        let doorbells = (0..queues)
            .map(|_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        // Queues that were rung without bus mastering.
        doorbells.iter().for_each(|doorbell| dma.signal_when_changed(Arc::clone(doorbell)));
        let registers = Registers::new(device, interrupt, doorbells, dma.clone());
        let transport = Self { registers, interrupts: Arc::clone(&interrupts), access_capability };
        Ok(Endpoint::new(config, interrupts, dma, None, Arc::new(transport)))
    }

    /// Whether an access of `len` bytes at `register` touches the data register of the access capability.
    fn touches_access_data(&self, register: u16, len: usize) -> bool {
        let data = usize::from(self.access_capability) + 16;
        let register = usize::from(register);
        register < data + 4 && register + len > data
    }

    /// The BAR access that the access capability's registers describe now (4.1.4.9), if it is a valid one.
    fn described_access(&self, config: &ConfigSpace) -> Option<(&dyn BusDevice, u64, usize)> {
        let bar = config.u8(self.access_capability + 4);
        let offset = config.u32(self.access_capability + 8);
        let len = config.u32(self.access_capability + 12);
        let (device, size): (&dyn BusDevice, u64) = match (bar, self.interrupts.msix_bar()) {
            (REGISTERS_BAR, _) => (self.registers.as_ref(), registers::BAR_SIZE),
            (MSIX_BAR, Some((_, msix))) => (msix.as_ref(), msix.bar().size),
            _ => return None,
        };
        let valid = matches!(len, 1 | 2 | 4)
            && offset.is_multiple_of(len)
            && u64::from(offset) + u64::from(len) <= size;
        valid.then_some((device, u64::from(offset), len as usize))
    }

    /// Fills the data register from the BAR.
    fn access_read(&self, config: &endpoint::Registers) {
        // The BAR's own locks are taken without that of configuration space.
        let access = self.described_access(&config.lock());
        let Some((device, offset, len)) = access else { return };
        let mut data = [0; 4];
        if let Some(data) = data.get_mut(..len) {
            device.read(offset, data);
        }
        config.lock().set(self.access_capability + 16, &data);
    }

    /// Writes the data register to the BAR.
    fn access_write(&self, config: &endpoint::Registers) -> Action {
        let (access, data) = {
            let config = config.lock();
            (self.described_access(&config), config.u32(self.access_capability + 16).to_le_bytes())
        };
        match access.and_then(|(device, offset, len)| Some((device, offset, data.get(..len)?))) {
            Some((device, offset, data)) => device.write(offset, data),
            None => Action::None,
        }
    }
}

/// Adds BARs and capabilities; returns where the configuration access capability lies.
fn lay_out(
    config: &mut ConfigSpace,
    interrupts: &mut Interrupts,
    vectors: Vec<Arc<dyn MsiVector>>,
    placement: Placement,
) -> Option<u16> {
    let registers = Bar { kind: BarKind::Memory32 { prefetchable: false }, size: registers::BAR_SIZE };
    let added = config.add_bar(usize::from(REGISTERS_BAR), registers)
        && interrupts.add_msix(config, MSIX_BAR, vectors);
    if !added {
        return None;
    }
    vendor(config, cfg_type::COMMON, registers::COMMON, &[])?;
    vendor(config, cfg_type::ISR, registers::ISR, &[])?;
    vendor(config, cfg_type::DEVICE, registers::DEVICE, &[])?;
    vendor(config, cfg_type::NOTIFY, registers::NOTIFY, &registers::NOTIFY_MULTIPLIER.to_le_bytes())?;
    let access_capability = vendor(config, cfg_type::PCI, Window { offset: 0, len: 0 }, &[0; 4])?;
    config.allow_write(access_capability + 4, &[0xff]);
    config.allow_write(access_capability + 8, &[0xff; 12]);
    Express::endpoint(placement).add(config)?;
    Some(access_capability)
}

/// Appends a vendor capability (4.1.4): `struct virtio_pci_cap` and what its type adds.
fn vendor(config: &mut ConfigSpace, cfg_type: u8, window: Window, extra: &[u8]) -> Option<u16> {
    let mut body = vec![u8::try_from(16 + extra.len()).ok()?, cfg_type, REGISTERS_BAR, 0, 0, 0];
    body.extend_from_slice(&window.offset.to_le_bytes());
    body.extend_from_slice(&window.len.to_le_bytes());
    body.extend_from_slice(extra);
    config.add_capability(capability::VENDOR, &body, &[])
}

impl EndpointDevice for VirtioPci {
    fn bar_read(&self, _bar: usize, offset: u64, data: &mut [u8]) {
        self.registers.read(offset, data);
    }

    fn bar_write(&self, _bar: usize, offset: u64, data: &[u8]) -> Action {
        self.registers.write(offset, data)
    }

    fn doorbells(&self, bar: usize) -> Arc<[Doorbell]> {
        if bar == usize::from(REGISTERS_BAR) { self.registers.doorbells() } else { Arc::default() }
    }

    fn config_reading(&self, config: &endpoint::Registers, register: u16, len: usize) {
        if self.touches_access_data(register, len) {
            self.access_read(config);
        }
    }

    fn config_written(&self, config: &endpoint::Registers, register: u16, len: usize) -> Action {
        self.registers.interrupt().config_space_written();
        if self.touches_access_data(register, len) { self.access_write(config) } else { Action::None }
    }

    fn reset(&self) {
        let Self { registers, interrupts: _, access_capability: _ } = self;
        registers.reset();
    }
}
