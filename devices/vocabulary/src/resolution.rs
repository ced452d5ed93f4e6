//! Display modes, as `1920x1080`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;
use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

/// Width and height of a display mode in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct Resolution {
    /// Pixels of a line: 640 to 3840.
    pub width: u16,
    /// Lines: 480 to 2400.
    pub height: u16,
}

impl Resolution {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "resolution";
    /// What it is, in words.
    pub const EXPECTED: &str = "a resolution such as \"1920x1080\"";
    /// The smallest that drivers and firmware have windows for.
    const LEAST: Self = Self { width: 640, height: 480 };
    /// The largest of laptops' panels, and about what the pixel clock of an EDID's detailed timing allows at 60 Hz
    /// (VESA E-EDID A.2 §3.10.2: 655.35 MHz).
    const MOST: Self = Self { width: 3840, height: 2400 };
}

impl Default for Resolution {
    fn default() -> Self {
        Self { width: 1920, height: 1080 }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let pair = text.split_once('x').and_then(|(width, height)| Some((number(width)?, number(height)?)));
        let Some((width, height)) = pair else {
            return Err(format!("\"{}\" is not {}", shorten(text), Self::EXPECTED));
        };
        let within = |value: u32, least: u16, most: u16| {
            u16::try_from(value).ok().filter(|value| (least..=most).contains(value))
        };
        let (least, most) = (Self::LEAST, Self::MOST);
        match (within(width, least.width, most.width), within(height, least.height, most.height)) {
            (Some(width), Some(height)) => Ok(Self { width, height }),
            _ => Err(format!("{width}x{height} is not between {least} and {most}")),
        }
    }
}

text_scalar!(Resolution);

inline_schema!(Resolution, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(6[4-9][0-9]|[7-9][0-9]{2}|[12][0-9]{3}|3[0-7][0-9]{2}|38[0-3][0-9]|3840)x(4[89][0-9]|[5-9][0-9]{2}|1[0-9]{3}|2[0-3][0-9]{2}|2400)$",
});
