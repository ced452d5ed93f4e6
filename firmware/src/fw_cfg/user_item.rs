//! `[[fw_cfg]]`: items that the user gives to the guest.
//!
//! By convention (QEMU docs/specs/fw_cfg.rst) users' names begin with `opt/`, and below that with a reversed domain
//! name or `ovmf/`. Names that the machine itself serves are refused: two items of one name would leave it to the
//! guest which one it sees.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vocabulary::fw_cfg::Content;

use super::{FileRange, MAX_NAME};
use crate::input;

/// Names outside `opt/` that the machine serves, or that would tell the firmware something wrong about it.
const RESERVED: [&str; 8] = [
    "bootorder",
    "bios-geometry",
    "etc/acpi/",
    "etc/boot/",
    "etc/smbios/",
    "etc/table-loader",
    "genroms/",
    "vgaroms/",
];

/// Exact names below `etc/` that are the machine's own.
const RESERVED_ETC: [&str; 14] = [
    "e820",
    "system-states",
    "ramfb",
    "vmgenid_guid",
    "vmgenid_addr",
    "vmcoreinfo",
    "hardware-info",
    "extra-pci-roots",
    "reserved-memory-end",
    "msr_feature_control",
    "boot-menu-wait",
    "boot-fail-wait",
    "smi/supported-features",
    "tpm/config",
];

/// Where the bytes of an item come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The bytes of the string, without a NUL.
    Text(&'a str),
    /// The content of a file, read as the guest asks for it.
    File(&'a Path),
}

/// A validated item.
pub struct UserItem {
    name: String,
    content: Box<dyn Content>,
}

impl std::fmt::Debug for UserItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserItem").field("name", &self.name).field("len", &self.content.len()).finish()
    }
}

/// An item that cannot be given to the guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserItemError {
    /// Empty, too long, or with characters that no reader expects.
    #[error(
        "the fw_cfg name \"{}\" cannot be used: a name has 1 to {MAX_NAME} printable ASCII characters without spaces",
        .0.escape_default()
    )]
    Name(String),
    /// The machine's own.
    #[error("the fw_cfg name \"{0}\" belongs to the machine itself; names of your own begin with opt/")]
    Reserved(String),
    /// Given twice.
    #[error("the fw_cfg name \"{0}\" is given twice")]
    Duplicate(String),
    /// The file cannot be used.
    #[error("cannot read {} for the fw_cfg item \"{name}\": {source}", path.display())]
    File {
        /// The item.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl UserItem {
    /// Validates the name and opens the source.
    ///
    /// # Errors
    /// See [`UserItemError`].
    pub fn new(name: &str, source: Source<'_>) -> Result<Self, UserItemError> {
        check_name(name)?;
        let content: Box<dyn Content> = match source {
            Source::Text(text) => Box::new(text.as_bytes().to_vec()),
            Source::File(path) => Box::new(open(path).map_err(|source| UserItemError::File {
                name: name.into(),
                path: path.into(),
                source,
            })?),
        };
        Ok(Self { name: name.into(), content })
    }

    /// The name, as it stands in the directory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the name follows the convention for users' items; if not, a warning is in order.
    #[must_use]
    pub fn is_conventional(&self) -> bool {
        self.name.starts_with("opt/")
    }

    /// Name and content, for the device.
    #[must_use]
    pub fn into_parts(self) -> (String, Box<dyn Content>) {
        (self.name, self.content)
    }
}

/// Checks one name, without its content.
///
/// # Errors
/// [`UserItemError::Name`] or [`UserItemError::Reserved`].
pub fn check_name(name: &str) -> Result<(), UserItemError> {
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UserItemError::Name(name.into()));
    }
    let reserved = RESERVED.iter().any(|own| match own.ends_with('/') {
        true => name.starts_with(own),
        false => name == *own,
    });
    let reserved_etc = name.strip_prefix("etc/").is_some_and(|rest| RESERVED_ETC.contains(&rest));
    match reserved || reserved_etc {
        true => Err(UserItemError::Reserved(name.into())),
        false => Ok(()),
    }
}

/// Checks that no two items share a name.
///
/// # Errors
/// [`UserItemError::Duplicate`].
pub fn check_duplicates(items: &[UserItem]) -> Result<(), UserItemError> {
    let mut seen = HashSet::new();
    match items.iter().find(|item| !seen.insert(item.name())) {
        Some(item) => Err(UserItemError::Duplicate(item.name.clone())),
        None => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<FileRange> {
    let (file, metadata) = input::open(path)?;
    let len = u32::try_from(metadata.len())
        .map_err(|_| io::Error::other("it is larger than 4 GiB - 1, the limit of a fw_cfg item"))?;
    Ok(FileRange::new(Arc::new(file), 0, len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        let longest = format!("opt/{}", "x".repeat(51));
        for good in
            ["opt/ovmf/X-PciMmio64Mb", "opt/org.example/a", "etc/my-own", &longest, "etc/edk2/https/ciphers"]
        {
            check_name(good).unwrap();
        }
        for bad in ["", "opt/a b", "opt/\0", "opt/ä", "opt/\n", &format!("{longest}x")] {
            assert!(matches!(check_name(bad), Err(UserItemError::Name(_))), "{bad:?}");
        }
        for own in
            ["bootorder", "etc/e820", "etc/acpi/tables", "etc/boot/kernel", "etc/smbios/x", "genroms/a.rom"]
        {
            assert!(matches!(check_name(own), Err(UserItemError::Reserved(_))), "{own}");
        }
    }

    #[test]
    fn sources() {
        let (_, content) = UserItem::new("opt/a", Source::Text("yes")).unwrap().into_parts();
        let mut bytes = [0xff; 4];
        content.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"yes\0");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, [7; 5000]).unwrap();
        let item = UserItem::new("etc/blob", Source::File(&path)).unwrap();
        assert!(!item.is_conventional());
        assert_eq!(item.into_parts().1.len(), 5000);

        for wrong in [dir.path(), Path::new("/nonexistent"), Path::new("/dev/zero")] {
            let message = UserItem::new("opt/a", Source::File(wrong)).unwrap_err().to_string();
            assert!(message.contains(&wrong.display().to_string()), "{message}");
        }
    }

    #[test]
    fn duplicates() {
        let item = |name| UserItem::new(name, Source::Text("")).unwrap();
        check_duplicates(&[item("opt/a"), item("opt/b")]).unwrap();
        let error = check_duplicates(&[item("opt/a"), item("opt/b"), item("opt/a")]).unwrap_err();
        assert!(matches!(error, UserItemError::Duplicate(name) if name == "opt/a"));
    }

    proptest! {
        #[test]
        fn accepted_names_fit_the_directory(name in "\\PC{0,60}") {
            if check_name(&name).is_ok() {
                prop_assert!(name.len() <= MAX_NAME && !name.contains('\0'));
            }
        }
    }
}
