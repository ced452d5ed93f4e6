//! Why a device of the host cannot be passed through.

use std::path::PathBuf;

use devices::vfio::FunctionError;
use firmware::option_rom::RomError;
use vocabulary::LentDevice;

use crate::host::{BindError, JournalError, Unready};
use crate::vfio::{OpRegionError, VfioError};

/// Why a device cannot be passed through.
#[derive(Debug, thiserror::Error)]
pub enum PassthroughError {
    /// The host is not prepared for it.
    #[error(transparent)]
    Unready(#[from] Unready),
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
    /// Its ROM file cannot be read.
    #[error("cannot read {path}, the ROM of {device}: {source}")]
    ReadRom {
        /// The file.
        path: PathBuf,
        /// The device.
        device: LentDevice,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Its ROM file is none, or for another device.
    #[error(
        "{path} is no ROM for {device} ({vendor:04x}:{id:04x}): {source}. `optimus-vmm vbios info {path}` shows what it is; \
         `rom = \"off\"` goes without"
    )]
    Rom {
        /// The file.
        path: PathBuf,
        /// The device.
        device: LentDevice,
        /// Vendor ID.
        vendor: u16,
        /// Device ID.
        id: u16,
        /// What is wrong with it.
        source: RomError,
    },
}
