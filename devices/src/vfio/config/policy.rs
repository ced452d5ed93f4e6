//! Which capabilities a guest sees (IDs: PCI Code and ID Assignment Specification 1.16, sections 2 and 3).
//!
//! Shown is what a driver of the function can use and what the kernel lets through. What is not listed is hidden: it
//! may act beyond the function, and nobody has looked.

use crate::pci::capability;

use super::{CapabilityId, Hidden};

/// Standard capabilities that are named here only.
pub(super) const ADVANCED_FEATURES: u8 = 0x13;
/// Resizable BARs.
pub(super) const RESIZABLE_BAR: u16 = 0x15;

/// What to do with one kind of capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Most bytes that its registers take, where that is fixed. Else it ends where the next one begins.
    pub(super) length: Option<u16>,
    /// Why it is hidden, if it is.
    pub(super) hidden: Option<Hidden>,
    /// A list may have several.
    pub(super) repeats: bool,
}

const fn shown(name: &'static str, length: u16) -> Rule {
    Rule { name, length: Some(length), hidden: None, repeats: false }
}

const fn shown_whole(name: &'static str) -> Rule {
    Rule { name, length: None, hidden: None, repeats: false }
}

const fn shown_often(name: &'static str) -> Rule {
    Rule { name, length: None, hidden: None, repeats: true }
}

const fn hidden(name: &'static str, length: u16, why: Hidden) -> Rule {
    Rule { name, length: Some(length), hidden: Some(why), repeats: false }
}

const fn hidden_whole(name: &'static str, why: Hidden) -> Rule {
    Rule { name, length: None, hidden: Some(why), repeats: false }
}

/// The rule for a capability; `None` for unknown ones, which are hidden.
pub(super) fn rule(id: CapabilityId) -> Option<Rule> {
    match id {
        CapabilityId::Standard(id) => standard(id),
        CapabilityId::Extended(id) => extended(id),
    }
}

fn standard(id: u8) -> Option<Rule> {
    Some(match id {
        // No registers but the header.
        0x00 => Rule { repeats: true, ..shown("null", 2) },
        capability::POWER_MANAGEMENT => shown("power management", 8),
        // The aperture is the chipset's.
        0x02 => hidden("AGP", 12, Hidden::Board),
        0x03 => shown("vital product data", 8),
        0x04 => hidden("slot identification", 4, Hidden::Board),
        capability::MSI => shown("MSI", 0x18),
        0x06 => hidden("CompactPCI hot swap", 4, Hidden::Board),
        0x07 => shown("PCI-X", 8),
        0x08 => shown_often("HyperTransport"),
        capability::VENDOR => shown_often("vendor-specific"),
        0x0a => shown("debug port", 4),
        0x0b => hidden_whole("CompactPCI central resource control", Hidden::Board),
        0x0c => hidden("hot-plug controller", 8, Hidden::Port),
        capability::BRIDGE_SUBSYSTEM => hidden("bridge subsystem", 8, Hidden::Port),
        0x0e => hidden("AGP 8x", 12, Hidden::Board),
        // AMD's IOMMUs are the secure devices there are.
        0x0f => hidden_whole("secure device", Hidden::Port),
        capability::EXPRESS => shown("PCI Express", 0x3c),
        capability::MSIX => shown("MSI-X", 12),
        0x12 => shown("SATA index/data", 8),
        ADVANCED_FEATURES => shown("Advanced Features", 6),
        // Fixed ranges in place of BARs, at addresses of the host.
        0x14 => hidden_whole("Enhanced Allocation", Hidden::Addresses),
        0x15 => hidden_whole("flattening portal bridge", Hidden::Port),
        _ => return None,
    })
}

fn extended(id: u16) -> Option<Rule> {
    Some(match id {
        0x00 => Rule { repeats: true, ..shown("null", 4) },
        // Drivers read and clear error status; the kernel keeps the policy bits.
        0x01 => shown("advanced error reporting", 0x48),
        0x02 | 0x09 => shown_whole("virtual channels"),
        0x03 => shown("serial number", 0xc),
        0x04 => shown("power budgeting", 0x10),
        // Root complexes: links and register blocks at addresses of the host.
        0x05 => hidden_whole("root complex links", Hidden::Port),
        0x06 => hidden("root complex link control", 0xc, Hidden::Port),
        0x07 => hidden("root complex event collector", 0xc, Hidden::Port),
        0x08 => shown_whole("multi-function virtual channels"),
        0x0a => hidden("root complex register block", 0x14, Hidden::Addresses),
        0x0b | 0x23 => shown_often("vendor-specific"),
        0x0d => shown_whole("access control"),
        // The next function number that it gives is one of the host's; the guest numbers functions differently.
        0x0e => hidden("alternative routing-ID", 8, Hidden::Numbering),
        // Translations come from an IOMMU, and the guest has none.
        0x0f => hidden("address translation", 8, Hidden::Translation),
        // BARs of virtual functions have no kernel behind them, and OVMF would give them addresses.
        0x10 => hidden("SR-IOV", 0x40, Hidden::VirtualFunctions),
        0x11 => hidden_whole("MR-IOV", Hidden::VirtualFunctions),
        // Receives at addresses that no BAR shows.
        0x12 => hidden("multicast", 0x30, Hidden::Addresses),
        0x13 => hidden("page requests", 0x10, Hidden::Translation),
        RESIZABLE_BAR => shown("resizable BARs", 4 + 6 * 8),
        0x16 => shown_whole("dynamic power allocation"),
        // Root ports that complete no hints keep it off.
        0x17 => shown_whole("TLP processing hints"),
        // The kernel makes the latencies read-only: they are the host firmware's, and true.
        0x18 => shown("latency tolerance reporting", 8),
        // Lanes, equalization and low-power timing are agreed between both ends: the host's port has its half
        // from the host. A guest that changed the device's half could bring the link down.
        0x19 => hidden("secondary PCI Express", 0xc + 2 * 32, Hidden::Link),
        0x1a => hidden_whole("protocol multiplexing", Hidden::Link),
        0x1b => hidden("process address spaces", 8, Hidden::Translation),
        0x1d => hidden("downstream port containment", 0x5c, Hidden::Port),
        0x1e => hidden("L1 power substates", 0x14, Hidden::Link),
        // Asks the port above for the time.
        0x1f => hidden("precision time", 0xc, Hidden::Link),
        0x24 => hidden("resizable BARs of virtual functions", 4 + 6 * 8, Hidden::VirtualFunctions),
        0x25 => hidden("data link features", 0xc, Hidden::Link),
        0x26 => hidden("16 GT/s physical layer", 0x20 + 32, Hidden::Link),
        0x27 => hidden("lane margining", 8 + 4 * 32, Hidden::Link),
        0x2a => hidden("32 GT/s physical layer", 0x20 + 32, Hidden::Link),
        // Keys of the link's encryption are the host's.
        0x30 => hidden_whole("link encryption", Hidden::Link),
        0x31 => hidden("64 GT/s physical layer", 0x20 + 32, Hidden::Link),
        _ => return None,
    })
}
