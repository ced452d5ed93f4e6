//! The host's ends of the guest's character devices.

use crate::console::{self, Console, ConsoleError, Releaser};
use crate::events::EventLog;
use crate::watch::Watcher;

/// The host's ends of the guest's character devices.
pub(super) struct Consoles {
    pub(super) serial: Console,
    pub(super) debug: Option<Console>,
}

impl Consoles {
    /// Starts them; `attended` if somebody may type on standard input.
    pub(super) fn start(
        attended: bool,
        serial: console::Reserved,
        debug: Option<console::Reserved>,
        watcher: Watcher,
        events: &EventLog,
    ) -> Result<Self, ConsoleError> {
        let debug = debug.map(|debug| debug.start(attended, None, events)).transpose()?;
        let serial = serial.start(attended, Some(watcher), events)?;
        Ok(Self { serial, debug })
    }

    /// What releases them while they are in use elsewhere.
    pub(super) fn releasers(&self) -> Vec<Releaser> {
        [Some(&self.serial), self.debug.as_ref()].into_iter().flatten().map(Console::releaser).collect()
    }

    pub(super) fn release(&self) {
        self.serial.release();
        self.debug.iter().for_each(Console::release);
    }

    pub(super) fn finish(self) {
        let Self { serial, debug } = self;
        serial.finish();
        debug.into_iter().for_each(Console::finish);
    }
}
