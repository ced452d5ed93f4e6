//! What the conditions say of a machine, for people and for programs (docs/code43.md describes both).

use std::fmt::Write as _;

use serde::Serialize;

use super::Driver;
use super::condition::{CONDITIONS, Change, Condition, State, Verdict};
use super::facts::Facts;
use crate::wrapping::{wrap, wrap_below};

/// Where what was found begins: behind the state and the longest name.
const INDENT: usize = 22;
/// What has to be said below everything.
const NOTE: &str = "No NVIDIA driver has been run with this program. The conditions come from NVIDIA's open kernel modules and from what owners of \
                    laptops report; docs/code43.md has each.";

/// What all conditions say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The machine's name.
    pub machine: String,
    /// Its vm.toml.
    pub config: String,
    /// It runs: what was found is what its registers say.
    pub running: bool,
    /// The branch of the driver; nothing for any driver.
    pub driver: Option<u32>,
    /// The conditions that have a meaning for this machine, in the order in which to mend them.
    pub conditions: Vec<Finding>,
    /// What is true of all of this.
    pub note: &'static str,
}

/// What one condition says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The condition's name.
    pub id: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// Why the driver cares.
    pub why: &'static str,
    /// What to change, if it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Place>,
}

/// What to change, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What to do.
    pub advice: String,
    /// The key of vm.toml, if there is one for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The line of vm.toml that has the key, or its section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Report {
    /// Asks all conditions, as far as they have a meaning.
    pub fn new(facts: &Facts, driver: Driver) -> Self {
        let finding = |condition: &Condition| {
            let Verdict { state, found, change } = (condition.check)(facts, driver)?;
            let change = change.map(|Change { key, advice }| Place {
                advice,
                key: key.map(|key| key.to_string()),
                line: key.and_then(|key| facts.line(key)),
            });
            Some(Finding { id: condition.id, state, found, why: condition.why, change })
        };
        Self {
            machine: facts.machine.clone(),
            config: facts.config.clone(),
            running: facts.live.is_some(),
            driver: match driver {
                Driver::Any => None,
                Driver::Branch(branch) => Some(branch),
            },
            conditions: CONDITIONS.iter().filter_map(finding).collect(),
            note: NOTE,
        }
    }

    /// Those in this state.
    pub(super) fn of(&self, state: State) -> Vec<&'static str> {
        self.conditions.iter().filter(|finding| finding.state == state).map(|finding| finding.id).collect()
    }

    /// Whether none fails.
    pub fn holds(&self) -> bool {
        self.of(State::Fails).is_empty()
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never, but that is not for us to say.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let driver = match self.driver {
            None => "NVIDIA's driver finds, whatever its version".to_owned(),
            Some(branch) => format!("NVIDIA's driver {branch} finds"),
        };
        let runs = if self.running { ", running" } else { "" };
        writeln!(out, "{} ({}{runs}): what {driver}\n", self.machine, self.config)?;
        for finding in &self.conditions {
            finding.write(out, &self.config)?;
        }
        out.push('\n');
        wrap(out, 0, &self.sum());
        wrap(out, 0, NOTE);
        Ok(())
    }

    /// How many there are of each state, and which.
    fn sum(&self) -> String {
        let listed = |(state, one, several): (State, &str, &str)| {
            let ids = self.of(state);
            let what = if ids.len() == 1 { one } else { several };
            (!ids.is_empty()).then(|| format!("{} {what} ({})", ids.len(), ids.join(", ")))
        };
        let states = [
            (State::Fails, "fails", "fail"),
            (State::Warning, "is doubtful", "are doubtful"),
            (State::Unknown, "is unknown", "are unknown"),
        ];
        let parts: Vec<String> = states.into_iter().filter_map(listed).collect();
        match (self.conditions.len(), parts.as_slice()) {
            (count, []) => format!("All {count} conditions hold."),
            (1, parts) => format!("1 condition: {}.", parts.join(", ")),
            (count, parts) => format!("{count} conditions: {}.", parts.join(", ")),
        }
    }
}

impl Finding {
    fn write(&self, out: &mut String, config: &str) -> std::fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Fails => "FAILS",
            State::Warning => "warning",
            State::Unknown => "unknown",
        };
        write!(out, "{state:<8} {:<12} ", self.id)?;
        wrap(out, INDENT, &self.found);
        let mut below = |text: &str| wrap_below(out, INDENT, text);
        if matches!(self.state, State::Fails | State::Warning) {
            below(&format!("why: {}", self.why));
        }
        if let Some(Place { advice, line, .. }) = &self.change {
            let place = line.map(|line| format!("{config}:{line}: ")).unwrap_or_default();
            below(&format!("change: {place}{advice}"));
        }
        Ok(())
    }
}
