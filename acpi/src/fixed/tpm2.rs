//! TPM2 (TCG ACPI Specification 1.3, 7.3): where the TPM's control area is, and how commands are started.
//!
//! It names no event log: the firmware keeps its log where it likes, and hands it on by the protocol EFI_TCG2. With an empty log here,
//! Linux 5.8 to 5.11 would not look for the other.

use vocabulary::tpm::{CONTROL_AREA, CRB};

use super::header::table;
use crate::platform::OemIds;

const REVISION: u8 = 4;
/// A client's computer.
const PLATFORM_CLASS: u16 = 0;
/// Command Response Buffer: by the register START alone.
const START_METHOD: u32 = 7;
/// Bytes of parameters of the start method, of which this one has none.
const PARAMETERS: usize = 12;
/// Bytes of the least length and the address of an event log.
const LOG: usize = 12;

pub(crate) fn tpm2(oem: OemIds) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&PLATFORM_CLASS.to_le_bytes());
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&(CRB.base() + CONTROL_AREA).to_le_bytes());
    body.extend_from_slice(&START_METHOD.to_le_bytes());
    body.extend_from_slice(&[0; PARAMETERS]);
    body.extend_from_slice(&[0; LOG]);
    table(*b"TPM2", REVISION, oem, &body)
}
