//! Whether a ROM is fit for a device.

use super::{Problem, Rom, RomError, Severity, parse};

/// The device that a ROM is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Vendor ID of the device.
    pub vendor: u16,
    /// Device ID of the device.
    pub device: u16,
    /// Vendor and device ID under which the guest sees it, where they differ: a ROM for these will do as well.
    pub also: Option<(u16, u16)>,
}

impl Expect {
    /// A device that is seen under its own IDs.
    pub fn new(vendor: u16, device: u16) -> Self {
        Self { vendor, device, also: None }
    }

    fn ids(self) -> Vec<(u16, u16)> {
        let mut ids = vec![(self.vendor, self.device)];
        ids.extend(self.also.filter(|also| *also != (self.vendor, self.device)));
        ids
    }
}

/// A ROM that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The chain of images, unchanged, without what was in front of it and behind it in the file.
    pub image: Vec<u8>,
    /// What the user should know.
    pub warnings: Vec<Problem>,
}

/// Parses and validates a video BIOS in one go.
///
/// # Errors
/// Those of [`parse`] and [`validate`].
pub fn check(bytes: &[u8], expect: Option<Expect>) -> Result<Checked, RomError> {
    let rom = parse(bytes)?;
    let image = validate(&rom, bytes, expect)?;
    Ok(Checked { image, warnings: of(Severity::Warning, rom.findings(expect)) })
}

/// Checks that a ROM is an intact video BIOS, for the expected device if one is given. Nothing is repaired.
///
/// The first image decides which device it is for: NVIDIA's private images may carry the ID of another board with
/// the same chip. Gives back the chain without prefix and trailing bytes; `bytes` must be what was parsed.
///
/// # Errors
/// [`RomError::Unusable`] with all problems of [`Severity::Error`].
pub fn validate(rom: &Rom, bytes: &[u8], expect: Option<Expect>) -> Result<Vec<u8>, RomError> {
    match of(Severity::Error, rom.findings(expect)) {
        errors if errors.is_empty() => Ok(rom.chain(bytes).to_vec()),
        errors => Err(RomError::Unusable(errors)),
    }
}

fn of(severity: Severity, problems: Vec<Problem>) -> Vec<Problem> {
    problems.into_iter().filter(|problem| problem.severity() == severity).collect()
}

impl Rom {
    /// All that is wrong with the ROM as a video BIOS, errors and warnings; for the expected device if one is given.
    pub fn findings(&self, expect: Option<Expect>) -> Vec<Problem> {
        let mut findings = self.problems.clone();
        let Some(main) = self.main() else { return findings };
        if main.class >> 16 != 0x03 {
            findings.push(Problem::NotDisplay { offset: main.pcir_offset + 0x0d, found: main.class });
        }
        if let Some(expect) = expect {
            let expected = expect.ids();
            if !expected.iter().any(|(vendor, device)| main.supports(*vendor, *device)) {
                let found = (main.vendor, main.device);
                findings.push(Problem::OtherDevice { offset: main.pcir_offset + 4, found, expected });
            }
        }
        for (index, image) in self.images.iter().enumerate().skip(1).filter(|(_, image)| !image.is_private())
        {
            if !image.supports(main.vendor, main.device) {
                let found = (image.vendor, image.device);
                findings.push(Problem::MixedDevices { image: index, offset: image.pcir_offset + 4, found });
            }
        }
        if !self.has_gop() && main.class >> 16 == 0x03 {
            findings.push(Problem::NoGop);
        }
        findings
    }
}
