//! The choices of `[dgpu]` and `[[vfio]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostPciAddress, PciAddress};

/// Where a function's expansion ROM comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RomSource {
    /// It has none.
    Off,
    /// The device's own.
    Host,
    /// This file.
    File(PathBuf),
}

/// Which functions of the GPU's slot are passed through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum GpuFunctions {
    /// The GPU alone.
    Gpu,
    /// All: audio, USB and UCSI functions keep their function numbers.
    #[default]
    All,
}

/// How the kernel lends devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VfioBackend {
    /// iommufd where the host has it, groups otherwise.
    #[default]
    Auto,
    /// Groups and containers: `/dev/vfio/vfio`.
    Group,
    /// Character devices and iommufd: `/dev/vfio/devices/vfioN` and `/dev/iommu`.
    Iommufd,
}

/// A passed-through device, whether from `[dgpu]` or `[[vfio]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passthrough {
    /// Where it is on the host.
    pub host: HostPciAddress,
    /// Where the guest finds it; `None` leaves it to the plan.
    pub guest: Option<PciAddress>,
    /// Replaces the vendor ID.
    pub vendor: Option<u16>,
    /// Replaces the device ID.
    pub device: Option<u16>,
    /// Replaces subsystem vendor ID and subsystem ID.
    pub subsystem: Option<(u16, u16)>,
    /// Its expansion ROM.
    pub rom: RomSource,
    /// Which functions of its slot come along. Always [`GpuFunctions::Gpu`] for `[[vfio]]`.
    pub functions: GpuFunctions,
    /// Whether its functions are bound to vfio-pci at the start and given back at the end.
    pub manage: bool,
}
