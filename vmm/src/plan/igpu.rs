//! The display GPU: what its section asks for beyond a passed-through function, and conflicts of its own.

use devices::chipset::lpc::Board;
use vocabulary::{LentDevice, Resolution};

use super::MachinePlan;
use super::passthrough::{PlannedPassthrough, class};
use crate::config::Config;
use crate::device::Display;
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

/// Intel's vendor ID.
const INTEL: u16 = 0x8086;

impl MachinePlan {
    /// The board of the LPC bridge. It is a virtual machine's only for drivers that have to know: those of a GPU of Intel's.
    pub fn lpc_board(&self) -> Board {
        match self.passthrough.iter().any(may_be_intels) {
            true => Board::VirtualMachine,
            false => Board::Unnamed,
        }
    }
}

/// Whether a guest may find a GPU of Intel's in it. What makes virtual display GPUs is Intel's.
fn may_be_intels(function: &PlannedPassthrough) -> bool {
    let PlannedPassthrough { section, identity, facts, .. } = function;
    let display = facts.as_ref().is_some_and(|own| own.class >> 16 == class::DISPLAY);
    let vendor = identity.vendor.or_else(|| facts.as_ref().map(|own| own.vendor));
    match section {
        Section::Igpu => vendor.is_none_or(|vendor| vendor == INTEL),
        _ => display && vendor == Some(INTEL),
    }
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
    // Two framebuffers would be two screens to the firmware, of which guests choose one.
    let adapter = config.devices.one::<Display>().is_some_and(|display| display.adapter.is_some());
    let ramfb = igpu.ramfb && !adapter;
    Some(PlannedIgpu { index, resolution: igpu.resolution, opregion: igpu.opregion, ramfb })
}

/// A device that is passed through makes no virtual ones: its driver has to let go of it.
fn parent_is_lent(
    config: &Config,
    functions: &[PlannedPassthrough],
    igpu: &PlannedPassthrough,
) -> Option<Finding> {
    let parent = match &igpu.create {
        Some(new) => new.parent.as_str().parse().ok()?,
        None => igpu.parent?,
    };
    let lent = functions.iter().find(|function| function.host == LentDevice::Function(parent))?;
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
