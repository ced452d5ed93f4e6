//! A VNC client that asks for a change as soon as it has seen the one before (RFC 6143), and notes when each came.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::Result;

/// DesktopSize.
const RESIZE: i32 = -223;
/// How long a server may take for what it has to answer at once.
const LIMIT: Duration = Duration::from_secs(60);

/// An update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Update {
    /// When all of it was there.
    pub(crate) when: Instant,
    /// Columns and rows of the screen.
    pub(crate) size: (u16, u16),
    /// The colour of the pixel that is watched, `0x00RRGGBB`.
    pub(crate) colour: u32,
}

struct Client {
    reader: BufReader<UnixStream>,
    size: (u16, u16),
    /// The place that is watched, and its colour.
    place: (u16, u16),
    colour: u32,
    row: Vec<u8>,
}

/// Connects to the server at a socket and watches the pixel at `place`, in a thread that ends with the connection.
pub(crate) fn watch(socket: &Path, place: (u16, u16)) -> Result<Receiver<Update>> {
    let stream = UnixStream::connect(socket)
        .map_err(|error| format!("cannot connect to the VNC server at {}: {error}", socket.display()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut client = Client::greet(stream, place)?;
    client.stream().set_read_timeout(None)?;
    let (sender, updates) = channel();
    std::thread::spawn(move || {
        if let Err(error) = client.run(&sender) {
            crate::tell(&format!("the VNC connection is over: {error}"));
        }
    });
    Ok(updates)
}

impl Client {
    /// The handshake, without a password.
    fn greet(stream: UnixStream, place: (u16, u16)) -> Result<Self> {
        let mut this = Self {
            reader: BufReader::with_capacity(1 << 16, stream),
            size: (0, 0),
            place,
            colour: 0,
            row: Vec::new(),
        };
        let _version: [u8; 12] = this.read()?;
        this.write(b"RFB 003.008\n")?;
        let [kinds] = this.read()?;
        this.skip(kinds.into())?;
        this.write(&[1])?;
        if this.read::<4>()? != [0; 4] {
            return Err("the VNC server wants a password".into());
        }
        // Shared.
        this.write(&[1])?;
        this.size = (this.word()?, this.word()?);
        this.skip(16)?;
        let name = u32::from_be_bytes(this.read()?);
        this.skip(name.into())?;
        // SetPixelFormat: 32 bits, 24 of them used, little-endian, true colour, red at bit 16.
        this.write(&[0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0])?;
        // SetEncodings: Raw and DesktopSize.
        let mut encodings = vec![2, 0, 0, 2];
        encodings.extend(0_i32.to_be_bytes());
        encodings.extend(RESIZE.to_be_bytes());
        this.write(&encodings)?;
        Ok(this)
    }

    fn run(&mut self, updates: &Sender<Update>) -> Result<()> {
        self.request(false)?;
        loop {
            let mut kind = [0];
            if self.reader.read(&mut kind)? == 0 {
                return Ok(());
            }
            let [kind] = kind;
            match kind {
                0 => {
                    let resized = self.update()?;
                    let update = Update { when: Instant::now(), size: self.size, colour: self.colour };
                    if updates.send(update).is_err() {
                        return Ok(());
                    }
                    self.request(!resized)?;
                }
                // Bell.
                2 => {}
                // ServerCutText.
                3 => {
                    self.skip(3)?;
                    let length = u32::from_be_bytes(self.read()?);
                    self.skip(length.into())?;
                }
                _ => return Err(format!("the server sent message {kind}").into()),
            }
        }
    }

    /// Reads an update, and says whether it has changed the size.
    fn update(&mut self) -> Result<bool> {
        self.skip(1)?;
        let mut resized = false;
        for _ in 0..self.word()? {
            let [x, y, width, height] = [self.word()?, self.word()?, self.word()?, self.word()?];
            match i32::from_be_bytes(self.read()?) {
                0 => self.raw([x, y, width, height])?,
                RESIZE => {
                    self.size = (width, height);
                    resized = true;
                }
                other => return Err(format!("the server uses encoding {other}").into()),
            }
        }
        Ok(resized)
    }

    fn raw(&mut self, [x, y, width, height]: [u16; 4]) -> Result<()> {
        self.row.resize(usize::from(width) * 4, 0);
        let column = self.place.0.checked_sub(x).filter(|column| *column < width);
        for row in 0..height {
            self.reader.read_exact(&mut self.row)?;
            let pixel = column.and_then(|column| self.row.as_chunks().0.get(usize::from(column)));
            if let Some(pixel) = pixel
                && u32::from(y) + u32::from(row) == u32::from(self.place.1)
            {
                self.colour = u32::from_le_bytes(*pixel) & 0xff_ffff;
            }
        }
        Ok(())
    }

    /// FramebufferUpdateRequest of all.
    fn request(&mut self, incremental: bool) -> Result<()> {
        let mut message = vec![3, u8::from(incremental), 0, 0, 0, 0];
        message.extend(self.size.0.to_be_bytes());
        message.extend(self.size.1.to_be_bytes());
        self.write(&message)
    }

    fn stream(&mut self) -> &mut UnixStream {
        self.reader.get_mut()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream().write_all(bytes)?)
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn word(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.read()?))
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        let skipped = std::io::copy(&mut self.reader.by_ref().take(count), &mut std::io::sink())?;
        if skipped < count { Err("the server has gone".into()) } else { Ok(()) }
    }
}
