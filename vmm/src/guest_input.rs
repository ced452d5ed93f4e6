//! Keys and the pointer on their way to a guest that may be slow to read them: what the guest's devices refuse waits in order,
//! and is dropped when the guest reads nothing for a second. Releases of keys are never dropped.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::input::{AbsoluteEvent, Input, Key, PointerEvent, Taken};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Events that wait for a guest. Beyond that, whoever brings them waits, or presses of keys are dropped.
const MOST: usize = 256;
/// How long the guest's device is left alone when it took nothing and cannot say when it will.
const AGAIN: Duration = Duration::from_millis(10);
/// An event that the guest has not taken for so long is dropped, and so is what comes after it until the guest takes one.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Key(Key, bool),
    Pointer(PointerEvent),
    Absolute(AbsoluteEvent),
}

/// The way to the guest's keyboard and pointer.
pub(crate) struct GuestInput {
    input: Arc<dyn Input>,
    waiting: VecDeque<Event>,
    /// Signalled when the device takes what it has refused; `None` if the process has no descriptor left for it.
    room: Option<Arc<EventFd>>,
    /// Since when the first one waits, and when it is tried again.
    stuck: Option<(Instant, Instant)>,
    /// The guest has left an event waiting for too long, and taken none since.
    stalled: bool,
}

impl GuestInput {
    pub(crate) fn new(input: Arc<dyn Input>) -> Self {
        let room = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).ok().map(Arc::new);
        Self { input, waiting: VecDeque::new(), room, stuck: None, stalled: false }
    }

    /// The guest's devices.
    pub(crate) fn devices(&self) -> &dyn Input {
        &*self.input
    }

    /// Whether as much waits as may.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    /// Signalled when [`Self::advance`] is due sooner than it says, while something waits.
    pub(crate) fn room(&self) -> Option<Arc<EventFd>> {
        self.room.clone().filter(|_| self.stuck.is_some())
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.stuck.map(|(_, again)| again)
    }

    /// Presses, repeats or releases a key.
    pub(crate) fn key(&mut self, key: Key, pressed: bool, now: Instant) {
        if !pressed || !self.is_full() {
            self.put(Event::Key(key, pressed), now);
        }
    }

    /// Keys that belong together, of one who waits while this [is full](Self::is_full): none of them is dropped.
    pub(crate) fn keys(&mut self, keys: Vec<(Key, bool)>, now: Instant) {
        keys.into_iter().for_each(|(key, pressed)| self.put(Event::Key(key, pressed), now));
    }

    /// Moves the pointer and sets its buttons.
    pub(crate) fn pointer(&mut self, event: PointerEvent, now: Instant) {
        self.put(Event::Pointer(event), now);
    }

    /// Puts the pointer at a place and sets its buttons.
    pub(crate) fn absolute(&mut self, event: AbsoluteEvent, now: Instant) {
        self.put(Event::Absolute(event), now);
    }

    /// Offers again what waits.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let Some(room) = self.room() {
            // Fails when it was not signalled.
            let _ = room.read();
        }
        while let Some(event) = self.waiting.front().copied() {
            let since = self.stuck.map_or(now, |(since, _)| since);
            let taken = match event {
                Event::Key(key, pressed) if self.input.key(key, pressed) => Taken::Yes,
                Event::Key(..) => Taken::Full,
                Event::Pointer(event) => self.input.pointer(event),
                Event::Absolute(event) => self.input.absolute(event),
            };
            match taken {
                // Releases are taken at all times.
                Taken::Yes => self.stalled &= matches!(event, Event::Key(_, false)),
                Taken::Unwanted => {}
                Taken::Full if !self.stalled && now.saturating_duration_since(since) < PATIENCE => {
                    let again = match &self.room {
                        Some(room) => {
                            self.input.signal_room(room);
                            since + PATIENCE
                        }
                        None => now + AGAIN,
                    };
                    self.stuck = Some((since, again));
                    return;
                }
                Taken::Full => self.stalled = true,
            }
            self.waiting.pop_front();
            self.stuck = None;
        }
    }

    /// Lets go of everything: the keys that are `down`, and the `buttons` if some may be. What waits is forgotten.
    pub(crate) fn let_go(&mut self, down: impl IntoIterator<Item = Key>, buttons: bool) {
        let waiting = std::mem::take(&mut self.waiting);
        self.stuck = None;
        // A key whose press still waits was never pressed; to release it does nothing. One whose release still waits is.
        let released = waiting.iter().filter_map(|event| match event {
            Event::Key(key, false) => Some(*key),
            _ => None,
        });
        for key in released.chain(down) {
            self.input.key(key, false);
        }
        if buttons || waiting.iter().any(|event| !matches!(event, Event::Key(..))) {
            let _ = self.input.pointer(PointerEvent::default());
        }
    }

    fn put(&mut self, event: Event, now: Instant) {
        // Motion that waits adds up.
        if let Event::Pointer(new) = event
            && let Some(Event::Pointer(last)) = self.waiting.back_mut()
            && last.buttons == new.buttons
        {
            last.dx = last.dx.saturating_add(new.dx);
            last.dy = last.dy.saturating_add(new.dy);
            last.wheel = last.wheel.saturating_add(new.wheel);
            return;
        }
        // Of places on the way only the last one matters; where buttons change is the first one with them.
        let before_last = self.waiting.len().checked_sub(2).and_then(|at| self.waiting.get(at)).copied();
        if let (Event::Absolute(new), Some(Event::Absolute(before))) = (event, before_last)
            && let Some(Event::Absolute(last)) = self.waiting.back_mut()
            && last.buttons == new.buttons
            && before.buttons == new.buttons
        {
            *last = AbsoluteEvent { wheel: last.wheel.saturating_add(new.wheel), ..new };
            return;
        }
        self.waiting.push_back(event);
        if self.waiting.len() == 1 {
            self.advance(now);
        }
    }
}
