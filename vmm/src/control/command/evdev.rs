//! Commands about input devices of the host. QEMU has none: there the keys alone take them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, Context, Nothing, quick};
use crate::control::protocol::Refusal;
use crate::evdev::{Grab, Status};

#[derive(Serialize, JsonSchema)]
struct Described {
    /// The guest is to have those that change hands.
    grabbed: bool,
    /// Those that are there.
    devices: Vec<Device>,
}

#[derive(Serialize, JsonSchema)]
struct Device {
    /// Its section: `evdev[0]`.
    name: String,
    /// Its node.
    path: String,
    /// What its driver calls it.
    model: String,
    /// `keyboard`, `mouse`, `touchpad`, or two of them.
    kind: String,
    /// Who has it: `host`, `guest`, or `other`, another program that keeps it for itself.
    holder: &'static str,
    /// It changes hands when nothing of it is down.
    waits: bool,
}

impl From<Status> for Device {
    fn from(Status { index, path, name, kind, holder, waits }: Status) -> Self {
        let path = path.display().to_string();
        Self { name: format!("evdev[{index}]"), path, model: name, kind, holder, waits }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// To the guest, or to the host; to the other of both if it is left out.
    grab: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
struct Switched {
    /// The guest is to have them.
    grabbed: bool,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        quick("query-evdev", |context, Nothing {}| {
            let grab = devices(context)?;
            let devices = grab.devices().into_iter().map(Device::from).collect();
            Ok(Described { grabbed: grab.wanted(), devices })
        }),
        quick("grab-evdev", |context, Wanted { grab }| {
            devices(context).map(|devices| Switched { grabbed: devices.want(grab) })
        }),
    ]
}

fn devices<'a>(context: &Context<'a>) -> Result<&'a Grab, Refusal> {
    let none = "this machine has no input devices of the host: add [[evdev]] to its vm.toml";
    context.machine.facts.evdev.as_ref().ok_or_else(|| Refusal::no_device(none))
}
