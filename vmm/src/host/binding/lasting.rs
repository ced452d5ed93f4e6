//! What is on record as lent: by machines that run, and by `host bind`, whose devices stay bound until they are released or the host reboots.

use std::fs::File;

use vocabulary::{HostPciAddress, LentDevice};

use super::bind::{GiveBackError, Manager};
use super::journal::{Found, Journal, JournalError};
use crate::host::Holders;
use crate::host::check::list;

/// Devices that are lent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lending {
    /// The machine that has them, and its process; `None` for those that are bound until they are released.
    pub machine: Option<(String, u32)>,
    /// The devices.
    pub devices: Vec<LentDevice>,
}

/// Why a device is not given back.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It is nobody's to release.
    #[error(
        "{address} was not bound by `host bind` since the last boot: {}",
        driver.as_ref().map_or_else(|| "no driver has it".into(), |driver| format!("{driver} has it"))
    )]
    NotBound {
        /// The function.
        address: HostPciAddress,
        /// The driver that has it.
        driver: Option<String>,
    },
    /// A machine runs with it.
    #[error(
        "{device} belongs to the machine {machine}, which is running (process {pid}): shut that down first"
    )]
    Running {
        /// The device.
        device: LentDevice,
        /// The machine's name.
        machine: String,
        /// Its process.
        pid: u32,
    },
    /// A process has it open, and the kernel would wait for that.
    #[error("{device} is in use: {holders}: {}", holders.cure())]
    Held {
        /// The device.
        device: LentDevice,
        /// Who has it.
        holders: Holders,
    },
    /// The record cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The host is not as it was before.
    #[error(transparent)]
    GiveBack(#[from] GiveBackError),
}

impl Manager {
    /// Everything that is lent by this user's processes.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn lendings(&self) -> Result<Vec<Lending>, JournalError> {
        if !self.journals.exists() {
            return Ok(Vec::new());
        }
        let boot = self.boot();
        let found = self.journals.list(&self.journals.lock()?).into_iter();
        Ok(found
            .filter_map(|found| match found {
                // One without devices is of settings.
                Found::Live(record) if !record.claims.is_empty() => {
                    Some(Lending { machine: Some((record.machine, record.pid)), devices: record.claims })
                }
                Found::Lasting(journal) if journal.record.boot == boot => {
                    Some(Lending { machine: None, devices: journal.record.claims })
                }
                _ => None,
            })
            .collect())
    }

    /// Gives back what `host bind` bound together with `address`: those devices.
    ///
    /// # Errors
    ///
    /// See [`ReleaseError`]. What was refused is as before.
    pub fn release(&self, address: HostPciAddress) -> Result<Vec<LentDevice>, ReleaseError> {
        let not_bound = || ReleaseError::NotBound { address, driver: self.files().driver(address) };
        if !self.journals.exists() {
            return Err(not_bound());
        }
        let lock = self.journals.lock()?;
        let journal = self.lasting_with(&lock, address)?.ok_or_else(not_bound)?;
        for device in journal.record.claims.iter().copied() {
            let holders = self.files().device_holders(device);
            if !holders.found.is_empty() {
                return Err(ReleaseError::Held { device, holders });
            }
        }
        drop(lock);
        let devices = journal.record.claims.clone();
        tracing::debug!("giving back {}", list(&devices));
        self.undo(journal, &[])?;
        Ok(devices)
    }

    /// The lasting journal that has a function, unless a machine runs with what is in it.
    fn lasting_with(&self, lock: &File, address: HostPciAddress) -> Result<Option<Journal>, ReleaseError> {
        let boot = self.boot();
        let (mut journal, mut live) = (None, Vec::new());
        for found in self.journals.list(lock) {
            match found {
                Found::Lasting(found)
                    if found.record.boot == boot && found.record.claims.contains(&address.into()) =>
                {
                    journal = Some(found);
                }
                Found::Live(record) => live.push(record),
                _ => {}
            }
        }
        let claims = journal.as_ref().map(|journal| journal.record.claims.as_slice()).unwrap_or_default();
        for record in live {
            if let Some(device) = claims.iter().copied().find(|device| record.claims.contains(device)) {
                let (machine, pid) = (record.machine, record.pid);
                return Err(ReleaseError::Running { device, machine, pid });
            }
        }
        Ok(journal)
    }
}
