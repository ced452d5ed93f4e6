//! The display GPU in the report.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::PlannedIgpu;

/// What is asked of the display GPU, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Igpu {
    /// The mode that its monitor prefers, `1920x1080`; none for a whole function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// Whether the guest finds the OpRegion; none if that is up to the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opregion: Option<bool>,
    /// Whether there is a framebuffer for the firmware.
    pub ramfb: bool,
}

impl From<&PlannedIgpu> for Igpu {
    fn from(planned: &PlannedIgpu) -> Self {
        let PlannedIgpu { index: _, resolution, opregion, ramfb } = planned;
        Self {
            resolution: resolution.map(|resolution| resolution.to_string()),
            opregion: *opregion,
            ramfb: *ramfb,
        }
    }
}

impl Igpu {
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let yes = |yes| if yes { "yes" } else { "no" };
        writeln!(out, "\nDisplay")?;
        let resolution = self.resolution.as_deref().unwrap_or("the guest's choice");
        writeln!(out, "  resolution           {resolution}")?;
        writeln!(out, "  OpRegion             {}", self.opregion.map_or("if the device has one", yes))?;
        writeln!(out, "  firmware framebuffer {}", yes(self.ramfb))
    }
}
