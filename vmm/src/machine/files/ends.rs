//! The host's ends of a machine: sockets, terminals, and the files that it writes. All of them are opened while nothing of
//! the host is changed, and nothing is lost when the start is refused after that: files are emptied when they are begun.
//!
//! A file that the machine is made from, or that is written for another purpose already, is refused, whatever it is called:
//! by device and inode. The [`Inputs`] come first, because their locks keep a second start of the same machine from coming
//! this far.

use std::path::Path;
use std::time::Instant;

use vocabulary::ConsoleSpec;

use super::shot::Shot;
use crate::cli::RunOptions;
use crate::console;
use crate::control;
use crate::device::Display;
use crate::events::{EventLog, ProcessStart};
use crate::finding::{Finding, Findings, Key, Section};
use crate::machine::control::Control;
use crate::outcome::{Failure, OverwriteError};
use crate::output::{Identity, Output, open_files};
use crate::plan::MachinePlan;
use crate::screenshot::MachineFile;

/// All of a machine's ends.
pub(in crate::machine) struct Ends {
    pub(in crate::machine) control: Option<Control>,
    pub(in crate::machine) serial: console::Reserved,
    pub(in crate::machine) debug: Option<console::Reserved>,
    pub(in crate::machine) shot: Shot,
    events: Option<Output>,
}

impl Ends {
    /// Opens all of them.
    ///
    /// # Errors
    /// One cannot be had, or would overwrite another file of the machine.
    pub(in crate::machine) fn open(
        plan: &MachinePlan,
        options: &RunOptions,
        began: Instant,
    ) -> Result<Self, Failure> {
        let used = files(plan);
        let control = Control::open(plan, &used, began)?;
        let mut files = Files::of(&used);
        let serial = files.console(plan, &plan.serial, "serial port", Section::Serial.key("output"))?;
        let debug = match &plan.debugcon {
            ConsoleSpec::None => None,
            spec => Some(files.console(plan, spec, "debug port", Section::Debugcon.key("output"))?),
        };
        let events = options.events.as_deref().map(|path| files.events(path)).transpose()?;
        if let Some(path) = &options.screenshot {
            // It takes the place of what is there at the end.
            files.claim(Identity::at(path), || format!("--screenshot {}", path.display()))?;
        }
        let shot = Shot::new(options.screenshot.as_deref(), used)?;
        Ok(Self { control, serial, debug, shot, events })
    }

    /// Empties the file of events, and notes the start in it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::machine) fn events(&mut self, start: ProcessStart) -> Result<EventLog, Failure> {
        let Some(output) = self.events.take() else { return Ok(EventLog::disabled()) };
        let path = output.path().to_owned();
        let events = EventLog::begin(output).map_err(|source| Failure::Write { path, source })?;
        events.process_start(start);
        Ok(events)
    }
}

/// What [`Ends::open`] and the display would refuse of the places in the configuration. Nothing is made, removed or taken, and the reader
/// of a FIFO notices nothing.
pub(in crate::machine) fn refused_ends(plan: &MachinePlan) -> Vec<Finding> {
    let mut files = Files::of(&files(plan));
    let mut problems = Vec::new();
    let consoles =
        [(&plan.serial, "serial port", Section::Serial), (&plan.debugcon, "debug port", Section::Debugcon)];
    for (spec, device, section) in consoles {
        let key = section.key("output");
        if let Err(error) = files.claim(file_of(spec), || format!("the {device} ({spec})")) {
            problems.push(plan.problem(key, error.to_string()));
        } else if let Err(error) = console::Reserved::look(spec, device) {
            problems.push(plan.problem(key, error.to_string()).about_host());
        }
    }
    if let Err(error) = control::Reserved::look(&plan.machine.control, &plan.name) {
        problems.push(plan.problem(Section::Machine.key("control"), error.to_string()).about_host());
    }
    problems.extend(plan.devices.one::<Display>().and_then(|display| display.refused(&plan.origin)));
    problems
}

/// The files that a machine is made from, the configuration among them.
fn files(plan: &MachinePlan) -> Vec<MachineFile> {
    let configuration = ("the configuration".to_owned(), plan.origin.file());
    let all = plan.files().into_iter().chain([configuration]);
    all.map(|(what, path)| (what, path.to_owned())).collect()
}

/// The files that must not be written, each with what it is.
struct Files(Vec<(Identity, String)>);

impl Files {
    fn of(used: &[MachineFile]) -> Self {
        let known = used.iter().filter_map(|(what, path)| Some((Identity::at(path)?, what.clone())));
        let open = open_files()
            .into_iter()
            .map(|(identity, path)| (identity, format!("{}, which the machine uses itself", path.display())));
        Self(known.chain(open).collect())
    }

    /// Notes that `what` writes to a file, unless another has it: then why not.
    fn claim(&mut self, identity: Option<Identity>, what: impl Fn() -> String) -> Result<(), OverwriteError> {
        let Some(identity) = identity else { return Ok(()) };
        if let Some((_, other)) = self.0.iter().find(|(known, _)| *known == identity) {
            return Err(OverwriteError { what: what(), other: other.clone() });
        }
        self.0.push((identity, format!("the file of {}", what())));
        Ok(())
    }

    fn console(
        &mut self,
        plan: &MachinePlan,
        spec: &ConsoleSpec,
        device: &str,
        key: Key,
    ) -> Result<console::Reserved, Failure> {
        // Before it is opened: another output of this machine has its lock.
        self.claim(file_of(spec), || format!("the {device} ({spec})"))
            .map_err(|error| Findings::from(plan.problem(key, error.to_string())))?;
        let end = console::Reserved::open(spec, device)
            .map_err(|error| Findings::from(plan.problem(key, error.to_string()).about_host()))?;
        self.note(end.file(), || format!("the {device} ({spec})"));
        Ok(end)
    }

    fn events(&mut self, path: &Path) -> Result<Output, Failure> {
        let what = || format!("--events {}", path.display());
        self.claim(Identity::at(path), what)?;
        let output = Output::open(path).map_err(|source| Failure::Write { path: path.into(), source })?;
        self.note(Some(&output), what);
        Ok(output)
    }

    /// Notes a file that was made just now.
    fn note(&mut self, output: Option<&Output>, what: impl Fn() -> String) {
        if let Some(identity) = output.and_then(Output::identity)
            && self.0.iter().all(|(known, _)| *known != identity)
        {
            self.0.push((identity, format!("the file of {}", what())));
        }
    }
}

fn file_of(spec: &ConsoleSpec) -> Option<Identity> {
    match spec {
        ConsoleSpec::File(path) => Identity::at(path),
        _ => None,
    }
}
