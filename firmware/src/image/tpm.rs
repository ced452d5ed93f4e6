//! Does an OVMF build know a TPM?
//!
//! One without (`-D TPM2_ENABLE=FALSE`, as some of Fedora's) neither starts the TPM nor measures anything: Windows then shows the device as
//! failing, and disks that are sealed to measurements ask for their recovery key. The module that starts it in PEI, Tcg2Pei, is in every build
//! with the rest.

use uuid::{Uuid, uuid};

use super::pei::first_module;

/// SecurityPkg/Tcg/Tcg2Pei/Tcg2Pei.inf FILE_GUID.
const TCG2_PEI: Uuid = uuid!("a0c98b77-cba5-4bb8-993b-4af6ce33ece4");

/// Whether a CODE (or combined) image starts a TPM 2.0 and measures into it; `None` for one that is built in a way that this check does not
/// know. Takes up to some ten milliseconds in a release build.
pub fn knows_tpm(image: &[u8]) -> Option<bool> {
    first_module(image, &[TCG2_PEI]).map(|found| found.is_some())
}
