//! The thread of a submission queue: it takes commands, has the disk work on them side by side, and posts their completions ([`queue`]). It touches guest memory
//! only while the driver has bus mastering enabled.

mod queue;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use vmm_sys_util::eventfd::EventFd;

use crate::disk::engine::Operation;
use crate::event::wait;
use crate::threads;

use super::command::Status;
use super::rings::{CompletionQueue, SubmissionQueue};
use super::shared::Shared;

pub(super) use queue::Queue;

/// What a worker is to do.
mod order {
    pub(super) const WORK: u8 = 0;
    /// End; completions of what was under way are posted.
    pub(super) const DELETE: u8 = 1;
    /// End; the driver wants to hear nothing more.
    pub(super) const RESET: u8 = 2;
}

/// A running worker. Dropped, it ends without a word, and the drop returns when neither guest memory nor the disk is touched any more.
pub(super) struct Worker {
    order: Arc<AtomicU8>,
    wake: Arc<EventFd>,
    /// The completion queue that it posts to.
    pub(super) completion: Arc<CompletionQueue>,
    thread: Option<JoinHandle<()>>,
    /// In place of the thread, for fuzzing.
    #[cfg(feature = "testing")]
    inline: Option<std::sync::Mutex<Queue>>,
}

impl Worker {
    /// Starts one for `submission`, whose doorbells are rung already or will be.
    pub(super) fn start(
        shared: Arc<Shared>,
        submission: SubmissionQueue,
        completion: Arc<CompletionQueue>,
    ) -> io::Result<Self> {
        let id = submission.id;
        let wake = Arc::clone(shared.doorbells(id).ok_or(io::ErrorKind::NotFound)?.wake());
        let lane = shared.disk.lane(shared.dma.ram().clone())?;
        let order = Arc::<AtomicU8>::default();
        let posted_to = Arc::clone(&completion);
        let obeyed = Arc::clone(&order);
        let mut queue = Queue::new(shared, submission, completion, lane, obeyed);
        #[cfg(feature = "testing")]
        if crate::virtio::works_inline() {
            let inline = Some(std::sync::Mutex::new(queue));
            return Ok(Self { order, wake, completion: posted_to, thread: None, inline });
        }
        let thread = threads::start(&format!("nvme{id}"), move || queue.run())?;
        Ok(Self {
            order,
            wake,
            completion: posted_to,
            thread: Some(thread),
            #[cfg(feature = "testing")]
            inline: None,
        })
    }

    /// Does what there is to do, where that is not a thread's.
    #[cfg(feature = "testing")]
    pub(super) fn work_inline(&self) {
        if let Some(queue) = &self.inline {
            queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).work_once();
        }
    }

    /// Tells it to end, without waiting: those of a controller end side by side.
    pub(super) fn tell(&self) {
        self.order.store(order::RESET, Ordering::Release);
        let _ = self.wake.write(1);
    }

    /// Ends it; commands under way are completed, as aborted where they have not begun.
    pub(super) fn delete(mut self) {
        self.order.store(order::DELETE, Ordering::Release);
        self.join();
    }

    fn join(&mut self) {
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on its own.
            let _ = thread.join();
        }
        #[cfg(feature = "testing")]
        if let Some(queue) = self.inline.take() {
            queue.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).run();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.tell();
            self.join();
        }
    }
}

/// Makes all completed writes durable, and waits for that. A failure may stop the machine, but is told to the host in any case.
pub(super) fn flush(shared: &Shared) -> Result<(), Status> {
    let failed = |error: io::Error| {
        // It is not repeated: the register or the feature has its answer at once.
        if shared.failures.keeps_requests() {
            shared.failures.holds(("flush", 0), &error);
        }
        crate::limited_error!(
            "{}; what was written while the guest's write cache was on may be lost",
            shared.failures.told(("flush", 0), &error)
        );
        Status::INTERNAL
    };
    let mut lane = shared.disk.lane(shared.dma.ram().clone()).map_err(failed)?;
    lane.submit(0, Operation::Flush, &[]);
    lane.kick();
    let mut completions = Vec::new();
    loop {
        lane.collect(&mut completions);
        if let Some(completion) = completions.pop() {
            return completion.result.map_err(failed);
        }
        if lane.prepare_to_wait() {
            wait(&[lane.event()]);
        }
    }
}
