//! What a setup has made, whether it holds, and what is lent now.

use serde::Serialize;
use vocabulary::HostPciAddress;

use super::SetupError;
use super::failed;
use super::hands::SystemHands;
use super::record::{FileStep, Phase, Record, Records};
use super::root::{Content, Root};
use crate::host::{JournalError, Lending, Manager, lends};
use crate::outcome::status;

/// How it is with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It is as it was written.
    Holds,
    /// Somebody has changed it since.
    Changed,
    /// It is gone.
    Removed,
    /// It is not written yet, or is as before again.
    Pending,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct File {
    path: String,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Command {
    command: String,
    /// It has succeeded since its files were changed.
    done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Parameter {
    word: String,
    /// The kernel that runs was started with it.
    in_effect: bool,
}

/// A function that a driver lends, and on whose account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Lent {
    device: String,
    driver: Option<String>,
    /// `host bind`, a machine's name, or nobody on record: it was bound at boot or by hand.
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// `none`, `complete`, `setup` or `undo`: the last two were cut short; `unknown` without root.
    setup: &'static str,
    /// Why it is not known what is set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_unknown: Option<String>,
    files: Vec<File>,
    commands: Vec<Command>,
    parameters: Vec<Parameter>,
    lent: Vec<Lent>,
    /// Why it is not known who has what.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

/// Reads it; without root what is lent alone.
///
/// # Errors
/// The record is none, or a file that it names cannot be read.
pub(super) fn read(root: &Root) -> Result<Status, SetupError> {
    with(root, Records::of(root, &SystemHands).load())
}

/// As [`read`], with what came of reading the record.
pub(super) fn with(root: &Root, record: Result<Option<Record>, SetupError>) -> Result<Status, SetupError> {
    let (record, setup_unknown) = match record {
        Err(error @ SetupError::Private) => (None, Some(error.to_string())),
        other => (other?, None),
    };
    let given = root.files().text("proc/cmdline").unwrap_or_default();
    let given: Vec<_> = given.split_whitespace().collect();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION"),
        setup: if setup_unknown.is_some() { "unknown" } else { "none" },
        setup_unknown,
        files: Vec::new(),
        commands: Vec::new(),
        parameters: Vec::new(),
        lent: Vec::new(),
        unknown: None,
    };
    if let Some(record) = record {
        status.setup = match record.phase {
            Phase::Complete => "complete",
            Phase::Setup => "setup",
            Phase::Undo => "undo",
        };
        status.of_record(root, record, &given)?;
    }
    let lendings = match root.is_live() {
        true => Manager::new().and_then(|manager| manager.lendings()),
        false => Ok(Vec::new()),
    };
    status.lent(root, lendings);
    Ok(status)
}

fn state(step: &FileStep, now: Option<&Content>) -> State {
    match now {
        now if step.begun && now == step.wanted.as_ref() => State::Holds,
        now if now == step.former.as_ref() && !(step.begun && now.is_none()) => State::Pending,
        None => State::Removed,
        Some(_) => State::Changed,
    }
}

impl Status {
    fn of_record(&mut self, root: &Root, record: Record, given: &[&str]) -> Result<(), SetupError> {
        for step in &record.files {
            let now = root.read(&step.path).map_err(failed("read", &root.path(&step.path)))?;
            self.files.push(File { path: format!("/{}", step.path), state: state(step, now.as_ref()) });
        }
        let command =
            |step: &super::record::CommandStep| Command { command: step.run.join(" "), done: step.done };
        self.commands = record.commands.iter().map(command).collect();
        let parameter = |word: String| Parameter { in_effect: given.contains(&word.as_str()), word };
        self.parameters = record.parameters.into_iter().map(parameter).collect();
        Ok(())
    }

    fn lent(&mut self, root: &Root, lendings: Result<Vec<Lending>, JournalError>) {
        let lendings = lendings.unwrap_or_else(|error| {
            self.unknown = Some(error.to_string());
            Vec::new()
        });
        let files = root.files();
        let addresses = files.names("sys/bus/pci/devices").into_iter().filter_map(|name| name.parse().ok());
        let functions = addresses.filter_map(|address: HostPciAddress| files.function(address));
        for function in functions.filter(|function| function.driver.as_deref().is_some_and(lends)) {
            let mut of: Vec<_> = lendings
                .iter()
                .filter(|lending| lending.devices.contains(&function.address.into()))
                .collect();
            // The machine that has it now says more than who bound it.
            of.sort_by_key(|lending| lending.machine.is_none());
            let machine = of.first().map(|lending| lending.machine.clone());
            self.lent.push(Lent {
                device: function.address.to_string(),
                driver: function.driver,
                by: machine
                    .clone()
                    .map(|machine| machine.map_or_else(|| "host bind".into(), |(name, _)| name)),
                pid: machine.flatten().map(|(_, pid)| pid),
            });
        }
    }

    /// The exit status.
    pub(super) fn exit(&self) -> u8 {
        let holds = self.files.iter().all(|file| file.state == State::Holds)
            && self.commands.iter().all(|command| command.done);
        match self.setup {
            "none" => status::SUCCESS,
            "complete" if holds => status::SUCCESS,
            "unknown" => status::HOST,
            _ => status::CONDITION,
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> String {
        // Nothing in it can fail to be written: strings and words only.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::from(match self.setup {
            "none" => "nothing is set up: `optimus-vmm host setup --dry-run` shows what would be\n",
            "complete" => "set up:\n",
            "setup" => {
                "a setup was cut short: `sudo optimus-vmm host setup` goes on with it, `sudo optimus-vmm host undo` takes it back\n"
            }
            "unknown" => {
                "what is set up is on a record that root alone may read: `sudo optimus-vmm host status`\n"
            }
            _ => "an undo was cut short: `sudo optimus-vmm host undo` goes on with it\n",
        });
        for File { path, state } in &self.files {
            let how = match state {
                State::Holds => "holds",
                State::Changed => "CHANGED since it was written",
                State::Removed => "GONE",
                State::Pending => "not written",
            };
            out.push_str(&format!("    {path}: {how}\n"));
        }
        for Command { command, done } in &self.commands {
            out.push_str(&format!("    `{command}`: {}\n", if *done { "done" } else { "NOT done" }));
        }
        for Parameter { word, in_effect } in &self.parameters {
            out.push_str(&format!(
                "    {word} on the kernel's command line: {}\n",
                if *in_effect { "in effect" } else { "from the next boot on" }
            ));
        }
        if self.lent.is_empty() {
            out.push_str("no device is bound to vfio-pci\n");
        } else {
            out.push_str("bound to vfio-pci:\n");
        }
        for Lent { device, driver, by, pid } in &self.lent {
            let driver = driver.as_deref().filter(|driver| *driver != "vfio-pci");
            let driver = driver.map(|driver| format!(" ({driver})")).unwrap_or_default();
            let by = match (by, pid) {
                (Some(by), Some(pid)) => format!("lent to the machine {by} (process {pid})"),
                (Some(_), None) => "by `host bind`, until `host release`".into(),
                (None, _) => "at boot or by hand".into(),
            };
            out.push_str(&format!("    {device}{driver}: {by}\n"));
        }
        if let Some(why) = &self.unknown {
            out.push_str(&format!("who has them is not known: {why}\n"));
        }
        out
    }
}
