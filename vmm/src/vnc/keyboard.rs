//! A client's key events as presses of the guest's keyboard.
//!
//! Keys by place are passed on. A symbol needs a key of the guest's layout and certain states of Shift and AltGr, which the
//! client, whose keyboard has another layout, need not hold. So there are two sets of modifiers: those that the client
//! holds, and those that the guest has seen. Before a key is pressed, the second is made what the key needs; it becomes the first
//! again when something is pressed that needs nothing else.

use std::collections::BTreeSet;

use devices::input::{Key, Layout, Level, Press};
use xkeysym::key;

const MODIFIERS: [Key; 8] = [
    Key::LEFT_SHIFT,
    Key::RIGHT_SHIFT,
    Key::LEFT_CTRL,
    Key::RIGHT_CTRL,
    Key::LEFT_ALT,
    Key::RIGHT_ALT,
    Key::LEFT_META,
    Key::RIGHT_META,
];
const SHIFTS: [Key; 2] = [Key::LEFT_SHIFT, Key::RIGHT_SHIFT];

/// What the right Alt key is to the client that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RightAlt {
    /// Alt, or whatever the guest takes it for.
    Alt,
    /// AltGr, as X11 viewers and TigerVNC for Windows have it. The guest sees it only when a key needs it: to one with a US
    /// layout it is Alt, and Windows opens a menu when Alt is pressed and released. `unused` until another key was pressed.
    AltGr { unused: bool },
    /// AltGr, as Windows has it: left Ctrl, then right Alt.
    WithCtrl,
}

/// A key that is down for a symbol.
#[derive(Debug, Clone, Copy)]
struct Typed {
    symbol: u32,
    key: Key,
    /// The client held Shift or AltGr. If it releases them first, it names another symbol when it releases the key.
    modified: bool,
    /// The guest sees a modifier that the client does not hold.
    extra: bool,
}

/// The keyboard of one client.
#[derive(Debug)]
pub(super) struct Keyboard {
    layout: Layout,
    /// Modifiers that the client holds.
    held: BTreeSet<Key>,
    right_alt: RightAlt,
    /// Keys that the guest has seen pressed.
    down: BTreeSet<Key>,
    typed: Vec<Typed>,
}

impl Keyboard {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            held: BTreeSet::new(),
            right_alt: RightAlt::Alt,
            down: BTreeSet::new(),
            typed: Vec::new(),
        }
    }

    /// What is down.
    pub(super) fn down(&self) -> impl Iterator<Item = Key> + '_ {
        self.down.iter().copied()
    }

    /// A key by its place.
    pub(super) fn place(&mut self, key: Key, pressed: bool, out: &mut Vec<(Key, bool)>) {
        if MODIFIERS.contains(&key) {
            self.modifier(key, RightAlt::Alt, pressed, out);
            return;
        }
        if pressed {
            self.settle(out);
        }
        self.put(key, pressed, out);
    }

    /// A key by what it means on the client's keyboard. Returns it if there is one. `caps` says that the guest's Caps Lock is on, which
    /// matters when it is pressed.
    pub(super) fn symbol(
        &mut self,
        symbol: u32,
        pressed: bool,
        caps: bool,
        out: &mut Vec<(Key, bool)>,
    ) -> Option<Key> {
        let shift = SHIFTS.iter().any(|key| self.held.contains(key));
        let press = self.layout.press(symbol, Level { shift, altgr: self.holds_altgr() });
        if !pressed {
            return self.release(symbol, press, out);
        }
        let press = press?;
        let key = press.key;
        match press.level {
            None if MODIFIERS.contains(&key) => self.modifier(key, self.meaning(symbol), true, out),
            None => self.place(key, true, out),
            Some(level) => self.type_symbol(symbol, press, level, caps, out),
        }
        Some(key)
    }

    /// Makes the guest see the modifiers that the client holds.
    pub(super) fn settle(&mut self, out: &mut Vec<(Key, bool)>) {
        let wanted = self.held.clone();
        self.hold(&wanted, out);
    }

    /// What a keysym of the right Alt key says of it.
    fn meaning(&self, symbol: u32) -> RightAlt {
        match symbol {
            key::ISO_Level3_Shift | key::Mode_switch => RightAlt::AltGr { unused: true },
            _ if self.held.contains(&Key::LEFT_CTRL) => RightAlt::WithCtrl,
            _ => RightAlt::Alt,
        }
    }

    fn holds_altgr(&self) -> bool {
        let alone = self.right_alt == RightAlt::Alt && !self.layout.has_altgr();
        self.held.contains(&Key::RIGHT_ALT) && !alone
    }

    fn modifier(&mut self, key: Key, right_alt: RightAlt, pressed: bool, out: &mut Vec<(Key, bool)>) {
        if pressed {
            let new = self.held.insert(key);
            if key == Key::RIGHT_ALT && new {
                self.right_alt = right_alt;
            }
            let waits = key == Key::RIGHT_ALT && matches!(self.right_alt, RightAlt::AltGr { .. });
            if !waits {
                self.put(key, true, out);
            }
            return;
        }
        let was_held = self.held.remove(&key);
        if key == Key::RIGHT_ALT
            && std::mem::replace(&mut self.right_alt, RightAlt::Alt) == (RightAlt::AltGr { unused: true })
        {
            self.put(key, true, out);
        }
        // The guest may have seen its release already.
        if !was_held || self.down.contains(&key) {
            self.put(key, false, out);
        }
    }

    fn type_symbol(
        &mut self,
        symbol: u32,
        press: Press,
        level: Level,
        caps: bool,
        out: &mut Vec<(Key, bool)>,
    ) {
        let shift = level.shift != (press.letter && caps && !level.altgr);
        let wanted = self.wanted(symbol, Level { shift, ..level });
        let modified = self.holds_altgr() || SHIFTS.iter().any(|key| self.held.contains(key));
        let extra = wanted.iter().any(|key| !self.held.contains(key));
        self.hold(&wanted, out);
        self.put(press.key, true, out);
        let mut key = press.key;
        if press.then_space {
            self.put(key, false, out);
            let wanted = self.wanted(u32::from(b' '), Level::default());
            self.hold(&wanted, out);
            key = Key::SPACE;
            self.put(key, true, out);
        }
        self.typed.retain(|typed| typed.key != key);
        self.typed.push(Typed { symbol, key, modified, extra });
    }

    /// The modifiers with which a key makes a symbol: those that the client holds, but for Shift and AltGr.
    fn wanted(&self, symbol: u32, level: Level) -> BTreeSet<Key> {
        let mut wanted = self.held.clone();
        let with_ctrl = self.right_alt == RightAlt::WithCtrl;
        if level.altgr {
            // On Windows, Ctrl with the left Alt key is AltGr, too.
            if !wanted.contains(&Key::RIGHT_ALT) && wanted.remove(&Key::LEFT_ALT) || with_ctrl {
                wanted.remove(&Key::LEFT_CTRL);
            }
            wanted.insert(Key::RIGHT_ALT);
        } else if self.holds_altgr() {
            // With Ctrl and Alt, a letter or a digit is a shortcut; the client's AltGr makes others.
            let shortcut = char::from_u32(symbol).is_some_and(|symbol| symbol.is_ascii_alphanumeric());
            if !with_ctrl {
                wanted.remove(&Key::RIGHT_ALT);
            } else if !shortcut {
                wanted.remove(&Key::RIGHT_ALT);
                wanted.remove(&Key::LEFT_CTRL);
            }
        }
        if !level.shift {
            wanted.retain(|key| !SHIFTS.contains(key));
        } else if !SHIFTS.iter().any(|key| wanted.contains(key)) {
            wanted.insert(Key::LEFT_SHIFT);
        }
        wanted
    }

    fn release(&mut self, symbol: u32, press: Option<Press>, out: &mut Vec<(Key, bool)>) -> Option<Key> {
        let key = press.map(|press| press.key);
        if let Some(key) = key.filter(|key| MODIFIERS.contains(key)) {
            self.modifier(key, RightAlt::Alt, false, out);
            return Some(key);
        }
        let position = |found: &dyn Fn(&Typed) -> bool| self.typed.iter().position(found);
        let at = position(&|typed| typed.symbol == symbol)
            .or_else(|| position(&|typed| Some(typed.key) == key))
            // It is the release of a key that made something else when it was pressed.
            .or_else(|| {
                if key.is_some_and(|key| self.down.contains(&key)) {
                    None
                } else {
                    position(&|typed| typed.modified)
                }
            });
        let Some(at) = at else {
            let key = key?;
            self.put(key, false, out);
            return Some(key);
        };
        let Typed { key, .. } = self.typed.remove(at);
        self.put(key, false, out);
        if !self.typed.iter().any(|typed| typed.extra) {
            for extra in MODIFIERS {
                if self.down.contains(&extra) && !self.held.contains(&extra) {
                    self.put(extra, false, out);
                }
            }
        }
        Some(key)
    }

    /// Makes the guest see these modifiers held and no others.
    fn hold(&mut self, wanted: &BTreeSet<Key>, out: &mut Vec<(Key, bool)>) {
        if let RightAlt::AltGr { unused } = &mut self.right_alt {
            *unused = false;
        }
        for key in MODIFIERS {
            if self.down.contains(&key) && !wanted.contains(&key) {
                self.put(key, false, out);
            }
        }
        for key in MODIFIERS {
            if wanted.contains(&key) && !self.down.contains(&key) {
                self.put(key, true, out);
            }
        }
    }

    fn put(&mut self, key: Key, pressed: bool, out: &mut Vec<(Key, bool)>) {
        if pressed {
            self.down.insert(key);
        } else {
            self.down.remove(&key);
        }
        out.push((key, pressed));
    }
}
