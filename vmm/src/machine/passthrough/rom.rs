//! The expansion ROM that a passed-through function shows: a file that the user names, or the device's own.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use devices::vfio::Rom;
use devices::vfio::host::{HostDevice, region};
use firmware::option_rom::{self, Checked, Expect, Problem, RomError, Severity};

use super::PassthroughError;
use crate::config::{Passthrough, RomSource};
use crate::plan::PlannedPassthrough;

/// Largest ROM that is read, in bytes.
const MAX_SIZE: u64 = 16 << 20;
/// Base class in the Class Code (PCIe 6.0, 7.5.1.1.6), and that of display controllers.
const BASE_CLASS: u64 = 0x0b;
const DISPLAY: u8 = 0x03;
/// Bytes that are read from a device at once.
const CHUNK: usize = 0x1000;

/// The ROM of `device`, which is open as `host`.
pub(super) fn of(device: &PlannedPassthrough, host: &dyn HostDevice) -> Result<Rom, PassthroughError> {
    match &device.rom {
        RomSource::Off => Ok(Rom::Off),
        RomSource::File(path) => from_file(path, device, host),
        RomSource::Host => Ok(from_device(device, host)),
    }
}

/// Checks a ROM for the device with these IDs. That it is a video BIOS is asked of display controllers only: a network
/// card's boots from the network.
fn check(
    bytes: &[u8],
    expect: Expect,
    device: &PlannedPassthrough,
    host: &dyn HostDevice,
) -> Result<Checked, RomError> {
    let mut base_class = [0];
    let known = host.read(region::CONFIG, BASE_CLASS, &mut base_class).is_ok();
    let display = known && base_class == [DISPLAY];
    let rom = option_rom::parse(bytes)?;
    let findings = match device.key == Passthrough::IGPU {
        true => rom.findings_of_driver(Some(expect)),
        false => rom.findings(Some(expect)),
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

fn from_file(
    path: &Path,
    device: &PlannedPassthrough,
    host: &dyn HostDevice,
) -> Result<Rom, PassthroughError> {
    let bytes = read(path).map_err(|source| PassthroughError::ReadRom {
        path: path.into(),
        device: device.host,
        source,
    })?;
    let Some(own) = own_ids(host) else { return Ok(Rom::Image(bytes.into())) };
    let expect = Expect { vendor: own.0, device: own.1, also: Some(shown_ids(device, own)) };
    let checked = check(&bytes, expect, device, host).map_err(|source| PassthroughError::Rom {
        path: path.into(),
        device: device.host,
        vendor: own.0,
        id: own.1,
        source,
    })?;
    for warning in &checked.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    Ok(Rom::Image(checked.image.into()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(bytes)
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
    match check(&image, Expect::new(own.0, own.1), device, host) {
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
