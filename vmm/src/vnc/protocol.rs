//! Messages of a client after its initialisation: RFC 6143 §7.5, and the extensions that are announced to it.

use super::pixel::PixelFormat;

/// What a client must not do. It is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// No version of the protocol.
    #[error("it does not speak RFB")]
    Version,
    /// A security type that was not offered.
    #[error("it chose a security type that was not offered")]
    Security,
    /// Bits that are no pixel format.
    #[error("it asked for an impossible pixel format")]
    PixelFormat,
    /// A message that does not exist or was not announced.
    #[error("it sent an unknown message")]
    Unknown,
    /// A message whose length is absurd.
    #[error("it sent a message that is too long")]
    TooLong,
}

/// A rectangle of the screen as clients write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Area {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) width: u16,
    pub(super) height: u16,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    SetPixelFormat(PixelFormat),
    SetEncodings(Vec<i32>),
    UpdateRequest {
        incremental: bool,
        area: Area,
    },
    Key {
        symbol: u32,
        pressed: bool,
    },
    /// QEMU's extended key event: the place of the key beside its meaning.
    ExtendedKey {
        symbol: u32,
        code: u32,
        pressed: bool,
    },
    Pointer {
        buttons: u8,
        x: u16,
        y: u16,
    },
    /// Text in the client's clipboard, of so many bytes that follow and mean nothing to us.
    CutText(usize),
    ContinuousUpdates {
        enable: bool,
        area: Area,
    },
    Fence {
        flags: u32,
        payload: Vec<u8>,
    },
    /// A wish for another size of the screen, which the guest decides about, and into how many monitors it is divided.
    SetDesktopSize {
        width: u16,
        height: u16,
        screens: u8,
    },
}

/// The most encodings of a SetEncodings message; clients know some dozens.
const MOST_ENCODINGS: u16 = 1024;
/// The longest clipboard that is skipped. Longer lengths are negative ones, of an extension that no client uses
/// unless it is announced.
const LONGEST_TEXT: u32 = i32::MAX.cast_unsigned();
/// The longest payload of a fence, by its specification.
const LONGEST_FENCE: u8 = 64;

/// The longest message without its clipboard.
pub(super) const LONGEST: usize = 4 + 4 * MOST_ENCODINGS as usize;

/// Bytes to be read from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn area(&mut self) -> Option<Area> {
        Some(Area { x: self.u16()?, y: self.u16()?, width: self.u16()?, height: self.u16()? })
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }
}

/// The first message of `bytes` and its length; `None` while it is incomplete.
///
/// # Errors
/// No continuation makes a message of it.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, Violation> {
    let mut reader = Reader(bytes);
    let message = read(&mut reader).transpose()?;
    Ok(message.map(|message| (message, bytes.len() - reader.0.len())))
}

/// `None` when there are too few bytes.
fn read(reader: &mut Reader<'_>) -> Option<Result<Message, Violation>> {
    Some(Ok(match reader.u8()? {
        0 => {
            reader.skip(3)?;
            match PixelFormat::parse(&reader.bytes()?) {
                Ok(format) => Message::SetPixelFormat(format),
                Err(violation) => return Some(Err(violation)),
            }
        }
        2 => {
            reader.skip(1)?;
            let count = reader.u16()?;
            if count > MOST_ENCODINGS {
                return Some(Err(Violation::TooLong));
            }
            let numbers = (0..count).map(|_| reader.u32().map(u32::cast_signed));
            Message::SetEncodings(numbers.collect::<Option<_>>()?)
        }
        3 => Message::UpdateRequest { incremental: reader.u8()? != 0, area: reader.area()? },
        4 => {
            let pressed = reader.u8()? != 0;
            reader.skip(2)?;
            Message::Key { symbol: reader.u32()?, pressed }
        }
        5 => Message::Pointer { buttons: reader.u8()?, x: reader.u16()?, y: reader.u16()? },
        6 => {
            reader.skip(3)?;
            match reader.u32()? {
                length @ ..=LONGEST_TEXT => Message::CutText(usize::try_from(length).unwrap_or(usize::MAX)),
                _ => return Some(Err(Violation::TooLong)),
            }
        }
        150 => Message::ContinuousUpdates { enable: reader.u8()? != 0, area: reader.area()? },
        248 => {
            reader.skip(3)?;
            let (flags, length) = (reader.u32()?, reader.u8()?);
            if length > LONGEST_FENCE {
                return Some(Err(Violation::TooLong));
            }
            let payload = (0..length).map(|_| reader.u8()).collect::<Option<_>>()?;
            Message::Fence { flags, payload }
        }
        251 => {
            reader.skip(1)?;
            let (width, height) = (reader.u16()?, reader.u16()?);
            let screens = reader.u8()?;
            reader.skip(1 + 16 * usize::from(screens))?;
            Message::SetDesktopSize { width, height, screens }
        }
        255 => match reader.u8()? {
            0 => {
                let pressed = reader.u16()? != 0;
                Message::ExtendedKey { symbol: reader.u32()?, code: reader.u32()?, pressed }
            }
            _ => return Some(Err(Violation::Unknown)),
        },
        _ => return Some(Err(Violation::Unknown)),
    }))
}
