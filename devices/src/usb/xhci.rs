//! A USB host controller (eXtensible Host Controller Interface for Universal Serial Bus 1.1, with the version 1.0 in its registers), with devices at its
//! root ports.
//!
//! | module | what it is |
//! |---|---|
//! | `registers` | what the driver reads and writes |
//! | `port`, `plug` | root ports, and devices that come and go |
//! | `ring`, `trb`, `td` | what the driver wants: commands and transfers |
//! | `events` | what it is told, and when it is interrupted |
//! | `context` | devices and endpoints as guest memory describes them |
//! | `commands`, `slots` | what is done for it |
//!
//! Devices come and go while the controller runs ([`Xhci::plug`], [`Xhci::unplug`]). What the driver still wants of one that is gone ends with a USB
//! Transaction Error, until the driver disables its slot.
//!
//! There is one interrupter, contexts of 32 bytes, no hub, no streams and no scratchpad. Transfers are made when a doorbell rings or when a device has
//! something, in the thread that brings it: nothing is polled. Isochronous transfers fail. A transfer that a device leaves open is looked at again
//! when the device says so; stopping an endpoint, resetting a port or the controller, and halting it withdraw it at once.
//!
//! What a driver puts into memory is bounded: links in a row, TRBs of a transfer, transfers that are made in one go. A ring beyond that has an error.

mod commands;
mod context;
mod events;
mod plug;
mod port;
mod registers;
mod ring;
mod slots;
mod td;
#[cfg(test)]
mod tests;
mod trb;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::GuestRam;
use crate::bus::Action;
use crate::interrupt::{IrqLine, MsiAllocator};
use crate::pci::dma::Dma;
use crate::pci::endpoint::{self, Endpoint, EndpointDevice};
use crate::pci::express::Express;
use crate::pci::interrupts::Interrupts;
use crate::pci::power::{AfterD3, PowerManagement};
use crate::pci::{Bar, BarKind, ConfigSpace, Ids, Placement};

use super::device::UsbDevice;

use events::Events;
use port::{Port, Protocol};
use ring::Ring;
use slots::Slot;
use trb::{Code, Trb, kind};

/// PCI IDs: those of QEMU's controller, which drivers know without quirks.
const PCI_VENDOR: u16 = 0x1b36;
const PCI_DEVICE: u16 = 0x000d;
const SUBSYSTEM_VENDOR: u16 = 0x1af4;
const SUBSYSTEM: u16 = 0x1100;
/// USB controller, xHCI.
const CLASS: u32 = 0x0c_0330;
/// SBRN: USB 3.0; FLADJ: no adjustment. Both have a fixed place (5.2.3 and 5.2.4).
const BUS_REGISTERS: u16 = 0x60;
const BUS_REVISION: [u8; 2] = [0x30, 0x20];

const REGISTERS_BAR: u8 = 0;
const MSIX_BAR: u8 = 4;

/// Root ports of USB 3, which come first, and of USB 2.
pub const USB3_PORTS: usize = 4;
/// See [`USB3_PORTS`].
pub const USB2_PORTS: usize = 8;
const PORTS: usize = USB3_PORTS + USB2_PORTS;
/// Devices that a driver can address at a time.
const SLOTS: usize = 32;

/// Why a controller could not be made.
#[derive(Debug, thiserror::Error)]
pub enum XhciError {
    /// No vector.
    #[error("cannot allocate the interrupt of a USB controller: {0}")]
    Allocate(#[from] std::io::Error),
    /// The configuration space has no room.
    #[error("a USB controller does not fit its configuration space")]
    TooLarge,
    /// More devices than ports.
    #[error("the USB controller has no port left for another device of this speed")]
    NoPort,
}

/// A USB host controller.
pub struct Xhci {
    state: Mutex<State>,
    /// For devices' way up.
    me: Weak<Self>,
}

/// What the controller does and has been told.
struct State {
    dma: Dma,
    interrupts: Arc<Interrupts>,
    /// USBCMD: the bits that last.
    command: u32,
    /// USBSTS: those that the driver clears, and the error that only a reset clears.
    status: u32,
    /// DNCTRL, CONFIG.
    notifications: u32,
    config: u32,
    /// DCBAAP.
    contexts: u64,
    commands: Ring,
    commands_running: bool,
    /// Commands were left for later, since events waited.
    commands_rung: bool,
    events: Events,
    ports: Vec<Port>,
    /// Devices that have been plugged in so far.
    arrivals: u64,
    /// By slot ID; 0 is none.
    slots: Vec<Option<Slot>>,
    /// When MFINDEX was 0.
    started: Instant,
}

impl Xhci {
    /// A controller with these devices, each at the first free port of its speed. It works in `ram`, and interrupts through a vector from the allocator, or
    /// through the line (INTA) while the guest leaves MSI-X off.
    ///
    /// # Errors
    /// The host has no vector for it, or there are more devices than ports.
    pub fn endpoint(
        devices: Vec<Arc<dyn UsbDevice>>,
        ram: GuestRam,
        place: (Placement, &dyn MsiAllocator, Arc<dyn IrqLine>),
    ) -> Result<Arc<Endpoint<Self>>, XhciError> {
        let (placement, msi, line) = place;
        let ids = Ids {
            vendor: PCI_VENDOR,
            device: PCI_DEVICE,
            revision: 1,
            class: CLASS,
            subsystem_vendor: SUBSYSTEM_VENDOR,
            subsystem: SUBSYSTEM,
        };
        let vectors = vec![msi.allocate()?];
        let mut config = ConfigSpace::endpoint(ids, true);
        config.preset(BUS_REGISTERS, &BUS_REVISION);
        let mut interrupts = Interrupts::new(&mut config, line);
        let registers = Bar { kind: BarKind::Memory64 { prefetchable: false }, size: registers::SIZE };
        let power = (config.add_bar(usize::from(REGISTERS_BAR), registers)
            && interrupts.add_msix(&mut config, MSIX_BAR, vectors))
        .then(|| PowerManagement::add(&mut config, AfterD3::Kept))
        .flatten();
        config.skip_to(BUS_REGISTERS + 0x10);
        if power.is_none() || Express::endpoint(placement).add(&mut config).is_none() {
            return Err(XhciError::TooLarge);
        }
        let (interrupts, dma) = (Arc::new(interrupts), Dma::new(ram));
        let state = State::new(dma.clone(), Arc::clone(&interrupts));
        let controller = Arc::new_cyclic(|me| Self { state: Mutex::new(state), me: Weak::clone(me) });
        for device in devices {
            controller.plug(device)?;
        }
        // A driver finds what there is as it does after a reset.
        controller.lock().restart();
        Ok(Endpoint::new(config, interrupts, dma, power, controller))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking holder left is a state that the driver can reset.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(dma: Dma, interrupts: Arc<Interrupts>) -> Self {
        let ports = [(Protocol::Usb3, USB3_PORTS), (Protocol::Usb2, USB2_PORTS)];
        let ports =
            ports.into_iter().flat_map(|(protocol, count)| (0..count).map(move |_| Port::new(protocol)));
        Self {
            dma,
            interrupts,
            command: 0,
            status: 0,
            notifications: 0,
            config: 0,
            contexts: 0,
            commands: Ring::default(),
            commands_running: false,
            commands_rung: false,
            events: Events::default(),
            ports: ports.collect(),
            arrivals: 0,
            slots: (0..=SLOTS).map(|_| None).collect(),
            started: Instant::now(),
        }
    }

    /// The state after a reset. Nothing of before is under way.
    fn restart(&mut self) {
        (1..=SLOTS).for_each(|slot| self.free_slot(slot));
        let Self {
            dma: _,
            interrupts: _,
            command,
            status,
            notifications,
            config,
            contexts,
            commands,
            commands_running,
            commands_rung,
            events,
            ports,
            arrivals: _,
            slots: _,
            started: _,
        } = self;
        (*command, *status, *notifications, *config, *contexts) = (0, 0, 0, 0, 0);
        (*commands, *commands_running, *commands_rung) = (Ring::default(), false, false);
        *events = Events::default();
        ports.iter_mut().for_each(Port::restart);
    }

    fn is_running(&self) -> bool {
        self.command & registers::command::RUN != 0
    }

    /// The driver starts the controller.
    fn run(&mut self) {
        if self.status & registers::status::ERROR != 0 {
            return;
        }
        self.command |= registers::command::RUN;
        self.started = Instant::now();
        self.tell_bus();
        for port in 0..PORTS {
            if self.ports.get(port).is_some_and(Port::has_changed) {
                self.tell_port(port);
            }
        }
        self.run_all();
    }

    /// The driver stops it. What devices have left open stays with them.
    fn halt(&mut self) {
        self.command &= !registers::command::RUN;
        self.commands_running = false;
        self.tell_bus();
    }

    /// Something is so wrong that only a reset helps.
    fn fail(&mut self, what: &str) {
        crate::limited_warn!("the USB controller stops: the guest's driver has given it {what}");
        self.status |= registers::status::ERROR;
        self.halt();
    }

    /// Tells devices what happens on their buses.
    fn tell_bus(&self) {
        let running = self.is_running();
        for port in &self.ports {
            if let Some(device) = port.device() {
                device.set_bus(port.bus(running));
            }
        }
    }

    /// Tells the driver that a port has changed.
    fn tell_port(&mut self, port: usize) {
        self.status |= registers::status::PORT_CHANGED;
        if self.is_running() {
            let number = (port as u64 + 1) << 24;
            self.events.push_hint(Trb::event(kind::PORT_STATUS_CHANGE, number, Code::Success, 0, 0));
        }
    }

    /// Writes events as far as there is room, and interrupts.
    fn settle(&mut self) {
        self.events.flush(&self.dma);
        if self.events.has_failed() && self.status & registers::status::ERROR == 0 {
            self.fail("no event ring");
        }
        if self.events.raise() {
            self.status |= registers::status::EVENT;
        }
        let enabled = self.events.enabled && self.command & registers::command::INTERRUPTS != 0;
        if self.events.pending && enabled && self.interrupts.messages_enabled() {
            // With messages, sending one acknowledges it (4.17.5).
            self.events.pending = false;
            self.interrupts.trigger(0);
        }
        self.interrupts.set_condition(self.events.pending && enabled);
    }

    /// Goes on with everything that may have waited.
    fn run_all(&mut self) {
        if !self.is_running() {
            return;
        }
        if self.commands_rung {
            self.run_commands();
        }
        for slot in 1..=SLOTS {
            for endpoint in 1..context::ENDPOINTS {
                self.run_endpoint(slot, endpoint);
            }
        }
    }
}

impl EndpointDevice for Xhci {
    fn bar_read(&self, _bar: usize, offset: u64, data: &mut [u8]) {
        self.lock().read(offset, data);
    }

    fn bar_write(&self, _bar: usize, offset: u64, data: &[u8]) -> Action {
        let mut state = self.lock();
        state.write(offset, data);
        state.settle();
        Action::None
    }

    fn config_written(&self, _registers: &endpoint::Registers, register: u16, _len: usize) -> Action {
        let mut state = self.lock();
        // The Command register may let transfers go on; any other may turn messages on.
        if register < 8 {
            state.run_all();
        }
        state.settle();
        Action::None
    }

    fn reset(&self) {
        let mut state = self.lock();
        state.restart();
        state.settle();
    }
}
