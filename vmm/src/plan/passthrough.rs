//! The passed-through functions of the machine.

use devices::vfio::Identity;

use crate::config::{HostPciAddress, RomSource};

/// One passed-through function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPassthrough {
    /// The section that asks for it: `dgpu` or `vfio[0]`.
    pub key: String,
    /// Where it is on the host.
    pub host: HostPciAddress,
    /// IDs that the guest sees in place of the device's own.
    pub identity: Identity,
    /// Its expansion ROM.
    pub rom: RomSource,
    /// Whether it is bound to vfio-pci at the start and given back at the end.
    pub manage: bool,
}
