//! What the guest is to see of a passed-through function in place of the real thing.

use std::sync::Arc;

use crate::pci::Placement;

/// IDs that replace the device's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: Option<u16>,
    /// Device ID.
    pub device: Option<u16>,
    /// Subsystem vendor ID and subsystem ID.
    pub subsystem: Option<(u16, u16)>,
}

/// What the expansion ROM BAR shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Rom {
    /// The function has no ROM BAR.
    #[default]
    Off,
    /// These bytes, whether the device's own or others.
    Image(Arc<[u8]>),
}

/// How a function is passed through.
#[derive(Debug, Clone)]
pub struct Options {
    /// IDs.
    pub identity: Identity,
    /// The function's device number has other functions (header type bit 7).
    pub multifunction: bool,
    /// Where the guest finds it.
    pub placement: Placement,
    /// Its expansion ROM.
    pub rom: Rom,
    /// It is a mediated device: a driver of the host makes it up.
    pub mediated: bool,
}
