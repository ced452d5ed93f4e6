//! The GPU that is passed through, and the virtual one that shows the guest's screen.

use crate::doctor::{DisplayGpu, LentGpu};
use crate::init::choice;
use crate::init::draft::{Draft, names_no_laptop};
use crate::init::page::{Page, pair};

/// An ID pair as `lspci -nn` has it.
fn ids((vendor, device): (u16, u16)) -> String {
    format!("{vendor:04x}:{device:04x}")
}

impl Draft<'_> {
    /// Whether the machine has a virtual GPU of the host's.
    pub(super) fn has_virtual_gpu(&self) -> bool {
        self.survey.displays.iter().any(|display| choice::virtual_gpu(&display.types).is_some())
    }
}

pub(super) fn dgpu(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    let Some(gpu) = draft.gpu else {
        page.comment(
            "No GPU of the host is passed through. `lspci -D -d ::03xx` lists those that there are; with `manage` it is taken from its driver \
             for the time of a run (docs/host.md).",
        );
        page.off("[dgpu]");
        page.off(&pair("host", "0000:01:00.0"));
        page.off("manage = true");
        return;
    };
    let others = match gpu.companions.as_slice() {
        [] => String::new(),
        others => {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            format!(
                " The other functions of its slot ({}) come along: they share its IOMMU group, and the host could not use them anyway.",
                others.join(", ")
            )
        }
    };
    page.comment(&format!(
        "The GPU {} that is passed through. The guest finds it at 01:00.0 behind a root port at 00:01.0, as drivers for laptops expect.{others}",
        ids(gpu.ids)
    ));
    page.section("[dgpu]");
    page.text("host", gpu.address);
    subsystem(page, draft, gpu);
    vbios(page, draft, gpu);
    if gpu.bound {
        page.comment(
            "It is bound to vfio-pci already, and stays so. `true` would bind it at the start of a run and give it back to its drivers at the end.",
        );
        page.plain("manage", false);
    } else {
        page.comment(
            "It is taken from its drivers at the start of a run, which needs root, and given back at the end, also after a crash. `false` \
             expects it to be bound to vfio-pci already.",
        );
        page.plain("manage", true);
    }
}

fn subsystem(page: &mut Page, draft: &Draft<'_>, gpu: &LentGpu) {
    if let Some(subsystem) = draft.subsystem {
        page.comment("The laptop by which the driver knows the GPU's board, as VENDOR:DEVICE.");
        page.text("subsystem", subsystem);
        return;
    }
    if names_no_laptop(gpu) {
        // The processor's own GPU is on the same board.
        let kin = draft.survey.displays.iter().find_map(|display| {
            display
                .subsystem
                .filter(|(vendor, device)| *vendor != 0 && *device != 0)
                .map(|subsystem| (display, subsystem))
        });
        let (example, hint) = match kin {
            Some((display, subsystem)) => (
                ids(subsystem),
                format!(
                    " The one below is that of {}, which is on the same board: the vendor is right, the rest may be.",
                    display.address
                ),
            ),
            None => ("17aa:39d1".into(), " The one below is an example.".into()),
        };
        page.comment(&format!(
            "The GPU names no laptop now ({}), and without one Windows finds no driver for it: some set it only while their own driver runs. Write \
             the laptop's, which Windows on it shows in the Device Manager as SUBSYS_DDDDVVVV, as VENDOR:DEVICE.{hint}",
            gpu.subsystem.map(ids).unwrap_or_default()
        ));
        page.off(&pair("subsystem", example));
        return;
    }
    let own = match gpu.subsystem {
        Some(own) => format!("The laptop by which the driver knows the GPU's board is the GPU's own, {}", ids(own)),
        None => "The laptop by which the driver knows the GPU's board is what the GPU says; it could not be read here".into(),
    };
    page.comment(&format!("{own}; `subsystem` replaces it."));
}

fn vbios(page: &mut Page, draft: &Draft<'_>, gpu: &LentGpu) {
    if let Some(file) = &draft.vbios {
        page.comment(
            "The GPU's video BIOS, for its driver, which asks ACPI for it. It is intact, and for this GPU.",
        );
        page.text("vbios", file);
    } else if !gpu.own_rom {
        let advice = gpu.rom_advice.as_deref().unwrap_or("docs/vbios.md tells how");
        page.comment(&format!(
            "The GPU's video BIOS is in the laptop's firmware, and its driver asks ACPI for it. Get the file, {advice}. Then name it:"
        ));
        page.off(&pair("vbios", format!("vbios_{:04x}_{:04x}.rom", gpu.ids.0, gpu.ids.1)));
    } else if gpu.nvidia {
        page.comment("The GPU has its video BIOS itself, as all of its generation: `vbios` is not needed.");
    }
}

/// A virtual GPU where the host's makes one; else, where it could, how.
pub(super) fn igpu(page: &mut Page, draft: &Draft<'_>) {
    let displays = &draft.survey.displays;
    let offers =
        |display: &DisplayGpu| Some((display.address, choice::virtual_gpu(&display.types)?.to_owned()));
    if let Some((address, kind)) = displays.iter().find_map(offers) {
        page.gap();
        page.comment(&format!(
            "The guest's display GPU: a virtual one that the host's Intel GPU {address} makes at the start of a run (GVT-g) and removes at the \
             end. `mdevctl types` lists the types that there is room for. The guest needs Intel's driver for it."
        ));
        page.section("[igpu]");
        page.text("parent", address);
        page.text("type", kind);
        page.comment("What the firmware draws, and the guest before that driver starts, has a screen too.");
        page.plain("ramfb", true);
        return;
    }
    if let Some((display, why)) = displays.iter().find_map(|display| Some((display, display.off.as_ref()?))) {
        page.gap();
        page.comment(&format!(
            "The host's Intel GPU {} could make a virtual GPU for the guest's screen (GVT-g), but: {why}. The machine does without, by the screen \
             below; `optimus-vmm doctor` says at `igpu` how to switch it on.",
            display.address
        ));
        page.off("[igpu]");
        page.off(&pair("parent", display.address));
        page.off(&pair("type", "i915-GVTg_V5_4"));
    } else if let Some(display) = displays.iter().find(|display| display.virtual_functions) {
        page.gap();
        page.comment(&format!(
            "The host's GPU {} can have virtual functions (SR-IOV), one of which can be the guest's display GPU: it is made at the start of a run and \
             removed at the end. The guest needs Intel's driver for it. The machine does without, by the screen below.",
            display.address
        ));
        page.off("[igpu]");
        page.off(&pair("parent", display.address));
        page.off(&pair("type", "sriov"));
    }
}
