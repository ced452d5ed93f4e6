//! A VNC client, written from RFC 6143: the oracle.

mod decode;

use std::io::{self, Read, Write};

use flate2::Decompress;

use crate::vnc::pixel::PixelFormat;
use decode::inflate;

/// A client with its copy of the screen, in pixels of its own format.
pub(super) struct Viewer<S> {
    pub(super) stream: S,
    pub(super) name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixels: Vec<u32>,
    pub(super) format: PixelFormat,
    /// Rectangles of the last update: encoding, and place.
    pub(super) rects: Vec<(i32, [u32; 4])>,
    /// Data of the last pseudo-rectangle that has some.
    pub(super) extra: Vec<u8>,
    pub(super) colour_map: Vec<[u16; 3]>,
    /// Messages of the server other than updates, by number.
    pub(super) others: Vec<u8>,
    /// Whether fences are answered.
    pub(super) answers: bool,
    zlib: Decompress,
    zrle: Decompress,
    tight: [Decompress; 4],
}

fn stream() -> Decompress {
    Decompress::new(true)
}

impl<S: Read + Write> Viewer<S> {
    /// Connects without a password, speaking 3.8.
    pub(super) fn new(mut stream: S, shared: bool) -> io::Result<Self> {
        let mut version = [0; 12];
        stream.read_exact(&mut version)?;
        assert_eq!(&version, b"RFB 003.008\n");
        stream.write_all(b"RFB 003.008\n")?;
        let mut types = [0; 2];
        stream.read_exact(&mut types)?;
        assert_eq!(types, [1, 1]);
        stream.write_all(&[1])?;
        let mut result = [0; 4];
        stream.read_exact(&mut result)?;
        assert_eq!(result, [0; 4]);
        stream.write_all(&[shared.into()])?;
        Self::initialise(stream)
    }

    /// Reads ServerInit.
    pub(super) fn initialise(stream: S) -> io::Result<Self> {
        let zlib = self::stream;
        let mut this = Self {
            stream,
            name: String::new(),
            width: 0,
            height: 0,
            pixels: Vec::new(),
            format: PixelFormat::NATIVE,
            rects: Vec::new(),
            extra: Vec::new(),
            colour_map: Vec::new(),
            others: Vec::new(),
            answers: true,
            zlib: zlib(),
            zrle: zlib(),
            tight: [zlib(), zlib(), zlib(), zlib()],
        };
        (this.width, this.height) = (this.u16()?.into(), this.u16()?.into());
        let format = this.bytes(16)?;
        assert_eq!(format, PixelFormat::NATIVE.to_bytes());
        this.name = this.text()?;
        this.pixels = vec![0; (this.width * this.height) as usize];
        Ok(this)
    }

    fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.bytes(2)?.try_into().unwrap()))
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.bytes(4)?.try_into().unwrap()))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.u32()? as usize;
        Ok(String::from_utf8(self.bytes(length)?).unwrap())
    }

    pub(super) fn set_format(&mut self, format: PixelFormat) -> io::Result<()> {
        self.format = format;
        let mut message = vec![0; 4];
        message.extend(format.to_bytes());
        self.stream.write_all(&message)
    }

    pub(super) fn set_encodings(&mut self, numbers: &[i32]) -> io::Result<()> {
        let mut message = vec![2, 0];
        message.extend((numbers.len() as u16).to_be_bytes());
        numbers.iter().for_each(|number| message.extend(number.to_be_bytes()));
        self.stream.write_all(&message)
    }

    pub(super) fn request(&mut self, incremental: bool) -> io::Result<()> {
        self.request_area(incremental, [0, 0, self.width as u16, self.height as u16])
    }

    pub(super) fn request_area(&mut self, incremental: bool, area: [u16; 4]) -> io::Result<()> {
        let mut message = vec![3, incremental.into()];
        area.iter().for_each(|value| message.extend(value.to_be_bytes()));
        self.stream.write_all(&message)
    }

    pub(super) fn key(&mut self, symbol: u32, pressed: bool) -> io::Result<()> {
        let mut message = vec![4, pressed.into(), 0, 0];
        message.extend(symbol.to_be_bytes());
        self.stream.write_all(&message)
    }

    /// Reads messages up to the next update and applies it.
    pub(super) fn update(&mut self) -> io::Result<()> {
        loop {
            match self.u8()? {
                0 => break,
                1 => {
                    self.bytes(3)?;
                    for _ in 0..self.u16()? {
                        let entry = [self.u16()?, self.u16()?, self.u16()?];
                        self.colour_map.push(entry);
                    }
                }
                150 => self.others.push(150),
                248 => self.fence()?,
                other => panic!("message {other}"),
            }
        }
        self.bytes(1)?;
        self.rects.clear();
        for _ in 0..self.u16()? {
            let rect = [self.u16()?, self.u16()?, self.u16()?, self.u16()?].map(u32::from);
            let encoding = self.u32()? as i32;
            self.rects.push((encoding, rect));
            self.rect(encoding, rect)?;
        }
        Ok(())
    }

    fn fence(&mut self) -> io::Result<()> {
        self.others.push(248);
        self.bytes(3)?;
        let flags = self.u32()?;
        let length = self.u8()?;
        let payload = self.bytes(length.into())?;
        if flags >> 31 == 1 && self.answers {
            let mut message = vec![248, 0, 0, 0];
            message.extend((flags & 7).to_be_bytes());
            message.push(length);
            message.extend(payload);
            self.stream.write_all(&message)?;
        }
        Ok(())
    }

    fn rect(&mut self, encoding: i32, rect: [u32; 4]) -> io::Result<()> {
        let [x, y, width, height] = rect;
        let count = (width * height) as usize;
        let bytes = usize::from(self.format.bits / 8);
        let values = match encoding {
            0 => {
                let data = self.bytes(count * bytes)?;
                data.chunks(bytes).map(|pixel| self.pixel(pixel)).collect()
            }
            5 => self.hextile(width, height)?,
            6 => {
                let length = self.u32()? as usize;
                let data = self.bytes(length)?;
                let data = inflate(&mut self.zlib, &data, count * bytes);
                data.chunks(bytes).map(|pixel| self.pixel(pixel)).collect()
            }
            7 => self.tight(width, height)?,
            16 => self.zrle(width, height)?,
            -223 => {
                self.resize(width, height);
                return Ok(());
            }
            -308 => {
                self.extra = self.bytes(20)?;
                self.resize(width, height);
                return Ok(());
            }
            -307 => {
                self.name = self.text()?;
                return Ok(());
            }
            -257 | -258 => return Ok(()),
            -261 => {
                self.extra = self.bytes(1)?;
                return Ok(());
            }
            0x574D_5668 => {
                self.extra = self.bytes(4)?;
                return Ok(());
            }
            -239 => {
                self.extra = self.bytes(count * bytes + (width.div_ceil(8) * height) as usize)?;
                return Ok(());
            }
            other => panic!("encoding {other}"),
        };
        self.put([x, y, width, height], &values);
        Ok(())
    }

    fn resize(&mut self, width: u32, height: u32) {
        if (self.width, self.height) != (width, height) {
            (self.width, self.height) = (width, height);
            self.pixels = vec![0; (width * height) as usize];
        }
    }

    fn put(&mut self, [x, y, width, height]: [u32; 4], values: &[u32]) {
        assert_eq!(values.len(), (width * height) as usize);
        assert!(x + width <= self.width && y + height <= self.height);
        for (row, values) in (y..).zip(values.chunks(width as usize)) {
            let at = (row * self.width + x) as usize;
            self.pixels[at..at + width as usize].copy_from_slice(values);
        }
    }
}

/// What a viewer of this format is to have for a frame's pixel.
pub(super) fn expected(format: PixelFormat, colour: u32) -> u32 {
    let channel = |index: usize| {
        let value = colour >> (16 - 8 * index) & 0xFF;
        let scaled = (f64::from(value) * f64::from(format.max[index]) / 255.0).round() as u32;
        scaled << format.shift[index]
    };
    channel(0) | channel(1) | channel(2)
}
