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
        let mut serial =
            overrides.serial.as_ref().map_or_else(|| serial.relative_to(self.folder()), absolute);
        let mut debugcon =
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
        if overrides.detach {
            self.detach(&mut serial, Section::Serial, overrides.serial.is_some());
            self.detach(&mut debugcon, Section::Debugcon, overrides.debugcon.is_some());
        }
        (serial, debugcon)
    }

    /// A console of a machine that has no terminal. What leads there only by default leads nowhere instead.
    fn detach(&mut self, console: &mut ConsoleSpec, section: Section, given: bool) {
        if *console != ConsoleSpec::Stdio {
            return;
        }
        if given || self.is_written(section.key("output")) {
            let message = "with --detach there is no standard input and output that this could lead to";
            let help = "leave it out, since `optimus-vmm ctl NAME console` reaches the serial port in any case, or write \
                        `file:PATH`, `unix:PATH` or `pty`";
            self.problem_with_help(section.key("output"), message, help);
        }
        *console = ConsoleSpec::None;
    }
}
