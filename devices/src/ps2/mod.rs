//! The PS/2 keyboard and mouse and the controller between them and the processor ("IBM Personal System/2 Hardware
//! Interface Technical Reference": Keyboard and Auxiliary Device Controller, Keyboards, Mouse).

pub mod i8042;
mod keyboard;
mod mouse;
mod translate;

use std::collections::VecDeque;

pub use i8042::I8042;

/// Answers of both devices.
const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;

/// Bytes on their way from a device. Answers to commands always find room; input is turned away by the sequence, so
/// that the guest never sees half of one.
#[derive(Debug, Default)]
struct Outbox {
    bytes: VecDeque<u8>,
    last: u8,
}

impl Outbox {
    /// Input bytes that may wait, beyond which the guest does not look.
    const INPUT: usize = 64;
    /// All that may wait: a guest that only sends commands and never reads does not grow it.
    const TOTAL: usize = 256;

    fn answer(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() <= Self::TOTAL {
            self.bytes.extend(bytes);
        }
    }

    fn input(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= Self::INPUT;
        if fits {
            self.bytes.extend(bytes);
        }
        fits
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.bytes.pop_front()?;
        self.last = byte;
        Some(byte)
    }

    /// Sends the last byte again.
    fn resend(&mut self) {
        self.bytes.push_front(self.last);
        self.bytes.truncate(Self::TOTAL);
    }
}
