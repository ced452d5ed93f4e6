//! Does an OVMF build know a TPM?
//!
//! One without (`-D TPM2_ENABLE=FALSE`, as some of Fedora's) neither starts the TPM nor measures anything: Windows then shows the device as
//! failing, and disks that are sealed to measurements ask for their recovery key. The module that starts it in PEI, Tcg2Pei, is in every build
//! with the rest.

use uuid::{Uuid, uuid};

use super::pei::{Unpacker, first_module};

/// SecurityPkg/Tcg/Tcg2Pei/Tcg2Pei.inf FILE_GUID.
const TCG2_PEI: Uuid = uuid!("a0c98b77-cba5-4bb8-993b-4af6ce33ece4");

/// Whether a TPM 2.0 is started and measured into; `None` for modules that are built in a way that this check does not know.
pub(super) fn knows_tpm(unpacker: &mut Unpacker<'_>) -> Option<bool> {
    first_module(unpacker, &[TCG2_PEI]).map(|found| found.is_some())
}
