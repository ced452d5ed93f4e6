//! The host's TPM, as its kernel lends it: `/dev/tpmrm0`, whose resource manager keeps the objects of its users apart, or `/dev/tpm0`,
//! which one program has at a time (Linux' Documentation/security/tpm). A write is a command, and a read its response.
//!
//! It is one TPM for host and guest. A reset of the guest resets nothing of it. Commands that take from the host what it has sealed or
//! stored, or that change the TPM for good, are refused: there is nobody to ask whether that is meant.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Backend, BackendError, HEADER, Interruption, Wake, announced, code, failure};

/// As much as the kernel reads or writes at once (`TPM_BUFSIZE`).
const LARGEST: usize = 4096;
/// How long a command may go on after it was cancelled: the kernel has no way to tell the TPM.
const CANCELLED: Duration = Duration::from_secs(90);
/// TPM_RC_COMMAND_CODE: a command that this TPM does not have.
const RC_COMMAND_CODE: u32 = 0x143;

/// Commands that end the validity of what is sealed, or of who may change that, remove what is stored, or change the TPM itself:
/// TPM2_NV_UndefineSpaceSpecial, TPM2_HierarchyControl, TPM2_NV_UndefineSpace, TPM2_ChangeEPS, TPM2_ChangePPS, TPM2_Clear,
/// TPM2_ClearControl, TPM2_HierarchyChangeAuth, TPM2_PCR_Allocate, TPM2_SetPrimaryPolicy, TPM2_FieldUpgradeStart,
/// TPM2_NV_GlobalWriteLock, TPM2_DictionaryAttackParameters, TPM2_SetAlgorithmSet, TPM2_SetCommandCodeAuditStatus,
/// TPM2_FieldUpgradeData (TPM 2.0 Library part 2, 6.5.2).
const REFUSED: [u32; 16] = [
    0x11f, 0x121, 0x122, 0x124, 0x125, 0x126, 0x127, 0x129, 0x12b, 0x12e, 0x12f, 0x132, 0x13a, 0x13f, 0x140,
    0x141,
];
/// TPM2_EvictControl, which makes an object persistent, or removes one that is.
const EVICT_CONTROL: u32 = 0x120;
/// TPM2_StartAuthSession.
const START_AUTH_SESSION: u32 = 0x176;
/// The first byte of a persistent object's handle (TPM_HT_PERSISTENT).
const PERSISTENT: u8 = 0x81;

/// Whether a command is kept from the TPM.
fn is_refused(command: &[u8]) -> bool {
    match code(command) {
        // Behind the header are the handles of who authorises it and of the object.
        Some(EVICT_CONTROL) => command.get(14) == Some(&PERSISTENT),
        Some(code) => REFUSED.contains(&code),
        None => false,
    }
}

/// The response of a TPM without a resource manager, where the kernel's answers a command with an error in place of a response. The
/// TPM is all right then, and so are other commands.
fn response_to(command: &[u8], error: &std::io::Error) -> Option<Vec<u8>> {
    const RC_HANDLE: u32 = 0x8b;
    const RC_OBJECT_MEMORY: u32 = 0x902;
    const RC_SESSION_MEMORY: u32 = 0x903;
    let response = match rustix::io::Errno::from_io_error(error)? {
        // Another session or object than it has room for.
        rustix::io::Errno::NOMEM if code(command) == Some(START_AUTH_SESSION) => RC_SESSION_MEMORY,
        rustix::io::Errno::NOMEM => RC_OBJECT_MEMORY,
        // A handle of nothing that this user of it has.
        rustix::io::Errno::INVAL => RC_HANDLE,
        _ => return None,
    };
    Some(failure(response))
}

/// The host's TPM.
#[derive(Debug)]
pub struct HostTpm(File);

impl HostTpm {
    /// By its device, which was opened for reading and writing without waiting (O_NONBLOCK).
    pub fn new(device: File) -> Self {
        Self(device)
    }
}

impl Backend for HostTpm {
    fn reset(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn execute(&mut self, command: &[u8], interruption: &Interruption) -> Result<Vec<u8>, BackendError> {
        if is_refused(command) {
            crate::limited_warn!(
                "the guest's TPM command {:#x} is refused: it would change the host's TPM for good",
                code(command).unwrap_or_default()
            );
            return Ok(failure(RC_COMMAND_CODE));
        }
        let failed = |doing, source| match response_to(command, &source) {
            Some(response) => Ok(response),
            None => Err(BackendError::Io { doing, source }),
        };
        // Kernels without O_NONBLOCK for TPMs (before 5.0) execute it here.
        if let Err(error) = self.0.write_all(command) {
            return failed("to send a command", error);
        }
        let mut until = None;
        loop {
            match interruption.wait(self.0.as_fd(), until)? {
                Wake::Cancel => {
                    until.get_or_insert(Instant::now() + CANCELLED);
                    continue;
                }
                Wake::Late => return Err(BackendError::Silent(CANCELLED)),
                Wake::Ready => {}
            }
            let mut response = vec![0; LARGEST];
            match self.0.read(&mut response) {
                Ok(0) => return Err(BackendError::Gone),
                Ok(len) => {
                    response.truncate(len);
                    return match announced(&response) {
                        Some(size)
                            if size == len && (HEADER..=vocabulary::tpm::BUFFER_SIZE).contains(&len) =>
                        {
                            Ok(response)
                        }
                        size => Err(BackendError::Response { len, announced: size.unwrap_or(0) }),
                    };
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return failed("to read a response", error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_resource_manager_are_responses() {
        let command = |code: u32| [&[0x80, 1, 0, 0, 0, 10][..], &code.to_be_bytes()].concat();
        for (number, of, expected) in [
            (libc::ENOMEM, START_AUTH_SESSION, Some(0x903)),
            // TPM2_Load, and TPM2_Unseal.
            (libc::ENOMEM, 0x157, Some(0x902)),
            (libc::EINVAL, 0x15e, Some(0x8b)),
            (libc::EINVAL, START_AUTH_SESSION, Some(0x8b)),
            // The TPM itself.
            (libc::EIO, 0x157, None),
            (libc::ETIME, 0x157, None),
            (libc::EPIPE, START_AUTH_SESSION, None),
        ] {
            let response = response_to(&command(of), &std::io::Error::from_raw_os_error(number));
            assert_eq!(response.as_deref().and_then(code), expected, "{number} {of:#x}");
            assert!(response.is_none_or(|response| announced(&response) == Some(response.len())));
        }
    }
}
