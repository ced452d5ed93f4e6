//! The expansion ROM that a passed-through function shows: a file that the user names, or the device's own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devices::vfio::Rom;
use devices::vfio::host::{HostDevice, region};
use firmware::input;
use firmware::option_rom::{self, Checked, Expect, Problem, RomError, Severity};
use vocabulary::LentDevice;

use crate::config::RomSource;
use crate::finding::{Finding, Section};
use crate::plan::{MachinePlan, PlannedPassthrough};

/// Largest ROM that is read, in bytes.
const MAX_SIZE: u64 = 16 << 20;
/// Base class in the Class Code (PCIe 6.0, 7.5.1.1.6), and that of display controllers.
const BASE_CLASS: u64 = 0x0b;
const DISPLAY: u8 = 0x03;
/// Bytes that are read from a device at once.
const CHUNK: usize = 0x1000;

/// Why a file is not shown as a function's ROM.
#[derive(Debug, thiserror::Error)]
pub(super) enum RomFileError {
    /// It cannot be read.
    #[error("cannot read {path}, the ROM of {device}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The device.
        device: LentDevice,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is none, or for another device.
    #[error(
        "{path} is no ROM for {device}{}: {source}. `optimus-vmm vbios info {path}` shows what it is; `rom = \"off\"` goes \
         without", ids.map(|(vendor, id)| format!(" ({vendor:04x}:{id:04x})")).unwrap_or_default()
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The device.
        device: LentDevice,
        /// Vendor and device ID, if they are known already.
        ids: Option<(u16, u16)>,
        /// What is wrong with it.
        source: RomError,
    },
}

/// The ROM files of the plan's functions, by the index of the function.
#[derive(Debug, Default)]
pub(in crate::machine) struct Roms(BTreeMap<usize, RomFile>);

#[derive(Debug)]
enum RomFile {
    /// It is for the device.
    Checked(Arc<[u8]>),
    /// It is a ROM; whether for the device can be told when that is open.
    Unchecked(Vec<u8>),
}

impl Roms {
    /// Reads and checks all files. Those that cannot be used become problems, each with its line of the configuration.
    pub(in crate::machine) fn load(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Self {
        let mut files = BTreeMap::new();
        for (index, device) in plan.passthrough.iter().enumerate() {
            let RomSource::File(path) = &device.rom else { continue };
            match load(path, device) {
                Ok(file) => drop(files.insert(index, file)),
                Err(error) => problems.push(finding(plan, device, &error)),
            }
        }
        Self(files)
    }

    /// The ROM of `device`, which has this index and is open as `host`.
    pub(super) fn of(
        &self,
        index: usize,
        device: &PlannedPassthrough,
        host: &dyn HostDevice,
    ) -> Result<Rom, RomFileError> {
        match (&device.rom, self.0.get(&index)) {
            (RomSource::Off, _) | (RomSource::File(_), None) => Ok(Rom::Off),
            (RomSource::File(_), Some(RomFile::Checked(image))) => Ok(Rom::Image(Arc::clone(image))),
            (RomSource::File(path), Some(RomFile::Unchecked(bytes))) => {
                let Some(own) = own_ids(host) else { return Ok(Rom::Image(bytes.as_slice().into())) };
                check_file(path, bytes, device, Some(own), is_display(host)).map(Rom::Image)
            }
            (RomSource::Host, _) => Ok(from_device(device, host)),
        }
    }
}

/// The error, with the line that names the file.
pub(super) fn finding(plan: &MachinePlan, device: &PlannedPassthrough, error: &RomFileError) -> Finding {
    plan.problem(device.section.key("rom"), error.to_string())
}

/// Reads a file and checks it by what the host says of the device without opening it.
fn load(path: &Path, device: &PlannedPassthrough) -> Result<RomFile, RomFileError> {
    let bytes = input::read(path, MAX_SIZE).map_err(|error| RomFileError::Read {
        path: path.into(),
        device: device.host,
        source: error.into(),
    })?;
    match &device.facts {
        Some(facts) => {
            let display = facts.class >> 16 == u32::from(DISPLAY);
            check_file(path, &bytes, device, Some((facts.vendor, facts.device)), display)
                .map(RomFile::Checked)
        }
        None => {
            check_file(path, &bytes, device, None, device.section == Section::Igpu)?;
            Ok(RomFile::Unchecked(bytes))
        }
    }
}

/// Checks the contents of a file for the device, as far as its IDs are known.
fn check_file(
    path: &Path,
    bytes: &[u8],
    device: &PlannedPassthrough,
    own: Option<(u16, u16)>,
    display: bool,
) -> Result<Arc<[u8]>, RomFileError> {
    let expect = own.map(|own| Expect { vendor: own.0, device: own.1, also: Some(shown_ids(device, own)) });
    let checked = check(bytes, expect, device, display).map_err(|source| RomFileError::Wrong {
        path: path.into(),
        device: device.host,
        ids: own,
        source,
    })?;
    // Once: what has no IDs yet is checked again.
    for warning in checked.warnings.iter().filter(|_| own.is_some()) {
        tracing::warn!("{}: {warning}", path.display());
    }
    Ok(checked.image.into())
}

/// Checks a ROM for the device with these IDs. That it is a video BIOS is asked of display controllers only: a network
/// card's boots from the network.
fn check(
    bytes: &[u8],
    expect: Option<Expect>,
    device: &PlannedPassthrough,
    display: bool,
) -> Result<Checked, RomError> {
    let rom = option_rom::parse(bytes)?;
    let findings = match device.section == Section::Igpu {
        true => rom.findings_of_driver(expect),
        false => rom.findings(expect),
    };
    let (errors, warnings): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .filter(|problem| display || !matches!(problem, Problem::NotDisplay { .. }))
        .partition(|problem| problem.severity() == Severity::Error);
    if errors.is_empty() {
        Ok(Checked { image: rom.chain(bytes), warnings })
    } else {
        Err(RomError::Unusable(errors))
    }
}

fn is_display(host: &dyn HostDevice) -> bool {
    let mut base_class = [0];
    let known = host.read(region::CONFIG, BASE_CLASS, &mut base_class).is_ok();
    known && base_class == [DISPLAY]
}

/// Vendor and device ID of the device itself.
fn own_ids(host: &dyn HostDevice) -> Option<(u16, u16)> {
    let mut ids = [0; 4];
    host.read(region::CONFIG, 0, &mut ids).ok()?;
    let [vendor0, vendor1, device0, device1] = ids;
    Some((u16::from_le_bytes([vendor0, vendor1]), u16::from_le_bytes([device0, device1])))
}

/// Vendor and device ID that the guest sees.
fn shown_ids(device: &PlannedPassthrough, (vendor, id): (u16, u16)) -> (u16, u16) {
    (device.identity.vendor.unwrap_or(vendor), device.identity.device.unwrap_or(id))
}

/// The device's own ROM, under the IDs that the guest sees. A device that has none, as most 3D controllers of laptops,
/// gets none.
fn from_device(device: &PlannedPassthrough, host: &dyn HostDevice) -> Rom {
    let size = host.region(region::ROM).map_or(0, |region| region.size).min(MAX_SIZE);
    let mut image = vec![0xff; usize::try_from(size).unwrap_or_default()];
    let mut offset = 0;
    for chunk in image.chunks_mut(CHUNK) {
        if let Err(error) = host.read(region::ROM, offset, chunk) {
            tracing::debug!(device = host.name(), offset, %error, "the ROM ends here");
            break;
        }
        offset += chunk.len() as u64;
    }
    let Some(own) = own_ids(host) else { return Rom::Off };
    match check(&image, Some(Expect::new(own.0, own.1)), device, is_display(host)) {
        Ok(checked) => {
            let missing = |warning: &&Problem| matches!(warning, Problem::PrivateMissing { .. });
            for warning in checked.warnings.iter().filter(missing) {
                tracing::warn!("{}: the device's own ROM: {warning}", device.host);
            }
        }
        Err(error) => {
            tracing::warn!(
                "{}: the device's own ROM is of no use to the guest: {error}. Give a file by `rom = \"FILE\"`, or go \
                 without by `rom = \"off\"`",
                device.host
            );
            return Rom::Off;
        }
    }
    let shown = shown_ids(device, own);
    if shown != own
        && let Err(error) = option_rom::patch_ids(&mut image, shown.0, shown.1)
    {
        tracing::warn!("{}: the ROM keeps the device's own IDs: {error}", device.host);
    }
    Rom::Image(Arc::from(image))
}

#[cfg(test)]
mod tests;
