//! A PS/2 mouse's side of the wire: commands and their answers, and whether movements are reported.

use super::{ACK, Outbox, RESEND, SELF_TEST_PASSED};

/// What the mouse identifies itself as: two or three buttons, no wheel.
const ID: u8 = 0x00;
const RESET_WRAP_MODE: u8 = 0xec;
const RESET: u8 = 0xff;

/// The guest's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    /// Movements are reported (stream mode).
    enabled: bool,
    /// Movements are reported only when asked for.
    remote: bool,
    /// Movements are scaled 2:1.
    scaling: bool,
    /// 0–3 for 1, 2, 4 and 8 counts per millimetre.
    resolution: u8,
    /// Reports per second.
    sample_rate: u8,
}

impl Settings {
    const POWER_ON: Self =
        Self { enabled: false, remote: false, scaling: false, resolution: 2, sample_rate: 100 };
}

/// The mouse.
#[derive(Debug)]
pub(super) struct Mouse {
    settings: Settings,
    /// Bytes are sent back as they come.
    wrap: bool,
    /// A command that waits for its parameter.
    pending: Option<u8>,
    pub(super) outbox: Outbox,
}

impl Mouse {
    pub(super) fn new() -> Self {
        Self { settings: Settings::POWER_ON, wrap: false, pending: None, outbox: Outbox::default() }
    }

    pub(super) fn reset(&mut self) {
        let Self { settings, wrap, pending, outbox } = self;
        (*settings, *wrap, *pending, *outbox) = (Settings::POWER_ON, false, None, Outbox::default());
    }

    /// Queues a movement, if the guest wants movements and there is room for all of it.
    pub(super) fn push(&mut self, packet: &[u8]) -> bool {
        self.settings.enabled && !self.settings.remote && !self.wrap && self.outbox.input(packet)
    }

    /// Takes a byte from the controller.
    pub(super) fn receive(&mut self, byte: u8) {
        if self.wrap && !matches!(byte, RESET | RESET_WRAP_MODE) {
            return self.outbox.answer(&[byte]);
        }
        if let Some(command) = self.pending.take() {
            match (command, byte) {
                (0xe8, 0..=3) => self.settings.resolution = byte,
                (0xf3, 10 | 20 | 40 | 60 | 80 | 100 | 200) => self.settings.sample_rate = byte,
                (_, RESET) => return self.receive(RESET),
                _ => return self.outbox.answer(&[RESEND]),
            }
            return self.outbox.answer(&[ACK]);
        }
        match byte {
            0xe6 | 0xe7 => self.settings.scaling = byte == 0xe7,
            0xe8 | 0xf3 => self.pending = Some(byte),
            0xe9 => return self.status(),
            0xea => self.settings.remote = false,
            // Read data: nothing has moved since the last time.
            0xeb => return self.outbox.answer(&[ACK, 0x08, 0, 0]),
            RESET_WRAP_MODE => self.wrap = false,
            0xee => self.wrap = true,
            0xf0 => self.settings.remote = true,
            0xf2 => return self.outbox.answer(&[ACK, ID]),
            0xf4 => self.settings.enabled = true,
            0xf5 => self.settings.enabled = false,
            0xf6 => self.settings = Settings::POWER_ON,
            RESEND => return self.outbox.resend(),
            RESET => {
                self.reset();
                return self.outbox.answer(&[ACK, SELF_TEST_PASSED, ID]);
            }
            _ => return self.outbox.answer(&[RESEND]),
        }
        self.outbox.answer(&[ACK]);
    }

    fn status(&mut self) {
        let Settings { enabled, remote, scaling, resolution, sample_rate } = self.settings;
        let modes = u8::from(remote) << 6 | u8::from(enabled) << 5 | u8::from(scaling) << 4;
        self.outbox.answer(&[ACK, modes, resolution, sample_rate]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            mouse.receive(*byte);
        }
        std::iter::from_fn(|| mouse.outbox.take()).collect()
    }

    #[test]
    fn commands_and_answers() {
        let cases: [(&[u8], &[u8]); 11] = [
            (&[0xff], &[0xfa, 0xaa, 0x00]),
            (&[0xf2], &[0xfa, 0x00]),
            (&[0xe9], &[0xfa, 0x00, 0x02, 100]),
            (
                &[0xf3, 200, 0xe8, 3, 0xe7, 0xf4, 0xe9],
                &[0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0x30, 3, 200],
            ),
            (&[0xf3, 33], &[0xfa, 0xfe]),
            (&[0xe8, 4], &[0xfa, 0xfe]),
            (&[0xee, 0x42, 0xf2, 0xec, 0xf2], &[0xfa, 0x42, 0xf2, 0xfa, 0xfa, 0x00]),
            (&[0xeb], &[0xfa, 0x08, 0x00, 0x00]),
            (&[0xf0, 0xe9], &[0xfa, 0xfa, 0x40, 2, 100]),
            (&[0xf3, 0xff], &[0xfa, 0xaa, 0x00]),
            (&[0x01], &[0xfe]),
        ];
        for (sent, expected) in cases {
            assert_eq!(ask(&mut Mouse::new(), sent), expected, "{sent:02x?}");
        }
    }

    #[test]
    fn movements_are_reported_while_enabled() {
        let mut mouse = Mouse::new();
        assert!(!mouse.push(&[0x08, 1, 1]), "disabled after power-on");
        assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa]);
        assert!(mouse.push(&[0x08, 1, 1]));
        assert_eq!(ask(&mut mouse, &[]), [0x08, 1, 1]);
    }
}
