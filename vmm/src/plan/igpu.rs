//! The display GPU: what its section asks for beyond a passed-through function, and conflicts of its own.

use vocabulary::{LentDevice, Resolution};

use super::passthrough::PlannedPassthrough;
use crate::config::Config;
use crate::finding::{Finding, Section};

/// The display GPU of `[igpu]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedIgpu {
    /// Its index in [`super::MachinePlan::passthrough`].
    pub index: usize,
    /// The mode that its monitor is to prefer; `None` for a whole function, whose displays are its own.
    pub resolution: Option<Resolution>,
    /// Whether the guest finds the OpRegion; `None` if it does when the device has one.
    pub opregion: Option<bool>,
    /// Whether there is a framebuffer for the firmware.
    pub ramfb: bool,
}

/// Finds the GPU among `functions`.
pub(super) fn plan(
    config: &Config,
    functions: &[PlannedPassthrough],
    problems: &mut Vec<Finding>,
) -> Option<PlannedIgpu> {
    let igpu = config.igpu?;
    let index = functions.iter().position(|function| function.section == Section::Igpu)?;
    problems.extend(parent_is_lent(config, functions, functions.get(index)?));
    Some(PlannedIgpu { index, resolution: igpu.resolution, opregion: igpu.opregion, ramfb: igpu.ramfb })
}

/// A device that is passed through makes no virtual ones: its driver has to let go of it.
fn parent_is_lent(
    config: &Config,
    functions: &[PlannedPassthrough],
    igpu: &PlannedPassthrough,
) -> Option<Finding> {
    let parent = &igpu.create.as_ref()?.parent;
    let address = LentDevice::Function(parent.as_str().parse().ok()?);
    let lent = functions.iter().find(|function| function.host == address)?;
    let message = format!(
        "the virtual GPU is made by the driver of {parent}, and `{}` passes that through",
        lent.section
    );
    Some(
        config.problem(igpu.section.key("parent"), message).with_help(
            "leave one of them out: the host's GPU either makes virtual ones or is the guest's alone",
        ),
    )
}
