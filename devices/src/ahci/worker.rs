//! The thread of a port: it performs the commands that the guest has issued, one after the other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::threads;

use super::device::{AtaDevice, Wire};
use super::fis::TaskFile;
use super::hba::Hba;
use super::port::{Job, Port, Resets};
use super::table::{Fault, Issued, Regions};

/// A running worker. Dropped, it gives up the command at hand, and the drop returns when it has ended.
pub(super) struct Worker {
    port: Arc<Port>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the worker of port `index`, which has a device.
    pub(super) fn start(hba: &Hba, index: usize, mut device: Box<dyn AtaDevice>) -> io::Result<Self> {
        let port = Arc::clone(hba.port(index).ok_or(io::ErrorKind::NotFound)?);
        let stop = Arc::<AtomicBool>::default();
        let (served, wanted) = (Arc::clone(&port), Arc::clone(&stop));
        let thread = threads::start(&format!("sata{index}"), move || {
            let mut resets = Resets::default();
            while !wanted.load(Ordering::Acquire) {
                match served.begin() {
                    Some(job) => perform(&served, &mut *device, &job, &mut resets),
                    None => {
                        if let Err(error) = served.wait() {
                            crate::limited_error!("the worker of SATA port {index} cannot wait: {error}");
                            return;
                        }
                    }
                }
            }
        })?;
        Ok(Self { port, stop, thread: Some(thread) })
    }
}

impl Worker {
    /// Has it end as soon as it can, without waiting for that.
    pub(super) fn give_up(&self) {
        self.stop.store(true, Ordering::Release);
        self.port.close();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.give_up();
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

/// Performs one command. `resets` is what the device knows of.
fn perform(port: &Port, device: &mut dyn AtaDevice, job: &Job, resets: &mut Resets) {
    let issued = match Issued::fetch(&port.dma, job.list, job.slot) {
        Ok(issued) => issued,
        Err(fault) => {
            port.finish(job, None, Err(fault));
            return;
        }
    };
    if let Some(kind) = job.resets.since(std::mem::replace(resets, job.resets)) {
        device.reset(kind);
    }
    let Issued { command, packet, clears_busy, count_at, regions } = issued;
    if command.multiplier_port != 0 {
        port.ignore(job);
        return;
    }
    if !command.is_command {
        port.control(job, command.control, clears_busy);
        return;
    }
    // What a command does to its device is not taken back: the guest may have gone on meanwhile.
    if port.go_on(job).is_err() {
        return;
    }
    let mut transfer = Transfer { port, job, regions, moved: 0 };
    let result = device.execute(&command, &packet, &mut transfer);
    port.finish(job, Some((count_at, transfer.moved)), result);
}

/// The way of a command's data.
struct Transfer<'a> {
    port: &'a Port,
    job: &'a Job,
    regions: Regions,
    moved: u32,
}

impl Transfer<'_> {
    fn count(&mut self, (moved, result): (usize, Result<(), Fault>)) -> Result<(), Fault> {
        self.moved = self.moved.saturating_add(u32::try_from(moved).unwrap_or(u32::MAX));
        result
    }
}

impl Wire for Transfer<'_> {
    fn announce(&mut self, to_host: bool, bytes: usize, end: &TaskFile) -> Result<(), Fault> {
        // More than a block of data has room for is announced block by block; nobody counts them.
        self.port.announce(self.job, to_host, u16::try_from(bytes).unwrap_or(u16::MAX - 1), end)
    }

    fn send(&mut self, data: &[u8]) -> Result<(), Fault> {
        let sent = self.port.send(self.job, &mut self.regions, data);
        self.count(sent)
    }

    fn go_on(&self) -> Result<(), Fault> {
        self.port.go_on(self.job)
    }

    fn receive(&mut self, data: &mut [u8]) -> Result<(), Fault> {
        let received = self.port.receive(self.job, &mut self.regions, data);
        self.count(received)
    }
}
