//! `optimus-vmm ctl`: the other end of the control socket.

mod connection;
mod console;
mod find;
mod picture;
mod show;
mod wait;
mod words;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::{
    Awaited, Chord, CtlArgs, CtlCommand, DiscAction, DiskAction, GrabAction, LinkAction, MouseAction,
    PointerButton, UsbAction, UsbDeviceArgs, UsbName,
};
use connection::Connection;

/// Why a machine cannot be controlled.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// A command without a machine.
    #[error("which machine? Write its name before the command, as in `optimus-vmm ctl NAME status`{0}")]
    NoName(String),
    /// Nobody listens.
    #[error("{0}")]
    NotRunning(String),
    /// The socket is somebody else's.
    #[error("{path} belongs to another user: run ctl as that user, or as root")]
    NotOurs {
        /// The socket.
        path: PathBuf,
    },
    /// The connection does not work.
    #[error("cannot talk to the machine at {path}: {source}")]
    Talk {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nothing comes.
    #[error(
        "the machine at {path} does not answer within {seconds} s: it is stuck, or still waits for the host; see its own messages"
    )]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// Something comes that is not of the protocol.
    #[error("{path} is not the control socket of an optimus-vmm: it says `{said}`")]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// The beginning of it.
        said: String,
    },
    /// The machine refused.
    #[error("{machine} refuses: {why}")]
    Refused {
        /// Its name.
        machine: String,
        /// Why.
        why: String,
    },
    /// It did not end, or do what else was waited for, in time.
    #[error("{machine} has not {what} within {seconds} s")]
    Late {
        /// Its name.
        machine: String,
        /// What was waited for, as a participle.
        what: String,
        /// How long was waited.
        seconds: f64,
    },
    /// It did not do it, and never will.
    #[error("{machine} has ended ({reason}) and has not {what}")]
    Ended {
        /// Its name.
        machine: String,
        /// Why it has ended.
        reason: String,
        /// What was waited for, as a participle.
        what: String,
    },
    /// What is to be typed makes no sense.
    #[error("{0}")]
    Words(String),
    /// The terminal, or a file of ours.
    #[error("cannot {what}: {source}")]
    Own {
        /// What was tried, in the infinitive.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl CtlError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::NoName(_) | Self::Words(_) => 2,
            Self::Late { .. } => 4,
            Self::Refused { .. } => 5,
            _ => 3,
        }
    }
}

/// Does what `args` say. Returns what is to be printed.
///
/// # Errors
///
/// It cannot be done; the message says why.
pub fn run(args: &CtlArgs) -> Result<String, CtlError> {
    let Some(machine) = &args.machine else {
        return match &args.command {
            None => Ok(find::list(args.json)),
            Some(_) => Err(CtlError::NoName(find::running_hint())),
        };
    };
    let command = args.command.as_ref().unwrap_or(&CtlCommand::Status);
    // What is wrong with the words is found before anything is disturbed.
    let requests = requests(command)?;
    if let CtlCommand::Wait { awaited, timeout } = command {
        let answer = wait::wait(machine, awaited, *timeout)?;
        return Ok(if args.json { format!("{answer}\n") } else { show::answer(command, &answer) });
    }
    let mut connection = Connection::open(&find::path_of(machine)?)?;
    if let CtlCommand::Console { linger } = command {
        return console::attach(connection, *linger).map(|()| String::new());
    }
    if let CtlCommand::Screenshot { file } = command
        && file == Path::new("-")
    {
        return picture::print(connection).map(|()| String::new());
    }
    let mut answer = Value::Null;
    for (execute, arguments) in requests {
        answer = connection.execute(execute, arguments)?;
    }
    if let CtlCommand::Powerdown { wait: true, timeout } = command {
        answer = wait::on(connection, &[Awaited::Shutdown], *timeout)?;
    }
    Ok(if args.json { format!("{answer}\n") } else { show::answer(command, &answer) })
}

/// Has a machine, by its name or the path of its socket, perform a command without arguments.
///
/// # Errors
///
/// It does not run, or does not perform it.
pub fn ask(machine: &str, command: &str) -> Result<Value, CtlError> {
    Connection::open(&find::path_of(machine)?)?.execute(command, json!({}))
}

/// What a command is in the protocol.
fn requests(command: &CtlCommand) -> Result<Vec<(&'static str, Value)>, CtlError> {
    let plain = |name| Ok(vec![(name, json!({}))]);
    match command {
        CtlCommand::Status => plain("query-status"),
        CtlCommand::Powerdown { .. } => plain("system_powerdown"),
        CtlCommand::Reset => plain("system_reset"),
        CtlCommand::Quit => plain("quit"),
        CtlCommand::Pause => plain("stop"),
        CtlCommand::Resume => plain("cont"),
        CtlCommand::Console { .. } | CtlCommand::Wait { .. } => Ok(Vec::new()),
        CtlCommand::Screenshot { file } if file == Path::new("-") => Ok(Vec::new()),
        CtlCommand::Screenshot { file } => {
            Ok(vec![("screendump", json!({ "filename": absolute(file)?, "format": "png" }))])
        }
        CtlCommand::Type { text } => {
            let text = if text == "-" { standard_input()? } else { words::unescape(text)? };
            words::check(&text)?;
            Ok(words::pieces(&text).map(|piece| ("type", json!({ "text": piece }))).collect())
        }
        CtlCommand::Key { chords, hold } => Ok(chords
            .iter()
            .map(|Chord(keys)| {
                let names: Vec<_> = keys.iter().filter_map(|key| key.name()).collect();
                let mut arguments = json!({ "keys": names });
                if let (Some(hold), Value::Object(arguments)) = (hold, &mut arguments) {
                    let hold = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
                    arguments.insert("hold-time".into(), hold.into());
                }
                ("send-key", arguments)
            })
            .collect()),
        CtlCommand::Net { action: None } => plain("query-net"),
        CtlCommand::Net { action: Some(action) } => {
            let (card, up) = match action {
                LinkAction::Up { card } => (card, true),
                LinkAction::Down { card } => (card, false),
            };
            Ok(vec![("set_link", json!({ "name": format!("net[{card}]"), "up": up }))])
        }
        CtlCommand::Disk { action: None } => plain("query-block"),
        CtlCommand::Disk { action: Some(DiskAction::Resize { disk, size }) } => {
            Ok(vec![("block_resize", json!({ "device": format!("disk[{disk}]"), "size": size.bytes() }))])
        }
        CtlCommand::Audio => plain("query-audio"),
        CtlCommand::Cdrom { action: None | Some(DiscAction::List) } => plain("query-cdrom"),
        CtlCommand::Cdrom { action: Some(DiscAction::Eject { drive, force }) } => {
            Ok(vec![("eject", json!({ "device": format!("cdrom[{drive}]"), "force": force }))])
        }
        CtlCommand::Cdrom { action: Some(DiscAction::Insert { file, drive, force }) } => {
            let (device, file) = (format!("cdrom[{drive}]"), absolute(file)?);
            Ok(vec![(
                "blockdev-change-medium",
                json!({ "device": device, "filename": file, "force": force }),
            )])
        }
        CtlCommand::Mouse { action: MouseAction::To { x, y } } => {
            Ok(vec![("move-pointer", json!({ "x": x, "y": y }))])
        }
        CtlCommand::Grab { action: None } => plain("query-evdev"),
        CtlCommand::Grab { action: Some(action) } => {
            let wanted = match action {
                GrabAction::On => json!({ "grab": true }),
                GrabAction::Off => json!({ "grab": false }),
                GrabAction::Toggle => json!({}),
            };
            Ok(vec![("grab-evdev", wanted)])
        }
        CtlCommand::Usb { action: None | Some(UsbAction::List) } => plain("query-usb-devices"),
        CtlCommand::Usb { action: Some(UsbAction::Attach(device)) } => {
            Ok(vec![("attach-usb-device", usb_device(device))])
        }
        CtlCommand::Usb { action: Some(UsbAction::Detach(device)) } => {
            Ok(vec![("detach-usb-device", usb_device(device))])
        }
        CtlCommand::Mouse { action } => Ok(vec![("input-send-event", json!({ "events": mouse(*action) }))]),
    }
}

/// How the protocol names a device.
fn usb_device(UsbDeviceArgs { device, serial }: &UsbDeviceArgs) -> Value {
    let mut named = match device {
        UsbName::Id(id) => json!({ "id": id }),
        UsbName::Port(port) => json!({ "port": port }),
    };
    if let (Some(serial), Value::Object(named)) = (serial, &mut named) {
        named.insert("serial".into(), serial.as_str().into());
    }
    named
}

/// A path that means the same to the machine, which runs in another folder.
fn absolute(file: &Path) -> Result<String, CtlError> {
    let path = std::path::absolute(file)
        .map_err(|source| CtlError::Own { what: "find out the current folder", source })?;
    path.into_os_string().into_string().map_err(|path| {
        CtlError::Words(format!("the path {} is not UTF-8: choose another one", path.display()))
    })
}

fn mouse(action: MouseAction) -> Vec<Value> {
    let press = |button: &str| {
        [true, false].map(|down| json!({ "type": "btn", "data": { "down": down, "button": button } }))
    };
    match action {
        // It is a command of its own.
        MouseAction::To { .. } => Vec::new(),
        MouseAction::Move { dx, dy } => [("x", dx), ("y", dy)]
            .into_iter()
            .filter(|(_, value)| *value != 0)
            .map(|(axis, value)| json!({ "type": "rel", "data": { "axis": axis, "value": value } }))
            .collect(),
        MouseAction::Click { button } => press(match button {
            PointerButton::Left => "left",
            PointerButton::Middle => "middle",
            PointerButton::Right => "right",
            PointerButton::Side => "side",
            PointerButton::Extra => "extra",
        })
        .into(),
        MouseAction::Wheel { steps } => {
            let button = if steps > 0 { "wheel-up" } else { "wheel-down" };
            (0..steps.unsigned_abs()).flat_map(|_| press(button)).collect()
        }
    }
}

fn standard_input() -> Result<String, CtlError> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|source| CtlError::Own { what: "read the text from standard input", source })?;
    Ok(text)
}
