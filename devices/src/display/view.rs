//! Lookers: who looks, what each has seen, and each one's copy.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use vmm_sys_util::eventfd::EventFd;

use super::refresh::Shared;
use super::{Change, Cursor, Frame, View};

/// A looker as the core knows it.
pub(super) struct Looker {
    id: u64,
    changed: EventFd,
    interested: bool,
    /// Generation of the last look.
    pub(super) seen: u64,
    /// The event has been signalled since.
    pub(super) signalled: bool,
}

/// All lookers.
#[derive(Default)]
pub(super) struct Lookers {
    all: Vec<Looker>,
    next: u64,
}

impl Lookers {
    pub(super) fn add(&mut self, changed: EventFd) -> u64 {
        let id = self.next;
        self.next += 1;
        self.all.push(Looker { id, changed, interested: true, seen: 0, signalled: false });
        id
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.all.retain(|looker| looker.id != id);
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Looker> {
        self.all.iter_mut().find(|looker| looker.id == id)
    }

    pub(super) fn any_interested(&self) -> bool {
        self.all.iter().any(|looker| looker.interested)
    }

    pub(super) fn set_interest(&mut self, id: u64, interested: bool) {
        if let Some(looker) = self.get(id) {
            looker.interested = interested;
        }
    }

    /// A look has brought a looker to `generation`.
    pub(super) fn seen(&mut self, id: u64, generation: u64) {
        if let Some(looker) = self.get(id) {
            looker.seen = generation;
            looker.signalled = false;
            // Empty already when nobody has signalled.
            let _ = looker.changed.read();
        }
    }

    /// Signals those who have not seen `generation` and do not know that there is something to see.
    pub(super) fn signal(&mut self, generation: u64) {
        for looker in &mut self.all {
            if looker.interested && !looker.signalled && looker.seen < generation {
                // An event fails only when its counter is full, which is a signal as well.
                let _ = looker.changed.write(1);
                looker.signalled = true;
            }
        }
    }
}

/// What a looker has of the screen.
#[derive(Default)]
pub(super) struct Copy {
    pub(super) frame: Frame,
    pub(super) cursor: Option<Cursor>,
}

/// One looker's end.
pub(super) struct Look {
    shared: Arc<Shared>,
    id: u64,
    changed: EventFd,
    copy: Copy,
}

impl Look {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let changed = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let theirs = changed.try_clone()?;
        let mut id = 0;
        shared.interest(|lookers| id = lookers.add(theirs));
        Ok(Self { shared, id, changed, copy: Copy::default() })
    }
}

impl View for Look {
    fn changed(&self) -> &EventFd {
        &self.changed
    }

    fn set_interest(&mut self, interested: bool) {
        self.shared.interest(|lookers| lookers.set_interest(self.id, interested));
    }

    fn hurry(&self) {
        self.shared.hurry();
    }

    fn look(&mut self) -> Change {
        self.shared.lock().look(self.id, &mut self.copy, Instant::now())
    }

    fn frame(&self) -> &Frame {
        &self.copy.frame
    }

    fn cursor(&self) -> Option<&Cursor> {
        self.copy.cursor.as_ref()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // The last one gone, the guest's memory is not watched any more.
        self.shared.interest(|lookers| lookers.remove(self.id));
    }
}
