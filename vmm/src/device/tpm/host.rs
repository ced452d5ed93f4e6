//! The host's TPM, by its device.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use devices::tpm::host::HostTpm;

use super::error::TpmError;

/// Whether a path is what Linux calls a TPM: `/dev/tpmrm` or `/dev/tpm`, and a number.
pub(super) fn is_device(path: &str) -> bool {
    let number = path.strip_prefix("/dev/tpmrm").or_else(|| path.strip_prefix("/dev/tpm"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Opens it.
pub(super) fn open(path: &Path) -> Result<HostTpm, TpmError> {
    let failed = |source| TpmError::Host { path: path.into(), source };
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(failed)?;
    if !device.metadata().map_err(failed)?.file_type().is_char_device() {
        return Err(TpmError::NotADevice(path.into()));
    }
    Ok(HostTpm::new(device))
}
