//! Interrupts of a passed-through function, all by events between the host's kernel and KVM: no thread of ours is on the
//! way (Linux include/uapi/linux/vfio.h, `VFIO_DEVICE_SET_IRQS`; PCIe 6.0, 6.1.4).
//!
//! The host lets a device have one kind of interrupt at a time. Which one follows from the guest's registers: MSI-X if
//! it is enabled, else MSI, else INTx. What the guest masks is masked in KVM, where it costs little, and not in the host.
//!
//! The Command register's Interrupt Disable bit needs nothing here: the host acts on it when the guest's write reaches
//! the device, masks the line, and unmasks it when the bit is cleared.

mod error;
mod host_calls;
mod intx;
mod msi;
mod msix;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::interrupt::{MsiAllocator, ResampledLine};

use super::host::{HostDevice, irq};
use host_calls::HostCalls;
use intx::Intx;
use msi::Msi;
use msix::Msix;

pub use error::IntxError;
pub use msi::MsiRegisters;

/// The kind of interrupt that the host has on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Intx,
    Msi,
    Msix,
}

/// The interrupts of one function. They are off until [`Interrupts::start`].
///
/// Failures of the host while the guest runs are logged, the first of a kind as a warning; the guest then misses the
/// interrupts concerned.
pub struct Interrupts {
    host: Arc<HostCalls>,
    intx: Option<Intx>,
    msi: Msi,
    msix: Msix,
    mode: Mode,
    /// The mode follows the guest's registers: not before the start, nor during a reset.
    live: bool,
}

impl Interrupts {
    /// The interrupts of `device`, with INTx on `line` if it has a pin. Vectors are allocated when the guest first uses
    /// them.
    pub fn new(
        device: Arc<dyn HostDevice>,
        line: Option<Arc<dyn ResampledLine>>,
        allocator: Arc<dyn MsiAllocator>,
    ) -> Self {
        let [intx, msi, msix] = [irq::INTX, irq::MSI, irq::MSIX].map(|index| device.irq(index));
        let host = HostCalls::new(device);
        Self {
            intx: line.filter(|_| intx.count > 0).map(|line| Intx::new(Arc::clone(&host), line)),
            msix: Msix::new(Arc::clone(&host), &allocator, msix),
            msi: Msi::new(Arc::clone(&host), allocator, msi.count),
            mode: Mode::Off,
            live: false,
            host,
        }
    }

    /// Whether the function can interrupt by INTx. It cannot without a pin, and not after [`Interrupts::start`] has found
    /// that the host will not have it: the guest should then see no pin.
    pub fn has_intx(&self) -> bool {
        self.intx.is_some()
    }

    /// Turns on what the registers ask for: INTx, at power-on.
    ///
    /// A function that has MSI or MSI-X as well goes on without INTx, with a warning, if the host refuses it.
    pub fn start(&mut self) -> Result<(), IntxError> {
        self.live = true;
        if self.wanted() != Mode::Intx {
            self.follow_registers();
            return Ok(());
        }
        let result = self.intx.as_ref().map_or(Ok(()), Intx::start);
        match result {
            Ok(()) => self.mode = Mode::Intx,
            Err(error) => {
                self.intx = None;
                if !self.msi.exists() && !self.msix.exists() {
                    return Err(error);
                }
                tracing::warn!("{error}. The guest can use the device by MSI only");
            }
        }
        Ok(())
    }

    /// Takes over the MSI capability after the guest has written it. The write itself is the caller's to pass on to the
    /// device, before this: some devices look at MSI Enable there.
    pub fn set_msi(&mut self, registers: MsiRegisters) {
        let resized = self.msi.set_registers(registers);
        if self.mode == Mode::Msi {
            if resized {
                self.stop_mode();
            } else if registers.enabled {
                self.msi.update();
            }
        }
        self.follow_registers();
    }

    /// Takes over Message Control of the MSI-X capability (offset 2) after the guest has written it.
    pub fn set_msix_control(&mut self, control: u16) {
        self.msix.set_control(control);
        self.follow_registers();
    }

    /// Bytes of the MSI-X vector table; 0 without MSI-X.
    pub fn table_size(&self) -> u64 {
        self.msix.table().size() as u64
    }

    /// Bytes of the MSI-X pending bit array; 0 without MSI-X.
    pub fn pba_size(&self) -> u64 {
        self.msix.table().pending_size() as u64
    }

    /// Reads the MSI-X vector table from byte `offset` on. Bytes behind it read as 0xff.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        self.msix.table().read(offset, data);
    }

    /// Writes the MSI-X vector table from byte `offset` on. Bytes behind it are dropped.
    pub fn write_table(&mut self, offset: u64, data: &[u8]) {
        self.msix.write_table(offset, data);
    }

    /// Reads the MSI-X pending bits from byte `offset` of their array on. Bytes behind it read as 0xff.
    pub fn read_pba(&self, offset: u64, data: &mut [u8]) {
        self.msix.table().read_pending(offset, data);
    }

    /// Before the device is reset: turns everything off, forgets what was pending and puts the registers in their
    /// power-on state. Until [`Interrupts::after_reset`] the host is left alone, whatever the guest writes.
    pub fn before_reset(&mut self) {
        self.live = false;
        self.stop_mode();
        self.msi.set_registers(MsiRegisters::default());
        self.msix.reset();
    }

    /// After the device's reset: turns on what the registers ask for, INTx if the guest has not written them since.
    pub fn after_reset(&mut self) {
        self.live = true;
        self.follow_registers();
    }

    /// How often the host was asked to change the device's interrupts. The host frees and requests interrupts of its own
    /// for most of these calls.
    pub fn host_calls(&self) -> u64 {
        self.host.count()
    }

    /// What the registers ask for.
    fn wanted(&self) -> Mode {
        if self.msix.enabled() {
            Mode::Msix
        } else if self.msi.enabled() {
            Mode::Msi
        } else if self.intx.is_some() {
            Mode::Intx
        } else {
            Mode::Off
        }
    }

    /// Makes the mode what the registers ask for. What the host refuses is tried again at the next write of a register.
    fn follow_registers(&mut self) {
        let wanted = self.wanted();
        if !self.live || wanted == self.mode {
            return;
        }
        self.stop_mode();
        let started = match wanted {
            Mode::Off => true,
            Mode::Intx => match self.intx.as_ref().map_or(Ok(()), Intx::start) {
                Ok(()) => true,
                Err(error) => {
                    crate::limited_warn!("{error}");
                    false
                }
            },
            Mode::Msi => self.msi.start(),
            Mode::Msix => self.msix.start(),
        };
        if started {
            self.mode = wanted;
        }
    }

    fn stop_mode(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Off) {
            Mode::Off => {}
            Mode::Intx => {
                if let Some(intx) = &self.intx {
                    intx.stop();
                }
            }
            Mode::Msi => self.msi.stop(),
            Mode::Msix => self.msix.stop(),
        }
    }
}
