//! What a setup is to change: a pure function of what is known of the system.

use super::contents::{self, Rights};
use super::devices::Devices;
use super::root::Content;
use super::system::{CommandLine, GRUB, Initramfs, KERNEL_CMDLINE, System};
use crate::doctor::Family;

pub(super) const MODPROBE: &str = "etc/modprobe.d/optimus-vmm-setup.conf";
pub(super) const MODULES_LOAD: &str = "etc/modules-load.d/optimus-vmm-setup.conf";
pub(super) const UDEV: &str = "etc/udev/rules.d/70-optimus-vmm-setup.rules";
pub(super) const LIMITS: &str = "etc/security/limits.d/90-optimus-vmm-setup.conf";
pub(super) const TOOLS_HOOK: &str = "etc/initramfs-tools/hooks/optimus-vmm-setup";
pub(super) const DRACUT: &str = "etc/dracut.conf.d/90-optimus-vmm-setup.conf";
pub(super) const MKINITCPIO: &str = "etc/mkinitcpio.conf.d/90-optimus-vmm-setup.conf";
pub(super) const GRUB_FOLDER: &str = "etc/default/grub.d/optimus-vmm-setup.cfg";

/// A file that is made, or one of the user's that gets a line more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedFile {
    pub(super) path: String,
    pub(super) content: Content,
    /// What it is for.
    pub(super) why: &'static str,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedCommand {
    pub(super) run: Vec<String>,
    /// What is run once the files are as before.
    pub(super) undo: Vec<String>,
    /// Files that it reads: it is run again when one of them changes.
    pub(super) reads: Vec<String>,
    /// What is to be there when it is run to undo: without it, there is nothing left to undo.
    pub(super) needs: Option<String>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) files: Vec<PlannedFile>,
    pub(super) commands: Vec<PlannedCommand>,
    /// The group that gets rights.
    pub(super) group: String,
    /// Files of an earlier setup that are as before it again.
    pub(super) taken_back: Vec<String>,
    /// Commands that are run for that.
    pub(super) renewed: Vec<String>,
    /// Words that are set on the kernel's command line.
    pub(super) parameters: Vec<String>,
    /// What is left to the user.
    pub(super) by_hand: Vec<String>,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
    /// Lines for NixOS's configuration, in place of everything else.
    pub(super) nixos: Option<String>,
}

/// What to change for these devices and rights of `group`.
pub(super) fn plan(system: &System, devices: &Devices, group: &str) -> Plan {
    let rights = Rights { group, devices };
    let mut notes: Vec<_> = devices.notes.iter().chain(&system.notes).cloned().collect();
    if group != "kvm" {
        notes.push(format!(
            "/dev/kvm stays as the system has it: where it is not open to all, members of {group} need the group kvm too"
        ));
    }
    let group_name = group.to_owned();
    if system.family == Family::NixOs {
        let nixos = contents::nixos(&rights, &system.parameters);
        return Plan { nixos: Some(nixos), notes, group: group_name, ..Plan::default() };
    }
    let mut plan = Plan { notes, group: group_name, ..Plan::default() };
    let binds = !devices.at_boot.is_empty();
    if binds {
        plan.file(
            MODPROBE,
            contents::modprobe(devices),
            0o644,
            "devices and the order of modules (modprobe.d(5))",
        );
    }
    plan.file(
        MODULES_LOAD,
        contents::modules_load(devices.gvt),
        0o644,
        "modules that are loaded at boot (modules-load.d(5))",
    );
    plan.file(UDEV, contents::udev(&rights), 0o644, "who may open VFIO (udev(7))");
    plan.file(LIMITS, contents::limits(group), 0o644, "who may lock memory (limits.conf(5))");
    if system.udev {
        plan.command("udevadm control --reload", "udevadm control --reload", &[UDEV]);
        let trigger = "udevadm trigger --action=change --subsystem-match=vfio --subsystem-match=vfio-dev --subsystem-match=misc";
        plan.command(trigger, trigger, &[UDEV]);
    }
    if binds {
        initramfs(&mut plan, &system.initramfs);
    }
    command_line(&mut plan, &system.command_line, &system.parameters);
    plan
}

impl Plan {
    fn file(&mut self, path: &str, text: String, mode: u32, why: &'static str) {
        self.files.push(PlannedFile { path: path.into(), content: Content::new(&text, mode), why });
    }

    /// Adds a command, unless it is run anyway: then it reads these files too.
    fn command(&mut self, run: &str, undo: &str, reads: &[&str]) {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        self.add(words(run), words(undo), reads);
    }

    fn add(&mut self, run: Vec<String>, undo: Vec<String>, reads: &[&str]) {
        let reads = reads.iter().map(|path| (*path).to_owned());
        match self.commands.iter_mut().find(|command| command.run == run) {
            Some(command) => command.reads.extend(reads),
            None => self.commands.push(PlannedCommand { run, undo, reads: reads.collect(), needs: None }),
        }
    }

    /// Adds a command that is its own undoing: it makes what it makes from the files.
    fn renew(&mut self, command: &[String], reads: &[&str]) {
        self.add(command.to_vec(), command.to_vec(), reads);
    }
}

fn initramfs(plan: &mut Plan, initramfs: &Initramfs) {
    const WHY: &str = "vfio-pci in the initramfs, loaded first";
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match initramfs {
        Initramfs::Tools => {
            plan.file(TOOLS_HOOK, contents::tools_hook(), 0o755, WHY);
            plan.renew(&words("update-initramfs -u -k all"), &[TOOLS_HOOK, MODPROBE]);
        }
        Initramfs::DracutByTools => {
            plan.file(DRACUT, contents::dracut(MODPROBE), 0o644, WHY);
            plan.renew(&words("update-initramfs -u -k all"), &[DRACUT, MODPROBE]);
        }
        Initramfs::Dracut { debian } => {
            plan.file(DRACUT, contents::dracut(MODPROBE), 0o644, WHY);
            match debian {
                None => plan.renew(&words("dracut --force --regenerate-all"), &[DRACUT, MODPROBE]),
                Some(releases) => {
                    for release in releases {
                        let image = format!("/boot/initrd.img-{release}");
                        plan.renew(&["dracut".into(), "--force".into(), image, release.clone()], &[DRACUT, MODPROBE]);
                        if let Some(command) = plan.commands.last_mut() {
                            command.needs = Some(format!("lib/modules/{release}"));
                        }
                    }
                }
            }
        }
        Initramfs::Mkinitcpio { blocked: None } => {
            plan.file(MKINITCPIO, contents::mkinitcpio(MODPROBE), 0o644, WHY);
            plan.renew(&words("mkinitcpio -P"), &[MKINITCPIO, MODPROBE]);
        }
        Initramfs::Mkinitcpio { blocked: Some(why) } => plan.by_hand.push(format!(
            "{why}: put `vfio_pci` first in `MODULES=(…)` of the mkinitcpio.conf that is used, `modconf` in its HOOKS, and run `sudo mkinitcpio -P`"
        )),
        Initramfs::OsTree => plan.by_hand.push(
            "rpm-ostree makes the initramfs: `sudo rpm-ostree initramfs --enable --arg=--force-drivers --arg=vfio-pci` puts vfio-pci into it, and \
             `sudo rpm-ostree initramfs-etc --track=/etc/modprobe.d/optimus-vmm-setup.conf` its devices"
                .into(),
        ),
        Initramfs::Unknown => plan.by_hand.push(
            "no known program makes the initramfs here (initramfs-tools, dracut, mkinitcpio): if there is one, have it load vfio-pci first, with \
             /etc/modprobe.d/optimus-vmm-setup.conf, and renew it"
                .into(),
        ),
    }
}

fn command_line(plan: &mut Plan, place: &CommandLine, parameters: &[String]) {
    if parameters.is_empty() {
        return;
    }
    let line = parameters.join(" ");
    const WHY: &str = "words on the kernel's command line";
    let mut edit = |path: &str, content: &Content, text: Option<String>, then: &[String]| match text {
        Some(text) => {
            let content = content.with_text(text);
            plan.files.push(PlannedFile { path: path.into(), content, why: WHY });
            plan.renew(then, &[path]);
            true
        }
        None => false,
    };
    let set = match place {
        CommandLine::GrubFile(content, then) => {
            edit(GRUB, content, content.text().map(|text| contents::grub_file(text, &line)), then)
        }
        CommandLine::KernelFile(content, then) => {
            edit(KERNEL_CMDLINE, content, content.text().map(|text| contents::kernel_file(text, &line)), then)
        }
        CommandLine::GrubFolder => {
            plan.file(GRUB_FOLDER, contents::grub_folder(&line), 0o644, WHY);
            plan.command("update-grub", "update-grub", &[GRUB_FOLDER]);
            true
        }
        CommandLine::Grubby => {
            for word in parameters {
                plan.command(
                    &format!("grubby --update-kernel=ALL --args={word}"),
                    &format!("grubby --update-kernel=ALL --remove-args={word}"),
                    &[],
                );
            }
            true
        }
        CommandLine::Kernelstub => {
            for word in parameters {
                plan.command(
                    &format!("kernelstub --add-options {word}"),
                    &format!("kernelstub --delete-options {word}"),
                    &[],
                );
            }
            true
        }
        CommandLine::OsTree => {
            let words: Vec<_> = parameters.iter().map(|word| format!("--append-if-missing={word}")).collect();
            plan.by_hand.push(format!(
                "set the kernel's command line with `sudo rpm-ostree kargs {}`",
                words.join(" ")
            ));
            false
        }
        CommandLine::Elsewhere(place) => {
            plan.by_hand.push(format!("add `{line}` {place}"));
            false
        }
    };
    if set {
        plan.parameters = parameters.to_vec();
    } else if matches!(place, CommandLine::GrubFile(..) | CommandLine::KernelFile(..)) {
        plan.by_hand
            .push(format!("add `{line}` to the kernel's command line: the file that has it is no text"));
    }
}
