//! An emulated PCI endpoint: configuration space, BARs, power states, interrupts and DMA, all but what makes a disk or a
//! controller of it, which is an [`EndpointDevice`].
//!
//! How one is made: lay out a [`ConfigSpace`] with its BARs, [`Interrupts`] and capabilities ([`Express`],
//! [`PowerManagement`]) in the order in which guests are to find them; give the device its [`Interrupts`] and [`Dma`]; and
//! put it behind the registers with [`Endpoint::new`].
//!
//! [`Express`]: super::express::Express

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vocabulary::AddressRange;

use crate::bus::{Action, BusDevice};

use super::config::command;
use super::dma::Dma;
use super::interrupts::Interrupts;
use super::power::{PowerManagement, PowerState};
use super::{BarState, ConfigSpace, Doorbell, PciFunction, Region, Space, Written};

/// The configuration space of an endpoint, as its device reaches it.
pub struct Registers(Mutex<ConfigSpace>);

impl Registers {
    /// For a few reads or changes: whatever else the function does waits.
    pub fn lock(&self) -> MutexGuard<'_, ConfigSpace> {
        // Bytes behind masks: every state is one that a guest could have written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an endpoint does.
pub trait EndpointDevice: Send + Sync + 'static {
    /// Reads BAR `bar` (0–5).
    fn bar_read(&self, bar: usize, offset: u64, data: &mut [u8]);
    /// Writes BAR `bar` (0–5).
    fn bar_write(&self, bar: usize, offset: u64, data: &[u8]) -> Action;
    /// Writes to BAR `bar` that the kernel turns into events.
    fn doorbells(&self, bar: usize) -> Arc<[Doorbell]> {
        let _ = bar;
        Arc::default()
    }
    /// Before the guest reads `len` bytes of configuration space at `register`: for registers that change by themselves.
    fn config_reading(&self, registers: &Registers, register: u16, len: usize) {
        let _ = (registers, register, len);
    }
    /// After the guest has written `len` bytes of configuration space at `register`.
    fn config_written(&self, registers: &Registers, register: u16, len: usize) -> Action {
        let _ = (registers, register, len);
        Action::None
    }
    /// Stops all work, so that no guest memory is touched after it returns, and goes to the power-on state.
    fn reset(&self);
}

/// A BAR of the device's.
struct Bar<D> {
    index: usize,
    device: Arc<D>,
    interrupts: Arc<Interrupts>,
}

impl<D: EndpointDevice> BusDevice for Bar<D> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.device.bar_read(self.index, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let action = self.device.bar_write(self.index, offset, data);
        self.interrupts.register_written();
        action
    }
}

/// What a function decodes, by BAR.
type Decoded = [Option<(Space, AddressRange)>; 6];

/// An emulated function of a PCI device.
pub struct Endpoint<D> {
    registers: Registers,
    /// Who answers behind each BAR.
    bars: Vec<(usize, Arc<dyn BusDevice>)>,
    interrupts: Arc<Interrupts>,
    dma: Dma,
    power: Option<PowerManagement>,
    device: Arc<D>,
}

impl<D: EndpointDevice> Endpoint<D> {
    /// Puts `device` behind `config`, out of reset. All BARs are the device's, but for that of MSI-X.
    pub fn new(
        config: ConfigSpace,
        interrupts: Arc<Interrupts>,
        dma: Dma,
        power: Option<PowerManagement>,
        device: Arc<D>,
    ) -> Arc<Self> {
        let bars = config
            .bars()
            .map(|(index, _)| {
                let answers: Arc<dyn BusDevice> = match interrupts.msix_bar() {
                    Some((bar, msix)) if usize::from(bar) == index => Arc::clone(msix) as _,
                    _ => Arc::new(Bar {
                        index,
                        device: Arc::clone(&device),
                        interrupts: Arc::clone(&interrupts),
                    }),
                };
                (index, answers)
            })
            .collect();
        Arc::new(Self { registers: Registers(Mutex::new(config)), bars, interrupts, dma, power, device })
    }

    /// What it does.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Says in the header that the function's device number has other functions, without which software does not look
    /// for them. Before the guest runs.
    pub fn set_multifunction(&self) {
        self.registers.lock().set_multifunction();
    }

    fn power_state(&self, config: &ConfigSpace) -> PowerState {
        self.power.map_or(PowerState::D0, |power| power.state(config))
    }

    fn decoded(&self, config: &ConfigSpace) -> Decoded {
        match self.power_state(config) {
            PowerState::D0 => config.decoded_bars(),
            PowerState::D3hot => Decoded::default(),
        }
    }

    /// Whether the function may start transactions.
    fn is_bus_master(&self, config: &ConfigSpace) -> bool {
        config.command() & command::BUS_MASTER != 0 && self.power_state(config) == PowerState::D0
    }

    /// Has DMA and interrupts follow the registers. Their lock is not held while transfers under way come to their end.
    fn follow(&self) {
        let bus_master = self.is_bus_master(&self.registers.lock());
        self.dma.set_enabled(bus_master);
        let config = self.registers.lock();
        self.interrupts.follow(&config, self.power_state(&config) == PowerState::D0, bus_master);
    }
}

impl<D: EndpointDevice> PciFunction for Endpoint<D> {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.device.config_reading(&self.registers, register, data.len());
        self.registers.lock().read(register, data);
        self.interrupts.overlay(register, data);
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let (decode_changed, wakes_reset) = {
            let mut config = self.registers.lock();
            let (decoded, state) = (self.decoded(&config), self.power_state(&config));
            config.write(register, data);
            let wakes_reset = self.power.is_some_and(|power| power.written(&mut config, state));
            (self.decoded(&config) != decoded, wakes_reset)
        };
        if wakes_reset {
            // In D3hot nothing was decoded, and now nothing is again.
            self.reset();
            return Written::default();
        }
        self.follow();
        let action = self.device.config_written(&self.registers, register, data.len());
        Written { action, decode_changed, ..Written::default() }
    }

    fn regions(&self) -> Vec<Region> {
        let decoded = self.decoded(&self.registers.lock());
        let answers = |index| self.bars.iter().find(|(bar, _)| *bar == index).map(|(_, bar)| Arc::clone(bar));
        decoded
            .into_iter()
            .enumerate()
            .filter_map(|(index, decoded)| {
                let ((space, range), bar) = (decoded?, answers(index)?);
                Some(Region::new(space, range, bar).with_doorbells(self.device.doorbells(index)))
            })
            .collect()
    }

    fn bars(&self) -> Vec<BarState> {
        let config = self.registers.lock();
        let decoded = self.decoded(&config);
        let range = |index: usize| decoded.get(index).copied().flatten().map(|(_, range)| range);
        config.bars().map(|(index, bar)| BarState { index, bar, decoded: range(index) }).collect()
    }

    fn reset(&self) {
        let Self { registers, bars: _, interrupts, dma, power: _, device } = self;
        // The device stops its work, and so nothing is under way that would have to be waited for.
        device.reset();
        dma.set_enabled(false);
        interrupts.reset();
        registers.lock().reset();
    }
}
