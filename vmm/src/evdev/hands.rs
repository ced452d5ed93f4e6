//! What is down on all devices together. A key that two keyboards hold is released by the last of them, and the buttons of a
//! mouse and a touchpad are those of one pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use devices::input::{Buttons, Input, Key, Leds, PointerEvent};

use super::kinds::is_hosts;
use crate::guest_input::GuestInput;

/// Motion, the wheel, and the buttons that are down after it, of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moved {
    pub(super) dx: i32,
    pub(super) dy: i32,
    pub(super) wheel: i32,
    pub(super) buttons: Buttons,
}

/// The hands on the guest's keyboard and pointer.
pub(super) struct Hands {
    way: GuestInput,
    /// Who holds which keys, by the numbers of devices.
    keys: BTreeMap<Key, BTreeSet<u64>>,
    buttons: BTreeMap<u64, Buttons>,
}

impl Hands {
    pub(super) fn new(input: Arc<dyn Input>) -> Self {
        Self { way: GuestInput::new(input), keys: BTreeMap::new(), buttons: BTreeMap::new() }
    }

    pub(super) fn way(&mut self) -> &mut GuestInput {
        &mut self.way
    }

    /// The LEDs as the guest has set them.
    pub(super) fn leds(&self) -> Leds {
        self.way.devices().leds()
    }

    /// A device presses a key, or repeats it; PS/2 guests repeat no key by themselves.
    pub(super) fn press(&mut self, device: u64, key: Key, now: Instant) {
        if !is_hosts(key) {
            self.keys.entry(key).or_default().insert(device);
            self.way.key(key, true, now);
        }
    }

    /// A device releases a key.
    pub(super) fn release(&mut self, device: u64, key: Key, now: Instant) {
        let Some(holders) = self.keys.get_mut(&key) else { return };
        if holders.remove(&device) && holders.is_empty() {
            self.keys.remove(&key);
            self.way.key(key, false, now);
        }
    }

    /// A device moves the pointer.
    pub(super) fn pointer(&mut self, device: u64, moved: Moved, now: Instant) {
        let Moved { dx, dy, wheel, buttons } = moved;
        let before = self.together();
        if buttons == Buttons::default() {
            self.buttons.remove(&device);
        } else {
            self.buttons.insert(device, buttons);
        }
        let buttons = self.together();
        if (dx, dy, wheel, buttons) != (0, 0, 0, before) {
            self.way.pointer(PointerEvent { dx, dy, wheel, buttons }, now);
        }
    }

    /// Releases all that a device holds.
    pub(super) fn leave(&mut self, device: u64, now: Instant) {
        let held: Vec<_> =
            self.keys.iter().filter(|(_, holders)| holders.contains(&device)).map(|(key, _)| *key).collect();
        for key in held {
            self.release(device, key, now);
        }
        self.pointer(device, Moved::default(), now);
    }

    fn together(&self) -> Buttons {
        self.buttons.values().fold(Buttons::default(), |all, each| Buttons {
            left: all.left || each.left,
            middle: all.middle || each.middle,
            right: all.right || each.right,
            side: all.side || each.side,
            extra: all.extra || each.extra,
        })
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        let down = std::mem::take(&mut self.keys);
        self.way.let_go(down.into_keys(), !self.buttons.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_input::tests::Guest;

    fn left(left: bool) -> Moved {
        Moved { buttons: Buttons { left, ..Buttons::default() }, ..Moved::default() }
    }

    #[test]
    fn a_key_of_two_keyboards_is_down_until_both_let_go() {
        let (guest, now) = (Arc::<Guest>::default(), Instant::now());
        let mut hands = Hands::new(Arc::clone(&guest) as _);
        hands.press(1, Key::A, now);
        hands.press(2, Key::A, now);
        hands.release(1, Key::A, now);
        assert!(guest.lock().down.contains(&Key::A));
        hands.release(1, Key::A, now);
        assert!(guest.lock().down.contains(&Key::A), "who does not hold it cannot release it");
        hands.leave(2, now);
        assert_eq!(guest.lock().keys, [(Key::A, true), (Key::A, true), (Key::A, false)]);
    }

    #[test]
    fn buttons_of_two_mice_are_one_pointers() {
        let (guest, now) = (Arc::<Guest>::default(), Instant::now());
        let mut hands = Hands::new(Arc::clone(&guest) as _);
        hands.pointer(1, left(true), now);
        hands.pointer(2, Moved { dx: 3, ..Moved::default() }, now);
        hands.pointer(2, left(true), now);
        hands.pointer(1, left(false), now);
        hands.pointer(1, left(false), now);
        hands.leave(2, now);
        let seen: Vec<_> = guest.lock().pointer.iter().map(|event| (event.dx, event.buttons.left)).collect();
        assert_eq!(seen, [(0, true), (3, true), (0, false)]);
    }

    #[test]
    fn nothing_stays_down_at_the_end_and_power_keys_never_come() {
        let (guest, now) = (Arc::<Guest>::default(), Instant::now());
        let mut hands = Hands::new(Arc::clone(&guest) as _);
        for key in [Key::POWER, Key::SLEEP, Key::WAKEUP, Key::LEFT_SHIFT] {
            hands.press(1, key, now);
        }
        hands.pointer(2, left(true), now);
        assert_eq!(guest.lock().down.iter().copied().collect::<Vec<_>>(), [Key::LEFT_SHIFT]);
        drop(hands);
        assert!(guest.lock().down.is_empty());
        assert_eq!(guest.lock().pointer.last(), Some(&PointerEvent::default()));
    }
}
