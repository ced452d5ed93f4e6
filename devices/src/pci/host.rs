//! The two ways to configuration space: ports 0xCF8/0xCFC (PCI Local Bus 3.0, 3.2.2.3.2) and the memory-mapped ECAM
//! (PCIe 6.0, 7.2.2).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use vocabulary::Devfn;
use vocabulary::PciAddress;

use crate::bus::{Action, BusDevice};

use super::RootComplex;

/// Bit 31 of CONFIG_ADDRESS: cycles to CONFIG_DATA are configuration cycles.
const ENABLE: u32 = 1 << 31;

/// CONFIG_ADDRESS and CONFIG_DATA, eight ports from 0xCF8. The chipset's reset control register lies among them, at
/// 0xCF9, and answers byte accesses.
pub struct ConfigPorts {
    root: Arc<RootComplex>,
    reset_control: Arc<dyn BusDevice>,
    address: AtomicU32,
}

impl ConfigPorts {
    /// Ports in front of `root`; byte accesses to 0xCF9 go to `reset_control` at offset 0.
    pub fn new(root: Arc<RootComplex>, reset_control: Arc<dyn BusDevice>) -> Self {
        Self { root, reset_control, address: AtomicU32::new(0) }
    }

    /// Clears CONFIG_ADDRESS.
    pub fn reset(&self) {
        let Self { root: _, reset_control: _, address } = self;
        address.store(0, Ordering::Relaxed);
    }

    fn target(&self, offset: u64) -> Option<(PciAddress, u16)> {
        let address = self.address.load(Ordering::Relaxed);
        if address & ENABLE == 0 {
            return None;
        }
        let [register, devfn, bus, _] = address.to_le_bytes();
        let register = u16::from(register & 0xfc) + (offset & 3) as u16;
        Some((PciAddress::on(bus, Devfn::from_byte(devfn)), register))
    }
}

impl BusDevice for ConfigPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        match (offset, data.len()) {
            (0, 4) => data.copy_from_slice(&self.address.load(Ordering::Relaxed).to_le_bytes()),
            (1, 1) => self.reset_control.read(0, data),
            (4.., len) if (offset & 3) as usize + len <= 4 => {
                if let Some((bdf, register)) = self.target(offset) {
                    self.root.config_read(bdf, register, data);
                }
            }
            _ => {}
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match (offset, data) {
            (0, &[b0, b1, b2, b3]) => {
                // Bits 30:24 and 1:0 are reserved and read as zero.
                let address = u32::from_le_bytes([b0, b1, b2, b3]) & 0x80ff_fffc;
                self.address.store(address, Ordering::Relaxed);
                Action::None
            }
            (1, &[_]) => self.reset_control.write(0, data),
            (4.., _) if (offset & 3) as usize + data.len() <= 4 => match self.target(offset) {
                Some((bdf, register)) => self.root.config_write(bdf, register, data),
                None => Action::None,
            },
            _ => Action::None,
        }
    }
}

/// The memory-mapped configuration space: 1 MiB for each bus, 4 KiB for each function.
///
/// The host bridge decodes it wherever its PCIEXBAR says, and is itself a function of the root complex: hence the late
/// connection.
#[derive(Default)]
pub struct Ecam {
    root: OnceLock<std::sync::Weak<RootComplex>>,
}

impl Ecam {
    /// An ECAM that reads as ones until it is connected.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Connects it to the functions it shows. Only the first call counts.
    pub fn connect(&self, root: &Arc<RootComplex>) {
        // A second root complex does not exist; keeping the first is all that is asked.
        let _ = self.root.set(Arc::downgrade(root));
    }

    fn root(&self) -> Option<Arc<RootComplex>> {
        self.root.get()?.upgrade()
    }
}

fn ecam_target(offset: u64) -> (PciAddress, u16) {
    let bus = (offset >> 20) as u8;
    let devfn = Devfn::from_byte((offset >> 12) as u8);
    (PciAddress::on(bus, devfn), (offset & 0xfff) as u16)
}

/// Bytes from `offset` to the next dword boundary, at most `len`.
fn within_dword(offset: u64, len: usize) -> usize {
    len.min(4 - (offset & 3) as usize)
}

impl BusDevice for Ecam {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let Some(root) = self.root() else { return data.fill(0xff) };
        // Nearly all are of one register.
        if within_dword(offset, data.len()) == data.len() {
            let (bdf, register) = ecam_target(offset);
            return root.config_read(bdf, register, data);
        }
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (part, tail) = rest.split_at_mut(within_dword(at, rest.len()));
            let (bdf, register) = ecam_target(at);
            root.config_read(bdf, register, part);
            at += part.len() as u64;
            rest = tail;
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let Some(root) = self.root() else { return Action::None };
        let (mut at, mut rest, mut action) = (offset, data, Action::None);
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(within_dword(at, rest.len()));
            let (bdf, register) = ecam_target(at);
            match root.config_write(bdf, register, part) {
                Action::None => {}
                asked => action = asked,
            }
            at += part.len() as u64;
            rest = tail;
        }
        action
    }
}
