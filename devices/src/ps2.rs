//! The PS/2 keyboard and mouse and the controller between them and the processor ("IBM Personal System/2 Hardware
//! Interface Technical Reference": Keyboard and Auxiliary Device Controller, Keyboards, Mouse).

mod codes;
pub mod i8042;
mod keyboard;
mod keys;
mod mouse;
mod outbox;
#[cfg(test)]
mod tests;
mod translate;

pub use i8042::I8042;

/// Answers of both devices.
const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;
