//! The GPU itself, and what the host says of it.

use super::{Driver, Facts, NOT_KNOWN, Verdict, key};
use crate::code43::driver::NVIDIA;

/// What reads where nothing answers.
const NOBODY: u16 = 0xffff;
/// Base class of display controllers.
const DISPLAY: u16 = 0x03;
/// How the GPU of a host is found.
const WHICH: &str = "`lspci -D -d 10de::03xx` lists this host's";

/// An NVIDIA GPU is passed through.
pub(super) fn gpu(facts: &Facts, _: Driver) -> Option<Verdict> {
    let Some(gpu) = &facts.gpu else {
        let advice = format!("add `host = \"0000:01:00.0\"` to [dgpu], with the GPU's address: {WHICH}");
        return Some(Verdict::fails("no GPU is passed through").at(key::HOST, advice));
    };
    let host = &gpu.host;
    let shown = facts.shown_ids();
    let Some(ids) = shown.filter(|_| gpu.own.is_some() || facts.live.is_some()) else {
        return Some(match &facts.host {
            Some(_) => Verdict::fails(format!("this host has no PCI device {host}"))
                .at(key::HOST, format!("write the GPU's address: {WHICH}")),
            None => Verdict::unknown(format!("{host} of the host, which was not asked")),
        });
    };
    if ids.vendor == NOBODY {
        return Some(Verdict::fails(format!("{host} does not answer: its registers read all ones")));
    }
    if ids.vendor != NVIDIA {
        let found = format!("{host} is {ids}, which is not NVIDIA's");
        return Some(
            Verdict::fails(found).at(key::HOST, format!("write the address of an NVIDIA GPU: {WHICH}")),
        );
    }
    if let Some(class) = facts.class().filter(|class| class >> 8 != DISPLAY) {
        let found = format!("{host} is {ids} of class {class:04x}, which is no display controller");
        return Some(Verdict::fails(found).at(key::HOST, format!("write the address of the GPU: {WHICH}")));
    }
    let driver = gpu.driver.as_ref().filter(|_| facts.live.is_none());
    let driver = driver.map(|driver| format!(", the host's driver is {driver}")).unwrap_or_default();
    Some(Verdict::ok(format!("{ids}, {host} of the host{driver}")))
}

/// The whole IOMMU group is the guest's.
pub(super) fn iommu_group(facts: &Facts, _: Driver) -> Option<Verdict> {
    let gpu = facts.gpu.as_ref()?;
    if let (Some(_), group) = (&facts.live, gpu.group) {
        let group = group.map(|group| format!(" {group}")).unwrap_or_default();
        return Some(Verdict::ok(format!(
            "group{group} is the guest's: otherwise the machine would not run"
        )));
    }
    let (Some(host), Some(_)) = (&facts.host, gpu.own) else {
        return Some(Verdict::unknown(NOT_KNOWN));
    };
    let Some(group) = gpu.group else {
        let advice = "switch the IOMMU on: VT-d or AMD-Vi in the firmware's setup, and `intel_iommu=on` on Intel's hosts; see docs/host.md";
        return Some(Verdict::fails("no IOMMU group: the host's IOMMU is off").outside(advice));
    };
    match host.culprits.as_slice() {
        [] => Some(Verdict::ok(format!("group {group}: nothing in it that the host uses"))),
        culprits => {
            let found = format!("the host uses {} of group {group}", culprits.join(" and "));
            let advice = "pass them through too, by `functions = \"all\"` in [dgpu] if they are in the GPU's slot, or take them from their drivers";
            Some(Verdict::fails(found).outside(advice))
        }
    }
}

/// The GPU has power.
pub(super) fn power(facts: &Facts, _: Driver) -> Option<Verdict> {
    let gpu = facts.gpu.as_ref()?;
    if let Some(live) = &facts.live {
        return Some(match live.power {
            _ if live.ids.function.vendor == NOBODY => {
                let advice = "end the machine, and see `sudo dmesg`; if it does not come back, switch the host off and on";
                Verdict::fails("its registers read all ones: it has lost its power or left the bus")
                    .outside(advice)
            }
            None => Verdict::ok("it answers"),
            Some(0) => Verdict::ok("it answers, in D0"),
            Some(state) => {
                Verdict::warning(format!("it is in D{state}: the guest has put it to sleep, or not woken it"))
            }
        });
    }
    let (Some(host), Some(_)) = (&facts.host, gpu.own) else { return Some(Verdict::unknown(NOT_KNOWN)) };
    let state = host.power_state.as_deref().unwrap_or("an unknown power state");
    Some(match host.answers {
        None => Verdict::unknown("its configuration space cannot be read"),
        Some(false) => {
            let advice = "switch off what powers it down (bbswitch, acpi_call, a vendor's switch), or the host off and on; see docs/host.md";
            Verdict::fails(format!("its configuration space reads all ones, in {state}")).outside(advice)
        }
        Some(true) => {
            let resets = host.resets.as_ref().map(|resets| format!("; resets: {resets}")).unwrap_or_default();
            Verdict::ok(format!("it answers, in {state}{resets}"))
        }
    })
}
