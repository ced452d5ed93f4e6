//! What lending the host's TPM means for the host.

use crate::config::Config;
use crate::device::{Tpm, TpmKind};
use crate::finding::{Finding, Section};

/// A warning where the guest gets the host's.
pub(super) fn warning(config: &Config) -> Option<Finding> {
    let TpmKind::Host(path) = &config.devices.one::<Tpm>()?.kind else { return None };
    let message = format!(
        "the guest gets the host's TPM {}: its firmware measures into the PCRs that the host has measured into, so what either has sealed to \
         PCRs does not open until the host is started anew",
        path.display()
    );
    let help = "leave `path` out for an emulated TPM, which is the guest's alone; docs/tpm.md says what is refused of the guest's commands";
    Some(config.problem(Section::Tpm.key("path"), message).with_help(help))
}
