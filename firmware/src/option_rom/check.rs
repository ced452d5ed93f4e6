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
        errors if errors.is_empty() => Ok(rom.chain(bytes)),
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
        if !self.is_display() {
            let told = self.classified().unwrap_or(main);
            findings.push(Problem::NotDisplay { offset: told.pcir_offset + 0x0d, found: told.class });
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
            let found = (image.vendor, image.device);
            // EFI images need not say whom they are for: firmware starts them for the device that shows the ROM.
            let said = found != (0, 0);
            if said && !image.supports(main.vendor, main.device) && !main.supports(image.vendor, image.device)
            {
                findings.push(Problem::MixedDevices { image: index, offset: image.pcir_offset + 4, found });
            }
        }
        if self.is_display() && !self.has_gop() {
            findings.push(Problem::NoGop);
        }
        findings
    }

    /// The findings of a ROM for a GPU whose firmware driver need not come from its vendor, a virtual one above all:
    /// EFI drivers alone, which firmware starts whatever their PCIR says, may name any device and have no class.
    pub fn findings_of_driver(&self, expect: Option<Expect>) -> Vec<Problem> {
        let findings = self.findings(expect);
        let named =
            |problem: &Problem| matches!(problem, Problem::OtherDevice { .. } | Problem::NotDisplay { .. });
        let driver = self.is_efi_only() && (self.is_display() || self.class() == 0);
        match self.main() {
            Some(main) if driver && findings.iter().any(named) => {
                let told = Problem::OtherDriver { found: (main.vendor, main.device), class: self.class() };
                findings.into_iter().filter(|problem| !named(problem)).chain([told]).collect()
            }
            _ => findings,
        }
    }
}
