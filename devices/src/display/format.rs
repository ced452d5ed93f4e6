//! Pixel formats that are understood, named as in DRM (include/uapi/drm/drm_fourcc.h), all little-endian and linear.

use std::fmt;

/// How a pixel lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// 32 bits `x:R:G:B`, 8 bits each.
    Xrgb8888,
    /// 32 bits `A:R:G:B`.
    Argb8888,
    /// 32 bits `x:B:G:R`.
    Xbgr8888,
    /// 32 bits `A:B:G:R`.
    Abgr8888,
    /// 24 bits `R:G:B`: blue is the first byte.
    Rgb888,
    /// 24 bits `B:G:R`: red is the first byte.
    Bgr888,
    /// 16 bits `R:G:B`, 5, 6 and 5.
    Rgb565,
    /// 32 bits `x:R:G:B`, 2 and three times 10.
    Xrgb2101010,
    /// 32 bits `x:B:G:R`, 2 and three times 10.
    Xbgr2101010,
}

/// A format's code, to be shown: `XR24 (0x34325258)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fourcc(pub u32);

impl fmt::Display for Fourcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.0.to_le_bytes();
        if letters.iter().all(u8::is_ascii_graphic) {
            for letter in letters {
                write!(f, "{}", char::from(letter))?;
            }
            write!(f, " ({:#010x})", self.0)
        } else {
            write!(f, "{:#010x}", self.0)
        }
    }
}

impl PixelFormat {
    /// The format with this DRM code, if it is one of ours.
    pub fn from_fourcc(code: u32) -> Option<Self> {
        Some(match &code.to_le_bytes() {
            b"XR24" => Self::Xrgb8888,
            b"AR24" => Self::Argb8888,
            b"XB24" => Self::Xbgr8888,
            b"AB24" => Self::Abgr8888,
            b"RG24" => Self::Rgb888,
            b"BG24" => Self::Bgr888,
            b"RG16" => Self::Rgb565,
            b"XR30" => Self::Xrgb2101010,
            b"XB30" => Self::Xbgr2101010,
            _ => return None,
        })
    }

    /// Bytes of one pixel.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Rgb565 => 2,
            Self::Rgb888 | Self::Bgr888 => 3,
            _ => 4,
        }
    }

    /// Converts as many pixels as both sides have, to `0x00RRGGBB`.
    pub fn convert(self, source: &[u8], target: &mut [u32]) {
        match self {
            Self::Xrgb8888 | Self::Argb8888 => each32(source, target, |pixel| pixel & 0x00ff_ffff),
            Self::Xbgr8888 | Self::Abgr8888 => each32(source, target, |pixel| pixel.swap_bytes() >> 8),
            Self::Xrgb2101010 => each32(source, target, |pixel| {
                (pixel >> 6) & 0xff_0000 | (pixel >> 4) & 0xff00 | (pixel >> 2) & 0xff
            }),
            Self::Xbgr2101010 => each32(source, target, |pixel| {
                (pixel << 14) & 0xff_0000 | (pixel >> 4) & 0xff00 | (pixel >> 22) & 0xff
            }),
            Self::Rgb888 => each24(source, target, |[blue, green, red]| [blue, green, red, 0]),
            Self::Bgr888 => each24(source, target, |[red, green, blue]| [blue, green, red, 0]),
            Self::Rgb565 => {
                for (source, target) in source.as_chunks().0.iter().zip(target) {
                    let pixel = u32::from(u16::from_le_bytes(*source));
                    let (red, green, blue) = (pixel >> 11, (pixel >> 5) & 0x3f, pixel & 0x1f);
                    // The upper bits are repeated below, so that full stays full.
                    *target =
                        (red << 3 | red >> 2) << 16 | (green << 2 | green >> 4) << 8 | blue << 3 | blue >> 2;
                }
            }
        }
    }

    /// Converts as many pixels as both sides have to `0xAARRGGBB`, not premultiplied. Planes are premultiplied, as DRM has
    /// it unless a driver says otherwise. `false` for a format without transparency.
    pub fn convert_with_alpha(self, source: &[u8], target: &mut [u32]) -> bool {
        match self {
            Self::Argb8888 => each32(source, target, divide_by_alpha),
            Self::Abgr8888 => {
                each32(source, target, |pixel| divide_by_alpha(pixel.swap_bytes().rotate_right(8)));
            }
            _ => return false,
        }
        true
    }
}

fn each32(source: &[u8], target: &mut [u32], convert: impl Fn(u32) -> u32) {
    for (source, target) in source.as_chunks().0.iter().zip(target) {
        *target = convert(u32::from_le_bytes(*source));
    }
}

fn each24(source: &[u8], target: &mut [u32], order: impl Fn([u8; 3]) -> [u8; 4]) {
    for (source, target) in source.as_chunks().0.iter().zip(target) {
        *target = u32::from_le_bytes(order(*source));
    }
}

fn divide_by_alpha(pixel: u32) -> u32 {
    let [blue, green, red, alpha] = pixel.to_le_bytes();
    let divide = |colour: u8| match alpha {
        0 => 0,
        // Rounded; a colour above its alpha is the driver's mistake and stays full.
        _ => u8::try_from((u32::from(colour) * 255 + u32::from(alpha) / 2) / u32::from(alpha)).unwrap_or(255),
    };
    u32::from_le_bytes([divide(blue), divide(green), divide(red), alpha])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&[u8; 4], PixelFormat); 9] = [
        (b"XR24", PixelFormat::Xrgb8888),
        (b"AR24", PixelFormat::Argb8888),
        (b"XB24", PixelFormat::Xbgr8888),
        (b"AB24", PixelFormat::Abgr8888),
        (b"RG24", PixelFormat::Rgb888),
        (b"BG24", PixelFormat::Bgr888),
        (b"RG16", PixelFormat::Rgb565),
        (b"XR30", PixelFormat::Xrgb2101010),
        (b"XB30", PixelFormat::Xbgr2101010),
    ];

    fn convert(format: PixelFormat, bytes: &[u8]) -> u32 {
        let mut pixels = [0xdead_beef];
        format.convert(bytes, &mut pixels);
        pixels[0]
    }

    #[test]
    fn codes_name_formats() {
        for (code, format) in ALL {
            assert_eq!(PixelFormat::from_fourcc(u32::from_le_bytes(*code)), Some(format));
        }
        for other in [0, u32::MAX, u32::from_le_bytes(*b"YUYV"), u32::from_le_bytes(*b"C8  ")] {
            assert_eq!(PixelFormat::from_fourcc(other), None);
        }
        assert_eq!(PixelFormat::from_fourcc(0x3432_5258), Some(PixelFormat::Xrgb8888), "the code of edk2");
    }

    #[test]
    fn pixels_become_rgb() {
        use PixelFormat::*;
        let table: [(PixelFormat, &[u8], u32); 13] = [
            (Xrgb8888, &[0x33, 0x22, 0x11, 0xff], 0x11_2233),
            (Argb8888, &[0x33, 0x22, 0x11, 0x80], 0x11_2233),
            (Xbgr8888, &[0x11, 0x22, 0x33, 0xff], 0x11_2233),
            (Abgr8888, &[0x11, 0x22, 0x33, 0x80], 0x11_2233),
            (Rgb888, &[0x33, 0x22, 0x11], 0x11_2233),
            (Bgr888, &[0x11, 0x22, 0x33], 0x11_2233),
            (Rgb565, &0xf800u16.to_le_bytes(), 0xff_0000),
            (Rgb565, &0x07e0u16.to_le_bytes(), 0x00_ff00),
            (Rgb565, &0x001fu16.to_le_bytes(), 0x00_00ff),
            (Xrgb2101010, &(0xc000_0000u32 | 0x3ff << 20 | 0x200 << 10 | 0x004).to_le_bytes(), 0xff_8001),
            (Xbgr2101010, &(0xc000_0000u32 | 0x3ff << 20 | 0x200 << 10 | 0x004).to_le_bytes(), 0x01_80ff),
            (Xrgb2101010, &u32::MAX.to_le_bytes(), 0xff_ffff),
            (Xbgr2101010, &u32::MAX.to_le_bytes(), 0xff_ffff),
        ];
        for (format, bytes, rgb) in table {
            assert_eq!(convert(format, bytes), rgb, "{format:?} {bytes:02x?}");
            assert_eq!(bytes.len(), format.bytes() as usize, "{format:?}");
        }
    }

    #[test]
    fn white_is_white_and_black_black_in_every_format() {
        for (_, format) in ALL {
            assert_eq!(convert(format, &vec![0xff; format.bytes() as usize]), 0xff_ffff, "{format:?}");
            assert_eq!(convert(format, &vec![0; format.bytes() as usize]), 0, "{format:?}");
        }
    }

    #[test]
    fn the_shorter_side_ends_a_conversion() {
        for (_, format) in ALL {
            let mut pixels = [7; 2];
            format.convert(&[0xff; 5], &mut pixels);
            let whole = 5 / format.bytes() as usize;
            assert_eq!(
                pixels.iter().filter(|pixel| **pixel == 0xff_ffff).count(),
                whole.min(2),
                "{format:?}"
            );
        }
    }

    #[test]
    fn pointers_lose_their_premultiplication() {
        let table = [
            (0xff11_2233, 0xff11_2233),
            (0x0000_0000, 0),
            (0x0012_3456, 0),
            (0x8040_8000, 0x8080_ff00),
            (0x8080_8080, 0x80ff_ffff),
            (0x10ff_0000, 0x10ff_0000),
        ];
        for (premultiplied, plain) in table {
            let mut pixels = [1];
            assert!(PixelFormat::Argb8888.convert_with_alpha(&u32::to_le_bytes(premultiplied), &mut pixels));
            assert_eq!(pixels[0], plain, "{premultiplied:#x}");
        }
        let mut pixels = [1];
        assert!(PixelFormat::Abgr8888.convert_with_alpha(&[0x11, 0x22, 0x33, 0xff], &mut pixels));
        assert_eq!(pixels[0], 0xff11_2233);
        assert!(!PixelFormat::Xrgb8888.convert_with_alpha(&[0; 4], &mut pixels));
    }

    #[test]
    fn codes_are_shown_as_letters_where_they_are_some() {
        assert_eq!(Fourcc(u32::from_le_bytes(*b"NV12")).to_string(), "NV12 (0x3231564e)");
        assert_eq!(Fourcc(1).to_string(), "0x00000001");
    }
}
