//! What the host is: model, distribution, kernel and its modules, and how its command line is set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::modules::{self, Module};
use crate::host::HostFiles;

/// Where distributions say which they are (os-release(5)).
pub(in crate::doctor) const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// The host's model and system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct System {
    /// `sys/class/dmi/id`, by name: see [`MODEL`].
    pub(in crate::doctor) model: BTreeMap<String, String>,
    /// `ID` of os-release.
    pub(in crate::doctor) id: String,
    /// `ID_LIKE`.
    pub(in crate::doctor) like: Vec<String>,
    /// `PRETTY_NAME`.
    pub(in crate::doctor) name: String,
    /// The running kernel's release.
    pub(in crate::doctor) kernel: Option<String>,
    /// The words of the kernel's command line.
    pub(in crate::doctor) parameters: Vec<String>,
    /// Those of [`BOOT_FILES`] that exist.
    pub(in crate::doctor) boot: Vec<String>,
    /// A battery of the machine's own.
    pub(in crate::doctor) battery: bool,
    /// Modules that matter.
    pub(in crate::doctor) modules: BTreeMap<String, Module>,
}

/// Who made the machine, and which it is. Serial numbers are not among them.
pub(in crate::doctor) const MODEL: [&str; 6] =
    ["sys_vendor", "product_name", "product_version", "bios_version", "bios_date", "chassis_type"];

/// How the kernel's command line may be set, and what shows that `host setup` was here.
pub(in crate::doctor) const BOOT_FILES: [&str; 4] =
    ["etc/default/grub", "etc/kernel/cmdline", "boot/loader/entries", SETUP];

/// The rules of udev by `host setup`, which every setup makes.
pub(in crate::doctor) const SETUP: &str = "etc/udev/rules.d/70-optimus-vmm-setup.rules";

/// Where power supplies are.
pub(in crate::doctor) const POWER: &str = "sys/class/power_supply";

impl System {
    pub(super) fn read(files: &HostFiles) -> Self {
        let model = MODEL.iter().filter_map(|name| {
            let text = files.text(format!("sys/class/dmi/id/{name}")).ok()?;
            Some(((*name).to_owned(), text.trim().to_owned()))
        });
        let kernel = files.text("proc/sys/kernel/osrelease").ok();
        let cmdline = files.text("proc/cmdline").unwrap_or_default();
        let is_battery = |name: &String| {
            let text = |attribute| files.text(format!("{POWER}/{name}/{attribute}"));
            text("type").is_ok_and(|kind| kind == "Battery")
                && text("scope").map_or(true, |scope| scope != "Device")
        };
        Self {
            model: model.collect(),
            modules: modules::read(files, kernel.as_deref()),
            kernel,
            parameters: cmdline.split_whitespace().map(str::to_owned).collect(),
            boot: BOOT_FILES
                .iter()
                .filter(|file| files.path(file).exists())
                .map(|file| (*file).to_owned())
                .collect(),
            battery: files.names(POWER).iter().any(is_battery),
            ..Self::named(files)
        }
    }

    /// What os-release says alone.
    pub(in crate::doctor) fn named(files: &HostFiles) -> Self {
        let os = OS_RELEASE.iter().find_map(|file| files.text(file).ok()).unwrap_or_default();
        Self {
            id: variable(&os, "ID").unwrap_or_default(),
            like: variable(&os, "ID_LIKE").unwrap_or_default().split(' ').map(str::to_owned).collect(),
            name: variable(&os, "PRETTY_NAME").unwrap_or_else(|| "an unknown distribution".into()),
            ..Self::default()
        }
    }

    /// Manufacturer and product, as far as the firmware has them.
    pub(in crate::doctor) fn title(&self) -> String {
        let get = |name: &str| self.model.get(name).map(String::as_str).unwrap_or_default();
        let words = [get("sys_vendor"), get("product_name"), get("product_version")];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        if words.is_empty() { "a machine without a name".into() } else { words.join(" ") }
    }

    /// Whether it is a portable machine (SMBIOS 3.7 §7.4.1); `None` where the firmware does not say.
    pub(in crate::doctor) fn is_portable(&self) -> Option<bool> {
        let chassis: u8 = self.model.get("chassis_type")?.parse().ok()?;
        Some(matches!(chassis, 8..=11 | 14 | 30..=32))
    }

    /// How it is with a module.
    pub(in crate::doctor) fn module(&self, name: &str) -> Module {
        self.modules.get(name).copied().unwrap_or(Module::Unknown)
    }
}

/// A variable of os-release, whose values may be quoted as a shell does.
fn variable(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some(unquoted.unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_quoted_or_not() {
        let text = "NAME=\"Arch Linux\"\nID=arch\n ID_LIKE='debian x'\nVERSION_ID=\n";
        for (name, value) in [
            ("ID", Some("arch")),
            ("NAME", Some("Arch Linux")),
            ("ID_LIKE", Some("debian x")),
            ("VERSION_ID", Some("")),
            ("X", None),
        ] {
            assert_eq!(variable(text, name).as_deref(), value, "{name}");
        }
    }
}
