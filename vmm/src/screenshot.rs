//! Pictures of the guest's screen as PNG files (W3C "Portable Network Graphics Specification", third edition) or in the PPM
//! format (ppm(5) of Netpbm): 8 bits of red, green and blue for each pixel, with the pointer drawn in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use devices::display::{Cursor, Frame, Screen};
use firmware::new_file::{self, folder_of};

use crate::output::{Identity, open_files};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ScreenshotError {
    /// The screen is blank; why.
    #[error("no screenshot was written: the guest's screen is blank: {0}")]
    Blank(String),
    /// The screen cannot be looked at.
    #[error("cannot look at the guest's screen for a screenshot: {0}")]
    Look(#[source] io::Error),
    /// The picture cannot be encoded.
    #[error("cannot encode the guest's screen as PNG: {0}")]
    Encode(#[from] png::EncodingError),
    /// The file cannot be written.
    #[error("cannot write the screenshot {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// Portable Pixmap, in binary ("P6").
    Ppm,
}

/// The size of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A picture of a screen, in the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    size: Size,
    file: Vec<u8>,
}

/// A file that a machine is made from, with what it is called in messages. A picture never takes its place.
pub type MachineFile = (String, PathBuf);

/// Writes what `screen` shows to `path`, which none of `files` is: as a whole or not at all.
///
/// # Errors
///
/// There is nothing to see, or the file cannot be written.
pub fn save(
    screen: &dyn Screen,
    path: &Path,
    format: Format,
    files: &[MachineFile],
) -> Result<Size, ScreenshotError> {
    take(screen, format)?.save(path, files)
}

/// Takes a picture of what `screen` shows.
///
/// # Errors
///
/// There is nothing to see.
pub fn take(screen: &dyn Screen, format: Format) -> Result<Picture, ScreenshotError> {
    let mut view = screen.view().map_err(ScreenshotError::Look)?;
    view.look();
    let frame = view.frame();
    let Frame { width, height, .. } = *frame;
    if width == 0 || height == 0 {
        let why = screen.blank_reason().unwrap_or_else(|| "the screen was just turned off".into());
        return Err(ScreenshotError::Blank(why));
    }
    let file = match format {
        Format::Png => encode(frame, view.cursor())?,
        Format::Ppm => {
            let mut file = format!("P6\n{width} {height}\n255\n").into_bytes();
            file.extend(samples(frame, view.cursor()));
            file
        }
    };
    Ok(Picture { size: Size { width, height }, file })
}

impl Picture {
    /// Writes it to `path`, which none of `files` is: as a whole or not at all. Its screen is not needed for that.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn save(&self, path: &Path, files: &[MachineFile]) -> Result<Size, ScreenshotError> {
        replace(path, &self.file, files)
            .map_err(|source| ScreenshotError::Write { path: path.into(), source })?;
        Ok(self.size)
    }
}

/// `frame` with `cursor` on it as the bytes of a PNG file.
///
/// # Errors
///
/// The frame is empty, or has more or fewer pixels than its size says.
pub fn encode(frame: &Frame, cursor: Option<&Cursor>) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // A screenshot is waited for, and screens compress well at any level.
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&samples(frame, cursor))?;
    writer.finish()?;
    Ok(file)
}

/// Red, green and blue of each pixel, one byte each.
fn samples(frame: &Frame, cursor: Option<&Cursor>) -> Vec<u8> {
    let mut pixels = std::borrow::Cow::Borrowed(frame.pixels.as_slice());
    if let Some(cursor) = cursor {
        draw(pixels.to_mut(), (frame.width, frame.height), cursor);
    }
    let mut bytes = Vec::with_capacity(pixels.len().saturating_mul(3));
    for pixel in pixels.iter() {
        let [_, red, green, blue] = pixel.to_be_bytes();
        bytes.extend([red, green, blue]);
    }
    bytes
}

/// Lays the pointer over the picture, as far as it is within it.
fn draw(pixels: &mut [u32], size: (u32, u32), cursor: &Cursor) {
    let Some(place) = cursor.place(size) else { return };
    let rows = pixels.chunks_mut(size.0.max(1) as usize);
    for (y, row) in (0..).zip(rows).skip(place.y as usize).take(place.height as usize) {
        for (x, pixel) in (0..).zip(row).skip(place.x as usize).take(place.width as usize) {
            *pixel = cursor.over(x, y, *pixel);
        }
    }
}

/// Whether a picture could be put at `path`, which none of `files` is, as far as that can be told without doing it.
///
/// # Errors
///
/// There is no folder for it, or something that is no file in its place, or a file that the machine uses.
pub fn check_place(path: &Path, files: &[MachineFile]) -> io::Result<()> {
    // A rename would put a file in the place of a device or a pipe.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let what = "there is something that is no file; choose another path";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    if let Some(there) = Identity::at(path) {
        let refusal = |what: String| Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
        // By device and inode, as they are now: an editor may have replaced the file.
        if let Some((name, _)) = files.iter().find(|(_, file)| Identity::at(file) == Some(there)) {
            return refusal(format!("this is {name}, which the machine is made from; choose another path"));
        }
        // A disk's image would go on without a name, and be lost at the end.
        if open_files().iter().any(|(open, _)| *open == there) {
            return refusal("the machine itself uses this file; choose another path".into());
        }
    }
    fs::metadata(folder_of(path)).map(drop)
}

/// Replaces a file as a whole: who reads it sees the old or the new one. What a guest shows is its user's alone.
fn replace(path: &Path, content: &[u8], files: &[MachineFile]) -> io::Result<()> {
    check_place(path, files)?;
    new_file::replace(path, content, 0o600)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod wall;
