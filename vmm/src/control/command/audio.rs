//! The command about sound. QMP has none: its audio devices are looked at from the host.

use devices::audio::Report;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Command, Context, Nothing, quick};
use crate::control::machine::Sound;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Described {
    /// As in vm.toml.
    backend: String,
    /// Frames per second of what plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    playing: Option<u32>,
    /// The same of what is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<u32>,
    /// The loudest of late, in decibels: 0 is full scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<f64>,
    /// Milliseconds of sound that wait for the host's mixer, where that is more than `latency` in vm.toml because there were gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<u32>,
    /// How often the host ran out of sound while the guest played, or the guest while it recorded.
    underruns: u64,
    /// Frames that were left out because too many waited.
    dropped: u64,
    /// For how long the card stood still because host or guest was late, in nanoseconds.
    lost_ns: u64,
    /// Why nothing is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

pub(super) fn commands() -> Vec<Command> {
    vec![quick("query-audio", |context, Nothing {}| Ok(sound(context)))]
}

/// The sound card, in a list of none or one.
fn sound(context: &Context<'_>) -> Vec<Described> {
    let described = |sound: &Sound| {
        let Report { playing, recording, level, latency, underruns, dropped, lost, trouble } =
            sound.monitor.report();
        let backend = sound.backend.clone();
        Described { backend, playing, recording, level, latency, underruns, dropped, lost_ns: lost, trouble }
    };
    context.machine.facts.sound.iter().map(described).collect()
}
