//! What waits for a guest that does not take its events, and a guest for other tests that can be full.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use devices::input::{Buttons, Leds};

use super::*;

/// A guest that takes nothing while it is `full`.
#[derive(Default)]
pub(crate) struct Guest(Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) full: bool,
    pub(crate) leds: Leds,
    /// All that was taken, in order.
    pub(crate) keys: Vec<(Key, bool)>,
    pub(crate) pointer: Vec<PointerEvent>,
    pub(crate) down: BTreeSet<Key>,
    listeners: Vec<Arc<EventFd>>,
}

impl Guest {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn read(&self) {
        let mut state = self.lock();
        state.full = false;
        state.listeners.drain(..).for_each(|listener| listener.write(1).unwrap());
    }
}

impl Input for Guest {
    fn key(&self, key: Key, pressed: bool) -> bool {
        let mut state = self.lock();
        if pressed && state.full {
            return false;
        }
        state.keys.push((key, pressed));
        if pressed {
            state.down.insert(key)
        } else {
            state.down.remove(&key)
        };
        true
    }

    fn pointer(&self, event: PointerEvent) -> Taken {
        let mut state = self.lock();
        if state.full && event.buttons != Buttons::default() {
            return Taken::Full;
        }
        state.pointer.push(event);
        Taken::Yes
    }

    fn signal_room(&self, event: &Arc<EventFd>) {
        self.lock().listeners.push(Arc::clone(event));
    }

    fn leds(&self) -> Leds {
        self.lock().leds
    }
}

fn guest() -> (Arc<Guest>, GuestInput, Instant) {
    let guest = Arc::<Guest>::default();
    let way = GuestInput::new(Arc::clone(&guest) as _);
    (guest, way, Instant::now())
}

#[test]
fn what_is_refused_comes_in_order_when_there_is_room() {
    let (guest, mut way, now) = guest();
    guest.lock().full = true;
    way.key(Key::A, true, now);
    way.key(Key::A, false, now);
    way.pointer(PointerEvent { dx: 1, ..PointerEvent::default() }, now);
    way.pointer(PointerEvent { dx: 2, dy: 5, ..PointerEvent::default() }, now);
    assert!(guest.lock().keys.is_empty(), "the release waits for its press");
    let room = way.room().unwrap();
    assert!(room.read().is_err());
    guest.read();
    way.advance(now);
    assert_eq!(guest.lock().keys, [(Key::A, true), (Key::A, false)]);
    assert_eq!(guest.lock().pointer, [PointerEvent { dx: 3, dy: 5, ..PointerEvent::default() }]);
    assert_eq!((way.due(), way.room().is_some()), (None, false));
}

#[test]
fn a_guest_that_reads_nothing_is_not_waited_for_for_ever() {
    let (guest, mut way, now) = guest();
    guest.lock().full = true;
    way.key(Key::A, true, now);
    way.key(Key::B, true, now);
    let due = way.due().unwrap();
    assert_eq!(due, now + PATIENCE);
    way.advance(due);
    assert_eq!(way.due(), None, "what comes after it is dropped as well");
    way.key(Key::C, true, due);
    assert_eq!(way.due(), None);
    guest.read();
    for key in [Key::A, Key::B, Key::C] {
        way.key(key, false, due);
    }
    way.key(Key::D, true, due);
    assert_eq!(guest.lock().down, BTreeSet::from([Key::D]));
}

#[test]
fn presses_are_bounded_and_nothing_stays_down() {
    let (guest, mut way, now) = guest();
    guest.lock().full = true;
    for _ in 0..10 * MOST {
        way.key(Key::A, true, now);
        way.key(Key::A, false, now);
    }
    let presses = way.waiting.iter().filter(|event| matches!(event, Event::Key(_, true))).count();
    assert!(presses <= MOST);
    way.pointer(
        PointerEvent { buttons: Buttons { left: true, ..Buttons::default() }, ..PointerEvent::default() },
        now,
    );
    way.let_go([Key::B], false);
    assert!(guest.lock().down.is_empty());
    assert_eq!(guest.lock().pointer, [PointerEvent::default()]);
    assert_eq!(way.due(), None);
}
