//! Commands about CD drives. QMP knows `eject` and `blockdev-change-medium`; there is none of QEMU's that lists drives alone.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, Context, Nothing, Slow, quick, slow};
use crate::control::machine::CdDrive;
use crate::control::protocol::{Refusal, short};

#[derive(Serialize, JsonSchema)]
struct Described {
    /// `cdrom[0]`, by which `eject` knows it.
    name: String,
    /// The image in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// The image's blocks of 2048 bytes.
    blocks: u32,
    /// The tray is open.
    open: bool,
    /// The guest has locked the tray.
    locked: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Eject {
    /// The drive. QMP has two names for it.
    device: Option<String>,
    id: Option<String>,
    /// Also if the guest has locked the tray.
    force: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ChangeMedium {
    device: Option<String>,
    id: Option<String>,
    /// The image.
    filename: String,
    /// Its format. Discs are raw.
    format: Option<Format>,
    force: Option<bool>,
    /// What writing would be. Discs are only read.
    read_only_mode: Option<ReadOnlyMode>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Raw,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ReadOnlyMode {
    Retain,
    ReadOnly,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        quick("query-cdrom", |context, Nothing {}| Ok(drives(context))),
        slow::<Eject, Nothing>("eject", |context, Eject { device, id, force }| {
            let drive = number(context, device.or(id))?;
            Ok(Slow::Eject { drive, force: force.unwrap_or(false) })
        }),
        slow::<ChangeMedium, Nothing>("blockdev-change-medium", |context, change| {
            let ChangeMedium { device, id, filename, format, force, read_only_mode } = change;
            // Each has only values that change nothing.
            let (None | Some(Format::Raw), None | Some(ReadOnlyMode::Retain | ReadOnlyMode::ReadOnly)) =
                (format, read_only_mode);
            let drive = number(context, device.or(id))?;
            Ok(Slow::Insert { drive, path: PathBuf::from(filename), force: force.unwrap_or(false) })
        }),
    ]
}

fn drives(context: &Context<'_>) -> Vec<Described> {
    let described = |CdDrive { name, drive }: &CdDrive| {
        let status = drive.status();
        Described {
            name: name.clone(),
            file: status.disc,
            blocks: status.blocks,
            open: status.open,
            locked: status.locked,
        }
    };
    context.machine.facts.cdroms.iter().map(described).collect()
}

/// The number of the drive of this name.
fn number(context: &Context<'_>, name: Option<String>) -> Result<usize, Refusal> {
    let name = name.ok_or_else(|| Refusal::new("Need exactly one of 'device' and 'id'"))?;
    let facts = &context.machine.facts;
    let found = facts.cdroms.iter().position(|drive| drive.name == name);
    found.ok_or_else(|| Refusal::no_device(format!("Device '{}' not found", short(&name))))
}
