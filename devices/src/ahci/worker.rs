//! The thread of a port: it performs the commands that the guest has issued, one after the other, but for queued ones, which its device works
//! on side by side. A command that is not queued waits until all that are have ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use vmm_sys_util::eventfd::EventFd;

use crate::disk::Gather;
use crate::disk::engine::Piece;
use crate::threads;

use super::device::{AtaDevice, Ended, Wire};
use super::fis::TaskFile;
use super::hba::Hba;
use super::port::{Job, Port, Resets};
use super::registers::{ABRT, ERR, SLOTS};
use super::table::{Fault, Issued, Regions};

/// A running worker. Dropped, it gives up the command at hand, and the drop returns when it has ended.
pub(super) struct Worker {
    port: Arc<Port>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// In place of the thread, for fuzzing.
    #[cfg(feature = "testing")]
    inline: Option<std::sync::Mutex<Server>>,
}

impl Worker {
    /// Starts the worker of port `index`, which has a device.
    pub(super) fn start(hba: &Hba, index: usize, device: Box<dyn AtaDevice>) -> io::Result<Self> {
        let port = Arc::clone(hba.port(index).ok_or(io::ErrorKind::NotFound)?);
        let stop = Arc::<AtomicBool>::default();
        let mut server = Server::new(Arc::clone(&port), device);
        #[cfg(feature = "testing")]
        if crate::virtio::works_inline() {
            let inline = Some(std::sync::Mutex::new(server));
            return Ok(Self { port, stop, thread: None, inline });
        }
        let wanted = Arc::clone(&stop);
        let thread = threads::start(&format!("sata{index}"), move || {
            while !wanted.load(Ordering::Acquire) {
                let pause = server.work();
                server.sleep(pause);
            }
            server.give_up();
        })?;
        Ok(Self {
            port,
            stop,
            thread: Some(thread),
            #[cfg(feature = "testing")]
            inline: None,
        })
    }

    /// Does what there is to do, where that is not a thread's.
    #[cfg(feature = "testing")]
    pub(super) fn work_inline(&self) {
        if let Some(server) = &self.inline {
            server.lock().unwrap_or_else(std::sync::PoisonError::into_inner).work();
        }
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

/// Why a worker has stopped to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// There is nothing to do before somebody rings.
    Idle,
    /// Its device works.
    Device,
}

/// A worker at work.
struct Server {
    port: Arc<Port>,
    device: Box<dyn AtaDevice>,
    /// What the device knows of.
    resets: Resets,
    /// Queued commands under way, by slot.
    queued: [Option<Job>; SLOTS],
    /// The one that began last, and has the generation of all.
    latest: Option<Job>,
    /// A command that is not queued, and waits for those that are.
    waiting: Option<(Job, Issued)>,
    /// Kept for its room.
    ended: Vec<Ended>,
    gather: Gather,
}

impl Server {
    fn new(port: Arc<Port>, device: Box<dyn AtaDevice>) -> Self {
        let queued = [const { None }; SLOTS];
        let resets = Resets::default();
        Self {
            port,
            device,
            resets,
            queued,
            latest: None,
            waiting: None,
            ended: Vec::new(),
            gather: Gather::default(),
        }
    }

    /// Does what can be done now.
    fn work(&mut self) -> Pause {
        loop {
            self.look_after_queue();
            let collected = self.collect();
            let begun = self.begin_some();
            if collected || begun {
                continue;
            }
            match self.device.queue() {
                Some(queue) if queue.is_busy() => {
                    if queue.prepare_to_wait() {
                        return Pause::Device;
                    }
                }
                _ => return Pause::Idle,
            }
        }
    }

    fn sleep(&self, pause: Pause) {
        self.port.wait(self.device.event().filter(|_| pause == Pause::Device));
    }

    /// Gives the queued commands up, once nobody waits for them any more.
    fn look_after_queue(&mut self) {
        let Some(latest) = self.latest else { return };
        if let Some(queue) = self.device.queue() {
            queue.look();
        }
        match self.port.awaits(&latest) {
            Ok(()) => {}
            Err(fault) => {
                self.give_up();
                if fault == Fault::HostBus {
                    self.port.finish(&latest, None, Err(fault));
                }
            }
        }
    }

    /// Leaves nothing under way, and no memory lent.
    fn give_up(&mut self) {
        if let Some(queue) = self.device.queue() {
            queue.give_up();
        }
        self.queued = [const { None }; SLOTS];
        self.latest = None;
        self.waiting = None;
        self.port.take_back();
    }

    /// Tells the guest of the queued commands that have ended: first of those that have succeeded. Returns whether there were any.
    fn collect(&mut self) -> bool {
        let (Some(latest), Some(queue)) = (self.latest, self.device.queue()) else { return false };
        let mut ended = std::mem::take(&mut self.ended);
        queue.collect(&mut ended);
        let idle = !queue.is_busy();
        let any = !ended.is_empty();
        let mut succeeded = 0;
        let mut failed = None;
        for Ended { slot, moved, registers } in ended.drain(..) {
            let Some(job) = self.queued.get_mut(slot as usize).and_then(Option::take) else { continue };
            self.port.count(&job, moved);
            if registers.status & ERR == 0 {
                succeeded |= 1 << slot;
            } else {
                failed.get_or_insert((job, registers));
            }
        }
        self.ended = ended;
        if succeeded != 0 {
            self.port.succeed(&latest, succeeded);
        }
        match failed {
            Some((job, registers)) => {
                queue.failed(job.slot, &registers);
                // Nothing moves any more when the guest hears of it.
                self.give_up();
                self.port.fail(&job, &registers);
            }
            None if idle => {
                self.latest = None;
                self.port.take_back();
            }
            None => {}
        }
        any
    }

    /// Begins the commands that there are, up to one that has to wait. Returns whether there were any.
    fn begin_some(&mut self) -> bool {
        let mut any = false;
        let mut taken = 0;
        if self.waiting.is_none() && self.device.queue().is_some() {
            let waiting = self.port.waiting();
            if self.gather.wants_more(waiting) {
                self.gather.let_driver_go_on(waiting, || self.port.waiting());
            }
        }
        // No more than there are slots: those that have ended have ended.
        for _ in 0..SLOTS {
            if let Some((job, issued)) = self.waiting.take() {
                if self.latest.is_some() {
                    self.waiting = Some((job, issued));
                    break;
                }
                self.perform(&job, issued);
                any = true;
                continue;
            }
            let Some(job) = self.port.begin() else { break };
            any = true;
            taken += 1;
            self.begin(&job);
        }
        self.gather.taken(taken);
        if self.latest.is_some()
            && let Some(queue) = self.device.queue()
        {
            queue.kick();
        }
        any
    }

    fn begin(&mut self, job: &Job) {
        let issued = match Issued::fetch(&self.port.dma, job.list, job.slot) {
            Ok(issued) => issued,
            Err(fault) => return self.port.finish(job, None, Err(fault)),
        };
        if let Some(latest) = self.latest
            && !latest.is_of_one_generation_with(job)
        {
            // What was under way is nobody's any more.
            self.give_up();
        }
        if let Some(kind) = job.resets.since(std::mem::replace(&mut self.resets, job.resets)) {
            self.device.reset(kind);
        }
        let command = &issued.command;
        if command.multiplier_port != 0 {
            self.port.ignore(job);
        } else if !command.is_command {
            // A reset of the device ends whatever it works on.
            if self.latest.is_some() {
                self.give_up();
            }
            self.port.control(job, command.control, issued.clears_busy);
        } else if self.device.queue().is_some_and(|queue| queue.takes(command)) {
            self.enqueue(job, issued);
        } else {
            self.waiting = Some((*job, issued));
        }
    }

    fn enqueue(&mut self, job: &Job, issued: Issued) {
        let Issued { command, regions, .. } = issued;
        let Some(place) = self.queued.get_mut(job.slot as usize) else { return };
        if place.is_some() {
            // There is one of this tag under way.
            let aborted = TaskFile { status: TaskFile::DONE.status | ERR, error: ABRT, ..TaskFile::DONE };
            return self.port.finish(job, None, Ok(aborted));
        }
        if self.port.accept(job).is_err() {
            return;
        }
        *place = Some(*job);
        self.latest = Some(*job);
        let mut transfer = Transfer { port: &self.port, job, regions, moved: 0 };
        if let Some(queue) = self.device.queue()
            && let Err(fault) = queue.begin(job.slot, &command, &mut transfer)
        {
            self.give_up();
            self.port.finish(job, None, Err(fault));
        }
    }

    /// Performs a command that is not queued.
    fn perform(&mut self, job: &Job, issued: Issued) {
        let Issued { command, packet, regions, .. } = issued;
        // What a command does to its device is not taken back: the guest may have gone on meanwhile.
        if self.port.go_on(job) == Err(Fault::Abandoned) {
            return;
        }
        let mut transfer = Transfer { port: &self.port, job, regions, moved: 0 };
        let result = self.device.execute(&command, &packet, &mut transfer);
        let moved = transfer.moved;
        self.port.take_back();
        self.port.finish(job, Some(moved), result);
    }
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
        self.moved(moved as u64);
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

    fn lend(&mut self, bytes: u64) -> Result<Vec<Piece>, Fault> {
        self.port.lend(self.job)?;
        self.regions.pieces(&self.port.dma, bytes)
    }

    fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn wait(&self, event: &EventFd) {
        self.port.wait(Some(event));
    }
}
