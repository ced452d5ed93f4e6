//! A picture as PNG. Edges between pixels are blended by how much of a pixel they cover; letters are those of Noto Sans Mono, drawn before
//! (the crate `noto-sans-mono-bitmap`).

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};

use super::scene::{Anchor, CELL, Colour, Mark, Scene};

/// Pixels, three bytes each.
struct Canvas {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// Draws a picture.
pub(super) fn encode(scene: &Scene) -> Result<Vec<u8>, png::EncodingError> {
    let mut canvas = Canvas::new(scene);
    for mark in &scene.marks {
        match mark {
            Mark::Rect { x, y, width, height, colour } => {
                canvas.rect([*x, *y, x + width, y + height], *colour)
            }
            Mark::Text { x, y, text, colour, bold, anchor } => {
                let length = text.chars().count() as f64 * CELL;
                let x = match anchor {
                    Anchor::Start => *x,
                    Anchor::Middle => x - length / 2.0,
                    Anchor::End => x - length,
                };
                canvas.text(
                    [x, *y],
                    text,
                    *colour,
                    if *bold { FontWeight::Bold } else { FontWeight::Regular },
                );
            }
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, canvas.width as u32, canvas.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&canvas.bytes)?;
    Ok(file)
}

impl Canvas {
    fn new(scene: &Scene) -> Self {
        let (width, height) = (scene.width.ceil() as usize, scene.height.ceil() as usize);
        Self { width, height, bytes: bytes(scene.background).repeat(width * height) }
    }

    /// Mixes a colour into a pixel, by a share from 0 to 1.
    fn blend(&mut self, column: usize, row: usize, colour: Colour, share: f64) {
        if column >= self.width {
            return;
        }
        let at = (row * self.width + column) * 3;
        for (old, new) in self.bytes.iter_mut().skip(at).take(3).zip(bytes(colour)) {
            *old = (f64::from(*old) * (1.0 - share) + f64::from(new) * share).round() as u8;
        }
    }

    /// Left, upper, right and lower edge.
    fn rect(&mut self, [left, top, right, bottom]: [f64; 4], colour: Colour) {
        let covered = |pixel: usize, from: f64, to: f64| {
            let pixel = pixel as f64;
            (to.min(pixel + 1.0) - from.max(pixel)).clamp(0.0, 1.0)
        };
        for row in top.max(0.0) as usize..(bottom.ceil().max(0.0) as usize).min(self.height) {
            for column in left.max(0.0) as usize..(right.ceil().max(0.0) as usize).min(self.width) {
                self.blend(column, row, colour, covered(row, top, bottom) * covered(column, left, right));
            }
        }
    }

    fn text(&mut self, [x, y]: [f64; 2], text: &str, colour: Colour, weight: FontWeight) {
        let (mut left, top) = (x.round().max(0.0) as usize, y.round().max(0.0) as usize);
        for letter in text.chars() {
            let raster = get_raster(letter, weight, RasterHeight::Size16)
                .or_else(|| get_raster('?', weight, RasterHeight::Size16));
            let Some(raster) = raster else { continue };
            for (row, line) in raster.rows().enumerate() {
                for (column, shade) in line.iter().enumerate().filter(|(_, shade)| **shade > 0) {
                    self.blend(left + column, top + row, colour, f64::from(*shade) / 255.0);
                }
            }
            left += CELL as usize;
        }
    }
}

fn bytes(Colour(colour): Colour) -> [u8; 3] {
    let [_, red, green, blue] = colour.to_be_bytes();
    [red, green, blue]
}
