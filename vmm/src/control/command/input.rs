//! Commands for keyboard and mouse.

use std::time::Duration;

use ::devices::input::{AbsoluteEvent, Key};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Command, Nothing, Slow, no_such_device, slow};
use crate::control::protocol::Refusal;

/// Something that a keyboard or a mouse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum InputEvent {
    /// A key is pressed or released.
    Key(Key, bool),
    /// A button of the mouse is pressed or released.
    Button(Button, bool),
    /// A step of the wheel, away from the user positive.
    Wheel(i32),
    /// Motion to the right and down.
    Move(i32, i32),
    /// The pointer is put at a place, from 0 to [`AbsoluteEvent::LAST`] along each axis; `None` leaves it where it is along that one.
    Place(Option<u16>, Option<u16>),
    /// The same by a pixel of the screen.
    Pixel(u32, u32),
}

/// A button of the mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Button {
    Left,
    Middle,
    Right,
    Side,
    Extra,
}

/// How long `send-key` holds the keys, as in QMP.
const HOLD: Duration = Duration::from_millis(100);
/// The longest that it holds them: the connection waits for it.
const LONGEST_HOLD: u64 = 10_000;
/// Most keys of one `send-key`: more than fingers.
const MOST_KEYS: usize = 16;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TypeText {
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SendKey {
    keys: Vec<KeyValue>,
    /// In milliseconds.
    hold_time: Option<u64>,
}

/// A key: QMP's `{"type": "qcode", "data": "ctrl"}`, or just its name.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum KeyValue {
    Name(String),
    Typed(TypedKey),
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
enum TypedKey {
    Qcode(String),
    Number(u32),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SendEvent {
    device: Option<String>,
    head: Option<i64>,
    events: Vec<EventValue>,
}

/// A pixel of the screen.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MovePointer {
    x: u32,
    y: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
enum EventValue {
    Key { down: bool, key: KeyValue },
    Btn { down: bool, button: ButtonName },
    Rel(Motion),
    Abs(Motion),
}

#[derive(Deserialize, JsonSchema)]
struct Motion {
    axis: Axis,
    value: i32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Axis {
    X,
    Y,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ButtonName {
    Left,
    Middle,
    Right,
    WheelUp,
    WheelDown,
    Side,
    Extra,
    WheelLeft,
    WheelRight,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        slow::<TypeText, Nothing>("type", |_, TypeText { text }| Ok(Slow::Type(text))),
        slow::<SendKey, Nothing>("send-key", |_, given| send_key(given)),
        slow::<SendEvent, Nothing>("input-send-event", |_, given| send_event(given)),
        slow::<MovePointer, Nothing>("move-pointer", |_, MovePointer { x, y }| {
            Ok(Slow::Input(vec![InputEvent::Pixel(x, y)]))
        }),
    ]
}

fn send_key(given: SendKey) -> Result<Slow, Refusal> {
    let SendKey { keys, hold_time } = given;
    let keys: Result<Vec<_>, _> = keys.into_iter().map(key).collect();
    press(keys?, hold_time)
}

/// Presses keys together, for so many milliseconds.
pub(super) fn press(keys: Vec<Key>, hold: Option<u64>) -> Result<Slow, Refusal> {
    if keys.is_empty() || keys.len() > MOST_KEYS {
        return Err(Refusal::new(format!("`keys` must name 1 to {MOST_KEYS} keys")));
    }
    let hold = match hold {
        None => HOLD,
        Some(time) if time <= LONGEST_HOLD => Duration::from_millis(time),
        Some(_) => {
            return Err(Refusal::new(format!("`hold-time` must be at most {LONGEST_HOLD} milliseconds")));
        }
    };
    Ok(Slow::Keys(keys, hold))
}

fn key(value: KeyValue) -> Result<Key, Refusal> {
    match value {
        KeyValue::Name(name) | KeyValue::Typed(TypedKey::Qcode(name)) => named(&name),
        KeyValue::Typed(TypedKey::Number(number)) => numbered(number),
    }
}

/// The key of a name.
pub(super) fn named(name: &str) -> Result<Key, Refusal> {
    Key::by_name(name).map_err(|error| Refusal::new(error.to_string()))
}

/// The key of a scan code of set 1, with bit 7 in place of the prefix 0xE0.
pub(super) fn numbered(number: u32) -> Result<Key, Refusal> {
    Key::from_xt(number).ok_or_else(|| Refusal::new(format!("no key has the number {number:#x}")))
}

fn send_event(given: SendEvent) -> Result<Slow, Refusal> {
    let SendEvent { device, head, events } = given;
    no_such_device(device.as_deref())?;
    if head.is_some_and(|head| head != 0) {
        return Err(Refusal::new("there is only head 0"));
    }
    let mut all: Vec<InputEvent> = Vec::new();
    for event in events {
        let event = input_event(event)?;
        match (all.last_mut(), event) {
            // Both coordinates of a place come one after the other, and are one motion.
            (Some(InputEvent::Place(_, y @ None)), InputEvent::Place(None, new)) => *y = new,
            (Some(InputEvent::Place(x @ None, _)), InputEvent::Place(new, None)) => *x = new,
            _ => all.push(event),
        }
    }
    Ok(Slow::Input(all))
}

fn input_event(value: EventValue) -> Result<InputEvent, Refusal> {
    let (button, down) = match value {
        EventValue::Key { down, key: value } => return Ok(InputEvent::Key(key(value)?, down)),
        EventValue::Rel(Motion { axis: Axis::X, value }) => return Ok(InputEvent::Move(value, 0)),
        EventValue::Rel(Motion { axis: Axis::Y, value }) => return Ok(InputEvent::Move(0, value)),
        EventValue::Abs(Motion { axis, value }) => {
            let last = AbsoluteEvent::LAST;
            let value = u16::try_from(value).ok().filter(|value| *value <= last).ok_or_else(|| {
                Refusal::new(format!("{value} is no place on the screen: they are from 0 to {last}"))
            })?;
            return Ok(match axis {
                Axis::X => InputEvent::Place(Some(value), None),
                Axis::Y => InputEvent::Place(None, Some(value)),
            });
        }
        EventValue::Btn { down, button } => (button, down),
    };
    let button = match button {
        ButtonName::Left => Button::Left,
        ButtonName::Middle => Button::Middle,
        ButtonName::Right => Button::Right,
        ButtonName::Side => Button::Side,
        ButtonName::Extra => Button::Extra,
        // The wheel turns when its "button" is pressed; letting it go is nothing.
        ButtonName::WheelUp => return Ok(InputEvent::Wheel(i32::from(down))),
        ButtonName::WheelDown => return Ok(InputEvent::Wheel(-i32::from(down))),
        ButtonName::WheelLeft | ButtonName::WheelRight => {
            return Err(Refusal::new("this machine's mouse has no horizontal wheel"));
        }
    };
    Ok(InputEvent::Button(button, down))
}
