//! What a display says of itself: VESA Enhanced EDID 1.4, one block of 128 bytes, for a panel of one resolution at 60 Hz.
//!
//! The host writes it into a virtual GPU, whose guest driver then finds a display with this preferred mode. A few
//! customary modes that are not larger are offered as well, for firmware and installers.

mod cvt;
#[cfg(test)]
mod tests;

use cvt::Timing;

/// Bytes of a block.
pub const BLOCK: usize = 128;

/// Three letters of five bits each. PNP IDs are given out by the UEFI Forum; this one is not.
const MANUFACTURER: [u8; 3] = *b"OVM";
/// The model, of which there is one.
const PRODUCT: u16 = 1;
/// 2025, counted from 1990.
const MODEL_YEAR: u8 = 35;
/// Digital, 8 bits per colour, DisplayPort.
const INPUT: u8 = 0xa5;
/// Gamma 2.2, as its hundredfold above 1.
const GAMMA: u8 = 120;
/// Colours are sRGB, and the first detailed timing is the panel's own resolution.
const FEATURES: u8 = 0x06;
/// The primaries and the white point of sRGB.
const SRGB: [u8; 10] = [0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54];
/// Separate digital sync, horizontal positive and vertical negative, as reduced blanking has it.
const SYNC: u8 = 0x1a;
/// Descriptors that are not timings begin with zeros and this.
const TAG_NAME: u8 = 0xfc;
const TAG_DUMMY: u8 = 0x10;
/// At most 13 characters.
const NAME: &[u8] = b"optimus-vmm";
/// Pixels of an inch at which desktops do not scale.
const DPI: u32 = 96;

/// The established timings on offer: width, height, byte and bit.
const ESTABLISHED: [(u32, u32, usize, u8); 3] =
    [(640, 480, 0, 0x20), (800, 600, 0, 0x01), (1024, 768, 1, 0x08)];
/// The standard timings on offer: width, height, and bits 7:6 of their second byte. There is room for eight.
const STANDARD: [(u32, u32, u8); 8] = [
    (1280, 720, 0xc0),
    (1280, 800, 0x00),
    (1280, 1024, 0x80),
    (1440, 900, 0x00),
    (1600, 900, 0xc0),
    (1680, 1050, 0x00),
    (1920, 1080, 0xc0),
    (1920, 1200, 0x00),
];

/// A resolution that a block cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdidError {
    /// No guest could use it.
    #[error("a display of {width}x{height} is too small: 640x480 is the least")]
    TooSmall {
        /// Pixels.
        width: u32,
        /// Lines.
        height: u32,
    },
    /// A detailed timing has 12 bits for each side and 16 for the clock.
    #[error(
        "a display of {width}x{height} is too large: 4095 pixels a side are possible, and at 60 Hz no more than about \
         4095x2500 together"
    )]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Lines.
        height: u32,
    },
}

/// A display's own description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edid {
    /// The block.
    pub bytes: [u8; BLOCK],
    /// Pixels of the preferred mode.
    pub width: u32,
    /// Lines of the preferred mode.
    pub height: u32,
}

/// A display whose preferred mode is `wanted`, width and height in pixels, or what of it fits below `limit`. A limit of
/// 0 is none.
///
/// # Errors
/// The resolution is too small or too large for the format.
pub fn edid(wanted: (u32, u32), limit: (u32, u32)) -> Result<Edid, EdidError> {
    let clamp = |wanted: u32, limit: u32| if limit == 0 { wanted } else { wanted.min(limit) };
    let timing = Timing::new(clamp(wanted.0, limit.0), clamp(wanted.1, limit.1))?;
    let mut block = Vec::with_capacity(BLOCK);
    block.extend([0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
    block.extend(manufacturer().to_be_bytes());
    block.extend(PRODUCT.to_le_bytes());
    // No serial number, and a model's year in place of a week of manufacture.
    block.extend([0, 0, 0, 0, 0xff, MODEL_YEAR]);
    block.extend([1, 4]);
    let (width_cm, height_cm) = (millimetres(timing.width) / 10, millimetres(timing.height) / 10);
    block.extend([INPUT, width_cm as u8, height_cm as u8, GAMMA, FEATURES]);
    block.extend(SRGB);
    block.extend(established(timing));
    block.extend(standard(timing));
    block.extend(detailed(timing));
    block.extend(name());
    block.extend(dummy());
    block.extend(dummy());
    // No blocks follow.
    block.push(0);
    let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    block.push(sum.wrapping_neg());
    let mut bytes = [0; BLOCK];
    bytes.iter_mut().zip(block).for_each(|(slot, byte)| *slot = byte);
    Ok(Edid { bytes, width: timing.width, height: timing.height })
}

/// Section 3.4.1: `A` is 1.
fn manufacturer() -> u16 {
    MANUFACTURER.iter().fold(0, |id, letter| id << 5 | u16::from(letter - b'@'))
}

fn millimetres(pixels: u32) -> u32 {
    (pixels * 254 + DPI * 5) / (DPI * 10)
}

/// Whether a mode is neither larger than the panel nor the panel's own.
fn smaller(timing: Timing, width: u32, height: u32) -> bool {
    width <= timing.width && height <= timing.height && (width, height) != (timing.width, timing.height)
}

/// Section 3.8.
fn established(timing: Timing) -> [u8; 3] {
    let mut bytes = [0; 3];
    for (width, height, byte, bit) in ESTABLISHED {
        if let Some(byte) = bytes.get_mut(byte).filter(|_| smaller(timing, width, height)) {
            *byte |= bit;
        }
    }
    bytes
}

/// Section 3.9: unused entries are ones.
fn standard(timing: Timing) -> [u8; 16] {
    let mut bytes = [1; 16];
    let modes = STANDARD.iter().filter(|(width, height, _)| smaller(timing, *width, *height));
    for (slot, &(width, _, aspect)) in bytes.chunks_exact_mut(2).zip(modes) {
        // The low bits are the refresh rate above 60 Hz.
        slot.copy_from_slice(&[(width / 8 - 31) as u8, aspect]);
    }
    bytes
}

/// Section 3.10.2. The upper bits of all fields lie in bytes of their own.
fn detailed(timing: Timing) -> [u8; 18] {
    let Timing { width, height, v_blank, v_sync, clock } = timing;
    let (width_mm, height_mm) = (millimetres(width), millimetres(height));
    let nibbles = |high: u32, low: u32| ((high >> 8 & 0xf) << 4 | low >> 8 & 0xf) as u8;
    [
        clock as u8,
        (clock >> 8) as u8,
        width as u8,
        cvt::H_BLANK as u8,
        nibbles(width, cvt::H_BLANK),
        height as u8,
        v_blank as u8,
        nibbles(height, v_blank),
        cvt::H_FRONT as u8,
        cvt::H_SYNC as u8,
        // Both fit four bits, and nothing is left for the byte of upper bits.
        (cvt::V_FRONT << 4 | v_sync) as u8,
        0,
        width_mm as u8,
        height_mm as u8,
        nibbles(width_mm, height_mm),
        0,
        0,
        SYNC,
    ]
}

/// Section 3.10.3.4: a line feed ends the name, and blanks fill it up.
fn name() -> [u8; 18] {
    let mut bytes = [b' '; 18];
    let text = [&[0, 0, 0, TAG_NAME, 0], NAME, b"\n"].concat();
    bytes.iter_mut().zip(text).for_each(|(slot, byte)| *slot = byte);
    bytes
}

/// Section 3.10.3.11.
fn dummy() -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[3] = TAG_DUMMY;
    bytes
}
