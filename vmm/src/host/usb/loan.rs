//! The record of the USB devices that a machine has, from which a later start gives them back to their drivers after a crash: the kernel ends
//! the claims of a process that is gone, and leaves the interfaces without a driver.

use vocabulary::UsbPort;

use super::HostUsbDevice;
use crate::host::binding::bind::Manager;
use crate::host::binding::journal::{Journal, JournalError, Record};
use crate::host::binding::step::{Host, Step, StepError};

/// Why a device is not given back.
#[derive(Debug, thiserror::Error)]
pub enum LoanError {
    /// The kernel refused. The record is kept.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The record cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The devices that a machine has of the host, on record as long as it has them.
#[derive(Debug)]
pub struct UsbLoans {
    manager: Manager,
    machine: String,
    journal: Option<Journal>,
}

impl UsbLoans {
    /// None yet, of the machine of this name.
    ///
    /// # Errors
    /// There is no place for the record.
    pub fn new(machine: &str) -> Result<Self, JournalError> {
        Ok(Self::with(Manager::new()?, machine))
    }

    /// On another host, for tests.
    pub fn with(manager: Manager, machine: &str) -> Self {
        Self { manager, machine: machine.into(), journal: None }
    }

    /// Puts a device on record, before it is taken from its drivers. One that has none needs no record.
    ///
    /// # Errors
    /// The record cannot be written: the device must not be taken.
    pub fn lend(&mut self, device: &HostUsbDevice) -> Result<(), JournalError> {
        let driven = device.interfaces.iter().filter(|interface| interface.driver.is_some());
        let interfaces: Vec<u8> = driven.map(|interface| interface.number).collect();
        if interfaces.is_empty() {
            return Ok(());
        }
        let step = Step::UsbDrivers { port: device.port.clone(), number: device.number, interfaces };
        let dir = &self.manager.journals;
        let lock = dir.lock()?;
        match &mut self.journal {
            Some(journal) => {
                let others = journal.record.steps.iter().filter(|other| !other.is_like(&step)).cloned();
                let steps = others.chain([step.clone()]).collect();
                journal.keep_locked(&lock, steps)
            }
            None => {
                let record = Record::new(&self.machine, self.manager.boot(), Vec::new(), vec![step]);
                self.journal = Some(dir.create(&lock, record)?);
                Ok(())
            }
        }
    }

    /// Gives the device at a port back to its drivers, as far as it is still there and they do not have it, and takes it off the record. No
    /// descriptor of it is open any more.
    ///
    /// # Errors
    /// See [`LoanError`].
    pub fn give_back(&mut self, port: &UsbPort) -> Result<(), LoanError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let is_its = |step: &&Step| matches!(step, Step::UsbDrivers { port: its, .. } if its == port);
        let Some(step) = journal.record.steps.iter().find(is_its) else { return Ok(()) };
        self.manager.host.undo(step, &[])?;
        let left: Vec<_> = journal.record.steps.iter().filter(|step| !is_its(step)).cloned().collect();
        let lock = self.manager.journals.lock()?;
        if !left.is_empty() {
            return Ok(journal.keep_locked(&lock, left)?);
        }
        match self.journal.take() {
            Some(journal) => Ok(journal.remove_locked(&lock)?),
            None => Ok(()),
        }
    }
}

impl Host {
    /// Has drivers take the interfaces of a device that had them, unless the device has been plugged in anew, which brings drivers by itself.
    pub(in crate::host) fn give_usb_back(
        &self,
        port: &UsbPort,
        number: u8,
        interfaces: &[u8],
    ) -> Result<(), StepError> {
        let device = self.files.usb_device(port).filter(|device| device.number == number);
        let Some(device) = device else { return Ok(()) };
        let ours = device.interfaces.iter().filter(|interface| interfaces.contains(&interface.number));
        for interface in ours.filter(|interface| interface.driver.is_none()) {
            let connected = self.kernel.connect_usb(&device.node, interface.number);
            connected.map_err(|source| StepError::UsbDriver {
                port: port.clone(),
                interface: interface.number,
                source,
            })?;
        }
        Ok(())
    }
}
