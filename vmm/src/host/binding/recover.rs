//! Puts back what machines changed that crashed.

use std::fmt;
use std::path::PathBuf;

use vocabulary::{LentDevice, UsbPort};

use super::bind::{GiveBackError, Manager};
use super::journal::{Found, Journal, JournalError};
use super::step::{Step, Subject};
use crate::host::check::list;

/// What became of one journal of a machine that does not run any more.
#[derive(Debug)]
pub enum Recovery {
    /// Everything is as it was.
    GivenBack {
        /// The machine's name.
        machine: String,
        /// Its devices.
        devices: Vec<LentDevice>,
        /// The ports of its USB devices.
        ports: Vec<UsbPort>,
    },
    /// The host has been rebooted since, which undid everything.
    Rebooted {
        /// The machine's name.
        machine: String,
    },
    /// Something could not be put back.
    Failed {
        /// The machine's name.
        machine: String,
        /// What.
        error: GiveBackError,
    },
    /// The file is no journal that we understand.
    Unusable {
        /// Where it is kept.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The directory of the journals cannot be used.
    NoJournals(JournalError),
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GivenBack { machine, ports, .. } if !ports.is_empty() => write!(
                f,
                "an earlier run of {machine} ended without giving its USB devices back to the host: the drivers have {} again",
                list(ports)
            ),
            Self::GivenBack { machine, devices, .. } if devices.is_empty() => write!(
                f,
                "an earlier run of {machine} ended without putting settings of the host back: they are now as before"
            ),
            Self::GivenBack { machine, devices, .. } => write!(
                f,
                "an earlier run of {machine} ended without giving its devices back to the host: {} {} now given back",
                list(devices),
                if devices.len() == 1 { "is" } else { "are" },
            ),
            Self::Rebooted { machine } => {
                write!(
                    f,
                    "an earlier run of {machine} ended with the host: its record of changes is out of date"
                )
            }
            Self::Failed { machine, error } => write!(f, "of an earlier run of {machine}: {error}"),
            Self::Unusable { path, why } => write!(
                f,
                "cannot understand the record of changes to the host {}: {why}. It is kept; if the devices of this \
                 host are in order, remove it with `rm {0}`",
                path.display()
            ),
            Self::NoJournals(error) => write!(f, "cannot look for what earlier runs left: {error}"),
        }
    }
}

impl Manager {
    /// Undoes what machines changed whose processes are gone, and tells the user. Those that run are left alone. To be
    /// called before [`Manager::lend`] at each start; costs nothing where there was no crash. What is left when
    /// `interrupted` says so is the next start's.
    pub fn recover(&self, interrupted: &dyn Fn() -> bool) -> Vec<Recovery> {
        if !self.journals.exists() {
            return Vec::new();
        }
        let found = match self.journals.lock_unless(interrupted) {
            Ok(Some(lock)) => self.journals.list(&lock),
            Ok(None) => return Vec::new(),
            Err(error) => {
                let failed = Recovery::NoJournals(error);
                tracing::warn!("{failed}");
                return vec![failed];
            }
        };
        // Whoever has found them keeps them locked: those that stay must not be while others are rolled back.
        let boot = self.boot();
        let stays = |found: &Found| matches!(found, Found::Lasting(journal) if journal.record.boot == boot);
        let found: Vec<_> = found.into_iter().filter(|found| !stays(found)).collect();
        let mut done = Vec::new();
        for found in found {
            if interrupted() {
                break;
            }
            let recovery = match found {
                Found::Live(_) => continue,
                Found::Unusable(path, why) => Recovery::Unusable { path, why },
                Found::Stale(journal) | Found::Lasting(journal) => self.roll_back(journal),
            };
            match &recovery {
                Recovery::Rebooted { .. } => tracing::info!("{recovery}"),
                _ => tracing::warn!("{recovery}"),
            }
            done.push(recovery);
        }
        done
    }

    fn roll_back(&self, journal: Journal) -> Recovery {
        let machine = journal.record.machine.clone();
        if journal.record.boot != self.boot() {
            return match journal.remove() {
                Ok(()) => Recovery::Rebooted { machine },
                Err(error) => Recovery::NoJournals(error),
            };
        }
        let devices = journal.record.claims.clone();
        let port = |step: &Step| match step.subject() {
            Subject::Usb(port) => Some(port),
            _ => None,
        };
        let ports = journal.record.steps.iter().filter_map(port).collect();
        match self.undo(journal, &[]) {
            Ok(()) => Recovery::GivenBack { machine, devices, ports },
            Err(error) => Recovery::Failed { machine, error },
        }
    }
}
