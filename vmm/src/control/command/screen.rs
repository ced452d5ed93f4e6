//! `screendump`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, Slow, no_such_device, slow};
use crate::control::protocol::Refusal;
use crate::screenshot::Format;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Screendump {
    filename: PathBuf,
    device: Option<String>,
    head: Option<i64>,
    format: Option<Kind>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ppm,
    Png,
}

/// What was written. QMP tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::control) struct Pictured {
    /// In pixels.
    pub(in crate::control) width: u32,
    /// In pixels.
    pub(in crate::control) height: u32,
}

pub(super) fn commands() -> Vec<Command> {
    vec![slow::<Screendump, Pictured>("screendump", |_, given| screenshot(given))]
}

fn screenshot(given: Screendump) -> Result<Slow, Refusal> {
    let Screendump { filename, device, head, format } = given;
    no_such_device(device.as_deref())?;
    if head.is_some() {
        return Err(Refusal::new("'head' must be specified together with 'device'"));
    }
    let format = match format {
        Some(Kind::Png) => Format::Png,
        Some(Kind::Ppm) | None => Format::Ppm,
    };
    Ok(Slow::Screenshot(filename, format))
}
