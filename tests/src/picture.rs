//! Pictures that programs under test and their peers have taken, for comparison.

use std::path::Path;

use crate::{Outcome, lab};

/// Reads any format by Pillow, an implementation that is not ours, and writes a plain one.
const CONVERT: &str =
    "import sys; from PIL import Image; Image.open(sys.argv[1]).convert('RGB').save(sys.argv[2], 'PPM')";

/// A picture of 24 bits per pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue, row by row from the top.
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a file. In `OPTIMUS_E2E_OUT`, if that is set, a copy is kept as PNG for people to look at.
    pub fn load(path: &Path) -> Outcome<Self> {
        let plain = path.with_extension("plain.ppm");
        lab::call("python3", &["-c".as_ref(), CONVERT.as_ref(), path.as_os_str(), plain.as_os_str()])?;
        let picture = Self::parse(&std::fs::read(&plain)?)
            .ok_or_else(|| format!("{} is not a picture", path.display()))?;
        if let (Some(kept), Some(name)) = (std::env::var_os("OPTIMUS_E2E_OUT"), path.file_stem()) {
            let kept = Path::new(&kept).join(name).with_extension("png");
            let convert = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2])";
            lab::call("python3", &["-c".as_ref(), convert.as_ref(), plain.as_os_str(), kept.as_os_str()])?;
        }
        Ok(picture)
    }

    /// The format P6 of Netpbm with one byte per value and no comments.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"P6")?;
        let mut numbers = [0; 3];
        for number in &mut numbers {
            rest = rest.trim_ascii_start();
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            let (text, after) = rest.split_at(end);
            *number = str::from_utf8(text).ok()?.parse().ok()?;
            rest = after;
        }
        let [width, height, 255] = numbers else { return None };
        let (pixels, []) = rest.get(1..)?.as_chunks::<3>() else { return None };
        (pixels.len() == width * height).then(|| Self { width, height, pixels: pixels.to_vec() })
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// How many pixels differ by more than `tolerance` in one of the colours; all of them if the sizes do.
    pub fn differing(&self, other: &Self, tolerance: u8) -> usize {
        if self.size() != other.size() {
            return self.pixels.len().max(other.pixels.len());
        }
        let differ =
            |(a, b): &(&[u8; 3], &[u8; 3])| a.iter().zip(b.iter()).any(|(a, b)| a.abs_diff(*b) > tolerance);
        self.pixels.iter().zip(&other.pixels).filter(differ).count()
    }

    /// How many pixels have this colour.
    pub fn count(&self, colour: [u8; 3]) -> usize {
        self.pixels.iter().filter(|each| **each == colour).count()
    }

    /// How many colours there are.
    pub fn colours(&self) -> usize {
        self.pixels.iter().collect::<std::collections::HashSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_pictures_are_read() {
        let picture = Picture::parse(b"P6\n2 1\n255\n\x01\x02\x03\n\x20\x09").unwrap();
        assert_eq!((picture.size(), picture.count([1, 2, 3]), picture.colours()), ((2, 1), 1, 2));
        let other = Picture { pixels: vec![[1, 2, 3], [10, 30, 9]], ..picture.clone() };
        assert_eq!((picture.differing(&other, 1), picture.differing(&other, 2)), (1, 0));
        let other = Picture { pixels: vec![[1, 2, 6], [10, 30, 9]], ..picture.clone() };
        assert_eq!((picture.differing(&other, 2), picture.differing(&other, 3)), (1, 0));
        let wider = Picture { width: 1, height: 2, ..picture.clone() };
        assert_eq!(picture.differing(&wider, 255), 2);
        for wrong in
            [&b"P6\n2 1\n255\n\x01\x02\x03\n\x20"[..], b"P5\n1 1\n255\n\0", b"P6\n1 1\n65535\n\0\0\0", b"P6"]
        {
            assert_eq!(Picture::parse(wrong), None);
        }
    }
}
