//! Timings by the formula for flat panels: VESA Coordinated Video Timings 1.1, section 3.4 (reduced blanking), at 60 Hz.

use super::EdidError;

/// What twelve bits of a detailed timing descriptor hold.
const MAX_ACTIVE: u32 = 4095;
/// Guests show nothing useful on less, and decoders doubt that there are such displays.
const MIN_WIDTH: u32 = 640;
const MIN_HEIGHT: u32 = 480;
/// What sixteen bits hold, in units of 10 kHz.
const MAX_CLOCK: u32 = 0xffff;
/// The clock's granularity of 0.25 MHz, in units of 10 kHz.
const CLOCK_STEP: u32 = 25;
/// Pixels of a line that show nothing; of these 48 lie before the sync pulse.
pub(super) const H_BLANK: u32 = 160;
pub(super) const H_FRONT: u32 = 48;
pub(super) const H_SYNC: u32 = 32;
/// Lines before the sync pulse.
pub(super) const V_FRONT: u32 = 3;
/// The least number of lines after it.
const MIN_V_BACK: u32 = 6;
/// The least time without a picture between two frames, in microseconds.
const MIN_V_BLANK: u32 = 460;
const REFRESH: u32 = 60;
const HERTZ_PER_UNIT: u32 = 10_000;

/// A mode at 60 Hz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Lines that show nothing.
    pub(super) v_blank: u32,
    /// Lines of the sync pulse, by which displays recognise the aspect ratio.
    pub(super) v_sync: u32,
    /// Pixel clock in units of 10 kHz.
    pub(super) clock: u32,
}

impl Timing {
    /// The formula rounds widths to multiples of 8. This does not: the guest is to get exactly what it was promised.
    pub(super) fn new(width: u32, height: u32) -> Result<Self, EdidError> {
        if width < MIN_WIDTH || height < MIN_HEIGHT {
            return Err(EdidError::TooSmall { width, height });
        }
        let too_large = EdidError::TooLarge { width, height };
        if width > MAX_ACTIVE || height > MAX_ACTIVE {
            return Err(too_large);
        }
        let v_sync = v_sync(width, height);
        // Lines in the least blanking time, when `height` lines take the rest of a frame.
        let rest = 1_000_000 - REFRESH * MIN_V_BLANK;
        let least = REFRESH * MIN_V_BLANK * height / rest + 1;
        let v_blank = least.max(V_FRONT + v_sync + MIN_V_BACK);
        let hertz = (width + H_BLANK) * (height + v_blank) * REFRESH;
        let clock = hertz / HERTZ_PER_UNIT / CLOCK_STEP * CLOCK_STEP;
        if clock > MAX_CLOCK {
            return Err(too_large);
        }
        Ok(Self { width, height, v_blank, v_sync, clock })
    }
}

/// Table 3-2 of the standard.
fn v_sync(width: u32, height: u32) -> u32 {
    let is = |x: u32, y: u32| width * y == height * x;
    match () {
        () if is(4, 3) => 4,
        () if is(16, 9) => 5,
        () if is(16, 10) => 6,
        () if is(5, 4) || is(15, 9) => 7,
        () => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those with reduced blanking in VESA's Display Monitor Timings 1.13, and three later ones: all lines, those of the
    /// sync pulse, and the clock in units of 10 kHz.
    #[test]
    fn known_modes() {
        for (width, height, lines, v_sync, clock) in [
            (1280, 800, 823, 6, 7100),
            (1400, 1050, 1080, 4, 10100),
            (1440, 900, 926, 6, 8875),
            (1680, 1050, 1080, 6, 11900),
            (1920, 1200, 1235, 6, 15400),
            (2560, 1600, 1646, 6, 26850),
            (1920, 1080, 1111, 5, 13850),
            (2560, 1440, 1481, 5, 24150),
            (3840, 2160, 2222, 5, 53325),
        ] {
            let timing = Timing::new(width, height).unwrap();
            let found = (timing.height + timing.v_blank, timing.v_sync, timing.clock);
            assert_eq!(found, (lines, v_sync, clock), "{width}x{height}");
        }
    }

    #[test]
    fn limits_of_a_descriptor() {
        let too_small = |width, height| Err(EdidError::TooSmall { width, height });
        let too_large = |width, height| Err(EdidError::TooLarge { width, height });
        assert_eq!(Timing::new(639, 480), too_small(639, 480));
        assert_eq!(Timing::new(640, 479), too_small(640, 479));
        assert_eq!(Timing::new(4096, 1080), too_large(4096, 1080));
        assert_eq!(Timing::new(1080, 4096), too_large(1080, 4096));
        assert_eq!(Timing::new(u32::MAX, u32::MAX), too_large(u32::MAX, u32::MAX));
        assert_eq!(Timing::new(4095, 2700), too_large(4095, 2700), "more than 655.35 MHz");
        assert!(Timing::new(4095, 2400).is_ok());
        assert!(Timing::new(640, 480).is_ok());
    }
}
