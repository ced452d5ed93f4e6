//! Commands about USB devices of the host. QEMU has `device_add` of usb-host for this, whose devices have other names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{UsbId, UsbPort};

use super::{Command, Context, Nothing, Slow, slow};
use crate::control::protocol::Refusal;
use crate::usb::{Absent, Attachments, Choice, Status};

/// The host's devices, and those that are wanted and that the guest does not have.
#[derive(Serialize, JsonSchema)]
pub(in crate::control) struct Listed {
    /// All of them, by port.
    devices: Vec<Device>,
    /// What the guest is to have and has not.
    absent: Vec<Waiting>,
}

/// A device of the host.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::control) struct Device {
    /// Where it is plugged in: `1-4.2`.
    port: String,
    /// Vendor and product: `046d:c52b`.
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    /// What it calls itself.
    name: String,
    /// Who has it: `guest` or `host`.
    holder: &'static str,
    /// The host's drivers that have it.
    drivers: Vec<String>,
    /// Its port at the guest's controller, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_port: Option<usize>,
    /// Who wants it for the guest: `usb_device[0]`, or `ctl usb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted_by: Option<String>,
    /// Why the guest could not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

/// What the guest is to have and has not.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Waiting {
    /// Who wants it.
    wanted_by: String,
    /// What is known of it.
    device: String,
    /// A command has given it to the host: it stays there until another command.
    detached: bool,
}

/// What came of taking a device from the guest.
#[derive(Serialize, JsonSchema)]
struct Detached {
    /// The device; nothing if it was not there, and is no longer waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
}

impl From<Status> for Device {
    fn from(status: Status) -> Self {
        let Status { port, id, serial, name, drivers, guest_port, wanted_by, refusal } = status;
        let holder = if guest_port.is_some() { "guest" } else { "host" };
        let (port, id) = (port.to_string(), id.to_string());
        Self { port, id, serial, name, holder, drivers, guest_port, wanted_by, refusal }
    }
}

/// Which device: each that is given narrows it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Vendor and product: `046d:c52b`.
    id: Option<UsbId>,
    /// Its serial number.
    serial: Option<String>,
    /// Where it is plugged in: `1-4.2`.
    port: Option<UsbPort>,
}

impl Named {
    fn choice(self) -> Result<Choice, Refusal> {
        let Self { id, serial, port } = self;
        if id.is_none() && serial.is_none() && port.is_none() {
            return Err(Refusal::new("one of 'id', 'serial' and 'port' says which device"));
        }
        Ok(Choice { id, serial, port })
    }
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        slow::<Nothing, Listed>("query-usb-devices", |context, Nothing {}| {
            Ok(Slow::UsbList(attachments(context)?))
        }),
        slow::<Named, Device>("attach-usb-device", |context, named| {
            Ok(Slow::UsbAttach(attachments(context)?, named.choice()?))
        }),
        slow::<Named, Detached>("detach-usb-device", |context, named| {
            Ok(Slow::UsbDetach(attachments(context)?, named.choice()?))
        }),
    ]
}

fn attachments(context: &Context<'_>) -> Result<Attachments, Refusal> {
    let none = "this machine has no USB controller: add [usb] with `enabled = true`, or a [[usb_device]], to its vm.toml";
    context.machine.facts.usb.clone().ok_or_else(|| Refusal::no_device(none))
}

/// The host's devices, as clients are told of them.
pub(in crate::control) fn list(attachments: &Attachments) -> impl Serialize {
    let (devices, absent) = attachments.list();
    let waiting =
        |Absent { wanted_by, choice, held_back }| Waiting { wanted_by, device: choice, detached: held_back };
    Listed {
        devices: devices.into_iter().map(Device::from).collect(),
        absent: absent.into_iter().map(waiting).collect(),
    }
}

/// Gives the guest a device.
pub(in crate::control) fn attach(
    attachments: &Attachments,
    choice: &Choice,
) -> Result<impl Serialize, Refusal> {
    let attached = attachments.attach(choice.clone());
    attached.map(Device::from).map_err(|error| Refusal::new(error.to_string()))
}

/// Takes a device from the guest.
pub(in crate::control) fn detach(
    attachments: &Attachments,
    choice: &Choice,
) -> Result<impl Serialize, Refusal> {
    match attachments.detach(choice) {
        Ok(device) => Ok(Detached { device: device.map(Device::from) }),
        Err(error) => Err(Refusal::new(error.to_string())),
    }
}
