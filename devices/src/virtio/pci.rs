//! The modern PCI transport (virtio 1.2, 4.1): a PCI Express function with the vendor capabilities that lead to the
//! structures in its BAR, and MSI-X in another.
//!
//! Both BARs are 32 bits wide and not prefetchable: reading the ISR status changes it, and a bridge forwards
//! addresses above 4 GiB to prefetchable BARs only.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::GuestRam;
use crate::bus::{Action, BusDevice};
use crate::interrupt::{IrqLine, MsiAllocator};
use crate::pci::config::{command, reg, status};
use crate::pci::msix::Msix;
use crate::pci::{Bar, BarKind, ConfigSpace, Ids, PciFunction, Placement, Region, Written, capability};

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

/// A virtio device as a PCI function.
pub struct VirtioPci {
    config: Mutex<ConfigSpace>,
    registers: Arc<Registers>,
    msix: Arc<Msix>,
    interrupt: Arc<Interrupt>,
    /// Offset of the MSI-X capability.
    msix_capability: u16,
    /// Offset of the configuration access capability.
    access_capability: u16,
}

impl VirtioPci {
    /// Puts `device` on the PCI transport. It works in `ram`, and interrupts through a vector for its configuration
    /// and one for each queue, all from `msi`, or through `line` (INTA) while the guest leaves MSI-X off.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        ram: GuestRam,
        placement: Placement,
        msi: &dyn MsiAllocator,
        line: Arc<dyn IrqLine>,
    ) -> Result<Arc<Self>, VirtioPciError> {
        let queues = device.queue_sizes().len();
        let device_type = device.device_type();
        let too_large = || VirtioPciError::TooLarge { device_type, queues };
        if queues > registers::MAX_QUEUES {
            return Err(too_large());
        }
        let vectors = (0..=queues).map(|_| msi.allocate()).collect::<io::Result<_>>()?;
        let msix = Msix::new(vectors);
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
        config.set_interrupt_pin(1);
        let (msix_capability, access_capability) =
            lay_out(&mut config, &msix, placement).ok_or_else(too_large)?;
        let interrupt = Interrupt::new(Arc::clone(&msix), line, queues);
        let doorbells = (0..queues)
            .map(|_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new))
            .collect::<io::Result<_>>()?;
        let registers = Registers::new(device, Arc::clone(&interrupt), doorbells, ram);
        Ok(Arc::new(Self {
            config: Mutex::new(config),
            registers,
            msix,
            interrupt,
            msix_capability,
            access_capability,
        }))
    }

    /// Says in the header that the function's device number has other functions, without which software does not look
    /// for them. Before the guest runs.
    pub fn set_multifunction(&self) {
        self.config().set_multifunction();
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        // Bytes behind masks: every state is one that a guest could have written.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (device, size): (&dyn BusDevice, u64) = match bar {
            REGISTERS_BAR => (self.registers.as_ref(), registers::BAR_SIZE),
            MSIX_BAR => (self.msix.as_ref(), self.msix.bar().size),
            _ => return None,
        };
        let valid = matches!(len, 1 | 2 | 4)
            && offset.is_multiple_of(len)
            && u64::from(offset) + u64::from(len) <= size;
        valid.then_some((device, u64::from(offset), len as usize))
    }

    /// Fills the data register from the BAR.
    fn access_read(&self) {
        // The BAR's own locks are taken without ours.
        let access = self.described_access(&self.config());
        let Some((device, offset, len)) = access else { return };
        let mut data = [0; 4];
        if let Some(data) = data.get_mut(..len) {
            device.read(offset, data);
        }
        self.config().set(self.access_capability + 16, &data);
    }

    /// Writes the data register to the BAR.
    fn access_write(&self) -> Action {
        let (access, data) = {
            let config = self.config();
            (self.described_access(&config), config.u32(self.access_capability + 16).to_le_bytes())
        };
        match access.and_then(|(device, offset, len)| Some((device, offset, data.get(..len)?))) {
            Some((device, offset, data)) => device.write(offset, data),
            None => Action::None,
        }
    }
}

/// Adds BARs and capabilities; returns where the MSI-X and the configuration access capabilities lie.
fn lay_out(config: &mut ConfigSpace, msix: &Msix, placement: Placement) -> Option<(u16, u16)> {
    let registers = Bar { kind: BarKind::Memory32 { prefetchable: false }, size: registers::BAR_SIZE };
    let added = config.add_bar(usize::from(REGISTERS_BAR), registers)
        && config.add_bar(usize::from(MSIX_BAR), msix.bar());
    if !added {
        return None;
    }
    let msix_capability = msix.add_capability(config, MSIX_BAR)?;
    vendor(config, cfg_type::COMMON, registers::COMMON, &[])?;
    vendor(config, cfg_type::ISR, registers::ISR, &[])?;
    vendor(config, cfg_type::DEVICE, registers::DEVICE, &[])?;
    vendor(config, cfg_type::NOTIFY, registers::NOTIFY, &registers::NOTIFY_MULTIPLIER.to_le_bytes())?;
    let access_capability = vendor(config, cfg_type::PCI, Window { offset: 0, len: 0 }, &[0; 4])?;
    config.allow_write(access_capability + 4, &[0xff]);
    config.allow_write(access_capability + 8, &[0xff; 12]);
    express(config, placement)?;
    Some((msix_capability, access_capability))
}

/// Appends a vendor capability (4.1.4): `struct virtio_pci_cap` and what its type adds.
fn vendor(config: &mut ConfigSpace, cfg_type: u8, window: Window, extra: &[u8]) -> Option<u16> {
    let mut body = vec![u8::try_from(16 + extra.len()).ok()?, cfg_type, REGISTERS_BAR, 0, 0, 0];
    body.extend_from_slice(&window.offset.to_le_bytes());
    body.extend_from_slice(&window.len.to_le_bytes());
    body.extend_from_slice(extra);
    config.add_capability(capability::VENDOR, &body, &[])
}

/// Appends the PCI Express capability, version 2 (PCIe 6.0, 7.5.3).
fn express(config: &mut ConfigSpace, placement: Placement) -> Option<u16> {
    let (device_type, link) = match placement {
        Placement::RootComplexIntegrated => (9u16, false),
        Placement::Endpoint => (0, true),
    };
    let mut registers = vec![0; 58];
    let mut put = |register: usize, value: &[u8]| {
        // Offsets as in the specification, which counts the ID and next bytes.
        for (byte, value) in registers.iter_mut().skip(register - 2).zip(value) {
            *byte = *value;
        }
    };
    put(0x02, &(2 | device_type << 4).to_le_bytes());
    // Role-based error reporting, 128-byte payloads.
    put(0x04, &(1u32 << 15).to_le_bytes());
    // Relaxed ordering, no snoop, 512-byte read requests: the values out of reset.
    put(0x08, &0x2810u16.to_le_bytes());
    if link {
        // 2.5 GT/s, one lane.
        put(0x0c, &0x11u32.to_le_bytes());
        put(0x12, &0x11u16.to_le_bytes());
        put(0x2c, &(1u32 << 1).to_le_bytes());
        put(0x30, &1u16.to_le_bytes());
    }
    let at = config.add_capability(capability::EXPRESS, &registers, &[])?;
    // Error reporting, ordering, payload and read request sizes.
    config.allow_write(at + 0x08, &0x78ffu16.to_le_bytes());
    config.clear_on_one(at + 0x0a, &[0x0f]);
    if link {
        // ASPM, read completion boundary, common clock, extended synch.
        config.allow_write(at + 0x10, &0x00cbu16.to_le_bytes());
    }
    Some(at)
}

impl PciFunction for VirtioPci {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        if self.touches_access_data(register, data.len()) {
            self.access_read();
        }
        self.config().read(register, data);
        // The one bit that changes without a write: INTx pending.
        let status_byte = usize::from(reg::STATUS).wrapping_sub(usize::from(register));
        if let Some(byte) = data.get_mut(status_byte)
            && self.interrupt.intx_pending()
        {
            *byte |= status::INTERRUPT as u8;
        }
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let (command, control, decode_changed) = {
            let mut config = self.config();
            let before = config.decoded_bars();
            config.write(register, data);
            (config.command(), config.u16(self.msix_capability + 2), config.decoded_bars() != before)
        };
        let end = usize::from(register) + data.len();
        if register < self.msix_capability + 4 && end > usize::from(self.msix_capability + 2) {
            self.msix.set_control(control);
        }
        // MSI-X, too, decides whether the line may be asserted.
        self.interrupt.set_intx_disabled(command & command::INTX_DISABLE != 0);
        let action =
            if self.touches_access_data(register, data.len()) { self.access_write() } else { Action::None };
        Written { action, decode_changed, ..Written::default() }
    }

    fn regions(&self) -> Vec<Region> {
        let config = self.config();
        let registers = Arc::clone(&self.registers) as Arc<dyn BusDevice>;
        let msix = Arc::clone(&self.msix) as Arc<dyn BusDevice>;
        let bars = [(REGISTERS_BAR, registers, self.registers.doorbells()), (MSIX_BAR, msix, Arc::default())];
        bars.into_iter()
            .filter_map(|(bar, device, doorbells)| {
                let (space, range) = config.decoded_bar(usize::from(bar))?;
                Some(Region::new(space, range, device).with_doorbells(doorbells))
            })
            .collect()
    }

    fn reset(&self) {
        let Self { config, registers, msix, interrupt, msix_capability: _, access_capability: _ } = self;
        registers.reset();
        msix.reset();
        interrupt.set_intx_disabled(false);
        config.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }
}
