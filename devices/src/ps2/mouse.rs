//! A PS/2 mouse's side of the wire: commands and their answers, and reports of motion and buttons. It can be the standard
//! mouse of the IBM PS/2 reference, the IntelliMouse with a wheel and the IntelliMouse Explorer with a fourth and fifth
//! button; drivers make it so by setting certain sample rates in a row ("Microsoft Mouse Wheel and 5-Button Support").
//!
//! A report is made when the guest has read the one before, so that it is the guest that limits their rate, not the sample
//! rate. Counts are what the user's pointer has moved, whatever resolution is set. Both settings are reported back.

#[cfg(test)]
mod tests;

use super::outbox::Outbox;
use super::{ACK, RESEND, SELF_TEST_PASSED};
use crate::input::motion::{Motion, Path};
use crate::input::{Buttons, PointerEvent, Taken};

const READ_DATA: u8 = 0xeb;
const RESET_WRAP_MODE: u8 = 0xec;
const RESET: u8 = 0xff;

/// Motion that a report can have along each axis: nine bits, less the value that Linux takes for none.
const COUNTS: i32 = 255;
/// The same where twice the motion is reported.
const COUNTS_SCALED: i32 = 127;
/// Steps of the wheel that a report can have.
const STEPS: i32 = 7;

/// What the mouse identifies itself as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Model {
    Standard = 0,
    Wheel = 3,
    Explorer = 4,
}

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
    model: Model,
    /// The sample rates that were set last, the latest at the end.
    rates: [u8; 3],
    /// Bytes are sent back as they come.
    wrap: bool,
    /// A command that waits for its parameter.
    pending: Option<u8>,
    path: Path,
    outbox: Outbox,
}

impl Mouse {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::POWER_ON,
            model: Model::Standard,
            rates: [0; 3],
            wrap: false,
            pending: None,
            path: Path::default(),
            outbox: Outbox::default(),
        }
    }

    /// Power-on state. Buttons that are pressed are forgotten.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Moves the mouse and sets its buttons. Buttons that are released are released even if the guest wants no reports.
    pub(super) fn pointer(&mut self, event: PointerEvent) -> Taken {
        let mut event = event;
        if self.model < Model::Wheel {
            event.wheel = 0;
        }
        if self.model < Model::Explorer {
            (event.buttons.side, event.buttons.extra) = (false, false);
        }
        if !self.reports() {
            return if self.path.release(event.buttons) { Taken::Yes } else { Taken::Unwanted };
        }
        if self.path.push(event) { Taken::Yes } else { Taken::Full }
    }

    /// Whether the guest wants reports, or asks for them.
    fn reports(&self) -> bool {
        !self.wrap && (self.settings.enabled || self.settings.remote)
    }

    /// Whether no event is refused now.
    pub(super) fn has_room(&self) -> bool {
        !self.reports() || self.path.has_room()
    }

    /// The next byte for the controller.
    pub(super) fn take(&mut self) -> Option<u8> {
        let Self { settings, model, wrap, path, outbox, .. } = self;
        outbox.take(|| {
            let reports = settings.enabled && !settings.remote && !*wrap;
            let limit = if settings.scaling { COUNTS_SCALED } else { COUNTS };
            let next = if reports { path.next(limit, STEPS) } else { None };
            next.map_or_else(Vec::new, |(mut motion, buttons)| {
                if settings.scaling {
                    (motion.dx, motion.dy) = (scaled(motion.dx), scaled(motion.dy));
                }
                report(*model, motion, buttons)
            })
        })
    }

    /// Takes a byte from the controller.
    pub(super) fn receive(&mut self, byte: u8) {
        if self.wrap && !matches!(byte, RESET | RESET_WRAP_MODE) {
            return self.outbox.answer(&[byte]);
        }
        if let Some(command) = self.pending.take() {
            return self.parameter(command, byte);
        }
        match byte {
            0xe6 | 0xe7 => self.settings.scaling = byte == 0xe7,
            0xe8 | 0xf3 => self.pending = Some(byte),
            0xe9 => return self.status(),
            0xea => self.settings.remote = false,
            READ_DATA => return self.read_data(),
            RESET_WRAP_MODE => self.wrap = false,
            0xee => self.wrap = true,
            0xf0 => self.settings.remote = true,
            0xf2 => return self.outbox.answer(&[ACK, self.model as u8]),
            0xf4 | 0xf5 => {
                self.settings.enabled = byte == 0xf4;
                self.path.clear();
            }
            0xf6 => {
                self.settings = Settings::POWER_ON;
                self.path.clear();
            }
            RESEND => return self.outbox.resend(),
            RESET => {
                self.reset();
                return self.outbox.answer(&[ACK, SELF_TEST_PASSED, self.model as u8]);
            }
            _ => return self.outbox.answer(&[RESEND]),
        }
        self.outbox.answer(&[ACK]);
    }

    fn parameter(&mut self, command: u8, value: u8) {
        match (command, value) {
            (0xe8, 0..=3) => self.settings.resolution = value,
            (0xf3, 10 | 20 | 40 | 60 | 80 | 100 | 200) => self.set_rate(value),
            (_, RESET) => return self.receive(RESET),
            _ => return self.outbox.answer(&[RESEND]),
        }
        self.outbox.answer(&[ACK]);
    }

    /// Sets the sample rate, and becomes what three of them in a row ask for. Only a reset makes it the standard mouse again.
    fn set_rate(&mut self, rate: u8) {
        self.settings.sample_rate = rate;
        let [_, first, second] = self.rates;
        self.rates = [first, second, rate];
        let model = match self.rates {
            [200, 100, 80] => Model::Wheel,
            [200, 200, 80] => Model::Explorer,
            _ => return,
        };
        // Drivers that know the Explorer ask for the wheel first, and those that know only the wheel have begun with a reset.
        if model != self.model {
            self.model = model;
            self.path.clear();
        }
    }

    fn status(&mut self) {
        let Settings { enabled, remote, scaling, resolution, sample_rate } = self.settings;
        let Buttons { left, middle, right, .. } = self.path.seen();
        let status = [(remote, 6), (enabled, 5), (scaling, 4), (left, 2), (middle, 1), (right, 0)]
            .into_iter()
            .fold(0, |status, (set, bit)| status | u8::from(set) << bit);
        self.outbox.answer(&[ACK, status, resolution, sample_rate]);
    }

    /// Answers with one report, which is not scaled; one of no motion when none waits.
    fn read_data(&mut self) {
        if !self.outbox.has_room() {
            return;
        }
        let (motion, buttons) =
            self.path.next(COUNTS, STEPS).unwrap_or_else(|| (Motion::default(), self.path.seen()));
        let mut answer = vec![ACK];
        answer.extend(report(self.model, motion, buttons));
        self.outbox.answer(&answer);
    }
}

/// 2:1 scaling: small motion is finer, and other motion is doubled.
fn scaled(counts: i32) -> i32 {
    let magnitude = match counts.abs() {
        small @ (0 | 1 | 3) => small,
        2 => 1,
        4 => 6,
        5 => 9,
        large => 2 * large,
    };
    magnitude * counts.signum()
}

/// A report of at most [`COUNTS`] and [`STEPS`]. The mouse counts upwards and the wheel towards the user.
fn report(model: Model, motion: Motion, buttons: Buttons) -> Vec<u8> {
    let bits = |bits: &[(bool, u8)]| bits.iter().fold(0, |byte, (set, bit)| byte | u8::from(*set) << bit);
    let (x, y) = (motion.dx, -motion.dy);
    let low = |value: i32| value.to_le_bytes()[0];
    // Bit 3 is always set, by which drivers find the first byte.
    let first = bits(&[
        (buttons.left, 0),
        (buttons.right, 1),
        (buttons.middle, 2),
        (true, 3),
        (x < 0, 4),
        (y < 0, 5),
    ]);
    let mut report = vec![first, low(x), low(y)];
    match model {
        Model::Standard => {}
        Model::Wheel => report.push(low(-motion.wheel)),
        Model::Explorer => {
            report.push(low(-motion.wheel) & 0x0f | bits(&[(buttons.side, 4), (buttons.extra, 5)]));
        }
    }
    report
}
