//! Pictures of the guest's screen as PNG files (W3C "Portable Network Graphics Specification", third edition): 8 bits of red,
//! green and blue for each pixel, with the pointer drawn in.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use devices::display::{Cursor, Frame, Screen};

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

/// The size of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Writes what `screen` shows to `path`: as a whole or not at all.
///
/// # Errors
///
/// There is nothing to see, or the file cannot be written.
pub fn save(screen: &dyn Screen, path: &Path) -> Result<Size, ScreenshotError> {
    let mut view = screen.view().map_err(ScreenshotError::Look)?;
    view.look();
    let frame = view.frame();
    let Frame { width, height, .. } = *frame;
    if width == 0 || height == 0 {
        let why = screen.blank_reason().unwrap_or_else(|| "the screen was just turned off".into());
        return Err(ScreenshotError::Blank(why));
    }
    let picture = encode(frame, view.cursor())?;
    replace(path, &picture).map_err(|source| ScreenshotError::Write { path: path.into(), source })?;
    Ok(Size { width, height })
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
        draw(pixels.to_mut(), frame.width, frame.height, cursor);
    }
    let mut bytes = Vec::with_capacity(pixels.len().saturating_mul(3));
    for pixel in pixels.iter() {
        let [_, red, green, blue] = pixel.to_be_bytes();
        bytes.extend([red, green, blue]);
    }
    bytes
}

/// Lays the pointer over the picture, as far as it is within it.
fn draw(pixels: &mut [u32], width: u32, height: u32, cursor: &Cursor) {
    if cursor.width == 0 {
        return;
    }
    let (left, top) = (
        i64::from(cursor.x).saturating_sub(i64::from(cursor.hot_x)),
        i64::from(cursor.y).saturating_sub(i64::from(cursor.hot_y)),
    );
    for (above, row) in (0_i64..i64::from(cursor.height)).zip(cursor.pixels.chunks(cursor.width as usize)) {
        for (before, over) in (0_i64..).zip(row) {
            let (Ok(x), Ok(y)) = (u32::try_from(left + before), u32::try_from(top + above)) else { continue };
            if x >= width || y >= height {
                continue;
            }
            let index = u64::from(y) * u64::from(width) + u64::from(x);
            if let Some(pixel) = usize::try_from(index).ok().and_then(|index| pixels.get_mut(index)) {
                *pixel = blend(*pixel, *over);
            }
        }
    }
}

/// `over`, with alpha and not premultiplied, on an opaque pixel.
fn blend(under: u32, over: u32) -> u32 {
    let [alpha, above @ ..] = over.to_be_bytes();
    let [_, below @ ..] = under.to_be_bytes();
    let alpha = u32::from(alpha);
    let mix = |above: u8, below: u8| {
        // Rounded to the nearest; at most 255 * 255.
        let sum = u32::from(above) * alpha + u32::from(below) * (255 - alpha);
        (sum + 127) / 255
    };
    let [(red, red_below), (green, green_below), (blue, blue_below)] =
        [(above[0], below[0]), (above[1], below[1]), (above[2], below[2])];
    mix(red, red_below) << 16 | mix(green, green_below) << 8 | mix(blue, blue_below)
}

/// Whether a picture could be put at `path`, as far as that can be told without doing it.
///
/// # Errors
///
/// There is no folder for it, or something that is no file in its place.
pub fn check_place(path: &Path) -> io::Result<()> {
    // A rename would put a file in the place of a device or a pipe.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let what = "there is something that is no file; choose another path";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    fs::metadata(folder_of(path)).map(drop)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Replaces a file as a whole: who reads it sees the old or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    check_place(path)?;
    // As any new file of the user's: the kernel takes the umask from it.
    let mut file =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder_of(path))?;
    file.write_all(content)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod wall;
