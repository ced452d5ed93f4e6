//! A system made of files, and hands that die.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::{BindWhen, HostSetupArgs};
use crate::setup::apply::{Done, apply};
use crate::setup::hands::{Hands, RunError, SystemHands};
use crate::setup::plan::Plan;
use crate::setup::root::{Content, Root};
use crate::setup::undo::{Undone, undo};
use crate::setup::{SetupError, plan_of};

pub(super) const SOON: Duration = Duration::from_secs(20);

/// A distribution: its files with their texts, and its programs.
pub(super) struct Distribution {
    pub(super) name: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) programs: &'static str,
}

pub(super) const DISTRIBUTIONS: [Distribution; 13] = [
    Distribution {
        name: "debian",
        files: &[
            ("etc/os-release", "ID=debian\n"),
            ("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"),
            ("etc/default/grub.d/", ""),
            ("etc/initramfs-tools/hooks/", ""),
        ],
        programs: "sbin/mkinitramfs sbin/update-initramfs sbin/update-grub",
    },
    Distribution {
        name: "debian-dracut",
        files: &[
            ("etc/os-release", "ID=debian\n"),
            ("boot/vmlinuz-6.1.0-40-amd64", ""),
            ("boot/vmlinuz-6.1.0-41-amd64", ""),
            ("boot/vmlinuz-5.10.0-1-amd64", ""),
            ("lib/modules/6.1.0-40-amd64/", ""),
            ("lib/modules/6.1.0-41-amd64/", ""),
        ],
        programs: "bin/dracut",
    },
    Distribution {
        name: "ubuntu-dracut",
        files: &[("etc/os-release", "ID=ubuntu\nID_LIKE=debian\n"), ("etc/default/grub", "X=1")],
        programs: "bin/dracut sbin/update-initramfs sbin/update-grub",
    },
    Distribution {
        name: "pop",
        files: &[
            ("etc/os-release", "ID=pop\nID_LIKE=\"ubuntu debian\"\n"),
            ("etc/kernelstub/configuration", "{}\n"),
        ],
        programs: "sbin/mkinitramfs sbin/update-initramfs bin/kernelstub",
    },
    Distribution {
        name: "proxmox",
        files: &[
            ("etc/os-release", "ID=debian\n"),
            ("etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n"),
            ("etc/kernel/proxmox-boot-uuids", "0A1B-2C3D\n"),
            ("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"),
            ("sys/firmware/efi/", ""),
        ],
        programs: "sbin/mkinitramfs sbin/update-initramfs sbin/proxmox-boot-tool sbin/update-grub",
    },
    Distribution {
        name: "fedora",
        files: &[
            ("etc/os-release", "ID=fedora\n"),
            ("etc/default/grub", "GRUB_CMDLINE_LINUX=\"rhgb quiet\"\n"),
        ],
        programs: "bin/dracut sbin/grubby sbin/grub2-mkconfig",
    },
    Distribution {
        name: "silverblue",
        files: &[("etc/os-release", "ID=fedora\nVARIANT_ID=silverblue\n"), ("run/ostree-booted", "")],
        programs: "bin/dracut bin/rpm-ostree",
    },
    Distribution {
        name: "opensuse",
        files: &[
            ("etc/os-release", "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n"),
            ("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"splash=silent\""),
            ("boot/grub2/grub.cfg", "menu\n"),
        ],
        programs: "bin/dracut sbin/grub2-mkconfig",
    },
    Distribution {
        name: "arch-grub",
        files: &[
            ("etc/os-release", "ID=arch\n"),
            ("etc/mkinitcpio.conf.d/", ""),
            ("etc/mkinitcpio.d/linux.preset", "#ALL_config=\"/etc/mkinitcpio.conf\"\nPRESETS=('default')\n"),
            ("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"loglevel=3 quiet\"\n"),
            ("boot/grub/grub.cfg", "menu\n"),
        ],
        programs: "bin/mkinitcpio bin/grub-mkconfig",
    },
    Distribution {
        name: "arch-uki",
        files: &[
            ("etc/os-release", "ID=arch\n"),
            ("etc/mkinitcpio.conf.d/", ""),
            ("etc/kernel/cmdline", "root=UUID=0 rw"),
        ],
        programs: "bin/mkinitcpio",
    },
    Distribution {
        name: "manjaro-preset",
        files: &[
            ("etc/os-release", "ID=manjaro\nID_LIKE=arch\n"),
            ("etc/mkinitcpio.conf.d/", ""),
            (
                "etc/mkinitcpio.d/linux612.preset",
                "ALL_config=\"/etc/mkinitcpio.conf\"\nPRESETS=('default')\n",
            ),
            ("boot/loader/entries/", ""),
        ],
        programs: "bin/mkinitcpio",
    },
    Distribution { name: "nixos", files: &[("etc/os-release", "ID=nixos\n")], programs: "" },
    Distribution { name: "gentoo", files: &[("etc/os-release", "ID=gentoo\n")], programs: "" },
];

/// What its programs would make: a file that is made from all others.
const IMAGE: &str = "boot/image";

pub(super) struct Fixture(TempDir);

impl Fixture {
    /// A laptop with an NVIDIA GPU without outputs, whose IOMMU is off in the kernel.
    pub(super) fn new(name: &str) -> Self {
        let distribution = DISTRIBUTIONS.iter().find(|distribution| distribution.name == name).unwrap();
        // In memory where there is such a place: hundreds of systems are made and dropped.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let fixture = Self(folder.unwrap());
        for (path, text) in [
            ("etc/group", "root:x:0:\nkvm:x:107:\n"),
            ("var/lib/", ""),
            ("etc/modprobe.d/", ""),
            ("etc/udev/rules.d/", ""),
            ("etc/security/limits.d/", ""),
            ("proc/cpuinfo", "vendor_id\t: GenuineIntel\n"),
            ("proc/cmdline", "root=/dev/sda1 quiet\n"),
            ("sys/kernel/iommu_groups/", ""),
        ] {
            fixture.file(path, text);
        }
        for (path, text) in distribution.files {
            fixture.file(path, text);
        }
        for program in distribution.programs.split_whitespace() {
            let path = format!("usr/{program}");
            fixture.file(&path, "");
            fs::set_permissions(fixture.root().path(&path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fixture.function("0000:00:02.0", "8086:591b", "030000", "i915");
        fixture.function("0000:00:1f.3", "8086:a171", "040300", "snd_hda_intel");
        fixture.function("0000:01:00.0", "10de:1c8d", "030200", "nouveau");
        fixture.function("0000:01:00.1", "10de:0fb9", "040300", "snd_hda_intel");
        FakeHands::default().renew(&fixture.root());
        fixture
    }

    pub(super) fn root(&self) -> Root {
        Root::at(self.0.path())
    }

    /// A file, or a folder if its path ends so.
    pub(super) fn file(&self, below: &str, text: &str) {
        let path = self.0.path().join(below);
        if below.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    pub(super) fn text(&self, below: &str) -> String {
        fs::read_to_string(self.0.path().join(below)).unwrap()
    }

    pub(super) fn link(&self, below: &str, target: &str) {
        let path = self.0.path().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub(super) fn function(&self, address: &str, ids: &str, class: &str, driver: &str) {
        let (vendor, device) = ids.split_once(':').unwrap();
        for (name, text) in [("vendor", vendor), ("device", device), ("class", class)] {
            self.file(&format!("sys/bus/pci/devices/{address}/{name}"), &format!("0x{text}\n"));
        }
        self.link(
            &format!("sys/bus/pci/devices/{address}/driver"),
            &format!("/sys/bus/pci/drivers/{driver}"),
        );
    }

    pub(super) fn args(&self) -> HostSetupArgs {
        HostSetupArgs {
            config: None,
            dry_run: false,
            yes: true,
            bind: None,
            group: "kvm".into(),
            root: self.0.path().into(),
            patience: SOON,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan_of(&self.root(), &self.args()).unwrap()
    }

    /// A plan without devices, or with them.
    pub(super) fn plan_for(&self, bind: BindWhen) -> Plan {
        plan_of(&self.root(), &HostSetupArgs { bind: Some(bind), ..self.args() }).unwrap()
    }

    pub(super) fn set_up(&self, hands: &dyn Hands, plan: &Plan) -> Result<Done, SetupError> {
        apply(&self.root(), hands, plan, SOON, &mut |_| {})
    }

    pub(super) fn undo(&self, hands: &dyn Hands) -> Result<Undone, SetupError> {
        undo(&self.root(), hands, false, SOON, &mut |_| {})
    }

    /// All of its files and folders: permissions, and contents or targets.
    pub(super) fn tree(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut tree = BTreeMap::new();
        walk(self.0.path(), "", &mut tree);
        tree
    }
}

fn walk(root: &Path, below: &str, tree: &mut BTreeMap<String, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        let metadata = entry.metadata().unwrap();
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            tree.insert(name.clone(), (mode, Vec::new()));
            walk(root, &format!("{name}/"), tree);
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            tree.insert(name, (mode, target.to_str().unwrap().as_bytes().to_vec()));
        } else {
            tree.insert(name, (mode, fs::read(entry.path()).unwrap()));
        }
    }
}

/// Hands whose commands make one file from all others, and that may die at an operation: it, and all after it, fail.
#[derive(Debug, Default)]
pub(super) struct FakeHands {
    /// Operations that have succeeded.
    pub(super) count: Cell<usize>,
    /// How many may.
    pub(super) dies_after: Option<usize>,
    /// The one that it dies at is done by half: of a write the first bytes, of a command a file that is none.
    pub(super) by_half: bool,
    /// Commands that were run.
    pub(super) ran: RefCell<Vec<String>>,
    /// Commands with this in them fail.
    pub(super) fails: Option<&'static str>,
}

impl FakeHands {
    pub(super) fn dying(after: usize, by_half: bool) -> Self {
        Self { dies_after: Some(after), by_half, ..Self::default() }
    }

    /// Whether an operation is done in full; the last is done by half, perhaps.
    fn lives(&self) -> bool {
        let lives = self.dies_after.is_none_or(|after| self.count.get() < after);
        self.count.set(self.count.get() + 1);
        lives
    }

    fn is_half(&self) -> bool {
        self.by_half && self.dies_after.is_some_and(|after| self.count.get() == after + 1)
    }

    fn renew(&self, root: &Root) {
        let mut tree = BTreeMap::new();
        walk(root.dir(), "", &mut tree);
        tree.retain(|path, _| path.starts_with("etc/") && !path.contains("/."));
        fs::create_dir_all(root.path("boot")).unwrap();
        fs::write(root.path(IMAGE), format!("{tree:?}")).unwrap();
    }
}

fn killed<T>() -> io::Result<T> {
    Err(io::Error::other("killed"))
}

impl Hands for FakeHands {
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        if self.lives() { SystemHands.make_folder(path, mode) } else { killed() }
    }

    fn write(&self, path: &Path, content: &Content) -> io::Result<()> {
        let lives = self.lives();
        // Not on the disk: hundreds of systems are made and dropped.
        if lives || self.is_half() {
            let _ = fs::remove_file(path);
            let length = if lives { content.bytes().len() } else { content.bytes().len() / 2 };
            fs::write(path, &content.bytes()[..length])?;
        }
        if !lives {
            return killed();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(content.mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.lives() { SystemHands.rename(from, to) } else { killed() }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if self.lives() { SystemHands.remove_file(path) } else { killed() }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<bool> {
        if self.lives() { SystemHands.remove_folder(path) } else { killed() }
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        if self.lives() { Ok(()) } else { killed() }
    }

    fn run(&self, root: &Root, words: &[String], _: Duration, _: &File) -> Result<(), RunError> {
        let command = words.join(" ");
        if self.fails.is_some_and(|text| command.contains(text)) {
            return Err(RunError::Failed { status: "exit status: 1".into(), output: "no space\n".into() });
        }
        if !self.lives() {
            if self.is_half() {
                fs::write(root.path(IMAGE), "half an image").unwrap();
            }
            return Err(RunError::Start(io::Error::other("killed")));
        }
        self.ran.borrow_mut().push(command);
        self.renew(root);
        Ok(())
    }
}
