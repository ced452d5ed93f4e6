//! A WAV file (RIFF WAVE, PCM) with what the guest plays: the sound alone, without the time in which it plays nothing.
//!
//! The first sound decides the rate that the file has. Sounds of other rates are brought to it by linear interpolation.
//! Samples have 32 bits, so that those of the guest, of 24 bits at most, are kept as they are. Header and data are
//! consistent whenever the machine ends, since the header is brought up to date with the data.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::{event, threads};

use super::queue::{Piece, Reader, Writer, queue};
use super::{Frame, Monitor, Sink};

/// Frames that may wait for a slow file system: two seconds and more.
const WAITING: usize = 1 << 17;
const HEADER: u32 = 44;
const FRAME: u32 = 8;
/// As much as a header can say, without the last frame.
const MOST: u32 = u32::MAX - HEADER - FRAME;

/// A file that what the guest plays is written to. Dropped, it has all of it.
pub struct Wav {
    writer: Writer,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Wav {
    /// Writes to `file`, which is empty.
    ///
    /// # Errors
    /// The host has no event or thread left.
    pub fn new(file: File, monitor: Arc<Monitor>) -> io::Result<Self> {
        let (writer, reader) = queue(WAITING, Arc::clone(&monitor))?;
        let over = Arc::<AtomicBool>::default();
        let ending = Arc::clone(&over);
        let thread = threads::start("wav", move || {
            let mut recording = Recording::new(file);
            let mut reader = reader;
            loop {
                let last = ending.load(Ordering::Acquire);
                if let Err(error) = recording.take(&mut reader) {
                    tracing::warn!("nothing more is written to the WAV file: {error}");
                    monitor.set_trouble(Some(format!("the WAV file cannot be written: {error}")));
                    return;
                }
                if last {
                    return;
                }
                event::wait(&[&reader.ready]);
            }
        })?;
        Ok(Self { writer, over, thread: Some(thread) })
    }
}

impl Drop for Wav {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.writer.stop();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

impl Sink for Wav {
    fn start(&mut self, rate: u32) {
        self.writer.start(rate);
    }

    fn write(&mut self, frames: &[Frame]) {
        self.writer.write(frames);
    }

    fn stop(&mut self) {
        self.writer.stop();
    }

    fn surplus(&self) -> Option<i64> {
        // A file is never late.
        None
    }
}

/// The file and what is in it.
struct Recording<F> {
    file: F,
    /// Of the file, once there is sound.
    rate: Option<u32>,
    /// Of the sound.
    from: u32,
    /// The frame before the next, and how far in between the file's next one is, in parts of the file's rate.
    before: Frame,
    phase: u64,
    data: Vec<u8>,
    /// Bytes of sound in the file.
    written: u32,
}

impl<F: Write + Seek> Recording<F> {
    fn new(file: F) -> Self {
        Self { file, rate: None, from: 0, before: [0, 0], phase: 0, data: Vec::new(), written: 0 }
    }

    /// Writes what waits.
    fn take(&mut self, reader: &mut Reader) -> io::Result<()> {
        while let Ok(piece) = reader.pieces.pop() {
            match piece {
                Piece::Start { rate, .. } => self.start(rate)?,
                Piece::Frame(frame) => self.frame(frame),
                Piece::Stop => {}
            }
        }
        self.flush()
    }

    fn start(&mut self, rate: u32) -> io::Result<()> {
        self.flush()?;
        self.from = rate;
        self.phase = 0;
        self.before = [0, 0];
        if self.rate.is_none() {
            self.rate = Some(rate);
            self.file.write_all(&header(rate, 0))?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame) {
        let Some(rate) = self.rate else { return };
        if rate == self.from {
            self.push(frame);
            return;
        }
        // Frames of the file that are between the one before and this one.
        let (rate, from) = (u64::from(rate), u64::from(self.from));
        while self.phase < rate {
            let between: Frame = std::array::from_fn(|side| {
                let pair = |frame: &Frame| i128::from(frame.get(side).copied().unwrap_or(0));
                let (first, second) = (pair(&self.before), pair(&frame));
                let value = first + (second - first) * i128::from(self.phase) / i128::from(rate.max(1));
                i32::try_from(value).unwrap_or(0)
            });
            self.push(between);
            self.phase += from.max(1);
        }
        self.phase -= rate;
        self.before = frame;
    }

    fn push(&mut self, frame: Frame) {
        frame.iter().for_each(|sample| self.data.extend_from_slice(&sample.to_le_bytes()));
    }

    fn flush(&mut self) -> io::Result<()> {
        let (Some(rate), false) = (self.rate, self.data.is_empty()) else { return Ok(()) };
        let written = u32::try_from(self.data.len())
            .ok()
            .and_then(|more| self.written.checked_add(more))
            .filter(|written| *written <= MOST)
            .ok_or_else(|| io::Error::other("the file is as large as WAV files can be"))?;
        self.file.write_all(&self.data)?;
        self.data.clear();
        self.file.rewind()?;
        self.file.write_all(&header(rate, written))?;
        self.file.seek(SeekFrom::End(0))?;
        self.written = written;
        Ok(())
    }
}

/// The header of a file with so many bytes of sound.
fn header(rate: u32, bytes: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&(bytes + HEADER - 8).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&16_u32.to_le_bytes());
    // PCM, two channels.
    header.extend_from_slice(&1_u16.to_le_bytes());
    header.extend_from_slice(&2_u16.to_le_bytes());
    header.extend_from_slice(&rate.to_le_bytes());
    header.extend_from_slice(&(rate.saturating_mul(FRAME)).to_le_bytes());
    header.extend_from_slice(&(FRAME as u16).to_le_bytes());
    header.extend_from_slice(&32_u16.to_le_bytes());
    header.extend_from_slice(b"data");
    header.extend_from_slice(&bytes.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(file: &[u8]) -> Vec<Frame> {
        let (head, data) = file.split_at(HEADER as usize);
        assert_eq!(head[40..44], (data.len() as u32).to_le_bytes());
        assert_eq!(head[4..8], (file.len() as u32 - 8).to_le_bytes());
        let sample = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().unwrap());
        data.chunks(8).map(|frame| [sample(&frame[..4]), sample(&frame[4..])]).collect()
    }

    #[test]
    fn what_is_played_is_in_the_file_sample_by_sample() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut wav = Wav::new(path.reopen().unwrap(), Arc::default()).unwrap();
        let frames: Vec<Frame> = (0..10_000).map(|index| [index << 8, i32::MIN + index]).collect();
        wav.start(44_100);
        wav.write(&frames[..4000]);
        wav.stop();
        wav.start(44_100);
        wav.write(&frames[4000..]);
        drop(wav);
        let file = std::fs::read(path.path()).unwrap();
        assert_eq!(file[24..28], 44_100_u32.to_le_bytes());
        assert_eq!(samples(&file), frames);
    }

    #[test]
    fn another_rate_is_brought_to_the_first() {
        for (from, count) in [(96_000, 480), (24_000, 1920), (44_100, 1045)] {
            let mut recording = Recording::new(io::Cursor::new(Vec::new()));
            recording.start(48_000).unwrap();
            recording.start(from).unwrap();
            (0..960).for_each(|index| recording.frame([index * 1000, -index * 1000]));
            recording.flush().unwrap();
            let frames = samples(recording.file.get_ref());
            assert!(frames.len().abs_diff(count) <= 2, "{from}: {}", frames.len());
            let step = 1000 * i64::from(from) / 48_000;
            for pair in frames.windows(2).skip(3) {
                let risen = i64::from(pair[1][0]) - i64::from(pair[0][0]);
                assert!((risen - step).abs() <= 1, "{from}: {risen}");
            }
        }
    }
}
