//! The power management capability of an emulated function (PCI Power Management 1.2, 3.2; PCIe 6.0, 5.3 and 7.5.2): the
//! states D0 and D3hot, without PME.

use super::{ConfigSpace, capability};

/// PMCSR, from the capability's start.
const CONTROL: u16 = 4;
/// PMCSR: the power state, and No_Soft_Reset.
const STATE: u8 = 3;
const NO_SOFT_RESET: u8 = 1 << 3;

/// A function's power state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// All works.
    D0,
    /// Only configuration space answers. The function starts no transaction and asserts no interrupt.
    D3hot,
}

/// What a function has in D0 after D3hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterD3 {
    /// All that it had before (No_Soft_Reset).
    Kept,
    /// What it has after a reset.
    Reset,
}

/// The capability of one function.
#[derive(Debug, Clone, Copy)]
pub struct PowerManagement {
    at: u16,
    after: AfterD3,
}

impl PowerManagement {
    /// Appends the capability. `None` when there is no room.
    pub fn add(config: &mut ConfigSpace, after: AfterD3) -> Option<Self> {
        let kept = if after == AfterD3::Kept { NO_SOFT_RESET } else { 0 };
        // Version 3, neither D1 nor D2.
        let at = config.add_capability(
            capability::POWER_MANAGEMENT,
            &[0x03, 0x00, kept, 0, 0, 0],
            &[0, 0, STATE],
        )?;
        Some(Self { at, after })
    }

    /// The state that the registers say.
    pub fn state(self, config: &ConfigSpace) -> PowerState {
        if config.u8(self.at + CONTROL) & STATE == 0 { PowerState::D0 } else { PowerState::D3hot }
    }

    /// Completes a write to the registers before which the state was `before`. A state that the function does not have
    /// changes nothing (7.5.2.2). Returns whether the function is to be reset: it has woken up without its state.
    pub fn written(self, config: &mut ConfigSpace, before: PowerState) -> bool {
        let control = config.u8(self.at + CONTROL);
        if matches!(control & STATE, 1 | 2) {
            let state = if before == PowerState::D0 { 0 } else { STATE };
            config.set(self.at + CONTROL, &[control & !STATE | state]);
        }
        self.after == AfterD3::Reset && before == PowerState::D3hot && self.state(config) == PowerState::D0
    }
}
