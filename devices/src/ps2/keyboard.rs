//! A PS/2 keyboard's side of the wire: commands and their answers, and whether keys are reported.
//!
//! The keyboard repeats no key by itself: whoever holds one down repeats it, as VNC clients do ([`crate::input::Input::key`]).
//! Rate and delay of repetition are therefore acknowledged and have no effect.

#[cfg(test)]
mod tests;

use super::codes::Manner;
use super::keys::{Form, Keys};
use super::outbox::Outbox;
use super::{ACK, RESEND, SELF_TEST_PASSED};
use crate::input::Key;

/// What the keyboard identifies itself as: the MF2 keyboard.
const ID: [u8; 2] = [0xab, 0x83];
const ECHO: u8 = 0xee;

/// The keyboard.
#[derive(Debug)]
pub(super) struct Keyboard {
    /// Keys are reported.
    scanning: bool,
    /// Scroll, Num and Caps Lock in bits 0–2.
    leds: u8,
    form: Form,
    /// A command that waits for its parameter.
    pending: Option<u8>,
    keys: Keys,
    outbox: Outbox,
}

impl Keyboard {
    pub(super) fn new() -> Self {
        Self {
            scanning: true,
            leds: 0,
            form: Form::POWER_ON,
            pending: None,
            keys: Keys::default(),
            outbox: Outbox::default(),
        }
    }

    /// As after power-on: when its self test is done, the keyboard says so unasked (IBM PS/2 reference, "Keyboards", power-on
    /// routine). Firmware that looks for a keyboard waits for that.
    pub(super) fn powered_on() -> Self {
        let mut keyboard = Self::new();
        keyboard.outbox.answer(&[SELF_TEST_PASSED]);
        keyboard
    }

    /// Presses or releases a key. False when the guest wants no keys or too many presses wait.
    pub(super) fn key(&mut self, key: Key, pressed: bool) -> bool {
        if pressed {
            return self.scanning && self.keys.press(key);
        }
        self.keys.release(key);
        true
    }

    /// Whether a press is taken now.
    pub(super) fn has_room(&self) -> bool {
        self.scanning && self.keys.has_room()
    }

    /// The LEDs: Scroll, Num and Caps Lock in bits 0–2.
    pub(super) fn leds(&self) -> u8 {
        self.leds
    }

    /// The next byte for the controller.
    pub(super) fn take(&mut self) -> Option<u8> {
        let Self { scanning, form, keys, outbox, .. } = self;
        outbox.take(|| if *scanning { keys.next(form) } else { vec![] })
    }

    /// Takes a byte from the controller.
    pub(super) fn receive(&mut self, byte: u8) {
        // Parameters are below 0xED, so a command in place of one cancels the command before it.
        if let Some(command) = self.pending.take()
            && byte < 0xed
        {
            return self.parameter(command, byte);
        }
        match byte {
            0xed | 0xf0 | 0xf3 | 0xfb..=0xfd => self.pending = Some(byte),
            ECHO => return self.outbox.answer(&[ECHO]),
            0xf2 => return self.outbox.answer(&[ACK, ID[0], ID[1]]),
            0xf4 => {
                self.scanning = true;
                self.forget_unread();
            }
            // Default disable, set default: the LEDs stay.
            0xf5 | 0xf6 => {
                self.scanning = byte == 0xf6;
                self.form = Form::POWER_ON;
                self.forget_unread();
            }
            0xf7..=0xfa => {
                self.form.all = Some(manner(byte));
                self.form.single.clear();
            }
            RESEND => return self.outbox.resend(),
            0xff => {
                // Keys that are pressed are forgotten.
                *self = Self::new();
                return self.outbox.answer(&[ACK, SELF_TEST_PASSED]);
            }
            _ => return self.outbox.answer(&[RESEND]),
        }
        self.outbox.answer(&[ACK]);
    }

    fn forget_unread(&mut self) {
        self.keys.clear();
        self.outbox.clear_answers();
    }

    fn parameter(&mut self, command: u8, value: u8) {
        match (command, value) {
            (0xed, _) => self.leds = value & 7,
            (0xf0, 0) => return self.outbox.answer(&[ACK, self.form.set]),
            (0xf0, 1..=3) => self.form.set = value,
            (0xf0, _) => return self.outbox.answer(&[RESEND]),
            (0xfb..=0xfd, code) => {
                self.form.single.insert(code, manner(command));
                // More keys may follow.
                self.pending = Some(command);
            }
            // 0xF3, rate and delay of repetition.
            _ => {}
        }
        self.outbox.answer(&[ACK]);
    }
}

/// What commands 0xF7–0xFA for all keys and 0xFB–0xFD for single ones make them do in set 3.
fn manner(command: u8) -> Manner {
    match command {
        0xf7 | 0xfb => Manner::TYPEMATIC,
        0xf8 | 0xfc => Manner::MAKE_BREAK,
        0xf9 | 0xfd => Manner::MAKE,
        _ => Manner::FULL,
    }
}
