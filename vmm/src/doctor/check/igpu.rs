//! What the host's other GPUs can give a guest.

use super::{Verdict, function, listed};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;
use crate::doctor::facts::gpu::{Display, Function, Gvt};
use crate::host::lends;

const INTEL: u16 = 0x8086;
const AMD: u16 = 0x1002;

pub(super) fn igpu(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(pci) = &facts.pci else { return Vec::new() };
    pci.rest().filter_map(|display| of(facts, distribution, display)).collect()
}

/// Why nobody makes the virtual functions that the hardware could have, and what to do: it takes the host's own driver.
fn maker_missing(own: &Function) -> Option<(String, String)> {
    match own.driver.as_deref() {
        None => Some((
            "it has no driver here, which would make them".into(),
            "`sudo modprobe xe`, or i915 with the module i915-sriov-dkms; then `optimus-vmm doctor` tells whether it makes them"
                .into(),
        )),
        Some(driver) if lends(driver) => Some((
            format!("it is bound to {driver}, and they are made by the host's own driver"),
            format!("`optimus-vmm host release {}`, or take it out of what binds it at boot", own.address),
        )),
        Some(_) => None,
    }
}

fn of(facts: &Facts, distribution: Distribution, display: &Display) -> Option<Verdict> {
    let own = &display.function;
    let what = format!("{} ({})", own.address, own.ids());
    let source = format!("{}, /sys/class/mdev_bus", function(own.address));
    if let Some(total) = display.virtual_functions.filter(|total| *total > 0) {
        let now = display.virtual_now.unwrap_or_default();
        if now == 0
            && let Some((why, fix)) = maker_missing(own)
        {
            return Some(
                Verdict::note(
                    format!("{what} could have SR-IOV, up to {total} virtual functions, but {why}"),
                    source,
                    "only `[igpu]` needs it",
                )
                .with_fix(fix),
            );
        }
        let made = if now > 0 { format!(", {now} made") } else { String::new() };
        return Some(
            Verdict::ok(
                format!(
                    "{what} has SR-IOV: up to {total} virtual functions{made}; `parent` and `type = \"sriov\"` in [igpu] make one"
                ),
                source,
            )
            .with_fix(format!(
                "`parent = \"{}\"` and `type = \"sriov\"` in [igpu]: one is made for the time of a run (docs/host.md)",
                own.address
            )),
        );
    }
    Some(match (&display.gvt, own.vendor) {
        (Some(Gvt::Offers(types)), _) => {
            Verdict::ok(format!("{what} has GVT-g: {}; `parent` in [igpu] makes one", listed(types)), source)
        }
        (Some(Gvt::Off(why, cure)), _) => {
            let words: Vec<_> = ["i915.enable_gvt=1", "i915.enable_guc=0"]
                .into_iter()
                .filter(|word| {
                    let name = word.split('=').next().unwrap_or_default();
                    facts.parameter(name).is_none_or(|value| !word.ends_with(value))
                })
                .collect();
            let by_parameters = cure.contains("kernel's command line") && !words.is_empty();
            let fix = match by_parameters {
                true => {
                    format!("{}; then `sudo modprobe kvmgt`", distribution.add_parameters(&words.join(" ")))
                }
                false => cure.clone(),
            };
            Verdict::note(format!("{what} could have GVT-g, but: {why}"), source, "only `[igpu]` needs it")
                .with_fix(fix)
        }
        (Some(Gvt::TooOld), _) => Verdict::note(
            format!("{what} has neither GVT-g nor SR-IOV: it is older than Broadwell"),
            source,
            "leave [igpu] out",
        ),
        (Some(Gvt::TooNew), _) => Verdict::note(
            format!("{what} has no GVT-g, and its driver here offers no SR-IOV"),
            source,
            "the 11th generation and Ice Lake have neither: leave [igpu] out; from the 12th on SR-IOV takes xe of recent kernels or the module i915-sriov-dkms",
        ),
        (None, AMD) => Verdict::note(
            format!("{what} is AMD's, which have neither GVT-g nor SR-IOV in laptops"),
            source,
            "leave [igpu] out",
        ),
        (None, INTEL) => Verdict::note(
            format!("{what}: whether it has GVT-g is not known, and there is no SR-IOV"),
            source,
            "leave [igpu] out, or report the ID",
        ),
        (None, _) => return None,
    })
}
