//! `etc/smbios/smbios-anchor` and `etc/smbios/smbios-tables`: what the machine calls itself.
//!
//! A 64-bit entry point and the structures of the System Management BIOS reference specification (DSP0134), version
//! 3.0. OVMF (edk2 OvmfPkg/SmbiosPlatformDxe) checks that the entry point's table size is that of the tables item,
//! installs each structure, and supplies a BIOS Information structure of its own if there is none.
//! All integers are little-endian.

mod board;
mod cache;
mod config;
mod structure;
mod tables;

pub use board::{BoardInfo, Connector, SlotInfo};
pub use cache::CacheInfo;
pub use config::{
    BaseboardInfo, BiosInfo, ChassisInfo, MemoryInfo, ProcessorInfo, SmbiosConfig, SmbiosError, SystemInfo,
    is_date,
};

use structure::Writer;

/// fw_cfg file of [`Smbios::anchor`].
pub const ANCHOR_FILE: &str = "etc/smbios/smbios-anchor";
/// fw_cfg file of [`Smbios::tables`].
pub const TABLES_FILE: &str = "etc/smbios/smbios-tables";
/// Size of the 64-bit entry point in bytes.
pub const ANCHOR: usize = 24;
/// The version that the tables keep to.
const VERSION: (u8, u8) = (3, 0);

/// The two items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smbios {
    /// `etc/smbios/smbios-anchor`; its table address is 0, as the firmware places the tables.
    pub anchor: [u8; ANCHOR],
    /// `etc/smbios/smbios-tables`.
    pub tables: Vec<u8>,
}

/// Builds the items for a machine.
///
/// # Errors
/// See [`SmbiosError`]: values that a table cannot hold.
pub fn smbios(
    config: &SmbiosConfig,
    processors: &ProcessorInfo,
    memory: &MemoryInfo,
    board: &BoardInfo,
) -> Result<Smbios, SmbiosError> {
    config.validate()?;
    let mut writer = Writer::default();
    if let Some(bios) = &config.bios {
        tables::bios(&mut writer, bios);
    }
    tables::system(&mut writer, &config.system);
    tables::baseboard(&mut writer, &config.baseboard, &config.system);
    tables::chassis(&mut writer, &config.chassis, &config.system);
    tables::processors(&mut writer, processors)?;
    board::board(&mut writer, board);
    tables::memory(&mut writer, memory)?;
    tables::boot(&mut writer);
    tables::end(&mut writer);
    let tables = writer.into_bytes();
    let size = u32::try_from(tables.len()).map_err(|_| SmbiosError::TooLarge)?;
    Ok(Smbios { anchor: anchor(size, 0), tables })
}

/// The 64-bit entry point (DSP0134 section 5.2.2) for tables of `size` bytes at `address`.
pub fn anchor(size: u32, address: u64) -> [u8; ANCHOR] {
    let [s0, s1, s2, s3] = size.to_le_bytes();
    let [a0, a1, a2, a3, a4, a5, a6, a7] = address.to_le_bytes();
    let (major, minor) = VERSION;
    let mut bytes = [
        b'_', b'S', b'M', b'3', b'_', 0,  // checksum, below
        24, // length of this entry point
        major, minor, 0, // docrev
        1, // entry point revision
        0, s0, s1, s2, s3, a0, a1, a2, a3, a4, a5, a6, a7,
    ];
    // All bytes add up to 0.
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = bytes.get_mut(5) {
        *checksum = sum.wrapping_neg();
    }
    bytes
}

#[cfg(test)]
mod tests;
