//! `adapter` of `[display]`: what is shown with before a GPU's driver starts, or without any.

use std::fmt;
use std::sync::Arc;

use devices::bus::Priority;
use devices::display::bochs::memory_for;
use devices::display::{Bochs, BochsPorts};
use firmware::edid::edid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{PciAddress, Resolution, ports};

use crate::device::{Assembly, DeviceError};
use crate::finding::{Resolver, Section};
use crate::topology::Placed;

/// What the firmware and a guest without GPU show something with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AdapterKind {
    /// A framebuffer of the firmware's in the guest's memory.
    #[default]
    Ramfb,
    /// A display adapter as Bochs and QEMU have it.
    Bochs,
}

impl AdapterKind {
    /// The adapter, if it is one, with what else is said of it.
    pub(super) fn resolve(
        self,
        resolution: Option<Resolution>,
        address: Option<PciAddress>,
        resolver: &mut Resolver,
    ) -> Option<Adapter> {
        if self == Self::Bochs {
            return Some(Adapter { resolution: resolution.unwrap_or_default(), address });
        }
        let given = [("resolution", resolution.is_some()), ("address", address.is_some())];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            resolver.problem_with_help(
                Section::Display.key(key),
                format!("`{key}` belongs to a display adapter, and there is none"),
                "add `adapter = \"bochs\"`, or leave it out",
            );
        }
        None
    }
}

/// A display adapter of the kind `bochs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    /// The mode that its monitor prefers.
    pub resolution: Resolution,
    /// Guest PCI address; `None` leaves it to the plan.
    pub address: Option<PciAddress>,
}

impl Adapter {
    fn size(self) -> (u32, u32) {
        (self.resolution.width.into(), self.resolution.height.into())
    }

    /// Adds it to the machine.
    pub(super) fn build(self, placed: Placed<'_>, machine: &Assembly<'_>) -> Result<Arc<Bochs>, DeviceError> {
        let (width, height) = self.size();
        let refusal = |why: String| DeviceError::Function { at: placed.function.to_string(), why };
        let describe = |width, height| edid((width, height), (0, 0)).ok().map(|edid| edid.bytes);
        let adapter = Bochs::new(width, height, Box::new(describe)).map_err(|error| {
            let mib = memory_for(width, height) >> 20;
            refusal(format!("there is no memory for a framebuffer of {mib} MiB: {error}"))
        })?;
        let function = adapter
            .function(placed.function.multifunction)
            .ok_or_else(|| refusal("no BAR is as large as the framebuffer".into()))?;
        let ports = Arc::new(BochsPorts(Arc::clone(&adapter)));
        machine.add_function(placed, function)?;
        machine.io.insert(ports::BOCHS_VBE.range(), Priority::Platform, ports);
        Ok(adapter)
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = self.size();
        let memory = memory_for(width, height) >> 20;
        write!(f, "display adapter bochs for {} with {memory} MiB of its own", self.resolution)
    }
}
