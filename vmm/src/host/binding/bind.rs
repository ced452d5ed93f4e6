//! `manage = true`: lends functions to vfio-pci for the time of a run. Mediated devices are made for as long.
//!
//! Everything that can be found to stand against it is found first, while nothing has been changed. Then all changes go
//! to the journal, and only then to the host. They are undone in reverse when the run ends, when a step fails, and by
//! [`Manager::recover`] after a crash.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vocabulary::{HostPciAddress, LentDevice, NewMdev};

use super::claim;
use super::journal::{Journal, JournalDir, JournalError, Record};
use super::step::{Host, Step, StepError};
use crate::host::check::{Groups, list, passable};
use crate::host::sysfs::{VFIO_PCI, lends};
use crate::host::{ChildWriter, HostFiles, HostFunction, Kernel, NotLent, Obstacle, WantedMdev, WriteError};

/// How long loading vfio-pci may take.
const LOAD: Duration = Duration::from_secs(30);

/// Why functions could not be bound. The host is as before, except for what [`Self::AndLeft`] names.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// All that was found to be in the way before anything was changed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Obstacle>),
    /// There is no vfio-pci.
    #[error(
        "cannot load the kernel module vfio-pci: {source}; try `sudo modprobe vfio-pci`, and use a kernel built with \
         CONFIG_VFIO_PCI"
    )]
    NoModule {
        /// What modprobe said.
        #[source]
        source: WriteError,
    },
    /// What was to be changed cannot be recorded.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The user has had enough.
    #[error("the start was ended by a signal")]
    Interrupted,
    /// A change failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A change failed, and so did putting back what was changed before it.
    #[error("{error}. {left}")]
    AndLeft {
        /// Why binding failed.
        error: Box<BindError>,
        /// What is not as before.
        left: GiveBackError,
    },
}

/// A device that is not as it was.
#[derive(Debug)]
pub struct Left {
    /// The device, or a port above a function.
    pub device: LentDevice,
    /// Why; `None` when it was not tried because the kernel hangs at this function.
    pub why: Option<StepError>,
}

/// Why the host could not be put back as it was.
#[derive(Debug, thiserror::Error)]
pub enum GiveBackError {
    /// Some devices are not as they were.
    #[error("the host could not be put back as it was: {}. The next start tries again, by the record {}",
        list(&left.iter().map(describe).collect::<Vec<_>>()), journal.display())]
    Left {
        /// Which.
        left: Vec<Left>,
        /// The record that is kept.
        journal: PathBuf,
    },
    /// The host is as it was, but the record of the changes stays behind. The next start removes it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn describe(left: &Left) -> String {
    match &left.why {
        Some(why) => why.to_string(),
        None => format!("{} is left alone because the kernel hangs there", left.device),
    }
}

/// Binds functions of the host and puts them back.
#[derive(Debug, Clone)]
pub struct Manager {
    host: Host,
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
    /// those of `mdevs` that do not exist. What is bound or exists already stays so at the end. Takes as long as the
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
        mdevs: &[WantedMdev],
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Bound, BindError> {
        let mut functions = functions.to_vec();
        functions.sort_unstable();
        functions.dedup();
        if functions.is_empty() && mdevs.is_empty() {
            return Ok(Bound { lent: None });
        }
        let lock = self.journals.lock_unless(interrupted)?.ok_or(BindError::Interrupted)?;
        let Survey { devices, leftovers, made, obstacles } = self.survey(&lock, &functions, mdevs, &[]);
        if !obstacles.is_empty() {
            return Err(BindError::Refused(obstacles));
        }
        if !functions.is_empty() {
            self.load()?;
        }
        let boot = self.boot();
        let mut steps = self.host.steps(&functions);
        steps.extend(made);
        let undone = claim::merge(&leftovers, &boot, steps.clone());
        let record = Record::new(machine, boot, devices, undone);
        let mut journal = claim::write(&self.journals, &lock, record, leftovers)?;
        drop(lock);
        for step in &steps {
            let taken = match interrupted() {
                true => Err(BindError::Interrupted),
                false => self.host.take(step).map_err(BindError::from),
            };
            if let Err(error) = taken {
                // What hangs is not asked again: it would only hang again.
                let hung: &[_] = match error {
                    BindError::Step(StepError::Hung { .. }) => &[step.device()],
                    _ => &[],
                };
                // A device that is there all the same is not of our making.
                if matches!(error, BindError::Step(StepError::NotMade { .. })) {
                    journal.record.steps.retain(|other| !other.is_like(step));
                }
                return Err(match self.undo(journal, hung) {
                    Ok(()) => error,
                    Err(left) => BindError::AndLeft { error: Box::new(error), left },
                });
            }
        }
        Ok(Bound { lent: Some((self.clone(), journal)) })
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
        mdevs: &[WantedMdev],
        others: &[HostPciAddress],
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<Obstacle>, BindError> {
        let lock = self.journals.lock_unless(interrupted)?.ok_or(BindError::Interrupted)?;
        Ok(self.survey(&lock, functions, mdevs, others).obstacles)
    }

    /// Looks at everything that can be known before a change. `functions` are lent together with `others`.
    fn survey(
        &self,
        lock: &File,
        functions: &[HostPciAddress],
        mdevs: &[WantedMdev],
        others: &[HostPciAddress],
    ) -> Survey {
        let devices: Vec<_> = functions
            .iter()
            .map(|address| LentDevice::Function(*address))
            .chain(mdevs.iter().map(|mdev| LentDevice::Mediated(mdev.uuid)))
            .collect();
        let mut obstacles = Vec::new();
        let leftovers = claim::leftovers(self.journals.list(lock), &devices, &mut obstacles);
        // What else is the matter with a device is the other machine's doing.
        let taken: Vec<_> = obstacles.iter().map(|obstacle| obstacle.device).collect();
        let free = |device: LentDevice| !taken.contains(&device);
        let ours: Vec<_> = functions.iter().chain(others).copied().collect();
        let mut groups = Groups::default();
        for address in functions.iter().copied().filter(|address| free((*address).into())) {
            let found = self.look_at(address, &ours, &mut groups);
            obstacles.extend(found.into_iter().map(|why| Obstacle::new(address, why)));
        }
        let mut made = Vec::new();
        for wanted in mdevs.iter().filter(|wanted| free(LentDevice::Mediated(wanted.uuid))) {
            self.host.load_gvt(wanted);
            match self.host.files.mdev_to_make(wanted) {
                Ok(None) => {}
                Ok(Some(NewMdev { parent, kind })) => {
                    made.push(Step::Mdev { uuid: wanted.uuid, parent, kind });
                }
                Err(why) => obstacles.push(Obstacle::new(LentDevice::Mediated(wanted.uuid), why)),
            }
        }
        Survey { devices, leftovers, made, obstacles }
    }

    /// What is in the way of a function that is to be bound.
    fn look_at(&self, address: HostPciAddress, ours: &[HostPciAddress], groups: &mut Groups) -> Vec<NotLent> {
        match passable(&self.host.files, address) {
            Ok(function) => self.in_the_way(function, ours, groups),
            Err(why) => vec![why.into()],
        }
    }

    /// What is in the way of a function that answers.
    pub(in crate::host) fn in_the_way(
        &self,
        function: HostFunction,
        ours: &[HostPciAddress],
        groups: &mut Groups,
    ) -> Vec<NotLent> {
        let (files, address) = (&self.host.files, function.address);
        let mut found = Vec::new();
        found.extend(groups.viable(files, &function, ours).err().map(NotLent::from));
        if function.driver.as_deref().is_some_and(lends) {
            return found;
        }
        found.extend(self.host.may_change(address).err().map(NotLent::from));
        if let Some(driver) = function.driver {
            let in_use = |source| NotLent::InUse { address, driver: driver.clone(), source };
            found.extend(files.uses(address).into_iter().map(in_use));
        }
        if found.is_empty() {
            files.warn_of_the_screen(address);
        }
        found
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

    /// Undoes the journal's steps in reverse, leaving out the devices that hang, and removes it; or keeps it with the
    /// steps that could not be undone.
    pub(in crate::host) fn undo(
        &self,
        mut journal: Journal,
        hung: &[LentDevice],
    ) -> Result<(), GiveBackError> {
        let mut hung = hung.to_vec();
        let mut kept: Vec<Step> = Vec::new();
        let mut left: Vec<Left> = Vec::new();
        for step in journal.record.steps.iter().rev() {
            let device = step.device();
            let why = if hung.contains(&device) {
                None
            } else {
                match self.host.undo(step) {
                    Ok(()) => continue,
                    Err(error) => {
                        if matches!(error, StepError::Hung { .. }) {
                            hung.push(device);
                        }
                        Some(error)
                    }
                }
            };
            kept.insert(0, step.clone());
            if why.is_some() || left.iter().all(|left| left.device != device) {
                left.push(Left { device, why });
            }
        }
        if kept.is_empty() {
            return Ok(journal.remove()?);
        }
        if let Err(error) = journal.keep(kept) {
            // The old one has all steps, which is as good.
            tracing::warn!("{error}");
        }
        Err(GiveBackError::Left { left, journal: journal.path.clone() })
    }
}

/// What is known before a change.
struct Survey {
    /// All that is wanted.
    devices: Vec<LentDevice>,
    /// Records of crashed machines that had some of it.
    leftovers: Vec<Journal>,
    /// The steps that make the mediated devices that do not exist.
    made: Vec<Step>,
    /// All that is in the way.
    obstacles: Vec<Obstacle>,
}

/// What is lent for the time of a run: functions that are bound to vfio-pci, mediated devices that were made.
///
/// To be given back after every descriptor of the devices has been closed: the kernel waits for that.
#[derive(Debug)]
#[must_use = "dropping it gives the devices back"]
pub struct Bound {
    lent: Option<(Manager, Journal)>,
}

impl Bound {
    /// Puts everything back as it was.
    ///
    /// # Errors
    ///
    /// See [`GiveBackError`].
    pub fn give_back(mut self) -> Result<(), GiveBackError> {
        self.lent.take().map_or(Ok(()), |(manager, journal)| manager.undo(journal, &[]))
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
