//! edid-decode finds nothing wrong with any block, and reads from it what was wanted.

use std::process::Command;

use proptest::prelude::*;

use super::*;

/// What edid-decode makes of the block; fails if it complains.
fn decode(edid: &Edid) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), edid.bytes).unwrap();
    let output = Command::new("edid-decode")
        .args(["--check", "--check-inline"])
        .arg(file.path())
        .output()
        .expect("edid-decode is needed for this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}x{}:\n{text}", edid.width, edid.height);
    for complaint in ["Warnings:", "WARN", "Failures:", "FAIL"] {
        assert!(!text.contains(complaint), "{complaint}: {text}");
    }
    assert!(text.contains("EDID conformity: PASS"), "{text}");
    text
}

#[test]
fn a_decoder_finds_nothing_wrong() {
    for (width, height) in [
        (640, 480),
        (800, 600),
        (1024, 768),
        (1280, 720),
        (1280, 800),
        (1280, 1024),
        (1360, 768),
        (1366, 768),
        (1440, 900),
        (1600, 900),
        (1680, 1050),
        (1920, 1080),
        (1920, 1200),
        (2048, 1536),
        (2560, 1080),
        (2560, 1440),
        (2560, 1600),
        (2880, 1800),
        (3440, 1440),
        (3840, 1600),
        (3840, 2160),
        (4095, 2160),
        (1080, 1920),
        (1201, 777),
    ] {
        let text = decode(&edid((width, height), (0, 0)).unwrap());
        let line = text.lines().find(|line| line.contains("DTD 1:")).unwrap();
        assert!(line.contains(&format!("{width}x{height} ")), "{line}");
        let hertz =
            line.split(&format!("{width}x{height}")).nth(1).unwrap().split_whitespace().next().unwrap();
        let hertz: f64 = hertz.parse().unwrap();
        // The clock's granularity takes up to a quarter of a megahertz.
        assert!((59.3..=60.0).contains(&hertz), "{line}");
    }
}

#[test]
fn offers_no_mode_above_the_preferred_one() {
    let listed = |width, height| {
        let text = decode(&edid((width, height), (0, 0)).unwrap());
        let modes = text.lines().filter(|line| line.contains(" Hz ") && !line.contains("DTD"));
        let words = modes.filter_map(|line| {
            line.split_whitespace().find(|word| word.split('x').all(|side| side.parse::<u32>().is_ok()))
        });
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed(640, 480), [""; 0]);
    assert_eq!(listed(1024, 768), ["640x480", "800x600"]);
    let large = [
        "640x480",
        "800x600",
        "1024x768",
        "1280x720",
        "1280x800",
        "1280x1024",
        "1440x900",
        "1600x900",
        "1680x1050",
        "1920x1080",
    ];
    assert_eq!(listed(1920, 1200), large);
    assert_eq!(listed(1920, 1080), large[..9]);
}

#[test]
fn fits_the_limit() {
    let size = |wanted, limit| edid(wanted, limit).map(|edid| (edid.width, edid.height));
    assert_eq!(size((3840, 2160), (1920, 1200)), Ok((1920, 1200)));
    assert_eq!(size((1280, 720), (1920, 1200)), Ok((1280, 720)));
    assert_eq!(size((3840, 2160), (0, 1200)), Ok((3840, 1200)));
    assert_eq!(size((8000, 6000), (1024, 768)), Ok((1024, 768)));
    assert_eq!(size((1920, 1080), (64, 64)), Err(EdidError::TooSmall { width: 64, height: 64 }));
    assert_eq!(size((u32::MAX, 1080), (0, 0)), Err(EdidError::TooLarge { width: u32::MAX, height: 1080 }));
}

proptest! {
    /// Every resolution is refused, or said by a block that adds up and says the same.
    #[test]
    fn says_what_was_wanted(width in 0u32..5000, height in 0u32..5000) {
        if let Ok(edid) = edid((width, height), (0, 0)) {
            let byte = |at: usize| u32::from(edid.bytes[at]);
            prop_assert_eq!(edid.bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            prop_assert_eq!(byte(56) | (byte(58) & 0xf0) << 4, width);
            prop_assert_eq!(byte(59) | (byte(61) & 0xf0) << 4, height);
            let total = (width + 160) * (height + (byte(60) | (byte(61) & 0xf) << 8));
            let clock = (byte(54) | byte(55) << 8) * 10_000;
            prop_assert!(clock <= total * 60 && clock + 250_000 > total * 60);
        }
    }

    #[test]
    fn no_arguments_upset_it(wanted: (u32, u32), limit: (u32, u32)) {
        let _ = edid(wanted, limit);
    }
}

proptest! {
    // A process each.
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_decoder_likes_any(width in 640u32..=4095, height in 480u32..2400) {
        if let Ok(edid) = edid((width, height), (0, 0)) {
            decode(&edid);
        }
    }
}
