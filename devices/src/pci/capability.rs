//! Capability IDs (PCI Code and ID Assignment Specification, section 2) and bodies that several functions share.

/// Message-signalled interrupts.
pub const MSI: u8 = 0x05;
/// Vendor-specific.
pub const VENDOR: u8 = 0x09;
/// Subsystem vendor and device of a bridge.
pub const BRIDGE_SUBSYSTEM: u8 = 0x0d;
/// PCI Express.
pub const EXPRESS: u8 = 0x10;
/// MSI-X.
pub const MSIX: u8 = 0x11;
/// Power management.
pub const POWER_MANAGEMENT: u8 = 0x01;
