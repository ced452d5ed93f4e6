//! The host's TPM, as its kernel lends it: `/dev/tpmrm0`, whose resource manager keeps the objects of its users apart, or `/dev/tpm0`,
//! which one program has at a time (Linux' Documentation/security/tpm). A write is a command, and a read its response.
//!
//! It is one TPM for host and guest. A reset of the guest resets nothing of it. Commands that take from the host what it has sealed are
//! refused: there is nobody to ask whether that is meant.

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

/// Commands that end the validity of what is sealed or of who may change that: TPM2_HierarchyControl, TPM2_ChangeEPS, TPM2_ChangePPS,
/// TPM2_Clear, TPM2_ClearControl, TPM2_HierarchyChangeAuth, TPM2_PCR_Allocate, TPM2_SetPrimaryPolicy (TPM 2.0 Library part 2, 6.5.2).
const REFUSED: [u32; 8] = [0x121, 0x124, 0x125, 0x126, 0x127, 0x129, 0x12b, 0x12e];

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
        if code(command).is_some_and(|code| REFUSED.contains(&code)) {
            crate::limited_warn!(
                "the guest's TPM command {:#x} is refused: it would change the host's TPM for good",
                code(command).unwrap_or_default()
            );
            return Ok(failure(RC_COMMAND_CODE));
        }
        let failed = |doing| move |source| BackendError::Io { doing, source };
        self.0.write_all(command).map_err(failed("to send a command"))?;
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
                Err(error) => return Err(failed("to read a response")(error)),
            }
        }
    }
}
