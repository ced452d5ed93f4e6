//! `[usb]`: the USB controller, with a tablet, a mouse and a keyboard.

use std::sync::Arc;

use devices::pci::endpoint::Endpoint;
use devices::usb::device::UsbDevice;
use devices::usb::input::{Devices, UsbInput};
use devices::usb::xhci::Xhci;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::PciAddress;

use super::{Assembly, Connection, DeviceError, Opened, Opening, PciNeed, Spec};
use crate::finding::{Resolver, Section};
use crate::topology::Placed;
use crate::usb::Ports;

/// The USB controller (xHCI) and what is plugged in: a tablet puts the guest's pointer where that of a viewer is. See
/// docs/usb.md.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UsbSection {
    /// Whether the machine has one.
    #[schemars(extend("x-default" = "whether it has a `[display]` or a `[[usb_device]]`"))]
    pub enabled: Option<bool>,
    /// The PCI address in the guest.
    #[schemars(extend("x-default" = "the next free one when all other devices have theirs"))]
    pub address: Option<PciAddress>,
    /// A tablet: an absolute pointer, which viewers use while the guest's driver does.
    pub tablet: bool,
    /// A mouse, which takes the place of the PS/2 mouse while the guest's driver uses it.
    pub mouse: bool,
    /// A keyboard, which takes the place of the PS/2 keyboard while firmware, boot loader or system use it.
    pub keyboard: bool,
}

impl Default for UsbSection {
    fn default() -> Self {
        Self { enabled: None, address: None, tablet: true, mouse: true, keyboard: false }
    }
}

/// The USB controller and what is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usb {
    /// Guest PCI address; `None` leaves it to the plan.
    pub address: Option<PciAddress>,
    /// A tablet.
    pub tablet: bool,
    /// A mouse.
    pub mouse: bool,
    /// A keyboard.
    pub keyboard: bool,
}

impl UsbSection {
    /// The controller, if there is to be one: a screen wants one, and so do devices of the host.
    pub(crate) fn resolve(&self, display: bool, devices: bool, resolver: &mut Resolver) -> Option<Usb> {
        let Self { enabled, address, tablet, mouse, keyboard } = *self;
        if !enabled.unwrap_or(display || devices) {
            let others = [("tablet", !tablet), ("mouse", !mouse), ("keyboard", keyboard)];
            let given = [("address", address.is_some())].into_iter().chain(others).find(|(_, given)| *given);
            if let Some((key, _)) = given.filter(|_| enabled.is_none()) {
                resolver.problem_with_help(
                    Section::Usb.key(key),
                    "[usb] has no effect in a machine without [display] and [[usb_device]]: it has no USB controller",
                    "write `enabled = true` here, or remove [usb]",
                );
            }
            return None;
        }
        if !tablet && !mouse && !keyboard && !devices {
            resolver.problem(
                Section::Usb.key("tablet"),
                "the USB controller has nothing plugged in: leave `tablet` or `mouse` on, or write `enabled = false`",
            );
        }
        Some(Usb { address, tablet, mouse, keyboard })
    }
}

impl Spec for Usb {
    fn section(&self) -> Section {
        Section::Usb
    }

    fn describe(&self) -> String {
        let devices = [(self.tablet, "tablet"), (self.mouse, "mouse"), (self.keyboard, "keyboard")];
        let names: Vec<_> = devices.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect();
        format!("USB controller (xHCI) with {}", names.join(", "))
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: self.address, pin: 1 })
    }

    fn open(&self, _: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        Some(Box::new(*self))
    }
}

/// The controller, for devices that come and go.
struct Controller(Arc<Endpoint<Xhci>>);

impl Ports for Controller {
    fn plug(&self, device: Arc<dyn UsbDevice>) -> Result<usize, String> {
        self.0.device().plug(device).map_err(|error| error.to_string())
    }

    fn unplug(&self, port: usize) {
        self.0.device().unplug(port);
    }
}

impl Opened for Usb {
    /// Comes before all who give the guest input, as it does in the list of devices.
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let devices = Devices {
            keyboard: self.keyboard.then(Arc::default),
            mouse: self.mouse.then(Arc::default),
            tablet: self.tablet.then(Arc::default),
        };
        let Devices { keyboard, mouse, tablet } = devices.clone();
        let plugged: Vec<Arc<dyn UsbDevice>> =
            [keyboard.map(|it| it as _), mouse.map(|it| it as _), tablet.map(|it| it as _)]
                .into_iter()
                .flatten()
                .collect();
        let mut controller = None;
        machine.add_endpoint(placed, |connection| {
            let Connection { ram, placement, messages, line } = connection;
            let made = Xhci::endpoint(plugged, ram, (placement, messages, line));
            made.inspect(|made| controller = Some(Arc::clone(made)))
        })?;
        machine.made.usb_ports = controller.map(|controller| Arc::new(Controller(controller)) as _);
        machine.input = UsbInput::new(devices, Arc::clone(&machine.input)) as _;
        Ok(())
    }
}
