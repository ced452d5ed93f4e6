//! `[audio]` of vm.toml: where the sound goes, in what a user writes and in what the machine plan has.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::path::check_path;
use vocabulary::printable::shorten;
use vocabulary::{Scalar, inline_schema, text_scalar};

use super::Audio;
use crate::finding::{Resolver, Section};

/// A sound card: the ICH9's High Definition Audio controller at 00:1b.0, with a line output and, if it is wanted, a microphone. An empty
/// section is heard through the user's sound server. See docs/audio.md.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AudioSection {
    /// Where the sound goes: `"pulse"`, the user's sound server, which is PulseAudio or PipeWire; `"wav:PATH"`, a file; or `"none"`, nowhere.
    pub backend: AudioBackend,
    /// Whether the guest has a microphone. With `"pulse"` it records what the server's default source hears, and only while the guest
    /// records; otherwise silence.
    pub mic: bool,
    /// How much sound waits in front of the server's mixer, in milliseconds: less is earlier, more is safer on a host under load. Gaps make it longer, up to 100. For `"pulse"`.
    #[schemars(range(min = 5, max = 500))]
    pub latency: u32,
    /// The server's device that plays, as `pactl list short sinks` names it. For `"pulse"`.
    #[schemars(extend("x-default" = "the server's default device"))]
    pub device: Option<String>,
    /// What mixers call the machine. For `"pulse"`.
    #[schemars(extend("x-default" = "the machine's name"))]
    pub name: Option<String>,
    /// The server's socket, for a machine that does not run as the server's user. For `"pulse"`.
    #[schemars(extend("format" = "path", "x-default" = "the one of the user's session, as PulseAudio's clients find it"))]
    pub server: Option<String>,
}

const LATENCY: u32 = 20;

impl Default for AudioSection {
    fn default() -> Self {
        Self {
            backend: AudioBackend::Pulse,
            mic: false,
            latency: LATENCY,
            device: None,
            name: None,
            server: None,
        }
    }
}

/// Where a guest's sound goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum AudioBackend {
    /// The user's sound server.
    Pulse,
    /// A file.
    Wav(PathBuf),
    /// Nowhere.
    None,
}

impl AudioBackend {
    pub(crate) const FORMAT: &str = "audio-backend";
    pub(crate) const EXPECTED: &str = "one of \"pulse\", \"wav:PATH\" and \"none\"";
}

impl fmt::Display for AudioBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pulse => f.write_str("pulse"),
            Self::Wav(path) => write!(f, "wav:{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

/// Why a text names no backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseBackendError(String);

impl FromStr for AudioBackend {
    type Err = ParseBackendError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "pulse" => Ok(Self::Pulse),
            None if text == "none" => Ok(Self::None),
            None if text == "wav" => Err(ParseBackendError("`wav` needs a path: write \"wav:PATH\"".into())),
            Some(("wav", path)) => match check_path(path) {
                Ok(()) => Ok(Self::Wav(path.into())),
                Err(why) => Err(ParseBackendError(format!("after `wav:`, {why}"))),
            },
            _ => Err(ParseBackendError(format!(
                "\"{}\" is no way for sound: write {}",
                shorten(text),
                Self::EXPECTED
            ))),
        }
    }
}

text_scalar!(AudioBackend);

inline_schema!(AudioBackend, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(pulse|none|wav:.+)$",
});

impl AudioSection {
    /// The controller of a machine of this name.
    pub(crate) fn resolve(self, machine: &str, resolver: &mut Resolver) -> Audio {
        let Self { backend, mic, latency, device, name, server } = self;
        let backend = match backend {
            AudioBackend::Wav(path) => AudioBackend::Wav(resolver.path(path)),
            other => other,
        };
        if backend != AudioBackend::Pulse {
            for key in ["latency", "device", "name", "server"].map(|key| Section::Audio.key(key)) {
                if resolver.is_written(key) {
                    let message = format!("`{key}` is for a sound server, and the backend is \"{backend}\"");
                    resolver.problem_with_help(key, message, "remove it, or choose `backend = \"pulse\"`");
                }
            }
        }
        let server = server.map(|path| resolver.path(path));
        Audio { backend, mic, latency, device, name: name.unwrap_or_else(|| machine.to_owned()), server }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_backend_or_not(text in "\\PC{0,20}|wav:.{0,9}") {
            if let Ok(backend) = text.parse::<AudioBackend>() {
                prop_assert_eq!(backend.to_string(), text);
            }
        }
    }
}
