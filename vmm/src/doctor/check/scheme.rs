//! How the laptop's GPUs are wired.

use super::{Verdict, function, listed};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;
use crate::doctor::facts::gpu::{Connector, Display};

/// Sub-classes of display controllers (PCI Code and ID Assignment Specification 1.14, 1.4).
const CONTROLLER_3D: u32 = 0x0302;

pub(super) fn scheme(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(pci) = &facts.pci else { return Vec::new() };
    let source = format!("class and vendor below {}", "/sys/bus/pci/devices");
    let Some(lent) = pci.lent() else {
        return vec![match &pci.gpu {
            // A vm.toml may lend something else by [dgpu]; the machine's own finding says what is wrong with that.
            Some(gpu) => Verdict::warning(
                format!("{} is no display controller", gpu.address),
                source,
                "`host` in [dgpu] should be the GPU; `lspci -D -d ::03xx` lists those of this host",
            ),
            None => no_gpu(facts, source),
        }];
    };
    let own = &lent.function;
    let what = format!("{} ({}, class {:04x})", own.address, own.ids(), own.kind());
    let others: Vec<_> = pci.rest().collect();
    let connectors = lent.connectors.as_deref().unwrap_or_default();
    let mut verdicts = vec![match (others.as_slice(), own.kind()) {
        ([], CONTROLLER_3D) => Verdict::warning(
            format!("{what} is the only GPU, and has no outputs"),
            source,
            "the other one is switched off or not found: the host has no screen of its own",
        ),
        ([], _) => only(facts, &what, source),
        (others, CONTROLLER_3D) => Verdict::ok(
            format!("MUXless Optimus: {what} has no outputs; all screens are driven by {}", names(others)),
            source,
        ),
        (others, _) => wired(&what, &names(others), lent, connectors, source),
    }];
    if let Some(other) = others.iter().find(|display| display.function.kind() == 0x0380 && lent.primary) {
        let at = other.function.address;
        let says =
            "the firmware has started on the NVIDIA GPU: the MUX is set to it, or the panel is wired to it";
        verdicts.push(Verdict::note(
            format!("{at} is a display controller of class 0380, not the primary one"),
            format!("{}/class", function(at)),
            says,
        ));
    }
    if !pci.others.is_empty() {
        verdicts.push(Verdict::note(
            format!("further NVIDIA GPUs: {}", listed(&pci.others)),
            "/sys/bus/pci/devices",
            "this report is about the first; `host` in the [dgpu] of a vm.toml chooses another",
        ));
    }
    verdicts
}

fn no_gpu(facts: &Facts, source: String) -> Verdict {
    if facts.machine.is_some() {
        return Verdict::note(
            "this host has no NVIDIA GPU",
            source,
            "the vm.toml lends other devices, or none",
        );
    }
    Verdict::blocks(
        "this host has no NVIDIA GPU",
        source,
        "there is no dGPU to lend: it may be switched off by the firmware setup, by a vendor's tool, or by bbswitch or acpi_call",
    )
    .with_fix(
        "switch it on in the firmware setup (hybrid, Optimus or discrete graphics); `echo 1 | sudo tee /sys/bus/pci/rescan` finds one \
         that was removed; a vm.toml without [dgpu] is judged without it: `optimus-vmm doctor vm.toml`",
    )
}

/// The GPU is alone.
fn only(facts: &Facts, what: &str, source: String) -> Verdict {
    let portable = facts.system.as_ref().and_then(|system| system.is_portable());
    let (found, means, fix) = match portable {
        Some(false) => (
            format!("no laptop: {what} is the only GPU"),
            "the host has no screen while a guest has the GPU",
            "work over the network (ssh) while the machine runs, or let a second GPU show the host",
        ),
        _ => (
            format!("dGPU only: {what} is the only GPU that the laptop shows"),
            "the host has no screen while a guest has the GPU: the MUX is set to it, or the processor's GPU is switched off",
            "set the graphics mode to hybrid (Optimus, dynamic, switchable) in the firmware setup, or work over the network",
        ),
    };
    Verdict::warning(found, source, means).with_fix(fix)
}

/// The GPU may have outputs, and there is another.
fn wired(what: &str, others: &str, lent: &Display, connectors: &[Connector], source: String) -> Verdict {
    let panel = connectors.iter().find(|connector| connector.is_panel());
    let sockets: Vec<_> = connectors
        .iter()
        .filter(|connector| !connector.is_panel())
        .map(|connector| connector.name.as_str())
        .collect();
    match (panel, lent.connectors.is_some(), sockets.as_slice()) {
        (Some(panel), ..) if panel.connected => Verdict::warning(
            format!("MUXed, with the panel at the NVIDIA GPU: {what} drives {}; the other GPU is {others}", panel.name),
            source,
            "the host's own panel goes dark while a guest has the GPU",
        )
        .with_fix("set the graphics mode to hybrid (Optimus, dynamic, switchable) in the firmware setup, and reboot"),
        (Some(panel), ..) => Verdict::ok(
            format!("MUXed: {what} can drive the panel ({}), which is now at {others}", panel.name),
            source,
        ),
        (None, true, []) => Verdict::ok(
            format!("Optimus: {what} has no connectors, although its class allows them; the other GPU is {others}"),
            source,
        ),
        (None, true, sockets) => Verdict::ok(
            format!("Optimus with outputs: {} at {what}; the panel is at {others}", listed(sockets)),
            source,
        ),
        (None, false, _) => Verdict::note(
            format!("Optimus with outputs, or MUXed: {what}; the other GPU is {others}"),
            source,
            "which sockets are the NVIDIA GPU's, is known while its driver has it (nvidia with modeset, or nouveau)",
        ),
    }
}

fn names(displays: &[&Display]) -> String {
    let names: Vec<_> = displays
        .iter()
        .map(|display| format!("{} ({})", display.function.address, display.function.ids()))
        .collect();
    listed(&names)
}

pub(super) fn screens(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(lent) = facts.pci.as_ref().and_then(|pci| pci.lent()) else { return Vec::new() };
    let address = lent.function.address;
    let mut verdicts = Vec::new();
    if lent.primary {
        let means = "its screen stays dark while the machine runs, and the firmware's framebuffer may keep its memory busy";
        verdicts.push(
            Verdict::warning(
                format!("{address} is the host's primary display"),
                format!("{}/boot_vga", function(address)),
                means,
            )
            .with_fix(
                "set the graphics mode to hybrid in the firmware setup; where that is not wanted, boot with `video=efifb:off` or \
                 `initcall_blacklist=sysfb_init` on the kernel's command line",
            ),
        );
    }
    let connectors = lent.connectors.as_deref().unwrap_or_default();
    let connected: Vec<_> = connectors
        .iter()
        .filter(|connector| connector.connected)
        .map(|connector| connector.name.as_str())
        .collect();
    let source = format!("{}/drm/card*/*/status", function(address));
    if !connected.is_empty() {
        verdicts.push(Verdict::warning(
            format!("connected to the GPU: {}", listed(&connected)),
            source,
            "what is shown there, is the guest's while the machine runs, and the desktop must let go of it before",
        ));
    } else if lent.connectors.is_some() && !lent.primary {
        verdicts.push(Verdict::ok("no screen is connected to the GPU", source));
    }
    verdicts
}
