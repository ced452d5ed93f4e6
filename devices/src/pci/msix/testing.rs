//! Vectors as KVM has them: an event that interrupts while it is routed and counts while it is not.

use std::io;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::interrupt::{MsiAllocator, MsiMessage, MsiVector};

#[derive(Default)]
struct State {
    route: Option<MsiMessage>,
    changes: Vec<Option<MsiMessage>>,
    delivered: Vec<MsiMessage>,
    refusal: Option<i32>,
}

impl State {
    /// Takes what has been signalled since the route last changed.
    fn collect(&mut self, event: &EventFd) {
        if let Some(message) = self.route
            && event.read().is_ok()
        {
            self.delivered.push(message);
        }
    }
}

/// A vector that writes down its routes and what it delivers.
pub(crate) struct FakeVector {
    event: EventFd,
    state: Mutex<State>,
}

impl FakeVector {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { event: EventFd::new(EFD_NONBLOCK).unwrap(), state: Mutex::default() })
    }

    /// The present route.
    pub(crate) fn routed(&self) -> Option<MsiMessage> {
        self.state.lock().unwrap().route
    }

    /// The routes asked for since the last call.
    pub(crate) fn changes(&self) -> Vec<Option<MsiMessage>> {
        std::mem::take(&mut self.state.lock().unwrap().changes)
    }

    /// The interrupts since the last call. Signals that nothing separates make one interrupt.
    pub(crate) fn delivered(&self) -> Vec<MsiMessage> {
        let mut state = self.state.lock().unwrap();
        state.collect(&self.event);
        std::mem::take(&mut state.delivered)
    }

    /// Refuses all messages with error `errno` from now on.
    pub(crate) fn refuse(&self, errno: Option<i32>) {
        self.state.lock().unwrap().refusal = errno;
    }
}

impl MsiVector for FakeVector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if let (Some(_), Some(errno)) = (message, state.refusal) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.collect(&self.event);
        state.changes.push(message);
        state.route = message;
        state.collect(&self.event);
        Ok(())
    }

    fn event(&self) -> &EventFd {
        &self.event
    }
}

/// Hands out fake vectors and keeps hold of them.
#[derive(Default)]
pub(crate) struct FakeAllocator {
    vectors: Mutex<Vec<Arc<FakeVector>>>,
    most: Option<usize>,
}

impl FakeAllocator {
    /// An allocator that has only `most` vectors.
    pub(crate) fn with(most: usize) -> Self {
        Self { most: Some(most), ..Self::default() }
    }

    /// All vectors so far, in the order of their allocation.
    pub(crate) fn vectors(&self) -> Vec<Arc<FakeVector>> {
        self.vectors.lock().unwrap().clone()
    }

    /// The messages routed now, in ascending order of their data.
    pub(crate) fn routed(&self) -> Vec<MsiMessage> {
        let mut routed: Vec<_> = self.vectors().iter().filter_map(|vector| vector.routed()).collect();
        routed.sort_by_key(|message| message.data);
        routed
    }

    /// The interrupts of all vectors since the last call, in ascending order of their data.
    pub(crate) fn delivered(&self) -> Vec<MsiMessage> {
        let mut delivered: Vec<_> = self.vectors().iter().flat_map(|vector| vector.delivered()).collect();
        delivered.sort_by_key(|message| message.data);
        delivered
    }
}

impl MsiAllocator for FakeAllocator {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        let mut vectors = self.vectors.lock().unwrap();
        if self.most.is_some_and(|most| vectors.len() >= most) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let vector = FakeVector::new();
        vectors.push(Arc::clone(&vector));
        Ok(vector)
    }
}
