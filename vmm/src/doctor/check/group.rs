//! The GPU's IOMMU group, and what giving up each of its members costs.

use super::{Verdict, function, listed};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;
use crate::doctor::facts::gpu::Function;
use crate::host::{leaves_dma, lends};

/// What a function is, by its class (PCI Code and ID Assignment Specification 1.14), and what the host loses with it.
fn cost(function: &Function) -> String {
    let interfaces = match function.interfaces.as_slice() {
        [] => String::new(),
        names => format!(" ({})", listed(names)),
    };
    let (what, loss) = match (function.class >> 16, function.kind()) {
        (_, 0x0280) => ("Wi-Fi or another network controller", "the host loses that network"),
        (0x02, _) => ("a network controller", "the host loses that network"),
        (_, 0x0108) => ("an NVMe disk", "the host loses that disk: impossible if its system is on it"),
        (0x01, _) => {
            ("a disk controller", "the host loses all disks at it: impossible if its system is on one")
        }
        (_, 0x0c03) => (
            "a USB controller",
            "the host loses all that is plugged in there, keyboard and camera maybe among it",
        ),
        (_, 0x0c05) => ("the SMBus", "the host loses sensors, and touchpads of some laptops"),
        (0x03, _) => ("another display controller", "the host loses that GPU and its screens"),
        (_, 0x0403 | 0x0401) => ("audio", "the host loses that sound"),
        (0x04, _) => ("multimedia", "the host loses it"),
        (0x08, 0x0805) | (0xff, _) => ("a card reader or other device", "the host loses it"),
        (0x10, _) => ("a security processor", "the host loses firmware TPM and encryption of memory"),
        (0x11, _) => ("a signal processor or sensor", "the host may lose thermal control"),
        _ => ("a device", "the host loses it"),
    };
    format!("{} ({}, {what}{interfaces}): {loss}", function.address, function.ids())
}

pub(super) fn group(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let Some(own) = gpu.function() else { return Vec::new() };
    let Some(number) = own.group else {
        // That there is no IOMMU at all has a finding of its own.
        let left_out = facts.iommu.as_ref().is_some_and(|iommu| iommu.groups > 0);
        return if left_out {
            vec![
                Verdict::blocks(
                    format!("{} is in no IOMMU group, although others are", own.address),
                    format!("{}/iommu_group", function(own.address)),
                    "it is behind no IOMMU, and cannot be lent",
                )
                .with_fix("take words such as `intel_iommu=igfx_off` from the kernel's command line; `sudo dmesg | grep -e DMAR -e AMD-Vi` tells more"),
            ]
        } else {
            Vec::new()
        };
    };
    let source = format!("/sys/kernel/iommu_groups/{number}/devices");
    let bridges: Vec<_> =
        gpu.members.iter().filter(|member| member.is_bridge()).map(|member| member.address).collect();
    let others: Vec<_> =
        gpu.members.iter().filter(|member| !member.is_bridge() && !gpu.has(member.address)).collect();
    let slot: Vec<_> =
        gpu.members.iter().filter(|member| gpu.has(member.address)).map(|member| member.address).collect();
    let ports = match bridges.as_slice() {
        [] => String::new(),
        bridges => format!(
            ", and the {} {}, which stays with the host",
            if bridges.len() == 1 { "port" } else { "ports" },
            listed(bridges)
        ),
    };
    let ports = if bridges.len() > 1 { ports.replace("which stays", "which stay") } else { ports };
    if others.is_empty() {
        return vec![Verdict::ok(format!("group {number}: {}{ports}", listed(&slot)), source)];
    }
    let in_the_way: Vec<_> = others
        .iter()
        .filter(|member| member.driver.as_deref().is_some_and(|driver| !leaves_dma(driver)))
        .collect();
    let costs: Vec<_> = others.iter().map(|member| cost(member)).collect();
    let found = format!("group {number} also has {}{ports}", costs.join("; "));
    if in_the_way.is_empty() {
        let means = "no driver of the host has them, so the group can be lent; the host does without them";
        return vec![Verdict::note(found, source, means)];
    }
    let unbind: Vec<_> = in_the_way
        .iter()
        .map(|member| format!("`echo {0} | sudo tee /sys/bus/pci/devices/{0}/driver/unbind`", member.address))
        .collect();
    vec![
        Verdict::blocks(found, source, "the GPU is only lent with all of them, or while no driver has them").with_fix(format!(
            "take them from the host before a run: {}; or give them to the guest by [[vfio]]. A newer firmware may split \
             the group; `pcie_acs_override` of patched kernels only hides it",
            unbind.join(" and ")
        )),
    ]
}

/// Whether a driver of this name lends its devices.
pub(super) fn is_lent(driver: Option<&str>) -> bool {
    driver.is_some_and(lends)
}
