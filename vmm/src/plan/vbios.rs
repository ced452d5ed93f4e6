//! What the video BIOS must be for, and where its ACPI device is: as the GPU that is passed through, if one is.

use firmware::option_rom::Expect;

use super::passthrough::PlannedPassthrough;
use crate::device::Vbios;
use crate::finding::{Finding, Origin, Section};
use crate::topology::{PciPlan, Role};

/// Finds the device. Does so without complaint if that of a passed-through GPU has no place: that is told already.
pub(super) fn plan(
    vbios: &mut Vbios,
    pci: &PciPlan,
    passthrough: &[PlannedPassthrough],
    gpu_named: bool,
    origin: &Origin,
    problems: &mut Vec<Finding>,
) {
    // The GPU comes before the functions that accompany it.
    let gpu = passthrough.iter().enumerate().find(|(_, function)| function.section == Section::Dgpu);
    if let Some((index, gpu)) = gpu {
        if let Some(placed) = pci.of_role(Role::Passthrough(index)) {
            vbios.belong_to(placed, expected(gpu));
        }
        return;
    }
    // Where the section names a GPU, something else is wrong with that.
    if let Err((message, help)) = vbios.stand_alone(pci)
        && !gpu_named
    {
        problems.push(origin.problem(Section::Dgpu.key("guest"), message).with_help(help));
    }
}

/// A GPU's own IDs, and those that the guest sees.
fn expected(gpu: &PlannedPassthrough) -> Option<Expect> {
    let shown = (gpu.identity.vendor, gpu.identity.device);
    match (&gpu.facts, shown) {
        (Some(own), (vendor, device)) => {
            let shown = (vendor.unwrap_or(own.vendor), device.unwrap_or(own.device));
            let also = Some(shown).filter(|shown| *shown != (own.vendor, own.device));
            Some(Expect { vendor: own.vendor, device: own.device, also })
        }
        (None, (Some(vendor), Some(device))) => Some(Expect::new(vendor, device)),
        (None, _) => None,
    }
}
