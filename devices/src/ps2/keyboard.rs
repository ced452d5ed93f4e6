//! A PS/2 keyboard's side of the wire: commands and their answers, and whether keys are reported.

use super::{ACK, Outbox, RESEND, SELF_TEST_PASSED};

/// What the keyboard identifies itself as: the MF2 keyboard.
const ID: [u8; 2] = [0xab, 0x83];
const ECHO: u8 = 0xee;

/// The guest's settings, as the keyboard has them after power-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    /// Keys are reported.
    scanning: bool,
    /// Scan code set, 1–3.
    set: u8,
    /// Scroll, Num and Caps Lock in bits 0–2.
    leds: u8,
    /// Typematic rate and delay as command 0xF3 encodes them.
    typematic: u8,
}

impl Settings {
    const POWER_ON: Self = Self { scanning: true, set: 2, leds: 0, typematic: 0x2b };
}

/// The keyboard.
#[derive(Debug)]
pub(super) struct Keyboard {
    settings: Settings,
    /// A command that waits for its parameter.
    pending: Option<u8>,
    pub(super) outbox: Outbox,
}

impl Keyboard {
    pub(super) fn new() -> Self {
        Self { settings: Settings::POWER_ON, pending: None, outbox: Outbox::default() }
    }

    pub(super) fn reset(&mut self) {
        let Self { settings, pending, outbox } = self;
        (*settings, *pending, *outbox) = (Settings::POWER_ON, None, Outbox::default());
    }

    /// Queues the codes of a key, if the guest wants keys and there is room for all of them.
    pub(super) fn push(&mut self, codes: &[u8]) -> bool {
        self.settings.scanning && self.outbox.input(codes)
    }

    /// The lamps: Scroll, Num and Caps Lock in bits 0–2.
    pub(super) fn leds(&self) -> u8 {
        self.settings.leds
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
            0xed | 0xf0 | 0xf3 | 0xfb..=0xfd => {
                self.pending = Some(byte);
                self.outbox.answer(&[ACK]);
            }
            ECHO => self.outbox.answer(&[ECHO]),
            0xf2 => self.outbox.answer(&[ACK, ID[0], ID[1]]),
            0xf4 => {
                self.settings.scanning = true;
                self.outbox.clear();
                self.outbox.answer(&[ACK]);
            }
            // Default disable, set default: the lamps stay.
            0xf5 | 0xf6 => {
                self.settings =
                    Settings { scanning: byte == 0xf6, leds: self.settings.leds, ..Settings::POWER_ON };
                self.outbox.clear();
                self.outbox.answer(&[ACK]);
            }
            // Which keys repeat and report their release, of scan code set 3 only.
            0xf7..=0xfa => self.outbox.answer(&[ACK]),
            RESEND => self.outbox.resend(),
            0xff => {
                self.reset();
                self.outbox.answer(&[ACK, SELF_TEST_PASSED]);
            }
            _ => self.outbox.answer(&[RESEND]),
        }
    }

    fn parameter(&mut self, command: u8, value: u8) {
        match (command, value) {
            (0xed, _) => self.settings.leds = value & 7,
            (0xf0, 0) => {
                let set = self.settings.set;
                return self.outbox.answer(&[ACK, set]);
            }
            (0xf0, 1..=3) => self.settings.set = value,
            (0xf0, _) => return self.outbox.answer(&[RESEND]),
            (0xf3, _) => self.settings.typematic = value & 0x7f,
            // One key's type in scan code set 3; more keys may follow.
            (command, _) => self.pending = Some(command),
        }
        self.outbox.answer(&[ACK]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            keyboard.receive(*byte);
        }
        std::iter::from_fn(|| keyboard.outbox.take()).collect()
    }

    #[test]
    fn commands_and_answers() {
        let cases: [(&[u8], &[u8]); 14] = [
            (&[0xff], &[0xfa, 0xaa]),
            (&[0xf2], &[0xfa, 0xab, 0x83]),
            (&[0xee], &[0xee]),
            (&[0xed, 0x07], &[0xfa, 0xfa]),
            (&[0xf3, 0x00], &[0xfa, 0xfa]),
            (&[0xf0, 0x00], &[0xfa, 0xfa, 0x02]),
            (&[0xf0, 0x03, 0xf0, 0x00], &[0xfa, 0xfa, 0xfa, 0xfa, 0x03]),
            (&[0xf0, 0x04], &[0xfa, 0xfe]),
            (&[0xf4], &[0xfa]),
            (&[0xf5], &[0xfa]),
            (&[0xf6], &[0xfa]),
            (&[0xfb, 0x1c, 0x1d], &[0xfa, 0xfa, 0xfa]),
            (&[0xed, 0xf4], &[0xfa]),
            (&[0x00], &[0xfe]),
        ];
        for (sent, expected) in cases {
            // 0xF4 in place of a parameter empties the outbox first, so the earlier ACK is gone.
            assert_eq!(ask(&mut Keyboard::new(), sent), expected, "{sent:02x?}");
        }
    }

    #[test]
    fn keys_are_reported_while_enabled() {
        let mut keyboard = Keyboard::new();
        assert!(keyboard.push(&[0x1c]));
        assert_eq!(ask(&mut keyboard, &[]), [0x1c]);
        assert_eq!(ask(&mut keyboard, &[0xf5]), [0xfa]);
        assert!(!keyboard.push(&[0x1c]));
        assert_eq!(ask(&mut keyboard, &[0xf4]), [0xfa]);
        assert!(keyboard.push(&[0xf0, 0x1c]));
        assert_eq!(ask(&mut keyboard, &[]), [0xf0, 0x1c]);
    }

    #[test]
    fn resend_repeats_the_last_byte() {
        let mut keyboard = Keyboard::new();
        assert_eq!(ask(&mut keyboard, &[0xf2]), [0xfa, 0xab, 0x83]);
        assert_eq!(ask(&mut keyboard, &[0xfe]), [0x83]);
    }

    #[test]
    fn full_queue_refuses_whole_sequences() {
        let mut keyboard = Keyboard::new();
        let accepted = (0..100).filter(|_| keyboard.push(&[0xe0, 0xf0, 0x75])).count();
        assert_eq!(accepted, Outbox::INPUT / 3);
        for _ in 0..1000 {
            keyboard.receive(0xee);
        }
        assert!(keyboard.outbox.bytes.len() <= Outbox::TOTAL);
    }
}
