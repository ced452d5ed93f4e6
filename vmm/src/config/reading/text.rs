//! The string formats of `vm.toml` that need no type of their own: names, paths, serial numbers.
//!
//! Each check says in one sentence what is wrong with the string.

use vocabulary::printable::shorten;
use vocabulary::scalar::Complaint;

/// Longest name of a machine: with a runtime folder before it and a suffix after it, the path of a socket
/// must fit the 108 bytes of `sockaddr_un` (unix(7)).
const NAME_MAX: usize = 63;

/// Longest fw_cfg item name: the directory entry has 56 bytes with the final NUL (QEMU
/// `docs/specs/fw_cfg.rst`, "File Directory").
const FW_CFG_NAME_MAX: usize = 55;

/// The identity string of virtio-blk (virtio 1.2 §5.2.6, `VIRTIO_BLK_T_GET_ID`) and the serial numbers of ATA (ACS-4 §7.13, IDENTIFY
/// DEVICE) and NVMe (2.0 §5.17.2.1, Identify Controller) all have 20 bytes.
const DISK_SERIAL_MAX: usize = 20;

/// Model and firmware revision, in ATA and NVMe alike.
const DISK_MODEL_MAX: usize = 40;
const DISK_FIRMWARE_REVISION_MAX: usize = 8;

/// SMBIOS 3.x §6.1.3 sets no limit; guests read strings into small buffers.
const SMBIOS_STRING_MAX: usize = 255;

/// `COMMAND_LINE_SIZE` of Linux on x86 is 2048 bytes with the final NUL (arch/x86/include/asm/setup.h).
const COMMAND_LINE_MAX: usize = 2047;

/// A machine name: file and socket names are made from it.
pub fn check_name(text: &str) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err("the name is empty".into());
    }
    if text.len() > NAME_MAX {
        return Err(format!("the name has {} bytes; at most {NAME_MAX} are allowed", text.len()));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("the name \"{}\" must begin with a letter or a digit", shorten(text)));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        Some(wrong) => Err(format!(
            "the name \"{}\" contains {}: only the letters a-z and A-Z, digits, `.`, `_` and `-` are allowed, \
             because file and socket names are made from it",
            shorten(text),
            describe(wrong)
        )),
        None => Ok(()),
    }
}

/// An address of a server.
pub fn check_ip_address(text: &str) -> Result<(), Complaint> {
    let address = text.parse::<std::net::IpAddr>();
    address.map(drop).map_err(|_| format!("\"{}\" is not an IP address such as \"9.9.9.9\"", shorten(text)))
}

/// A UUID that a firmware reports as set.
pub fn check_uuid(text: &str) -> Result<(), Complaint> {
    match uuid::Uuid::try_parse(text) {
        Err(_) => Err(format!(
            "\"{}\" is not a UUID: write 32 hexadecimal digits, as in \
             \"6f1d7a52-3c1e-4d7b-9a55-0c8e2f4b7d19\" (uuidgen makes one)",
            shorten(text)
        )),
        // SMBIOS 3.x §7.2.1: both values mean that there is no UUID.
        Ok(id) if id.is_nil() || id.is_max() => {
            Err("all zeros and all ones mean \"no UUID\" in SMBIOS: leave the key out for a derived one"
                .into())
        }
        Ok(_) => Ok(()),
    }
}

/// The UUID of a mediated device.
pub fn check_mdev_uuid(text: &str) -> Result<(), Complaint> {
    match uuid::Uuid::try_parse(text) {
        Err(_) => Err(format!(
            "\"{}\" is not the UUID of a mediated device: `mdevctl list` and `ls /sys/bus/mdev/devices` show them",
            shorten(text)
        )),
        Ok(id) if id.is_nil() => Err("a UUID of zeros only is none: uuidgen makes one".into()),
        Ok(_) => Ok(()),
    }
}

/// A string of an SMBIOS structure.
pub fn check_smbios(text: &str) -> Result<(), Complaint> {
    printable_ascii("SMBIOS strings", text)?;
    if text.len() > SMBIOS_STRING_MAX {
        return Err(format!("the string has {} bytes; at most {SMBIOS_STRING_MAX} fit", text.len()));
    }
    Ok(())
}

/// The serial number of a disk.
pub fn check_disk_serial(text: &str) -> Result<(), Complaint> {
    check_disk_text("serial number", text, DISK_SERIAL_MAX)
}

/// The model of a disk.
pub fn check_disk_model(text: &str) -> Result<(), Complaint> {
    check_disk_text("model", text, DISK_MODEL_MAX)
}

/// The revision of a disk's firmware.
pub fn check_disk_firmware_revision(text: &str) -> Result<(), Complaint> {
    check_disk_text("firmware revision", text, DISK_FIRMWARE_REVISION_MAX)
}

/// What a disk says of itself.
fn check_disk_text(what: &str, text: &str, most: usize) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err(format!("the {what} is empty: leave the key out for a disk without one"));
    }
    printable_ascii(&format!("{what}s"), text)?;
    if text.len() > most {
        return Err(format!(
            "the {what} \"{}\" has {} bytes; a disk has room for {most}",
            shorten(text),
            text.len()
        ));
    }
    Ok(())
}

/// The name of a user's fw_cfg item.
pub fn check_fw_cfg_name(text: &str) -> Result<(), Complaint> {
    printable_ascii("fw_cfg names", text)?;
    if text.len() > FW_CFG_NAME_MAX {
        return Err(format!("the name has {} bytes; fw_cfg has room for {FW_CFG_NAME_MAX}", text.len()));
    }
    match text.strip_prefix("opt/") {
        Some("") => Err("something must follow \"opt/\"".into()),
        Some(_) => Ok(()),
        None => Err(format!(
            "the name \"{}\" must begin with \"opt/\": all other names belong to the machine",
            shorten(text)
        )),
    }
}

/// A kernel command line.
pub fn check_command_line(text: &str) -> Result<(), Complaint> {
    if let Some(wrong) = text.chars().find(|c| c.is_control()) {
        return Err(format!("the command line contains {}", describe(wrong)));
    }
    if text.len() > COMMAND_LINE_MAX {
        return Err(format!(
            "the command line has {} bytes; Linux reads at most {COMMAND_LINE_MAX}",
            text.len()
        ));
    }
    Ok(())
}

fn printable_ascii(what: &str, text: &str) -> Result<(), Complaint> {
    match text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ')) {
        Some(wrong) => Err(format!("{what} are printable ASCII; this one contains {}", describe(wrong))),
        None => Ok(()),
    }
}

/// A character as it can be shown in a message.
fn describe(c: char) -> String {
    match c {
        ' ' => "a space".into(),
        c if c.is_control() => format!("the control character U+{:04X}", u32::from(c)),
        c => format!("`{c}`"),
    }
}
