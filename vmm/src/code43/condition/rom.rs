//! The video BIOS, and how drivers get it.

use super::{Driver, Facts, Verdict, key};
use crate::code43::driver::has_own_rom;
use crate::code43::facts::{RomBar, RomImage, RomMethod};

const GET: &str = "docs/vbios.md tells how to get it";

/// `_ROM` is there, if the GPU needs it.
pub(super) fn method(facts: &Facts, _: Driver) -> Option<Verdict> {
    if let Some(RomMethod { device, .. }) = &facts.rom_method {
        return Some(Verdict::ok(format!("`_ROM` of {device}")));
    }
    facts.gpu.as_ref()?;
    let advice = format!("add `vbios = \"FILE\"` to [dgpu], the GPU's video BIOS: {GET}");
    Some(match (facts.chip(), facts.class()) {
        (Some(chip), _) if has_own_rom(chip) => {
            Verdict::ok("none: GPUs since Turing have a ROM of their own, and owners needed none")
        }
        (None, _) | (_, None) => {
            Verdict::unknown("none; whether the GPU needs it depends on what it is").at(key::VBIOS, advice)
        }
        (_, Some(0x0302)) => {
            let bar = if facts.rom_bar == RomBar::Off { "" } else { ", and the ROM BAR is no substitute" };
            Verdict::fails(format!("none, and a 3D controller from before Turing has no other ROM{bar}"))
                .at(key::VBIOS, advice)
        }
        (_, Some(_)) => {
            Verdict::warning("none; a VGA controller from before Turing may have a ROM of its own, or not")
                .at(key::VBIOS, advice)
        }
    })
}

/// The image that `_ROM` returns, and what to call its file; else what to say.
fn image(facts: &Facts) -> Option<Result<(&RomMethod, &RomImage), Verdict>> {
    let method = facts.rom_method.as_ref()?;
    let unknown = || Verdict::unknown(format!("{} was not looked at", method.file));
    Some(method.image.as_ref().map(|image| (method, image)).ok_or_else(unknown))
}

/// It is intact.
pub(super) fn vbios(facts: &Facts, _: Driver) -> Option<Verdict> {
    let (method, image) = match image(facts)? {
        Ok(known) => known,
        Err(verdict) => return Some(verdict),
    };
    if let Some(unreadable) = &image.unreadable {
        let advice = format!("write the path of the GPU's video BIOS; {GET}");
        return Some(Verdict::fails(unreadable.clone()).at(key::VBIOS, advice));
    }
    if let [first, ..] = image.damage.as_slice() {
        let more = match image.damage.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        let advice = format!("`optimus-vmm vbios info {}` shows what is in it; {GET}", method.file);
        return Some(Verdict::fails(format!("{first}{more}")).at(key::VBIOS, advice));
    }
    let version = image.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
    Some(Verdict::ok(format!("{} bytes{version}, chain and checksums right", image.size)))
}

/// It is the GPU's.
pub(super) fn vbios_id(facts: &Facts, _: Driver) -> Option<Verdict> {
    let (method, image) = match image(facts)? {
        Ok(known) => known,
        Err(verdict) => return Some(verdict),
    };
    let ids = image.ids?;
    if let Some(mismatch) = &image.mismatch {
        let advice = format!(
            "write the file of this GPU's ROM; {GET}. `optimus-vmm vbios find` names files by their IDs"
        );
        return Some(Verdict::fails(mismatch.clone()).at(key::VBIOS, advice));
    }
    Some(match method.expected.as_slice() {
        [] => Verdict::unknown(format!("it is for {ids}; which GPU it must be for is not known")),
        _ => Verdict::ok(format!("it is for {ids}")),
    })
}

/// The ROM BAR does not lead elsewhere.
pub(super) fn bar(facts: &Facts, _: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    let live = facts.live.as_ref().map(|live| live.rom_bar);
    let is_3d = facts.class() == Some(0x0302);
    Some(match (facts.rom_bar, live) {
        (RomBar::Off, _) => Verdict::ok("none"),
        (RomBar::Host, Some(0)) => Verdict::ok("none: the GPU has no ROM of its own to show"),
        (RomBar::Host | RomBar::File, _) if is_3d => {
            Verdict::warning("there is one, in a GPU without displays: it has nothing to show, and set-ups that are reported to work have none")
                .at(key::ROM, "write `rom = \"off\"` in [dgpu]")
        }
        (RomBar::Host, _) => Verdict::ok("the GPU's own ROM"),
        (RomBar::File, _) => Verdict::ok("the file of `rom`"),
    })
}
