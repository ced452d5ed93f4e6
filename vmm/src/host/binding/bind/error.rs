//! Why devices and settings could not be taken, or not be given back.

use std::path::PathBuf;

use crate::host::binding::journal::JournalError;
use crate::host::binding::step::{StepError, Subject};
use crate::host::check::list;
use crate::host::{NotTuned, Obstacle, WriteError};

/// Why functions could not be bound. The host is as before, except for what [`Self::AndLeft`] names.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// All that was found to be in the way before anything was changed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Obstacle>),
    /// Settings that cannot be changed, found before anything was.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    NotTuned(Vec<NotTuned>),
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

/// A device or a setting that is not as it was.
#[derive(Debug)]
pub struct Left {
    /// The device, a port above a function, or a setting.
    pub subject: Subject,
    /// Why; `None` when it was not tried because the kernel hangs at this function.
    pub why: Option<StepError>,
}

/// Why the host could not be put back as it was.
#[derive(Debug, thiserror::Error)]
pub enum GiveBackError {
    /// Some devices or settings are not as they were.
    #[error("the host could not be put back as it was: {}. {} tries again, by the record {}",
        list(&left.iter().map(describe).collect::<Vec<_>>()),
        if *lasting { "`sudo optimus-vmm host release`" } else { "The next start" }, journal.display())]
    Left {
        /// Which.
        left: Vec<Left>,
        /// The record that is kept.
        journal: PathBuf,
        /// It is of `host bind`, and no start's.
        lasting: bool,
    },
    /// The record could not be locked, so that nothing was put back.
    #[error("settings of the host were not put back; the next start does: {0}")]
    Locked(#[source] JournalError),
    /// The host is as it was, but the record of the changes stays behind. The next start removes it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn describe(left: &Left) -> String {
    match &left.why {
        Some(why) => why.to_string(),
        None => format!("{} is left alone because the kernel hangs there", left.subject),
    }
}
