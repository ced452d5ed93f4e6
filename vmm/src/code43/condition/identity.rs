//! What the GPU says it is.

use super::{Driver, Facts, NOT_KNOWN, Verdict, key};
use crate::code43::driver::NVIDIA;
use crate::code43::facts::Pair;

/// Where a laptop's subsystem is found.
const WHERE: &str = "Windows on the laptop itself shows it in the Device Manager, among the GPU's hardware IDs: SUBSYS_39D117AA is \"17aa:39d1\"";

/// Its class tells how it is wired.
pub(super) fn class(facts: &Facts, _: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    Some(match facts.class() {
        None => Verdict::unknown(NOT_KNOWN),
        Some(0x0302) => Verdict::ok("0302, a 3D controller: no display is wired to it (muxless)"),
        Some(0x0300) => Verdict::ok("0300, a VGA controller: displays may be wired to it"),
        Some(class) => Verdict::warning(format!("{class:04x}: laptops' GPUs of NVIDIA are 0300 or 0302")),
    })
}

/// The device ID is the chip's.
pub(super) fn device_id(facts: &Facts, _: Driver) -> Option<Verdict> {
    let gpu = facts.gpu.as_ref()?;
    let shown = facts.shown_ids()?;
    Some(match gpu.own.map(|own| own.function) {
        None => Verdict::unknown(format!("{shown} as vm.toml says; the host does not have the GPU")),
        Some(own) if own == shown => Verdict::ok(format!("{shown}, its own")),
        Some(own) => {
            let key = if gpu.device.is_some() { key::DEVICE } else { key::VENDOR };
            Verdict::warning(format!("{shown} in place of its own {own}"))
                .at(key, "leave `vendor` and `device` out of [dgpu], unless a driver wants them so")
        }
    })
}

/// The subsystem is the laptop's.
pub(super) fn subsystem(facts: &Facts, _: Driver) -> Option<Verdict> {
    let gpu = facts.gpu.as_ref()?;
    let Some(shown) = facts.shown_subsystem() else {
        return Some(Verdict::unknown(NOT_KNOWN));
    };
    let own = gpu.own.map(|own| own.subsystem);
    let Pair { vendor, device } = shown;
    if vendor == 0 || device == 0 {
        let advice = format!("add `subsystem = \"VENDOR:DEVICE\"` to [dgpu]. {WHERE}");
        return Some(Verdict::fails(format!("{shown}: it names no laptop")).at(key::SUBSYSTEM, advice));
    }
    if vendor == NVIDIA {
        let advice = format!("write the laptop's `subsystem` in [dgpu]. {WHERE}");
        let found = format!("{shown} is NVIDIA's own, where laptops have their maker's");
        return Some(Verdict::warning(found).at(key::SUBSYSTEM, advice));
    }
    Some(match own.filter(|own| *own != shown) {
        None => {
            Verdict::ok(format!("{shown}{}", if own.is_some() { ", its own" } else { ", as vm.toml says" }))
        }
        Some(own) if own.vendor == 0 || own.device == 0 => {
            Verdict::ok(format!("{shown} in place of its own {own}"))
        }
        Some(own) => Verdict::warning(format!("{shown} in place of its own {own}"))
            .at(key::SUBSYSTEM, "leave `subsystem` out of [dgpu]: the GPU's own names the laptop already"),
    })
}
