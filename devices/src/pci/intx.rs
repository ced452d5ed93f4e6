//! INTx of an emulated function: a level that follows its interrupt condition, the Interrupt Status bit, and what keeps
//! the line quiet (PCIe 6.0, 6.1.2, 7.5.1.1.3 and 7.5.1.1.4).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::interrupt::IrqLine;

#[derive(Default)]
struct State {
    asserted: bool,
    silenced: bool,
}

/// The line of one function. Its level changes only while the state is locked.
pub struct Intx {
    line: Arc<dyn IrqLine>,
    state: Mutex<State>,
}

impl Intx {
    /// A function's end of `line`, deasserted.
    pub fn new(line: Arc<dyn IrqLine>) -> Self {
        Self { line, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two independent bits: every state is one that a function could be in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, state: &State) {
        self.line.set_level(state.asserted && !state.silenced);
    }

    /// Takes over the function's interrupt condition. Returns whether it has just arisen.
    pub fn set_condition(&self, asserted: bool) -> bool {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.asserted, asserted);
        self.drive(&state);
        asserted && !before
    }

    /// Interrupt Status: the condition, whatever reaches the line.
    pub fn pending(&self) -> bool {
        self.state().asserted
    }

    /// Keeps the line deasserted: by Interrupt Disable, because messages are used in its place, or while asleep.
    pub fn set_silenced(&self, silenced: bool) {
        let mut state = self.state();
        state.silenced = silenced;
        self.drive(&state);
    }

    /// Power-on state.
    pub fn reset(&self) {
        let mut state = self.state();
        *state = State::default();
        self.drive(&state);
    }
}
