//! Why a device of the host cannot be passed through.

use devices::vfio::FunctionError;

use crate::finding::Findings;
use crate::host::{BindError, JournalError};
use crate::vfio::{OpRegionError, VfioError};

/// Why a device cannot be passed through.
#[derive(Debug, thiserror::Error)]
pub enum PassthroughError {
    /// What the configuration asks for is not so, or the host does not give it.
    #[error(transparent)]
    Findings(#[from] Findings),
    /// It cannot be taken from its driver.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What was taken could not be recorded.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel does not lend it.
    #[error(transparent)]
    Vfio(#[from] VfioError),
    /// It cannot be shown to the guest.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// Its OpRegion cannot be had.
    #[error(transparent)]
    OpRegion(#[from] OpRegionError),
    /// What its guest shows cannot be looked at.
    #[error("cannot look at the display GPU's screen: {0}; raise the limit of open files (`ulimit -n`)")]
    Planes(#[source] std::io::Error),
}
