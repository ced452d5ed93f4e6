//! swtpm as what executes commands. One that has gone is replaced when the machine is reset, and not before: another one knows nothing of
//! what was measured, so a guest that goes on could measure what it likes.

use std::sync::Arc;

use devices::tpm::swtpm::Client;
use devices::tpm::{Backend, BackendError, Interruption};

use super::error::TpmError;
use super::process::{Keeper, Process, Start};

/// A swtpm, or none for now.
#[derive(Debug)]
pub(super) struct Emulator {
    start: Start,
    process: Arc<Process>,
    client: Option<Client>,
}

impl Emulator {
    /// Starts swtpm and switches its TPM on. What is dropped last ends it.
    pub(super) fn start(start: Start) -> Result<(Self, Keeper), TpmError> {
        let process = Arc::new(Process::default());
        let keeper = Keeper(Arc::clone(&process));
        let mut emulator = Self { start, process, client: None };
        match emulator.start_another() {
            Ok(()) => Ok((emulator, keeper)),
            Err(BackendError::Io { doing: START, source }) => Err(TpmError::Start(source)),
            Err(error) => Err(TpmError::Backend { error, said: emulator.process.end() }),
        }
    }

    fn start_another(&mut self) -> Result<(), BackendError> {
        let failed = |source| BackendError::Io { doing: START, source };
        let (control, child) = self.start.start().map_err(failed)?;
        self.process.take_over(child).map_err(failed)?;
        let mut client = Client::new(control)?;
        client.reset()?;
        self.client = Some(client);
        Ok(())
    }
}

const START: &str = "starting swtpm";

impl Backend for Emulator {
    fn reset(&mut self) -> Result<(), BackendError> {
        if let Some(client) = &mut self.client
            && client.reset().is_ok()
        {
            return Ok(());
        }
        self.client = None;
        self.process.end();
        self.start_another()?;
        tracing::info!("tpm: swtpm runs again");
        Ok(())
    }

    fn execute(&mut self, command: &[u8], interruption: &Interruption) -> Result<Vec<u8>, BackendError> {
        let client = self.client.as_mut().ok_or(BackendError::Gone)?;
        let response = client.execute(command, interruption);
        if response.is_err() {
            // What comes from it from now on would be answers to former commands.
            self.client = None;
        }
        response
    }
}
