//! Bare-metal programs that take the firmware's place: flat images which end at 4 GiB, where an x86 processor starts
//! in real mode, 16 bytes before the end (Intel SDM volume 3, "First Instruction Executed").
//!
//! They report on COM1's data port, one letter each, without setting the port up.

use std::iter::repeat_n;

/// Sent by [`hello`], and when a loop begins.
pub(crate) const BEGIN: u8 = b'S';
/// Sent when a loop has ended.
pub(crate) const END: u8 = b'E';

/// The loops lie this many bytes before the end of the image: more than they need.
const ROOM: usize = 256;
/// The address of [`ROOM`]. Its lower half is the offset in the 64 KiB that real mode reaches with the reset value of CS.
const START: u32 = 0xffff_ff00;

/// What one turn of a loop does, each an exit to the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A write to port 0x80, the POST code.
    PortWrite,
    /// A 32-bit read where no device is.
    MmioRead,
    /// A 32-bit write where no device is.
    MmioWrite,
}

impl Access {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::PortWrite, Self::MmioRead, Self::MmioWrite];
}

/// Where no device is, on both machines: a TPM's place.
const NOWHERE: u32 = 0xfed4_0000;

/// Reports with its first instructions (the letter and the port must be loaded), then halts for good.
///
/// It stands at the end of `firmware`: what a monitor does with an image may depend on what is in it.
pub(crate) fn hello(mut firmware: Vec<u8>) -> Vec<u8> {
    let mut code = say(BEGIN);
    code.extend(HALT);
    firmware.truncate(firmware.len().saturating_sub(ROOM));
    firmware.extend(image(ROOM, &[], &code));
    firmware
}

/// Does the same access `count` times.
pub(crate) fn accesses(size: usize, access: Access, count: u32) -> Vec<u8> {
    let mut code = vec![0xfa]; // cli
    match access {
        Access::PortWrite => {
            code.extend(say(BEGIN));
            code.extend([0x66, 0xb9]); // mov ecx, count
            code.extend(count.to_le_bytes());
            code.extend([
                0xe6, 0x80, // turn: out 0x80, al
                0x66, 0x49, // dec ecx
                0x75, 0xfa, // jnz turn
            ]);
            code.extend(say(END));
            code.extend(HALT);
        }
        Access::MmioRead | Access::MmioWrite => {
            code.extend(enter_protected_mode(code.len()));
            code.extend([0x66, 0xba, 0xf8, 0x03, 0xb0, BEGIN, 0xee]); // mov dx, 0x3f8; mov al, BEGIN; out dx, al
            code.push(0xbf); // mov edi, NOWHERE
            code.extend(NOWHERE.to_le_bytes());
            code.push(0xb9); // mov ecx, count
            code.extend(count.to_le_bytes());
            code.extend(match access {
                Access::MmioWrite => [0x89, 0x07], // turn: mov [edi], eax
                _ => [0x8b, 0x07],                 // turn: mov eax, [edi]
            });
            code.extend([
                0x49, // dec ecx
                0x75, 0xfb, // jnz turn
                0xb0, END, 0xee, // mov al, END; out dx, al
            ]);
            code.extend(HALT);
        }
    }
    image(size, &code, &TO_START)
}

/// A near jump, relative to the instruction after it, from the reset vector to [`START`].
pub(crate) const TO_START: [u8; 3] = [0xe9, 0x0d, 0xff];

/// again: hlt; jmp again
const HALT: [u8; 3] = [0xf4, 0xeb, 0xfd];

/// Real mode: mov dx, 0x3f8; mov al, letter; out dx, al.
fn say(letter: u8) -> Vec<u8> {
    vec![0xba, 0xf8, 0x03, 0xb0, letter, 0xee]
}

/// From real mode to 32-bit protected mode with flat segments, at `at` bytes behind [`START`].
pub(crate) fn enter_protected_mode(at: usize) -> Vec<u8> {
    // Behind all code: a null descriptor, then flat code and data. They are marked as accessed, because the processor
    // could not do that in read-only memory (Intel SDM volume 3, "Segment Descriptors").
    const TABLE: u8 = 0xc0;
    let mut code = vec![
        0x2e,
        0x66,
        0x0f,
        0x01,
        0x16,
        TABLE + 24,
        0xff, // lgdt cs:[START + TABLE + 24]
        0x0f,
        0x20,
        0xc0, // mov eax, cr0
        0x0c,
        0x01, // or al, 1 (PE)
        0x0f,
        0x22,
        0xc0, // mov cr0, eax
    ];
    let after = code.len() + 8;
    code.extend([0x66, 0xea]); // jmp 8:after
    let target = START + u32::try_from(at + after).unwrap_or_default();
    code.extend(target.to_le_bytes());
    code.extend([0x08, 0x00]);
    code.extend([0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8]); // mov ax, 0x10; mov ds, ax
    code
}

/// The descriptor table of [`enter_protected_mode`], and what `lgdt` reads behind it.
fn descriptors() -> Vec<u8> {
    const CODE: u64 = 0x00cf_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    let mut table: Vec<u8> = [0, CODE, DATA].iter().flat_map(|entry| u64::to_le_bytes(*entry)).collect();
    table.extend([23, 0]);
    table.extend((START + 0xc0).to_le_bytes());
    table
}

/// `main` at [`START`] and `reset` at the reset vector of an image of `size` bytes, all else being 0xff as in erased
/// flash.
pub(crate) fn image(size: usize, main: &[u8], reset: &[u8]) -> Vec<u8> {
    let mut tail = vec![0xff; ROOM];
    let parts = [(0, main.to_vec()), (0xc0, descriptors()), (0xf0, reset.to_vec())];
    for (at, bytes) in parts {
        for (place, byte) in tail.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
    }
    repeat_n(0xff, size.saturating_sub(ROOM)).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_do_not_overlap() {
        for access in Access::ALL {
            let image = accesses(8192, access, 1);
            assert_eq!(image.len(), 8192);
            // Erased bytes between the code and the descriptors, and between these and the reset vector.
            let tail = &image[8192 - ROOM..];
            assert_eq!((tail[0], tail[0xbf], tail[0xef]), (0xfa, 0xff, 0xff));
            assert_eq!(tail[0xc0..0xc8], [0; 8]);
            // The jump's target: 0xfff3 + 0xff0d = 0xff00 in 16 bits.
            assert_eq!(tail[0xf0], 0xe9);
            let distance = u16::from_le_bytes([tail[0xf1], tail[0xf2]]);
            assert_eq!(0xfff3_u16.wrapping_add(distance), 0xff00);
        }
    }
}
