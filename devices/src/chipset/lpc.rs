//! The LPC interface bridge, 00:1f.0 (ICH9 datasheet, chapter 13). It says where the power management ports and the
//! root complex registers lie and how the PCI interrupts reach the 8259s; the devices behind the LPC bus have fixed
//! ports and are put on the bus without it.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vocabulary::AddressRange;
use vocabulary::memory::ROOT_COMPLEX;
use vocabulary::pm;

use super::VENDOR;
use super::pm::PowerManagement;
use super::rcrb::RootComplexRegisters;
use crate::interrupt::PirqRouter;
use crate::pci::config::reg;
use crate::pci::{ConfigSpace, Ids, PciFunction, Region, Space, Written};

/// "LPC Interface Controller" of the ICH9.
const DEVICE: u16 = 0x2918;

/// ACPI Base Address: bits 15:7, bit 0 says I/O.
const PMBASE: u16 = 0x40;
/// ACPI Control.
const ACPI_CNTL: u16 = 0x44;
/// The power management ports are decoded.
const ACPI_EN: u8 = 1 << 7;
/// PIRQ[A–D] Routing Control.
const PIRQA_ROUT: u16 = 0x60;
/// Serial IRQ Control.
const SIRQ_CNTL: u16 = 0x64;
/// PIRQ[E–H] Routing Control.
const PIRQE_ROUT: u16 = 0x68;
/// Bit 7 of a routing register: the PIRQ does not reach the 8259s.
const IRQEN: u8 = 1 << 7;
/// LPC I/O Decode Ranges up to the generic decode ranges.
const LPC_IO_DEC: u16 = 0x80;
/// General Power Management Configuration 1.
const GEN_PMCON_1: u16 = 0xa0;
/// Root Complex Base Address: bits 31:14, bit 0 enables.
const RCBA: u16 = 0xf0;

/// Which board the bridge says that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// None: the subsystem is the chip's own.
    Unnamed,
    /// A virtual machine's, 1af4:1100. Intel's graphics driver for Linux derives the display half of the PCH from the bridge at
    /// 00:1f.0; only with this subsystem it goes by the GPU instead (`intel_is_virt_pch`).
    VirtualMachine,
}

impl Board {
    /// Subsystem vendor ID and subsystem ID.
    fn subsystem(self) -> (u16, u16) {
        match self {
            Self::Unnamed => (VENDOR, DEVICE),
            Self::VirtualMachine => (0x1af4, 0x1100),
        }
    }
}

/// The LPC bridge.
pub struct Lpc {
    config: Mutex<ConfigSpace>,
    pm: Arc<PowerManagement>,
    rcrb: Arc<RootComplexRegisters>,
    pirqs: Arc<dyn PirqRouter>,
}

impl Lpc {
    /// A bridge on `board` that shows `pm` where PMBASE says and keeps `pirqs` informed, beginning now with all PIRQs disabled.
    pub fn new(pm: Arc<PowerManagement>, pirqs: Arc<dyn PirqRouter>, board: Board) -> Arc<Self> {
        let (subsystem_vendor, subsystem) = board.subsystem();
        let mut config = ConfigSpace::endpoint(
            Ids {
                vendor: VENDOR,
                device: DEVICE,
                revision: 2,
                class: 0x06_01_00,
                subsystem_vendor,
                subsystem,
            },
            false,
        );
        // Other functions of device 31 exist or may come; firmware looks for them only if told so.
        config.set_multifunction();
        // I/O, memory and bus master are wired on; DEVSEL# timing is medium.
        config.preset(reg::COMMAND, &[0x07, 0x00]);
        config.preset(reg::STATUS, &[0x00, 0x02]);
        config.preset(PMBASE, &[0x01]);
        config.allow_write(PMBASE, &[0x80, 0xff]);
        // SCI_IRQ_SEL stays 0: the SCI is wired to interrupt 9.
        config.allow_write(ACPI_CNTL, &[ACPI_EN]);
        for register in [PIRQA_ROUT, PIRQE_ROUT] {
            config.preset(register, &[IRQEN; 4]);
            config.allow_write(register, &[IRQEN | 0xf; 4]);
        }
        config.preset(SIRQ_CNTL, &[0x10]);
        config.allow_write(SIRQ_CNTL, &[0xff]);
        config.allow_write(LPC_IO_DEC, &[0xff; 0x14]);
        config.allow_write(GEN_PMCON_1, &[0xff; 2]);
        config.allow_write(RCBA, &0xffff_c001u32.to_le_bytes());

        let lpc = Self { config: Mutex::new(config), pm, rcrb: Arc::default(), pirqs };
        lpc.route_all(&lpc.lock());
        Arc::new(lpc)
    }

    fn lock(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route_all(&self, config: &ConfigSpace) {
        for (index, irq) in routes(config).into_iter().enumerate() {
            self.pirqs.route(index, irq);
        }
    }
}

/// Where the power management ports and the root complex registers are decoded.
fn decoded(config: &ConfigSpace) -> (Option<AddressRange>, Option<AddressRange>) {
    let pmbase = u64::from(config.u16(PMBASE) & 0xff80);
    // Base 0 is "not yet assigned", not a wish to hide the DMA controller.
    let pm_on = config.u8(ACPI_CNTL) & ACPI_EN != 0 && pmbase != 0;
    let rcba = config.u32(RCBA);
    let rcrb_on = rcba & 1 != 0;
    (
        if pm_on { AddressRange::new(pmbase, pm::COUNT.into()) } else { None },
        if rcrb_on { AddressRange::new(u64::from(rcba & !0x3fff), ROOT_COMPLEX.len()) } else { None },
    )
}

/// The 8259 inputs of PIRQ A–H.
fn routes(config: &ConfigSpace) -> [Option<u8>; 8] {
    let mut registers = [0; 8];
    let (low, high) = registers.split_at_mut(4);
    config.read(PIRQA_ROUT, low);
    config.read(PIRQE_ROUT, high);
    registers.map(irq_of)
}

/// The 8259 input that a PIRQx_ROUT value chooses. Values 0–2, 8 and 13 are reserved and reach nothing.
fn irq_of(rout: u8) -> Option<u8> {
    let irq = rout & 0xf;
    (rout & IRQEN == 0 && !matches!(irq, 0..=2 | 8 | 13)).then_some(irq)
}

impl PciFunction for Lpc {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.lock().read(register, data);
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        // The lock is held until the router knows, so that routes cannot arrive in another order than their writes.
        let mut config = self.lock();
        let (old_decoded, old_routes) = (decoded(&config), routes(&config));
        config.write(register, data);
        for (index, (new, old)) in routes(&config).into_iter().zip(old_routes).enumerate() {
            if new != old {
                self.pirqs.route(index, new);
            }
        }
        Written { decode_changed: decoded(&config) != old_decoded, ..Written::default() }
    }

    fn regions(&self) -> Vec<Region> {
        let (pm, rcrb) = decoded(&self.lock());
        let pm = pm.map(|range| Region::new(Space::Io, range, Arc::clone(&self.pm) as _));
        let rcrb = rcrb.map(|range| Region::new(Space::Memory, range, Arc::clone(&self.rcrb) as _));
        pm.into_iter().chain(rcrb).map(Region::of_platform).collect()
    }

    /// Resets the power management registers too.
    fn reset(&self) {
        let Self { config, pm, rcrb: _, pirqs: _ } = self;
        let mut config = config.lock().unwrap_or_else(PoisonError::into_inner);
        config.reset();
        pm.reset();
        self.route_all(&config);
    }
}
