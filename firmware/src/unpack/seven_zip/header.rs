//! The headers of a 7z archive as far as they must be known before they are trusted to a library: how much memory its
//! methods ask for, and whether SubStreamsInfo is there, which writers leave out where each block is one file.
//!
//! From 7zFormat.txt of the LZMA SDK. Numbers are of variable length, all else is little-endian.

use std::ops::Range;

use crate::image::fv::{u32_at, u64_at};

/// Size of what an archive begins with, in bytes: signature, version, and where the header is.
pub(super) const START: usize = 32;

const END: u8 = 0x00;
const HEADER: u8 = 0x01;
const ARCHIVE_PROPERTIES: u8 = 0x02;
const MAIN_STREAMS_INFO: u8 = 0x04;
const FILES_INFO: u8 = 0x05;
const PACK_INFO: u8 = 0x06;
const UNPACK_INFO: u8 = 0x07;
const SUB_STREAMS_INFO: u8 = 0x08;
const SIZE: u8 = 0x09;
const CRC: u8 = 0x0a;
const FOLDER: u8 = 0x0b;
const CODERS_UNPACK_SIZE: u8 = 0x0c;
const NAMES: u8 = 0x11;
const ENCODED_HEADER: u8 = 0x17;

/// 7-Zip's method IDs.
const METHOD_LZMA: &[u8] = &[3, 1, 1];
const METHOD_LZMA2: &[u8] = &[0x21];
const METHOD_AES: &[u8] = &[6, 0xf1, 7, 1];

/// Coders in a block, and streams of one, at most: as in 7-Zip.
const MAX_CODERS: u64 = 64;

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The start header.
pub(super) struct Start {
    /// Where the header lies.
    pub(super) header: Range<usize>,
    /// Where the archive ends.
    pub(super) end: usize,
}

impl Start {
    /// `None` unless the checksum is right.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(12..START)?;
        if !bytes.starts_with(&super::SIGNATURE) || u32_at(bytes, 8)? != crc(body) {
            return None;
        }
        let offset = usize::try_from(u64_at(bytes, 12)?).ok()?;
        let size = usize::try_from(u64_at(bytes, 20)?).ok()?;
        let start = START.checked_add(offset)?;
        let end = start.checked_add(size)?;
        Some(Self { header: start..end, end })
    }
}

/// A start header for a header behind so many packed bytes.
pub(super) fn start(packed: usize, header: &[u8]) -> [u8; START] {
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX).to_le_bytes();
    let body = [&number(packed)[..], &number(header.len()), &crc(header).to_le_bytes()].concat();
    let whole = [&super::SIGNATURE[..], &[0, 4], &crc(&body).to_le_bytes(), &body].concat();
    whole.try_into().unwrap_or([0; START])
}

/// What the methods of an archive need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Size of the largest dictionary, in bytes.
    pub(super) dictionary: u32,
    /// 2^n rounds make the key of the password, if something is encrypted.
    pub(super) cycles: Option<u8>,
}

impl Needs {
    fn add(&mut self, method: &[u8], properties: &[u8]) {
        let dictionary = match (method, properties) {
            (METHOD_LZMA, [_, a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
            (METHOD_LZMA2, [bits @ 0..=39, ..]) => (2 | u32::from(bits & 1)) << (bits / 2 + 11),
            (METHOD_LZMA | METHOD_LZMA2, _) => u32::MAX,
            _ => 0,
        };
        self.dictionary = self.dictionary.max(dictionary);
        if method == METHOD_AES {
            let cycles = properties.first().map_or(0, |first| first & 0x3f);
            self.cycles = self.cycles.max(Some(cycles));
        }
    }
}

/// A header with its streams described in full.
pub(super) struct Plain {
    pub(super) bytes: Vec<u8>,
    pub(super) needs: Needs,
}

/// What stands where the header should be.
pub(super) enum Header {
    /// The header.
    Plain(Plain),
    /// The description of a packed header, made into the header of an archive that has it for its one file.
    Encoded { header: Vec<u8>, needs: Needs },
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes };
        match reader.byte()? {
            HEADER => {
                let mut kind = reader.byte()?;
                if kind == ARCHIVE_PROPERTIES {
                    while reader.byte()? != END {
                        let size = reader.count()?;
                        reader.take(size)?;
                    }
                    kind = reader.byte()?;
                }
                let mut out = bytes.to_vec();
                let mut needs = Needs::default();
                if kind == MAIN_STREAMS_INFO {
                    needs = reader.streams()?;
                    let at = bytes.len().checked_sub(reader.rest.len())?;
                    if reader.rest.first() == Some(&END) {
                        out.splice(at..at, [SUB_STREAMS_INFO, END]);
                    }
                }
                Some(Self::Plain(Plain { bytes: out, needs }))
            }
            ENCODED_HEADER => {
                let streams = reader.rest;
                let needs = reader.streams()?;
                let streams = streams.get(..streams.len().checked_sub(reader.rest.len())?)?;
                // One file, its name empty.
                let files = [FILES_INFO, 1, NAMES, 3, 0, 0, 0, END, END];
                let header =
                    [&[HEADER, MAIN_STREAMS_INFO], streams, &[SUB_STREAMS_INFO, END, END], &files].concat();
                Some(Self::Encoded { header, needs })
            }
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A number: each bit that is set at the top of the first byte stands for another byte.
    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let more = usize::try_from(first.leading_ones()).ok()?;
        let mut low = [0; 8];
        for (to, from) in low.iter_mut().zip(self.take(more)?) {
            *to = *from;
        }
        let high = if more < 7 { u64::from(first) & ((0x80 >> more) - 1) } else { 0 };
        Some(u64::from_le_bytes(low) | high << (8 * more.min(7)))
    }

    /// A number of things of which each takes a byte or more.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.rest.len())
    }

    fn numbers(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.number().map(|_| ()))
    }

    /// Checksums of some of `count` things.
    fn digests(&mut self, count: usize) -> Option<()> {
        let defined = match self.byte()? {
            0 => {
                let bits = self.take(count.div_ceil(8))?;
                bits.iter().map(|byte| byte.count_ones()).sum::<u32>() as usize
            }
            _ => count,
        };
        self.take(defined.checked_mul(4)?).map(|_| ())
    }

    /// Reads PackInfo and UnpackInfo, and gives what the methods need; SubStreamsInfo or the end follows.
    fn streams(&mut self) -> Option<Needs> {
        if self.rest.first() == Some(&PACK_INFO) {
            self.byte()?;
            self.number()?;
            let count = self.count()?;
            loop {
                match self.byte()? {
                    END => break,
                    SIZE => self.numbers(count)?,
                    CRC => self.digests(count)?,
                    _ => return None,
                }
            }
        }
        let mut needs = Needs::default();
        if self.rest.first() == Some(&UNPACK_INFO) {
            self.byte()?;
            if self.byte()? != FOLDER {
                return None;
            }
            let blocks = self.count()?;
            // Anything else: the methods stand in a stream of their own, which nobody writes.
            if self.byte()? != 0 {
                return None;
            }
            let mut outputs = 0usize;
            for _ in 0..blocks {
                outputs = outputs.checked_add(self.block(&mut needs)?)?;
            }
            loop {
                match self.byte()? {
                    END => break,
                    CODERS_UNPACK_SIZE => self.numbers(outputs)?,
                    CRC => self.digests(blocks)?,
                    _ => return None,
                }
            }
        }
        Some(needs)
    }

    /// Reads a block, which 7zFormat.txt calls a folder; gives how many streams come out of its methods.
    fn block(&mut self, needs: &mut Needs) -> Option<usize> {
        let (mut inputs, mut outputs) = (0u64, 0u64);
        for _ in 0..self.number().filter(|count| (1..=MAX_CODERS).contains(count))? {
            let flags = self.byte()?;
            let method = self.take(usize::from(flags & 0x0f))?;
            let (more_in, more_out) = match flags & 0x10 {
                0 => (1, 1),
                _ => (self.number()?, self.number()?),
            };
            inputs = inputs.checked_add(more_in).filter(|inputs| *inputs <= MAX_CODERS)?;
            outputs = outputs.checked_add(more_out).filter(|outputs| *outputs <= MAX_CODERS)?;
            let mut properties: &[u8] = &[];
            if flags & 0x20 != 0 {
                let size = self.count()?;
                properties = self.take(size)?;
            }
            needs.add(method, properties);
        }
        let bound = outputs.checked_sub(1)?;
        for _ in 0..bound {
            self.numbers(2)?;
        }
        let packed = inputs.checked_sub(bound)?;
        if packed > 1 {
            self.numbers(usize::try_from(packed).ok()?)?;
        }
        usize::try_from(outputs).ok()
    }
}
