//! The memory-mapped registers (AHCI 1.3.1, chapter 3).

/// Ports of the controller.
pub(super) const PORTS: usize = 6;
/// Bytes of the BAR: a page, of which the last part is reserved.
pub(super) const BAR_SIZE: u64 = 0x1000;
/// Where the ports begin, and bytes of each.
pub(super) const PORT_BASE: u64 = 0x100;
pub(super) const PORT_SIZE: u64 = 0x80;

/// Registers of the controller, by offset (3.1).
pub(super) mod global {
    /// Capabilities.
    pub(in super::super) const CAP: u64 = 0x00;
    /// Global control.
    pub(in super::super) const GHC: u64 = 0x04;
    /// Interrupt status.
    pub(in super::super) const IS: u64 = 0x08;
    /// Ports implemented.
    pub(in super::super) const PI: u64 = 0x0c;
    /// Version.
    pub(in super::super) const VS: u64 = 0x10;
}

/// Command slots of a port.
pub(super) const SLOTS: usize = 32;
/// Capabilities: six ports, all slots, AHCI only, 1.5 Gbit/s, native command queuing, 64-bit addresses.
pub(super) const CAPABILITIES: u32 =
    (PORTS as u32 - 1) | (SLOTS as u32 - 1) << 8 | 1 << 18 | 1 << 20 | 1 << 30 | 1 << 31;
/// AHCI 1.0: later revisions add what is not there.
pub(super) const VERSION: u32 = 0x0001_0000;
/// GHC: reset.
pub(super) const HR: u32 = 1 << 0;
/// GHC: interrupt enable.
pub(super) const IE: u32 = 1 << 1;
/// GHC: AHCI enable, which is fixed.
pub(super) const AE: u32 = 1 << 31;

/// Registers of a port, by offset (3.3).
pub(super) mod port {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub(in super::super) const CLB: u64 = 0x00;
    pub(in super::super) const CLBU: u64 = 0x04;
    pub(in super::super) const FB: u64 = 0x08;
    pub(in super::super) const FBU: u64 = 0x0c;
    pub(in super::super) const IS: u64 = 0x10;
    pub(in super::super) const IE: u64 = 0x14;
    pub(in super::super) const CMD: u64 = 0x18;
    pub(in super::super) const TFD: u64 = 0x20;
    pub(in super::super) const SIG: u64 = 0x24;
    pub(in super::super) const SSTS: u64 = 0x28;
    pub(in super::super) const SCTL: u64 = 0x2c;
    pub(in super::super) const SERR: u64 = 0x30;
    pub(in super::super) const SACT: u64 = 0x34;
    pub(in super::super) const CI: u64 = 0x38;
}

/// PxCMD: start; spin-up and power, which are fixed; FIS receive enable.
pub(super) const ST: u32 = 1 << 0;
pub(super) const SUD_POD: u32 = 1 << 1 | 1 << 2;
pub(super) const FRE: u32 = 1 << 4;
/// PxCMD: FIS receive and command list running.
pub(super) const FR: u32 = 1 << 14;
pub(super) const CR: u32 = 1 << 15;
/// PxCMD: current command slot.
pub(super) const CCS_SHIFT: u32 = 8;
/// PxCMD: the device is ATAPI; its activity lights the lamp; power management by the link. Software keeps them for itself.
pub(super) const CMD_STORED: u32 = 1 << 24 | 1 << 25 | 1 << 26 | 1 << 27;

/// PxIS and PxIE: a register FIS came, a PIO setup FIS came, a set device bits FIS came.
pub(super) const DHRS: u32 = 1 << 0;
pub(super) const PSS: u32 = 1 << 1;
pub(super) const SDBS: u32 = 1 << 3;
/// More bytes came than there is room for; the host bus failed; the task file says error.
pub(super) const OFS: u32 = 1 << 24;
pub(super) const IFS: u32 = 1 << 27;
pub(super) const HBFS: u32 = 1 << 29;
pub(super) const TFES: u32 = 1 << 30;
/// PxSERR: the two sides of the link do not understand each other.
pub(super) const ERR_PROTOCOL: u32 = 1 << 10;
/// Interrupts that can be enabled.
pub(super) const IE_MASK: u32 = 0xfdc0_00ff;

/// The ATA status register: error, data request, seek complete, ready, busy.
pub(super) const ERR: u8 = 1 << 0;
pub(super) const DRQ: u8 = 1 << 3;
pub(super) const READY: u8 = 0x50;
pub(super) const BSY: u8 = 1 << 7;
/// The ATA error register: command aborted.
pub(super) const ABRT: u8 = 1 << 2;
