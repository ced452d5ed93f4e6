//! Devices that come and go at root ports (xHCI 1.1, 4.3 and 4.19.4), and their way to the controller.
//!
//! Each arrival has a number, which a slot keeps: what the driver does with a slot whose device is gone must not reach the next one at the same port.

use std::sync::{Arc, Weak};

use crate::usb::device::{Speed, Upstream, UsbDevice};

use super::port::{Port, Protocol};
use super::slots::Slot;
use super::{SLOTS, State, Xhci, XhciError, context};

impl Xhci {
    /// Plugs a device in, at the first free port of its speed, and tells the driver: the port's number, from 1.
    ///
    /// # Errors
    /// All ports of its speed have devices.
    pub fn plug(&self, device: Arc<dyn UsbDevice>) -> Result<usize, XhciError> {
        let mut state = self.lock();
        let port = state.free_port(device.speed()).ok_or(XhciError::NoPort)?;
        let arrival = state.next_arrival();
        device.connect(Arc::new(AtPort { controller: Weak::clone(&self.me), port, arrival }));
        state.attach(port, device, arrival);
        state.settle();
        Ok(port + 1)
    }

    /// Unplugs the device at a port, from 1, and tells the driver. What the driver has asked of the device ends with an error. When this returns, the
    /// controller has nothing of the device any more. A port without a device stays as it is.
    pub fn unplug(&self, port: usize) {
        let device = {
            let mut state = self.lock();
            let device = port.checked_sub(1).and_then(|port| state.detach(port));
            state.settle();
            device
        };
        if let Some(device) = device {
            device.disconnect();
        }
    }
}

/// A device's way up.
struct AtPort {
    controller: Weak<Xhci>,
    port: usize,
    arrival: u64,
}

impl Upstream for AtPort {
    fn finished(&self, endpoint: u8) {
        if let Some(controller) = self.controller.upgrade() {
            controller.lock().device_has_news(self.port, self.arrival, endpoint);
        }
    }

    fn wake(&self) {
        if let Some(controller) = self.controller.upgrade() {
            controller.lock().device_wakes(self.port, self.arrival);
        }
    }
}

impl State {
    /// A port for a device of this speed.
    fn free_port(&self, speed: Speed) -> Option<usize> {
        let protocol = Protocol::of(speed);
        self.ports.iter().position(|port| port.protocol == protocol && port.device().is_none())
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn attach(&mut self, index: usize, device: Arc<dyn UsbDevice>, arrival: u64) {
        let running = self.is_running();
        let Some(port) = self.ports.get_mut(index) else { return };
        port.attach(device, arrival);
        if let Some(device) = port.device() {
            device.set_bus(port.bus(running));
        }
        self.tell_port(index);
    }

    /// Takes the device of a port away. What was under way at its endpoints has ended.
    fn detach(&mut self, index: usize) -> Option<Arc<dyn UsbDevice>> {
        let device = self.ports.get_mut(index)?.detach()?;
        self.tell_port(index);
        for slot in 1..=SLOTS {
            let is_here = |slot: &Slot| slot.port == Some(index);
            if self.slots.get(slot).and_then(Option::as_ref).is_some_and(is_here) {
                (1..context::ENDPOINTS).for_each(|endpoint| self.run_endpoint(slot, endpoint));
            }
        }
        Some(device)
    }

    fn device_has_news(&mut self, port: usize, arrival: u64, endpoint: u8) {
        let of_it = |slot: &Slot| slot.port == Some(port) && slot.arrival == arrival;
        if let Some(slot) = self.slots.iter().position(|slot| slot.as_ref().is_some_and(of_it)) {
            self.run_endpoint(slot, context::index(endpoint));
            self.settle();
        }
    }

    fn device_wakes(&mut self, port: usize, arrival: u64) {
        let wakes = |at: &mut Port| at.arrival() == Some(arrival) && at.wake();
        if self.is_running() && self.ports.get_mut(port).is_some_and(wakes) {
            self.tell_port(port);
            self.settle();
        }
    }
}
