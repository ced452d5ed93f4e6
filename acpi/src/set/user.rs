//! Tables of the user's: what an operating system or the firmware would stumble over, found before they see it.

use crate::fixed::{CHECKSUM, HEADER_SIZE};

/// Longest table of a user's, in bytes. DSDTs of laptops have about 200 KiB.
pub const MAX_USER_TABLE: usize = 1 << 20;

/// Tables that there can be one of, and which the machine or the firmware makes.
const OURS: [[u8; 4]; 8] = [*b"DSDT", *b"FACP", *b"FACS", *b"RSDT", *b"XSDT", *b"APIC", *b"MCFG", *b"WAET"];

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
        "Signature at offset 0x0: found {found:?}, expected four of A-Z, 0-9 and _; is it compiled (`iasl x.dsl`)?"
    )]
    Signature {
        /// The four bytes.
        found: String,
    },
    /// A table that the machine has already.
    #[error(
        "Signature at offset 0x0: found {found}, of which there can be one, and the machine has its own; put additional AML into an SSDT"
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
    if !signature.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_') {
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
