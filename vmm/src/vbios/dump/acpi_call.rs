//! The host's ACPI method `_ROM` (ACPI Specification 6.5, appendix B.4), by way of the kernel module acpi_call.
//!
//! acpi_call takes a method with its arguments and gives the result as text: `{0x55, 0xaa, …}`. Its buffer is short,
//! so that a longer result is cut, and the closing brace missing. `_ROM` takes an offset and a length of at most
//! 4 KiB. Some laptops give wrong bytes when a call crosses one of the 32 KiB sections they keep the ROM in, so no call
//! crosses a multiple of 4 KiB here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use firmware::option_rom::{Problem, parse_at};

use super::{Gpu, Source};

/// The most bytes that a call may ask for, in bytes.
const PAGE: usize = 0x1000;
/// No video BIOS is larger.
const MAX_ROM: usize = 2 << 20;

/// Calls a method of the host's ACPI.
pub(in crate::vbios) trait Caller {
    /// Hands over a method with its arguments, separated by spaces; gives the text that comes back.
    fn call(&mut self, request: &str) -> io::Result<String>;
}

/// The file of acpi_call.
struct ProcFile(PathBuf);

impl Caller for ProcFile {
    fn call(&mut self, request: &str) -> io::Result<String> {
        fs::write(&self.0, request)?;
        let answer = fs::read(&self.0)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// `_ROM` on the GPU's node.
pub(in crate::vbios) struct AcpiCall {
    caller: Option<Box<dyn Caller>>,
}

impl AcpiCall {
    /// That of this host.
    pub(in crate::vbios) fn of_host() -> Self {
        let path = Path::new("/proc/acpi/call");
        let caller = path.exists().then(|| Box::new(ProcFile(path.into())) as Box<dyn Caller>);
        Self { caller }
    }

    /// One with another caller, or without the module.
    #[cfg(test)]
    pub(in crate::vbios) fn with(caller: Option<Box<dyn Caller>>) -> Self {
        Self { caller }
    }
}

impl Source for AcpiCall {
    fn name(&self) -> &'static str {
        "ACPI method _ROM"
    }

    fn read(&mut self, gpu: &Gpu) -> Result<Vec<u8>, String> {
        let node = fs::read_to_string(gpu.folder.join("firmware_node/path"))
            .map_err(|error| format!("the GPU has no node in the host's ACPI tables: {error}"))?;
        let node = node.trim();
        let proper = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'\\' | b'_' | b'.');
        if node.is_empty() || !node.bytes().all(proper) {
            return Err(format!("the path of its node in the host's ACPI tables makes no sense: {node:?}"));
        }
        let Some(caller) = &mut self.caller else {
            return Err("the kernel module acpi_call is not loaded (no /proc/acpi/call): install acpi-call-dkms, run \
                        `modprobe acpi_call`, and dump again as root"
                .into());
        };
        read(caller.as_mut(), &format!("{node}._ROM"))
    }
}

/// Reads as much as the chain of images has.
fn read(caller: &mut dyn Caller, method: &str) -> Result<Vec<u8>, String> {
    let mut rom = Vec::new();
    // How many bytes the module's buffer shows at once.
    let mut fits = PAGE;
    let mut wanted = PAGE;
    while rom.len() < wanted {
        let within = rom.len() % PAGE;
        let length = fits.min(PAGE - within);
        let offset = rom.len();
        let request = format!("{method} {offset:#x} {length:#x}");
        let answer = caller.call(&request).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("cannot call {method}: {error}; run the command as root")
            }
            _ => format!("cannot call {method}: {error}"),
        })?;
        let bytes =
            buffer(&answer).ok_or_else(|| format!("`{request}` was answered with {:?}", clip(&answer)))?;
        if bytes.is_empty() {
            return Err(format!("`{request}` was answered with an empty buffer"));
        }
        if bytes.len() < length {
            fits = bytes.len();
        }
        // More than was asked for is padding.
        rom.extend(bytes.into_iter().take(length));
        if rom.len() >= wanted {
            wanted = missing(&rom).unwrap_or(wanted);
        }
        if wanted > MAX_ROM {
            return Err(format!("the ROM claims {wanted} bytes, more than {MAX_ROM}"));
        }
    }
    Ok(rom)
}

/// Up to which offset more must be read, if anything is missing.
fn missing(rom: &[u8]) -> Option<usize> {
    parse_at(rom, 0).problems.iter().find_map(|problem| match problem {
        Problem::Truncated { offset, length, .. } | Problem::TailMissing { offset, length, .. } => {
            offset.checked_add(*length)
        }
        // The next image begins there; what is in the same page shows its header as a rule.
        Problem::ChainEnds { offset, .. } => offset.checked_add(1)?.checked_next_multiple_of(PAGE),
        // It, or its header, is behind the end of what has been read.
        Problem::NoImage { offset, .. } | Problem::PrivateMissing { offset, .. }
            if rom.len().saturating_sub(*offset) < PAGE =>
        {
            rom.len().checked_add(1)?.checked_next_multiple_of(PAGE)
        }
        _ => None,
    })
}

/// The bytes of a buffer as acpi_call writes it; one that was cut counts as far as it goes.
fn buffer(answer: &str) -> Option<Vec<u8>> {
    let list = answer.trim_matches(|c: char| c == '\0' || c.is_whitespace()).strip_prefix('{')?;
    let list = list.strip_suffix('}').unwrap_or(list);
    let numbers = list.split(',').map(str::trim).filter(|number| !number.is_empty());
    numbers.map(|number| u8::from_str_radix(number.strip_prefix("0x")?, 16).ok()).collect()
}

fn clip(answer: &str) -> String {
    answer.trim_end_matches('\0').chars().take(80).collect()
}
