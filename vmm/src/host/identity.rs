//! What the host's firmware calls the machine: the kernel's view of its SMBIOS tables, `sys/class/dmi/id` (Linux,
//! drivers/firmware/dmi-id.c). The kernel makes no file for what the tables leave out, and lets only root read what tells one
//! machine from another.

use std::collections::BTreeMap;
use std::io;

use super::HostFiles;

/// Where the files are.
const FOLDER: &str = "sys/class/dmi/id";

/// What anybody may read.
const MODEL: [&str; 16] = [
    "bios_date",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_type",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_sku",
    "product_version",
    "sys_vendor",
];
/// What only root may read.
const SERIALS: [&str; 4] = ["board_serial", "chassis_serial", "product_serial", "product_uuid"];

/// What the machine plan wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WantedIdentity {
    /// Manufacturer, product, firmware and the like.
    pub model: bool,
    /// Serial numbers and the UUID.
    pub serials: bool,
}

impl WantedIdentity {
    /// Whether that is nothing.
    pub const fn is_empty(self) -> bool {
        !(self.model || self.serials)
    }
}

/// What is in the files, by their names. They are text of strangers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostIdentity {
    /// Values without white space around them; what cannot be read with the reason.
    pub values: BTreeMap<&'static str, Result<String, io::ErrorKind>>,
}

impl HostIdentity {
    /// Whether the host has none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl HostFiles {
    /// Reads the files. What is missing is not in the result.
    pub(super) fn identity(&self, wanted: WantedIdentity) -> HostIdentity {
        let model = MODEL.iter().filter(|_| wanted.model);
        let names = model.chain(SERIALS.iter().filter(|_| wanted.serials));
        let values = names.filter_map(|name| match self.text(format!("{FOLDER}/{name}")) {
            Ok(text) => Some((*name, Ok(text.trim().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some((*name, Err(error.kind()))),
        });
        HostIdentity { values: values.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &[u8])], wanted: WantedIdentity) -> HostIdentity {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(FOLDER)).unwrap();
        for (name, content) in files {
            std::fs::write(root.path().join(FOLDER).join(name), content).unwrap();
        }
        HostFiles::at(root.path()).identity(wanted)
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let files: [(&str, &[u8]); 5] = [
            ("product_version", b"1.0       \n"),
            ("sys_vendor", b"ASUSTeK COMPUTER INC.\n"),
            ("product_sku", b" \n"),
            ("product_serial", b"S-1\n"),
            ("modalias", b"dmi:\n"),
        ];
        let of = |model, serials| read(&files, WantedIdentity { model, serials }).values;
        let ok = |text: &str| Ok(text.to_owned());
        let model = [
            ("product_sku", ok("")),
            ("product_version", ok("1.0")),
            ("sys_vendor", ok("ASUSTeK COMPUTER INC.")),
        ];
        assert_eq!(of(true, false), model.clone().into());
        assert_eq!(of(false, true), [("product_serial", ok("S-1"))].into());
        assert_eq!(of(true, true).len(), model.len() + 1);
        assert!(of(false, false).is_empty());
        assert!(read(&[], WantedIdentity { model: true, serials: true }).is_empty());
    }
}
