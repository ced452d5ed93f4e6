//! The host's files that a machine is made from.

use super::MachinePlan;
use crate::config::{Firmware, FirmwareKind, FwCfgContent, RomSource};
use crate::device::UsedFile;

impl MachinePlan {
    /// All of them, each with what it is called in messages.
    pub(crate) fn files(&self) -> Vec<UsedFile<'_>> {
        let mut files: Vec<UsedFile<'_>> = Vec::new();
        let mut add = |what: &str, path| files.push((what.to_owned(), path));
        if let Some(Firmware { kind, code, vars, vars_template }) = &self.firmware {
            add("the firmware's image (`code` in [firmware])", code.as_path());
            if *kind == FirmwareKind::Ovmf {
                add("the machine's variables (`vars` in [firmware])", vars);
                if let Some(template) = vars_template {
                    add("the template of the variables", template);
                }
            }
        }
        if let Some(kernel) = &self.kernel {
            add("the kernel", &kernel.image);
            if let Some(initrd) = &kernel.initrd {
                add("the initrd", initrd);
            }
        }
        for table in &self.acpi_tables {
            add("an ACPI table", table);
        }
        files.extend(self.devices.iter().flat_map(|device| device.files()));
        for device in &self.passthrough {
            if let RomSource::File(path) = &device.rom {
                files.push((format!("the ROM of {}", device.section), path));
            }
        }
        for item in &self.fw_cfg {
            if let FwCfgContent::File(path) = &item.content {
                files.push((format!("the content of the fw_cfg item {}", item.name), path));
            }
        }
        files
    }
}
