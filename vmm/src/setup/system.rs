//! How this system makes its initramfs, and where its kernel's command line is set.

use super::SetupError;
use super::failed;
use super::record::Record;
use super::root::{Content, Root};
use crate::doctor::Family;
use crate::host::HostFiles;

/// What makes the initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Initramfs {
    /// initramfs-tools of Debian.
    Tools,
    /// dracut; with the releases of kernels whose images Debian's names have, where its own would be others.
    Dracut { debian: Option<Vec<String>> },
    /// dracut behind a program of initramfs-tools' name.
    DracutByTools,
    /// mkinitcpio; what keeps it from reading files in `mkinitcpio.conf.d`.
    Mkinitcpio { blocked: Option<String> },
    /// rpm-ostree, which makes it on a server or by its own means.
    OsTree,
    /// None that is known.
    Unknown,
}

impl Initramfs {
    fn of(root: &Root, family: Family) -> Self {
        let tools = root.runs("mkinitramfs") && root.runs("update-initramfs");
        let (dracut, mkinitcpio) = (root.runs("dracut"), root.runs("mkinitcpio"));
        if root.has("run/ostree-booted") {
            Self::OsTree
        } else if mkinitcpio && (family == Family::Arch || !(dracut || tools)) {
            Self::Mkinitcpio { blocked: blocked(root) }
        } else if tools && (family == Family::Debian || !dracut) {
            Self::Tools
        } else if dracut && root.runs("update-initramfs") {
            Self::DracutByTools
        } else if dracut {
            Self::Dracut { debian: (family == Family::Debian).then(|| kernels(&root.files())) }
        } else {
            Self::Unknown
        }
    }
}

/// Releases of kernels in `boot`, by Debian's names.
fn kernels(files: &HostFiles) -> Vec<String> {
    let releases = files.names("boot").into_iter();
    let releases = releases.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
    releases.filter(|release| files.path(format!("lib/modules/{release}")).is_dir()).collect()
}

/// Why mkinitcpio would not read files in `etc/mkinitcpio.conf.d`: it is older than those (version 36), or a preset names a file of its
/// own (mkinitcpio(8), `--config`).
fn blocked(root: &Root) -> Option<String> {
    let files = root.files();
    if !root.has("etc/mkinitcpio.conf.d") {
        return Some("this mkinitcpio has no /etc/mkinitcpio.conf.d".into());
    }
    let presets = files.names("etc/mkinitcpio.d").into_iter().filter(|name| name.ends_with(".preset"));
    let names_config = |name: &String| {
        let text = files.text(format!("etc/mkinitcpio.d/{name}")).unwrap_or_default();
        // Presets as packages bring them name it in a comment.
        let mut lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
        lines.any(|line| line.split_once('=').is_some_and(|(key, _)| key.ends_with("_config")))
    };
    presets.into_iter().find(names_config).map(|name| {
        format!("/etc/mkinitcpio.d/{name} names a configuration (`…_config=`), with which /etc/mkinitcpio.conf.d is not read")
    })
}

/// Where words on the kernel's command line are set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CommandLine {
    /// A file of our own that GRUB's configuration reads.
    GrubFolder,
    /// GRUB's configuration: its present contents, and what renews the menu.
    GrubFile(Content, Vec<String>),
    /// `/etc/kernel/cmdline`: its present contents, and what renews the boot entries.
    KernelFile(Content, Vec<String>),
    Grubby,
    Kernelstub,
    OsTree,
    /// By hand: where.
    Elsewhere(&'static str),
}

pub(super) const GRUB: &str = "etc/default/grub";
pub(super) const KERNEL_CMDLINE: &str = "etc/kernel/cmdline";

impl CommandLine {
    fn of(
        root: &Root,
        family: Family,
        initramfs: &Initramfs,
        record: Option<&Record>,
    ) -> Result<Self, SetupError> {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        if root.has("run/ostree-booted") {
            return Ok(Self::OsTree);
        }
        if root.runs("kernelstub") && root.has("etc/kernelstub/configuration") {
            return Ok(Self::Kernelstub);
        }
        if root.runs("grubby") {
            return Ok(Self::Grubby);
        }
        let refresh = || words("proxmox-boot-tool refresh");
        // Proxmox on systemd-boot has GRUB's programs and files too, which its boot does not read.
        if root.runs("proxmox-boot-tool")
            && root.has("etc/kernel/proxmox-boot-uuids")
            && root.has("sys/firmware/efi")
            && let Some(content) = before(root, KERNEL_CMDLINE, record)?
        {
            return Ok(Self::KernelFile(content, refresh()));
        }
        if root.has(GRUB) && family == Family::Debian && root.runs("update-grub") {
            return Ok(Self::GrubFolder);
        }
        let renewed = [("grub-mkconfig", "boot/grub/grub.cfg"), ("grub2-mkconfig", "boot/grub2/grub.cfg")];
        for (program, menu) in renewed {
            if root.runs(program)
                && root.has(menu)
                && let Some(content) = before(root, GRUB, record)?
            {
                return Ok(Self::GrubFile(content, words(&format!("{program} -o /{menu}"))));
            }
        }
        if let Some(content) = before(root, KERNEL_CMDLINE, record)? {
            if root.runs("proxmox-boot-tool") {
                return Ok(Self::KernelFile(content, refresh()));
            }
            if matches!(initramfs, Initramfs::Mkinitcpio { .. }) {
                return Ok(Self::KernelFile(content, words("mkinitcpio -P")));
            }
        }
        Ok(Self::Elsewhere(if root.has("boot/loader/entries") {
            "to the line `options` of each file in /boot/loader/entries"
        } else {
            "to the kernel's command line, where your boot loader has it"
        }))
    }
}

/// A file of the user's as it was before any setup.
fn before(root: &Root, path: &str, record: Option<&Record>) -> Result<Option<Content>, SetupError> {
    match record.and_then(|record| record.file(path)).filter(|step| step.begun) {
        Some(step) => Ok(step.former.clone()),
        None => root.read(path).map_err(failed("read", &root.path(path))),
    }
}

/// What is known of the system.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct System {
    pub(super) family: Family,
    pub(super) initramfs: Initramfs,
    pub(super) command_line: CommandLine,
    /// Words that the kernel's command line is to get.
    pub(super) parameters: Vec<String>,
    /// The group exists.
    pub(super) group: bool,
    /// udev answers, to be told of rules.
    pub(super) udev: bool,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
}

impl System {
    /// Reads it. `record` has what an earlier setup has changed.
    pub(super) fn read(
        root: &Root,
        group: &str,
        gvt: bool,
        record: Option<&Record>,
    ) -> Result<Self, SetupError> {
        let files = root.files();
        let family = Family::of(&files);
        let initramfs = Initramfs::of(root, family);
        let groups = files.text("etc/group").unwrap_or_default();
        let command_line = match family {
            Family::NixOs => CommandLine::Elsewhere("to `boot.kernelParams`"),
            _ => CommandLine::of(root, family, &initramfs, record)?,
        };
        let mut notes = Vec::new();
        let parameters = parameters(&files, gvt, record, &mut notes);
        Ok(Self {
            family,
            initramfs,
            command_line,
            parameters,
            group: groups.lines().any(|line| line.split(':').next() == Some(group)),
            udev: root.is_live() && root.runs("udevadm") && root.has("run/udev/control"),
            notes,
        })
    }
}

/// Words that the kernel needs and was not started with. Those that an earlier setup has set stay: after a reboot nothing else shows
/// that they are needed.
fn parameters(files: &HostFiles, gvt: bool, record: Option<&Record>, notes: &mut Vec<String>) -> Vec<String> {
    let given = files.text("proc/cmdline").unwrap_or_default();
    let given: Vec<_> = given.split_whitespace().collect();
    let set = record.map(|record| record.parameters.as_slice()).unwrap_or_default();
    let mut words = Vec::new();
    let mut want = |word: &str| {
        let ours = set.iter().any(|set| set == word);
        if ours || !given.contains(&word) {
            words.push(word.to_owned());
        }
        ours
    };
    let intel = files.text("proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"));
    let groups = files.path("sys/kernel/iommu_groups");
    let off = groups.is_dir() && files.names("sys/kernel/iommu_groups").is_empty();
    if let Some(word) =
        given.iter().find(|word| matches!(**word, "intel_iommu=off" | "amd_iommu=off" | "iommu=off"))
    {
        notes.push(format!(
            "`{word}` on the kernel's command line turns the IOMMU off, and was set by hand: `optimus-vmm doctor` says how it is taken away"
        ));
    } else if set.iter().any(|set| set == "intel_iommu=on") || (intel && off) {
        want("intel_iommu=on");
        if off && given.contains(&"intel_iommu=on") {
            notes.push(
                "the IOMMU is off although `intel_iommu=on` was given: turn VT-d on in the firmware setup"
                    .into(),
            );
        }
    } else if off {
        notes.push("the IOMMU is off: turn it on in the firmware setup (AMD-Vi, IOMMU, SVM)".into());
    } else if !groups.is_dir() {
        notes.push(
            "whether the IOMMU is on cannot be read here: `optimus-vmm doctor` on the running host tells"
                .into(),
        );
    }
    if gvt {
        want("i915.enable_gvt=1");
        want("i915.enable_guc=0");
    }
    words
}
