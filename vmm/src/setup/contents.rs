//! What is in the files that a setup makes.

use super::devices::Devices;

/// How each begins.
const HEAD: &str = "# Made by `optimus-vmm host setup`. `sudo optimus-vmm host undo` removes it.\n";

/// What is above a line in a file of the user's.
const LINE: &str =
    "# The next line is of `optimus-vmm host setup`. `sudo optimus-vmm host undo` takes it back.\n";

/// Who gets rights, and the devices.
pub(super) struct Rights<'a> {
    pub(super) group: &'a str,
    pub(super) devices: &'a Devices,
}

/// IDs of those that vfio-pci is told by their IDs.
fn ids(devices: &Devices) -> String {
    let by_id = devices.at_boot.iter().filter(|function| !devices.by_address.contains(&function.address));
    let mut ids: Vec<_> =
        by_id.map(|function| format!("{:04x}:{:04x}", function.vendor, function.device)).collect();
    ids.dedup();
    ids.join(",")
}

/// For modprobe: IDs, and the order in which modules come.
pub(super) fn modprobe(devices: &Devices) -> String {
    let mut text = HEAD.to_owned();
    let ids = ids(devices);
    if !ids.is_empty() {
        text.push_str(&format!("options vfio-pci ids={ids}\n"));
    }
    for module in &devices.rivals {
        text.push_str(&format!("softdep {module} pre: vfio-pci\n"));
    }
    text
}

/// The modules that a modprobe file made here has wait for vfio-pci.
pub(super) fn rivals(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("softdep ")?.strip_suffix(" pre: vfio-pci"))
}

/// Modules that are loaded at boot.
pub(super) fn modules_load(gvt: bool) -> String {
    format!("{HEAD}vfio-pci\n{}", if gvt { "kvmgt\n" } else { "" })
}

fn rules(rights: &Rights<'_>) -> String {
    let group = rights.group;
    // None for /dev/kvm: the system's own rule gives it to the group kvm, or opens it to all.
    let mut text = format!(
        "SUBSYSTEM==\"vfio|vfio-dev\", GROUP=\"{group}\", MODE=\"0660\"\n\
         KERNEL==\"iommu\", SUBSYSTEM==\"misc\", GROUP=\"{group}\", MODE=\"0660\"\n"
    );
    // The kernel asks its drivers only once, before udev: they are asked again.
    for address in &rights.devices.by_address {
        text.push_str(&format!(
            "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"{address}\", ATTR{{driver_override}}=\"vfio-pci\", RUN{{builtin}}+=\"kmod load vfio-pci\", \
             RUN+=\"/bin/sh -c 'echo %k > /sys/bus/pci/drivers_probe'\"\n"
        ));
    }
    text
}

/// For udev: rights, and devices that are told by their addresses.
pub(super) fn udev(rights: &Rights<'_>) -> String {
    format!("{HEAD}{}", rules(rights))
}

/// For pam_limits.
pub(super) fn limits(group: &str) -> String {
    format!("{HEAD}@{group} - memlock unlimited\n")
}

/// A hook of initramfs-tools (initramfs-tools(7)), whose list of modules is one file that packages and users share.
pub(super) fn tools_hook() -> String {
    format!(
        "#!/bin/sh\n{HEAD}case \"$1\" in\nprereqs)\n\texit 0\n\t;;\nesac\n. /usr/share/initramfs-tools/hook-functions\nforce_load vfio-pci\n"
    )
}

/// For dracut. An image that is not for this host alone has no files of /etc/modprobe.d otherwise.
pub(super) fn dracut(modprobe: &str) -> String {
    format!("{HEAD}force_drivers+=\" vfio-pci \"\ninstall_items+=\" /{modprobe} \"\n")
}

/// For mkinitcpio. The hook `modconf` copies the file of modprobe as a rule; not every list of hooks has it.
pub(super) fn mkinitcpio(modprobe: &str) -> String {
    format!("{HEAD}MODULES=(vfio_pci \"${{MODULES[@]}}\")\nFILES+=(/{modprobe})\n")
}

/// A file of GRUB's configuration, a shell's.
pub(super) fn grub_folder(words: &str) -> String {
    format!("{HEAD}{}", grub_line(words))
}

fn grub_line(words: &str) -> String {
    format!("GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT {words}\"\n")
}

/// GRUB's configuration with a line more.
pub(super) fn grub_file(text: &str, words: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}{LINE}{}", grub_line(words))
}

/// `/etc/kernel/cmdline` with words more: one line, or several that are read as one.
pub(super) fn kernel_file(text: &str, words: &str) -> String {
    let (line, end) = match text.strip_suffix('\n') {
        Some(line) => (line.trim_end(), "\n"),
        None => (text.trim_end(), ""),
    };
    let space = if line.is_empty() { "" } else { " " };
    format!("{line}{space}{words}{end}")
}

/// Lines of NixOS's configuration that come to the same.
pub(super) fn nixos(rights: &Rights<'_>, parameters: &[String]) -> String {
    let devices = rights.devices;
    let quoted = |words: &[String]| words.iter().map(|word| format!("\"{word}\" ")).collect::<String>();
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let mut text = String::new();
    let mut words = parameters.to_vec();
    if !devices.at_boot.is_empty() {
        text.push_str("boot.initrd.kernelModules = [ \"vfio_pci\" ];\n");
        let ids = ids(devices);
        if !ids.is_empty() {
            words.push(format!("vfio-pci.ids={ids}"));
        }
        let order: String =
            devices.rivals.iter().map(|module| format!("softdep {module} pre: vfio-pci\n")).collect();
        text.push_str(&format!("boot.extraModprobeConfig = ''\n{}'';\n", indented(&order)));
    }
    if !words.is_empty() {
        text.push_str(&format!("boot.kernelParams = [ {}];\n", quoted(&words)));
    }
    text.push_str(&format!(
        "boot.kernelModules = [ \"vfio-pci\" {}];\n",
        if devices.gvt { "\"kvmgt\" " } else { "" }
    ));
    text.push_str(&format!("services.udev.extraRules = ''\n{}'';\n", indented(&rules(rights))));
    text.push_str(&format!(
        "security.pam.loginLimits = [ {{ domain = \"@{}\"; type = \"-\"; item = \"memlock\"; value = \"unlimited\"; }} ];\n",
        rights.group
    ));
    text
}
