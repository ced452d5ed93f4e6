//! Backends in this process.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::driver::bytes;
use crate::tpm::{Backend, BackendError, Crb, Interruption, Wake};

/// What a backend was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Reset,
    Command(Vec<u8>),
    Cancel,
}

/// What a backend answers.
pub(super) enum Answer {
    Response(Vec<u8>),
    Gone,
    /// Nothing until it is cancelled; then that it was.
    UntilCancelled,
}

/// A backend that answers as a test says, and success where it does not.
struct Fake {
    told: Sender<Told>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// A pipe that nobody writes to, to wait for.
    silence: std::io::PipeReader,
    _open: std::io::PipeWriter,
    /// Held back while the lock is.
    gate: Arc<Mutex<()>>,
}

/// A test's end of it.
pub(super) struct Hands {
    pub(super) told: Receiver<Told>,
    pub(super) answers: Arc<Mutex<Vec<Answer>>>,
    pub(super) gate: Arc<Mutex<()>>,
}

pub(super) const SUCCESS: &str = "80010000000a00000000";
/// TPM_RC_CANCELED.
pub(super) const CANCELED: &str = "80010000000a00000909";

/// A device over it.
pub(super) fn device() -> (Arc<Crb>, Hands) {
    let (told, hears) = channel();
    let (silence, open) = std::io::pipe().unwrap();
    let hands = Hands { told: hears, answers: Arc::default(), gate: Arc::default() };
    let (answers, gate) = (Arc::clone(&hands.answers), Arc::clone(&hands.gate));
    let fake = Fake { told, answers, silence, _open: open, gate };
    (Crb::new("tpm", Box::new(fake)).unwrap(), hands)
}

impl Backend for Fake {
    fn reset(&mut self) -> Result<(), BackendError> {
        let _ = self.told.send(Told::Reset);
        let _open = self.gate.lock().unwrap();
        let mut answers = self.answers.lock().unwrap();
        match answers.first() {
            Some(Answer::Gone) => {
                answers.remove(0);
                Err(BackendError::Gone)
            }
            _ => Ok(()),
        }
    }

    fn execute(&mut self, command: &[u8], interruption: &Interruption) -> Result<Vec<u8>, BackendError> {
        let _ = self.told.send(Told::Command(command.to_vec()));
        let _open = self.gate.lock().unwrap();
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.is_empty() { Answer::Response(bytes(SUCCESS)) } else { answers.remove(0) };
        drop(answers);
        match answer {
            Answer::Response(response) => Ok(response),
            Answer::Gone => Err(BackendError::Gone),
            Answer::UntilCancelled => {
                match interruption.wait(std::os::fd::AsFd::as_fd(&self.silence), None)? {
                    Wake::Cancel => {
                        let _ = self.told.send(Told::Cancel);
                        Ok(bytes(CANCELED))
                    }
                    woken => panic!("{woken:?}"),
                }
            }
        }
    }
}
