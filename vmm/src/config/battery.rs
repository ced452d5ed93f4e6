//! The `[battery]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A battery and a power adapter, which drivers of mobile GPUs look for. Without this section there is neither.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatterySection {
    /// What the battery shows: `"full"`, that it is always full and the adapter plugged in, or `"mirror"`, what the
    /// host's does, with its adapter. The sum of several batteries is shown as one.
    pub mode: BatteryMode,
}

/// What the guest's battery shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum BatteryMode {
    /// Always full, the adapter plugged in.
    Full,
    /// What the host's shows.
    Mirror,
}
