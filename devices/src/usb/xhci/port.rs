//! Root ports (xHCI 1.1, 4.19 and 5.4.8). All have power, and none has a hub behind it.

use std::sync::Arc;

use crate::usb::device::{Bus, Speed, UsbDevice};

/// PORTSC.
const CONNECTED: u32 = 1;
const ENABLED: u32 = 1 << 1;
const RESET: u32 = 1 << 4;
const POWER: u32 = 1 << 9;
const LINK_STROBE: u32 = 1 << 16;
const WARM_RESET: u32 = 1 << 31;
/// Changes, each cleared by writing a one: of connection, enabling, warm reset, overcurrent, reset, link, configuration.
const CONNECTION_CHANGED: u32 = 1 << 17;
const WARM_RESET_CHANGED: u32 = 1 << 19;
const RESET_CHANGED: u32 = 1 << 21;
const LINK_CHANGED: u32 = 1 << 22;
const CHANGES: u32 = 0x7f << 17;
/// Wake on connect, disconnect and overcurrent, which only matter to a machine that sleeps; and port indicators.
const KEPT: u32 = 7 << 25 | 3 << 14;

/// States of the link (table 5-27).
mod link {
    pub(super) const U0: u32 = 0;
    pub(super) const U3: u32 = 3;
    pub(super) const DISABLED: u32 = 4;
    pub(super) const DETECT: u32 = 5;
    pub(super) const POLLING: u32 = 7;
    pub(super) const RESUME: u32 = 15;
}

/// What a port is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Low, full and high speed.
    Usb2,
    /// SuperSpeed.
    Usb3,
}

impl Protocol {
    pub(super) fn of(speed: Speed) -> Self {
        if speed == Speed::Super { Self::Usb3 } else { Self::Usb2 }
    }

    /// Whether a port is enabled once a device has come, and the state of its link: those of SuperSpeed train without being told to.
    fn connected(self) -> (bool, u32) {
        if self == Self::Usb3 { (true, link::U0) } else { (false, link::POLLING) }
    }
}

/// A root port.
pub(super) struct Port {
    pub(super) protocol: Protocol,
    /// The device, and which of all that have been plugged in it is.
    device: Option<(Arc<dyn UsbDevice>, u64)>,
    enabled: bool,
    link: u32,
    changes: u32,
    kept: u32,
    /// PORTPMSC, which is only kept.
    pub(super) power: u32,
}

impl Port {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, device: None, enabled: false, link: link::DETECT, changes: 0, kept: 0, power: 0 }
    }

    /// What a reset of the controller leaves: a device is seen anew.
    pub(super) fn restart(&mut self) {
        let Self { protocol, device, enabled, link, changes, kept, power } = self;
        (*enabled, *link, *changes, *kept, *power) = (false, link::DETECT, 0, 0, 0);
        if let Some((device, _)) = device {
            device.reset();
            device.set_bus(Bus::Halted);
            *changes = CONNECTION_CHANGED;
            (*enabled, *link) = protocol.connected();
        }
    }

    /// A device comes. The driver is to be told, whether or not it has acknowledged the last change: it may be about to.
    pub(super) fn attach(&mut self, device: Arc<dyn UsbDevice>, arrival: u64) {
        device.reset();
        self.device = Some((device, arrival));
        (self.enabled, self.link) = self.protocol.connected();
        self.changes |= CONNECTION_CHANGED;
    }

    /// The device goes, which the driver is to be told the same way.
    pub(super) fn detach(&mut self) -> Option<Arc<dyn UsbDevice>> {
        let (device, _) = self.device.take()?;
        (self.enabled, self.link) = (false, link::DETECT);
        self.changes |= CONNECTION_CHANGED;
        Some(device)
    }

    /// The device that is plugged in.
    pub(super) fn device(&self) -> Option<&Arc<dyn UsbDevice>> {
        self.device.as_ref().map(|(device, _)| device)
    }

    /// Which of all devices that have been plugged in the one here is.
    pub(super) fn arrival(&self) -> Option<u64> {
        self.device.as_ref().map(|(_, arrival)| *arrival)
    }

    /// PORTSC.
    pub(super) fn status(&self) -> u32 {
        let Some(device) = self.device() else { return POWER | self.link << 5 | self.changes | self.kept };
        let speed = match device.speed() {
            Speed::Full => 1,
            Speed::Low => 2,
            Speed::High => 3,
            Speed::Super => 4,
        };
        let enabled = if self.enabled { ENABLED } else { 0 };
        CONNECTED | enabled | self.link << 5 | POWER | speed << 10 | self.changes | self.kept
    }

    /// The driver writes PORTSC. True if something changed that it is to be told of.
    pub(super) fn write(&mut self, value: u32) -> bool {
        self.kept = value & KEPT;
        self.changes &= !(value & CHANGES);
        let before = self.changes;
        let warm = value & WARM_RESET != 0 && self.protocol == Protocol::Usb3;
        if value & RESET != 0 || warm {
            self.reset(warm);
        } else if value & ENABLED != 0 && self.enabled {
            self.enabled = false;
            self.link = if self.protocol == Protocol::Usb3 { link::DISABLED } else { link::POLLING };
        } else if value & LINK_STROBE != 0 && self.device.is_some() {
            self.set_link(value >> 5 & 0xf);
        }
        self.changes & !before != 0
    }

    fn reset(&mut self, warm: bool) {
        let Some(device) = self.device() else { return };
        device.reset();
        (self.enabled, self.link) = (true, link::U0);
        self.changes |= RESET_CHANGED | if warm { WARM_RESET_CHANGED } else { 0 };
    }

    fn set_link(&mut self, link: u32) {
        match link {
            link::U0 if self.enabled && self.link != link::U0 => {
                self.link = link::U0;
                self.changes |= LINK_CHANGED;
            }
            link::U3 if self.enabled => self.link = link::U3,
            link::RESUME if self.link == link::U3 && self.protocol == Protocol::Usb2 => {
                self.link = link::RESUME
            }
            // RxDetect enables a SuperSpeed port that was disabled.
            link::DETECT if self.link == link::DISABLED => {
                (self.enabled, self.link) = (true, link::U0);
                self.changes |= CONNECTION_CHANGED;
            }
            _ => {}
        }
    }

    /// The device resumes the port. True if the driver is to be told.
    pub(super) fn wake(&mut self) -> bool {
        if self.link != link::U3 {
            return false;
        }
        let before = self.changes;
        self.link = if self.protocol == Protocol::Usb3 { link::U0 } else { link::RESUME };
        self.changes |= LINK_CHANGED;
        self.changes != before
    }

    /// Whether there are changes that the driver has not acknowledged.
    pub(super) fn has_changed(&self) -> bool {
        self.changes != 0
    }

    /// What happens on the device's bus while the controller runs, or not.
    pub(super) fn bus(&self, running: bool) -> Bus {
        match self.link {
            _ if !running || !self.enabled => Bus::Halted,
            link::U0 => Bus::Active,
            _ => Bus::Suspended,
        }
    }

    /// Whether a device can be addressed here.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_port_has_power_and_nothing_else() {
        let mut port = Port::new(Protocol::Usb2);
        assert_eq!(port.status(), 0x2a0);
        for value in [RESET, WARM_RESET, ENABLED, LINK_STROBE, LINK_STROBE | 3 << 5, u32::MAX] {
            assert!(!port.write(value));
            assert_eq!(port.status() & !KEPT, 0x2a0, "{value:#x}");
        }
        port.restart();
        assert_eq!(port.status(), 0x2a0);
    }
}
