//! The registers of the controller, and its interrupt condition (AHCI 1.3.1, 3.1 and 10.7).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pci::dma::Dma;
use crate::pci::interrupts::Interrupts;

use super::device::{AtaDevice, Reset};
use super::port::Port;
use super::registers::{AE, CAPABILITIES, HR, IE, PORT_BASE, PORT_SIZE, PORTS, VERSION, global};

/// What ports have to interrupt for.
#[derive(Default)]
struct Causes {
    /// GHC.IE.
    enabled: bool,
    /// IS: a bit for each port.
    ports: u32,
}

/// Turns causes into the condition of the function.
pub(super) struct Signals {
    interrupts: Arc<Interrupts>,
    causes: Mutex<Causes>,
}

impl Signals {
    fn change(&self, change: impl FnOnce(&mut Causes)) {
        let mut causes = self.lock();
        change(&mut causes);
        // Under the lock, so that conditions arrive in their order.
        self.interrupts.set_condition(causes.enabled && causes.ports != 0);
    }

    fn lock(&self) -> MutexGuard<'_, Causes> {
        // Bits: any combination is possible.
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over whether a port has a cause that it may interrupt for. To be called under the port's lock.
    pub(super) fn set_port(&self, index: usize, pending: bool) {
        self.change(|causes| {
            let bit = 1 << index;
            causes.ports = if pending { causes.ports | bit } else { causes.ports & !bit };
        });
    }
}

/// The controller without its place on the bus.
pub(super) struct Hba {
    signals: Arc<Signals>,
    ports: [Option<Arc<Port>>; PORTS],
}

impl Hba {
    pub(super) fn new(
        devices: &[Option<Box<dyn AtaDevice>>],
        dma: Dma,
        interrupts: Arc<Interrupts>,
    ) -> io::Result<Arc<Self>> {
        let signals = Arc::new(Signals { interrupts, causes: Mutex::default() });
        let mut ports = [const { None }; PORTS];
        for (index, (port, device)) in ports.iter_mut().zip(devices).enumerate() {
            if let Some(device) = device {
                *port = Some(Port::new(index, &**device, dma.clone(), Arc::clone(&signals))?);
            }
        }
        Ok(Arc::new(Self { signals, ports }))
    }

    /// A port that has a device.
    pub(super) fn port(&self, index: usize) -> Option<&Arc<Port>> {
        self.ports.get(index)?.as_ref()
    }

    /// The port whose registers are at `offset`, and which of them.
    fn port_at(&self, offset: u64) -> Option<(&Arc<Port>, u64)> {
        let at = offset.checked_sub(PORT_BASE)?;
        let index = usize::try_from(at / PORT_SIZE).ok()?;
        Some((self.port(index)?, at % PORT_SIZE))
    }

    /// The dword at `offset`, a multiple of 4. What there is not reads as 0.
    fn dword(&self, offset: u64) -> u32 {
        if let Some((port, register)) = self.port_at(offset) {
            return port.read(register);
        }
        match offset {
            global::CAP => CAPABILITIES,
            global::GHC => AE | if self.signals.lock().enabled { IE } else { 0 },
            global::IS => self.signals.lock().ports,
            global::PI => {
                let bits = self.ports.iter().zip(0..).filter(|(port, _)| port.is_some());
                bits.fold(0, |bits, (_, index)| bits | 1 << index)
            }
            global::VS => VERSION,
            _ => 0,
        }
    }

    /// Reads any bytes of the registers.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let skip = (at % 4) as usize;
            let bytes = self.dword(at - at % 4).to_le_bytes();
            let there = bytes.get(skip..).unwrap_or_default();
            let (now, later) = rest.split_at_mut(there.len().min(rest.len()));
            for (byte, value) in now.iter_mut().zip(there) {
                *byte = *value;
            }
            at += now.len() as u64;
            rest = later;
        }
    }

    /// Writes dwords. Smaller writes have no effect (AHCI 1.3.1, 3: registers are to be written as a whole).
    pub(super) fn write(&self, offset: u64, data: &[u8]) {
        let (dwords, rest) = data.as_chunks::<4>();
        if !offset.is_multiple_of(4) || !rest.is_empty() {
            return;
        }
        for (at, value) in (offset..).step_by(4).zip(dwords) {
            self.write_dword(at, u32::from_le_bytes(*value));
        }
    }

    fn write_dword(&self, offset: u64, value: u32) {
        if let Some((port, register)) = self.port_at(offset) {
            port.write(register, value);
            return;
        }
        // IS follows the ports: what is still pending there would be set again at once.
        if offset == global::GHC {
            if value & HR != 0 {
                self.reset(Reset::Bus);
            } else {
                self.signals.change(|causes| causes.enabled = value & IE != 0);
            }
        }
    }

    fn reset(&self, kind: Reset) {
        for port in self.ports.iter().flatten() {
            port.reset(kind);
        }
        for port in self.ports.iter().flatten() {
            port.settle();
        }
        self.signals.change(|causes| causes.enabled = false);
    }

    /// The machine's reset.
    pub(super) fn power_on(&self) {
        self.reset(Reset::PowerOn);
    }
}
