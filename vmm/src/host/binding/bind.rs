//! `manage = true`: lends functions to vfio-pci for the time of a run. Mediated devices and virtual functions are made for as long.
//!
//! Everything that can be found to stand against it is found first, while nothing has been changed. Then all changes go
//! to the journal, and only then to the host. They are undone in reverse when the run ends, when a step fails, and by
//! [`Manager::recover`] after a crash.

mod error;
mod survey;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use vocabulary::HostPciAddress;

use super::claim;
use super::journal::{Found, Journal, JournalDir, JournalError, Record};
use super::step::{Host, Step, StepError, Subject};
use crate::host::sysfs::VFIO_PCI;
use crate::host::{ChildWriter, HostFiles, Kernel, Obstacle, Wanted, WriteError};

pub use error::{BindError, GiveBackError, Left};
use survey::Survey;

/// How long loading vfio-pci may take.
const LOAD: Duration = Duration::from_secs(30);

/// Binds functions of the host and puts them back.
#[derive(Debug, Clone)]
pub struct Manager {
    pub(in crate::host) host: Host,
    pub(in crate::host) journals: JournalDir,
}

impl Manager {
    /// On this host.
    ///
    /// # Errors
    ///
    /// There is no place for the record of changes.
    pub fn new() -> Result<Self, JournalError> {
        Ok(Self::with(HostFiles::default(), Arc::new(ChildWriter), JournalDir::of_user()?))
    }

    /// On another host, for tests.
    pub fn with(files: HostFiles, kernel: Arc<dyn Kernel>, journals: JournalDir) -> Self {
        Self { host: Host { files, kernel }, journals }
    }

    /// The host's files.
    pub(in crate::host) fn files(&self) -> &HostFiles {
        &self.host.files
    }

    /// Binds `functions` to vfio-pci for the machine of this name, and keeps them and the ports above them awake; makes
    /// those of `wanted` that do not exist, and binds virtual functions among them as well. What is bound or exists already stays so at the end. Takes as long as the
    /// drivers take to let go.
    ///
    /// `interrupted` is asked before each change, and while others are waited for: when it says so, what was changed is
    /// put back.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn lend(
        &self,
        machine: &str,
        functions: &[HostPciAddress],
        wanted: &[Wanted],
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Bound, BindError> {
        let mut functions = functions.to_vec();
        let found = wanted.iter().filter_map(|wanted| wanted.device().function());
        functions.extend(found);
        functions.sort_unstable();
        functions.dedup();
        if functions.is_empty() && wanted.is_empty() {
            return Ok(Bound::none());
        }
        let lock = self.journals.lock_unless(interrupted)?.ok_or(BindError::Interrupted)?;
        // Looking at a function wakes it, and a virtual one keeps its physical one awake.
        let parents = wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Virtual(wanted) => Some(wanted.parent),
            Wanted::Mediated(_) => None,
        });
        let slept = self.host.files.asleep(&functions.iter().copied().chain(parents).collect::<Vec<_>>());
        let Survey { devices, leftovers, made, virtual_functions, obstacles } =
            self.survey(&lock, &functions, wanted, &[]);
        if !obstacles.is_empty() {
            return Err(BindError::Refused(obstacles));
        }
        if !functions.is_empty() {
            self.load()?;
        }
        let boot = self.boot();
        let mut steps = self.host.steps(&functions, &virtual_functions);
        steps.extend(made);
        let undone = claim::merge(&leftovers, &boot, steps.clone());
        let record = Record::new(machine, boot, devices, undone);
        let journal = claim::write(&self.journals, &lock, record, leftovers)?;
        drop(lock);
        let taken = self.take_some(&steps, &[], interrupted);
        let mut bound = self.taken(journal, taken)?;
        bound.slept = slept;
        Ok(bound)
    }

    /// Takes steps in order, beside those of `others` that run, up to the first that fails.
    pub(in crate::host) fn take_some<'a>(
        &self,
        steps: &'a [Step],
        others: &[Step],
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), (&'a Step, BindError)> {
        steps.iter().try_for_each(|step| {
            let taken = match interrupted() {
                true => Err(BindError::Interrupted),
                false => self.host.take(step, others).map_err(BindError::from),
            };
            taken.map_err(|error| (step, error))
        })
    }

    /// What was taken, or everything undone if a step has failed.
    pub(in crate::host) fn taken(
        &self,
        mut journal: Journal,
        taken: Result<(), (&Step, BindError)>,
    ) -> Result<Bound, BindError> {
        let Err((step, error)) = taken else { return Ok(Bound::of(self, journal)) };
        // What hangs is not asked again: it would only hang again.
        let hung: &[_] = match error {
            BindError::Step(StepError::Hung { .. }) => &[step.subject()],
            _ => &[],
        };
        // A device that is there all the same is not of our making.
        if matches!(error, BindError::Step(StepError::NotMade { .. })) {
            journal.record.steps.retain(|other| !other.is_like(step));
        }
        Err(match self.undo(journal, hung) {
            Ok(()) => error,
            Err(left) => BindError::AndLeft { error: Box::new(error), left },
        })
    }

    /// Everything that would keep [`Self::lend`] from lending these, each once. `others` are
    /// functions that the machine has besides.
    ///
    /// # Errors
    ///
    /// The record of what other machines have cannot be read, or `interrupted` says so.
    pub fn obstacles(
        &self,
        functions: &[HostPciAddress],
        wanted: &[Wanted],
        others: &[HostPciAddress],
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<Obstacle>, BindError> {
        let lock = self.journals.lock_unless(interrupted)?.ok_or(BindError::Interrupted)?;
        Ok(self.survey(&lock, functions, wanted, others).obstacles)
    }

    fn load(&self) -> Result<(), BindError> {
        let driver = self.host.files.path(format!("sys/bus/pci/drivers/{VFIO_PCI}"));
        if driver.exists() {
            return Ok(());
        }
        let loaded = self.host.kernel.load_module(VFIO_PCI, LOAD);
        let missing = || WriteError::Said("the driver did not appear".into());
        loaded
            .and_then(|()| driver.exists().then_some(()).ok_or_else(missing))
            .map_err(|source| BindError::NoModule { source })
    }

    /// What tells this run of the kernel from others.
    pub(in crate::host) fn boot(&self) -> String {
        self.host.files.text("proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    /// Undoes the journal's steps in reverse, leaving out what hangs, and removes it; or keeps it with the steps that could not
    /// be undone. What others that run have changed as well stays as they want it, and is theirs to put back.
    pub(in crate::host) fn undo(&self, journal: Journal, hung: &[Subject]) -> Result<(), GiveBackError> {
        let shared = journal.record.steps.iter().any(Step::is_shared);
        // Nobody else is to change what is shared meanwhile. Drivers may take long, and need no lock.
        let lock = if shared { Some(journal.dir().lock().map_err(GiveBackError::Locked)?) } else { None };
        let running = lock.as_ref().map_or_else(Vec::new, |lock| self.running(lock));
        // Our own looks like another's, for its lock is ours.
        let others = running.into_iter().filter(|record| *record != journal.record);
        let others: Vec<_> = others.flat_map(|record| record.steps).collect();
        let (kept, left) = self.undo_steps(&journal, hung, &others);
        let lock = match lock {
            Some(lock) => lock,
            None => journal.dir().lock()?,
        };
        if kept.is_empty() {
            return Ok(journal.remove_locked(&lock)?);
        }
        let mut journal = journal;
        if let Err(error) = journal.keep_locked(&lock, kept) {
            // The old one has all steps, which is as good.
            tracing::warn!("{error}");
        }
        Err(GiveBackError::Left { left, journal: journal.path.clone(), lasting: journal.record.lasting })
    }

    /// The steps that could not be undone, and why not.
    fn undo_steps(&self, journal: &Journal, hung: &[Subject], others: &[Step]) -> (Vec<Step>, Vec<Left>) {
        let mut hung = hung.to_vec();
        let mut kept: Vec<Step> = Vec::new();
        let mut left: Vec<Left> = Vec::new();
        for step in journal.record.steps.iter().rev() {
            let subject = step.subject();
            let why = if hung.contains(&subject) {
                None
            } else {
                match self.host.undo(step, others) {
                    Ok(()) => continue,
                    Err(error) => {
                        if matches!(error, StepError::Hung { .. }) {
                            hung.push(subject.clone());
                        }
                        Some(error)
                    }
                }
            };
            kept.insert(0, step.clone());
            if why.is_some() || left.iter().all(|left| left.subject != subject) {
                left.push(Left { subject, why });
            }
        }
        (kept, left)
    }

    /// The records of machines that run.
    pub(in crate::host) fn running(&self, lock: &File) -> Vec<Record> {
        let found = self.journals.list(lock).into_iter();
        let live = found.filter_map(|found| match found {
            Found::Live(record) => Some(record),
            Found::Stale(_) | Found::Lasting(_) | Found::Unusable(..) => None,
        });
        live.collect()
    }
}

/// What is lent for the time of a run: functions that are bound to vfio-pci, mediated devices that were made.
///
/// To be given back after every descriptor of the devices has been closed: the kernel waits for that.
#[derive(Debug)]
#[must_use = "dropping it gives the devices back"]
pub struct Bound {
    pub(in crate::host) lent: Option<(Manager, Journal)>,
    /// Functions that slept before.
    slept: Vec<HostPciAddress>,
}

impl Bound {
    /// Puts everything back as it was. Functions that slept before get ten seconds to fall asleep, and a warning if they do not.
    ///
    /// # Errors
    ///
    /// See [`GiveBackError`].
    pub fn give_back(mut self) -> Result<(), GiveBackError> {
        let Some((manager, journal)) = self.lent.take() else { return Ok(()) };
        manager.undo(journal, &[])?;
        manager.host.files.tell_of_the_sleepless(&self.slept);
        Ok(())
    }

    /// As if the process died here.
    #[cfg(test)]
    pub(in crate::host) fn abandon(mut self) {
        self.lent = None;
    }

    fn of(manager: &Manager, journal: Journal) -> Self {
        Self { lent: Some((manager.clone(), journal)), slept: Vec::new() }
    }

    /// Nothing.
    pub(in crate::host) fn none() -> Self {
        Self { lent: None, slept: Vec::new() }
    }
}

impl Bound {
    /// Leaves the devices bound when this process ends, until [`Manager::release`] or a reboot.
    ///
    /// # Errors
    ///
    /// That cannot be recorded; the devices are given back.
    pub fn last(mut self) -> Result<(), BindError> {
        let Some((manager, mut journal)) = self.lent.take() else { return Ok(()) };
        match journal.last() {
            Ok(()) => Ok(()),
            Err(error) => match manager.undo(journal, &[]) {
                Ok(()) => Err(error.into()),
                Err(left) => Err(BindError::AndLeft { error: Box::new(error.into()), left }),
            },
        }
    }
}

impl Drop for Bound {
    /// The last resort: an error can only be logged.
    fn drop(&mut self) {
        if let Some((manager, journal)) = self.lent.take()
            && let Err(error) = manager.undo(journal, &[])
        {
            tracing::error!("{error}");
        }
    }
}
