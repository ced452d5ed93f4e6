//! `[[cdrom]]`: a DVD drive at the SATA controller, the disc in it, and its place in the boot order.

use std::path::PathBuf;
use std::sync::Arc;

use devices::ahci::Attached;
use devices::atapi::{Drive, Identity};
use devices::disk::Disc;
use firmware::fw_cfg::bootorder::BootKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ahci::port_of_drive;
use super::boot_disk::{BootDisc, on_read};
use super::{Assembly, Boot, DeviceError, Disk, Opened, Opening, Purpose, Spec, UsedFile};
use crate::finding::{Resolver, Section};
use crate::topology::Placed;

/// A DVD drive, which reads the images of CDs and DVDs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CdromSection {
    /// The image of the disc in it (`.iso`). It is never written, and nobody else may write to it meanwhile. `optimus-vmm
    /// ctl cdrom` changes the disc while the machine runs.
    #[schemars(extend("format" = "path", "x-default" = "none: say `empty = true`"))]
    pub path: Option<String>,
    /// The drive has no disc at first. Not the default: some systems lose time with an empty drive.
    #[serde(default)]
    pub empty: bool,
    /// Place in the firmware's boot order, lowest first.
    #[schemars(extend("x-default" = "none"))]
    pub boot_index: Option<u32>,
    /// The serial number that the guest sees: at most 20 ASCII characters.
    #[schemars(extend("format" = "disk-serial", "x-default" = "`DVD0` for the first drive, and so on"))]
    pub serial: Option<String>,
}

/// A DVD drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cdrom {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Its port of the SATA controller.
    pub port: usize,
    /// The image in it.
    pub path: Option<PathBuf>,
    /// Place in the firmware's boot order.
    pub boot_index: Option<u32>,
    /// Serial number, 1 to 20 bytes of printable ASCII.
    pub serial: String,
}

impl CdromSection {
    /// The drive of this number.
    pub(crate) fn resolve(self, index: usize, resolver: &mut Resolver) -> Cdrom {
        let Self { path, empty, boot_index, serial } = self;
        let section = Section::Cdrom(index);
        match (&path, empty) {
            (None, false) => resolver.problem_with_help(
                section,
                "this drive has no disc",
                "add `path = \"….iso\"`, or `empty = true` for a drive that `optimus-vmm ctl cdrom insert` puts one into",
            ),
            (Some(_), true) => resolver.problem_with_help(
                section.key("empty"),
                "this drive has a disc, and is to be empty",
                "remove either `path` or `empty`",
            ),
            _ => {}
        }
        let path = path.map(|path| resolver.path(path));
        let serial = serial.unwrap_or_else(|| format!("DVD{index}"));
        Cdrom { index, port: port_of_drive(index), path, boot_index, serial }
    }
}

/// Discs are only read, and nobody writes to what is a disc.
pub(crate) fn check_files(resolver: &mut Resolver, cdroms: &[Cdrom], disks: &[Disk]) {
    for drive in cdroms {
        let same = |disk: &&Disk| drive.path.as_ref() == Some(&disk.path) && !disk.readonly;
        if let Some(disk) = disks.iter().find(same) {
            let line = resolver.line_of(disk.section().key("path"));
            let message = format!("a disk{line} has the same image and writes to it");
            resolver.problem(drive.section().key("path"), message);
        }
    }
}

impl Spec for Cdrom {
    fn section(&self) -> Section {
        Section::Cdrom(self.index)
    }

    fn describe(&self) -> String {
        match &self.path {
            Some(path) => format!("DVD drive {} {}", self.section(), path.display()),
            None => format!("DVD drive {}, empty", self.section()),
        }
    }

    fn boot(&self) -> Option<Boot> {
        // An empty drive is no place to boot from until there is a disc, and then the guest runs already.
        (self.path.is_some() || self.boot_index.is_some())
            .then_some(Boot { index: self.boot_index, kind: BootKind::Sata { port: self.port } })
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        self.path.iter().map(|path| (format!("the disc in {}", self.section()), path.as_path())).collect()
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let disc = match &self.path {
            None => None,
            Some(path) => match Disc::open(path, opening.purpose == Purpose::Look) {
                Ok(disc) => Some(disc),
                Err(error) => {
                    opening.image_problem(self.section(), &error);
                    return None;
                }
            },
        };
        Some(Box::new(OpenCdrom { cdrom: self.clone(), disc }))
    }
}

/// A drive whose disc is open.
struct OpenCdrom {
    cdrom: Cdrom,
    disc: Option<Disc>,
}

/// What others are told of a drive.
#[derive(Debug, Clone)]
pub(crate) struct CdromFacts {
    /// Its section.
    pub key: String,
    /// Through which discs are changed.
    pub drive: Arc<Drive>,
}

impl Opened for OpenCdrom {
    fn build(
        self: Box<Self>,
        _placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let Self { cdrom: Cdrom { index, port, path, boot_index: _, serial }, disc } = *self;
        let name = path.unwrap_or_default().display().to_string();
        let identity = Identity { model: "OPTIMUS DVD-ROM".into(), revision: "1.0".into(), serial };
        let key = Section::Cdrom(index).to_string();
        let watched = |medium| BootDisc { medium, on_read: on_read(Section::Cdrom(index), machine.events) };
        let drive = Drive::new(identity, disc.map(|disc| (name, Arc::new(watched(disc)) as _)));
        machine.made.cdroms.push(CdromFacts { key, drive: Arc::clone(&drive) });
        // The plan has refused more drives than there are ports.
        if let Some(place) = machine.made.sata.get_mut(port) {
            *place = Some(Attached::Drive(drive));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;
    use crate::device::{Ahci, Spec};
    use crate::host::HostFacts;
    use crate::plan::plan;

    fn planned(text: &str) -> Result<crate::plan::MachinePlan, String> {
        let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
        let config = config::parse(&text, Path::new("/vm/test.toml")).map_err(|error| error.to_string())?;
        plan(config, &HostFacts::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn drives_share_a_controller_which_is_there_only_for_them() {
        let plan = planned("[[cdrom]]\npath = \"a.iso\"\n[[cdrom]]\nempty = true\n").unwrap();
        let controllers: Vec<_> =
            plan.pci.iter().filter(|function| function.to_string() == "00:1f.2").collect();
        assert_eq!(controllers.len(), 1);
        assert!(controllers[0].multifunction);
        assert_eq!(
            plan.devices.one::<Ahci>().unwrap().describe(),
            "SATA controller (ICH9 AHCI) with port 4 cdrom[1], port 5 cdrom[0]"
        );
        let without = planned("").unwrap();
        assert!(without.pci.iter().all(|function| function.to_string() != "00:1f.2"));
    }

    #[test]
    fn disks_have_the_first_ports() {
        let disk = |name| format!("[[disk]]\npath = \"{name}.raw\"\nbus = \"sata\"\n");
        let virtio = "[[disk]]\npath = \"c.raw\"\n";
        let plan = planned(&format!("[[cdrom]]\nempty = true\n{}{virtio}{}", disk("a"), disk("b"))).unwrap();
        assert_eq!(
            plan.devices.one::<Ahci>().unwrap().describe(),
            "SATA controller (ICH9 AHCI) with port 0 disk[0], port 1 disk[2], port 5 cdrom[0]"
        );
        assert!(planned(&(disk("a") + &disk("b") + &"[[cdrom]]\nempty = true\n".repeat(5))).is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, words) in [
            ("[[cdrom]]\n", "has no disc"),
            ("[[cdrom]]\npath = \"a.iso\"\nempty = true\n", "remove either"),
            ("[[cdrom]]\npath = \"a.raw\"\n[[disk]]\npath = \"a.raw\"\n", "writes to it"),
            (&"[[cdrom]]\nempty = true\n".repeat(7), "one too many"),
            (
                "[[cdrom]]\nempty = true\n[[disk]]\npath = \"a.raw\"\naddress = \"00:1f.2\"\n",
                "00:1f.2 is taken by `disk[0].address`",
            ),
        ] {
            let error = planned(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        planned("[[cdrom]]\npath = \"a.raw\"\n[[disk]]\npath = \"a.raw\"\nreadonly = true\n").unwrap();
    }
}
