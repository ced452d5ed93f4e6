//! The commands of the control socket: their names and arguments. Those of QMP keep its names and as much of its arguments
//! as there is a meaning for here ("QEMU QMP Reference Manual").

use std::path::PathBuf;
use std::time::Duration;

use devices::input::Key;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::protocol::{Class, Refusal, Request, short};

/// A command, with arguments that make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `qmp_capabilities`: events are wanted from now on.
    Negotiate,
    /// `query-commands`.
    ListCommands,
    /// `query-version`.
    Version,
    /// `query-name`.
    Name,
    /// `query-status`, with more than QMP tells.
    Status,
    /// `system_powerdown`: the power button.
    PowerButton,
    /// `system_reset`: the reset button.
    Reset,
    /// `quit`: the end, at once.
    Quit,
    /// Attaches the connection to COM1.
    Console,
    /// What takes time.
    Slow(Slow),
}

/// A command that a thread of its own performs, since it may take long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slow {
    /// `screendump`.
    Screenshot(PathBuf),
    /// `type`: a text, as key strokes of a US keyboard.
    Type(String),
    /// `send-key`: keys that are pressed together, and for how long.
    Keys(Vec<Key>, Duration),
    /// `input-send-event`.
    Input(Vec<InputEvent>),
}

/// Something that a keyboard or a mouse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputEvent {
    /// A key is pressed or released.
    Key(Key, bool),
    /// A button of the mouse is pressed or released.
    Button(Button, bool),
    /// A step of the wheel, away from the user positive.
    Wheel(i32),
    /// Motion to the right and down.
    Move(i32, i32),
}

/// A button of the mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Button {
    Left,
    Middle,
    Right,
    Side,
    Extra,
}

/// The names of all commands.
pub(crate) const NAMES: [&str; 13] = [
    "console",
    "input-send-event",
    "qmp_capabilities",
    "query-commands",
    "query-name",
    "query-status",
    "query-version",
    "quit",
    "screendump",
    "send-key",
    "system_powerdown",
    "system_reset",
    "type",
];

/// How long `send-key` holds the keys, as in QMP.
const HOLD: Duration = Duration::from_millis(100);
/// The longest that it holds them: the connection waits for it.
const LONGEST_HOLD: u64 = 10_000;
/// Most keys of one `send-key`: more than fingers.
const MOST_KEYS: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    /// None is offered.
    #[serde(default)]
    enable: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Screendump {
    filename: String,
    format: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeText {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SendKey {
    keys: Vec<KeyValue>,
    hold_time: Option<u64>,
}

/// A key: QMP's `{"type": "qcode", "data": "ctrl"}`, or just its name.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeyValue {
    Name(String),
    Typed(TypedKey),
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
enum TypedKey {
    Qcode(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendEvent {
    events: Vec<EventValue>,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
enum EventValue {
    Key { down: bool, key: KeyValue },
    Btn { down: bool, button: String },
    Rel { axis: Axis, value: i32 },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Axis {
    X,
    Y,
}

impl Command {
    /// The command of a request.
    pub(crate) fn of(request: Request) -> Result<Self, Refusal> {
        let Request { execute, arguments, .. } = request;
        let name = execute.as_str();
        let given = Value::Object(arguments);
        let plain = |command: Self, given| read::<Nothing>(name, given).map(|Nothing {}| command);
        match name {
            "qmp_capabilities" => match read::<Capabilities>(name, given)?.enable.first() {
                None => Ok(Self::Negotiate),
                Some(wanted) => Err(Refusal::new(format!("there is no capability `{}`", short(wanted)))),
            },
            "query-commands" => plain(Self::ListCommands, given),
            "query-version" => plain(Self::Version, given),
            "query-name" => plain(Self::Name, given),
            "query-status" => plain(Self::Status, given),
            "system_powerdown" => plain(Self::PowerButton, given),
            "system_reset" => plain(Self::Reset, given),
            "quit" => plain(Self::Quit, given),
            "console" => plain(Self::Console, given),
            "screendump" => screenshot(read(name, given)?),
            "type" => Ok(Self::Slow(Slow::Type(read::<TypeText>(name, given)?.text))),
            "send-key" => keys(read(name, given)?),
            "input-send-event" => {
                let events: Result<Vec<_>, _> =
                    read::<SendEvent>(name, given)?.events.into_iter().map(input_event).collect();
                Ok(Self::Slow(Slow::Input(events?)))
            }
            _ => Err(Refusal {
                class: Class::CommandNotFound,
                desc: format!("there is no command `{}`: `query-commands` lists all", short(name)),
            }),
        }
    }
}

fn read<T: DeserializeOwned>(name: &str, given: Value) -> Result<T, Refusal> {
    serde_json::from_value(given)
        .map_err(|error| Refusal::new(format!("the arguments of `{name}` are wrong: {error}")))
}

fn screenshot(given: Screendump) -> Result<Command, Refusal> {
    let Screendump { filename, format } = given;
    match format.as_deref() {
        Some("png") | None => Ok(Command::Slow(Slow::Screenshot(filename.into()))),
        Some(other) => {
            Err(Refusal::new(format!("`format` \"{}\" is not known: it must be \"png\"", short(other))))
        }
    }
}

fn keys(given: SendKey) -> Result<Command, Refusal> {
    let SendKey { keys, hold_time } = given;
    if keys.is_empty() || keys.len() > MOST_KEYS {
        return Err(Refusal::new(format!("`keys` must name 1 to {MOST_KEYS} keys")));
    }
    let hold = match hold_time {
        None => HOLD,
        Some(time) if time <= LONGEST_HOLD => Duration::from_millis(time),
        Some(_) => {
            return Err(Refusal::new(format!("`hold-time` must be at most {LONGEST_HOLD} milliseconds")));
        }
    };
    let keys: Result<Vec<_>, _> = keys.into_iter().map(key).collect();
    Ok(Command::Slow(Slow::Keys(keys?, hold)))
}

fn key(value: KeyValue) -> Result<Key, Refusal> {
    let (KeyValue::Name(name) | KeyValue::Typed(TypedKey::Qcode(name))) = value;
    Key::by_name(&name).map_err(|error| Refusal::new(error.to_string()))
}

fn input_event(value: EventValue) -> Result<InputEvent, Refusal> {
    let button = |name: &str| {
        Ok(match name {
            "left" => Button::Left,
            "middle" => Button::Middle,
            "right" => Button::Right,
            "side" => Button::Side,
            "extra" => Button::Extra,
            _ => {
                return Err(Refusal::new(format!(
                    "there is no button `{}`: write left, middle, right, side, extra, wheel-up or wheel-down",
                    short(name)
                )));
            }
        })
    };
    Ok(match value {
        EventValue::Key { down, key: value } => InputEvent::Key(key(value)?, down),
        // The wheel turns when its "button" is pressed; letting it go is nothing.
        EventValue::Btn { down, button } if button == "wheel-up" => InputEvent::Wheel(i32::from(down)),
        EventValue::Btn { down, button } if button == "wheel-down" => InputEvent::Wheel(-i32::from(down)),
        EventValue::Btn { down, button: name } => InputEvent::Button(button(&name)?, down),
        EventValue::Rel { axis: Axis::X, value } => InputEvent::Move(value, 0),
        EventValue::Rel { axis: Axis::Y, value } => InputEvent::Move(0, value),
    })
}
