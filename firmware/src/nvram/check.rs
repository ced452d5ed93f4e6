//! Is this the content of a variable store?
//!
//! A template must be whole. A store that was in use may have been stopped anywhere, also between the erase and the
//! rewrite of its first block: the fault-tolerant write driver updates blocks by way of a spare copy, and takes up
//! where it was stopped at the next boot (edk2 MdeModulePkg/Universal/FaultTolerantWriteDxe). So a store without a
//! valid header is not lost while the working block, which says what was under way, is there.

use std::fs::File;
use std::path::Path;

use uuid::{Uuid, uuid};

use super::{BLOCK, ERASED, NvramError};
use crate::image::fv::{NV_DATA_FV, Volume, guid_at};
use crate::image::{BLOCK_SIZE, MAX_FLASH, is_qcow2};

/// gEfiAuthenticatedVariableGuid: signature of a store of authenticated variables.
const AUTHENTICATED_VARIABLES: Uuid = uuid!("aaf32c78-947b-439a-a180-2e144ec37792");
/// gEfiVariableGuid: signature of a store without authentication.
const VARIABLES: Uuid = uuid!("ddcf3616-3275-4164-98b6-fe85707ffe7d");
/// gEdkiiWorkingBlockSignatureGuid: starts the working block of the fault-tolerant write driver.
const WORKING_BLOCK: Uuid = uuid!("9e58292b-7c68-497d-a0ce-6500fd9f1b95");

/// In which state an existing store was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreState {
    /// Volume and variable store headers are valid.
    Clean,
    /// The first block is gone, but the firmware has what it needs to restore it.
    MidUpdate,
}

/// Refuses a flash image in a container, as Fedora ships them, before its size is judged.
pub(super) fn check_not_qcow2(path: &Path, file: &File) -> Result<(), NvramError> {
    match is_qcow2(file) {
        true => Err(NvramError::Qcow2 { path: path.into() }),
        false => Ok(()),
    }
}

pub(super) fn check_size(path: &Path, size: u64, expected: Option<u64>) -> Result<(), NvramError> {
    if size == 0 || size > MAX_FLASH || !size.is_multiple_of(BLOCK_SIZE) {
        return Err(NvramError::BadSize { path: path.into(), size });
    }
    match expected {
        Some(expected) if expected != size => Err(NvramError::Size { path: path.into(), size, expected }),
        _ => Ok(()),
    }
}

/// What is wrong with the headers of a store, if anything.
fn fault(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let Some(volume) = Volume::parse(bytes) else {
        let blank = bytes.iter().all(|byte| *byte == ERASED) || bytes.iter().all(|byte| *byte == 0);
        return Some(match blank {
            true => ("it is blank", ""),
            false => ("it does not begin with a valid firmware volume header", ""),
        });
    };
    if volume.guid != NV_DATA_FV {
        return Some((
            "it holds firmware code",
            "; name the VARS file here and the CODE file as the firmware code",
        ));
    }
    if volume.length < bytes.len() as u64 {
        return Some((
            "code follows the variables, so it is a combined image",
            "; use a VARS file, or the combined image as firmware code without a variable store",
        ));
    }
    if volume.length != bytes.len() as u64 {
        return Some(("it is truncated: its volume header says that it is longer", ""));
    }
    match guid_at(bytes, volume.header_length) {
        Some(AUTHENTICATED_VARIABLES | VARIABLES) => None,
        _ => Some(("its volume holds no variables", "")),
    }
}

/// Checks the content of a VARS template; `path` is for the message only.
///
/// # Errors
/// [`NvramError::Invalid`].
pub fn check_template(path: &Path, bytes: &[u8]) -> Result<(), NvramError> {
    match fault(bytes) {
        None => Ok(()),
        Some((reason, advice)) => Err(NvramError::Invalid { path: path.into(), reason, advice }),
    }
}

/// Checks the content of a store that was possibly in use.
pub(super) fn check_store(path: &Path, bytes: &[u8]) -> Result<StoreState, NvramError> {
    let Some((reason, advice)) = fault(bytes) else { return Ok(StoreState::Clean) };
    if is_mid_update(bytes) {
        return Ok(StoreState::MidUpdate);
    }
    let advice = match advice {
        "" => "; delete it to have a new one made from the template, which loses the VM's boot entries",
        advice => advice,
    };
    Err(NvramError::Invalid { path: path.into(), reason, advice })
}

/// The volume header is erased or half-written, and a block further on is the working block of the update.
fn is_mid_update(bytes: &[u8]) -> bool {
    // The header is written front to back over erased bytes: past what was written, all is still erased.
    let header_incomplete = bytes.get(..72).is_some_and(|header| header.last() == Some(&ERASED));
    let header_torn = Volume::parse(bytes).is_some_and(|volume| {
        volume.guid == NV_DATA_FV
            && volume.length == bytes.len() as u64
            && bytes.get(volume.header_length + 15) == Some(&ERASED)
    });
    (header_incomplete || header_torn)
        && bytes.chunks_exact(BLOCK).any(|block| guid_at(block, 0) == Some(WORKING_BLOCK))
}
