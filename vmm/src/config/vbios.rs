//! `vbios` in `[dgpu]`: the video BIOS that the GPU's driver asks ACPI for, with or without a GPU of the host.

use std::path::PathBuf;

use vocabulary::PciAddress;

use super::passthrough::Passthrough;
use super::passthrough_sections::DgpuSection;
use super::pci_ids::PciId;
use super::resolve::Resolver;
use crate::finding::{Key, Section};

/// The video BIOS that `_ROM` of the GPU's ACPI device returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vbios {
    /// The file.
    pub file: PathBuf,
    /// Where the guest finds the GPU, or only its ACPI device if no GPU is passed through.
    pub guest: PciAddress,
    /// Vendor and device ID that the ROM must be for. `None` leaves it to the GPU that is passed through, or to nobody if
    /// none is.
    pub ids: Option<(u16, u16)>,
}

impl Vbios {
    /// The key of the file.
    pub const KEY: Key = Section::Dgpu.key("vbios");
}

/// Keys of `[dgpu]` that say something about a GPU of the host.
const ABOUT_THE_HOSTS_GPU: [&str; 5] = ["multifunction", "subsystem", "rom", "functions", "manage"];

impl Resolver {
    /// What `[dgpu]` asks for: a GPU of the host, a video BIOS, or both.
    pub(super) fn dgpu(&mut self, section: DgpuSection) -> (Option<Passthrough>, Option<Vbios>) {
        let vbios = section.vbios.as_ref().map(|file| self.folder().join(file));
        let guest = section.guest();
        let ids = match section.host {
            Some(_) => None,
            None => self.check_without_host(&section),
        };
        let vbios = vbios.zip(guest).map(|(file, guest)| Vbios { file, guest, ids });
        (section.into_passthrough(self.folder()), vbios)
    }

    /// Complains about keys that mean nothing without a GPU, and returns vendor and device ID.
    fn check_without_host(&mut self, section: &DgpuSection) -> Option<(u16, u16)> {
        for key in ABOUT_THE_HOSTS_GPU {
            let path = Section::Dgpu.key(key);
            if self.is_written(path) {
                self.problem_with_help(
                    path,
                    format!("without `host` no GPU is passed through, and `{key}` is about one"),
                    "add `host`, the GPU's address on the host, or leave this key out",
                );
            }
        }
        let (vendor, device) = (section.vendor.as_ref(), section.device.as_ref());
        let (given, missing) = match (vendor, device) {
            (Some(PciId(vendor)), Some(PciId(device))) => return Some((*vendor, *device)),
            (None, None) => return None,
            (Some(_), None) => ("vendor", "device"),
            (None, Some(_)) => ("device", "vendor"),
        };
        self.problem_with_help(
            Section::Dgpu.key(given),
            format!("without `host`, `vendor` and `device` say what the video BIOS is for, and `{missing}` is missing"),
            format!("add `{missing}`, or leave both out"),
        );
        None
    }
}
