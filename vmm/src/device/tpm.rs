//! `[tpm]`: a Trusted Platform Module 2.0, emulated by swtpm(8) or the host's own. The interface is [`devices::tpm`]'s.

mod certificates;
mod emulator;
mod error;
mod host;
mod process;
mod state;
mod workplace;

use std::path::PathBuf;
use std::sync::Arc;

use devices::bus::Priority;
use devices::tpm::{Backend, Crb, PresenceMemory};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::tpm::{CONFIG_FILE, CRB, PRESENCE, config};

use self::emulator::Emulator;
use self::error::TpmError;
use self::process::Keeper;
use super::{Assembly, DeviceError, Opened, Opening, Purpose, Resource, Spec, Tables, UsedFile};
use crate::finding::{Key, Resolver, Section};
use crate::topology::Placed;

/// A Trusted Platform Module 2.0, which Windows 11 asks for, and in which guests keep keys of their disks: emulated by the program swtpm, or
/// the host's own. Without this section there is none. docs/tpm.md has more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TpmSection {
    /// The folder of the TPM's state, of this machine alone, which is made at the first run. Whoever loses it loses what the guest has sealed:
    /// keep it with the disks.
    #[serde(default)]
    #[schemars(extend("format" = "path", "x-default" = "`NAME_TPM` beside this file"))]
    pub state: Option<String>,
    /// Whether a new TPM is given certificates, as those of manufacturers have, by the program `swtpm_setup` and an authority of this
    /// machine's own, which is kept with the state. Few guests ask for them.
    #[serde(default)]
    #[schemars(extend("x-default" = "where `swtpm_setup` is installed, and works"))]
    pub certificates: Option<bool>,
    /// The host's TPM in place of an emulated one: `"/dev/tpmrm0"`. Host and guest then share it, with all that was measured and with what either has in it.
    #[serde(default)]
    #[schemars(extend("format" = "path", "x-default" = "none: an emulated one"))]
    pub path: Option<String>,
}

/// A TPM 2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm {
    /// Who executes commands.
    pub kind: TpmKind,
}

/// Who executes a TPM's commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmKind {
    /// swtpm(8).
    Emulated {
        /// The folder of its state.
        state: PathBuf,
        /// Whether a new one is given certificates; `None` where that can be done.
        certificates: Option<bool>,
    },
    /// The host's, by its device.
    Host(PathBuf),
}

impl TpmSection {
    /// The TPM of the machine called `name`.
    pub(crate) fn resolve(self, name: &str, resolver: &mut Resolver) -> Tpm {
        let Self { state, certificates, path } = self;
        let Some(path) = path else {
            let state = resolver.path(state.unwrap_or_else(|| format!("{name}_TPM")));
            return Tpm { kind: TpmKind::Emulated { state, certificates } };
        };
        for (key, written) in [("state", state.is_some()), ("certificates", certificates.is_some())] {
            if written {
                let message = format!("`{key}` is about an emulated TPM, and `path` names the host's");
                resolver.problem_with_help(
                    Section::Tpm.key(key),
                    message,
                    format!("leave `{key}` out, or leave `path` out for an emulated TPM"),
                );
            }
        }
        if !host::is_device(&path) {
            resolver.problem_with_help(
                PATH,
                format!("{path:?} is not the device of a TPM"),
                "write `path = \"/dev/tpmrm0\"` for the host's TPM, or leave `path` out for an emulated one",
            );
        }
        Tpm { kind: TpmKind::Host(path.into()) }
    }
}

const PATH: Key = Section::Tpm.key("path");

impl Spec for Tpm {
    fn section(&self) -> Section {
        Section::Tpm
    }

    fn describe(&self) -> String {
        match &self.kind {
            TpmKind::Emulated { .. } => "TPM 2.0 by swtpm".into(),
            TpmKind::Host(path) => format!("TPM 2.0, the host's {}", path.display()),
        }
    }

    fn resources(&self) -> Vec<Resource> {
        let presence = matches!(self.kind, TpmKind::Emulated { .. }).then_some(PRESENCE);
        [Some(CRB), presence].into_iter().flatten().map(Resource::Memory).collect()
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        match &self.kind {
            TpmKind::Emulated { state, .. } => vec![("the TPM's state, a folder".into(), state)],
            TpmKind::Host(path) => vec![("the host's TPM".into(), path)],
        }
    }

    fn describe_to_acpi(&self, platform: &mut acpi::Platform, _: &Tables) {
        let physical_presence = matches!(self.kind, TpmKind::Emulated { .. });
        platform.tpm = Some(acpi::Tpm { physical_presence });
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let opened = match &self.kind {
            TpmKind::Emulated { state, certificates } => open_emulated(state, *certificates, opening.purpose),
            TpmKind::Host(path) => host::open(path).map(|tpm| OpenTpm {
                backend: Some(Box::new(tpm)),
                keeper: None,
                presence: None,
            }),
        };
        match opened {
            Ok(open) => Some(Box::new(open)),
            Err(error) => {
                let key = error.key(&self.kind);
                let problem = opening.origin.problem(key, format!("tpm: {error}")).with_help(error.help());
                // The configuration is right; another machine is in the way.
                match (error.is_in_use(), opening.purpose) {
                    (true, Purpose::Look) => {}
                    (true, Purpose::Run) => opening.problems.push(problem.about_host()),
                    (false, _) => opening.problems.push(problem),
                }
                None
            }
        }
    }
}

fn open_emulated(
    folder: &std::path::Path,
    certificates: Option<bool>,
    purpose: Purpose,
) -> Result<OpenTpm, TpmError> {
    let start = process::Start::find(folder)?;
    let state = state::look(folder)?;
    let maker = certificates::Maker::find(certificates, &state)?;
    if purpose == Purpose::Look {
        return Ok(OpenTpm { backend: None, keeper: None, presence: None });
    }
    state::make(folder, &state, maker)?;
    let (emulator, keeper) = Emulator::start(start)?;
    Ok(OpenTpm {
        backend: Some(Box::new(emulator)),
        keeper: Some(keeper),
        presence: Some(PresenceMemory::new()),
    })
}

/// A TPM that works, or was only looked at.
struct OpenTpm {
    backend: Option<Box<dyn Backend>>,
    /// Ends what executes commands.
    keeper: Option<Keeper>,
    /// What firmware and operating system share.
    presence: Option<Arc<PresenceMemory>>,
}

impl Opened for OpenTpm {
    fn build(self: Box<Self>, _: Option<Placed<'_>>, machine: &mut Assembly<'_>) -> Result<(), DeviceError> {
        let Self { backend, keeper, presence } = *self;
        // Nobody builds what was only looked at.
        let Some(backend) = backend else { return Ok(()) };
        let why = |error: std::io::Error| DeviceError::Function { at: "tpm".into(), why: error.to_string() };
        machine.made.programs.extend(keeper.map(|keeper| Box::new(keeper) as _));
        let tpm = Crb::new("tpm", backend).map_err(why)?;
        machine.memory.insert(CRB, Priority::Platform, Arc::clone(&tpm) as _);
        machine.on_reset(move || tpm.reset());
        if let Some(presence) = presence {
            machine.memory.insert(PRESENCE, Priority::Platform, Arc::clone(&presence) as _);
            machine.made.firmware_files.push((CONFIG_FILE, config().to_vec()));
            let ram = machine.ram.clone();
            machine.on_reset(move || {
                if presence.take_clear_memory()
                    && let Err(error) = devices::memory::clear(&ram)
                {
                    tracing::error!(
                        "tpm: the guest's memory could not be cleared, as the guest has asked for: {error}"
                    );
                }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
