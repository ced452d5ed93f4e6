//! An endpoint of a device, with the one transfer that the guest may have there.

use std::cell::Cell;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use devices::usb::device::{Completion, Outcome, Transfer};

use super::Shared;
use super::host::{Ended, Failure, Pipe};

/// Bytes that are kept of transfers that ended while they were withdrawn.
const KEPT: usize = 1 << 20;

/// Where the guest's transfer is.
#[derive(Debug, Default)]
enum Flow {
    /// There is none.
    #[default]
    Idle,
    /// It waits for the worker to be done.
    Deferred(Transfer),
    /// The kernel has it.
    Active {
        /// Bytes that the guest has room for.
        room: usize,
    },
    /// Its end waits for the guest.
    Ended(Completion),
    /// The kernel has one that the guest has withdrawn; what the guest wants next.
    Withdrawing(Option<Transfer>),
}

pub(super) struct End {
    /// None while the worker has it.
    pipe: Option<Box<dyn Pipe>>,
    interface: u8,
    flow: Flow,
    waker: Waker,
    /// What the device has sent to a transfer that was being withdrawn: the next one gets it, since the device has been told that it arrived.
    kept: Vec<u8>,
    /// The guest has begun the endpoint anew since it withdrew the transfer that the kernel still has: what that brings is of before.
    stale: bool,
    gone: bool,
}

impl End {
    pub(super) fn new(pipe: Box<dyn Pipe>, waker: Waker) -> Self {
        let interface = pipe.interface();
        let flow = Flow::Idle;
        Self { pipe: Some(pipe), interface, flow, waker, kept: Vec::new(), stale: false, gone: false }
    }

    pub(super) fn interface(&self) -> u8 {
        self.interface
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.flow, Flow::Active { .. })
    }

    /// Lends the pipe to the worker.
    pub(super) fn lend(&mut self) -> Option<Box<dyn Pipe>> {
        self.pipe.take()
    }

    /// It comes back.
    pub(super) fn give_back(&mut self, pipe: Box<dyn Pipe>) {
        self.pipe = Some(pipe);
    }

    /// Begins the guest's transfer: its end, if that has come at once.
    pub(super) fn begin(&mut self, transfer: Transfer, busy: bool) -> Option<Completion> {
        if let Transfer::In { length } = transfer
            && !self.kept.is_empty()
        {
            let rest = self.kept.split_off(length.min(self.kept.len()));
            return Some(Completion::sent(mem::replace(&mut self.kept, rest)));
        }
        if matches!(self.flow, Flow::Withdrawing(_)) {
            self.flow = Flow::Withdrawing(Some(transfer));
            return None;
        }
        if busy || self.pipe.is_none() {
            self.flow = Flow::Deferred(transfer);
            return None;
        }
        self.start(transfer)
    }

    fn start(&mut self, transfer: Transfer) -> Option<Completion> {
        let room = match transfer {
            Transfer::In { length } => length,
            Transfer::Control { .. } | Transfer::Out { .. } => 0,
        };
        let pipe = self.pipe.as_mut()?;
        SUBMITTING.set(true);
        pipe.submit(transfer);
        SUBMITTING.set(false);
        self.flow = Flow::Active { room };
        self.stale = false;
        self.take()
    }

    /// The end of the transfer, if that has come.
    pub(super) fn take(&mut self) -> Option<Completion> {
        match mem::take(&mut self.flow) {
            Flow::Ended(completion) => Some(completion),
            Flow::Active { room } => match self.poll() {
                Some(ended) => Some(ended.completion(room)),
                None => {
                    self.flow = Flow::Active { room };
                    None
                }
            },
            other => {
                self.flow = other;
                None
            }
        }
    }

    fn poll(&mut self) -> Option<Ended> {
        let ended = self.pipe.as_mut()?.poll(&self.waker)?;
        match ended.result {
            Err(Failure::Gone) => self.gone = true,
            Err(Failure::Refused(error)) => refused(error),
            _ => {}
        }
        Some(ended)
    }

    /// Withdraws the transfer. True if that is for the worker.
    pub(super) fn cancel(&mut self) -> bool {
        match mem::take(&mut self.flow) {
            Flow::Idle | Flow::Deferred(_) => false,
            Flow::Ended(completion) => {
                self.keep(completion);
                false
            }
            Flow::Active { room } => match self.poll() {
                Some(ended) => {
                    self.keep(ended.completion(room));
                    false
                }
                None => {
                    self.flow = Flow::Withdrawing(None);
                    true
                }
            },
            Flow::Withdrawing(_) => {
                self.flow = Flow::Withdrawing(None);
                false
            }
        }
    }

    fn keep(&mut self, completion: Completion) {
        if completion.outcome == Outcome::Done && self.kept.len() + completion.data.len() <= KEPT {
            self.kept.extend(completion.data);
        }
    }

    /// The guest clears the halt, and so begins the endpoint anew, as drivers of disks do after a time-out: what withdrawn transfers have brought, or still
    /// bring, is no answer to what it asks then.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.stale = matches!(self.flow, Flow::Withdrawing(_));
    }

    /// Looks whether the kernel is done with a transfer that is being withdrawn; if so, what the guest wants next waits to be begun.
    pub(super) fn withdrawn(&mut self) -> bool {
        if !matches!(self.flow, Flow::Withdrawing(_)) {
            return false;
        }
        let Some(ended) = self.poll() else { return false };
        let Flow::Withdrawing(next) = mem::take(&mut self.flow) else { return false };
        // A transfer that is withdrawn after some packets still has what they brought.
        let moved = match ended.result {
            Ok(()) | Err(Failure::Withdrawn) => ended.data,
            Err(_) => Vec::new(),
        };
        if !mem::take(&mut self.stale) {
            self.keep(Completion { outcome: Outcome::Done, data: moved, taken: 0 });
        }
        if let Some(next) = next {
            self.flow = Flow::Deferred(next);
        }
        true
    }

    /// Begins what has waited for the worker. True if its end has come at once.
    pub(super) fn begin_deferred(&mut self) -> bool {
        if self.pipe.is_none() || !matches!(self.flow, Flow::Deferred(_)) {
            return false;
        }
        let Flow::Deferred(transfer) = mem::take(&mut self.flow) else { return false };
        let Some(completion) = self.begin(transfer, false) else { return false };
        self.flow = Flow::Ended(completion);
        true
    }
}

/// Why the kernel does not make a transfer, and what helps.
pub(super) fn refused(error: i32) {
    let why = std::io::Error::from_raw_os_error(error);
    if error == libc::ENOMEM {
        devices::limited_warn!(
            "the host's kernel has no memory for a transfer to a USB device ({why}): raise its limit, \
             `echo 256 > /sys/module/usbcore/parameters/usbfs_memory_mb`"
        );
    } else {
        devices::limited_warn!("the host's kernel refuses a transfer to a USB device: {why}");
    }
}

thread_local! {
    /// This thread gives a transfer to the kernel, with the lock held. If that fails, the waker is called from within; who gives it looks afterwards.
    static SUBMITTING: Cell<bool> = const { Cell::new(false) };
}

/// Called when the transfer of an endpoint may have ended.
struct News {
    shared: Weak<Shared>,
    endpoint: u8,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        if SUBMITTING.get() {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.woken(self.endpoint);
        }
    }
}

/// What tells of an endpoint.
pub(super) fn waker(shared: &Arc<Shared>, endpoint: u8) -> Waker {
    Arc::new(News { shared: Arc::downgrade(shared), endpoint }).into()
}
