//! The complete set of tables, laid out in blobs, with the script that has the firmware install them.

use std::ops::Range;

use crate::dsdt;
use crate::error::Error;
use crate::fixed;
use crate::loader::{BlobId, ENTRY_SIZE, PointerSize, Script, Zone};
use crate::opregion::{self, OPREGION_FILE};
use crate::platform::Platform;

mod sizes;
mod user;

pub use sizes::sizes;
pub use user::{MAX_USER_TABLE, TableError, check_table, describes_hardware};

/// fw_cfg file of [`TableSet::tables`].
pub const TABLES_FILE: &str = "etc/acpi/tables";
/// fw_cfg file of [`TableSet::rsdp`].
pub const RSDP_FILE: &str = "etc/acpi/rsdp";
/// fw_cfg file of [`TableSet::loader`].
pub const LOADER_FILE: &str = "etc/table-loader";

/// fw_cfg file of [`TableSet::vrom`].
pub const VROM_FILE: &str = "etc/acpi/vrom";

/// Most tables that OVMF installs (edk2 `QemuFwCfgAcpi.c`, `INSTALLED_TABLES_MAX`).
pub(crate) const MAX_TABLES: usize = 128;

/// The blobs grow in these steps, so that a set built later, for an ECAM window the firmware has programmed
/// meanwhile, has the size that the fw_cfg directory announced.
const TABLES_STEP: usize = 128 << 10;
const LOADER_STEP: usize = 4096;
/// The least room for such growth: an MCFG, a device, some more windows.
const TABLES_RESERVE: usize = 4096;
const LOADER_RESERVE: usize = 4 * ENTRY_SIZE;

/// Of each table in its blob. The FACS needs 64 (§5.2.10), and is the first.
const ALIGNMENT: usize = 16;
const BLOB_ALIGNMENT: u32 = 64;
const PAGE: u32 = 4096;

/// The fw_cfg files by which OVMF installs ACPI tables, padded with zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSet {
    /// Content of `etc/acpi/tables`.
    pub tables: Vec<u8>,
    /// Content of `etc/acpi/rsdp`.
    pub rsdp: Vec<u8>,
    /// Content of `etc/table-loader`.
    pub loader: Vec<u8>,
    /// Content of `etc/acpi/vrom`; a machine whose content is empty must not have the file.
    pub vrom: Vec<u8>,
    /// Content of [`OPREGION_FILE`], likewise.
    pub opregion: Vec<u8>,
    layout: Vec<Range<usize>>,
    loader_used: usize,
}

/// Sizes of the files in bytes, as announced in the fw_cfg directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Of `etc/acpi/tables`.
    pub tables: usize,
    /// Of `etc/acpi/rsdp`.
    pub rsdp: usize,
    /// Of `etc/table-loader`.
    pub loader: usize,
    /// Of `etc/acpi/vrom`; 0 when there is no such file.
    pub vrom: usize,
    /// Of [`OPREGION_FILE`], likewise.
    pub opregion: usize,
}

/// One table of a [`TableSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its signature.
    pub signature: [u8; 4],
    /// The table with its checksum. Addresses are offsets into [`TableSet::tables`] still, since only the
    /// firmware knows where it puts them.
    pub bytes: Vec<u8>,
}

/// The tables of `platform`.
///
/// The fw_cfg directory wants sizes before the firmware has set up ECAM: announce those of the set without
/// ECAM, build again once the firmware asks for the script, and [`TableSet::fit`] the result.
///
/// # Errors
/// When the input contradicts itself or cannot be described; see [`Error`].
pub fn build(platform: &Platform) -> Result<TableSet, Error> {
    platform.check()?;
    let mut builder = Builder::default();
    let facs = builder.add(fixed::facs());
    let dsdt = builder.add(dsdt::dsdt(platform));
    let fadt = builder.add(fixed::fadt(platform));
    let mut listed = vec![fadt.clone(), builder.add(fixed::madt(platform))];
    if let Some(ecam) = platform.ecam {
        listed.push(builder.add(fixed::mcfg(ecam, platform.last_bus(), platform.oem)));
    }
    if platform.tpm.is_some() {
        listed.push(builder.add(fixed::tpm2(platform.oem)));
    }
    listed.push(builder.add(fixed::waet(platform.oem)));
    let vrom = match &platform.vrom {
        Some(vrom) => {
            let ssdt = builder.add(crate::vrom::ssdt(platform, vrom)?);
            listed.push(ssdt.clone());
            Some((ssdt, vrom.blob()))
        }
        None => None,
    };
    // Behind all others: operating systems load them in this order, and a user's SSDT may extend any device of ours.
    for (index, table) in platform.user_tables.iter().enumerate() {
        check_table(table).map_err(|error| Error::UserTable { index, error })?;
        listed.push(builder.add(table.clone()));
    }
    // OVMF counts the FACS and the DSDT as well.
    let count = listed.len().saturating_add(2);
    if count > MAX_TABLES {
        return Err(Error::TooManyTables(count));
    }
    let rsdt = builder.add(fixed::rsdt(listed.len(), platform.oem));

    let Builder { mut blob, layout } = builder;
    blob.resize(padded(blob.len(), TABLES_RESERVE, TABLES_STEP), 0);
    let mut script = Script::new();
    let rsdp_blob = script.allocate(RSDP_FILE, fixed::rsdp(platform.oem), 16, Zone::FSegment)?;
    let tables = script.allocate(TABLES_FILE, blob, BLOB_ALIGNMENT, Zone::High)?;

    let mut link = |holder: (BlobId, usize), size: PointerSize, target: &Range<usize>| {
        script.add_pointer(holder, size, (tables, target.start))
    };
    let at = |table: &Range<usize>, offset: usize| (tables, table.start.saturating_add(offset));
    link(at(&fadt, fixed::FADT_FIRMWARE_CTRL), PointerSize::Four, &facs)?;
    link(at(&fadt, fixed::FADT_DSDT), PointerSize::Four, &dsdt)?;
    link(at(&fadt, fixed::FADT_X_DSDT), PointerSize::Eight, &dsdt)?;
    for (index, table) in listed.iter().enumerate() {
        link(at(&rsdt, fixed::rsdt_entry(index)), PointerSize::Four, table)?;
    }
    link((rsdp_blob, fixed::RSDP_RSDT), PointerSize::Four, &rsdt)?;
    if let Some((ssdt, blob)) = vrom {
        let vrom = script.allocate(VROM_FILE, blob, PAGE, Zone::High)?;
        let field = ssdt.end.saturating_sub(PointerSize::Four.bytes());
        script.add_pointer((tables, field), PointerSize::Four, (vrom, 0))?;
    }
    if let Some(opregion) = &platform.opregion {
        opregion::place(&mut script, opregion::blob(opregion)?)?;
    }
    // The FACS has no checksum.
    for table in layout.iter().filter(|table| **table != facs) {
        script.add_checksum(at(table, fixed::CHECKSUM), table.clone())?;
    }
    script.add_checksum((rsdp_blob, fixed::RSDP_CHECKSUM), 0..fixed::RSDP_SIZE)?;

    let (mut blobs, mut loader) = script.finish();
    let mut take = |name: &str| {
        let blob = blobs.iter_mut().find(|blob| blob.name == name);
        blob.map(|blob| std::mem::take(&mut blob.bytes)).unwrap_or_default()
    };
    let (rsdp, tables) = (take(RSDP_FILE), take(TABLES_FILE));
    let (vrom, opregion) = (take(VROM_FILE), take(OPREGION_FILE));
    let loader_used = loader.len();
    loader.resize(padded(loader_used, LOADER_RESERVE, LOADER_STEP), 0);
    Ok(TableSet { tables, rsdp, loader, vrom, opregion, layout, loader_used })
}

impl TableSet {
    /// The sizes of the files.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            tables: self.tables.len(),
            rsdp: self.rsdp.len(),
            loader: self.loader.len(),
            vrom: self.vrom.len(),
            opregion: self.opregion.len(),
        }
    }

    /// The same set with the sizes that fw_cfg has already announced.
    ///
    /// # Errors
    /// [`Error::Outgrown`] when the content needs more; it cannot happen to a set that differs from the
    /// announced one only in its ECAM window.
    pub fn fit(mut self, sizes: Sizes) -> Result<Self, Error> {
        let tables_used = self.layout.last().map_or(0, |last| last.end);
        let rsdp_used = self.rsdp.len();
        resize("tables", &mut self.tables, tables_used, sizes.tables)?;
        resize("rsdp", &mut self.rsdp, rsdp_used, sizes.rsdp)?;
        resize("loader", &mut self.loader, self.loader_used, sizes.loader)?;
        let vrom_used = self.vrom.len();
        resize("vrom", &mut self.vrom, vrom_used, sizes.vrom)?;
        let opregion_used = self.opregion.len();
        resize("opregion", &mut self.opregion, opregion_used, sizes.opregion)?;
        Ok(self)
    }

    /// Every table by itself, in the order of the blob.
    pub fn individual(&self) -> Vec<Table> {
        let tables = self.layout.iter().filter_map(|range| self.tables.get(range.clone()));
        tables
            .map(|table| {
                let mut bytes = table.to_vec();
                let mut signature = [0; 4];
                signature.iter_mut().zip(&bytes).for_each(|(slot, byte)| *slot = *byte);
                let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                if let Some(checksum) = bytes.get_mut(fixed::CHECKSUM).filter(|_| signature != *b"FACS") {
                    *checksum = 0u8.wrapping_sub(sum);
                }
                Table { signature, bytes }
            })
            .collect()
    }
}

/// Tables one after the other.
#[derive(Default)]
struct Builder {
    blob: Vec<u8>,
    layout: Vec<Range<usize>>,
}

impl Builder {
    /// Appends a table and tells where it is.
    fn add(&mut self, table: Vec<u8>) -> Range<usize> {
        self.blob.resize(self.blob.len().next_multiple_of(ALIGNMENT), 0);
        let start = self.blob.len();
        self.blob.extend_from_slice(&table);
        let range = start..self.blob.len();
        self.layout.push(range.clone());
        range
    }
}

/// The multiple of `step` that leaves at least `reserve` unused.
fn padded(used: usize, reserve: usize, step: usize) -> usize {
    used.saturating_add(reserve).next_multiple_of(step)
}

fn resize(what: &'static str, file: &mut Vec<u8>, needed: usize, announced: usize) -> Result<(), Error> {
    if needed > announced {
        return Err(Error::Outgrown { what, needed, announced });
    }
    file.resize(announced, 0);
    Ok(())
}
