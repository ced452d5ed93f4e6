//! What is said about a function that cannot be shown to a guest, or not in full.

use std::fmt;

use super::policy;

/// The function cannot be passed through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The space has fewer bytes than a header.
    #[error(
        "its configuration space has {0} bytes, fewer than the 64 of a PCI header, so there is nothing to pass through"
    )]
    Truncated(usize),
    /// Nothing answers.
    #[error(
        "its configuration space reads as ones: the device has lost power or its link is down. Wake it by suspending \
         and resuming the host, or power the host off and on; `echo 0 > d3cold_allowed` in its directory below \
         /sys/bus/pci/devices keeps it from losing power again"
    )]
    Absent,
    /// A bridge, by its Header Type register.
    #[error(
        "it is {} (header type {layout}) and only endpoints can be passed through. Name the functions behind it \
         instead; `lspci -t` shows them", layout_name(*layout)
    )]
    NotAnEndpoint {
        /// Bits 6:0 of the register.
        layout: u8,
    },
}

fn layout_name(layout: u8) -> &'static str {
    match layout {
        1 => "a PCI bridge",
        2 => "a CardBus bridge",
        _ => "of an unknown kind",
    }
}

/// Which capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityId {
    /// One of the conventional space.
    Standard(u8),
    /// An extended one.
    Extended(u16),
}

impl CapabilityId {
    /// A placeholder without registers.
    pub(super) fn is_null(self) -> bool {
        matches!(self, Self::Standard(0) | Self::Extended(0))
    }
}

impl fmt::Display for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(id) => write!(f, "capability {id:#04x}")?,
            Self::Extended(id) => write!(f, "extended capability {id:#06x}")?,
        }
        match policy::rule(*self) {
            Some(rule) => write!(f, " ({})", rule.name),
            None => Ok(()),
        }
    }
}

/// How a list of capabilities ends where it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It points to where no capability can be.
    Outside,
    /// It comes back to a capability that it has been at.
    Loop,
    /// There are only ones.
    Ones,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "no capability can be there",
            Self::Loop => "it has been there before",
            Self::Ones => "there are only ones",
        })
    }
}

/// Why the guest does not see a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// It tells of a slot, bus or chipset.
    Board,
    /// It tells of addresses of the host, or decodes some that BARs do not show.
    Addresses,
    /// It makes virtual functions.
    VirtualFunctions,
    /// It changes how functions are numbered.
    Numbering,
    /// It needs an IOMMU.
    Translation,
    /// It needs the other end of the link.
    Link,
    /// It is for ports, bridges or root complexes.
    Port,
    /// It is not known here.
    Unknown,
    /// The list has another one of this kind.
    Duplicate,
    /// Its registers run into another capability or out of the space.
    Truncated,
    /// A PCI Express type that is not an endpoint's.
    ExpressType(u8),
    /// A legacy endpoint, on the root bus.
    LegacyOnRootBus,
    /// An MSI-X table or pending bit array outside of memory BARs.
    MsixTable,
    /// BARs whose sizes are not those in the capability, or too large to show.
    BarSizes,
}

impl Hidden {
    fn is_fault(self) -> bool {
        matches!(self, Self::Duplicate | Self::Truncated | Self::MsixTable | Self::BarSizes)
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Board => "it tells of a slot or chipset that the guest does not have",
            Self::Addresses => "it tells of addresses that are not the guest's",
            Self::VirtualFunctions => "virtual functions of a passed-through function cannot be used",
            Self::Numbering => "it would change the numbers of the guest's functions",
            Self::Translation => "the guest has no IOMMU that it could work with",
            Self::Link => "the guest has only one end of the link that it controls",
            Self::Port => "it is not for endpoints",
            Self::Unknown => "it is not known to be safe",
            Self::Duplicate => "the list has another one",
            Self::Truncated => "its registers do not fit where it is",
            Self::ExpressType(kind) => {
                return write!(
                    f,
                    "PCI Express type {kind:#x} is not an endpoint's, so the guest sees a conventional function"
                );
            }
            Self::LegacyOnRootBus => {
                "a legacy endpoint needs a root port, so the guest sees a conventional function"
            }
            Self::MsixTable => "its table or pending bits lie outside of the memory BARs",
            Self::BarSizes => "the sizes of the BARs cannot be shown there",
        })
    }
}

/// What the guest does not see of a function, or sees repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// A BAR that is left out.
    Bar {
        /// Which.
        index: usize,
        /// What it would decode, in bytes.
        size: u64,
    },
    /// The expansion ROM is left out.
    Rom {
        /// What it would decode, in bytes.
        size: u64,
    },
    /// The interrupt pin is none that exists; the guest sees no pin.
    InterruptPin(u8),
    /// A list of capabilities is cut off.
    Chain {
        /// The list of extended capabilities.
        extended: bool,
        /// Where it points to.
        at: u16,
        /// What is wrong there.
        fault: Fault,
    },
    /// A capability is left out.
    Capability {
        /// Which.
        id: CapabilityId,
        /// Where it is.
        offset: u16,
        /// Why.
        hidden: Hidden,
    },
}

impl Warning {
    /// Whether this says that the device is at fault, and not only what a guest is never shown.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Capability { hidden, .. } => hidden.is_fault(),
            Self::Bar { .. } | Self::Rom { .. } | Self::InterruptPin(_) | Self::Chain { .. } => true,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar { index, size } => {
                write!(
                    f,
                    "BAR {index} of {size:#x} bytes is not shown to the guest: no base address register can say so"
                )
            }
            Self::Rom { size } => {
                write!(
                    f,
                    "the ROM of {size:#x} bytes is not shown to the guest: its size must be a power of two from 2 KiB \
                     to 2 GiB"
                )
            }
            Self::InterruptPin(pin) => {
                write!(f, "the guest sees no INTx pin: the device says {pin}, and there are only 1 to 4")
            }
            Self::Chain { extended, at, fault } => {
                let kind = if *extended { "extended " } else { "" };
                write!(
                    f,
                    "the guest does not see all {kind}capabilities: their list leads to {at:#x}, and {fault}"
                )
            }
            Self::Capability { id, offset, hidden } => {
                write!(f, "{id} at {offset:#x} is not shown to the guest: {hidden}")
            }
        }
    }
}
