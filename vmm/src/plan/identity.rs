//! What the host's firmware calls the machine, taken over where the configuration asks for it and has nothing of its own.

use std::io::ErrorKind;

use firmware::fw_cfg::smbios::is_date;
use serde::Serialize;
use uuid::Uuid;
use vocabulary::Scalar;
use vocabulary::printable::shorten;

use crate::config::{ChassisType, Config, Smbios, check_smbios, check_uuid};
use crate::finding::{Finding, Section};
use crate::host::HostFacts;

/// A value that was taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mirrored {
    /// The key of `[smbios]` that it stands for, or `uuid`.
    pub key: &'static str,
    /// The host's value.
    pub value: String,
}

/// A string of `[smbios]`.
type Field = fn(&mut Smbios) -> &mut String;

/// The host's files, and the keys that they stand for. Those of the serial numbers come last.
const STRINGS: [(&str, &str, Field); 18] = [
    ("sys_vendor", "manufacturer", |smbios| &mut smbios.manufacturer),
    ("product_name", "product", |smbios| &mut smbios.product),
    ("product_version", "version", |smbios| &mut smbios.version),
    ("product_sku", "sku", |smbios| &mut smbios.sku),
    ("product_family", "family", |smbios| &mut smbios.family),
    ("chassis_vendor", "chassis_manufacturer", |smbios| &mut smbios.chassis_manufacturer),
    ("chassis_version", "chassis_version", |smbios| &mut smbios.chassis_version),
    ("chassis_asset_tag", "chassis_asset", |smbios| &mut smbios.chassis_asset),
    ("board_vendor", "board_manufacturer", |smbios| &mut smbios.board_manufacturer),
    ("board_name", "board_product", |smbios| &mut smbios.board_product),
    ("board_version", "board_version", |smbios| &mut smbios.board_version),
    ("board_asset_tag", "board_asset", |smbios| &mut smbios.board_asset),
    ("bios_vendor", "bios_vendor", |smbios| &mut smbios.bios_vendor),
    ("bios_version", "bios_version", |smbios| &mut smbios.bios_version),
    (BIOS_DATE, "bios_date", |smbios| &mut smbios.bios_date),
    ("product_serial", "serial", |smbios| &mut smbios.serial),
    ("chassis_serial", "chassis_serial", |smbios| &mut smbios.chassis_serial),
    ("board_serial", "board_serial", |smbios| &mut smbios.board_serial),
];
const BIOS_DATE: &str = "bios_date";
const CHASSIS_TYPE: (&str, &str) = ("chassis_type", "chassis_type");
const UUID: (&str, &str) = ("product_uuid", "uuid");

/// Takes over what is not written. Nothing if nobody has looked at the host.
pub(super) fn mirror(
    config: &mut Config,
    facts: &HostFacts,
    problems: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) -> Vec<Mirrored> {
    let Some(identity) = &facts.identity else { return Vec::new() };
    let asked = if config.smbios.mirror_host { "mirror_host" } else { "mirror_serials" };
    if identity.is_empty() {
        let message = "the host says nothing of itself: there is nothing in /sys/class/dmi/id, as in a container or on a machine \
                       without SMBIOS";
        let help = format!("write the values here, or leave `{asked}` out");
        problems.push(config.problem(Section::Smbios.key(asked), message).with_help(help).about_host());
        return Vec::new();
    }
    let mut mirrored = Vec::new();
    let mut denied = Vec::new();
    for (file, key) in STRINGS.iter().map(|(file, key, _)| (*file, *key)).chain([CHASSIS_TYPE, UUID]) {
        let (section, written) = match key {
            "uuid" => (Section::Uuid.into(), "at the top of the file"),
            _ => (Section::Smbios.key(key), "here"),
        };
        if config.origin.line_of(section).is_some() {
            continue;
        }
        let taken = match identity.values.get(file) {
            // The host leaves it out, and so does the guest.
            None => continue,
            Some(Ok(value)) if value.is_empty() => continue,
            Some(Err(ErrorKind::PermissionDenied)) => {
                denied.push((file, key));
                continue;
            }
            Some(Err(error)) => Err(format!("it cannot be read: {error}")),
            Some(Ok(value)) => take(&mut config.smbios, &mut config.uuid, file, value).map(|()| value),
        };
        match taken {
            Ok(value) => mirrored.push(Mirrored { key, value: value.clone() }),
            Err(why) => {
                let message = format!("the host's {file} is not taken over: {why}");
                let warning = config.problem(Section::Smbios.key(asked), message);
                warnings.push(warning.with_help(format!("write `{key}` {written}")));
            }
        }
    }
    problems.extend(not_root(config, &denied));
    mirrored
}

/// Puts a value in its place.
fn take(smbios: &mut Smbios, uuid: &mut Uuid, file: &str, value: &str) -> Result<(), String> {
    if file == UUID.0 {
        check_uuid(value)?;
        *uuid = Uuid::try_parse(value).map_err(|error| error.to_string())?;
    } else if file == CHASSIS_TYPE.0 {
        let number = value.parse().map_err(|_| format!("\"{}\" is no number", shorten(value)))?;
        smbios.chassis_type = ChassisType::try_from(Scalar::Integer(number))?;
    } else if let Some((.., field)) = STRINGS.iter().find(|(name, ..)| *name == file) {
        check_smbios(value)?;
        if file == BIOS_DATE && !is_date(value) {
            return Err(format!("\"{}\" does not have the form MM/DD/YYYY", shorten(value)));
        }
        value.clone_into(field(smbios));
    }
    Ok(())
}

/// What only root could have read.
fn not_root(config: &Config, denied: &[(&str, &str)]) -> Option<Finding> {
    let (first, _) = denied.first()?;
    let keys: Vec<String> = denied.iter().map(|(_, key)| format!("`{key}`")).collect();
    let key = if config.smbios.mirror_serials { "mirror_serials" } else { "mirror_host" };
    let message = format!("only root may read the host's serial numbers, such as /sys/class/dmi/id/{first}");
    let help = format!("run this as root (with sudo), or write {} yourself", keys.join(", "));
    Some(config.problem(Section::Smbios.key(key), message).with_help(help).about_host())
}
