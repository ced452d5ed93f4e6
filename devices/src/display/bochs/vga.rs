//! What drivers of the adapter touch of a VGA's registers (IBM PS/2 Hardware Technical Reference, "Video Subsystem"), in their mirror
//! in BAR 2: the attribute controller's switch for the screen, the miscellaneous output register, and the status that says which of the
//! attribute controller's two registers comes next.
//!
//! OVMF and Linux switch the screen on there when they set a mode, and Linux switches it off to save power. All else reads as ones, and
//! writes have no effect: what it governs, text and planes of bits, is not there.

/// The first port of the mirror.
const FIRST: u16 = 0x3c0;
/// Its length in ports.
pub(super) const PORTS: u16 = 0x20;

/// The attribute controller: an index and a value take turns.
const ATTRIBUTE: u16 = 0x3c0;
/// Of its index: the screen is on.
const SCREEN_ON: u8 = 0x20;
const MISC_WRITE: u16 = 0x3c2;
const MISC_READ: u16 = 0x3cc;
/// Input status 1, with colour.
const STATUS: u16 = 0x3da;
/// The beam is between two lines, and between two frames.
const RETRACE: u8 = 0x09;

/// The registers.
#[derive(Debug, Clone, Default)]
pub(super) struct Vga {
    /// A value comes next, not an index.
    value_next: bool,
    /// The guest has switched the screen off. It is on until then: not every driver says so.
    off: bool,
    misc: u8,
    retrace: bool,
}

impl Vga {
    /// Whether the guest has switched the screen off.
    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// Reads the port at `offset` from 3C0h. Who waits for a retrace sees one begin and end.
    pub(super) fn read(&mut self, offset: u16) -> u8 {
        match FIRST.saturating_add(offset) {
            STATUS => {
                self.value_next = false;
                self.retrace = !self.retrace;
                if self.retrace { RETRACE } else { 0 }
            }
            ATTRIBUTE if self.off => 0,
            ATTRIBUTE => SCREEN_ON,
            MISC_READ => self.misc,
            _ => 0xff,
        }
    }

    /// Writes the port at `offset` from 3C0h.
    pub(super) fn write(&mut self, offset: u16, value: u8) {
        match FIRST.saturating_add(offset) {
            ATTRIBUTE => {
                if !self.value_next {
                    self.off = value & SCREEN_ON == 0;
                }
                self.value_next = !self.value_next;
            }
            MISC_WRITE => self.misc = value,
            _ => {}
        }
    }
}
