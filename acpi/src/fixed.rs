//! The tables that are not AML, each from the platform to its bytes.
//!
//! Checksums are left zero: the loader script has the firmware compute them, because addresses get filled in
//! first. See [`crate::loader`].

mod fadt;
mod header;
mod madt;
mod mcfg;
mod root;
#[cfg(test)]
mod tests;
mod tpm2;
mod waet;

pub(crate) use fadt::{FADT_DSDT, FADT_FIRMWARE_CTRL, FADT_X_DSDT, facs, fadt};
pub(crate) use header::{CHECKSUM, HEADER_SIZE, table};
pub(crate) use madt::madt;
pub(crate) use mcfg::mcfg;
pub(crate) use root::{RSDP_CHECKSUM, RSDP_RSDT, RSDP_SIZE, rsdp, rsdt, rsdt_entry};
pub(crate) use tpm2::tpm2;
pub(crate) use waet::waet;
