//! A mouse with five buttons and a wheel, whose motion has 16 bits; three buttons and 8 bits in the boot protocol.

use super::{Function, Hid, Identity};
use crate::input::motion::{Motion, Path};
use crate::input::{Buttons, PointerEvent, Taken};

/// Motion along each axis that a report can have.
const COUNTS: i32 = 0x7fff;
/// The same in the boot protocol, and steps of the wheel.
const COUNTS_BOOT: i32 = 127;
const STEPS: i32 = 127;

/// The report descriptor: five buttons, motion along X and Y of 16 bits, and a wheel.
#[rustfmt::skip]
const REPORTS: &[u8] = &[
    0x05, 0x01,             // Usage Page (Generic Desktop)
    0x09, 0x02,             // Usage (Mouse)
    0xa1, 0x01,             // Collection (Application)
    0x09, 0x01,             //   Usage (Pointer)
    0xa1, 0x00,             //   Collection (Physical)
    0x05, 0x09,             //     Usage Page (Button)
    0x19, 0x01, 0x29, 0x05, //     Usage Minimum (1), Maximum (5)
    0x15, 0x00, 0x25, 0x01, //     Logical Minimum (0), Maximum (1)
    0x95, 0x05, 0x75, 0x01, //     Report Count (5), Size (1)
    0x81, 0x02,             //     Input (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x03, //     Report Count (1), Size (3)
    0x81, 0x01,             //     Input (Constant)
    0x05, 0x01,             //     Usage Page (Generic Desktop)
    0x09, 0x30, 0x09, 0x31, //     Usage (X), Usage (Y)
    0x16, 0x01, 0x80,       //     Logical Minimum (-0x7FFF)
    0x26, 0xff, 0x7f,       //     Logical Maximum (0x7FFF)
    0x75, 0x10, 0x95, 0x02, //     Report Size (16), Count (2)
    0x81, 0x06,             //     Input (Data, Variable, Relative)
    0x09, 0x38,             //     Usage (Wheel)
    0x15, 0x81, 0x25, 0x7f, //     Logical Minimum (-127), Maximum (127)
    0x75, 0x08, 0x95, 0x01, //     Report Size (8), Count (1)
    0x81, 0x06,             //     Input (Data, Variable, Relative)
    0xc0, 0xc0,             //   End, End
];

/// A USB mouse.
pub type Mouse = Hid<Ball>;

/// What a mouse does.
#[derive(Debug, Default)]
pub struct Ball {
    path: Path,
}

fn report(boot: bool, motion: Motion, buttons: Buttons) -> Vec<u8> {
    let [x0, x1, ..] = motion.dx.to_le_bytes();
    let [y0, y1, ..] = motion.dy.to_le_bytes();
    if boot {
        return vec![buttons.hid_bits() & 7, x0, y0];
    }
    vec![buttons.hid_bits(), x0, x1, y0, y1, motion.wheel.to_le_bytes()[0]]
}

impl Function for Ball {
    const IDENTITY: Identity =
        Identity { revision: 0x0102, name: "USB Mouse", protocol: 2, packet: 8, reports: REPORTS };

    fn next(&mut self, boot: bool) -> Option<Vec<u8>> {
        let counts = if boot { COUNTS_BOOT } else { COUNTS };
        self.path.next(counts, STEPS).map(|(motion, buttons)| report(boot, motion, buttons))
    }

    fn current(&self, boot: bool) -> Vec<u8> {
        report(boot, Motion::default(), self.path.seen())
    }

    fn clear(&mut self) {
        self.path = Path::default();
    }

    fn has_room(&self) -> bool {
        self.path.has_room()
    }
}

impl Mouse {
    /// Moves the pointer and sets the buttons, if the guest uses the mouse.
    pub fn pointer(&self, event: PointerEvent) -> Taken {
        self.happen(|ball| ball.path.push(event))
    }

    /// Releases the buttons that are not among `held`.
    pub fn release(&self, held: Buttons) {
        self.happen_always(|ball| {
            ball.path.release(held);
        });
    }

    /// The buttons that are down.
    pub fn buttons(&self) -> Buttons {
        self.ask(|ball| ball.path.held())
    }
}
