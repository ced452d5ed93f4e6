//! Memory that the firmware and the operating system share, for requests that the firmware obeys at its next start
//! ([`vocabulary::tpm::PRESENCE`]). It outlives resets of the machine; nothing here looks at it but for one bit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vocabulary::tpm::{PRESENCE, PRESENCE_CLEAR_MEMORY};

use crate::bus::{Action, BusDevice};
use crate::bytewise;

const SIZE: usize = PRESENCE.len() as usize;

/// The memory. Only a new machine has zeros there.
#[derive(Debug)]
pub struct PresenceMemory(Mutex<[u8; SIZE]>);

impl PresenceMemory {
    /// As when the machine is switched on.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new([0; SIZE])))
    }

    fn bytes(&self) -> MutexGuard<'_, [u8; SIZE]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether memory is to be cleared at this reset. The request is taken back.
    pub fn take_clear_memory(&self) -> bool {
        let mut bytes = self.bytes();
        let Some(flag) = bytes.get_mut(PRESENCE_CLEAR_MEMORY as usize) else { return false };
        let wanted = *flag & 1 != 0;
        *flag &= !1;
        wanted
    }
}

impl BusDevice for PresenceMemory {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let bytes = self.bytes();
        let at = |at| usize::try_from(at).ok().and_then(|at| bytes.get(at)).copied();
        bytewise::read(offset, data, |offset| at(offset).unwrap_or(0xff));
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut bytes = self.bytes();
        bytewise::write(offset, data, |at, value| {
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
                *byte = value;
            }
            Action::None
        })
    }
}
