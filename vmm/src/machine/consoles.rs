//! The host's ends of the guest's character devices.

use crate::config::{Config, ConsoleSpec};
use crate::console::{Console, Releaser};
use crate::events::EventLog;
use crate::outcome::Failure;
use crate::watch::Watcher;

/// The host's ends of the guest's character devices.
pub(super) struct Consoles {
    pub(super) serial: Console,
    pub(super) debug: Option<Console>,
}

impl Consoles {
    pub(super) fn open(config: &Config, watcher: Watcher, events: &EventLog) -> Result<Self, Failure> {
        let failed = |error: crate::console::ConsoleError| Failure::Refused(error.to_string());
        let serial = Console::open(&config.serial, "serial port", Some(watcher), events).map_err(failed)?;
        let debug = match &config.debugcon {
            ConsoleSpec::None => None,
            spec => Some(Console::open(spec, "debug port", None, events).map_err(failed)?),
        };
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
