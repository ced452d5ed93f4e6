//! The `kind` of a `[firmware]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a firmware image is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FirmwareKind {
    /// OVMF, of which the variables are kept.
    #[default]
    Ovmf,
    /// A flat image of any content, without variables.
    Raw,
}
