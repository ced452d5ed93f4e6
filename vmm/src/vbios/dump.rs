//! `vbios dump`: the video BIOS of a GPU of this host, from wherever it can be read.
//!
//! Each [`Source`] is tried in turn, and the first that gives an intact ROM for the GPU wins; one without NVIDIA's private
//! images, as Linux reads it from the ROM BAR, only if no other has them. Why the others did not is told: on a muxless laptop
//! most of them cannot, and which one does depends on the machine.

mod acpi_call;
pub(super) mod prom;
mod sysfs;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use firmware::option_rom::{Checked, Expect, Problem, check};

use super::output::{self, Written};
use super::{Answer, CommandError};
use crate::cli::DumpArgs;
use crate::outcome::status;

pub(super) use acpi_call::AcpiCall;
#[cfg(test)]
pub(super) use acpi_call::Caller;
use prom::Prom;
pub(super) use sysfs::{Awake, Sysfs};
use vocabulary::HostPciAddress;

/// A GPU of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gpu {
    pub(super) address: HostPciAddress,
    /// Its directory in sysfs.
    pub(super) folder: PathBuf,
    pub(super) vendor: u16,
    pub(super) device: u16,
}

impl Gpu {
    /// Finds the function at `address` below `devices`, the directory `/sys/bus/pci/devices` of a running host.
    fn at(devices: &Path, address: HostPciAddress) -> Result<Self, CommandError> {
        let folder = devices.join(address.to_string());
        let id = |name: &str| {
            let path = folder.join(name);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(source) => return Err(CommandError::NoFunction { address, path, source }),
            };
            let digits = text.trim().trim_start_matches("0x");
            u16::from_str_radix(digits, 16).map_err(|_| CommandError::NoId { path, text })
        };
        let (vendor, device) = (id("vendor")?, id("device")?);
        Ok(Self { address, folder, vendor, device })
    }
}

/// A way to read a GPU's ROM.
pub(super) trait Source {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Reads what may be a ROM; the caller checks it.
    ///
    /// # Errors
    /// Why it cannot be read, and what can be done about that.
    fn read(&mut self, gpu: &Gpu) -> Result<Vec<u8>, String>;
}

/// The sources of this host in the order in which they are tried: those that disturb nothing first.
fn sources() -> Vec<Box<dyn Source>> {
    vec![Box::new(Sysfs), Box::new(Prom), Box::new(AcpiCall::of_host())]
}

pub(super) fn run(args: &DumpArgs) -> Result<Answer, CommandError> {
    dump(args, Path::new("/sys/bus/pci/devices"), sources())
}

/// Tries each source in turn, and writes the first ROM that is right and has all images, or else the first that is right.
pub(super) fn dump(
    args: &DumpArgs,
    devices: &Path,
    sources: Vec<Box<dyn Source>>,
) -> Result<Answer, CommandError> {
    let gpu = Gpu::at(devices, args.host)?;
    let awake = Awake::keep(&gpu);
    let mut failures = String::new();
    let mut partial = None;
    for mut source in sources {
        let name = source.name();
        // Writing to a string cannot fail.
        match attempt(source.as_mut(), &gpu) {
            Ok(checked) if has_all(&checked) => {
                drop(awake);
                return finish(args, &gpu, name, &checked, &failures);
            }
            Ok(checked) => {
                let _ = writeln!(failures, "{name}: NVIDIA's private images are missing in what it gives");
                partial.get_or_insert((name, checked));
            }
            Err(why) => drop(writeln!(failures, "{name}: {why}")),
        }
    }
    drop(awake);
    if let Some((name, checked)) = partial {
        return finish(args, &gpu, name, &checked, &failures);
    }
    let Gpu { address, vendor, device, .. } = gpu;
    Err(CommandError::Unreadable { address, vendor, device, failures })
}

fn attempt(source: &mut dyn Source, gpu: &Gpu) -> Result<Checked, String> {
    tracing::info!("reading the video BIOS of {} from {}", gpu.address, source.name());
    let bytes = source.read(gpu)?;
    check(&bytes, Some(Expect::new(gpu.vendor, gpu.device))).map_err(|error| error.to_string())
}

/// Whether no image is missing.
fn has_all(checked: &Checked) -> bool {
    !checked.warnings.iter().any(|warning| matches!(warning, Problem::PrivateMissing { .. }))
}

fn finish(
    args: &DumpArgs,
    gpu: &Gpu,
    source: &str,
    checked: &Checked,
    failures: &str,
) -> Result<Answer, CommandError> {
    let name = || format!("vbios_{:04x}_{:04x}.rom", gpu.vendor, gpu.device).into();
    let path = args.output.clone().unwrap_or_else(name);
    let there = match output::write(&path, &checked.image, args.force)? {
        Written::New => "",
        Written::Same => ", was there already",
    };
    let mut text = failures.to_owned();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{source}: read\n{}: {} bytes{there}", path.display(), checked.image.len());
    for warning in &checked.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    Ok(Answer { text, status: status::SUCCESS })
}
