//! The commands of the control socket. Those of QMP keep its names, arguments and replies as far as there is a meaning for them
//! here ("QEMU QMP Reference Manual").
//!
//! A command is a function in one of these modules and a line in its `commands`: the types of its argument and of its
//! result are all that is known of it elsewhere, `query-qmp-schema` included (`schema`).
//!
//! | module | commands |
//! |---|---|
//! | `session` | the connection itself, and what can be asked |
//! | `inspect`, `devices`, `pci` | the machine and its parts |
//! | `net`, `cdrom`, `audio` | network cards, CD drives, sound |
//! | `evdev`, `usb` | input devices and USB devices of the host |
//! | `power` | running, stopping, resetting, ending |
//! | `input`, `screen` | keyboard, mouse and screen |
//! | `monitor` | `human-monitor-command`: some of these in the words of QEMU's monitor for people |

mod audio;
mod cdrom;
mod devices;
mod evdev;
mod input;
mod inspect;
mod monitor;
mod net;
mod pci;
mod power;
mod schema;
mod screen;
mod session;
mod usb;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use ::devices::input::Key;
use ::devices::virtio::blk::Handle;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) use input::{Button, InputEvent};
pub(super) use pci::{describe as pci_info, text as pci_text};
pub(super) use screen::Pictured;
pub(super) use usb::{attach as attach_usb, detach as detach_usb, list as list_usb};

use super::announcer::Announcer;
use super::machine::Machine;
use super::protocol::{Class, Refusal, Request, short};
use crate::code43;
use crate::screenshot::Format;
use crate::usb::{Attachments, Choice};

/// What commands act on.
pub(super) struct Context<'a> {
    pub(super) machine: &'a Machine,
    pub(super) announcer: &'a Announcer,
}

/// What a command leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// It is done, and this is the result.
    Answer(Value),
    /// It takes time.
    Slow(Slow),
    /// Negotiation is over; whether commands may overtake others.
    Negotiated {
        /// `oob` is enabled.
        overtaking: bool,
    },
    /// The connection becomes one to COM1.
    Console,
}

/// A command that a thread of its own performs, since it may take long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slow {
    /// A picture of the screen.
    Screenshot(PathBuf, Format),
    /// A text, as key strokes of a US keyboard.
    Type(String),
    /// Keys that are pressed together, and for how long.
    Keys(Vec<Key>, Duration),
    /// What keyboard and mouse do.
    Input(Vec<InputEvent>),
    /// Stop the vCPUs, or let them go on.
    Run(bool),
    /// The PCI functions; in words, or as values.
    Pci {
        /// In words.
        text: bool,
    },
    /// Take the disc out of a drive, with or without the guest's leave.
    Eject {
        /// The drive's number.
        drive: usize,
        /// Without.
        force: bool,
    },
    /// Put a disc into a drive, in place of the one that is there.
    Insert {
        /// The drive's number.
        drive: usize,
        /// The image.
        path: PathBuf,
        /// Without the guest's leave.
        force: bool,
    },
    /// What the driver of the discrete GPU finds.
    Dgpu(Box<code43::Facts>),
    /// The host's USB devices.
    UsbList(Attachments),
    /// The guest gets a USB device of the host.
    UsbAttach(Attachments, Choice),
    /// The host gets it back.
    UsbDetach(Attachments, Choice),
    /// A disk grows to so many bytes.
    Grow(Handle, u64),
    /// A command of `human-monitor-command`, whose result is a text.
    Monitor(Box<Self>),
}

/// No arguments, or no result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

type Describe = fn(&mut SchemaGenerator) -> Schema;
type Perform = dyn Fn(&Context<'_>, Value) -> Result<Step, Refusal> + Send + Sync;

/// A command.
pub(super) struct Command {
    name: &'static str,
    arguments: Describe,
    result: Describe,
    /// It may be performed while others are under way (`exec-oob`).
    overtakes: bool,
    perform: Box<Perform>,
    /// The names of its arguments, and whether each is needed.
    parameters: Vec<(String, bool)>,
}

/// A command that takes no time.
fn quick<A, R>(name: &'static str, perform: fn(&Context<'_>, A) -> Result<R, Refusal>) -> Command
where
    A: DeserializeOwned + JsonSchema + 'static,
    R: Serialize + JsonSchema + 'static,
{
    let answer = move |context: &Context<'_>, arguments| {
        let result = perform(context, arguments)?;
        serde_json::to_value(result).map(Step::Answer).map_err(|error| Refusal::new(error.to_string()))
    };
    Command { overtakes: true, ..stepping::<A, R>(name, answer) }
}

/// A command that a thread performs, with a result of the type `R`.
fn slow<A, R>(name: &'static str, plan: fn(&Context<'_>, A) -> Result<Slow, Refusal>) -> Command
where
    A: DeserializeOwned + JsonSchema + 'static,
    R: Serialize + JsonSchema + 'static,
{
    stepping::<A, R>(name, move |context, arguments| plan(context, arguments).map(Step::Slow))
}

/// A command of any kind.
fn stepping<A, R>(
    name: &'static str,
    perform: impl Fn(&Context<'_>, A) -> Result<Step, Refusal> + Send + Sync + 'static,
) -> Command
where
    A: DeserializeOwned + JsonSchema + 'static,
    R: JsonSchema + 'static,
{
    let read = move |context: &Context<'_>, arguments| {
        let arguments = serde_json::from_value(arguments)
            .map_err(|error| Refusal::new(format!("the arguments of `{name}` are wrong: {error}")))?;
        perform(context, arguments)
    };
    Command {
        name,
        arguments: SchemaGenerator::subschema_for::<A>,
        result: SchemaGenerator::subschema_for::<R>,
        overtakes: false,
        perform: Box::new(read),
        parameters: schema::parameters(SchemaGenerator::root_schema_for::<A>),
    }
}

static COMMANDS: LazyLock<BTreeMap<&'static str, Command>> = LazyLock::new(|| {
    let all = [
        session::commands(),
        inspect::commands(),
        devices::commands(),
        net::commands(),
        cdrom::commands(),
        audio::commands(),
        pci::commands(),
        power::commands(),
        input::commands(),
        evdev::commands(),
        usb::commands(),
        screen::commands(),
        monitor::commands(),
    ];
    all.into_iter().flatten().map(|command| (command.name, command)).collect()
});

/// All commands, by their names.
pub(super) fn all() -> impl Iterator<Item = &'static Command> {
    COMMANDS.values()
}

/// The command of a request.
pub(super) fn find(request: &Request) -> Result<&'static Command, Refusal> {
    let name = request.execute.as_str();
    let command = COMMANDS.get(name).ok_or_else(|| Refusal {
        class: Class::CommandNotFound,
        desc: format!("The command {} has not been found", short(name)),
    })?;
    if request.overtakes && !command.overtakes {
        return Err(Refusal::new(format!("The command {name} does not support OOB")));
    }
    Ok(command)
}

impl Command {
    /// Performs it, or says what is to be done for it.
    pub(super) fn perform(
        &self,
        context: &Context<'_>,
        arguments: Map<String, Value>,
    ) -> Result<Step, Refusal> {
        // In QEMU's words, which some clients look for.
        for name in arguments.keys() {
            if !self.parameters.iter().any(|(known, _)| known == name) {
                return Err(Refusal::new(format!("Parameter '{}' is unexpected", short(name))));
            }
        }
        for (name, needed) in &self.parameters {
            if *needed && !arguments.contains_key(name) {
                return Err(Refusal::new(format!("Parameter '{name}' is missing")));
            }
        }
        (self.perform)(context, Value::Object(arguments))
    }

    /// Whether it ends negotiation.
    pub(super) fn negotiates(&self) -> bool {
        self.name == session::NEGOTIATE
    }
}

/// Refuses a device that this machine cannot have: there is one of each kind, without a name.
fn no_such_device(device: Option<&str>) -> Result<(), Refusal> {
    match device {
        Some(name) => Err(Refusal::no_device(format!("Device '{}' not found", short(name)))),
        None => Ok(()),
    }
}
