//! Tables of the user's: what an operating system or the firmware would stumble over, found before they see it.

use crate::fixed::{CHECKSUM, HEADER_SIZE};

/// Longest table of a user's, in bytes. DSDTs of laptops have about 200 KiB.
pub const MAX_USER_TABLE: usize = 1 << 20;

/// Tables that there can be one of, and which the machine makes or the firmware (RSDT and XSDT, and in OVMF BGRT).
const OURS: [[u8; 4]; 9] =
    [*b"DSDT", *b"FACP", *b"FACS", *b"RSDT", *b"XSDT", *b"APIC", *b"MCFG", *b"WAET", *b"BGRT"];

/// Signatures in the UEFI Forum's registry (ACPI 6.5, table 5.6) with other characters than all the others.
const ODD: [[u8; 4]; 2] = [*b"ASF!", *b"iBFT"];

/// Tables that describe hardware, or what the firmware found or left there. One from another computer tells of what this
/// machine does not have. Not among them are those that hold licences and programs (SLIC, MSDM, WPBT); what an SSDT names
/// cannot be known.
const HARDWARE: [[u8; 4]; 70] = [
    *b"AEST", *b"AGDI", *b"APMT", *b"ASF!", *b"ASPT", *b"BDAT", *b"BERT", *b"BOOT", *b"CCEL", *b"CDIT",
    *b"CEDT", *b"CPEP", *b"CRAT", *b"CSRT", *b"DBG2", *b"DBGP", *b"DMAR", *b"DRTM", *b"DTPR", *b"ECDT",
    *b"EINJ", *b"ERDT", *b"ERST", *b"ETDT", *b"FPDT", *b"GTDT", *b"HEST", *b"HMAT", *b"HPET", *b"IBFT",
    *b"iBFT", *b"IORT", *b"IVRS", *b"KEYP", *b"LPIT", *b"MCHI", *b"MPAM", *b"MPST", *b"MRRM", *b"MSCT",
    *b"NBFT", *b"NFIT", *b"NHLT", *b"PCCT", *b"PDTT", *b"PHAT", *b"PMTT", *b"PPTT", *b"PRMT", *b"RAS2",
    *b"RASF", *b"RIMT", *b"SBST", *b"SDEI", *b"SDEV", *b"SLIT", *b"SPCR", *b"SPMI", *b"SRAT", *b"SVKL",
    *b"SWFT", *b"TCPA", *b"TPM2", *b"UEFI", *b"VFCT", *b"VIOT", *b"WDAT", *b"WDDT", *b"WDRT", *b"WSMT",
];

/// What is wrong with a table. Offsets are in bytes from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Shorter than the header of every table.
    #[error(
        "it ends at offset {found:#x}, inside of the header, which has {HEADER_SIZE} bytes (ACPI 6.5, 5.2.6)"
    )]
    Header {
        /// Its size.
        found: usize,
    },
    /// The root pointer, which is no table.
    #[error(
        "Signature at offset 0x0: \"RSD PTR \" is the root pointer, which the firmware makes; give an SSDT"
    )]
    RootPointer,
    /// A signature that is none.
    #[error(
        "Signature at offset 0x0: found {found:?}, expected four of A-Z, 0-9 and _, or ASF! or iBFT; is it compiled (`iasl x.dsl`)?"
    )]
    Signature {
        /// The four bytes.
        found: String,
    },
    /// A table that the machine has already.
    #[error(
        "Signature at offset 0x0: found {found}, of which there can be one, and the machine or its firmware makes it; put additional AML into an SSDT"
    )]
    Ours {
        /// The signature.
        found: String,
    },
    /// The length is not that of the table.
    #[error("Length at offset 0x4: found {found}, expected {expected}, the number of bytes that are there")]
    Length {
        /// What the header says.
        found: u32,
        /// The size.
        expected: usize,
    },
    /// The checksum does not fit the content.
    #[error(
        "Checksum at offset 0x9: found {found:#04x}, expected {expected:#04x}; the table is damaged, or was edited without compiling it again"
    )]
    Checksum {
        /// What the header says.
        found: u8,
        /// What would make the sum zero.
        expected: u8,
    },
    /// Larger than [`MAX_USER_TABLE`].
    #[error("it has {found} bytes or more, expected at most {MAX_USER_TABLE}")]
    Size {
        /// The size, of which the caller may have stopped counting.
        found: usize,
    },
}

/// Checks a table of the user's: header, signature, length and checksum. Its content is the user's business.
///
/// # Errors
/// [`TableError`] says which field is wrong.
pub fn check_table(table: &[u8]) -> Result<(), TableError> {
    if table.starts_with(b"RSD PTR ") {
        return Err(TableError::RootPointer);
    }
    if table.len() > MAX_USER_TABLE {
        return Err(TableError::Size { found: table.len() });
    }
    let header = (table.first_chunk::<4>(), table.get(4..8), table.get(CHECKSUM));
    let (Some(signature), Some(length), Some(&checksum)) = header else {
        return Err(TableError::Header { found: table.len() });
    };
    if table.len() < HEADER_SIZE {
        return Err(TableError::Header { found: table.len() });
    }
    let text: String = signature.iter().map(|byte| char::from(*byte)).collect();
    if !is_signature(signature) {
        return Err(TableError::Signature { found: text });
    }
    if OURS.contains(signature) {
        return Err(TableError::Ours { found: text });
    }
    let length = length.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
    if usize::try_from(length) != Ok(table.len()) {
        return Err(TableError::Length { found: length, expected: table.len() });
    }
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if sum != 0 {
        return Err(TableError::Checksum { found: checksum, expected: checksum.wrapping_sub(sum) });
    }
    Ok(())
}

/// All that the specification and the registry list, and vendors' own of the same form.
fn is_signature(signature: &[u8; 4]) -> bool {
    let usual = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    // "OEMx" (ACPI 6.5, table 5.5): the last character is the vendor's business.
    let oem = matches!(signature, [b'O', b'E', b'M', last] if last.is_ascii_graphic());
    oem || ODD.contains(signature) || signature.iter().all(usual)
}

/// Whether a table of this kind describes the hardware of a computer. A guest believes it.
pub fn describes_hardware(table: &[u8]) -> bool {
    table.first_chunk().is_some_and(|signature| HARDWARE.contains(signature))
}
