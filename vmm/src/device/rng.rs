//! `[rng]`: the virtio random number generator.

use devices::virtio::rng::VirtioRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::PciAddress;

use super::{Assembly, DeviceError, Opened, Opening, PciNeed, Spec};
use crate::finding::Section;
use crate::topology::Placed;

/// The virtio random number generator, fed by the host's kernel.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RngSection {
    /// Whether the machine has one.
    pub enabled: bool,
    /// The PCI address in the guest.
    #[schemars(extend("x-default" = "the next free one"))]
    pub address: Option<PciAddress>,
}

impl Default for RngSection {
    fn default() -> Self {
        Self { enabled: true, address: None }
    }
}

/// The virtio random number generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rng {
    /// Guest PCI address; `None` leaves it to the plan.
    pub address: Option<PciAddress>,
}

impl RngSection {
    /// The device, unless it is disabled.
    pub(crate) fn resolve(&self) -> Option<Rng> {
        self.enabled.then_some(Rng { address: self.address })
    }
}

impl Spec for Rng {
    fn section(&self) -> Section {
        Section::Rng
    }

    fn describe(&self) -> String {
        "virtio-rng".into()
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: self.address, pin: 1 })
    }

    fn open(&self, _: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        Some(Box::new(*self))
    }
}

impl Opened for Rng {
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        machine.add_virtio(placed, Box::new(VirtioRng::new()))
    }
}
