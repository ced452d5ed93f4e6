//! A ROM in words and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use firmware::option_rom::{Efi, Expect, Image, Kind, Label, Prefix, Rom, Severity};
use serde::Serialize;

/// One image, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ImageReport {
    /// Offset in the file, in bytes.
    offset: usize,
    /// Size in bytes.
    size: usize,
    /// What it holds: `legacy`, `efi`, `open-firmware`, `pa-risc`, `nvidia-private` or `other`.
    kind: &'static str,
    /// The PCIR's code type.
    code_type: u8,
    /// Vendor ID, hexadecimal.
    vendor: String,
    /// Device ID, hexadecimal.
    device: String,
    /// Further device IDs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    device_list: Vec<String>,
    /// Class code, hexadecimal.
    class: String,
    /// Revision of the PCIR.
    pcir_revision: u8,
    /// Vendor's revision level of the code.
    code_revision: u16,
    /// Whether the checksum is right, where the image has one.
    checksum_ok: Option<bool>,
    /// Whether it is an EFI display driver for x86-64.
    gop: bool,
    /// The first two bytes of a private image, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    /// The EFI header.
    #[serde(skip_serializing_if = "Option::is_none")]
    efi: Option<EfiReport>,
    /// Whether it has NVIDIA's extension of the PCIR.
    npde: bool,
}

/// The header of an EFI image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct EfiReport {
    subsystem: &'static str,
    machine: String,
    compressed: bool,
}

/// A ROM, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Size of the file in bytes.
    file_size: usize,
    /// Bytes in front of the first image.
    prefix: usize,
    /// Size of the chain in bytes, with filler that the file lacks.
    rom_size: usize,
    /// Bytes behind the chain.
    trailing: usize,
    /// The images.
    images: Vec<ImageReport>,
    /// Whether firmware can show something with it.
    gop: bool,
    /// The video BIOS's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Name of the board it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<String>,
    /// The device asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    /// Whether the ROM is intact, a video BIOS, and for the device asked for.
    pub(super) usable: bool,
    /// Why not.
    errors: Vec<String>,
    /// What else to know.
    warnings: Vec<String>,
    #[serde(skip)]
    ifr: bool,
}

impl Report {
    pub(super) fn new(rom: &Rom, bytes: &[u8], expect: Option<Expect>) -> Self {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for problem in rom.findings(expect) {
            match problem.severity() {
                Severity::Error => errors.push(problem.to_string()),
                Severity::Warning => warnings.push(problem.to_string()),
            }
        }
        let Label { version, board } = rom.label(bytes);
        Self {
            file_size: bytes.len(),
            prefix: rom.prefix_len,
            rom_size: rom.end.saturating_sub(rom.prefix_len).saturating_add(rom.padding),
            trailing: bytes.len().saturating_sub(rom.end),
            images: rom.images.iter().map(|image| of_image(rom, image)).collect(),
            gop: rom.has_gop(),
            version,
            board,
            expected: expect.map(|expect| format!("{:04x}:{:04x}", expect.vendor, expect.device)),
            usable: errors.is_empty(),
            errors,
            warnings,
            ifr: rom.prefix == Prefix::NvidiaIfr,
        }
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(json)
    }

    pub(super) fn text(&self, file: &Path) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, file);
        text
    }

    fn write(&self, out: &mut String, file: &Path) -> std::fmt::Result {
        writeln!(out, "{}: {} bytes", file.display(), self.file_size)?;
        if self.prefix != 0 {
            let what = if self.ifr { "NVIDIA initialisation block" } else { "unknown" };
            writeln!(out, "  {:#08x} {:>8}  in front of the ROM: {what}", 0, self.prefix)?;
        }
        for image in &self.images {
            image.write(out)?;
        }
        if self.trailing != 0 {
            writeln!(out, "  {:#08x} {:>8}  behind the ROM", self.prefix + self.rom_size, self.trailing)?;
        }
        writeln!(out, "ROM: {} bytes, GOP: {}", self.rom_size, if self.gop { "yes" } else { "no" })?;
        if let Some(line) = label_line(self.version.as_deref(), self.board.as_deref()) {
            writeln!(out, "{line}")?;
        }
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        for error in &self.errors {
            writeln!(out, "error: {error}")?;
        }
        match (&self.expected, self.usable) {
            (Some(expected), true) => writeln!(out, "fits {expected}"),
            (Some(expected), false) => writeln!(out, "must not be used for {expected}"),
            (None, true) => writeln!(out, "intact"),
            (None, false) => writeln!(out, "must not be used"),
        }
    }
}

/// What the video BIOS calls itself, if it does.
pub(super) fn label_line(version: Option<&str>, board: Option<&str>) -> Option<String> {
    match (version, board) {
        (Some(version), Some(board)) => Some(format!("version {version}, for {board}")),
        (Some(version), None) => Some(format!("version {version}")),
        (None, Some(board)) => Some(format!("for {board}")),
        (None, None) => None,
    }
}

impl ImageReport {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "  {:#08x} {:>8}  ", self.offset, self.size)?;
        match (&self.efi, &self.signature) {
            (Some(efi), _) => {
                let packed = if efi.compressed { ", compressed" } else { "" };
                let gop = if self.gop { " (GOP)" } else { "" };
                write!(out, "EFI {} for {}{packed}{gop}", efi.subsystem, efi.machine)?;
            }
            (_, Some(signature)) => {
                let what = match self.code_type {
                    0xe0 => "extension",
                    0x70 => "NBSI",
                    _ => "image",
                };
                write!(out, "NVIDIA private {what} ({signature}, code type {:#04x})", self.code_type)?;
            }
            _ => match self.kind {
                "legacy" => write!(out, "legacy x86 BIOS")?,
                "open-firmware" => write!(out, "Open Firmware")?,
                "pa-risc" => write!(out, "PA-RISC")?,
                _ => write!(out, "code type {:#04x}", self.code_type)?,
            },
        }
        write!(out, ", {}:{}, class {}", self.vendor, self.device, self.class)?;
        if !self.device_list.is_empty() {
            write!(out, ", also for {}", self.device_list.join(" "))?;
        }
        let npde = if self.npde { ", NPDE" } else { "" };
        write!(out, ", PCIR rev {}{npde}", self.pcir_revision)?;
        match self.checksum_ok {
            Some(true) => writeln!(out, ", checksum right"),
            Some(false) => writeln!(out, ", checksum WRONG"),
            None => writeln!(out, ", no checksum"),
        }
    }
}

fn of_image(rom: &Rom, image: &Image) -> ImageReport {
    let (kind, code_type) = match image.kind {
        Kind::Legacy => ("legacy", 0),
        Kind::OpenFirmware => ("open-firmware", 1),
        Kind::PaRisc => ("pa-risc", 2),
        Kind::Efi(_) => ("efi", 3),
        Kind::NvidiaPrivate { code_type, .. } => ("nvidia-private", code_type),
        Kind::Other(code_type) => ("other", code_type),
    };
    let (efi_header, signature) = match image.kind {
        Kind::Efi(header) => (Some(efi(header)), None),
        Kind::NvidiaPrivate { signature: [a, b], .. } => (None, Some(format!("{a:02x} {b:02x}"))),
        _ => (None, None),
    };
    ImageReport {
        offset: image.offset,
        size: image.length,
        kind,
        code_type,
        vendor: format!("{:04x}", image.vendor),
        device: format!("{:04x}", image.device),
        device_list: image.device_list.iter().map(|id| format!("{id:04x}")).collect(),
        class: format!("{:06x}", image.class),
        pcir_revision: image.revision,
        code_revision: image.code_revision,
        checksum_ok: image.checksum.map(|sum| sum == 0),
        gop: rom.is_gop(image),
        signature,
        efi: efi_header,
        npde: image.npde.is_some(),
    }
}

fn efi(header: Efi) -> EfiReport {
    EfiReport {
        subsystem: match header.subsystem {
            0x0a => "application",
            0x0b => "boot service driver",
            0x0c => "runtime driver",
            _ => "image",
        },
        machine: match header.machine {
            0x8664 => "x86-64".into(),
            0x014c => "IA-32".into(),
            0xaa64 => "AArch64".into(),
            0x0ebc => "EFI byte code".into(),
            other => format!("machine {other:#06x}"),
        },
        compressed: header.compression != 0,
    }
}
