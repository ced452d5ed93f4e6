//! What a video BIOS calls itself: the version and the name of the board, by which people tell ROMs of the same IDs apart.
//!
//! NVIDIA: tokens of the BIOS Information Table (NVIDIA open-gpu-doc, "BIOS Information Table"). `i`, or else `B`, begins
//! with the version, `S` points to strings. The layout of `i` is that of nouveau (`nvkm/subdev/bios/base.c`).
//!
//! AMD: strings of the ATOM BIOS, at the places where Linux takes them from (`amdgpu/atom.c`): the part number first, and
//! the model behind all other strings.

use super::{Image, Kind, Rom};
use crate::image::fv::u16_at;

/// Characters of each string that are shown, at most.
const MAX_TEXT: usize = 64;

/// Identifier and signature of NVIDIA's table.
const BIT: &[u8] = b"\xff\xb8BIT\0";
/// Bytes of a token.
const TOKEN: usize = 6;

/// What stands in front of AMD's version, within the first bytes of the image.
const ATOM_VERSION: &[u8] = b"ATOMBIOSBK-AMD VER";
const ATOM_VERSION_WITHIN: usize = 1024;

/// Version and board of a video BIOS. Texts have printable ASCII characters only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// Such as `86.04.2a.00.26` (NVIDIA) or `016.001.001.000.010` (AMD).
    pub version: Option<String>,
    /// Name of the board or GPU; with AMD's part number in front.
    pub board: Option<String>,
}

impl Rom {
    /// What it calls itself; `bytes` must be what was parsed.
    pub fn label(&self, bytes: &[u8]) -> Label {
        let legacy = self.images.iter().position(|image| image.kind == Kind::Legacy);
        let rest = legacy.and_then(|at| self.images.get(at..)).unwrap_or_default();
        let [main, others @ ..] = rest else { return Label::default() };
        let whole = bytes.get(main.offset..self.end.min(bytes.len())).unwrap_or_default();
        let own = whole.get(..main.length).unwrap_or(whole);
        match main.vendor {
            0x10de => Nvidia::find(own, whole, others.first()).map(|table| table.label()).unwrap_or_default(),
            0x1002 => atom(own).unwrap_or_default(),
            _ => Label::default(),
        }
    }
}

/// The BIOS Information Table.
struct Nvidia<'a> {
    /// From the BIOS image to the end of the chain: pointers lead behind the image too.
    bytes: &'a [u8],
    tokens: &'a [u8],
    /// Size of a token in bytes.
    stride: usize,
    /// Bytes of the BIOS image, and of an EFI image behind it, which pointers leave out.
    image: usize,
    skipped: usize,
}

impl<'a> Nvidia<'a> {
    fn find(image: &[u8], bytes: &'a [u8], next: Option<&Image>) -> Option<Self> {
        let at = image.windows(BIT.len()).position(|window| window == BIT)?;
        let table = bytes.get(at..)?;
        let header = usize::from(*table.get(8)?);
        let stride = usize::from(*table.get(9)?);
        let count = usize::from(*table.get(10)?);
        if stride < TOKEN {
            return None;
        }
        let rest = table.get(header..)?;
        let tokens = rest.get(..count * stride).unwrap_or(rest);
        let skipped = next.filter(|next| matches!(next.kind, Kind::Efi(_))).map_or(0, |next| next.length);
        Some(Self { bytes, tokens, stride, image: image.len(), skipped })
    }

    /// Version and data of a token.
    fn token(&self, id: u8) -> Option<(u8, &'a [u8])> {
        let token = self.tokens.chunks_exact(self.stride).find(|token| token.first() == Some(&id))?;
        let size = usize::from(u16_at(token, 2)?);
        Some((*token.get(1)?, self.at(u16_at(token, 4)?)?.get(..size)?))
    }

    fn at(&self, pointer: u16) -> Option<&'a [u8]> {
        let pointer = usize::from(pointer);
        match pointer {
            0 => None,
            _ if pointer < self.image => self.bytes.get(pointer..),
            _ => self.bytes.get(pointer.checked_add(self.skipped)?..),
        }
    }

    fn label(&self) -> Label {
        let [internal, data] = [b'i', b'B'].map(|id| self.token(id).and_then(|(_, data)| data.first_chunk()));
        let version = internal.or(data).map(|[micro, minor, chip, major, oem]: &[u8; 5]| {
            format!("{major:02x}.{chip:02x}.{minor:02x}.{micro:02x}.{oem:02x}")
        });
        Label { version, board: self.board() }
    }

    /// The product's name, or else the sign-on message.
    fn board(&self) -> Option<String> {
        let (version, strings) = self.token(b'S')?;
        // Pointer and size each: sign-on message, in version 2 version and copyright, OEM string, vendor, product.
        let product = if version >= 2 { 5 } else { 3 };
        let string = |index: usize| {
            let entry = strings.get(3 * index..3 * index + 3)?;
            let size = usize::from(*entry.get(2)?);
            let text = self.at(u16_at(entry, 0)?)?;
            printable(text.get(..size).unwrap_or(text))
        };
        string(product).or_else(|| string(0))
    }
}

/// The strings of an ATOM BIOS.
fn atom(image: &[u8]) -> Option<Label> {
    let header = usize::from(u16_at(image, 0x48)?);
    if !matches!(image.get(header + 4..header + 8)?, b"ATOM" | b"MOTA") {
        return None;
    }
    let count = usize::from(*image.get(0x2f)?);
    let first = if count == 0 { 0x80 } else { usize::from(u16_at(image, 0x6e)?) };
    let mut strings = image.get(first..)?.split(|byte| *byte == 0);
    let part = strings.next().and_then(printable);
    // Behind the other strings is a line break, and then the model.
    let model = (count != 0).then(|| strings.nth(count - 1)).flatten();
    let model = model.and_then(|model| printable(model.strip_prefix(b"\r\n").unwrap_or(model)));
    let names: Vec<String> = part.into_iter().chain(model).collect();
    let start = image.get(..ATOM_VERSION_WITHIN).unwrap_or(image);
    let version = start.windows(ATOM_VERSION.len()).position(|window| window == ATOM_VERSION);
    let version = version.and_then(|at| printable(image.get(at + ATOM_VERSION.len()..)?));
    Some(Label { version, board: Some(names.join(" ")).filter(|names| !names.is_empty()) })
}

/// The beginning of a text up to what is not printable; `None` if nothing is left.
fn printable(bytes: &[u8]) -> Option<String> {
    let text = bytes.iter().take(MAX_TEXT).take_while(|byte| matches!(byte, b' '..=b'~'));
    let text: String = text.map(|byte| char::from(*byte)).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
