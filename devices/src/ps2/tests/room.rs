//! Who was turned away learns when to come back.

use std::sync::Arc;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::guest::Guest;
use crate::input::{AbsoluteEvent, Buttons, Key, PointerEvent, Taken};

fn event() -> Arc<EventFd> {
    Arc::new(EventFd::new(EFD_NONBLOCK).unwrap())
}

fn is_signalled(event: &EventFd) -> bool {
    event.read().is_ok()
}

/// Types until a key is refused, and says which.
fn fill(guest: &Guest) -> Key {
    guest.drain();
    let mut keys = [Key::A, Key::PAUSE, Key::SYSRQ].into_iter().cycle();
    loop {
        let key = keys.next().unwrap();
        if !guest.user().key(key, true) {
            return key;
        }
        guest.user().key(key, false);
    }
}

/// The guest reads until `event` is signalled.
fn read_until(guest: &Guest, event: &EventFd) {
    while !is_signalled(event) {
        guest.read().expect("the guest has read everything, and nobody was told");
    }
}

#[test]
fn a_key_that_was_refused_is_taken_when_the_event_says_so() {
    for translated in [false, true] {
        let guest = Guest::new(translated);
        for _ in 0..3 {
            let key = fill(&guest);
            let event = event();
            guest.user().signal_room(&event);
            assert!(!is_signalled(&event));
            read_until(&guest, &event);
            assert!(guest.user().key(key, true));
            guest.user().key(key, false);
            guest.drain();
            assert!(!is_signalled(&event), "once");
        }
    }
}

#[test]
fn a_keyboard_that_is_enabled_has_room() {
    let guest = Guest::new(true);
    guest.keyboard(0xf5);
    guest.drain();
    assert!(!guest.user().key(Key::A, true));
    let event = event();
    guest.user().signal_room(&event);
    guest.keyboard(0xee);
    guest.drain();
    assert!(!is_signalled(&event));
    guest.keyboard(0xf4);
    assert!(is_signalled(&event));
}

/// Presses until one is refused.
fn click(guest: &Guest) {
    let left = Buttons { left: true, ..Buttons::default() };
    while guest.user().pointer(PointerEvent { buttons: left, ..PointerEvent::default() }) == Taken::Yes {
        assert_eq!(guest.user().pointer(PointerEvent::default()), Taken::Yes);
    }
}

#[test]
fn a_mouse_has_room_when_it_was_read_or_turned_off() {
    let guest = Guest::new(true);
    guest.mouse(0xf4);
    guest.drain();
    click(&guest);
    let event = event();
    guest.user().signal_room(&event);
    assert!(!is_signalled(&event));
    read_until(&guest, &event);
    click(&guest);
    guest.user().signal_room(&event);
    guest.mouse(0xf5);
    assert!(is_signalled(&event), "reports are unwanted, which is an answer too");
}

#[test]
fn a_reset_makes_room_and_without_a_refusal_there_is_some() {
    let guest = Guest::new(true);
    let (first, second) = (event(), event());
    guest.user().signal_room(&first);
    assert!(is_signalled(&first));
    fill(&guest);
    guest.user().signal_room(&first);
    guest.user().signal_room(&second);
    guest.user().signal_room(&second);
    guest.reset();
    assert_eq!((first.read().unwrap(), second.read().unwrap()), (1, 1), "all, and each once");
}

#[test]
fn those_who_have_gone_are_forgotten() {
    let guest = Guest::new(true);
    fill(&guest);
    let stays = event();
    guest.user().signal_room(&stays);
    let gone: Vec<_> = (0..100)
        .map(|_| {
            let event = event();
            guest.user().signal_room(&event);
            Arc::downgrade(&event)
        })
        .collect();
    // Nothing holds their descriptors.
    assert!(gone.iter().all(|event| event.upgrade().is_none()));
    read_until(&guest, &stays);
}

#[test]
fn there_is_no_absolute_pointer() {
    let guest = Guest::new(true);
    guest.mouse(0xf4);
    assert_eq!(guest.user().absolute(AbsoluteEvent::default()), Taken::Unwanted);
}
