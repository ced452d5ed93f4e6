//! The ends of the serial port and of the debug port.

use vocabulary::ConsoleSpec;

use super::super::Overrides;
use crate::finding::Resolver;
use crate::finding::Section;

impl Resolver {
    /// The serial port and the debug port, which cannot have the same end.
    pub fn consoles(
        &mut self,
        serial: ConsoleSpec,
        debugcon: ConsoleSpec,
        overrides: &Overrides,
    ) -> (ConsoleSpec, ConsoleSpec) {
        let absolute = |spec: &ConsoleSpec| match std::env::current_dir() {
            Ok(folder) => spec.clone().relative_to(&folder),
            Err(_) => spec.clone(),
        };
        let serial = overrides.serial.as_ref().map_or_else(|| serial.relative_to(self.folder()), absolute);
        let debugcon =
            overrides.debugcon.as_ref().map_or_else(|| debugcon.relative_to(self.folder()), absolute);
        if serial.conflicts_with(&debugcon) {
            let message = format!("the debug port and the serial port both lead to {serial}");
            let help = match serial {
                ConsoleSpec::Stdio => {
                    "there is one terminal: send one of them to `file:PATH`, `unix:PATH`, `pty` or `none`"
                }
                _ => "give them different paths",
            };
            self.problem_with_help(Section::Debugcon.key("output"), message, help);
        }
        (serial, debugcon)
    }
}
