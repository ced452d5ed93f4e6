//! The device on the bus, and the thread that has commands executed.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::registers::{Effect, RC_FAILURE, Registers};
use super::{Backend, BackendError, Interruption, failure};
use crate::bus::{Action, BusDevice};
use crate::{bytewise, threads};

/// A TPM with a Command Response Buffer, at [`vocabulary::tpm::CRB`].
///
/// It can be accessed in any width: firmware copies commands byte by byte, and so does Windows.
#[derive(Debug)]
pub struct Crb {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// What is to be done, in this order.
#[derive(Debug)]
enum Work {
    Reset,
    Execute(Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    registers: Registers,
    work: VecDeque<Work>,
    /// How often the machine was reset: a response to a command from before is dropped.
    resets: u64,
    /// Something is under way, which an interruption is for.
    busy: bool,
    over: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    interruption: Interruption,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crb {
    /// The interface of `backend`, which has been switched on; `name` is what the log calls it.
    ///
    /// # Errors
    /// The host has no thread or no event for it.
    pub fn new(name: &str, backend: Box<dyn Backend>) -> io::Result<Arc<Self>> {
        let interruption = Interruption::new()?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), interruption });
        let (theirs, name) = (Arc::clone(&shared), name.to_owned());
        let worker = threads::start("tpm", move || work(&theirs, &name, backend))?;
        Ok(Arc::new(Self { shared, worker: Some(worker) }))
    }

    /// Resets it with the machine. A command under way is cancelled, and nobody waits for that.
    pub fn reset(&self) {
        let mut state = self.shared.state();
        state.registers = Registers::default();
        state.resets += 1;
        state.work.clear();
        state.work.push_back(Work::Reset);
        if state.busy {
            self.shared.interruption.raise();
        }
        self.shared.changed.notify_one();
    }
}

impl BusDevice for Crb {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.shared.state();
        bytewise::read(offset, data, |at| state.registers.read(at));
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut state = self.shared.state();
        bytewise::write(offset, data, |at, value| {
            match state.registers.write(at, value) {
                Effect::None => {}
                Effect::Start => match state.registers.command() {
                    Ok(command) => {
                        state.work.push_back(Work::Execute(command));
                        self.shared.changed.notify_one();
                    }
                    Err(response) => state.registers.complete(&response),
                },
                Effect::Cancel => self.shared.interruption.raise(),
            }
            Action::None
        })
    }
}

impl Drop for Crb {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_one();
        self.shared.interruption.end();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// What the thread does until the machine ends.
fn work(shared: &Shared, name: &str, mut backend: Box<dyn Backend>) {
    loop {
        let idle = |state: &mut State| state.work.is_empty() && !state.over;
        let mut state =
            shared.changed.wait_while(shared.state(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return;
        }
        let Some(work) = state.work.pop_front() else { continue };
        let began_in = state.resets;
        state.busy = true;
        // What was asked for until now was about a command from before it.
        if matches!(work, Work::Reset) {
            shared.interruption.lower();
        }
        drop(state);
        let done = match &work {
            Work::Reset => backend.reset().map(|()| None),
            Work::Execute(command) => backend.execute(command, &shared.interruption).map(Some),
        };
        let mut state = shared.state();
        state.busy = false;
        if state.over {
            return;
        }
        // It came too late; or else it is for the command that waits.
        if state.work.is_empty() {
            shared.interruption.lower();
        }
        let current = state.resets == began_in;
        match done {
            Ok(Some(response)) if current => state.registers.complete(&response),
            Ok(_) => {}
            Err(error) => {
                tell(name, &error);
                if current {
                    state.registers.fail();
                    // A reset leaves nothing to complete, but a command may have come meanwhile.
                    let waiting = state.work.pop_front().is_some();
                    if waiting || matches!(work, Work::Execute(_)) {
                        state.registers.complete(&failure(RC_FAILURE));
                    }
                }
            }
        }
    }
}

fn tell(name: &str, error: &BackendError) {
    crate::limited_warn!(
        "{name}: the TPM is out of reach, and commands fail until the machine is reset: {error}"
    );
}
