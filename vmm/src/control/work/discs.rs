//! Discs in drives: changing them with the guest's leave, and keeping their files from pictures.

use std::thread;
use std::time::Instant;

use devices::atapi::{Drive, Locked};

use super::super::machine::CdDrive;
use super::super::protocol::Refusal;
use super::{Cancel, Resources};
use crate::screenshot::MachineFile;

impl Resources {
    /// A drive by its number.
    pub(super) fn drive(&self, number: usize) -> Result<&CdDrive, Refusal> {
        self.drives
            .get(number)
            .ok_or_else(|| Refusal::no_device(format!("Device 'cdrom[{number}]' not found")))
    }

    /// Changes the disc of a drive. A guest that has locked the tray is asked for the disc, and may take its time to give it;
    /// when nobody waits for it any more, the request is withdrawn.
    pub(super) fn with_leave(
        &self,
        CdDrive { name, drive }: &CdDrive,
        cancel: &Cancel,
        change: impl Fn(&Drive) -> Result<(), Locked>,
    ) -> Result<(), Refusal> {
        let result = self.attempt(name, cancel, || change(drive));
        if result.is_err() {
            drive.withdraw();
        }
        result
    }

    /// Tries a change until the guest allows it.
    fn attempt(
        &self,
        name: &str,
        cancel: &Cancel,
        change: impl Fn() -> Result<(), Locked>,
    ) -> Result<(), Refusal> {
        let asked = Instant::now();
        while let Err(error) = change() {
            if asked.elapsed() >= self.delays.patience {
                return Err(Refusal::new(format!(
                    "{error} of {name}, was asked for the disc and has not given it: unmount or eject it there, or force \
                     the change, which is to the guest as if the disc had been torn out"
                )));
            }
            self.still_wanted(cancel)?;
            thread::sleep(self.delays.nap);
        }
        Ok(())
    }

    /// The files that the machine is made from, and those of the discs that are in its drives now.
    pub(super) fn machine_files(&self) -> Vec<MachineFile> {
        let discs = self.drives.iter().filter_map(|CdDrive { name, drive }| {
            Some((format!("the disc of {name}"), drive.status().disc?.into()))
        });
        self.files.iter().cloned().chain(discs).collect()
    }
}
