//! A picture as SVG 1.1, in whose texts all that XML gives a meaning to is escaped (XML 1.0, section 2.4).

use std::fmt::Write as _;

use super::scene::{Anchor, Mark, Scene};

/// From the upper edge of a line to the foot of its letters.
const FOOT: f64 = 12.0;

/// The picture as a file, with a name for those who cannot see it.
pub(super) fn write(scene: &Scene, name: &str) -> String {
    let (width, height) = (scene.width, scene.height);
    // 7 pixels for a letter are 0.6 of the size in all common fonts of equal width.
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"'Noto Sans Mono','DejaVu Sans Mono','Liberation Mono',monospace\" font-size=\"11.67\" role=\"img\">\n\
         <title>{}: time of events</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#{:06x}\"/>\n",
        escaped(name),
        scene.background.0
    );
    for mark in &scene.marks {
        // Writing to a string does not fail.
        let _ = match mark {
            Mark::Rect { x, y, width, height, colour } => writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#{:06x}\"/>",
                short(*x),
                short(*y),
                short(*width),
                short(*height),
                colour.0
            ),
            Mark::Text { x, y, text, colour, bold, anchor } => {
                let weight = if *bold { " font-weight=\"bold\"" } else { "" };
                let anchor = match anchor {
                    Anchor::Start => "",
                    Anchor::Middle => " text-anchor=\"middle\"",
                    Anchor::End => " text-anchor=\"end\"",
                };
                let (x, y, text) = (short(*x), short(*y + FOOT), escaped(text));
                writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{y}\" fill=\"#{:06x}\"{weight}{anchor}>{text}</text>",
                    colour.0
                )
            }
        };
    }
    out + "</svg>\n"
}

/// Hundredths of a pixel are enough.
fn short(pixels: f64) -> f64 {
    (pixels * 100.0).round() / 100.0
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write these.
            _ if one.is_control() || matches!(one, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            _ => out.push(one),
        }
    }
    out
}
