//! Why there is no TPM, and what to do about it.

use std::io;
use std::path::PathBuf;

use devices::tpm::BackendError;

use super::{PATH, TpmKind};
use crate::finding::{Key, Section};

/// The package of a program, for the distributions.
const PACKAGE: &str = "Debian, Ubuntu, Fedora, Arch and openSUSE have it";
/// AppArmor's profile for swtpm, which some distributions ship.
const PROFILE: &str = "/etc/apparmor.d/usr.bin.swtpm";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TpmError {
    #[error("the program swtpm, which emulates the TPM, is not installed")]
    NoSwtpm,
    #[error("the program {0}, which makes certificates, is not installed")]
    NoSetup(&'static str),
    #[error("cannot look at the folder of the TPM's state, {path}: {source}")]
    Look { path: String, source: io::Error },
    #[error("{path} is not a folder, which the TPM's state is")]
    NotAFolder { path: String },
    /// Something else, or a state of which a part was lost.
    #[error("the folder {path} has files in it, and none is the state of a TPM 2.0 (tpm2-00.permall)")]
    NoState { path: String },
    #[error("the TPM's state in {path} belongs to the user with the number {owner}")]
    Owner { path: String, owner: u32 },
    #[error("cannot make the folder of the TPM's state, {path}: {source}")]
    Make { path: String, source: io::Error },
    #[error("the TPM's state in {path} is in use by {holder}")]
    InUse { path: String, holder: String },
    #[error("swtpm_setup cannot make a TPM with certificates: {why}")]
    Setup { why: String },
    #[error("cannot start swtpm: {0}")]
    Start(io::Error),
    /// It runs, or ran, and does not work.
    #[error("swtpm does not work: {error}{}", and_says(said))]
    Backend { error: BackendError, said: String },
    #[error("cannot open the host's TPM {}: {source}", path.display())]
    Host { path: PathBuf, source: io::Error },
    #[error("{} is not a character device", .0.display())]
    NotADevice(PathBuf),
}

fn and_says(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("; it says: {text}") }
}

impl TpmError {
    /// Whether another machine has it.
    pub(super) fn is_in_use(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::Host { source, .. } => source.kind() == io::ErrorKind::ResourceBusy,
            _ => false,
        }
    }

    /// The key to blame.
    pub(super) fn key(&self, kind: &TpmKind) -> Key {
        match (self, kind) {
            (_, TpmKind::Host(_)) => PATH,
            (Self::NoSwtpm | Self::Start(_), _) => Section::Tpm.into(),
            (Self::NoSetup(_) | Self::Setup { .. }, _) => Section::Tpm.key("certificates"),
            _ => Section::Tpm.key("state"),
        }
    }

    /// What to do.
    pub(super) fn help(&self) -> String {
        match self {
            Self::NoSwtpm => {
                format!("install the package `swtpm` ({PACKAGE}), or take the [tpm] section out to do without a TPM")
            }
            Self::NoSetup(_) => {
                "install the package `swtpm-tools` (Debian, Ubuntu, Fedora; part of `swtpm` on Arch and openSUSE), or write `certificates = false`"
                    .into()
            }
            Self::Look { .. } | Self::NotAFolder { .. } => {
                "give another `state`: a folder, or a name that nothing has yet".into()
            }
            Self::NoState { .. } => {
                "put the file back if there was one: with another TPM, what the guest has sealed is lost. For a new TPM, give a `state` that \
                 does not exist"
                    .into()
            }
            Self::Owner { path, .. } => format!(
                "start the machine as that user, or, if the machine is yours: `sudo chown -R $USER {path}`"
            ),
            Self::Make { .. } => "its parent must exist and be yours to write to, or the folder itself if it is there".into(),
            Self::InUse { .. } => {
                "end the machine that uses it. Two machines cannot share a TPM: give each a `state` of its own".into()
            }
            Self::Setup { .. } => "write `certificates = false` for a TPM without, which Windows and Linux are content with".into(),
            Self::Start(_) => "`swtpm --version` shows whether it can be run at all".into(),
            Self::Backend { error: BackendError::TooOld, .. } => "install swtpm 0.6 or later".into(),
            Self::Backend { .. } if std::path::Path::new(PROFILE).exists() => format!(
                "where AppArmor's profile {PROFILE} forbids it this folder, `journalctl -k --grep=swtpm` says so: put the state into your home \
                 folder, or allow the folder in /etc/apparmor.d/local/usr.bin.swtpm"
            ),
            Self::Backend { .. } => {
                "if the state is damaged, take it from a backup: with a new TPM, what the guest has sealed is lost".into()
            }
            Self::Host { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "this host has no such TPM: look for one with `ls /dev/tpm*`, or leave `path` out for an emulated one".into()
            }
            Self::Host { source, path } if source.kind() == io::ErrorKind::PermissionDenied => format!(
                "`ls -l {}` shows the group that may; `sudo usermod -aG tss $USER` makes you a member where that is `tss`",
                path.display()
            ),
            Self::Host { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
                "another program has it alone: `path = \"/dev/tpmrm0\"` is for several at a time".into()
            }
            Self::Host { .. } | Self::NotADevice(_) => {
                "write `path = \"/dev/tpmrm0\"`, or leave `path` out for an emulated TPM".into()
            }
        }
    }
}
