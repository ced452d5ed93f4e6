//! What the machine announces to its clients: QMP's events, of which the schema that `query-qmp-schema` answers with is made,
//! too.

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

/// An event, with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Event {
    /// The machine was reset.
    Reset(Ending),
    /// The power button was pressed.
    Powerdown,
    /// The guest's kernel panicked.
    GuestPanicked(Panicked),
    /// All vCPUs are stopped.
    Stop,
    /// They run again.
    Resume,
    /// The machine ends.
    Shutdown(Ending),
}

/// Who ended or reset the machine, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Ending {
    pub(crate) guest: bool,
    pub(crate) reason: ShutdownCause,
}

/// What follows from a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Panicked {
    pub(crate) action: PanicAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<PanicInformation>,
}

/// What a guest told of its panic (QEMU's `GuestPanicInformation`, as far as it occurs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum PanicInformation {
    /// By Hyper-V's crash registers, P0 to P4 (`GuestPanicInformationHyperV`).
    HyperV { arg1: u64, arg2: u64, arg3: u64, arg4: u64, arg5: u64 },
}

impl PanicInformation {
    pub(crate) fn of_hyperv([arg1, arg2, arg3, arg4, arg5]: [u64; 5]) -> Self {
        Self::HyperV { arg1, arg2, arg3, arg4, arg5 }
    }
}

/// Why a machine ends or is reset (QEMU's `ShutdownCause`, as far as it occurs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownCause {
    /// The host or a device failed.
    HostError,
    /// `quit` on the control socket.
    HostQmpQuit,
    /// `system_reset` on the control socket.
    HostQmpSystemReset,
    /// A signal.
    HostSignal,
    /// The console's keys or the command line of `run`: its time-out, its expectations.
    HostUi,
    /// The guest powered off.
    GuestShutdown,
    /// The guest reset the machine.
    GuestReset,
    /// The guest crashed.
    GuestPanic,
}

impl ShutdownCause {
    /// Whether it is the guest's doing.
    pub(crate) fn is_guests(self) -> bool {
        matches!(self, Self::GuestShutdown | Self::GuestReset | Self::GuestPanic)
    }
}

impl From<ShutdownCause> for Ending {
    fn from(reason: ShutdownCause) -> Self {
        Self { guest: reason.is_guests(), reason }
    }
}

/// What is done when the guest panics (QEMU's `GuestPanicAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PanicAction {
    /// The machine is kept, stopped.
    Pause,
    /// It ends.
    Poweroff,
    /// It starts anew.
    Run,
}

impl Event {
    /// The event as something that happens now.
    pub(crate) fn now(&self) -> Value {
        // A clock before 1970 is nobody's.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut message = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(members) = &mut message {
            let timestamp = json!({ "seconds": now.as_secs(), "microseconds": now.subsec_micros() });
            members.insert("timestamp".into(), timestamp);
        }
        message
    }
}

/// The names of all events, with the JSON schemas of their data.
pub(crate) fn events(generator: &mut SchemaGenerator) -> Vec<(String, Option<Schema>)> {
    let schema = Event::json_schema(generator).to_value();
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let described = |variant: Value| {
        let members = &variant["properties"];
        let name = members["event"]["const"].as_str()?.to_owned();
        let data = members.get("data").and_then(|data| data.clone().try_into().ok());
        Some((name, data))
    };
    variants.into_iter().filter_map(described).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_form_of_qmp() {
        let event = Event::Reset(ShutdownCause::GuestReset.into()).now();
        assert_eq!(event["event"], "RESET");
        assert_eq!(event["data"], json!({ "guest": true, "reason": "guest-reset" }));
        assert!(event["timestamp"]["seconds"].as_u64().unwrap() > 1_700_000_000);
        assert!(event["timestamp"]["microseconds"].as_u64().unwrap() < 1_000_000);
        let event = Event::Powerdown.now();
        assert_eq!(event.as_object().unwrap().len(), 2, "{event}");
    }

    #[test]
    fn all_events_are_described() {
        let described = events(&mut SchemaGenerator::default());
        let names: Vec<_> = described.iter().map(|(name, data)| (name.as_str(), data.is_some())).collect();
        assert_eq!(
            names,
            [
                ("RESET", true),
                ("POWERDOWN", false),
                ("GUEST_PANICKED", true),
                ("STOP", false),
                ("RESUME", false),
                ("SHUTDOWN", true)
            ]
        );
    }
}
